/* Distances in the three spaces that a collection is searched in, and the walks over its graph that
 * are made of them: one set of functions for each instruction set, all giving the same bits.
 *
 * A search ranks by a `distance` that is smaller for what is nearer and cheap to have; only the
 * order of two distances to the same probe means something. tern_vector_score makes the caller's
 * score of one. */
#ifndef TERN_VECTOR_DISTANCE_H
#define TERN_VECTOR_DISTANCE_H

#include "shared/vector/collection.h"

enum tern_space {
    TERN_SPACE_CODE_DOT, /* int8: cosine and dot */
    TERN_SPACE_CODE_L2,
    TERN_SPACE_FLOAT_DOT,
    TERN_SPACE_FLOAT_L2,
};

#define TERN_CODE_BLOCK  64u /* code lines are a multiple of it and aligned to it */
#define TERN_FLOAT_BLOCK 8u  /* floats; vector lines are a multiple of it */

/* What distances are measured from. The code is a whole code line whose first 8 bytes, where the
 * stored ones have scale and squared length, are 0: kernels then take lines as they lie. */
struct tern_probe {
    const float *values;      /* dim, zero padded to TERN_FLOAT_BLOCK */
    const int8_t *code;       /* code_stride bytes, aligned to TERN_CODE_BLOCK */
    const uint8_t *magnitude; /* |code|, likewise */
    float scale;              /* what int8 products are multiplied with: −s (dot), −2s (l2) */
};

/* A distance and where it leads to; `slot` carries TERN_CANDIDATE_DONE once it is expanded. */
struct tern_candidate {
    float distance;
    uint32_t slot;
};
#define TERN_CANDIDATE_DONE 0x80000000u
_Static_assert(TERN_SLOTS_MAX <= TERN_CANDIDATE_DONE, "the top bit of a slot is free");

/* The best candidates so far, in ascending order of distance. */
struct tern_pool {
    struct tern_candidate *items;
    uint32_t count, limit;
    uint32_t next; /* items before it are expanded */
};

/* Working memory of walks: which slots were seen, as bits, with the words to clear again. */
struct tern_seen {
    uint64_t *words;
    uint32_t *undo;
    uint32_t undo_count;
};

/* One search in progress. */
struct tern_walk {
    const struct tern_collection *collection;
    enum tern_space space;
    const struct tern_probe *probe;
    uint32_t slot_count; /* slots from here on are not looked at */
    struct tern_seen *seen;
};

#define TERN_BATCH_MAX (2 * TERN_M_MAX) /* slots scored in one go: a full list */

struct tern_kernel {
    const char *name;
    /* Distances of slots[0..count) in `space`; `distances` has room for count rounded up to 4. */
    void (*measure)(const struct tern_collection *collection, enum tern_space space,
                    const struct tern_probe *probe, const uint32_t *slots, unsigned count,
                    float *distances);
    /* From `nearest` over the lists of `level`, always to a nearer neighbour, until there is none.
     */
    void (*descend)(const struct tern_walk *walk, unsigned level, struct tern_candidate *nearest);
    /* Expands the pool's candidates over the lists of `level`, the nearest ones first, until none
     * is left. The pool's candidates are marked as seen by the caller. */
    void (*explore)(const struct tern_walk *walk, unsigned level, struct tern_pool *pool);
};

/* The best set this machine runs, and each of them for tests (NULL where it cannot run). */
const struct tern_kernel *tern_kernel_choose(void);
const struct tern_kernel *tern_kernel_scalar(void);
const struct tern_kernel *tern_kernel_avx2(void);
const struct tern_kernel *tern_kernel_avx512(void); /* with VNNI */

/* The space in which a collection's graph is walked, and the one of its f32 vectors. */
enum tern_space tern_space_of_graph(const struct tern_collection *collection);
enum tern_space tern_space_of_vectors(const struct tern_collection *collection);

/* 0, or TERN_EINVAL and why: NaN, infinity, a value whose square overflows. */
int tern_vector_check(const float *vector, uint32_t dim, struct tern_error *error);
/* Copies a vector as it is stored: normalized for cosine (a zero vector stays), zero padded.
 * Returns its norm as tern_vector_meta has it. */
float tern_vector_prepare(const struct tern_collection *collection, const float *vector,
                          float *values);
/* Writes the code line of prepared values: header, int8, zero padding. */
void tern_vector_encode(const struct tern_collection *collection, const float *values,
                        uint8_t *line);
/* Makes the probe of a stored code line in `code` and `magnitude` (code_stride bytes each). */
void tern_probe_of_code(const struct tern_collection *collection, const uint8_t *line,
                        const float *values, int8_t *code, uint8_t *magnitude,
                        struct tern_probe *probe);

/* The caller's score of a distance in tern_space_of_vectors. */
float tern_vector_score(const struct tern_collection *collection, float distance);

static inline const uint8_t *tern_collection_code(const struct tern_collection *collection,
                                                  uint32_t slot)
{
    return collection->code + (uint64_t)slot * collection->code_stride;
}

static inline const float *tern_collection_vector(const struct tern_collection *collection,
                                                  uint32_t slot)
{
    return (const float *)(const void *)(collection->vector +
                                         (uint64_t)slot * collection->vector_stride);
}

/* The list of a slot at a level it has, and its length. */
static inline const _Atomic uint32_t *tern_collection_list(const struct tern_collection *collection,
                                                           uint32_t slot, unsigned level)
{
    const uint8_t *line =
        level == 0 ? collection->links + (uint64_t)slot * collection->links_stride
                   : collection->upper + ((uint64_t)collection->meta[slot].upper + level - 1) *
                                             collection->upper_stride;

    return (const _Atomic uint32_t *)(const void *)line;
}

static inline unsigned tern_collection_list_length(const struct tern_collection *collection,
                                                   unsigned level)
{
    return level == 0 ? 2 * collection->m : collection->m;
}

static inline bool tern_seen_test(const struct tern_seen *seen, uint32_t slot)
{
    return (seen->words[slot / 64] >> slot % 64 & 1) != 0;
}

/* True when it was not seen before. A slot is added to `undo` at most once a search: it never
 * outgrows the collection. */
static inline bool tern_seen_add(struct tern_seen *seen, uint32_t slot)
{
    uint64_t bit = 1ull << slot % 64;
    uint64_t *word = &seen->words[slot / 64];

    if ((*word & bit) != 0)
        return false;
    *word |= bit;
    seen->undo[seen->undo_count++] = slot / 64;
    return true;
}

static inline void tern_seen_clear(struct tern_seen *seen)
{
    for (uint32_t i = 0; i < seen->undo_count; i++)
        seen->words[seen->undo[i]] = 0;
    seen->undo_count = 0;
}

/* Puts a candidate where it belongs and returns the place; one behind the last of a full pool is
 * dropped (UINT32_MAX). Among equal distances the one that came first stays first. */
static inline uint32_t tern_pool_put(struct tern_pool *pool, float distance, uint32_t slot)
{
    struct tern_candidate *items = pool->items;
    uint32_t low = 0, high = pool->count;

    if (high == pool->limit) {
        if (high == 0 || !(distance < items[high - 1].distance))
            return UINT32_MAX;
        pool->count--;
        high--;
    }
    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (distance < items[middle].distance)
            high = middle;
        else
            low = middle + 1;
    }
    memmove(items + low + 1, items + low, (pool->count - low) * sizeof *items);
    items[low] = (struct tern_candidate){distance, slot};
    pool->count++;
    if (low < pool->next)
        pool->next = low;
    return low;
}

#endif
