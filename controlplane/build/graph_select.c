#include "controlplane/build/graph_private.h"

#define BATCH 4u

void tern_graph_probe_slot(struct tern_graph *graph, struct tern_graph_probe *probe, uint32_t slot)
{
    const struct tern_collection *collection = &graph->collection;
    const uint8_t *line =
        collection->quantize == TERN_QUANTIZE_NONE ? NULL : tern_collection_code(collection, slot);

    tern_probe_of_code(collection, line, tern_collection_vector(collection, slot), probe->code,
                       probe->magnitude, &probe->probe);
}

void tern_graph_measure(struct tern_graph *graph, const struct tern_graph_probe *probe,
                        const uint32_t *slots, unsigned count, float *distances)
{
    graph->kernel->measure(&graph->collection, graph->space, &probe->probe, slots, count,
                           distances);
}

/* Whether one that is kept already stands for the candidate: it is nearer to the candidate than the
 * owner is. Equal distances count only when both are equally far from the owner too: of vectors
 * that are all the same one is kept, and the other places stay for what leads elsewhere. (All kept,
 * a thousand equal vectors know only each other, and nobody leaves or finds them.)
 *
 * All distances are measured from the candidate, the owner's among them, so that equal vectors
 * give equal bits. */
static bool is_covered(struct tern_graph *graph, uint32_t owner, const struct tern_candidate *kept,
                       unsigned count, const struct tern_candidate *candidate)
{
    uint32_t slots[BATCH];
    float distances[BATCH], to_owner = 0;
    unsigned taken = 0, from = 0;

    tern_graph_probe_slot(graph, &graph->candidate, candidate->slot);
    slots[taken++] = owner;
    for (unsigned at = 0; at < count;) {
        unsigned first = at, offset = taken;

        while (taken < BATCH && at < count)
            slots[taken++] = kept[at++].slot;
        tern_graph_measure(graph, &graph->candidate, slots, taken, distances);
        if (from == 0)
            to_owner = distances[0];
        for (unsigned i = offset; i < taken; i++)
            if (distances[i] < to_owner ||
                (distances[i] == to_owner &&
                 kept[first + i - offset].distance == candidate->distance))
                return true;
        taken = 0;
        from = at;
    }
    return false;
}

unsigned tern_graph_select(struct tern_graph *graph, uint32_t owner,
                           struct tern_candidate *candidates, unsigned count, unsigned limit)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < count && kept < limit; i++) {
        struct tern_candidate candidate = candidates[i];

        if (is_covered(graph, owner, candidates, kept, &candidate))
            continue;
        /* What is not kept stays behind, in order. */
        memmove(&candidates[kept + 1], &candidates[kept], (i - kept) * sizeof *candidates);
        candidates[kept++] = candidate;
    }
    return kept;
}
