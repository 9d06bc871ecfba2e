/* One job from beginning to end: read, publish through the pipeline, write history. */
#ifndef TERN_JOB_H
#define TERN_JOB_H

#include "controlplane/builder.h"

struct tern_job_context {
    struct tern_pipeline *pipeline;
    struct tern_store *store;
    void (*progress)(void *context, const struct tern_progress *progress);
    void *progress_context;
};

/* Runs `job` and fills its results; logs what the operator must know. */
void tern_job_run(const struct tern_job_context *context, struct tern_job *job);

#endif
