/* Timeouts of one loop: a hashed timing wheel (Varghese and Lauck, 1987), constant time to set,
 * move and cancel. A timer further away than the wheel's span is looked at once a round and set
 * again. Belongs to one thread. */
#ifndef TERN_DATAPLANE_WHEEL_H
#define TERN_DATAPLANE_WHEEL_H

#include "shared/base.h"

#define TERN_WHEEL_TICK_NS 8000000u /* timeouts are in tens of ms and up */
#define TERN_WHEEL_SLOTS   2048u    /* 16 s a round */

struct tern_timer {
    struct tern_timer *next; /* NULL: not set */
    struct tern_timer *previous;
    uint64_t at_tick;
};

struct tern_wheel {
    uint64_t tick; /* everything before it has fired */
    uint64_t occupied[TERN_WHEEL_SLOTS / 64];
    struct tern_timer slots[TERN_WHEEL_SLOTS]; /* list heads */
};

void tern_wheel_init(struct tern_wheel *wheel, uint64_t now_ns);

static inline bool tern_timer_is_set(const struct tern_timer *timer)
{
    return timer->next != NULL;
}

/* Sets or moves `timer` (zeroed before its first use) to fire at `at_ns` or up to a tick later. */
void tern_wheel_set(struct tern_wheel *wheel, struct tern_timer *timer, uint64_t at_ns);
void tern_wheel_cancel(struct tern_wheel *wheel, struct tern_timer *timer);

/* Sets it unless it already fires earlier; for callers that look at the true deadline on expiry. */
static inline void tern_wheel_set_sooner(struct tern_wheel *wheel, struct tern_timer *timer,
                                         uint64_t at_ns)
{
    if (!tern_timer_is_set(timer) || at_ns / TERN_WHEEL_TICK_NS + 1 < timer->at_tick)
        tern_wheel_set(wheel, timer, at_ns);
}

/* The next timer due at `now_ns`, taken off the wheel; NULL when none is or `looks` is used up:
 * every timer that is handed out or goes round again takes one of it. What is left is due at once
 * (tern_wheel_wait_ns() says 0) and comes with the next call, so that the work of a turn is bounded
 * however many timers share a slot. */
struct tern_timer *tern_wheel_expire(struct tern_wheel *wheel, uint64_t now_ns, unsigned *looks);

/* ns until something may be due, UINT64_MAX when nothing is set. */
uint64_t tern_wheel_wait_ns(const struct tern_wheel *wheel, uint64_t now_ns);

#endif
