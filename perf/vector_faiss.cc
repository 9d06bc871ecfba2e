// faiss's HNSW over flat vectors, on one thread.
#include "perf/vector_peer.h"

#include <faiss/IndexHNSW.h>
#include <omp.h>

namespace
{

void *build(const vector_set *set, unsigned m, unsigned ef_construct)
{
    faiss::IndexHNSWFlat *index =
        new faiss::IndexHNSWFlat(static_cast<int>(set->dim), static_cast<int>(m),
                                 set->l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT);

    omp_set_num_threads(1);
    index->hnsw.efConstruction = static_cast<int>(ef_construct);
    index->add(set->count, set->rows);
    return index;
}

void search(void *opaque, const float *query, unsigned k, unsigned ef, uint32_t *ids)
{
    faiss::IndexHNSWFlat *index = static_cast<faiss::IndexHNSWFlat *>(opaque);
    faiss::Index::idx_t found[1024];
    float distances[1024];

    index->hnsw.efSearch = static_cast<int>(ef);
    index->search(1, query, k, distances, found);
    for (unsigned i = 0; i < k; i++)
        ids[i] = static_cast<uint32_t>(found[i]);
}

uint64_t bytes(void *)
{
    return 0;
}

void release(void *opaque)
{
    delete static_cast<faiss::IndexHNSWFlat *>(opaque);
}

} // namespace

extern const vector_peer vector_faiss = {"faiss", build, search, bytes, release};
