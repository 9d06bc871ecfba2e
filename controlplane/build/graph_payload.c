#include "controlplane/build/graph_private.h"

#include "shared/schema.h"

#include <math.h>
#include <xxhash.h>

int tern_graph_payload_check(const struct tern_graph *graph, const struct tern_graph_value *payload,
                             struct tern_error *error)
{
    for (uint32_t i = 0; i < graph->header->column_count; i++) {
        const struct tern_payload_column *column = &graph->header->columns[i];

        if (!payload[i].present)
            continue;
        if (column->type == TERN_TYPE_STRING && payload[i].string.length > TERN_PAYLOAD_STRING_MAX)
            return tern_error_set(error, TERN_EINVAL, "payload %s has %u bytes; it may have %u",
                                  column->name, payload[i].string.length, TERN_PAYLOAD_STRING_MAX);
        if (column->type == TERN_TYPE_F32 && isnan(payload[i].f32))
            return tern_error_set(error, TERN_EINVAL, "payload %s is not a number", column->name);
        if ((column->type == TERN_TYPE_U32 && payload[i].u64 > UINT32_MAX) ||
            (column->type == TERN_TYPE_BOOL && payload[i].u64 > 1))
            return tern_error_set(error, TERN_EINVAL, "payload %s is %llu, out of its type's range",
                                  column->name, (unsigned long long)payload[i].u64);
    }
    return 0;
}

/* After the entry is counted: whoever finds it in the index (release, acquire) may look. */
static void index_string(struct tern_graph *graph, uint32_t index)
{
    uint32_t mask = graph->header->dictionary_index_mask;
    uint32_t at = graph->collection.dictionary[index].hash & mask;
    _Atomic uint32_t *places =
        (_Atomic uint32_t *)(void *)(graph->base + graph->header->dictionary_index);

    while (atomic_load_explicit(&places[at], memory_order_relaxed) != 0)
        at = (at + 1) & mask;
    atomic_store_explicit(&places[at], index + 1, memory_order_release);
}

int tern_graph_payload_open(struct tern_graph *graph, struct tern_error *error)
{
    const struct tern_collection_header *header = graph->header;
    uint32_t count = atomic_load_explicit(&header->dictionary_count, memory_order_relaxed), index;
    const struct tern_dictionary_entry *last;

    if (count > header->dictionary_capacity)
        return tern_error_set(error, TERN_ECORRUPT, "vector collection: dictionary too long");
    if (count == 0)
        return 0;
    last = &graph->collection.dictionary[count - 1];
    if (!tern_range_inside(last->offset, last->length, header->dictionary_bytes_capacity))
        return tern_error_set(error, TERN_ECORRUPT,
                              "vector collection: a string of the dictionary lies outside");
    graph->dictionary_end = last->offset + last->length;
    /* Counted, and then a crash before it was indexed. */
    if (!tern_collection_find_string(&graph->collection,
                                     graph->collection.dictionary_bytes + last->offset,
                                     last->length, &index))
        index_string(graph, count - 1);
    return 0;
}

static int intern(struct tern_graph *graph, const void *bytes, uint32_t length, uint32_t *index,
                  struct tern_error *error)
{
    struct tern_collection_header *header = graph->header;
    uint32_t count = atomic_load_explicit(&header->dictionary_count, memory_order_relaxed);
    struct tern_dictionary_entry *entries;
    int status;

    if (tern_collection_find_string(&graph->collection, bytes, length, index))
        return 0;
    if (count == header->dictionary_capacity ||
        length > header->dictionary_bytes_capacity - graph->dictionary_end)
        return tern_error_set(error, TERN_ENOSPC,
                              "the collection's dictionary is full: %u different strings of %llu "
                              "bytes",
                              count, (unsigned long long)graph->dictionary_end);
    status = tern_graph_array_reserve(graph, TERN_GRAPH_DICTIONARY,
                                      ((uint64_t)count + 1) * sizeof *entries, error);
    if (status == 0)
        status = tern_graph_array_reserve(graph, TERN_GRAPH_DICTIONARY_BYTES,
                                          graph->dictionary_end + length, error);
    if (status != 0)
        return status;
    entries = (struct tern_dictionary_entry *)(void *)(graph->base + header->dictionary);
    memcpy(graph->base + header->dictionary_bytes + graph->dictionary_end, bytes, length);
    entries[count] = (struct tern_dictionary_entry){.offset = graph->dictionary_end,
                                                    .length = length,
                                                    .hash = (uint32_t)XXH3_64bits(bytes, length)};
    graph->dictionary_end += length;
    *index = count;
    /* Release: a reader that finds the entry counted finds it complete. */
    atomic_store_explicit(&header->dictionary_count, count + 1, memory_order_release);
    index_string(graph, count);
    return 0;
}

int tern_graph_payload_intern(struct tern_graph *graph, const struct tern_graph_value *payload,
                              uint32_t strings[TERN_PAYLOAD_COLUMNS_MAX], struct tern_error *error)
{
    for (uint32_t i = 0; i < graph->header->column_count; i++) {
        int status = 0;

        strings[i] = 0;
        if (graph->header->columns[i].type == TERN_TYPE_STRING && payload[i].present)
            status = intern(graph, payload[i].string.bytes, payload[i].string.length, &strings[i],
                            error);
        if (status != 0)
            return status;
    }
    return 0;
}

void tern_graph_payload_write(struct tern_graph *graph, uint32_t slot,
                              const struct tern_graph_value *payload,
                              const uint32_t strings[TERN_PAYLOAD_COLUMNS_MAX])
{
    struct tern_collection_header *header = graph->header;
    uint16_t *present = (uint16_t *)(void *)(graph->base + header->present);

    present[slot] = 0;
    for (uint32_t i = 0; i < header->column_count; i++) {
        const struct tern_payload_column *column = &header->columns[i];
        uint8_t *at = graph->base + column->offset + (uint64_t)slot * column->width;

        memset(at, 0, column->width);
        if (!payload[i].present)
            continue;
        present[slot] |= (uint16_t)(1u << i);
        switch (column->type) {
        case TERN_TYPE_BOOL:
            *at = payload[i].u64 != 0;
            break;
        case TERN_TYPE_U32:
            tern_store_u32(at, (uint32_t)payload[i].u64);
            break;
        case TERN_TYPE_F32:
            tern_store_f32(at, payload[i].f32);
            break;
        case TERN_TYPE_STRING:
            tern_store_u32(at, strings[i]);
            break;
        default: /* u64, i64: the same bits */
            tern_store_u64(at, payload[i].u64);
            break;
        }
    }
}
