/* Vectors by way of the control API: messages to batches, acknowledgements to messages. */
#ifndef TERN_WRITES_H
#define TERN_WRITES_H

#include "controlplane/collections/collections.h"
#include "shared/buffer.h"
#include "shared/proto/tern.pb-c.h"

/* Submits the batch for `owner`. 0: its acknowledgement comes through tern_collections_collect.
 * TERN_EAGAIN: not now, ask again after the next one was collected. TERN_EREFUSED: an
 * acknowledgement that says why is in `out`. TERN_ENOMEM, TERN_ELIMIT. `collections` NULL: refused.
 */
int tern_writes_upsert(struct tern_collections *collections, uint64_t owner,
                       const Tern__Control__Upsert *request, struct tern_buffer *out);
int tern_writes_delete(struct tern_collections *collections, uint64_t owner,
                       const Tern__Control__Delete *request, struct tern_buffer *out);

/* Appends what became of a batch. */
int tern_writes_acknowledge(struct tern_buffer *out, const struct tern_collection_ack *ack);

/* Appends the vector of one id, or why there is none. */
int tern_writes_lookup(struct tern_collections *collections,
                       const Tern__Control__VectorRequest *request, struct tern_buffer *out);

/* Appends what a collection takes, or why there is none. */
int tern_writes_describe(struct tern_collections *collections, const char *name,
                         struct tern_buffer *out);

#endif
