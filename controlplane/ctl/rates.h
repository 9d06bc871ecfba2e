/* What happened between two copies of the board: rates, stages of the interval, what loops were
 * busy with, which rules hit. The arithmetic of `stats`, `budget` and `top`.
 *
 * A seat is the same in both copies when process and start are. Any other counts from zero: a ternd
 * that was restarted brings what it did since, and what its predecessor did last is lost with it,
 * so no difference is ever negative. */
#ifndef TERN_CTL_RATES_H
#define TERN_CTL_RATES_H

#include "controlplane/ctl/seats.h"

struct tern_rates_loop {
    unsigned seat, loop;
    uint32_t pid;
    uint64_t generation;
    double busy, spin; /* shares of one CPU, 0…1; negative: not known yet */
    uint64_t requests, decisions;
};

struct tern_rates_rule { /* all seats together */
    char id[TERN_NAME_MAX + 1];
    uint8_t kind;          /* enum tern_rule_slot_kind */
    uint64_t hits, before; /* in the interval; until its beginning */
};

struct tern_rates {
    double seconds;          /* of the interval */
    unsigned started, ended; /* seats that came and went in it */
    struct tern_seat_sums sums;
    unsigned loop_count;
    struct tern_rates_loop loops[TERN_SEATS_MAX * TERN_LOOPS_MAX];
    unsigned rule_count;
    struct tern_rates_rule *rules; /* most hits first */
};

/* `before` may be NULL: everything counts from the start of each process, and `seconds` is 0.
 * `*rates` is allocated; free it with tern_rates_free. TERN_ENOMEM. */
int tern_rates_between(const struct tern_seats *before, const struct tern_seats *after,
                       struct tern_rates **rates);
void tern_rates_free(struct tern_rates *rates);

/* `count` a second; 0 when there is no interval. */
double tern_rates_per_s(const struct tern_rates *rates, uint64_t count);

/* How much of the sum of `total` the other stages of it make up: 1 when they add up to it; 0 when
 * there were no requests. */
double tern_rates_covered(const struct tern_seat_sums *sums);

/* The share of the time of all DECIDE requests that they spent in a stage. */
double tern_rates_share(const struct tern_seat_sums *sums, enum tern_stage stage);

#endif
