/* One publish as the history sees it: the row that is written before the swap and completed after
 * it, the progress that is passed on, and the log lines. Used by the builder's thread. */
#ifndef TERN_PUBLICATION_H
#define TERN_PUBLICATION_H

#include "controlplane/job.h"

struct tern_publication {
    const struct tern_job_context *context;
    struct tern_job *job;
    const struct tern_config *config; /* what would be served, NULL: not known */
    struct tern_history_row row;      /* borrows its texts */
    struct tern_error error;          /* of the store */
    uint64_t began_us;
    bool quiet;      /* a look ahead whose outcome is nobody's news */
    bool unrecorded; /* a failure that history has already */
};

void tern_publication_begin(struct tern_publication *publication,
                            const struct tern_job_context *context, struct tern_job *job,
                            enum tern_history_kind kind);
/* Says which configuration it is about; its texts go into the row. */
void tern_publication_of(struct tern_publication *publication, const struct tern_config *config);
/* Progress and `publishing` of an apply or a restore go through the publication. */
void tern_publication_options(struct tern_publication *publication,
                              struct tern_apply_options *options);
/* Completes the row with whatever came out in the job, and logs it. */
void tern_publication_conclude(struct tern_publication *publication);

#endif
