/* The ways back: a retained generation again, its rules alone, and the last good one. */
#include "controlplane/archive.h"
#include "controlplane/job.h"
#include "controlplane/log.h"
#include "controlplane/publication.h"
#include "shared/clock.h"
#include "shared/race.h"

/* ---- Retained sections again ---- */

/* Publishes the sections kept of `source`. With `may_lack`, also when one of its collections cannot
 * be made. */
static void restore(const struct tern_job_context *context, struct tern_job *job,
                    enum tern_history_kind kind, const struct tern_history_row *source,
                    bool may_lack)
{
    struct tern_config *config = tern_job_config_of(source);
    struct tern_publication publication;
    struct tern_apply_options options = {.collections_may_lack = may_lack};
    char message[64];

    tern_publication_begin(&publication, context, job, kind);
    tern_publication_options(&publication, &options);
    if (config != NULL)
        tern_publication_of(&publication, config);
    publication.row.config_path = source->config_path;
    memcpy(publication.row.config_hash, source->config_hash, 16);
    memcpy(publication.row.rules_hash, source->rules_hash, 16);
    publication.row.restored_from = source->generation;
    publication.row.rules = source->rules; /* nothing is compiled: they are known from then */
    if (job->message == NULL || job->message[0] == '\0') {
        snprintf(message, sizeof message, "generation %llu again",
                 (unsigned long long)source->generation);
        publication.row.message = message;
    }
    job->restored_from = source->generation;
    job->rc = tern_pipeline_restore(context->pipeline, source->generation, &options, &job->result,
                                    &job->error);
    tern_publication_conclude(&publication);
    if (job->result.published)
        tern_job_serve(context, job, config);
    else
        tern_config_free(config);
}

void tern_job_renew(const struct tern_job_context *context, struct tern_job *job)
{
    struct tern_history_row source = {0};
    struct tern_error error;

    if (tern_job_find_row(context, job->live_generation, 0, &source, &error) != 0)
        source.generation = job->live_generation;
    tern_control_log(TERN_LOG_WARNING,
                     "generation %llu serves on, and again with its collections built anew",
                     (unsigned long long)source.generation);
    restore(context, job, TERN_HISTORY_RESTORE, &source, false);
    tern_history_row_clear(&source);
}

void tern_job_restore_last(const struct tern_job_context *context, struct tern_job *job)
{
    uint64_t generations[TERN_ARCHIVE_LISTS];
    unsigned count =
        tern_archive_generations(tern_pipeline_state_dir(context->pipeline), generations);
    struct tern_error error;

    for (unsigned i = 0; i < count; i++) {
        struct tern_job attempt = {.kind = TERN_JOB_START, .uid = job->uid, .pid = job->pid};
        struct tern_history_row source = {0};
        bool restored;

        /* What is kept was served, also when the history has been lost meanwhile. */
        if (tern_job_find_row(context, generations[i], 0, &source, &error) != 0)
            source.generation = generations[i];
        tern_control_log(TERN_LOG_WARNING,
                         "nothing is served: restoring generation %llu, the last good one",
                         (unsigned long long)source.generation);
        restore(context, &attempt, TERN_HISTORY_RESTORE, &source, true);
        tern_history_row_clear(&source);
        restored = attempt.result.published;
        if (restored)
            job->restored_from = attempt.restored_from;
        tern_job_reset(&attempt);
        if (restored)
            return;
    }
    tern_control_log(TERN_LOG_ERROR, "nothing is served, and no earlier generation is kept");
}

/* Says which generations there are to go back to. */
static int not_retained(const struct tern_job_context *context, uint64_t generation,
                        struct tern_error *error)
{
    uint64_t generations[TERN_ARCHIVE_LISTS];
    unsigned count =
        tern_archive_generations(tern_pipeline_state_dir(context->pipeline), generations);
    char list[24 * TERN_ARCHIVE_LISTS + 8] = "none";
    size_t used = 0;

    for (unsigned i = 0; i < count; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%llu", i == 0 ? "" : ", ",
                                 (unsigned long long)generations[i]);
    return tern_error_set(error, TERN_ENOENT,
                          "the sections of generation %llu are not kept any more; retained are: %s",
                          (unsigned long long)generation, list);
}

static bool is_retained(const struct tern_job_context *context, uint64_t generation)
{
    uint64_t generations[TERN_ARCHIVE_LISTS];
    unsigned count =
        tern_archive_generations(tern_pipeline_state_dir(context->pipeline), generations);

    for (unsigned i = 0; i < count; i++)
        if (generations[i] == generation)
            return true;
    return false;
}

/* Refreshes would undo what is gone back to: they are held, and were before anything is published,
 * so that no crash lets them loose. */
static void restore_and_hold(const struct tern_job_context *context, struct tern_job *job,
                             const struct tern_history_row *source)
{
    struct tern_sources_hold before = {0}, hold = {.since_us = tern_clock_wall_us(),
                                                   .generation = source->generation,
                                                   .uid = job->uid};

    if (!is_retained(context, source->generation)) {
        job->rc = not_retained(context, source->generation, &job->error);
        return;
    }
    job->rc = tern_store_hold(context->store, &before, &job->error);
    if (job->rc == 0)
        job->rc = tern_store_set_hold(context->store, &hold, &job->error);
    if (job->rc != 0)
        return;
    TERN_RACE_POINT("rollback-held");
    restore(context, job, TERN_HISTORY_ROLLBACK, source, false);
    if (job->result.published) {
        tern_sources_set_hold(context->sources, &hold, tern_clock_now_us());
    } else {
        struct tern_error error;

        if (tern_store_set_hold(context->store, &before, &error) != 0)
            tern_control_log(TERN_LOG_ERROR, "refreshes will be held after a restart: %s",
                             error.message);
    }
}

/* ---- Rules alone ---- */

/* The configuration of what is served now with the rules of `source` in it. */
static struct tern_config *merge(const struct tern_job_context *context, struct tern_job *job,
                                 const struct tern_history_row *source)
{
    struct tern_history_row live = {0};
    struct tern_config *config = NULL, *rules = NULL;

    job->rc = tern_job_find_row(context, job->live_generation, 0, &live, &job->error);
    if (job->rc != 0)
        return NULL;
    /* Of the live one only what it says of tables and fields; of the other one only its rules,
     * which may have come from a third. */
    memset(live.rules_hash, 0, sizeof live.rules_hash);
    config = tern_job_config_of(&live);
    rules = tern_job_config_of(source);
    tern_history_row_clear(&live);
    if (config == NULL || rules == NULL) {
        job->rc = tern_error_set(
            &job->error, TERN_ENOENT, "the configuration of generation %llu is not kept any more",
            (unsigned long long)(config == NULL ? job->live_generation : source->generation));
        tern_config_free(config);
        tern_config_free(rules);
        return NULL;
    }
    if (rules->rules_of != NULL) {
        struct tern_config *of = rules->rules_of;

        rules->rules_of = NULL;
        tern_config_free(rules);
        rules = of;
    }
    tern_config_take_rules(config, rules);
    return config;
}

static void explain_misfit(struct tern_job *job, uint64_t generation)
{
    const struct tern_diagnostics *diagnostics = &job->diagnostics;

    for (size_t i = 0; i < diagnostics->count; i++)
        if (diagnostics->items[i].severity == TERN_SEVERITY_ERROR) {
            tern_error_set(&job->error, job->rc,
                           "the rules of generation %llu do not fit what is served now: line %u: "
                           "%.380s",
                           (unsigned long long)generation, diagnostics->items[i].place.line,
                           diagnostics->items[i].message);
            return;
        }
}

static void apply_rules(const struct tern_job_context *context, struct tern_job *job,
                        const struct tern_history_row *source)
{
    struct tern_config *config = merge(context, job, source);
    struct tern_apply_options options = {.tests_only_warn = true};
    struct tern_publication publication;
    char message[64];
    bool *take_live;

    if (config == NULL)
        return;
    take_live = malloc(config->table_count + 1u);
    if (take_live == NULL) {
        job->rc = tern_error_set(&job->error, TERN_ENOMEM, "out of memory");
        tern_config_free(config);
        return;
    }
    memset(take_live, true, config->table_count + 1u);
    options.take_live = take_live;
    tern_publication_begin(&publication, context, job, TERN_HISTORY_ROLLBACK);
    tern_publication_options(&publication, &options);
    tern_publication_of(&publication, config);
    publication.row.restored_from = source->generation;
    if (job->message == NULL || job->message[0] == '\0') {
        snprintf(message, sizeof message, "rules of generation %llu",
                 (unsigned long long)source->generation);
        publication.row.message = message;
    }
    job->restored_from = source->generation;
    job->rc = tern_pipeline_apply(context->pipeline, config, &options, &job->result,
                                  &job->diagnostics, &job->error);
    if (job->rc == TERN_EINVAL)
        explain_misfit(job, source->generation);
    tern_publication_conclude(&publication);
    free(take_live);
    if (job->result.published)
        tern_job_serve(context, job, config);
    else
        tern_config_free(config);
}

/* ---- Which one ---- */

static bool same_rules(const struct tern_history_row *a, const struct tern_history_row *b)
{
    static const uint8_t none[16];
    const uint8_t *of_a = memcmp(a->rules_hash, none, 16) != 0 ? a->rules_hash : a->config_hash;
    const uint8_t *of_b = memcmp(b->rules_hash, none, 16) != 0 ? b->rules_hash : b->config_hash;

    return memcmp(of_a, of_b, 16) == 0;
}

/* The newest generation with other rules than what is served: what `--rules-only` means when it
 * names none. Refreshes lie between, and have the same ones. 0: none. */
static int find_other_rules(const struct tern_job_context *context, const struct tern_job *job,
                            uint64_t *generation, struct tern_error *error)
{
    const struct tern_history_query query = {.limit = TERN_STORE_ROWS, .live_only = true};
    const struct tern_history_row *live = NULL;
    struct tern_history_row *rows = NULL;
    unsigned count = 0;
    int rc = tern_store_history(context->store, &query, &rows, &count, error);

    if (rc != 0)
        return rc;
    *generation = 0;
    for (unsigned i = 0; i < count && *generation == 0; i++) {
        if (live == NULL && rows[i].generation == job->live_generation)
            live = &rows[i];
        else if (live != NULL && !same_rules(live, &rows[i]))
            *generation = rows[i].generation;
    }
    tern_history_free(rows, count);
    return 0;
}

void tern_job_roll_back(const struct tern_job_context *context, struct tern_job *job)
{
    struct tern_history_row source = {0};
    uint64_t generation = job->generation;

    if (generation != 0 && generation == job->live_generation) {
        job->rc = tern_error_set(&job->error, TERN_EINVAL, "generation %llu is the one served",
                                 (unsigned long long)generation);
        return;
    }
    if (generation == 0 && job->rules_only) {
        job->rc = find_other_rules(context, job, &generation, &job->error);
        if (job->rc == 0 && generation == 0)
            job->rc = tern_error_set(&job->error, TERN_ENOENT,
                                     "no generation with other rules was served; see ternctl "
                                     "history");
        if (job->rc != 0)
            return;
    }
    job->rc = tern_job_find_row(context, generation, job->live_generation, &source, &job->error);
    if (job->rc == TERN_ENOENT && !job->rules_only && generation != 0 &&
        is_retained(context, generation)) {
        source.generation = generation; /* kept, though the history has lost it */
        job->rc = 0;
    }
    if (job->rc == TERN_ENOENT)
        job->rc = generation != 0
                      ? tern_error_set(&job->error, TERN_ENOENT,
                                       "generation %llu was never served; see ternctl history",
                                       (unsigned long long)generation)
                      : tern_error_set(&job->error, TERN_ENOENT,
                                       "no earlier generation was served; see ternctl history");
    if (job->rc != 0)
        return;
    if (job->rules_only)
        apply_rules(context, job, &source);
    else
        restore_and_hold(context, job, &source);
    tern_history_row_clear(&source);
}

void tern_job_resume(const struct tern_job_context *context, struct tern_job *job)
{
    const struct tern_sources_hold none = {0};

    job->rc = tern_store_hold(context->store, &job->hold, &job->error);
    if (job->rc == 0 && job->hold.since_us != 0)
        job->rc = tern_store_set_hold(context->store, &none, &job->error);
    if (job->rc != 0)
        return;
    tern_sources_set_hold(context->sources, &none, tern_clock_now_us());
    tern_control_log(TERN_LOG_INFO, job->hold.since_us != 0 ? "refreshes of sources run again"
                                                            : "refreshes were not held");
}
