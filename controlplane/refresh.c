/* A refresh: every source that is due is looked at, what has changed is published. */
#include "controlplane/job.h"
#include "controlplane/log.h"
#include "controlplane/publication.h"
#include "shared/clock.h"

/* What is looked at, one flag a table each. */
struct looking {
    bool *due;       /* and not done */
    bool *trying;    /* of these, in one attempt */
    bool *take_live; /* the rest */
    bool *failed;
    unsigned count;
    bool singly; /* something is wrong, and it does not say with which */
};

static unsigned count_of(const bool *flags, unsigned count)
{
    unsigned set = 0;

    for (unsigned i = 0; i < count; i++)
        set += flags[i];
    return set;
}

static void choose(struct looking *looking)
{
    bool chosen = false;

    for (unsigned i = 0; i < looking->count; i++) {
        looking->trying[i] = looking->due[i] && !(looking->singly && chosen);
        looking->take_live[i] = !looking->trying[i];
        chosen |= looking->trying[i];
    }
}

static void finish(struct looking *looking, const bool *done)
{
    for (unsigned i = 0; i < looking->count; i++)
        looking->due[i] = looking->due[i] && !done[i];
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

/* Whom an attempt's failure belongs to: the table whose source it is, else the only one that was
 * tried. False: it takes more attempts to tell. */
static bool blame(struct looking *looking, unsigned failed_table)
{
    bool is_one = failed_table != 0 && looking->trying[failed_table - 1];

    if (!is_one && count_of(looking->trying, looking->count) > 1) {
        looking->singly = true;
        return false;
    }
    for (unsigned i = 0; i < looking->count; i++)
        looking->failed[i] = is_one ? i == failed_table - 1 : looking->trying[i];
    finish(looking, looking->failed);
    return true;
}

/* One attempt. Whoever is done with, well or not, is due no more. */
static void attempt(const struct tern_job_context *context, struct tern_job *job,
                    struct looking *looking)
{
    const struct tern_config *config = tern_sources_config(context->sources);
    struct tern_apply_options options = {.take_live = looking->take_live, .only_changes = true};
    struct tern_publication publication;
    const struct tern_apply_result *result = &job->result;
    char message[256];
    uint64_t now_us;

    choose(looking);
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
        /* A source that stays away is one row of the history, not one every few minutes. */
        publication.unrecorded = publication.quiet =
            !blame(looking, result->failed_table) ||
            !tern_sources_fail(context->sources, looking->failed, job->error.message, now_us);
        tern_publication_conclude(&publication);
        return;
    }
    finish(looking, looking->trying);
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
    looking.due = calloc(4u * looking.count + 1u, sizeof *looking.due);
    if (looking.due == NULL)
        return;
    looking.take_live = looking.due + looking.count;
    looking.failed = looking.due + 2 * looking.count;
    looking.trying = looking.due + 3 * looking.count;
    tern_sources_due(context->sources, tern_clock_now_us(), looking.due, looking.count);
    /* Each attempt takes at least one out, but for one that cannot tell which. */
    while (count_of(looking.due, looking.count) != 0) {
        tern_job_reset(job);
        attempt(context, job, &looking);
    }
    free(looking.due);
}
