/* libtern, the writing side: vectors into a collection of a tern on this machine, through the
 * control API (RUN_DIR/control.sock; only the user that runs tern-control and root may).
 *
 *     struct tern_vectors *docs;
 *     struct tern_vectors_item batch[100] = {{.id = 7, .values = embedding}, …};
 *     struct tern_vectors_ack ack;
 *
 *     tern_vectors_open("unix:///run/tern/edge/control.sock", "docs", NULL, &docs, &error);
 *     tern_vectors_upsert(docs, batch, 100, NULL, &error);
 *     tern_vectors_collect(docs, &ack, &error);
 *
 * An acknowledgement with rc 0 means: the whole batch is on disk and every search finds it. Several
 * batches may be in flight; acknowledgements come in their order. Everything is idempotent: what
 * broke in the middle is simply written again.
 *
 * A `struct tern_vectors` is one connection and belongs to one thread at a time. Functions return 0
 * or a negative TERN_E* and say in `error` (may be NULL) what went wrong; output parameters stay
 * untouched on failure. A connection that breaks is not made anew: acknowledgements
 * that have come are still collected, then TERN_ECLOSED: the rest may or may not have been written.
 * SIGPIPE is never raised. */
#ifndef TERN_VECTORS_H
#define TERN_VECTORS_H

#include "shared/error.h"

#define TERN_VECTORS_BATCH_MAX   1024u      /* vectors or ids */
#define TERN_VECTORS_BATCH_BYTES (8u << 20) /* about, with payloads */
#define TERN_VECTORS_COLUMNS_MAX 16u
#define TERN_VECTORS_FLIGHT_MAX  32u

struct tern_vectors;

struct tern_vectors_options { /* zero in any member means its default */
    uint32_t timeout_ms;      /* of every call; default 10000 */
    uint32_t in_flight;       /* batches that are not acknowledged, 1…32; default 8 */
};

/* Connects and asks what the collection takes. TERN_EINVAL the address; TERN_EUNREACHABLE nobody
 * there; TERN_EACCES another user's; TERN_ENOENT no such collection; TERN_ETIMEDOUT; TERN_ECORRUPT
 * not a tern; TERN_ENOMEM. */
int tern_vectors_open(const char *address, const char *collection,
                      const struct tern_vectors_options *options, struct tern_vectors **vectors,
                      struct tern_error *error);
/* Closes and frees; NULL is fine. What was sent will be written all the same. */
void tern_vectors_close(struct tern_vectors *vectors);

struct tern_vectors_column {
    char name[64];
    uint8_t type; /* the wire's: 2 string, 3 u64, 4 i64, 5 f32, 6 bool, 8 u32 (shared/schema.h) */
};
struct tern_vectors_collection {
    uint32_t id, dim;
    uint64_t capacity;
    char metric[8]; /* "cosine", "l2", "dot" */
    unsigned column_count;
    struct tern_vectors_column columns[TERN_VECTORS_COLUMNS_MAX];
};
/* What it was when it was opened. */
const struct tern_vectors_collection *tern_vectors_collection(const struct tern_vectors *vectors);

struct tern_vectors_value { /* of one payload column */
    bool present;
    union {
        uint64_t u64; /* u64, u32, bool */
        int64_t i64;
        float f32;
        struct {
            const char *bytes; /* UTF-8, at most 1024 bytes */
            uint32_t length;
        } string;
    };
};

struct tern_vectors_item {
    uint64_t id;
    const float *values;                      /* dim, finite */
    const struct tern_vectors_value *payload; /* in the order of the columns; NULL: none */
};

/* Sends a batch, all or nothing, and does not wait for its acknowledgement. Of two vectors of one
 * id the later one counts. `ticket` (may be NULL): the number that comes back with it, from 1 on.
 * TERN_EAGAIN: `in_flight` batches are not collected yet; TERN_ELIMIT too many or too large;
 * TERN_ETIMEDOUT nobody takes it; TERN_ECLOSED; TERN_ENOMEM. */
int tern_vectors_upsert(struct tern_vectors *vectors, const struct tern_vectors_item *items,
                        unsigned count, uint64_t *ticket, struct tern_error *error);
/* Likewise, for ids that are to go. Those that are not there are no error. */
int tern_vectors_delete(struct tern_vectors *vectors, const uint64_t *ids, unsigned count,
                        uint64_t *ticket, struct tern_error *error);

struct tern_vectors_ack {
    uint64_t ticket;
    uint64_t seq;     /* grows with every write of the store; 0: nothing had to change */
    uint32_t written; /* vectors */
    uint32_t removed; /* ids that were there */
    int rc;           /* 0, or why nothing of the batch was written */
    uint32_t refused; /* the place in the batch, from 1, that is the reason; 0: no single one is */
    char message[512];
};
/* Waits for the next acknowledgement. TERN_ENOENT nothing is in flight; TERN_ETIMEDOUT (it may
 * still come); TERN_ECLOSED; TERN_ECORRUPT. */
int tern_vectors_collect(struct tern_vectors *vectors, struct tern_vectors_ack *ack,
                         struct tern_error *error);

/* Whether the next one has been received already: tern_vectors_collect does not wait then, though
 * the socket may not be readable. */
bool tern_vectors_waiting(const struct tern_vectors *vectors);

/* Batches that are not collected yet. */
unsigned tern_vectors_in_flight(const struct tern_vectors *vectors);
/* The socket, for poll(): readable when more than what _waiting knows has come. −1 once it is
 * closed. */
int tern_vectors_fd(const struct tern_vectors *vectors);

#endif
