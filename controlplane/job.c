#include "controlplane/job.h"

#include "controlplane/log.h"
#include "shared/clock.h"

#include <unistd.h>

/* What the `publishing` call needs to record the row before the swap. */
struct publication {
    const struct tern_job_context *context;
    struct tern_history_row row;
    struct tern_error error; /* of the store */
    bool quiet;              /* a look ahead whose outcome is nobody's news */
};

static int record_publishing(void *argument, uint64_t generation,
                             const struct tern_pipeline_numbers *numbers)
{
    struct publication *publication = argument;

    publication->row.generation = generation;
    publication->row.state = TERN_HISTORY_PUBLISHING;
    return tern_store_begin(publication->context->store, numbers, &publication->row,
                            &publication->error);
}

static void forward_progress(void *argument, const struct tern_progress *progress)
{
    const struct tern_job_context *context = ((struct publication *)argument)->context;

    context->progress(context->progress_context, progress);
}

static void log_diagnostics(const struct tern_diagnostics *diagnostics)
{
    for (size_t i = 0; i < diagnostics->count; i++) {
        const struct tern_diagnostic *item = &diagnostics->items[i];
        bool is_error = item->severity == TERN_SEVERITY_ERROR;

        tern_control_log(is_error ? TERN_LOG_ERROR : TERN_LOG_WARNING, "%s:%u:%u: %s: %s",
                         item->place.file, item->place.line, item->place.column,
                         is_error ? "error" : "warning", item->message);
    }
}

/* The row of `generation` with its text, or the newest one served when it is 0. */
static bool find_row(struct tern_store *store, uint64_t generation, uint64_t not_generation,
                     struct tern_history_row *row)
{
    struct tern_history_query query = {
        .limit = TERN_STORE_ROWS, .generation = generation, .live_only = true};
    struct tern_history_row *rows = NULL;
    struct tern_error error;
    unsigned count = 0;
    bool found = false;

    /* First without the texts (there may be thousands of rows), then the one. */
    if (tern_store_history(store, &query, &rows, &count, &error) != 0) {
        tern_control_log(TERN_LOG_ERROR, "%s", error.message);
        return false;
    }
    for (unsigned i = 0; i < count && !found; i++) {
        if (rows[i].generation == not_generation)
            continue;
        found = true;
        query.generation = rows[i].generation;
    }
    tern_history_free(rows, count);
    if (!found)
        return false;
    query.limit = 1;
    query.with_text = true;
    if (tern_store_history(store, &query, &rows, &count, &error) != 0)
        return false;
    found = count == 1;
    if (found)
        *row = rows[0];
    free(rows);
    return found;
}

static void log_outcome(const struct tern_job *job, const struct tern_history_row *row)
{
    const struct tern_apply_result *result = &job->result;

    log_diagnostics(&job->diagnostics);
    if (job->rc != 0)
        tern_control_log(TERN_LOG_ERROR, "%s: %s", tern_history_kind_name(row->kind),
                         job->error.message);
    else if (!job->dry_run)
        tern_control_log(
            TERN_LOG_INFO,
            "generation %llu is live: %u rules, %llu rows, %llu bytes new, %llu shared, "
            "%.1f ms%s",
            (unsigned long long)result->generation, row->rules, (unsigned long long)row->rows,
            (unsigned long long)result->new_bytes, (unsigned long long)result->shared_bytes,
            row->duration_ms, result->acknowledged ? "" : " (no ternd acknowledged it)");
}

/* Completes the history row of whatever came out. */
static void conclude(const struct tern_job_context *context, const struct tern_job *job,
                     struct publication *publication, uint64_t began_us)
{
    struct tern_history_row *row = &publication->row;
    const struct tern_apply_result *result = &job->result;
    struct tern_error error;

    row->state = result->published ? TERN_HISTORY_LIVE : TERN_HISTORY_FAILED;
    row->reason = job->rc != 0 ? (char *)(uintptr_t)job->error.message : NULL;
    if (row->restored_from == 0) { /* else they are known from then */
        row->rules = result->rules;
        for (unsigned i = 0; i < result->table_count; i++)
            row->rows += result->tables[i].rows;
    }
    row->bytes = result->new_bytes + result->shared_bytes;
    row->at_us = tern_clock_wall_us();
    row->duration_ms = (double)(tern_clock_now_us() - began_us) / 1000;
    if (!job->dry_run && tern_store_finish(context->store, row, &error) != 0)
        tern_control_log(TERN_LOG_ERROR, "cannot write history: %s", error.message);
    if (!publication->quiet)
        log_outcome(job, row);
}

/* Forgets what a first attempt of the same job left behind. */
static void reset(struct tern_job *job)
{
    tern_diagnostics_free(&job->diagnostics);
    tern_apply_result_free(&job->result);
    job->diagnostics = (struct tern_diagnostics){0};
    job->result = (struct tern_apply_result){0};
    job->error = (struct tern_error){0};
    job->rc = 0;
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

static void apply(const struct tern_job_context *context, struct tern_job *job,
                  enum tern_history_kind kind, bool quiet)
{
    uint64_t began_us = tern_clock_now_us();
    struct publication publication = {
        .context = context,
        .quiet = quiet,
        .row = {.kind = kind, .uid = job->uid, .message = job->message, .config_path = job->path},
    };
    const struct tern_apply_options options = {
        .dry_run = job->dry_run,
        .progress = forward_progress,
        .publishing = record_publishing,
        .context = &publication,
    };

    publication.row.at_us = tern_clock_wall_us();
    read_config(job);
    if (job->rc == 0) {
        publication.row.config_text = job->config->text;
        publication.row.config_length = job->config->text_length;
        tern_store_config_hash(job->config->text, job->config->text_length,
                               publication.row.config_hash);
        job->rc = tern_pipeline_apply(context->pipeline, job->config, &options, &job->result,
                                      &job->diagnostics, &job->error);
        if (job->rc != 0 && publication.error.code != 0)
            job->error = publication.error;
    }
    conclude(context, job, &publication, began_us);
}

/* Publishes the sections kept of `source` (its row, cleared here). */
static void restore(const struct tern_job_context *context, struct tern_job *job,
                    enum tern_history_kind kind, struct tern_history_row *source)
{
    uint64_t began_us = tern_clock_now_us(), from = source->generation;
    char message[64];
    struct publication publication = {.context = context};
    const struct tern_apply_options options = {
        .progress = forward_progress,
        .publishing = record_publishing,
        .context = &publication,
    };

    snprintf(message, sizeof message, "generation %llu again", (unsigned long long)from);
    publication.row = (struct tern_history_row){
        .kind = kind,
        .uid = job->uid,
        .at_us = tern_clock_wall_us(),
        .message = job->message != NULL && job->message[0] != '\0' ? job->message : message,
        .config_path = source->config_path,
        .config_text = source->config_text,
        .config_length = source->config_length,
        .restored_from = from,
        .rules = source->rules,
        .rows = source->rows,
    };
    memcpy(publication.row.config_hash, source->config_hash, 16);
    job->restored_from = from;
    job->rc = tern_pipeline_restore(context->pipeline, from, &options, &job->result, &job->error);
    if (job->rc != 0 && publication.error.code != 0)
        job->error = publication.error;
    conclude(context, job, &publication, began_us);
    tern_history_row_clear(source);
}

/* Nothing is served and the build failed, or there is nothing to build: the last good generation is
 * better than none. The job keeps its failure; history shows both. */
static void restore_last(const struct tern_job_context *context, struct tern_job *job)
{
    struct tern_history_row source = {0};
    struct tern_job attempt = {.kind = TERN_JOB_START};

    if (!find_row(context->store, 0, 0, &source)) {
        tern_control_log(TERN_LOG_ERROR, "nothing is served, and no earlier generation is known");
        return;
    }
    tern_control_log(TERN_LOG_WARNING,
                     "nothing is served: restoring generation %llu, the last good one",
                     (unsigned long long)source.generation);
    restore(context, &attempt, TERN_HISTORY_RESTORE, &source);
    if (attempt.rc == 0)
        job->restored_from = attempt.restored_from;
    reset(&attempt);
}

/* True when building `job->path` now would give exactly what is served: then no number is used up.
 */
static bool is_unchanged(const struct tern_job_context *context, struct tern_job *job,
                         uint64_t generation)
{
    struct tern_history_row row = {0};
    uint8_t hash[16];
    bool same;

    read_config(job);
    if (job->rc != 0 || !find_row(context->store, generation, 0, &row))
        return false;
    tern_store_config_hash(job->config->text, job->config->text_length, hash);
    same = memcmp(hash, row.config_hash, sizeof hash) == 0;
    tern_history_row_clear(&row);
    if (!same)
        return false;
    job->dry_run = true;
    apply(context, job, TERN_HISTORY_START, true);
    job->dry_run = false;
    same = job->rc == 0 && job->result.new_bytes == 0;
    return same;
}

static void start(const struct tern_job_context *context, struct tern_job *job)
{
    uint64_t served = job->live_generation;

    if (served != 0 && (job->resume || job->path == NULL)) {
        tern_control_log(TERN_LOG_INFO, "generation %llu is served already",
                         (unsigned long long)served);
        return;
    }
    if (job->path == NULL) {
        restore_last(context, job);
        return;
    }
    if (served != 0) {
        if (is_unchanged(context, job, served)) {
            tern_control_log(TERN_LOG_INFO,
                             "%s and its sources are unchanged: generation %llu stays", job->path,
                             (unsigned long long)served);
            return;
        }
        reset(job);
    }
    apply(context, job, TERN_HISTORY_START, false);
    if (job->rc != 0 && served == 0)
        restore_last(context, job);
}

static void roll_back(const struct tern_job_context *context, struct tern_job *job)
{
    struct tern_history_row source = {0};

    if (job->generation != 0 && job->generation == job->live_generation) {
        job->rc = tern_error_set(&job->error, TERN_EINVAL, "generation %llu is the one served",
                                 (unsigned long long)job->generation);
        return;
    }
    if (!find_row(context->store, job->generation, job->live_generation, &source)) {
        job->rc = job->generation != 0
                      ? tern_error_set(&job->error, TERN_ENOENT,
                                       "generation %llu was never served; see ternctl history",
                                       (unsigned long long)job->generation)
                      : tern_error_set(&job->error, TERN_ENOENT,
                                       "no earlier generation was served; see ternctl history");
        return;
    }
    restore(context, job, TERN_HISTORY_ROLLBACK, &source);
}

static void audit(const struct tern_job_context *context, const struct tern_job *job)
{
    static const char *const names[] = {"start", "apply", "rollback"};
    char action[512], outcome[640];
    struct tern_error error;

    snprintf(action, sizeof action, "%s%s %s", names[job->kind], job->dry_run ? " --dry-run" : "",
             job->path != NULL ? job->path : "");
    if (job->rc != 0)
        snprintf(outcome, sizeof outcome, "%s", job->error.message);
    else
        snprintf(outcome, sizeof outcome, "generation %llu",
                 (unsigned long long)job->result.generation);
    if (tern_store_audit(context->store, job->uid, job->pid, action, outcome, &error) != 0)
        tern_control_log(TERN_LOG_ERROR, "cannot write the audit: %s", error.message);
}

void tern_job_run(const struct tern_job_context *context, struct tern_job *job)
{
    struct tern_pipeline_status status = {0};

    tern_pipeline_status(context->pipeline, &status);
    job->live_generation = status.generation;
    switch (job->kind) {
    case TERN_JOB_START:
        start(context, job);
        break;
    case TERN_JOB_APPLY:
        apply(context, job, TERN_HISTORY_APPLY, false);
        break;
    case TERN_JOB_ROLLBACK:
        roll_back(context, job);
        break;
    }
    audit(context, job);
}
