/* A vector collection in memory of its own: pages can be touched once the graph has asked for them,
 * before that the process ends. Grace periods are over when the test says so. */
#ifndef TERN_TESTS_GRAPH_OBJECT_H
#define TERN_TESTS_GRAPH_OBJECT_H

#include "controlplane/build/graph.h"
#include "shared/vector/search.h"

struct tern_graph_object {
    void *memory;
    uint64_t length, allocated;
    uint64_t allocate_at_most; /* bytes; 0: no limit */
    uint64_t graces, graces_over;
    struct tern_graph_host host;
    struct tern_graph *graph;
    struct tern_search_scratch *scratch;
};

/* Formats and opens; asserts that it works. */
void tern_graph_object_make(struct tern_graph_object *object, const struct tern_graph_shape *shape,
                            const struct tern_graph_parameters *parameters);
/* Closes the graph and opens it again, as another process would. */
void tern_graph_object_reopen(struct tern_graph_object *object);
void tern_graph_object_free(struct tern_graph_object *object);

/* Links that are followed from the entry over the lowest lists: asserts that each is to a slot in
 * use, and returns how many live, linked slots are not reached. */
uint32_t tern_graph_object_unreached(const struct tern_graph_object *object);

/* Puts a vector without payload; must succeed. */
void tern_graph_object_put(struct tern_graph_object *object, uint64_t id, uint64_t seq,
                           const float *vector);
/* As tern_search_run, of a search that must be allowed. */
unsigned tern_graph_object_search(struct tern_graph_object *object, const float *query, unsigned k,
                                  unsigned ef, bool exact, struct tern_search_hit *hits);

/* Normal numbers; and a vector of `dim` of them around one of `centers` centers. */
float tern_graph_object_normal(uint64_t *seed);
void tern_graph_object_vector(uint64_t *seed, uint32_t dim, unsigned centers, float *vector);

/* The k nearest of `count` vectors by plain loops in double, ids 0 … count − 1; as tern_search_hit
 * with exact scores. */
void tern_graph_object_nearest(enum tern_metric metric, uint32_t dim, const float *vectors,
                               uint32_t count, const float *query, unsigned k,
                               struct tern_search_hit *hits);

#endif
