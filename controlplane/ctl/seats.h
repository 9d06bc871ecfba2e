/* The live seats of the board, copied out of shared memory: what `stats`, `readers` and `wait` read
 * without any help of tern-control. */
#ifndef TERN_CTL_SEATS_H
#define TERN_CTL_SEATS_H

#include "shared/board.h"

/* A seat's counters and histograms summed over its loops. */
struct tern_seat_sums {
#define X(name, text) uint64_t name;
    TERN_COUNTERS(X)
#undef X
    struct tern_histogram_sum stages[TERN_STAGE_COUNT];
};

struct tern_seat_loop {
    uint64_t epoch, pin, generation, heartbeat_us;
};

struct tern_seat_copy {
    unsigned seat;
    uint32_t pid;
    uint64_t started_at_us;
    unsigned loop_count;
    char backend[16];
    char backend_reason[120];
    uint64_t generation; /* the lowest of its loops */
    struct tern_seat_loop loops[TERN_LOOPS_MAX];
    struct tern_seat_sums *sums;
};

struct tern_seats {
    unsigned count;
    struct tern_seat_copy items[TERN_SEATS_MAX];
};

/* TERN_EUNREACHABLE when there is no board yet. */
int tern_seats_read(const char *run_dir, struct tern_seats *seats, struct tern_error *error);
void tern_seats_free(struct tern_seats *seats);

/* Adds `from` to `into`. */
void tern_seat_sums_add(struct tern_seat_sums *into, const struct tern_seat_sums *from);

#endif
