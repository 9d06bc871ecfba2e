/* The memory of a search, private to shared/vector and to the writer, whose insertions search too.
 */
#ifndef TERN_VECTOR_SCRATCH_H
#define TERN_VECTOR_SCRATCH_H

#include "shared/vector/distance.h"
#include "shared/vector/search.h"

#define TERN_RERANK_MAX     (2 * TERN_SEARCH_K_MAX)
#define TERN_SCRATCH_PLACES 4096u
_Static_assert(TERN_SCRATCH_PLACES >= 2 * TERN_RERANK_MAX, "open addressing, at most half full");

struct tern_search_scratch {
    uint32_t capacity, dim;
    const struct tern_kernel *kernel;
    struct tern_seen seen;
    float *values;                  /* the query as vectors are stored */
    int8_t *code;                   /* and as codes are */
    uint8_t *magnitude;             /* absolute values of it */
    uint8_t *line;                  /* a code line before it is a probe */
    struct tern_candidate *pool;    /* TERN_SEARCH_EF_MAX: of the graph, or of a scan */
    struct tern_candidate *fresh;   /* TERN_RERANK_MAX: of the tail */
    struct tern_candidate *ranked;  /* TERN_RERANK_MAX: live ones of both, by f32 */
    uint16_t *places;               /* TERN_SCRATCH_PLACES: ids of the ranked ones */
    struct tern_candidate *passing; /* TERN_SEARCH_EF_MAX: of a filtered walk */
};

/* Bits of seen slots are all clear and `undo` is empty between searches. */

#endif
