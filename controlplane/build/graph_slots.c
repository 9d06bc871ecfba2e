#include "controlplane/build/graph_private.h"

#define STEP_MIN (64u << 10)
#define STEP_MAX (512u << 10)

int tern_graph_stack_push(struct tern_graph_slots *stack, uint32_t slot)
{
    if (stack->count == stack->limit) {
        uint32_t limit = stack->limit == 0 ? 1024 : 2 * stack->limit;
        uint32_t *slots = realloc(stack->slots, limit * sizeof *slots);

        if (slots == NULL)
            return TERN_ENOMEM;
        stack->slots = slots;
        stack->limit = limit;
    }
    stack->slots[stack->count++] = slot;
    return 0;
}

void tern_graph_count(_Atomic uint32_t *counter, int change)
{
    /* Relaxed: one writer, and a count orders nothing. */
    atomic_store_explicit(counter,
                          atomic_load_explicit(counter, memory_order_relaxed) + (uint32_t)change,
                          memory_order_relaxed);
}

/* In steps of a 64th of what is there: few calls, and little that lies idle. */
int tern_graph_array_reserve(struct tern_graph *graph, unsigned index, uint64_t bytes,
                             struct tern_error *error)
{
    struct tern_graph_array *array = &graph->arrays[index];
    uint64_t step = array->allocated / 64, target;
    int status;

    if (bytes <= array->allocated)
        return 0;
    step = step < STEP_MIN ? STEP_MIN : step > STEP_MAX ? STEP_MAX : step;
    target = tern_align_up(tern_max_u64(bytes, array->allocated + step), STEP_MIN);
    if (target > array->limit)
        target = array->limit;
    status = graph->host.allocate(graph->host.context, array->offset + array->allocated,
                                  target - array->allocated, error);
    if (status == 0)
        array->allocated = target;
    return status;
}

/* A geometric level, drawn from the slot's number and the object's: at most the upper lines left.
 */
static unsigned draw_level(const struct tern_graph *graph, uint32_t slot)
{
    uint64_t z = tern_load_u64(graph->header->object_id) + slot * 0x9e3779b97f4a7c15ull;
    uint32_t left = graph->header->upper_capacity -
                    atomic_load_explicit(&graph->header->upper_count, memory_order_relaxed);
    uint32_t threshold = UINT32_MAX / graph->header->m;
    unsigned level = 0;

    while (level < TERN_LEVEL_MAX && level < left) {
        z += 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        z ^= z >> 31;
        if ((uint32_t)z >= threshold)
            break;
        level++;
    }
    return level;
}

/* A slot that was never used. */
static int take_new(struct tern_graph *graph, uint32_t *slot, struct tern_error *error)
{
    struct tern_collection_header *header = graph->header;
    uint32_t taken = tern_graph_slot_count(graph);
    uint32_t upper = atomic_load_explicit(&header->upper_count, memory_order_relaxed);
    unsigned level = draw_level(graph, taken);
    int status = 0;

    if (taken >= header->capacity)
        return tern_error_set(error, TERN_ENOSPC,
                              "no slot is free: %u are in use, replaced vectors among them that "
                              "readers may still see",
                              header->capacity);
    for (unsigned i = 0; i < TERN_GRAPH_ARRAYS && status == 0; i++) {
        uint64_t elements = i == TERN_GRAPH_UPPER ? (uint64_t)upper + level : (uint64_t)taken + 1;

        if (i != TERN_GRAPH_DICTIONARY && i != TERN_GRAPH_DICTIONARY_BYTES)
            status = tern_graph_array_reserve(graph, i, elements * graph->arrays[i].stride, error);
    }
    if (status != 0)
        return status;
    graph->meta[taken] = (struct tern_vector_meta){
        .upper = level == 0 ? 0 : upper,
        .anchor = TERN_SLOT_NONE,
    };
    atomic_store_explicit(&graph->meta[taken].state, TERN_SLOT_FREE | level << 8,
                          memory_order_relaxed);
    atomic_store_explicit(&header->upper_count, upper + level, memory_order_relaxed);
    /* Release: a reader that looks at the slot finds its level and pages. */
    atomic_store_explicit(&header->slot_count, taken + 1, memory_order_release);
    *slot = taken;
    return 0;
}

int tern_graph_slot_take(struct tern_graph *graph, uint32_t *slot, struct tern_error *error)
{
    if (graph->free_slots.count == 0 && tern_graph_slot_count(graph) == graph->header->capacity)
        tern_graph_free_slots(graph);
    if (graph->free_slots.count > 0) {
        *slot = graph->free_slots.slots[--graph->free_slots.count];
    } else {
        int status = take_new(graph, slot, error);

        if (status != 0)
            return status;
    }
    for (unsigned level = 0; level <= tern_graph_level(graph, *slot); level++)
        tern_graph_list_clear_unseen(tern_graph_list(graph, *slot, level),
                                     tern_graph_list_length(graph, level));
    return 0;
}
