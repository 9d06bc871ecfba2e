/* One client: what it has sent and is not answered yet, what waits to be sent, and when to give up.
 *
 * Input that cannot be used at once (part of a frame, frames behind a large batch or behind a
 * client that does not read) is kept in `input`; everything else is used where it was received.
 * Output is double-buffered: `sending` belongs to the one send in flight, `output` fills meanwhile.
 * A connection belongs to one loop and is touched by its thread only. */
#ifndef TERN_DATAPLANE_CONNECTION_H
#define TERN_DATAPLANE_CONNECTION_H

#include "dataplane/pool.h"
#include "dataplane/wheel.h"
#include "shared/base.h"
#include "shared/wire.h"

/* Output marks: over the high one the client's requests wait, under the low one they go on. */
#define TERN_OUTPUT_HIGH_BYTES (256u << 10)
#define TERN_OUTPUT_LOW_BYTES  (64u << 10)
/* Input a client may have waiting before its socket is no longer read. */
#define TERN_INPUT_HIGH_BYTES (64u << 10)
_Static_assert(TERN_OUTPUT_LOW_BYTES < TERN_OUTPUT_HIGH_BYTES, "hysteresis");

/* How long a finished connection waits for its client to close too. */
#define TERN_LINGER_NS 1000000000ull

enum tern_connection_state {
    TERN_CONNECTION_FREE = 0,
    TERN_CONNECTION_OPEN,
    TERN_CONNECTION_ENDING,    /* the client has finished sending: answer the rest, then close */
    TERN_CONNECTION_LINGERING, /* we have finished: flush, shut down, discard what still comes */
    TERN_CONNECTION_CLOSING,   /* waits for the backend to let go */
};

/* Why the frames that a connection has sent stay in its kept input. */
enum tern_connection_wait {
    TERN_WAIT_NONE = 0,
    TERN_WAIT_BATCH, /* the first is a DECIDE that is worked on in slices, a turn each */
    TERN_WAIT_SHARE, /* the first may search, and the turn's share for searches is spent */
};

/* A DECIDE of more items than a vector, or of more searches than a turn: see batch.c. */
struct tern_batch {
    bool validated;
    bool cancelled; /* by its client: ends instead of its next slice */
    uint16_t count;
    uint16_t item;       /* next one */
    uint32_t at;         /* its offset in the body */
    uint32_t body;       /* offset of the body in the frame: past header and trace context */
    uint64_t arrived_ns; /* and what its slices took until now: see timing.h */
    uint64_t decode_ns, tier1_ns, encode_ns;
    uint32_t frame_bytes;
    uint32_t noticed; /* bytes of the kept input that were searched for a CANCEL, whole frames */
};

/* What a connection has shown of `tokens:`; anything from 1 is the number of the token. */
enum tern_connection_token {
    TERN_TOKEN_MISSING = 0,
    TERN_TOKEN_NOT_NEEDED = 255,
};

struct tern_parked;

struct tern_connection {
    /* touched for every receive */
    int fd;
    uint32_t index;
    uint32_t generation; /* of this slot: tells late completions of an earlier owner apart */
    uint32_t era;        /* of the schema it was opened under, 0: before there was one */
    uint8_t state;       /* enum tern_connection_state */
    bool dirty;          /* on the loop's list of those with something to send or re-arm */
    uint8_t waits;       /* enum tern_connection_wait */
    bool queued;         /* in one of the loop's queues, which `waits` names */
    bool paused;         /* not read until output or input drains */
    bool was_shut;       /* our direction is shut down */
    bool refused;        /* given its last answer: what else it sent is not looked at */
    uint8_t token;       /* enum tern_connection_token, or which one it has shown */
    /* kept by the backend */
    bool receiving;
    bool sending_now;
    bool cancelling;
    uint8_t references; /* operations in flight */
    uint32_t events;    /* epoll: what is registered */

    struct tern_block input;
    uint32_t input_start, input_end;
    struct tern_block output;
    uint32_t output_end;
    struct tern_block sending;
    uint32_t sending_start, sending_end;

    uint64_t active_ns;  /* last byte in, or reply out */
    uint64_t partial_ns; /* first byte of the unfinished frame, 0: none */
    uint64_t stalled_ns; /* last progress of the output while some waits, 0: none does */
    uint64_t until_ns;   /* ended then: no token came, or its schema is gone; 0: never */
    uint64_t held_ns;    /* since when it waits for its share */
    uint64_t gathers_ns; /* since when answers of it wait for those behind them, 0: none do */
    uint64_t progress;   /* how much the client had taken when it was last suspected of stalling */
    struct tern_timer timer;
    struct tern_batch batch;
    struct tern_parked *parked;   /* what helpers work on for it */
    struct tern_connection *next; /* in the dirty, free list */
    struct tern_connection *next_queued;
} TERN_ALIGNED(64);

static inline size_t tern_connection_unsent(const struct tern_connection *connection)
{
    return connection->output_end + (size_t)(connection->sending_end - connection->sending_start);
}

static inline size_t tern_connection_unread(const struct tern_connection *connection)
{
    return connection->input_end - connection->input_start;
}

/* Kept input that waits for its turn: all but the batch that is being worked on. */
static inline size_t tern_connection_waiting(const struct tern_connection *connection)
{
    size_t unread = tern_connection_unread(connection);

    return connection->waits == TERN_WAIT_BATCH
               ? unread - tern_min_u64(unread, connection->batch.frame_bytes)
               : unread;
}

/* True while frames of this client have to wait their turn. */
static inline bool tern_connection_is_blocked(const struct tern_connection *connection)
{
    return connection->waits != TERN_WAIT_NONE ||
           tern_connection_unsent(connection) > TERN_OUTPUT_HIGH_BYTES;
}

/* Connections that go on in a later turn, in this order. */
struct tern_connection_queue {
    struct tern_connection *first, *last;
};

static inline void tern_connection_queue_push(struct tern_connection_queue *queue,
                                              struct tern_connection *connection)
{
    connection->queued = true;
    connection->next_queued = NULL;
    if (queue->first == NULL)
        queue->first = connection;
    else
        queue->last->next_queued = connection;
    queue->last = connection;
}

static inline void tern_connection_queue_pop(struct tern_connection_queue *queue)
{
    struct tern_connection *connection = queue->first;

    queue->first = connection->next_queued;
    connection->next_queued = NULL;
    connection->queued = false;
}

/* Appends to the kept input. TERN_ELIMIT or TERN_ENOMEM when there is no memory for it. */
int tern_connection_keep(struct tern_pool *pool, struct tern_connection *connection,
                         const uint8_t *bytes, size_t length);

/* Forgets `bytes` of the kept input; gives the block back when that was all. */
void tern_connection_forget(struct tern_pool *pool, struct tern_connection *connection,
                            size_t bytes);

/* Room for `bytes` more of output; what is really written is added to `output_end`. NULL when there
 * is no memory for it. */
uint8_t *tern_connection_reserve_slow(struct tern_pool *pool, struct tern_connection *connection,
                                      size_t bytes);
static inline uint8_t *tern_connection_reserve(struct tern_pool *pool,
                                               struct tern_connection *connection, size_t bytes)
{
    if (TERN_LIKELY(connection->output_end + bytes <= connection->output.capacity))
        return connection->output.data + connection->output_end;
    return tern_connection_reserve_slow(pool, connection, bytes);
}

/* The loop's connections: address space for all that the settings allow, touched as they come. */
struct tern_connection_table {
    struct tern_connection *all;
    size_t bytes;
    uint32_t limit;
    uint32_t used; /* slots ever used */
    uint32_t open;
    struct tern_connection *free;
};

int tern_connection_table_open(struct tern_connection_table *table, uint32_t limit,
                               struct tern_error *error);
void tern_connection_table_close(struct tern_connection_table *table);

/* A slot with index, generation and fd set, state OPEN; NULL when all are taken. */
struct tern_connection *tern_connection_take(struct tern_connection_table *table, int fd);
/* Gives back blocks and slot; the caller has closed the fd. */
void tern_connection_give(struct tern_connection_table *table, struct tern_pool *pool,
                          struct tern_connection *connection);

#endif
