#include "dataplane/timing.h"

/* Keeps what `reply` and `total` need until the turn's end. */
static void keep(struct tern_timing *timing, uint64_t from_ns, uint64_t decided_ns,
                 uint64_t requests)
{
    unsigned last = TERN_TIMING_VECTORS - 1;
    uint64_t all;

    if (TERN_LIKELY(timing->count < TERN_TIMING_VECTORS)) {
        timing->vectors[timing->count].from_ns = from_ns;
        timing->vectors[timing->count].decided_ns = decided_ns;
        timing->vectors[timing->count].requests = requests;
        timing->count++;
        return;
    }
    /* The mean moves by the newcomers' share of the distance: no product of times overflows. */
    all = timing->vectors[last].requests + requests;
    timing->vectors[last].from_ns += (uint64_t)((int64_t)(from_ns - timing->vectors[last].from_ns) *
                                                (int64_t)requests / (int64_t)all);
    timing->vectors[last].decided_ns +=
        (uint64_t)((int64_t)(decided_ns - timing->vectors[last].decided_ns) * (int64_t)requests /
                   (int64_t)all);
    timing->vectors[last].requests = all;
}

void tern_timing_add(struct tern_timing *timing, struct tern_histogram *stages, uint64_t from_ns,
                     uint64_t begun_ns, uint64_t decoded_ns, uint64_t decided_ns, uint64_t requests)
{
    if (TERN_UNLIKELY(timing->off))
        return;
    tern_histogram_add(&stages[TERN_STAGE_recv], begun_ns - from_ns, requests);
    tern_histogram_add(&stages[TERN_STAGE_decode], decoded_ns - begun_ns, requests);
    tern_histogram_add(&stages[TERN_STAGE_tier1], decided_ns - decoded_ns, requests);
    keep(timing, from_ns, decided_ns, requests);
}

void tern_timing_add_batch(struct tern_timing *timing, struct tern_histogram *stages,
                           uint64_t from_ns, uint64_t decided_ns, uint64_t decode_ns,
                           uint64_t tier1_ns, uint64_t encode_ns)
{
    if (timing->off)
        return;
    tern_histogram_add(&stages[TERN_STAGE_recv],
                       decided_ns - from_ns - decode_ns - tier1_ns - encode_ns, 1);
    tern_histogram_add(&stages[TERN_STAGE_decode], decode_ns, 1);
    tern_histogram_add(&stages[TERN_STAGE_tier1], tier1_ns, 1);
    /* `reply` begins earlier by what was encoded between the slices. */
    keep(timing, from_ns, decided_ns - encode_ns, 1);
}

void tern_timing_close(struct tern_timing *timing, struct tern_histogram *stages, uint64_t from_ns,
                       uint64_t end_ns)
{
    if (!timing->off) {
        for (unsigned i = 0; i < timing->count; i++) {
            uint64_t requests = timing->vectors[i].requests;

            tern_histogram_add(&stages[TERN_STAGE_reply], end_ns - timing->vectors[i].decided_ns,
                               requests);
            tern_histogram_add(&stages[TERN_STAGE_total], end_ns - timing->vectors[i].from_ns,
                               requests);
        }
        if (timing->others > 0)
            tern_histogram_add(&stages[TERN_STAGE_other], end_ns - from_ns, timing->others);
    }
    timing->count = 0;
    timing->others = 0;
}
