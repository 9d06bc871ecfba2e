/* A search in progress, shared by search.c and search_walk.c. */
#ifndef TERN_VECTOR_SEARCH_PRIVATE_H
#define TERN_VECTOR_SEARCH_PRIVATE_H

#include "shared/vector/scratch.h"

#define TERN_SEARCH_BATCH 64u /* slots that are filtered and measured in one go */

struct tern_search_state {
    const struct tern_collection *collection;
    struct tern_search_scratch *scratch;
    const struct tern_search *asked;
    struct tern_probe probe;
    struct tern_walk walk;
    struct tern_pool pool;  /* of the graph, or of a scan */
    struct tern_pool fresh; /* of the tail */
    uint32_t places_mask;
    uint32_t rerank;   /* live candidates to rank by f32 */
    uint32_t tail_end; /* positions before it were looked at */
    bool has_skipped;  /* a replaced one among those of the last look */
    bool is_complete;  /* the pool would hold no more with a larger ef */
};

static inline enum tern_slot_state tern_search_slot_state(const struct tern_collection *collection,
                                                          uint32_t slot)
{
    /* Acquire pairs with the release that made the slot live: its values were written before. */
    return (enum tern_slot_state)(
        atomic_load_explicit(&collection->meta[slot].state, memory_order_acquire) & 0xff);
}

/* Keeps of slots[0..count), at most TERN_SEARCH_BATCH, what the filter lets through. */
unsigned tern_search_keep_passing(const struct tern_search_state *search, uint32_t *slots,
                                  unsigned count);
/* Those that pass, measured into a pool. */
void tern_search_measure(const struct tern_search_state *search, struct tern_pool *pool,
                         uint32_t *slots, unsigned count);

/* Each fills `pool` and `is_complete`. All live slots; the graph with a pool of `ef`; the graph or
 * all, whichever is cheaper for the share of vectors that pass the filter. */
void tern_search_scan(struct tern_search_state *search);
void tern_search_walk(struct tern_search_state *search, uint64_t entry, uint32_t ef);
void tern_search_walk_filtered(struct tern_search_state *search, uint64_t entry, uint32_t ef);

#endif
