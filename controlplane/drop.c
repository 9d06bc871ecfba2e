/* The end of what is left of a collection. Runs among the other jobs, so that no apply takes the
 * name into use meanwhile. */
#include "controlplane/job.h"
#include "controlplane/log.h"

#include <inttypes.h>

struct dropping {
    const struct tern_job_context *context;
    const struct tern_job *job;
};

static void report(void *context, uint64_t done)
{
    const struct dropping *dropping = context;
    uint64_t all = tern_max_u64(dropping->job->vectors, 1);
    char step[TERN_NAME_MAX + 16];
    const struct tern_progress progress = {.step = step,
                                           /* Rows of removed vectors are not in the total. */
                                           .permille =
                                               (unsigned)(tern_min_u64(done, all) * 1000 / all),
                                           .rows = done};

    snprintf(step, sizeof step, "dropping %.63s", dropping->job->collection);
    dropping->context->progress(dropping->context->progress_context, &progress);
}

static int check(const struct tern_job_context *context, struct tern_job *job)
{
    if (context->collections == NULL)
        return tern_error_set(
            &job->error, TERN_ENOTSUP,
            "tern-control cannot write vectors: see what it said when it started");
    if (job->live_generation == 0)
        return tern_error_set(&job->error, TERN_EAGAIN,
                              "nothing is served yet: it is not known which collections are used");
    /* One that is served may have no object, and be unknown to the thread. */
    if (tern_pipeline_has_collection(context->pipeline, job->collection))
        return tern_error_set(&job->error, TERN_EBUSY,
                              "collection %.63s is configured in generation %" PRIu64
                              ", which is served: take it out first (`ternctl apply --new-schema`)",
                              job->collection, job->live_generation);
    return tern_collections_left_over(context->collections, job->collection, &job->vectors,
                                      &job->error);
}

void tern_job_drop(const struct tern_job_context *context, struct tern_job *job)
{
    static const struct tern_store_load none = {.state = TERN_STORE_LOAD_NONE};
    struct dropping dropping = {context, job};

    job->rc = check(context, job);
    if (job->rc != 0 || job->dry_run)
        return;
    /* First its first load: whatever happens next, the name begins anew. */
    job->rc =
        tern_store_set_load(context->store, job->collection,
                            tern_collections_store_id(context->collections), &none, &job->error);
    if (job->rc == 0)
        job->rc = tern_collections_drop(context->collections, job->collection, report, &dropping,
                                        &job->error);
    if (job->rc != 0)
        return;
    snprintf(job->summary, sizeof job->summary, "%" PRIu64 " vector%s", job->vectors,
             job->vectors == 1 ? "" : "s");
    tern_control_log(TERN_LOG_INFO, "collection %s is dropped: %s", job->collection, job->summary);
}
