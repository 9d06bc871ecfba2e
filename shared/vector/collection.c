#include "shared/vector/collection.h"

#include "shared/schema.h"
#include "shared/vector/distance.h"

#include <xxhash.h>

uint64_t tern_collection_checksum(const struct tern_collection_header *header)
{
    enum {
        FIRST = offsetof(struct tern_collection_header, abi),
        END = offsetof(struct tern_collection_header, ef_search),
        CHECKSUM = offsetof(struct tern_collection_header, checksum)
    };
    uint8_t constants[END - FIRST];

    memcpy(constants, (const uint8_t *)header + FIRST, sizeof constants);
    memset(constants + CHECKSUM - FIRST, 0, sizeof header->checksum);
    return XXH3_64bits(constants, sizeof constants);
}

uint32_t tern_collection_links_stride(uint32_t m)
{
    return (uint32_t)tern_align_up(2 * m * sizeof(uint32_t), TERN_CACHE_LINE);
}

uint32_t tern_collection_upper_stride(uint32_t m)
{
    return (uint32_t)tern_align_up(m * sizeof(uint32_t), TERN_CACHE_LINE);
}

uint32_t tern_collection_code_stride(uint32_t dim, enum tern_quantize quantize)
{
    return quantize == TERN_QUANTIZE_NONE
               ? 0
               : (uint32_t)tern_align_up(sizeof(struct tern_vector_code) + dim, TERN_CODE_BLOCK);
}

uint32_t tern_collection_vector_stride(uint32_t dim)
{
    return (uint32_t)(tern_align_up(dim, TERN_FLOAT_BLOCK) * sizeof(float));
}

uint8_t tern_collection_column_width(uint8_t type)
{
    switch (type) {
    case TERN_TYPE_BOOL:
        return 1;
    case TERN_TYPE_U32:
    case TERN_TYPE_F32:
    case TERN_TYPE_STRING:
        return 4;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        return 8;
    default:
        return 0;
    }
}

static int corrupt(struct tern_error *error, const char *what)
{
    return tern_error_set(error, TERN_ECORRUPT, "vector collection: %s", what);
}

static int check_constants(const struct tern_collection_header *header, struct tern_error *error)
{
    if (header->metric < TERN_METRIC_COSINE || header->metric > TERN_METRIC_DOT ||
        header->quantize > TERN_QUANTIZE_INT8)
        return corrupt(error, "unknown metric or quantization");
    if (header->dim == 0 || header->dim > TERN_DIM_MAX || header->m < TERN_M_MIN ||
        header->m > TERN_M_MAX || header->capacity == 0 || header->capacity > TERN_SLOTS_MAX ||
        header->upper_capacity > TERN_SLOTS_MAX || header->vector_capacity > header->capacity ||
        header->column_count > TERN_PAYLOAD_COLUMNS_MAX)
        return corrupt(error, "a size is out of its range");
    if (header->links_stride != tern_collection_links_stride(header->m) ||
        header->upper_stride != tern_collection_upper_stride(header->m) ||
        header->code_stride != tern_collection_code_stride(header->dim, header->quantize) ||
        header->vector_stride != tern_collection_vector_stride(header->dim))
        return corrupt(error, "a stride does not follow from the shape");
    return 0;
}

static bool is_inside(const struct tern_collection_header *header, uint64_t offset, uint64_t count,
                      uint64_t bytes)
{
    return count * bytes == 0 || (offset >= sizeof *header && offset % TERN_CACHE_LINE == 0 &&
                                  tern_range_inside(offset, count * bytes, header->length));
}

static int check_arrays(const struct tern_collection_header *header, struct tern_error *error)
{
    uint64_t slots = header->capacity;

    if (!is_inside(header, header->links, slots, header->links_stride) ||
        !is_inside(header, header->upper, header->upper_capacity, header->upper_stride) ||
        !is_inside(header, header->code, slots, header->code_stride) ||
        !is_inside(header, header->vector, slots, header->vector_stride) ||
        !is_inside(header, header->meta, slots, sizeof(struct tern_vector_meta)) ||
        !is_inside(header, header->present, slots, sizeof(uint16_t)) ||
        !is_inside(header, header->dictionary, header->dictionary_capacity,
                   sizeof(struct tern_dictionary_entry)) ||
        !is_inside(header, header->dictionary_bytes, header->dictionary_bytes_capacity, 1))
        return corrupt(error, "an array lies outside");
    if (header->dictionary_capacity > 0 &&
        ((header->dictionary_index_mask & (header->dictionary_index_mask + 1ull)) != 0 ||
         header->dictionary_index_mask / 2 < header->dictionary_capacity ||
         !is_inside(header, header->dictionary_index, header->dictionary_index_mask + 1ull,
                    sizeof(uint32_t))))
        return corrupt(error, "the dictionary's index is not possible");
    for (uint32_t i = 0; i < header->column_count; i++) {
        const struct tern_payload_column *column = &header->columns[i];

        if (column->width == 0 || column->width != tern_collection_column_width(column->type) ||
            column->name_length > TERN_NAME_MAX ||
            !is_inside(header, column->offset, slots, column->width))
            return corrupt(error, "a payload column is not possible");
    }
    return 0;
}

int tern_collection_open(struct tern_collection *collection, const void *object, uint64_t length,
                         struct tern_error *error)
{
    const struct tern_collection_header *header = object;
    const uint8_t *base = object;
    int status;

    if (length < sizeof *header || (uintptr_t)object % TERN_PAGE != 0 ||
        atomic_load_explicit(&header->magic, memory_order_acquire) != TERN_COLLECTION_MAGIC)
        return corrupt(error, "no collection, or one that was not finished");
    if (header->abi != TERN_COLLECTION_ABI)
        return tern_error_set(error, TERN_EABI,
                              "vector collection: its layout is number %u, this build knows %u",
                              header->abi, TERN_COLLECTION_ABI);
    if (header->length > length || header->checksum != tern_collection_checksum(header))
        return corrupt(error, "the header's checksum does not match");
    status = check_constants(header, error);
    if (status == 0)
        status = check_arrays(header, error);
    if (status != 0)
        return status;
    *collection = (struct tern_collection){
        .header = header,
        .base = base,
        .links = base + header->links,
        .upper = base + header->upper,
        .code = base + header->code,
        .vector = base + header->vector,
        .meta = (const struct tern_vector_meta *)(const void *)(base + header->meta),
        .present = (const uint16_t *)(const void *)(base + header->present),
        .dictionary =
            (const struct tern_dictionary_entry *)(const void *)(base + header->dictionary),
        .dictionary_bytes = base + header->dictionary_bytes,
        .dictionary_index =
            (const _Atomic uint32_t *)(const void *)(base + header->dictionary_index),
        .dictionary_index_mask = header->dictionary_index_mask,
        .dim = header->dim,
        .links_stride = header->links_stride,
        .upper_stride = header->upper_stride,
        .code_stride = header->code_stride,
        .vector_stride = header->vector_stride,
        .capacity = header->capacity,
        .upper_capacity = header->upper_capacity,
        .m = header->m,
        .metric = header->metric,
        .quantize = header->quantize,
    };
    return 0;
}

int tern_collection_find_column(const struct tern_collection *collection, const char *name,
                                size_t length)
{
    for (uint32_t i = 0; i < collection->header->column_count; i++) {
        const struct tern_payload_column *column = &collection->header->columns[i];

        if (column->name_length == length && memcmp(column->name, name, length) == 0)
            return (int)i;
    }
    return -1;
}

struct tern_payload_value tern_collection_payload(const struct tern_collection *collection,
                                                  uint32_t slot, unsigned column)
{
    const struct tern_payload_column *described = &collection->header->columns[column];
    const uint8_t *at = collection->base + described->offset + (uint64_t)slot * described->width;
    struct tern_payload_value value = {.type = TERN_TYPE_NONE};

    if ((collection->present[slot] >> column & 1) == 0)
        return value;
    value.type = described->type;
    switch (described->type) {
    case TERN_TYPE_BOOL:
        value.u64 = *at != 0;
        break;
    case TERN_TYPE_U32:
        value.u64 = tern_load_u32(at);
        break;
    case TERN_TYPE_F32:
        value.f32 = tern_load_f32(at);
        break;
    case TERN_TYPE_STRING: {
        const uint8_t *bytes;
        uint32_t length;

        value.dictionary = tern_load_u32(at);
        if (!tern_collection_string(collection, value.dictionary, &bytes, &length))
            return (struct tern_payload_value){.type = TERN_TYPE_NONE};
        value.string.bytes = bytes;
        value.string.length = length;
        break;
    }
    default: /* u64, i64: the same bits */
        value.u64 = tern_load_u64(at);
        break;
    }
    return value;
}

bool tern_collection_string(const struct tern_collection *collection, uint32_t index,
                            const uint8_t **bytes, uint32_t *length)
{
    const struct tern_collection_header *header = collection->header;
    const struct tern_dictionary_entry *entry;

    /* Acquire pairs with the release that counted the entry: it and its bytes are complete. */
    if (index >= header->dictionary_capacity ||
        index >= atomic_load_explicit(&header->dictionary_count, memory_order_acquire))
        return false;
    entry = &collection->dictionary[index];
    if (!tern_range_inside(entry->offset, entry->length, header->dictionary_bytes_capacity))
        return false;
    *bytes = collection->dictionary_bytes + entry->offset;
    *length = entry->length;
    return true;
}

bool tern_collection_find_string(const struct tern_collection *collection, const uint8_t *bytes,
                                 uint32_t length, uint32_t *index)
{
    uint32_t hash = (uint32_t)XXH3_64bits(bytes, length), mask = collection->dictionary_index_mask;

    if (collection->header->dictionary_capacity == 0)
        return false;
    /* At most half full; the bound is for an index that is not what it should be. */
    for (uint32_t i = 0; i <= mask; i++) {
        /* Acquire pairs with the writer's release: the entry it names is counted. */
        uint32_t named = atomic_load_explicit(&collection->dictionary_index[(hash + i) & mask],
                                              memory_order_acquire);
        const uint8_t *found;
        uint32_t found_length;

        if (named == 0)
            return false;
        if (tern_collection_string(collection, named - 1, &found, &found_length) &&
            found_length == length && memcmp(found, bytes, length) == 0) {
            *index = named - 1;
            return true;
        }
    }
    return false;
}
