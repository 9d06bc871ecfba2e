/* Clocks of the data plane. Each read is one vDSO call (about 25 ns), so a loop reads once a stage
 * of a vector, never once a request. */
#ifndef TERN_DATAPLANE_CLOCK_H
#define TERN_DATAPLANE_CLOCK_H

#include "shared/clock.h"

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
