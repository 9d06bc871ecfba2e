#include "controlplane/build/graph_private.h"

static void set_array(struct tern_graph *graph, unsigned index, uint64_t offset, uint64_t count,
                      uint64_t capacity, uint32_t stride)
{
    graph->arrays[index] = (struct tern_graph_array){
        .offset = offset,
        /* Whatever is behind the last whole page is asked for again, which changes nothing. */
        .allocated = count * stride / TERN_PAGE * TERN_PAGE,
        .limit = tern_align_up(capacity * stride, TERN_PAGE),
        .stride = stride,
    };
}

static void set_arrays(struct tern_graph *graph)
{
    struct tern_collection_header *header = graph->header;
    uint64_t slots = tern_graph_slot_count(graph), capacity = header->capacity;
    uint64_t uppers = atomic_load_explicit(&header->upper_count, memory_order_relaxed);
    uint64_t strings = atomic_load_explicit(&header->dictionary_count, memory_order_relaxed);

    set_array(graph, TERN_GRAPH_LINKS, header->links, slots, capacity, header->links_stride);
    set_array(graph, TERN_GRAPH_UPPER, header->upper, uppers, header->upper_capacity,
              header->upper_stride);
    set_array(graph, TERN_GRAPH_CODE, header->code, slots, capacity, header->code_stride);
    set_array(graph, TERN_GRAPH_VECTOR, header->vector, slots, capacity, header->vector_stride);
    set_array(graph, TERN_GRAPH_META, header->meta, slots, capacity, sizeof *graph->meta);
    set_array(graph, TERN_GRAPH_PRESENT, header->present, slots, capacity, sizeof(uint16_t));
    set_array(graph, TERN_GRAPH_DICTIONARY, header->dictionary, strings,
              header->dictionary_capacity, sizeof(struct tern_dictionary_entry));
    set_array(graph, TERN_GRAPH_DICTIONARY_BYTES, header->dictionary_bytes, graph->dictionary_end,
              header->dictionary_bytes_capacity, 1);
    for (unsigned i = 0; i < header->column_count; i++)
        set_array(graph, TERN_GRAPH_COLUMNS + i, header->columns[i].offset, slots, capacity,
                  header->columns[i].width);
}

static int check_counts(const struct tern_graph *graph, struct tern_error *error)
{
    const struct tern_collection_header *header = graph->header;
    uint64_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
    uint64_t entry = atomic_load_explicit(&header->entry, memory_order_relaxed);
    uint32_t slots = tern_graph_slot_count(graph);

    if (slots > header->capacity ||
        atomic_load_explicit(&header->upper_count, memory_order_relaxed) > header->upper_capacity ||
        (uint32_t)((uint32_t)(tail >> 32) - (uint32_t)tail) > TERN_TAIL_MAX ||
        ((uint32_t)entry != TERN_SLOT_NONE && (uint32_t)entry >= slots) ||
        (entry >> 32 & 0xff) > TERN_LEVEL_MAX)
        return tern_error_set(error, TERN_ECORRUPT, "vector collection: a count is not possible");
    for (uint32_t at = (uint32_t)tail; at != (uint32_t)(tail >> 32); at++)
        if (atomic_load_explicit(&header->tail_slots[at % TERN_TAIL_MAX], memory_order_relaxed) >=
            slots)
            return tern_error_set(error, TERN_ECORRUPT,
                                  "vector collection: the tail names a slot that was never used");
    return 0;
}

/* A live slot into the key map. Two of one id: a crash between the new value and the mark on the
 * old one, which is set now. */
static int open_live(struct tern_graph *graph, uint32_t slot)
{
    struct tern_vector_meta *meta = &graph->meta[slot];
    uint32_t other = tern_key_map_find(&graph->keys, meta->id), newer = slot;
    int status = tern_key_map_reserve(&graph->keys);

    if (status != 0)
        return status;
    if (other != TERN_SLOT_NONE) {
        newer = graph->meta[other].seq > meta->seq ? other : slot;
        tern_graph_set_state(graph, newer == slot ? other : slot, TERN_SLOT_REPLACED);
    }
    tern_key_map_put(&graph->keys, meta->id, newer);
    return 0;
}

/* Live, in no list and not in the tail: a put that a crash has cut short before its last but one
 * store. */
static bool is_stray(const struct tern_graph *graph, uint32_t slot)
{
    return tern_graph_state(graph, slot) == TERN_SLOT_LIVE &&
           graph->meta[slot].anchor == TERN_SLOT_NONE && !tern_graph_tail_has(graph, slot);
}

static int open_slots(struct tern_graph *graph, struct tern_error *error)
{
    struct tern_collection_header *header = graph->header;
    uint32_t slots = tern_graph_slot_count(graph), deleted = 0, stray = TERN_SLOT_NONE;
    uint32_t uppers = atomic_load_explicit(&header->upper_count, memory_order_relaxed);
    int status = 0;

    for (uint32_t slot = 0; slot < slots && status == 0; slot++) {
        unsigned level = tern_graph_level(graph, slot);
        uint32_t anchor = graph->meta[slot].anchor;

        if (level > TERN_LEVEL_MAX || (uint64_t)graph->meta[slot].upper + level > uppers ||
            (anchor != TERN_SLOT_NONE && anchor >= slots))
            return tern_error_set(error, TERN_ECORRUPT,
                                  "vector collection: slot %u is not possible", slot);
        switch (tern_graph_state(graph, slot)) {
        case TERN_SLOT_FREE:
            status = tern_graph_stack_push(&graph->free_slots, slot);
            break;
        case TERN_SLOT_LIVE:
            if (is_stray(graph, slot))
                stray = slot;
            status = open_live(graph, slot);
            break;
        case TERN_SLOT_DELETED:
        case TERN_SLOT_REPLACED:
        case TERN_SLOT_DETACHED:
            break;
        default:
            return tern_error_set(error, TERN_ECORRUPT,
                                  "vector collection: slot %u is in no known state", slot);
        }
    }
    if (status != 0)
        return status;
    if (stray != TERN_SLOT_NONE && is_stray(graph, stray))
        tern_graph_tail_append(graph, stray);
    for (uint32_t slot = 0; slot < slots; slot++) {
        enum tern_slot_state state = tern_graph_state(graph, slot);

        deleted += state != TERN_SLOT_FREE && state != TERN_SLOT_LIVE;
    }
    atomic_store_explicit(&header->deleted_count, deleted, memory_order_relaxed);
    atomic_store_explicit(&header->live_count, (uint32_t)graph->keys.count, memory_order_relaxed);
    return 0;
}

static void complete_link(struct tern_graph *graph)
{
    uint64_t intent = atomic_load_explicit(&graph->header->intent, memory_order_relaxed);

    if ((intent & 0xff) != TERN_GRAPH_INTENT_LINK)
        return;
    if (tern_graph_tail_has(graph, (uint32_t)(intent >> 8)))
        tern_graph_link_first(graph);
    tern_graph_set_intent(graph, TERN_GRAPH_INTENT_NONE, 0);
}

static int make_probe(const struct tern_graph *graph, struct tern_graph_probe *probe)
{
    size_t bytes =
        graph->collection.code_stride != 0 ? graph->collection.code_stride : TERN_CODE_BLOCK;

    probe->code = aligned_alloc(TERN_CODE_BLOCK, bytes);
    probe->magnitude = aligned_alloc(TERN_CODE_BLOCK, bytes);
    return probe->code == NULL || probe->magnitude == NULL ? TERN_ENOMEM : 0;
}

static int make_memory(struct tern_graph *graph)
{
    int status =
        tern_search_scratch_new(&graph->scratch, graph->collection.capacity, graph->collection.dim);

    if (status != 0)
        return status;
    graph->kernel = graph->scratch->kernel;
    graph->space = tern_space_of_graph(&graph->collection);
    graph->candidates = malloc(2 * TERN_GRAPH_CANDIDATES_MAX * sizeof *graph->candidates);
    if (graph->candidates == NULL || make_probe(graph, &graph->query) != 0 ||
        make_probe(graph, &graph->center) != 0 || make_probe(graph, &graph->candidate) != 0)
        return TERN_ENOMEM;
    return 0;
}

int tern_graph_open(struct tern_graph **graph, void *object, uint64_t length,
                    const struct tern_graph_host *host, struct tern_error *error)
{
    struct tern_graph *opened = calloc(1, sizeof *opened);
    int status;

    if (opened == NULL)
        return TERN_ENOMEM;
    opened->host = *host;
    status = tern_collection_open(&opened->collection, object, length, error);
    if (status == 0) {
        opened->header = object;
        opened->base = object;
        opened->meta = (struct tern_vector_meta *)(void *)(opened->base + opened->header->meta);
        status = check_counts(opened, error);
    }
    if (status == 0)
        status = tern_graph_payload_open(opened, error);
    if (status == 0) {
        set_arrays(opened);
        status = make_memory(opened);
    }
    if (status == 0)
        status = open_slots(opened, error);
    if (status == 0)
        status = tern_graph_recover(opened);
    if (status == 0)
        complete_link(opened);
    if (status != 0) {
        tern_graph_close(opened);
        return status;
    }
    *graph = opened;
    return 0;
}

static void free_probe(struct tern_graph_probe *probe)
{
    free(probe->code);
    free(probe->magnitude);
}

void tern_graph_close(struct tern_graph *graph)
{
    if (graph == NULL)
        return;
    tern_key_map_free(&graph->keys);
    tern_search_scratch_free(graph->scratch);
    free(graph->free_slots.slots);
    tern_graph_mending_free(&graph->mending);
    free(graph->candidates);
    free_probe(&graph->query);
    free_probe(&graph->center);
    free_probe(&graph->candidate);
    free(graph);
}
