/* One job from beginning to end: read, publish through the pipeline, write history and audit. */
#ifndef TERN_JOB_H
#define TERN_JOB_H

#include "controlplane/builder.h"

struct tern_job_context {
    struct tern_pipeline *pipeline;
    struct tern_store *store;
    struct tern_sources *sources;
    struct tern_collections *collections; /* NULL: vectors cannot be written */
    bool *history_open;                   /* a row still says `publishing` though it went live */
    void (*progress)(void *context, const struct tern_progress *progress);
    void *progress_context;
};

/* Runs `job` and fills its results; logs what the operator must know. */
void tern_job_run(const struct tern_job_context *context, struct tern_job *job);

/* The parts of it, one file each. */

/* refresh.c: looks at every source that is due. */
void tern_job_refresh(const struct tern_job_context *context, struct tern_job *job);

/* rollback.c */
void tern_job_roll_back(const struct tern_job_context *context, struct tern_job *job);
void tern_job_resume(const struct tern_job_context *context, struct tern_job *job);
/* drop.c: ends what is left of a collection that nothing that is served has. */
void tern_job_drop(const struct tern_job_context *context, struct tern_job *job);
/* rollback.c again. A collection of what is served could not be taken over, or has no object:
 * publishes the generation again with one that is built from the store. */
void tern_job_renew(const struct tern_job_context *context, struct tern_job *job);
/* Nothing is served: publishes the newest generation that is still kept whole. */
void tern_job_restore_last(const struct tern_job_context *context, struct tern_job *job);

/* job.c: what is served has changed, as job->result says. Takes over `config` (may be NULL). */
void tern_job_serve(const struct tern_job_context *context, struct tern_job *job,
                    struct tern_config *config);
/* The newest row that was served, with texts: of `generation`, or of any but `not_generation` when
 * it is 0. TERN_ENOENT; clear it with tern_history_row_clear. */
int tern_job_find_row(const struct tern_job_context *context, uint64_t generation,
                      uint64_t not_generation, struct tern_history_row *row,
                      struct tern_error *error);
/* The configuration of a row; NULL when it is not kept any more or cannot be read. */
struct tern_config *tern_job_config_of(const struct tern_history_row *row);
/* Forgets what a first attempt of the same job left behind. */
void tern_job_reset(struct tern_job *job);

#endif
