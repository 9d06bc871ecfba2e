/* Log-linear latency histogram of nanoseconds: 16 steps per octave from 16 ns to 2^40 ns, so a
 * percentile is right within 6.25 %. One writer; readers on other threads and processes may look at
 * any time (relaxed counters). The layout follows HdrHistogram's idea (Tene). */
#ifndef TERN_HISTOGRAM_H
#define TERN_HISTOGRAM_H

#include "shared/base.h"
#include "shared/layout.h"

#define TERN_HISTOGRAM_STEPS   16u
#define TERN_HISTOGRAM_BUCKETS 592u /* (40 − 4 + 1) octaves × 16 */

struct tern_histogram {
    _Atomic uint64_t counts[TERN_HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_ns;
    _Atomic uint64_t reserved[7];
};
TERN_LAYOUT_SIZE(tern_histogram, 4800);
TERN_LAYOUT_FIELD(tern_histogram, counts, 0);
TERN_LAYOUT_FIELD(tern_histogram, sum_ns, 4736);
TERN_LAYOUT_FIELD(tern_histogram, reserved, 4744);

static inline unsigned tern_histogram_bucket(uint64_t ns)
{
    unsigned octave;

    if (ns < 16)
        return (unsigned)ns;
    octave = 63 - (unsigned)__builtin_clzll(ns);
    if (octave >= 40)
        return TERN_HISTOGRAM_BUCKETS - 1;
    return (octave - 3) * TERN_HISTOGRAM_STEPS + ((ns >> (octave - 4)) & 15);
}

/* The one writer's add: plain load and store, no locked instruction. */
static inline void tern_counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

static inline void tern_histogram_add(struct tern_histogram *histogram, uint64_t ns, uint64_t times)
{
    tern_counter_add(&histogram->counts[tern_histogram_bucket(ns)], times);
    tern_counter_add(&histogram->sum_ns, ns * times);
}

/* The highest value that falls into `bucket`, in ns. */
uint64_t tern_histogram_upper_ns(unsigned bucket);
/* A private copy summed into `into` (plain counters), for percentiles over several loops. */
struct tern_histogram_sum {
    uint64_t counts[TERN_HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t sum_ns;
};
void tern_histogram_collect(struct tern_histogram_sum *into, const struct tern_histogram *from);
/* The value below or at which `fraction` (0…1) of the samples lie, in ns; 0 when empty. */
uint64_t tern_histogram_quantile(const struct tern_histogram_sum *sum, double fraction);
/* How many samples are above `ns`, those of its own bucket in proportion. */
double tern_histogram_above(const struct tern_histogram_sum *sum, uint64_t ns);

#endif
