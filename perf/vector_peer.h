/* A vector index as perf/vector asks it: tern's, and the peers that libraries of this machine have.
 * One thread. */
#ifndef TERN_PERF_VECTOR_PEER_H
#define TERN_PERF_VECTOR_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vector_set { /* rows of `dim` floats; for cosine, of length 1 */
    const float *rows;
    uint32_t count, dim;
    bool l2; /* else cosine */
};

struct vector_peer {
    const char *name;
    /* Builds an index over all rows, ids 0 … count − 1. */
    void *(*build)(const struct vector_set *set, unsigned m, unsigned ef_construct);
    void (*search)(void *index, const float *query, unsigned k, unsigned ef, uint32_t *ids);
    uint64_t (*bytes)(void *index); /* of memory; 0: the library does not say */
    void (*free)(void *index);
};

extern const struct vector_peer vector_tern;
extern const struct vector_peer vector_tern_f32; /* without quantization */
extern const struct vector_peer vector_hnswlib;
extern const struct vector_peer vector_faiss;

#ifdef __cplusplus
}
#endif

#endif
