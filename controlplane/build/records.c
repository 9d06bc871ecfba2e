#include "controlplane/build/records.h"

#include "shared/tables/hash.h"

#define EQUALS_TRIAL 65536u /* rows after which looking for equal ones must have paid */
#define EQUALS_SHARE 8u     /* … by one in so many */

/* ---- columns --------------------------------------------------------------------------------- */

static int check_column(const struct tern_build_column *columns, unsigned column)
{
    size_t length = strlen(columns[column].name);

    if (tern_column_bytes(columns[column].type) == 0 || length < 1 || length > TERN_NAME_MAX ||
        (columns[column].flags != 0 &&
         (columns[column].type != TERN_TYPE_STRING || columns[column].flags != TERN_FIELD_HOST)))
        return TERN_EINVAL;
    for (unsigned other = 0; other < column; other++)
        if (strcmp(columns[other].name, columns[column].name) == 0)
            return TERN_EINVAL;
    return 0;
}

int tern_records_builder_init(struct tern_records_builder *builder,
                              const struct tern_build_column *columns, unsigned column_count)
{
    uint32_t offset = 0, alignment = 4;

    if (column_count < 1 || column_count > TERN_COLUMNS_MAX)
        return TERN_ELIMIT;
    for (unsigned column = 0; column < column_count; column++)
        if (check_column(columns, column) != 0)
            return TERN_EINVAL;
    *builder = (struct tern_records_builder){
        .column_count = column_count,
        .all_present = UINT64_MAX >> (64 - column_count),
        .looks_for_equals = true,
    };
    /* Widest first: then everything is aligned without gaps. */
    for (unsigned bytes = 16; bytes >= 4; bytes /= 2)
        for (unsigned column = 0; column < column_count; column++) {
            struct tern_column *to = &builder->columns[column];

            if (tern_column_bytes(columns[column].type) != bytes)
                continue;
            to->type = (uint8_t)columns[column].type;
            to->flags = columns[column].flags;
            to->name_length = (uint8_t)strlen(columns[column].name);
            memcpy(to->name, columns[column].name, to->name_length);
            to->offset = offset;
            offset += bytes;
            if (bytes > 4)
                alignment = 8;
        }
    builder->presence_offset = offset;
    builder->cells_bytes = (uint32_t)tern_align_up(offset, alignment);
    builder->row_bytes = (uint32_t)tern_align_up(offset + (column_count + 7) / 8, alignment);
    return 0;
}

/* ---- finding equals -------------------------------------------------------------------------- */

struct item {
    const uint8_t *bytes;
    size_t length;
};

static struct item row_item(const struct tern_records_builder *builder, uint32_t number)
{
    return (struct item){builder->rows.data + (size_t)number * builder->row_bytes,
                         builder->row_bytes};
}

static struct item string_item(const struct tern_records_builder *builder, uint32_t number)
{
    const uint64_t *ends = (const uint64_t *)builder->string_ends.data;
    uint64_t start = number == 0 ? 0 : ends[number - 1];

    if (ends[number] == start) /* there may be no bytes at all */
        return (struct item){(const uint8_t *)"", 0};
    return (struct item){builder->string_bytes.data + start, ends[number] - start};
}

typedef struct item (*item_of)(const struct tern_records_builder *builder, uint32_t number);

/* The place of the item equal to `item`, or the empty one where it belongs. */
static uint32_t *set_place(const struct tern_record_set *set,
                           const struct tern_records_builder *builder, item_of stored,
                           struct item item)
{
    size_t mask = set->capacity - 1;
    size_t at = tern_hash_key(0, item.bytes, item.length) & mask;

    while (set->places[at] != 0) {
        struct item other = stored(builder, set->places[at] - 1);

        if (other.length == item.length && memcmp(other.bytes, item.bytes, item.length) == 0)
            break;
        at = (at + 1) & mask;
    }
    return &set->places[at];
}

/* Keeps the set at most half full for `count` items and one more. */
static int set_reserve(struct tern_record_set *set, const struct tern_records_builder *builder,
                       item_of stored, uint32_t count)
{
    struct tern_record_set larger;

    if (2 * ((size_t)count + 1) <= set->capacity)
        return 0;
    larger.capacity = set->capacity == 0 ? 1024 : 2 * set->capacity;
    larger.places = calloc(larger.capacity, sizeof *larger.places);
    if (larger.places == NULL)
        return TERN_ENOMEM;
    for (uint32_t number = 0; number < count; number++)
        *set_place(&larger, builder, stored, stored(builder, number)) = number + 1;
    free(set->places);
    *set = larger;
    return 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int intern(struct tern_records_builder *builder, const uint8_t *bytes, uint32_t length,
                  uint32_t *number)
{
    uint64_t end = builder->string_bytes.length + length;
    uint32_t *place;

    if (set_reserve(&builder->known_strings, builder, string_item, builder->string_count) != 0)
        return TERN_ENOMEM;
    place = set_place(&builder->known_strings, builder, string_item, (struct item){bytes, length});
    if (*place != 0) {
        *number = *place - 1;
        return 0;
    }
    if (end > UINT32_MAX || builder->string_count == UINT32_MAX - 1)
        return TERN_ELIMIT;
    if (tern_buffer_reserve(&builder->string_ends, sizeof end) != 0 ||
        tern_buffer_append(&builder->string_bytes, bytes, length) != 0)
        return TERN_ENOMEM;
    tern_buffer_append(&builder->string_ends, &end, sizeof end);
    *number = builder->string_count++;
    *place = *number + 1;
    return 0;
}

static int store_cell(struct tern_records_builder *builder, unsigned column,
                      const union tern_value *cell, uint8_t *row)
{
    uint8_t *to = row + builder->columns[column].offset;
    uint32_t number;
    int status;

    switch (builder->columns[column].type) {
    case TERN_TYPE_STRING:
        status = intern(builder, cell->string.bytes, cell->string.length, &number);
        if (status == 0)
            tern_store_u32(to, number);
        return status;
    case TERN_TYPE_U32:
        if (cell->u64 > UINT32_MAX)
            return TERN_EINVAL;
        tern_store_u32(to, (uint32_t)cell->u64);
        return 0;
    case TERN_TYPE_F32:
        if (cell->f32 != cell->f32)
            return TERN_EINVAL;
        tern_store_f32(to, cell->f32 == 0 ? 0 : cell->f32); /* −0 is 0 */
        return 0;
    case TERN_TYPE_BOOL:
        tern_store_u32(to, cell->boolean);
        return 0;
    case TERN_TYPE_IP:
        tern_store_u64(to, cell->address.high);
        tern_store_u64(to + 8, cell->address.low);
        return 0;
    default: /* u64, i64 */
        tern_store_u64(to, cell->u64);
        return 0;
    }
}

int tern_records_builder_add(struct tern_records_builder *builder, const union tern_value *cells,
                             uint64_t present, uint32_t *number)
{
    uint8_t row[TERN_COLUMNS_MAX * 16 + 8];
    uint32_t *place = NULL;

    if (builder->record_count >= UINT32_MAX / 2)
        return TERN_ELIMIT;
    memset(row, 0, builder->row_bytes);
    for (unsigned column = 0; column < builder->column_count; column++) {
        int status;

        if (!(present >> column & 1))
            continue;
        status = store_cell(builder, column, &cells[column], row);
        if (status != 0)
            return status;
        row[builder->presence_offset + column / 8] |= (uint8_t)(1u << column % 8);
    }
    builder->rows_added++;
    if (builder->looks_for_equals && builder->rows_added == EQUALS_TRIAL &&
        builder->record_count > EQUALS_TRIAL - EQUALS_TRIAL / EQUALS_SHARE)
        builder->looks_for_equals = false;
    if (builder->looks_for_equals) {
        if (set_reserve(&builder->known_rows, builder, row_item, builder->record_count) != 0)
            return TERN_ENOMEM;
        place = set_place(&builder->known_rows, builder, row_item,
                          (struct item){row, builder->row_bytes});
        if (*place != 0) {
            *number = *place - 1;
            return 0;
        }
    }
    if (tern_buffer_append(&builder->rows, row, builder->row_bytes) != 0)
        return TERN_ENOMEM;
    if ((present & builder->all_present) != builder->all_present)
        builder->has_empty_cells = true;
    *number = builder->record_count++;
    if (place != NULL)
        *place = *number + 1;
    return 0;
}

/* ---- pack ------------------------------------------------------------------------------------ */

struct string_order {
    struct item item;
    uint32_t number;
};

static int compare_strings(const void *a, const void *b)
{
    const struct item *left = &((const struct string_order *)a)->item;
    const struct item *right = &((const struct string_order *)b)->item;
    int order = memcmp(left->bytes, right->bytes,
                       left->length < right->length ? left->length : right->length);

    if (order != 0)
        return order;
    return (left->length > right->length) - (left->length < right->length);
}

/* Marks the strings that wanted records use with 1 in `ids`. */
static void mark_strings(const struct tern_records_builder *builder, const uint8_t *wanted,
                         uint32_t *ids)
{
    for (uint32_t record = 0; record < builder->record_count; record++) {
        const uint8_t *row = row_item(builder, record).bytes;

        if (!wanted[record])
            continue;
        for (unsigned column = 0; column < builder->column_count; column++)
            if (builder->columns[column].type == TERN_TYPE_STRING &&
                (row[builder->presence_offset + column / 8] >> column % 8 & 1))
                ids[tern_load_u32(row + builder->columns[column].offset)] = 1;
    }
}

/* Numbers the marked strings in sorted order: `order` holds them, `ids` maps provisional to final.
 */
static uint32_t sort_strings(const struct tern_records_builder *builder, uint32_t *ids,
                             struct string_order *order)
{
    uint32_t count = 0;

    for (uint32_t number = 0; number < builder->string_count; number++)
        if (ids[number])
            order[count++] = (struct string_order){string_item(builder, number), number};
    qsort(order, count, sizeof *order, compare_strings);
    for (uint32_t id = 0; id < count; id++)
        ids[order[id].number] = id;
    return count;
}

static void pack_row(const struct tern_records_builder *builder, uint32_t record,
                     const uint32_t *ids, uint32_t row_bytes, uint8_t *to)
{
    const uint8_t *row = row_item(builder, record).bytes;

    memcpy(to, row, row_bytes);
    if (row_bytes <
        builder->row_bytes) /* the bitmap goes; it may have begun inside the alignment */
        memset(to + builder->presence_offset, 0, row_bytes - builder->presence_offset);
    for (unsigned column = 0; column < builder->column_count; column++)
        if (builder->columns[column].type == TERN_TYPE_STRING &&
            (row[builder->presence_offset + column / 8] >> column % 8 & 1)) {
            uint8_t *cell = to + builder->columns[column].offset;
            tern_store_u32(cell, ids[tern_load_u32(cell)]);
        }
}

static int append_strings(const struct string_order *order, uint32_t count, size_t start,
                          struct tern_records_header *header, struct tern_buffer *out)
{
    uint32_t end = 0;

    header->string_ends_offset = out->length - start;
    for (uint32_t id = 0; id < count; id++) {
        end += (uint32_t)order[id].item.length;
        if (tern_buffer_append(out, &end, sizeof end) != 0)
            return TERN_ENOMEM;
    }
    if (tern_buffer_append_zero(out, -(out->length - start) % TERN_CACHE_LINE) != 0)
        return TERN_ENOMEM;
    header->string_bytes_offset = out->length - start;
    header->string_bytes = end;
    for (uint32_t id = 0; id < count; id++)
        if (tern_buffer_append(out, order[id].item.bytes, order[id].item.length) != 0)
            return TERN_ENOMEM;
    return 0;
}

int tern_records_builder_pack(const struct tern_records_builder *builder, const uint8_t *wanted,
                              uint32_t *renumber, uint32_t *count, struct tern_buffer *out)
{
    struct tern_records_header header = {
        .magic = TERN_RECORDS_MAGIC,
        .column_count = builder->column_count,
        .row_bytes = builder->has_empty_cells ? builder->row_bytes : builder->cells_bytes,
        .presence_offset = builder->has_empty_cells ? builder->presence_offset : 0,
    };
    uint32_t *ids = calloc(builder->string_count + 1ull, sizeof *ids);
    struct string_order *order = malloc((builder->string_count + 1ull) * sizeof *order);
    size_t start = out->length;
    uint32_t records = 0;
    int status = TERN_ENOMEM;

    if (ids == NULL || order == NULL)
        goto done;
    mark_strings(builder, wanted, ids);
    header.string_count = sort_strings(builder, ids, order);
    for (uint32_t record = 0; record < builder->record_count; record++)
        records += wanted[record] != 0;
    header.record_count = records;
    if (tern_buffer_append_zero(out, sizeof header) != 0 ||
        tern_buffer_append(out, builder->columns,
                           builder->column_count * sizeof *builder->columns) != 0 ||
        tern_buffer_append_zero(out, -(out->length - start) % TERN_CACHE_LINE) != 0)
        goto done;
    header.rows_offset = out->length - start;
    if (tern_buffer_append_zero(
            out, tern_align_up((uint64_t)records * header.row_bytes, TERN_CACHE_LINE)) != 0)
        goto done;
    for (uint32_t record = 0, to = 0; record < builder->record_count; record++)
        if (wanted[record]) {
            pack_row(builder, record, ids, header.row_bytes,
                     out->data + start + header.rows_offset + (size_t)to * header.row_bytes);
            renumber[record] = to++;
        }
    status = append_strings(order, header.string_count, start, &header, out);
    if (status == 0) {
        memcpy(out->data + start, &header, sizeof header);
        *count = records;
    }
done:
    if (status != 0)
        out->length = start;
    free(order);
    free(ids);
    return status;
}

void tern_records_builder_free(struct tern_records_builder *builder)
{
    tern_buffer_free(&builder->rows);
    tern_buffer_free(&builder->string_bytes);
    tern_buffer_free(&builder->string_ends);
    free(builder->known_rows.places);
    free(builder->known_strings.places);
    *builder = (struct tern_records_builder){0};
}
