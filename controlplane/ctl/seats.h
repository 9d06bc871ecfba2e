/* The live seats of the board, copied out of shared memory: what `stats`, `top`, `budget`,
 * `readers` and `wait` read without any help of tern-control. */
#ifndef TERN_CTL_SEATS_H
#define TERN_CTL_SEATS_H

#include "controlplane/ctl/command.h"
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
    uint64_t usage_at_ns; /* when cpu_ns was noted; 0: never */
    uint64_t cpu_ns, spin_ns;
    uint64_t requests, decisions;
};

/* What a rule has hit in one seat, all loops together. */
struct tern_seat_rule {
    char id[TERN_NAME_MAX + 1];
    uint8_t kind; /* enum tern_rule_slot_kind */
    uint64_t hits;
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
    struct tern_seat_rule *rules; /* by slot; with tern_seats_read_rules only */
    unsigned rule_count;
    uint32_t rules_without_slot;
};

struct tern_seats {
    uint64_t at_ns; /* CLOCK_MONOTONIC of the copy */
    unsigned count;
    struct tern_seat_copy items[TERN_SEATS_MAX];
};

/* TERN_EUNREACHABLE when there is no board yet. */
int tern_seats_read(const char *run_dir, struct tern_seats *seats, struct tern_error *error);
/* The same with the hits of every rule. */
int tern_seats_read_rules(const char *run_dir, struct tern_seats *seats, struct tern_error *error);
/* For commands: of the instance that is meant. Prints what failed and returns the exit code. */
int tern_ctl_read_seats(const struct tern_invocation *invocation, bool rules,
                        struct tern_seats *seats);
/* Sleeps, signals notwithstanding: the time between two looks. */
void tern_ctl_pause(uint64_t us);
void tern_seats_free(struct tern_seats *seats);

#endif
