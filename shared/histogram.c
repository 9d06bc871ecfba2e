#include "shared/histogram.h"

uint64_t tern_histogram_upper_ns(unsigned bucket)
{
    unsigned octave, step;

    if (bucket < TERN_HISTOGRAM_STEPS)
        return bucket;
    octave = bucket / TERN_HISTOGRAM_STEPS + 3;
    step = bucket % TERN_HISTOGRAM_STEPS;
    return (((uint64_t)TERN_HISTOGRAM_STEPS + step + 1) << (octave - 4)) - 1;
}

void tern_histogram_collect(struct tern_histogram_sum *into, const struct tern_histogram *from)
{
    for (unsigned i = 0; i < TERN_HISTOGRAM_BUCKETS; i++) {
        uint64_t count = atomic_load_explicit(&from->counts[i], memory_order_relaxed);

        into->counts[i] += count;
        into->total += count;
    }
    into->sum_ns += atomic_load_explicit(&from->sum_ns, memory_order_relaxed);
}

uint64_t tern_histogram_quantile(const struct tern_histogram_sum *sum, double fraction)
{
    uint64_t rank, seen = 0;
    double wanted;

    if (sum->total == 0)
        return 0;
    /* compared before it is converted: what a board holds may be nonsense, and too large */
    wanted = fraction * (double)sum->total;
    rank = wanted < (double)(sum->total - 1) ? (uint64_t)wanted : sum->total - 1;
    for (unsigned i = 0; i < TERN_HISTOGRAM_BUCKETS; i++) {
        seen += sum->counts[i];
        if (seen > rank)
            return tern_histogram_upper_ns(i);
    }
    return tern_histogram_upper_ns(TERN_HISTOGRAM_BUCKETS - 1);
}

double tern_histogram_above(const struct tern_histogram_sum *sum, uint64_t ns)
{
    unsigned bucket = tern_histogram_bucket(ns);
    uint64_t upper = tern_histogram_upper_ns(bucket);
    uint64_t lower = bucket == 0 ? 0 : tern_histogram_upper_ns(bucket - 1) + 1;
    double above = 0;

    for (unsigned i = bucket + 1; i < TERN_HISTOGRAM_BUCKETS; i++)
        above += (double)sum->counts[i];
    if (ns < upper)
        above += (double)sum->counts[bucket] * (double)(upper - ns) / (double)(upper - lower + 1);
    return above;
}
