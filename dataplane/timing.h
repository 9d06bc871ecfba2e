/* Where the time of requests goes. Every DECIDE request leaves one sample in each of the stages
 * recv, decode, tier1, reply and total, and for every single one the four add up to the total: they
 * are differences of the same few clock readings (DESIGN 2).
 *
 *     turn's events collected ──recv──▶ its vector begun ──decode──▶ ──tier1──▶ decided
 *         ──reply──▶ the kernel has taken the turn's replies
 *
 * Requests of one vector share their readings, vectors of one turn its beginning and end: a loop
 * reads the clock three times a vector and once a turn, however many requests there are.
 *
 * A turn's vectors wait here for its end. io_uring takes replies with the system call that begins
 * the next turn, so a turn may be closed by the next one's clock reading. */
#ifndef TERN_DATAPLANE_TIMING_H
#define TERN_DATAPLANE_TIMING_H

#include "shared/board.h"

/* Vectors a turn keeps apart. What is decided beyond joins the last one with its mean, so that sums
 * stay exact and only the spread of `reply` within a very long turn is lost. */
#define TERN_TIMING_VECTORS 64u

struct tern_timing {
    bool off; /* nothing is timed: for measuring what measuring costs */
    unsigned count;
    uint32_t others; /* requests of the turn that are no DECIDE, or were refused */
    struct {
        uint64_t from_ns;    /* when its requests were there */
        uint64_t decided_ns; /* where `reply` begins */
        uint64_t requests;
    } vectors[TERN_TIMING_VECTORS];
};

/* Adds `requests` that began at `from_ns`, were taken up at `begun_ns` and decided at
 * `decided_ns`; their reply and total follow with tern_timing_close. */
void tern_timing_add(struct tern_timing *timing, struct tern_histogram *stages, uint64_t from_ns,
                     uint64_t begun_ns, uint64_t decoded_ns, uint64_t decided_ns,
                     uint64_t requests);

/* The same for the one request of a large batch, which was worked on in slices: `decode_ns`,
 * `tier1_ns` and `encode_ns` are sums over them. What is left of its time until `decided_ns` is
 * waiting: `recv`. */
void tern_timing_add_batch(struct tern_timing *timing, struct tern_histogram *stages,
                           uint64_t from_ns, uint64_t decided_ns, uint64_t decode_ns,
                           uint64_t tier1_ns, uint64_t encode_ns);

static inline bool tern_timing_is_open(const struct tern_timing *timing)
{
    return timing->count > 0 || timing->others > 0;
}

/* The kernel has taken the turn's replies at `end_ns`; the turn's events were collected at
 * `from_ns`. */
void tern_timing_close(struct tern_timing *timing, struct tern_histogram *stages, uint64_t from_ns,
                       uint64_t end_ns);

#endif
