#include "controlplane/build/graph_private.h"

#include "shared/schema.h"

#include <sys/random.h>

#define SPARE_MIN        4096u /* slots for tombstones, whatever the capacity */
#define STRING_BYTES     64u   /* room in the dictionary for a string of each vector, on average */
#define DICTIONARY_BYTES (1u << 20)
#define STRINGS_MAX      ((1u << 22) - 1)

/* Each array begins at a page, a large one at a huge page. */
static uint64_t place_array(uint64_t *end, uint64_t count, uint64_t bytes)
{
    uint64_t at = tern_align_up(*end, count * bytes >= TERN_EXTENT ? TERN_EXTENT : TERN_PAGE);

    if (count * bytes == 0)
        return 0;
    *end = at + tern_align_up(count * bytes, TERN_PAGE);
    return at;
}

static void lay_out(const struct tern_graph_shape *shape, struct tern_collection_header *header)
{
    uint64_t slots = shape->capacity + tern_max_u64(shape->capacity / 8, SPARE_MIN);
    uint64_t end = sizeof *header;
    unsigned string_columns = 0;

    if (slots > TERN_SLOTS_MAX)
        slots = TERN_SLOTS_MAX;
    for (unsigned i = 0; i < shape->column_count; i++)
        string_columns += shape->columns[i].type == TERN_TYPE_STRING;
    header->abi = TERN_COLLECTION_ABI;
    header->dim = shape->dim;
    header->metric = (uint8_t)shape->metric;
    header->quantize = (uint8_t)shape->quantize;
    header->m = (uint16_t)shape->m;
    header->vector_capacity = shape->capacity;
    header->capacity = (uint32_t)slots;
    /* A slot has 1 / (m − 1) upper lines on average. */
    header->upper_capacity = (uint32_t)(slots / (shape->m - 1) * 9 / 8 + 1024);
    header->dictionary_capacity = (uint32_t)tern_min_u64(slots * string_columns, STRINGS_MAX);
    header->dictionary_index_mask = string_columns == 0 ? 0 : 63;
    while (string_columns != 0 && header->dictionary_index_mask / 2 < header->dictionary_capacity)
        header->dictionary_index_mask = 2 * header->dictionary_index_mask + 1;
    header->dictionary_bytes_capacity =
        string_columns == 0
            ? 0
            : (uint64_t)header->dictionary_capacity * STRING_BYTES + DICTIONARY_BYTES;
    header->links_stride = tern_collection_links_stride(shape->m);
    header->upper_stride = tern_collection_upper_stride(shape->m);
    header->code_stride = tern_collection_code_stride(shape->dim, shape->quantize);
    header->vector_stride = tern_collection_vector_stride(shape->dim);
    header->links = place_array(&end, slots, header->links_stride);
    header->upper = place_array(&end, header->upper_capacity, header->upper_stride);
    header->code = place_array(&end, slots, header->code_stride);
    header->vector = place_array(&end, slots, header->vector_stride);
    header->meta = place_array(&end, slots, sizeof(struct tern_vector_meta));
    header->present = place_array(&end, slots, sizeof(uint16_t));
    header->dictionary =
        place_array(&end, header->dictionary_capacity, sizeof(struct tern_dictionary_entry));
    header->dictionary_bytes = place_array(&end, header->dictionary_bytes_capacity, 1);
    header->dictionary_index = place_array(
        &end, string_columns == 0 ? 0 : header->dictionary_index_mask + 1ull, sizeof(uint32_t));
    header->column_count = shape->column_count;
    for (unsigned i = 0; i < shape->column_count; i++) {
        struct tern_payload_column *column = &header->columns[i];
        size_t length = strnlen(shape->columns[i].name, TERN_NAME_MAX);

        column->type = shape->columns[i].type;
        column->width = tern_collection_column_width(column->type);
        column->name_length = (uint8_t)length;
        memcpy(column->name, shape->columns[i].name, length);
        column->offset = place_array(&end, slots, column->width);
    }
    header->length = tern_align_up(end, TERN_EXTENT);
}

uint64_t tern_graph_length(const struct tern_graph_shape *shape)
{
    struct tern_collection_header header = {.magic = 0};

    lay_out(shape, &header);
    return header.length;
}

static void store_parameters(struct tern_collection_header *header,
                             const struct tern_graph_parameters *parameters)
{
    /* Relaxed: each stands for itself. */
    atomic_store_explicit(&header->ef_search, parameters->ef_search, memory_order_relaxed);
    atomic_store_explicit(&header->ef_construct, parameters->ef_construct, memory_order_relaxed);
    atomic_store_explicit(&header->full_scan, parameters->full_scan, memory_order_relaxed);
}

int tern_graph_format(void *object, uint64_t length, const struct tern_graph_shape *shape,
                      const struct tern_graph_parameters *parameters, const uint8_t store_id[16],
                      const struct tern_graph_host *host, struct tern_error *error)
{
    struct tern_collection_header *header = object;
    int status;

    if (shape->dim == 0 || shape->dim > TERN_DIM_MAX || shape->m < TERN_M_MIN ||
        shape->m > TERN_M_MAX || shape->capacity == 0 || shape->capacity > TERN_SLOTS_MAX ||
        shape->column_count > TERN_PAYLOAD_COLUMNS_MAX)
        return tern_error_set(error, TERN_EINVAL, "no vector collection has this shape");
    for (unsigned i = 0; i < shape->column_count; i++)
        if (tern_collection_column_width(shape->columns[i].type) == 0)
            return tern_error_set(error, TERN_EINVAL, "payload %s has no type of a payload",
                                  shape->columns[i].name);
    if (length < tern_graph_length(shape))
        return tern_error_set(error, TERN_EINVAL, "%llu bytes are too few for the collection",
                              (unsigned long long)length);
    status = host->allocate(host->context, 0, sizeof *header, error);
    if (status != 0)
        return status;
    lay_out(shape, header);
    /* All of it: a look-up reads anywhere in it. */
    if (header->dictionary_index != 0)
        status = host->allocate(host->context, header->dictionary_index,
                                (header->dictionary_index_mask + 1ull) * sizeof(uint32_t), error);
    if (status != 0)
        return status;
    store_parameters(header, parameters);
    memcpy(header->store_id, store_id, sizeof header->store_id);
    if (getrandom(header->object_id, sizeof header->object_id, 0) !=
        (ssize_t)sizeof header->object_id)
        return tern_error_set(error, TERN_EIO, "no random bytes for a collection's id");
    atomic_store_explicit(&header->entry, TERN_SLOT_NONE, memory_order_relaxed);
    header->checksum = tern_collection_checksum(header);
    /* Release: whoever sees the magic sees the header. */
    atomic_store_explicit(&header->magic, TERN_COLLECTION_MAGIC, memory_order_release);
    return 0;
}

void tern_graph_set_parameters(struct tern_graph *graph,
                               const struct tern_graph_parameters *parameters)
{
    store_parameters(graph->header, parameters);
}

const struct tern_collection *tern_graph_collection(const struct tern_graph *graph)
{
    return &graph->collection;
}

void tern_graph_set_applied(struct tern_graph *graph, uint64_t seq)
{
    /* Release: whoever sees the number sees the writes up to it. */
    atomic_store_explicit(&graph->header->applied_seq, seq, memory_order_release);
}

uint64_t tern_graph_applied(const struct tern_graph *graph)
{
    return atomic_load_explicit(&graph->header->applied_seq, memory_order_relaxed);
}

bool tern_graph_find(const struct tern_graph *graph, uint64_t id, uint64_t *seq)
{
    uint32_t slot = tern_key_map_find(&graph->keys, id);

    if (slot == TERN_SLOT_NONE)
        return false;
    *seq = graph->meta[slot].seq;
    return true;
}
