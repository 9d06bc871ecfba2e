/* The decision log as it lies in the board: a ring of records for each loop, written by the loop
 * after every vector of decisions and drained to files by tern-control.
 *
 * The writer never waits: it writes over the oldest records. A reader copies first and looks at the
 * head afterwards (a sequence lock over the whole ring: Boehm, "Can seqlocks get along with
 * programming language memory models?", 2012), so a record that may have been overwritten while it
 * was copied is counted as lost and never shown. */
#ifndef TERN_DECISION_LOG_H
#define TERN_DECISION_LOG_H

#include "shared/base.h"
#include "shared/layout.h"
#include "shared/limits.h"

enum tern_log_kind {
    TERN_LOG_DECISION = 1,
    TERN_LOG_TRACE = 2, /* the trace context of the decision right before it */
};

/* One decision. */
struct tern_log_record {
    uint64_t at_us; /* wall clock */
    uint64_t decision_key;
    uint64_t generation;
    uint32_t rule; /* 1-based in that generation, 0: none */
    float score;
    uint8_t action;
    uint8_t tier;
    uint16_t flags; /* enum tern_verdict_flags */
    uint8_t cause;  /* enum tern_cause */
    uint8_t kind;   /* enum tern_log_kind */
    uint16_t item;  /* index in its request */
    uint32_t request_id;
    uint32_t stage_ns[5]; /* recv, decode, tier1, queue, tier2: of the vector it was decided in */
};
TERN_LAYOUT_SIZE(tern_log_record, 64);
TERN_LAYOUT_FIELD(tern_log_record, at_us, 0);
TERN_LAYOUT_FIELD(tern_log_record, decision_key, 8);
TERN_LAYOUT_FIELD(tern_log_record, generation, 16);
TERN_LAYOUT_FIELD(tern_log_record, rule, 24);
TERN_LAYOUT_FIELD(tern_log_record, score, 28);
TERN_LAYOUT_FIELD(tern_log_record, action, 32);
TERN_LAYOUT_FIELD(tern_log_record, tier, 33);
TERN_LAYOUT_FIELD(tern_log_record, flags, 34);
TERN_LAYOUT_FIELD(tern_log_record, cause, 36);
TERN_LAYOUT_FIELD(tern_log_record, kind, 37);
TERN_LAYOUT_FIELD(tern_log_record, item, 38);
TERN_LAYOUT_FIELD(tern_log_record, request_id, 40);
TERN_LAYOUT_FIELD(tern_log_record, stage_ns, 44);

/* The second record of a traced decision: the 25 bytes that came with the request. */
struct tern_log_trace {
    uint8_t context[25]; /* W3C: trace id (16), parent id (8), flags */
    uint8_t reserved0[12];
    uint8_t kind; /* TERN_LOG_TRACE, where a decision has its kind */
    uint8_t reserved1[26];
};
TERN_LAYOUT_SIZE(tern_log_trace, 64);
TERN_LAYOUT_FIELD(tern_log_trace, context, 0);
TERN_LAYOUT_FIELD(tern_log_trace, reserved0, 25);
TERN_LAYOUT_FIELD(tern_log_trace, kind, 37);
TERN_LAYOUT_FIELD(tern_log_trace, reserved1, 38);
_Static_assert(offsetof(struct tern_log_trace, kind) == offsetof(struct tern_log_record, kind),
               "a record of either kind says which it is");

#define TERN_LOG_RECORDS 32768u /* 2 MiB a loop; a power of two */
/* So many records at most are written between two stores of the head: a vector, all of it traced.
 */
#define TERN_LOG_BURST (2 * TERN_VECTOR_WIDTH)

/* A loop's ring. `head` is stored (release) when a burst is written. */
struct tern_log_ring {
    _Atomic uint64_t head TERN_ALIGNED(64); /* records written, ever */
    struct tern_log_record records[TERN_LOG_RECORDS] TERN_ALIGNED(64);
};
TERN_LAYOUT_SIZE(tern_log_ring, 2097216);
TERN_LAYOUT_FIELD(tern_log_ring, head, 0);
TERN_LAYOUT_FIELD(tern_log_ring, records, 64);

/* The head from which the writer goes on; from here to tern_log_end at most TERN_LOG_BURST records.
 */
static inline uint64_t tern_log_begin(const struct tern_log_ring *ring)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

    /* Whoever sees a word of this burst sees the head it starts from: pairs with the acquire fence
     * of tern_log_read. */
    atomic_thread_fence(memory_order_release);
    return head;
}

#define TERN_LOG_WORDS (sizeof(struct tern_log_record) / sizeof(uint64_t))

/* Writes a record, word by word and relaxed: a reader may be at it, and finds out that it was. */
static inline void tern_log_put(struct tern_log_ring *ring, uint64_t index,
                                const uint64_t words[TERN_LOG_WORDS])
{
    uint64_t *to = (uint64_t *)&ring->records[index & (TERN_LOG_RECORDS - 1)];

    for (unsigned i = 0; i < TERN_LOG_WORDS; i++)
        __atomic_store_n(&to[i], words[i], __ATOMIC_RELAXED);
}

static inline void tern_log_end(struct tern_log_ring *ring, uint64_t head)
{
    atomic_store_explicit(&ring->head, head, memory_order_release); /* pairs with tern_log_read */
}

/* For prefetching what is written next. */
static inline const void *tern_log_address(const struct tern_log_ring *ring, uint64_t index)
{
    return &ring->records[index & (TERN_LOG_RECORDS - 1)];
}

static inline const struct tern_log_trace *tern_log_as_trace(const struct tern_log_record *record)
{
    return (const struct tern_log_trace *)record;
}

/* Copies at most `capacity` (at least 2) records from `*position` on into `records`, and moves
 * `*position` past them. Returns how many; those that were overwritten before or while they were
 * copied are added to
 * `*lost`. A position past the head (the ring has another owner now) starts at the oldest record
 * there is. What it yields never ends between a decision and its trace context. One reader a
 * position; never waits, never writes to the ring. */
unsigned tern_log_read(const struct tern_log_ring *ring, uint64_t *position,
                       struct tern_log_record *records, unsigned capacity, uint64_t *lost);

#endif
