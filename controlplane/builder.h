/* The builder: the one thread that applies, restores, rolls back and refreshes, so that the main
 * thread can say at any time how far it is. Jobs wait in a short queue and run one after the other;
 * every one leaves a history row and an audit record. Between them, sources that are due are
 * refreshed, and memory is reclaimed. The thread yields to everything else once something is
 * served. */
#ifndef TERN_BUILDER_H
#define TERN_BUILDER_H

#include "controlplane/apply.h"
#include "controlplane/sources.h"
#include "controlplane/store.h"

#define TERN_JOBS_WAITING_MAX 8u

enum tern_job_kind {
    TERN_JOB_START, /* what --config asks for, else the last good generation */
    TERN_JOB_APPLY,
    TERN_JOB_ROLLBACK,
    TERN_JOB_RESUME,  /* refreshes that a rollback holds */
    TERN_JOB_DROP,    /* vectors of a collection that is not configured any more */
    TERN_JOB_REFRESH, /* the builder's own: sources that are due */
};

struct tern_job {
    enum tern_job_kind kind;
    char *path;          /* absolute; NULL for rollbacks and for a start without --config */
    char *message;       /* the operator's, may be NULL */
    char *collection;    /* drop: its name */
    bool dry_run;        /* of a drop: only counts */
    bool force_change;   /* apply: max_change is not checked */
    bool new_schema;     /* apply: ids may change */
    bool resume;         /* start: leave alone what is served already */
    bool rules_only;     /* rollback: its rules over what is served now */
    uint64_t generation; /* rollback: the wanted one, 0: the one served before */
    uint64_t owner;      /* the connection that asked, 0: nobody */
    uint32_t uid, pid;

    /* filled by the builder */
    int rc;
    struct tern_error error;
    struct tern_diagnostics diagnostics;
    struct tern_config *config; /* the diagnostics' places point into it */
    struct tern_apply_result result;
    uint64_t live_generation; /* what was served when it began */
    uint64_t restored_from;
    struct tern_sources_hold hold; /* resume: what is over now */
    uint64_t vectors;              /* drop: that were there */
    char summary[512];             /* of what changed, in one line */
    struct tern_job *next;
};
void tern_job_free(struct tern_job *job);

struct tern_builder;

struct tern_builder_options {
    struct tern_pipeline *pipeline; /* used by the builder's thread alone, but for its status */
    struct tern_store *store;       /* likewise, without exception */
    struct tern_sources *sources;   /* likewise, but for copies of it */
    struct tern_collections *collections; /* NULL: vectors cannot be written */
    int wake_fd; /* an eventfd: written when there is progress or a result */
};

/* Starts the thread. Options are copied; what they point to outlives the builder. */
int tern_builder_start(const struct tern_builder_options *options, struct tern_builder **builder,
                       struct tern_error *error);

/* Queues `job` and takes it over; TERN_EBUSY (the job stays the caller's) when the queue is full.
 */
int tern_builder_submit(struct tern_builder *builder, struct tern_job *job);

/* Forgets jobs of `owner` that have not begun: nobody waits for them any more. */
void tern_builder_cancel(struct tern_builder *builder, uint64_t owner);

/* The next finished job, now the caller's, or NULL. */
struct tern_job *tern_builder_collect(struct tern_builder *builder);

struct tern_builder_state {
    bool running;
    bool starting; /* the start's job is not finished */
    uint64_t owner;
    unsigned waiting;
    uint64_t sequence; /* grows with every change of what follows */
    char step[96];
    unsigned permille;
    uint64_t rows;
    uint64_t started_at_us;
    char path[256];
};
void tern_builder_state(struct tern_builder *builder, struct tern_builder_state *state);

/* Ends the thread once its present job is finished, waiting at most `timeout_us`. True when it has
 * ended; false when it is still building: its memory, pipeline and store must then be left alone
 * until the process ends (which is safe at any instant). */
bool tern_builder_stop(struct tern_builder *builder, uint64_t timeout_us);

#endif
