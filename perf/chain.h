/* The yardstick of the micro benchmarks: what one load costs that must wait for the one before,
 * over a mapping of a given size. A figure in such loads says more than nanoseconds: it holds on
 * another machine, and on this one when it is busy. */
#ifndef TERN_PERF_CHAIN_H
#define TERN_PERF_CHAIN_H

#include "shared/base.h"

/* Nanoseconds per load of a chain that visits the cache lines of `bytes` in random order; `loads`
 * of them are timed after one warming lap of at most as many. Adds what it read to `*checksum`.
 * Aborts when there is no memory: it is a measuring program's. */
double tern_chain_measure(size_t bytes, size_t loads, uint64_t *checksum);

/* CLOCK_MONOTONIC in nanoseconds. */
double tern_chain_now_ns(void);

#endif
