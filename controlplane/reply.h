/* What the control plane knows, as messages of the control API appended to a connection's output.
 * All functions return 0, TERN_ENOMEM or TERN_ELIMIT. */
#ifndef TERN_REPLY_H
#define TERN_REPLY_H

#include "controlplane/builder.h"
#include "controlplane/decisions/drain.h"
#include "controlplane/directory.h"
#include "shared/buffer.h"
#include "shared/proto/tern.pb-c.h"

#define TERN_REPLY_DIAGNOSTICS_MAX 1000u /* of one job; the rest is counted */

int tern_reply_failure(struct tern_buffer *out, int code, const char *message);
int tern_reply_progress(struct tern_buffer *out, const struct tern_builder_state *state,
                        bool waiting);
/* The diagnostics, then Published or Failure. */
int tern_reply_job(struct tern_buffer *out, const struct tern_job *job);
/* One table of a result; the message points into `from`. */
void tern_reply_fill_table(Tern__Control__TableResult *to, const struct tern_apply_table *from);
/* reply_collections.c: likewise; lists in one allocation each, which free(*items), free(*list) give
 * back. */
int tern_reply_collection_results(const struct tern_apply_result *result,
                                  Tern__Control__CollectionResult **items,
                                  Tern__Control__CollectionResult ***list);
int tern_reply_collection_statuses(const struct tern_collection_status *statuses, unsigned count,
                                   Tern__Control__CollectionStatus **items,
                                   Tern__Control__CollectionStatus ***list);
int tern_reply_audit(struct tern_buffer *out, const struct tern_audit_row *rows, unsigned count);
int tern_reply_history(struct tern_buffer *out, const struct tern_history_row *rows, unsigned count,
                       uint64_t generation);

struct tern_reply_status {
    const struct tern_directories *directories;
    uint64_t started_at_us;
    const struct tern_pipeline_status *pipeline;
    const struct tern_builder_state *builder;
    const struct tern_history_row *last_publish;  /* NULL: never */
    const struct tern_history_row *last_failure;  /* NULL: none since the last success */
    const struct tern_drain_status *decision_log; /* NULL: none */
    const struct tern_sources_copy *sources;
    const struct tern_collection_status *collections;
    unsigned collection_count;
};
int tern_reply_status(struct tern_buffer *out, const struct tern_reply_status *status);

#endif
