// hnswlib as its users have it: header only, compiled with -O3 -march=native.
#include "perf/vector_peer.h"

#include <hnswlib/hnswlib.h>

namespace
{

struct Index {
    hnswlib::SpaceInterface<float> *space;
    hnswlib::HierarchicalNSW<float> *graph;
};

void *build(const vector_set *set, unsigned m, unsigned ef_construct)
{
    Index *index = new Index;

    if (set->l2)
        index->space = new hnswlib::L2Space(set->dim);
    else
        index->space = new hnswlib::InnerProductSpace(set->dim);
    index->graph = new hnswlib::HierarchicalNSW<float>(index->space, set->count, m, ef_construct);
    for (uint32_t i = 0; i < set->count; i++)
        index->graph->addPoint(set->rows + static_cast<size_t>(i) * set->dim, i);
    return index;
}

void search(void *opaque, const float *query, unsigned k, unsigned ef, uint32_t *ids)
{
    Index *index = static_cast<Index *>(opaque);

    index->graph->setEf(ef);
    auto found = index->graph->searchKnn(query, k);
    for (unsigned i = 0; i < k; i++)
        ids[i] = UINT32_MAX;
    while (!found.empty()) { // the farthest comes first
        ids[found.size() - 1] = static_cast<uint32_t>(found.top().second);
        found.pop();
    }
}

uint64_t bytes(void *)
{
    return 0;
}

void release(void *opaque)
{
    Index *index = static_cast<Index *>(opaque);

    delete index->graph;
    delete index->space;
    delete index;
}

} // namespace

extern const vector_peer vector_hnswlib = {"hnswlib", build, search, bytes, release};
