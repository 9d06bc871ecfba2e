/* A refresh: every source that is due is looked at, what has changed is published. */
#include "controlplane/job.h"
#include "controlplane/log.h"
#include "controlplane/publication.h"
#include "shared/clock.h"

/* What is looked at, one flag a table each. */
struct looking {
    bool *due;
    bool *take_live; /* the rest */
    bool *failed;
    unsigned count;
};

static bool is_any(const bool *flags, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (flags[i])
            return true;
    return false;
}

static void name_tables(const struct tern_apply_result *result, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < result->table_count && used < size; i++)
        if (result->tables[i].looked_at && !result->tables[i].reused)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used == 0 ? "" : ", ",
                                     result->tables[i].name);
}

/* Which tables an attempt's failure belongs to: the one whose source it is, else all of them. */
static void blame(struct looking *looking, unsigned failed_table)
{
    bool is_one = failed_table != 0 && looking->due[failed_table - 1];

    for (unsigned i = 0; i < looking->count; i++)
        looking->failed[i] = is_one ? i == failed_table - 1 : looking->due[i];
    for (unsigned i = 0; i < looking->count; i++)
        looking->due[i] = looking->due[i] && !looking->failed[i];
}

/* One attempt at everything in `due`. Whoever fails is taken out of it. */
static void attempt(const struct tern_job_context *context, struct tern_job *job,
                    struct looking *looking)
{
    const struct tern_config *config = tern_sources_config(context->sources);
    struct tern_apply_options options = {.take_live = looking->take_live, .only_changes = true};
    struct tern_publication publication;
    const struct tern_apply_result *result = &job->result;
    char message[256];
    uint64_t now_us;

    for (unsigned i = 0; i < looking->count; i++)
        looking->take_live[i] = !looking->due[i];
    tern_publication_begin(&publication, context, job, TERN_HISTORY_REFRESH);
    tern_publication_options(&publication, &options);
    tern_publication_of(&publication, config);
    publication.row.message = message;
    message[0] = '\0';
    job->rc = tern_pipeline_apply(context->pipeline, config, &options, &job->result,
                                  &job->diagnostics, &job->error);
    name_tables(result, message, sizeof message);
    now_us = tern_clock_now_us();
    if (job->rc != 0) {
        blame(looking, result->failed_table);
        /* A source that stays away is one row of the history, not one every few minutes. */
        publication.unrecorded = publication.quiet =
            !tern_sources_fail(context->sources, looking->failed, job->error.message, now_us);
        tern_publication_conclude(&publication);
        return;
    }
    memset(looking->due, false, looking->count);
    if (result->unchanged) {
        publication.unrecorded = true;
        publication.quiet =
            !tern_sources_note(context->sources, result->tables, result->table_count, now_us);
        tern_publication_conclude(&publication);
        return;
    }
    tern_publication_conclude(&publication);
    if (result->published)
        tern_job_serve(context, job, (struct tern_config *)(uintptr_t)config);
}

void tern_job_refresh(const struct tern_job_context *context, struct tern_job *job)
{
    const struct tern_config *config = tern_sources_config(context->sources);
    struct looking looking = {0};

    if (config == NULL)
        return;
    looking.count = config->table_count;
    looking.due = calloc(3u * looking.count + 1u, sizeof *looking.due);
    if (looking.due == NULL)
        return;
    looking.take_live = looking.due + looking.count;
    looking.failed = looking.due + 2 * looking.count;
    tern_sources_due(context->sources, tern_clock_now_us(), looking.due, looking.count);
    /* Each attempt takes at least one out. */
    while (is_any(looking.due, looking.count)) {
        tern_job_reset(job);
        attempt(context, job, &looking);
    }
    free(looking.due);
}
