/* The few messages of the control API (shared/proto/tern.proto) that libtern speaks, as bytes. Made
 * and read by hand, so that a program that links libtern links nothing else. Not installed. */
#ifndef TERN_CLIENTS_CONTROL_H
#define TERN_CLIENTS_CONTROL_H

#include "clients/c/tern_vectors.h"

struct tern_control_buffer {
    uint8_t *data;
    size_t length, capacity;
};

#pragma GCC visibility push(hidden)

/* Each appends one frame. TERN_ENOMEM, TERN_ELIMIT. */
int tern_control_put_upsert(struct tern_control_buffer *out,
                            const struct tern_vectors_collection *shape, const char *name,
                            uint64_t ticket, const struct tern_vectors_item *vectors,
                            unsigned count);
int tern_control_put_delete(struct tern_control_buffer *out, const char *name, uint64_t ticket,
                            const uint64_t *ids, unsigned count);
int tern_control_put_question(struct tern_control_buffer *out, const char *name);

enum tern_control_kind {
    TERN_CONTROL_OTHER, /* to be passed over */
    TERN_CONTROL_FAILURE,
    TERN_CONTROL_ACKNOWLEDGEMENT,
    TERN_CONTROL_COLLECTION,
};
struct tern_control_reply {
    enum tern_control_kind kind;
    struct tern_vectors_ack ack; /* a failure: rc and message */
    struct tern_vectors_collection collection;
};

/* Looks for a whole frame at the start of `length` bytes: 0 with its length, TERN_EAGAIN when more
 * must come, TERN_ECORRUPT. */
int tern_control_peek(const uint8_t *data, size_t length, size_t *frame);
/* Reads the message of a frame (without its four bytes of length). TERN_ECORRUPT. */
int tern_control_read(const uint8_t *message, size_t length, struct tern_control_reply *reply);

#pragma GCC visibility pop

#endif
