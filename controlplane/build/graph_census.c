#include "controlplane/build/graph_private.h"

/* Everything that the lowest lists lead to from the entry. */
static int reach(const struct tern_graph *graph, uint64_t *reached)
{
    uint32_t slots = tern_graph_slot_count(graph);
    uint32_t *stack = malloc(((size_t)slots + 1) * sizeof *stack), depth = 0;
    uint32_t entry = (uint32_t)atomic_load_explicit(&graph->header->entry, memory_order_relaxed);
    unsigned length = tern_graph_list_length(graph, 0);

    if (stack == NULL)
        return TERN_ENOMEM;
    if (entry != TERN_SLOT_NONE) {
        reached[entry / 64] |= 1ull << entry % 64;
        stack[depth++] = entry;
    }
    while (depth > 0) {
        uint32_t links[TERN_BATCH_MAX];
        unsigned count = tern_graph_list_read(
            tern_collection_list(&graph->collection, stack[--depth], 0), length, links);

        for (unsigned i = 0; i < count; i++) {
            uint64_t bit = 1ull << links[i] % 64;

            if (links[i] < slots && (reached[links[i] / 64] & bit) == 0) {
                reached[links[i] / 64] |= bit;
                stack[depth++] = links[i];
            }
        }
    }
    free(stack);
    return 0;
}

static void count_links(const struct tern_graph *graph, uint32_t slot,
                        struct tern_graph_census *census)
{
    uint32_t slots = tern_graph_slot_count(graph);

    for (unsigned level = 0; level <= tern_graph_level(graph, slot); level++) {
        uint32_t links[TERN_BATCH_MAX];
        unsigned count = tern_graph_list_read(tern_collection_list(&graph->collection, slot, level),
                                              tern_graph_list_length(graph, level), links);

        census->links += level == 0 ? count : 0;
        for (unsigned i = 0; i < count; i++)
            census->bad_links += links[i] >= slots ||
                                 tern_graph_state(graph, links[i]) == TERN_SLOT_FREE ||
                                 tern_graph_level(graph, links[i]) < level;
    }
}

static void count_slot(struct tern_graph *graph, uint32_t slot, const uint64_t *reached,
                       struct tern_graph_census *census)
{
    switch (tern_graph_state(graph, slot)) {
    case TERN_SLOT_FREE:
        census->free++;
        return; /* its lists are what its last use left */
    case TERN_SLOT_LIVE:
        census->live++;
        if (graph->meta[slot].anchor != TERN_SLOT_NONE &&
            (reached[slot / 64] >> slot % 64 & 1) == 0) {
            census->unreachable++;
            (void)tern_graph_stack_push(&graph->mending.strays, slot);
        }
        break;
    case TERN_SLOT_DELETED:
    case TERN_SLOT_REPLACED:
        census->deleted++;
        break;
    case TERN_SLOT_DETACHED:
        census->detached++;
        break;
    }
    count_links(graph, slot, census);
}

int tern_graph_census(struct tern_graph *graph, struct tern_graph_census *census)
{
    static const unsigned counted[] = {TERN_GRAPH_LINKS, TERN_GRAPH_UPPER, TERN_GRAPH_CODE,
                                       TERN_GRAPH_VECTOR, TERN_GRAPH_META};
    uint32_t slots = tern_graph_slot_count(graph);
    uint64_t *reached = calloc((size_t)slots / 64 + 1, sizeof *reached);
    uint64_t tail = atomic_load_explicit(&graph->header->tail, memory_order_relaxed);
    struct tern_graph_census found = {.tail = (uint32_t)((uint32_t)(tail >> 32) - (uint32_t)tail)};
    int status = reached == NULL ? TERN_ENOMEM : reach(graph, reached);

    if (status != 0) {
        free(reached);
        return status;
    }
    graph->mending.strays.count = 0;
    for (uint32_t slot = 0; slot < slots; slot++)
        count_slot(graph, slot, reached, &found);
    free(reached);
    found.bytes = sizeof *graph->header;
    for (size_t i = 0; i < TERN_COUNT(counted); i++)
        found.bytes += graph->arrays[counted[i]].allocated;
    *census = found;
    return 0;
}
