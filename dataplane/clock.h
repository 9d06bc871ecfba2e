/* Clocks of the data plane. Each read is one vDSO call (about 25 ns), so a loop reads once a stage
 * of a vector, never once a request. */
#ifndef TERN_DATAPLANE_CLOCK_H
#define TERN_DATAPLANE_CLOCK_H

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

/* Tells the CPU that this is a spin: the other hardware thread gets the core. */
static inline void tern_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

#endif
