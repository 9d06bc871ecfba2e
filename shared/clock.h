/* Clocks. Each read is one vDSO call (about 25 ns): a request loop reads once a stage of a vector,
 * never once a request. */
#ifndef TERN_CLOCK_H
#define TERN_CLOCK_H

#include "shared/base.h"

#include <time.h>

static inline uint64_t tern_clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Monotonic, in ns: what durations and deadlines are made of. */
static inline uint64_t tern_clock_now_ns(void)
{
    return tern_clock_ns(CLOCK_MONOTONIC);
}

/* The same in µs. */
static inline uint64_t tern_clock_now_us(void)
{
    return tern_clock_now_ns() / 1000;
}

/* Wall clock, in µs since 1970: for display and records only. */
static inline uint64_t tern_clock_wall_us(void)
{
    return tern_clock_ns(CLOCK_REALTIME) / 1000;
}

/* Milliseconds since a tern_clock_now_ns. */
static inline double tern_clock_ms_since(uint64_t start_ns)
{
    return (double)(tern_clock_now_ns() - start_ns) / 1e6;
}

#endif
