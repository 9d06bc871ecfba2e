#include "controlplane/publication.h"

#include "controlplane/details.h"
#include "controlplane/log.h"
#include "shared/clock.h"

static int record_publishing(void *argument, uint64_t generation,
                             const struct tern_pipeline_numbers *numbers)
{
    struct tern_publication *publication = argument;

    publication->row.generation = generation;
    publication->row.state = TERN_HISTORY_PUBLISHING;
    return tern_store_begin(publication->context->store, numbers, &publication->row,
                            &publication->error);
}

static void forward_progress(void *argument, const struct tern_progress *progress)
{
    const struct tern_job_context *context = ((struct tern_publication *)argument)->context;

    context->progress(context->progress_context, progress);
}

void tern_publication_begin(struct tern_publication *publication,
                            const struct tern_job_context *context, struct tern_job *job,
                            enum tern_history_kind kind)
{
    *publication = (struct tern_publication){
        .context = context,
        .job = job,
        .began_us = tern_clock_now_us(),
        .row = {.kind = kind,
                .uid = job->uid,
                .message = job->message,
                .config_path = job->path,
                .at_us = tern_clock_wall_us()},
    };
}

void tern_publication_of(struct tern_publication *publication, const struct tern_config *config)
{
    struct tern_history_row *row = &publication->row;

    publication->config = config;
    row->config_path = config->path;
    row->config_text = config->text;
    row->config_length = config->text_length;
    tern_store_config_hash(config->text, config->text_length, row->config_hash);
    if (config->rules_of == NULL)
        return;
    row->rules_text = config->rules_of->text;
    row->rules_length = config->rules_of->text_length;
    tern_store_config_hash(row->rules_text, row->rules_length, row->rules_hash);
}

void tern_publication_options(struct tern_publication *publication,
                              struct tern_apply_options *options)
{
    options->progress = forward_progress;
    options->publishing = record_publishing;
    options->context = publication;
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

static void log_outcome(const struct tern_job *job, const struct tern_history_row *row)
{
    const struct tern_apply_result *result = &job->result;

    log_diagnostics(&job->diagnostics);
    if (job->rc != 0)
        tern_control_log(TERN_LOG_ERROR, "%s: %s", tern_history_kind_name(row->kind),
                         job->error.message);
    else if (result->published)
        tern_control_log(
            TERN_LOG_INFO,
            "generation %llu is live (%s): %u rules, %llu rows, %llu bytes new, %llu shared, "
            "%.1f ms%s",
            (unsigned long long)result->generation, tern_history_kind_name(row->kind), row->rules,
            (unsigned long long)row->rows, (unsigned long long)result->new_bytes,
            (unsigned long long)result->shared_bytes, row->duration_ms,
            result->acknowledged ? "" : " (no ternd acknowledged it)");
}

/* What has gone wrong beside the publish, which stands. */
static void warn(struct tern_job *job, const char *path, const char *what, const char *why)
{
    const struct tern_place place = {.file = path != NULL ? path : ""};

    tern_diagnostics_add(&job->diagnostics, TERN_SEVERITY_WARNING, place, "%s: %s", what, why);
}

static void write_row(struct tern_publication *publication)
{
    struct tern_history_row *row = &publication->row;
    const struct tern_job_context *context = publication->context;
    struct tern_error error;

    if (tern_store_finish(context->store, row, &error) == 0)
        return;
    if (row->state == TERN_HISTORY_LIVE)
        *context->history_open = true; /* the next job settles it */
    warn(publication->job, row->config_path, "history could not be written", error.message);
}

void tern_publication_conclude(struct tern_publication *publication)
{
    struct tern_job *job = publication->job;
    struct tern_history_row *row = &publication->row;
    const struct tern_apply_result *result = &job->result;

    if (job->rc != 0 && publication->error.code != 0)
        job->error = publication->error;
    row->state = result->published ? TERN_HISTORY_LIVE : TERN_HISTORY_FAILED;
    row->reason = job->rc != 0 ? job->error.message : NULL;
    if (row->rules == 0)
        row->rules = result->rules;
    for (unsigned i = 0; i < result->table_count; i++)
        row->rows += result->tables[i].rows;
    row->bytes = result->new_bytes + result->shared_bytes;
    row->at_us = tern_clock_wall_us();
    row->duration_ms = (double)(tern_clock_now_us() - publication->began_us) / 1000;
    if (tern_details_pack(job, tern_sources_config(publication->context->sources),
                          publication->config, &row->details, &row->details_length, job->summary,
                          sizeof job->summary) != 0)
        row->details_length = 0;
    if (result->unarchived)
        warn(job, row->config_path, "it serves, but its sections could not be kept",
             job->error.message);
    for (unsigned i = 0; i < result->collection_count; i++)
        if (result->collections[i].error[0] != '\0')
            warn(job, row->config_path, result->collections[i].name, result->collections[i].error);
    if (!job->dry_run && !publication->unrecorded)
        write_row(publication);
    if (!publication->quiet)
        log_outcome(job, row);
    free(row->details);
    row->details = NULL;
}
