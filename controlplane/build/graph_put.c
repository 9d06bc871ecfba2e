#include "controlplane/build/graph_private.h"

static uint32_t tail_first(const struct tern_graph *graph)
{
    return (uint32_t)atomic_load_explicit(&graph->header->tail, memory_order_relaxed);
}

static uint32_t tail_end(const struct tern_graph *graph)
{
    return (uint32_t)(atomic_load_explicit(&graph->header->tail, memory_order_relaxed) >> 32);
}

void tern_graph_tail_append(struct tern_graph *graph, uint32_t slot)
{
    struct tern_collection_header *header = graph->header;
    uint32_t end = tail_end(graph);

    atomic_store_explicit(&header->tail_slots[end % TERN_TAIL_MAX], slot, memory_order_release);
    /* Release pairs with the acquire of a search's first load: it sees the slot, live. */
    atomic_store_explicit(&header->tail, (uint64_t)(end + 1) << 32 | tail_first(graph),
                          memory_order_release);
}

bool tern_graph_tail_has(const struct tern_graph *graph, uint32_t slot)
{
    for (uint32_t at = tail_first(graph); at != tail_end(graph); at++)
        if (atomic_load_explicit(&graph->header->tail_slots[at % TERN_TAIL_MAX],
                                 memory_order_relaxed) == slot)
            return true;
    return false;
}

int tern_graph_check_vector(const float *vector, uint32_t dim, struct tern_error *error)
{
    return tern_vector_check(vector, dim, error);
}

static void write_vector(struct tern_graph *graph, uint32_t slot, const float *vector)
{
    struct tern_collection_header *header = graph->header;
    float *values =
        (float *)(void *)(graph->base + header->vector + (uint64_t)slot * header->vector_stride);

    graph->meta[slot].norm = tern_vector_prepare(&graph->collection, vector, values);
    if (graph->collection.quantize != TERN_QUANTIZE_NONE)
        tern_vector_encode(&graph->collection, values,
                           graph->base + header->code + (uint64_t)slot * header->code_stride);
}

int tern_graph_put(struct tern_graph *graph, uint64_t id, uint64_t seq, const float *vector,
                   const struct tern_graph_value *payload, struct tern_error *error)
{
    struct tern_collection_header *header = graph->header;
    uint32_t old = tern_key_map_find(&graph->keys, id), slot = 0;
    uint32_t strings[TERN_PAYLOAD_COLUMNS_MAX];
    int status;

    if (old != TERN_SLOT_NONE && seq <= graph->meta[old].seq)
        return 0; /* replayed */
    if (old == TERN_SLOT_NONE &&
        atomic_load_explicit(&header->live_count, memory_order_relaxed) >= header->vector_capacity)
        return tern_error_set(error, TERN_ENOSPC,
                              "the collection holds the %u vectors of its capacity",
                              header->vector_capacity);
    tern_graph_keep_up(graph);
    status = tern_graph_payload_check(graph, payload, error);
    if (status == 0)
        status = tern_graph_payload_intern(graph, payload, strings, error);
    if (status == 0)
        status = tern_key_map_reserve(&graph->keys);
    if (status == 0)
        status = tern_graph_slot_take(graph, &slot, error);
    if (status != 0)
        return status;
    if (tail_end(graph) - tail_first(graph) == TERN_TAIL_MAX)
        tern_graph_link_first(graph);
    tern_graph_payload_write(graph, slot, payload, strings);
    write_vector(graph, slot, vector);
    graph->meta[slot].id = id;
    graph->meta[slot].seq = seq;
    graph->meta[slot].anchor = TERN_SLOT_NONE;
    tern_graph_set_state(graph, slot, TERN_SLOT_LIVE);
    tern_graph_tail_append(graph, slot);
    tern_key_map_put(&graph->keys, id, slot);
    if (old == TERN_SLOT_NONE) {
        tern_graph_count(&header->live_count, 1);
    } else {
        /* After the new value is in the tail: a search that finds the old one replaced looks there.
         */
        tern_graph_bury(graph, old, TERN_SLOT_REPLACED);
    }
    return 0;
}
