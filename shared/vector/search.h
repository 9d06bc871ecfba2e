/* Search of a collection: the k vectors that resemble a query most.
 *
 * Lock-free beside the one writer, allocation-free; a scratch belongs to one thread. The caller
 * stays in one reader epoch (tern_reader_enter) for the whole of a search and while it uses slots.
 */
#ifndef TERN_VECTOR_SEARCH_H
#define TERN_VECTOR_SEARCH_H

#include "shared/vector/collection.h"

struct tern_search_scratch; /* visited bits, pool, quantized query; bounded by capacity and ef */

/* Makes a scratch for collections of at most `capacity` slots and `dim` dimensions. Off the request
 * path: it allocates. 0 or TERN_ENOMEM. */
int tern_search_scratch_new(struct tern_search_scratch **scratch, uint32_t capacity, uint32_t dim);
void tern_search_scratch_free(struct tern_search_scratch *scratch);
/* Whether a search of `collection` fits the scratch. */
bool tern_search_scratch_fits(const struct tern_search_scratch *scratch,
                              const struct tern_collection *collection);

/* A filter: which slots may be answers. `match` fills one byte a slot (0 or 1) for slots[0..count)
 * and reads only payload columns (and dictionary) of them. */
struct tern_search_filter {
    void (*match)(const void *context, const struct tern_collection *collection,
                  const uint32_t *slots, unsigned count, uint8_t *matches);
    const void *context;
};

struct tern_search {
    const float *query;                      /* dim values, finite, 4-byte aligned */
    unsigned k;                              /* 1 … TERN_SEARCH_K_MAX */
    unsigned ef;                             /* 0: the collection's; raised to k when below */
    bool exact;                              /* scan all vectors, in f32 */
    const struct tern_search_filter *filter; /* NULL: none */
};

struct tern_search_hit {
    uint64_t id;
    float score; /* cosine similarity or dot product, larger is nearer; l2: the distance (not
                    squared), smaller is nearer */
    uint32_t slot;
};

/* Fills at most k hits, the best first; equal scores by id. Returns how many. A vector is a hit at
 * most once, with its newest value; whatever was acknowledged before the call is found, linked or
 * not. Never fails: arguments are checked by the caller with tern_search_check. */
unsigned tern_search_run(const struct tern_collection *collection,
                         struct tern_search_scratch *scratch, const struct tern_search *search,
                         struct tern_search_hit *hits);

/* 0, or TERN_EINVAL and why: k out of range, ef past TERN_SEARCH_EF_MAX, a value that is not
 * finite. */
int tern_search_check(const struct tern_collection *collection, const struct tern_search *search,
                      struct tern_error *error);

/* An estimate of what the search will cost, in distance computations, for whoever decides where it
 * runs. Costs a few loads. */
uint64_t tern_search_estimate(const struct tern_collection *collection,
                              const struct tern_search *search);

/* The same in nanoseconds of one thread, rather too many than too few. */
uint64_t tern_search_cost_ns(const struct tern_collection *collection,
                             const struct tern_search *search);

#endif
