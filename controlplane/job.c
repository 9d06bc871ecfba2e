#include "controlplane/job.h"

#include "controlplane/first_load.h"
#include "controlplane/log.h"
#include "controlplane/publication.h"
#include "shared/clock.h"

int tern_job_find_row(const struct tern_job_context *context, uint64_t generation,
                      uint64_t not_generation, struct tern_history_row *row,
                      struct tern_error *error)
{
    struct tern_history_query query = {
        .limit = TERN_STORE_ROWS, .generation = generation, .live_only = true};
    struct tern_history_row *rows = NULL;
    unsigned count = 0, found = 0;
    int rc;

    /* First without the texts (there may be thousands of rows), then the one. */
    rc = tern_store_history(context->store, &query, &rows, &count, error);
    if (rc != 0)
        return rc;
    while (found < count && rows[found].generation == not_generation)
        found++;
    query.generation = found < count ? rows[found].generation : 0;
    tern_history_free(rows, count);
    if (query.generation == 0)
        return tern_error_set(error, TERN_ENOENT, "no such generation was served");
    query.limit = 1;
    query.with_text = true;
    rc = tern_store_history(context->store, &query, &rows, &count, error);
    if (rc != 0)
        return rc;
    if (count != 1) {
        tern_history_free(rows, count);
        return tern_error_set(error, TERN_ENOENT, "the history has just lost generation %llu",
                              (unsigned long long)query.generation);
    }
    *row = rows[0];
    free(rows);
    return 0;
}

static struct tern_config *parse(const char *path, const char *text, size_t length)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;

    if (tern_config_read_kept(path, text, length, &config, &diagnostics) != 0) {
        tern_control_log(TERN_LOG_WARNING, "a configuration of %s from the history: %s", path,
                         diagnostics.count != 0 ? diagnostics.items[0].message
                                                : "cannot be read any more");
        config = NULL;
    }
    tern_diagnostics_free(&diagnostics);
    return config;
}

struct tern_config *tern_job_config_of(const struct tern_history_row *row)
{
    static const uint8_t none[16];
    bool has_rules = memcmp(row->rules_hash, none, sizeof none) != 0;
    struct tern_config *config, *rules;

    if (row->config_text == NULL || (has_rules && row->rules_text == NULL))
        return NULL;
    config = parse(row->config_path, row->config_text, row->config_length);
    if (config == NULL || !has_rules)
        return config;
    rules = parse(row->config_path, row->rules_text, row->rules_length);
    if (rules == NULL) {
        tern_config_free(config);
        return NULL;
    }
    tern_config_take_rules(config, rules);
    return config;
}

void tern_job_reset(struct tern_job *job)
{
    tern_diagnostics_free(&job->diagnostics);
    tern_apply_result_free(&job->result);
    job->diagnostics = (struct tern_diagnostics){0};
    job->result = (struct tern_apply_result){0};
    job->error = (struct tern_error){0};
    job->rc = 0;
}

void tern_job_serve(const struct tern_job_context *context, struct tern_job *job,
                    struct tern_config *config)
{
    if (tern_sources_serve(context->sources, config, job->result.tables, job->result.table_count,
                           tern_clock_now_us()) != 0)
        tern_control_log(TERN_LOG_ERROR, "no memory for the list of sources: they are not "
                                         "refreshed until the next apply");
}

/* Takes note of what is served without having published it. */
static void adopt_served(const struct tern_job_context *context, uint64_t generation)
{
    struct tern_history_row row = {0};
    struct tern_config *config = NULL;
    struct tern_job found = {0};
    struct tern_error error;

    if (tern_job_find_row(context, generation, 0, &row, &error) == 0) {
        config = tern_job_config_of(&row);
        tern_history_row_clear(&row);
    }
    if (config == NULL)
        tern_control_log(TERN_LOG_WARNING,
                         "the configuration of generation %llu is not known any more: its sources "
                         "are not refreshed until the next apply",
                         (unsigned long long)generation);
    if (tern_pipeline_tables(context->pipeline, &found.result.tables, &found.result.table_count) !=
        0)
        tern_config_free(config);
    else
        tern_job_serve(context, &found, config);
    tern_apply_result_free(&found.result);
}

static void read_config(struct tern_job *job)
{
    if (job->config != NULL)
        return;
    job->rc = tern_config_read(job->path, &job->config, &job->diagnostics);
    if (job->rc != 0)
        tern_error_set(&job->error, job->rc, "%s: %zu error%s", job->path,
                       job->diagnostics.error_count, job->diagnostics.error_count == 1 ? "" : "s");
}

static void warn_of_hold(const struct tern_job_context *context, struct tern_job *job)
{
    struct tern_sources_copy copy;

    if (tern_sources_copy(context->sources, &copy) != 0)
        return;
    if (copy.hold.since_us != 0)
        tern_diagnostics_add(&job->diagnostics, TERN_SEVERITY_WARNING,
                             (struct tern_place){.file = job->path},
                             "refreshes of sources are held since the rollback to generation %llu; "
                             "`ternctl resume` lets them run again",
                             (unsigned long long)copy.hold.generation);
    tern_sources_copy_free(&copy);
}

static void apply(const struct tern_job_context *context, struct tern_job *job,
                  enum tern_history_kind kind, bool quiet)
{
    struct tern_apply_options options = {
        .dry_run = job->dry_run, .force_change = job->force_change, .new_schema = job->new_schema};
    struct tern_publication publication;

    tern_publication_begin(&publication, context, job, kind);
    publication.quiet = quiet;
    tern_publication_options(&publication, &options);
    read_config(job);
    if (job->rc == 0) {
        tern_publication_of(&publication, job->config);
        tern_first_load_check(context, job);
    }
    if (job->rc == 0) {
        job->rc = tern_pipeline_apply(context->pipeline, job->config, &options, &job->result,
                                      &job->diagnostics, &job->error);
    }
    if (job->result.published)
        warn_of_hold(context, job);
    tern_publication_conclude(&publication);
    if (job->result.published) {
        tern_job_serve(context, job, job->config);
        job->config = NULL;
    }
}

static bool collections_change(const struct tern_apply_result *result)
{
    for (unsigned i = 0; i < result->collection_count; i++)
        if (result->collections[i].change != TERN_COLLECTION_SAME)
            return true;
    return false;
}

/* True when building `job->path` now would give exactly what is served: then no number is used up.
 */
static bool is_unchanged(const struct tern_job_context *context, struct tern_job *job,
                         uint64_t generation)
{
    static const uint8_t none[16];
    struct tern_history_row row = {0};
    struct tern_error error;
    uint8_t hash[16];
    bool same;

    read_config(job);
    if (job->rc != 0 || tern_job_find_row(context, generation, 0, &row, &error) != 0)
        return false;
    tern_store_config_hash(job->config->text, job->config->text_length, hash);
    same = memcmp(hash, row.config_hash, sizeof hash) == 0 &&
           memcmp(row.rules_hash, none, sizeof none) == 0;
    tern_history_row_clear(&row);
    if (!same)
        return false;
    job->dry_run = true;
    apply(context, job, TERN_HISTORY_START, true);
    job->dry_run = false;
    return job->rc == 0 && job->result.new_bytes == 0 && !collections_change(&job->result);
}

static void start(const struct tern_job_context *context, struct tern_job *job)
{
    uint64_t served = job->live_generation;
    struct tern_sources_hold hold = {0};
    struct tern_error error;

    if (tern_store_hold(context->store, &hold, &error) != 0)
        tern_control_log(TERN_LOG_ERROR, "%s", error.message);
    tern_sources_set_hold(context->sources, &hold, tern_clock_now_us());
    if (served != 0)
        adopt_served(context, served);
    if (served != 0 && (job->resume || job->path == NULL) &&
        tern_pipeline_lacks_objects(context->pipeline)) {
        tern_job_renew(context, job);
        return;
    }
    if (served != 0 && (job->resume || job->path == NULL)) {
        tern_control_log(TERN_LOG_INFO, "generation %llu is served already",
                         (unsigned long long)served);
        return;
    }
    if (job->path == NULL) {
        tern_job_restore_last(context, job);
        return;
    }
    if (served != 0) {
        if (is_unchanged(context, job, served)) {
            tern_control_log(TERN_LOG_INFO,
                             "%s and its sources are unchanged: generation %llu stays", job->path,
                             (unsigned long long)served);
            tern_job_serve(context, job, job->config);
            job->config = NULL;
            return;
        }
        tern_job_reset(job);
    }
    apply(context, job, TERN_HISTORY_START, false);
    if (job->rc != 0 && served == 0)
        tern_job_restore_last(context, job);
}

/* Who asked for what, why, and what came of it. A refresh is asked for by nobody. */
static void audit(const struct tern_job_context *context, const struct tern_job *job)
{
    static const char *const names[] = {[TERN_JOB_START] = "start",
                                        [TERN_JOB_APPLY] = "apply",
                                        [TERN_JOB_ROLLBACK] = "rollback",
                                        [TERN_JOB_RESUME] = "resume",
                                        [TERN_JOB_DROP] = "collection drop"};
    bool has_message = job->message != NULL && job->message[0] != '\0';
    char action[1024], outcome[1200];
    struct tern_error error;

    if (job->kind == TERN_JOB_REFRESH || (job->kind == TERN_JOB_DROP && job->dry_run))
        return;
    snprintf(action, sizeof action, "%s%s%s%s%s%s%s%s%s%s%s", names[job->kind],
             job->dry_run ? " --dry-run" : "", job->force_change ? " --force-change" : "",
             job->new_schema ? " --new-schema" : "", job->rules_only ? " --rules-only" : "",
             job->path != NULL ? " " : "", job->path != NULL ? job->path : "",
             job->collection != NULL ? " " : "", job->collection != NULL ? job->collection : "",
             has_message ? " -m " : "", has_message ? job->message : "");
    if (job->rc != 0)
        snprintf(outcome, sizeof outcome, "refused: %s", job->error.message);
    else if (job->result.generation != 0)
        snprintf(outcome, sizeof outcome, "generation %llu%s%s%s",
                 (unsigned long long)job->result.generation,
                 job->result.published ? "" : " (not published)",
                 job->summary[0] != '\0' ? ": " : "", job->summary);
    else
        snprintf(outcome, sizeof outcome, "%s", job->summary[0] != '\0' ? job->summary : "done");
    if (tern_store_audit(context->store, job->uid, job->pid, action, outcome, &error) != 0)
        tern_control_log(TERN_LOG_ERROR, "cannot write the audit: %s", error.message);
}

/* A row that could not be completed when it went live is completed now, if that can be done. */
static void settle(const struct tern_job_context *context, uint64_t generation)
{
    struct tern_error error;
    unsigned settled;

    if (*context->history_open &&
        tern_store_settle(context->store, generation, &settled, &error) == 0)
        *context->history_open = false;
}

void tern_job_run(const struct tern_job_context *context, struct tern_job *job)
{
    struct tern_pipeline_status status = {0};

    tern_pipeline_status(context->pipeline, &status);
    job->live_generation = status.generation;
    settle(context, status.generation);
    switch (job->kind) {
    case TERN_JOB_START:
        start(context, job);
        break;
    case TERN_JOB_APPLY:
        apply(context, job, TERN_HISTORY_APPLY, false);
        break;
    case TERN_JOB_ROLLBACK:
        tern_job_roll_back(context, job);
        break;
    case TERN_JOB_RESUME:
        tern_job_resume(context, job);
        break;
    case TERN_JOB_DROP:
        tern_job_drop(context, job);
        break;
    case TERN_JOB_REFRESH:
        tern_job_refresh(context, job);
        break;
    }
    if ((job->kind == TERN_JOB_START || job->kind == TERN_JOB_APPLY) && !job->dry_run &&
        (job->kind == TERN_JOB_START || job->rc == 0))
        tern_first_load_run(context, job);
    audit(context, job);
}
