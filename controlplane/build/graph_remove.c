/* Vectors leave the results: one store makes a slot a tombstone. It is led through until it is
 * repaired (graph_repair.c), so that nothing behind it is lost. */
#include "controlplane/build/graph_private.h"

void tern_graph_bury(struct tern_graph *graph, uint32_t slot, enum tern_slot_state state)
{
    tern_graph_set_state(graph, slot, state);
    tern_graph_count(&graph->header->deleted_count, 1);
    /* What nothing leads to leaves with the tail (tern_graph_link_first). Without memory for the
     * stack the tombstone stays until the next open finds it. */
    if (graph->meta[slot].anchor != TERN_SLOT_NONE)
        (void)tern_graph_stack_push(&graph->mending.tombstones, slot);
}

int tern_graph_remove(struct tern_graph *graph, uint64_t id, uint64_t seq)
{
    uint32_t slot = tern_key_map_find(&graph->keys, id);

    if (slot == TERN_SLOT_NONE)
        return TERN_ENOENT;
    if (seq <= graph->meta[slot].seq)
        return 0; /* replayed: what is there was put after it */
    tern_key_map_remove(&graph->keys, id);
    tern_graph_count(&graph->header->live_count, -1);
    tern_graph_bury(graph, slot, TERN_SLOT_DELETED);
    return 0;
}
