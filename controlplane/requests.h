/* What a request of the control API asks for: state that is read and told at once, a job for the
 * builder, or a write of vectors. */
#ifndef TERN_REQUESTS_H
#define TERN_REQUESTS_H

#include "controlplane/api.h"
#include "shared/buffer.h"

/* Of a connection: who asks, and what its requests have led to. */
struct tern_asker {
    uint64_t id; /* owner of its jobs and batches */
    uint32_t uid, pid;
    struct tern_buffer out; /* replies; sending them is the connection's */
    bool pending;           /* a job of it is queued or runs */
    bool held;              /* its next request is a write that has to wait for others */
    bool closing;           /* once `out` is sent */
    unsigned writes;        /* batches whose acknowledgements are to come */
    uint64_t sequence;      /* of the builder's state last told */
};

/* Answers one request, or begins what will be. TERN_EAGAIN: not yet, ask again with the same bytes
 * (`held` is set); another error: the connection is to be dropped. */
int tern_requests_answer(const struct tern_api_options *api, struct tern_asker *asker,
                         const uint8_t *data, size_t length);

#endif
