/* The board: where readers say what they use and count what they do. Every seat is written by the
 * one process that holds it and only read by others (tern-control, ternctl).
 *
 * A seat is claimed by an OFD write lock on its byte of the board file and announced alive by an
 * OFD read lock on the same byte of the arena; the kernel releases both when the process dies, so
 * liveness is a lock and not a pid. Seats of the dead are ignored and reused by their next owner.
 */
#ifndef TERN_BOARD_H
#define TERN_BOARD_H

#include "shared/arena.h"
#include "shared/base.h"
#include "shared/decision_log.h"
#include "shared/error.h"
#include "shared/histogram.h"
#include "shared/layout.h"
#include "shared/limits.h"

#define TERN_BOARD_MAGIC 0x647261626e726574ull
#define TERN_BOARD_ABI   6u
#define TERN_EPOCH_IDLE  0ull /* of a thread that reads nothing; real epochs start at 1 */

/* What one reading thread protects: everything reachable from the roots in its epoch, and its pin.
 * Partners of the orderings: see DESIGN 1.3; R1…R4 are tern_reader_enter, C1…C5 are in
 * controlplane/publish/. */
struct tern_reader {
    _Atomic uint64_t epoch; /* R1 */
    _Atomic uint64_t pin;   /* offset of the root in use, 0: none */
    _Atomic uint64_t generation;
    _Atomic uint64_t heartbeat_us; /* CLOCK_MONOTONIC of the last iteration, lazily, for display */
    uint64_t reserved[4];
} TERN_ALIGNED(64);
TERN_LAYOUT_SIZE(tern_reader, 64);
TERN_LAYOUT_FIELD(tern_reader, epoch, 0);
TERN_LAYOUT_FIELD(tern_reader, pin, 8);
TERN_LAYOUT_FIELD(tern_reader, generation, 16);
TERN_LAYOUT_FIELD(tern_reader, heartbeat_us, 24);
TERN_LAYOUT_FIELD(tern_reader, reserved, 32);

/* Counters of one loop. The list generates the struct, `stats` and its JSON. */
#define TERN_COUNTERS(X)                                                                           \
    X(requests, "frames received and accepted")                                                    \
    X(decisions, "items decided")                                                                  \
    X(allowed, "items answered allow")                                                             \
    X(denied, "items answered deny")                                                               \
    X(challenged, "items answered challenge")                                                      \
    X(undecided, "items answered undecided")                                                       \
    X(degraded, "items answered by a fallback")                                                    \
    X(unruled, "items that no rule decided: by a threshold or the default")                        \
    X(lookups, "LOOKUP requests")                                                                  \
    X(bad_frames, "frames refused as malformed")                                                   \
    X(bad_fields, "DECIDE bodies refused for a field")                                             \
    X(unknown_fields, "unknown fields ignored")                                                    \
    X(unsupported, "frames with an unknown op or flag")                                            \
    X(not_ready, "requests before the first snapshot")                                             \
    X(overloaded, "requests shed")                                                                 \
    X(connections_opened, "connections accepted")                                                  \
    X(connections_closed, "connections closed")                                                    \
    X(connections_refused, "connections over the limit")                                           \
    X(timeouts_idle, "connections closed for idleness")                                            \
    X(timeouts_half_frame, "connections closed over an unfinished frame")                          \
    X(timeouts_stalled, "connections closed because the client did not read")                      \
    X(backpressure, "times a connection's reading was paused")                                     \
    X(bytes_in, "bytes received")                                                                  \
    X(bytes_out, "bytes sent")                                                                     \
    X(iterations, "turns of the loop")                                                             \
    X(sleeps, "times the loop slept")                                                              \
    X(spin_ns, "nanoseconds the loop looked for work without sleeping")                            \
    X(adoptions, "generations adopted")                                                            \
    X(unauthenticated, "requests refused for want of a token")                                     \
    X(timeouts_hello, "connections closed because no token came in time")                          \
    X(cancelled, "requests ended by a CANCEL")                                                     \
    X(heap_bytes, "bytes the loop's thread has taken from the heap, ever")                         \
    X(searches, "SEARCH requests")                                                                 \
    X(searches_offloaded, "SEARCH requests that helpers were given")                               \
    X(deadlines, "requests whose deadline passed before an answer")                                \
    X(searches_similar, "searches for rules that ask what a request resembles")                    \
    X(searches_held, "times a connection's search had to wait for another turn of the loop")

struct tern_counters {
#define X(name, text) _Atomic uint64_t name;
    TERN_COUNTERS(X)
#undef X
};
TERN_LAYOUT_SIZE(tern_counters, 296);

/* Stages of a request's budget (DESIGN 2): recv to reply add up to `total`, request by request;
 * `other` stands alone. dataplane/timing.h says where they begin and end. */
#define TERN_STAGES(X)                                                                             \
    X(recv, "from the events' collection until the request is decoded")                            \
    X(decode, "parsing and normalizing")                                                           \
    X(tier1, "deciding")                                                                           \
    X(queue, "waiting for tier 2")                                                                 \
    X(tier2, "tier 2")                                                                             \
    X(reply, "encoding until the kernel has the reply")                                            \
    X(total, "all of a DECIDE request")                                                            \
    X(other, "all of a request that is no DECIDE, or was refused")                                 \
    X(search_queue, "a SEARCH waiting for a helper")                                               \
    X(search, "searching a collection")                                                            \
    X(search_hold, "a connection whose search waits for another turn of its loop")                 \
    X(search_turn, "all searches of one turn of a loop")

enum tern_stage {
#define X(name, text) TERN_STAGE_##name,
    TERN_STAGES(X)
#undef X
        TERN_STAGE_COUNT
};

/* Everything one loop writes: its own pages, no line shared with another loop. */
struct tern_loop_board {
    struct tern_counters counters TERN_ALIGNED(64);
    struct tern_histogram stages[TERN_STAGE_COUNT] TERN_ALIGNED(64);
    struct tern_log_ring log TERN_ALIGNED(64);
} TERN_ALIGNED(TERN_PAGE);
TERN_LAYOUT_SIZE(tern_loop_board, 2158592);
TERN_LAYOUT_FIELD(tern_loop_board, counters, 0);
TERN_LAYOUT_FIELD(tern_loop_board, stages, 320);
TERN_LAYOUT_FIELD(tern_loop_board, log, 57920);

enum tern_answer { /* a seat's word on an announcement */
                   TERN_ANSWER_NONE = 0,
                   TERN_ANSWER_READY = 1,
                   TERN_ANSWER_REJECTED = 2,
};

/* What a loop has used, noted by housekeeping from time to time, so that it costs the loop nothing.
 * What of it was spin is in the loop's own counters. */
struct tern_loop_usage {
    _Atomic uint64_t at_ns;  /* CLOCK_MONOTONIC of the note; stored last */
    _Atomic uint64_t cpu_ns; /* CPU time of the loop's thread until then */
};
TERN_LAYOUT_SIZE(tern_loop_usage, 16);
TERN_LAYOUT_FIELD(tern_loop_usage, at_ns, 0);
TERN_LAYOUT_FIELD(tern_loop_usage, cpu_ns, 8);

/* Hits of rules are counted by slot. A rule's id has the same slot as long as the process lives,
 * through all generations, so its count only grows; hits in shadow have a slot of their own. Slot 0
 * is for whatever finds no other. */
#define TERN_RULE_SLOTS (2u * TERN_RULES_MAX)
enum tern_rule_slot_kind {
    TERN_RULE_SLOT_NONE = 0,
    TERN_RULE_SLOT_LIVE = 1,
    TERN_RULE_SLOT_SHADOW = 2,
};
struct tern_rule_slot {     /* immutable once counted in tern_seat.rule_slot_count */
    char id[TERN_NAME_MAX]; /* not terminated when it fills it */
    uint8_t kind;           /* enum tern_rule_slot_kind */
};
TERN_LAYOUT_SIZE(tern_rule_slot, 64);
TERN_LAYOUT_FIELD(tern_rule_slot, id, 0);
TERN_LAYOUT_FIELD(tern_rule_slot, kind, 63);

#define TERN_REASON_BYTES 256
struct tern_seat {
    _Atomic uint64_t ready; /* the arena_id's first 8 bytes when everything else is filled in */
    uint32_t pid;
    uint32_t loop_count;
    uint64_t started_at_us; /* wall clock */
    uint64_t start_ticks;   /* /proc/PID/stat field 22, for display */
    char backend[16];       /* "io_uring", "epoll" */
    char backend_reason[120];
    char build[32];
    /* answer to the last announcement: reason first, then answer, then seq (release) */
    _Atomic uint64_t answer_seq TERN_ALIGNED(64);
    _Atomic uint64_t answer_hash; /* the candidate root's checksum */
    _Atomic uint32_t answer;      /* enum tern_answer */
    _Atomic uint32_t draining;
    char answer_reason[TERN_REASON_BYTES];
    struct tern_reader housekeeping; /* validates candidates */
    struct tern_reader loops[TERN_LOOPS_MAX];
    struct tern_reader helpers[TERN_HELPERS_MAX]; /* threads that search for the loops */
    struct tern_loop_usage usage[TERN_LOOPS_MAX];
    _Atomic uint32_t rule_slot_count;    /* release-stored when the slots below it are in order */
    _Atomic uint32_t rules_without_slot; /* counted together in slot 0 */
    struct tern_loop_board boards[TERN_LOOPS_MAX]; /* sparse: allocated for `loop_count` loops */
    /* sparse as well: allocated page by page, as slots are assigned */
    struct tern_rule_slot rule_slots[TERN_RULE_SLOTS];
    _Atomic uint64_t rule_hits[TERN_LOOPS_MAX][TERN_RULE_SLOTS];
} TERN_ALIGNED(TERN_PAGE);
TERN_LAYOUT_SIZE(tern_seat, 213655552);
TERN_LAYOUT_FIELD(tern_seat, ready, 0);
TERN_LAYOUT_FIELD(tern_seat, pid, 8);
TERN_LAYOUT_FIELD(tern_seat, loop_count, 12);
TERN_LAYOUT_FIELD(tern_seat, started_at_us, 16);
TERN_LAYOUT_FIELD(tern_seat, start_ticks, 24);
TERN_LAYOUT_FIELD(tern_seat, backend, 32);
TERN_LAYOUT_FIELD(tern_seat, backend_reason, 48);
TERN_LAYOUT_FIELD(tern_seat, build, 168);
TERN_LAYOUT_FIELD(tern_seat, answer_seq, 256);
TERN_LAYOUT_FIELD(tern_seat, answer_hash, 264);
TERN_LAYOUT_FIELD(tern_seat, answer, 272);
TERN_LAYOUT_FIELD(tern_seat, draining, 276);
TERN_LAYOUT_FIELD(tern_seat, answer_reason, 280);
TERN_LAYOUT_FIELD(tern_seat, housekeeping, 576);
TERN_LAYOUT_FIELD(tern_seat, loops, 640);
TERN_LAYOUT_FIELD(tern_seat, helpers, 4736);
TERN_LAYOUT_FIELD(tern_seat, usage, 5248);
TERN_LAYOUT_FIELD(tern_seat, rule_slot_count, 6272);
TERN_LAYOUT_FIELD(tern_seat, rules_without_slot, 6276);
TERN_LAYOUT_FIELD(tern_seat, boards, 8192);
TERN_LAYOUT_FIELD(tern_seat, rule_slots, 138158080);
TERN_LAYOUT_FIELD(tern_seat, rule_hits, 146546688);

struct tern_board {
    _Atomic uint64_t magic; /* the file is made aside and linked into place complete */
    uint32_t abi;
    uint32_t seat_bytes;
    uint8_t reserved[TERN_PAGE - 16];
    struct tern_seat seats[TERN_SEATS_MAX];
};
TERN_LAYOUT_SIZE(tern_board, 3418492928);
TERN_LAYOUT_FIELD(tern_board, magic, 0);
TERN_LAYOUT_FIELD(tern_board, abi, 8);
TERN_LAYOUT_FIELD(tern_board, seat_bytes, 12);
TERN_LAYOUT_FIELD(tern_board, reserved, 16);
TERN_LAYOUT_FIELD(tern_board, seats, 4096);

struct tern_board_map {
    struct tern_board *board; /* mapped writable only by tern_board_open with `writable` */
    int fd;
};

/* Opens RUN_DIR/board, creating it complete when it is not there (made aside, then linked: the
 * first one wins). `writable` for processes that will claim a seat. */
int tern_board_open(const char *run_dir, bool writable, struct tern_board_map *map,
                    struct tern_error *error);
/* The same for tern-control: a board of another build that no process holds a seat of (an upgrade
 * left it behind) gives way to a new one. TERN_EABI when one is held. */
int tern_board_take_over(const char *run_dir, struct tern_board_map *map, struct tern_error *error);
void tern_board_close(struct tern_board_map *map);

/* Claims a free seat: write lock on its byte, space for `loop_count` loops allocated, everything in
 * it reset, then the read lock on the arena's byte, then `ready`. The locks live as long as the two
 * fds. TERN_EBUSY when all seats are taken. */
int tern_seat_claim(struct tern_board_map *map, const struct tern_arena *arena, unsigned loop_count,
                    unsigned *seat, struct tern_error *error);

/* Allocates rule slots [first, first + count) of a seat and their counters for each of its loops,
 * so that storing there cannot fail. What was counted there before stays. TERN_ENOSPC and the like:
 * tmpfs is full. */
int tern_seat_allocate_slots(const struct tern_board_map *map, unsigned seat, unsigned loop_count,
                             unsigned first, unsigned count, struct tern_error *error);

/* Moves a claimed seat to another arena (after a remap) and announces it there: read lock on the
 * arena's byte, then `ready`. tern_seat_claim ends with it. */
int tern_seat_attach(struct tern_seat *seat, unsigned index, const struct tern_arena *arena,
                     struct tern_error *error);

/* What `ready` holds when the seat is joined to that arena. */
uint64_t tern_seat_ready_value(const uint8_t arena_id[16]);

/* Tells whether some live process holds seat `index` (asks the lock on the board). */
bool tern_seat_is_live(const struct tern_board_map *map, unsigned index);

/* Reader enter, R1…R3: after it, whatever the roots reach stays until the thread enters a newer
 * epoch or leaves. Costs one load when the epoch has not moved. Pair: C1…C4 in
 * controlplane/publish/. */
static inline void tern_reader_enter(struct tern_reader *reader,
                                     const struct tern_envelope *envelope)
{
    uint64_t epoch = atomic_load_explicit(&envelope->epoch, memory_order_acquire);

    if (TERN_LIKELY(atomic_load_explicit(&reader->epoch, memory_order_relaxed) == epoch))
        return;
    for (;;) {
        uint64_t again;

        atomic_store_explicit(&reader->epoch, epoch, memory_order_release);   /* R1 */
        atomic_thread_fence(memory_order_seq_cst);                            /* R2 pairs with C3 */
        again = atomic_load_explicit(&envelope->epoch, memory_order_acquire); /* R3 */
        if (again == epoch)
            return;
        epoch = again;
    }
}

/* Everything read before happens before whatever tern-control does after seeing the thread idle. */
static inline void tern_reader_leave(struct tern_reader *reader)
{
    atomic_store_explicit(&reader->epoch, TERN_EPOCH_IDLE, memory_order_release);
}

#endif
