/* Frames in, replies out: the protocol of docs/protocol.md. */
#ifndef TERN_DATAPLANE_REQUEST_H
#define TERN_DATAPLANE_REQUEST_H

#include "dataplane/connection.h"
#include "dataplane/worker.h"
#include "shared/wire.h"

/* Runs the complete frames in `bytes`, until one has to wait (tern_connection_is_blocked) or the
 * connection is given up. Returns how many bytes are done with. DECIDE items may still wait in the
 * worker's vector and refer to `bytes`: call tern_worker_decide before they go away. */
size_t tern_request_run(struct tern_worker *worker, struct tern_connection *connection,
                        const uint8_t *bytes, size_t length);

/* Length of the frame that begins at `bytes` with header, 0 when the header is not complete; a
 * negative status (−TERN_STATUS_…) when it can be none. */
int64_t tern_request_measure(const struct tern_worker *worker,
                             const struct tern_connection *connection, const uint8_t *bytes,
                             size_t length);

/* Answers a frame that cannot be one, and ends the connection. */
void tern_request_refuse(struct tern_worker *worker, struct tern_connection *connection,
                         const uint8_t *bytes, size_t length, enum tern_status status);

/* Room for a reply frame of `body_bytes` with its header written; the body starts where it points.
 * NULL when the connection was closed for want of memory. */
uint8_t *tern_reply_begin(struct tern_worker *worker, struct tern_connection *connection,
                          const struct tern_frame *request, enum tern_status status,
                          size_t body_bytes);

/* Counts an answer that is none. */
void tern_reply_count(struct tern_worker *worker, enum tern_status status);

/* A reply of `status` with `message` as its body. */
void tern_reply_status(struct tern_worker *worker, struct tern_connection *connection,
                       const struct tern_frame *request, enum tern_status status,
                       const char *message);

/* Offers on a large DECIDE (batch.c): runs a slice of it until `until_ns`; returns true when it is
 * answered whole (or refused) and its frame is forgotten. */
bool tern_batch_run(struct tern_worker *worker, struct tern_connection *connection,
                    uint64_t until_ns);

/* Looks through what has arrived behind a batch for a CANCEL of it; tern_batch_run then ends it. */
void tern_batch_notice(struct tern_connection *connection);

/* HELLO, LOOKUP, DESCRIBE, EXPLAIN (query.c). `body` is without trace context. */
void tern_query_hello(struct tern_worker *worker, struct tern_connection *connection,
                      const struct tern_frame *frame, const uint8_t *body, size_t length);
void tern_query_lookup(struct tern_worker *worker, struct tern_connection *connection,
                       const struct tern_frame *frame, const uint8_t *body, size_t length);
void tern_query_describe(struct tern_worker *worker, struct tern_connection *connection,
                         const struct tern_frame *frame, const uint8_t *body, size_t length);
void tern_query_explain(struct tern_worker *worker, struct tern_connection *connection,
                        const struct tern_frame *frame, const uint8_t *body, size_t length);

#endif
