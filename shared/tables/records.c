#include "shared/tables/records.h"

#include "shared/tables/exact.h" /* TERN_NOT_FOUND */

unsigned tern_column_bytes(enum tern_type type)
{
    switch (type) {
    case TERN_TYPE_U32:
    case TERN_TYPE_STRING:
    case TERN_TYPE_F32:
    case TERN_TYPE_BOOL:
        return 4;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        return 8;
    case TERN_TYPE_IP:
        return 16;
    default:
        return 0;
    }
}

static const uint8_t *row_of(const struct tern_records *records, uint32_t index)
{
    return records->rows + (size_t)index * records->row_bytes;
}

static bool is_present(const struct tern_records *records, const uint8_t *row, unsigned column)
{
    return records->presence_offset == 0 ||
           (row[records->presence_offset + column / 8] >> column % 8 & 1);
}

uint32_t tern_records_count(const struct tern_records *records)
{
    return records->record_count;
}

unsigned tern_records_column_count(const struct tern_records *records)
{
    return records->column_count;
}

const struct tern_column *tern_records_column(const struct tern_records *records, unsigned column)
{
    return &records->columns[column];
}

bool tern_records_value(const struct tern_records *records, uint32_t index, unsigned column,
                        union tern_value *value)
{
    const uint8_t *row = row_of(records, index);
    const uint8_t *cell = row + records->columns[column].offset;

    if (!is_present(records, row, column))
        return false;
    switch (records->columns[column].type) {
    case TERN_TYPE_STRING:
        value->string.bytes =
            tern_records_string(records, tern_load_u32(cell), &value->string.length);
        break;
    case TERN_TYPE_U32:
        value->u64 = tern_load_u32(cell);
        break;
    case TERN_TYPE_F32:
        value->f32 = tern_load_f32(cell);
        break;
    case TERN_TYPE_BOOL:
        value->boolean = tern_load_u32(cell) != 0;
        break;
    case TERN_TYPE_IP:
        value->address = (struct tern_address){tern_load_u64(cell), tern_load_u64(cell + 8)};
        break;
    default: /* u64, i64 */
        value->u64 = tern_load_u64(cell);
        break;
    }
    return true;
}

uint32_t tern_records_string_id(const struct tern_records *records, uint32_t index, unsigned column)
{
    const uint8_t *row = row_of(records, index);

    assert(records->columns[column].type == TERN_TYPE_STRING);
    if (!is_present(records, row, column))
        return TERN_NOT_FOUND;
    return tern_load_u32(row + records->columns[column].offset);
}

uint32_t tern_records_string_count(const struct tern_records *records)
{
    return records->string_count;
}

const uint8_t *tern_records_string(const struct tern_records *records, uint32_t id,
                                   uint32_t *length)
{
    uint32_t start = id == 0 ? 0 : records->string_ends[id - 1];

    *length = records->string_ends[id] - start;
    return records->string_bytes + start;
}

void tern_records_prefetch(const struct tern_records *records, uint32_t index)
{
    __builtin_prefetch(row_of(records, index));
}

/* ---- validation ------------------------------------------------------------------------------ */

static bool column_is_sound(const struct tern_column *column, uint32_t row_bytes)
{
    unsigned bytes = tern_column_bytes((enum tern_type)column->type);

    return bytes != 0 && column->offset % (bytes < 8 ? 4 : 8) == 0 &&
           tern_range_inside(column->offset, bytes, row_bytes) &&
           (column->flags == 0 ||
            (column->flags == TERN_FIELD_HOST && column->type == TERN_TYPE_STRING)) &&
           column->reserved == 0 && column->name_length >= 1 &&
           column->name_length <= TERN_NAME_MAX && column->name[column->name_length] == 0;
}

/* Empty cells are zeros, so that rows can be compared as bytes. */
static bool cell_is_sound(const struct tern_records *records, const uint8_t *row, unsigned column)
{
    const uint8_t *cell = row + records->columns[column].offset;
    bool present = is_present(records, row, column);

    switch (records->columns[column].type) {
    case TERN_TYPE_STRING:
        return tern_load_u32(cell) < (present ? records->string_count : 1);
    case TERN_TYPE_BOOL:
        return tern_load_u32(cell) <= (present ? 1 : 0);
    case TERN_TYPE_F32:
        return present ? tern_load_f32(cell) == tern_load_f32(cell) : tern_load_u32(cell) == 0;
    case TERN_TYPE_U32:
        return present || tern_load_u32(cell) == 0;
    case TERN_TYPE_IP:
        return present || (tern_load_u64(cell) | tern_load_u64(cell + 8)) == 0;
    default:
        return present || tern_load_u64(cell) == 0;
    }
}

/* Ends never fall, the last one is the end, and the strings are sorted without repetition. */
static bool strings_are_sound(const struct tern_records *records, uint64_t string_bytes)
{
    uint32_t before = 0;

    for (uint32_t id = 0; id < records->string_count; id++) {
        if (records->string_ends[id] < before || records->string_ends[id] > string_bytes)
            return false;
        before = records->string_ends[id];
    }
    if (before != string_bytes)
        return false;
    for (uint32_t id = 1; id < records->string_count; id++) {
        uint32_t a_length, b_length;
        const uint8_t *a = tern_records_string(records, id - 1, &a_length);
        const uint8_t *b = tern_records_string(records, id, &b_length);
        int order = memcmp(a, b, a_length < b_length ? a_length : b_length);

        if (order > 0 || (order == 0 && a_length >= b_length))
            return false;
    }
    return true;
}

static bool part_is_inside(uint64_t offset, uint64_t bytes, size_t length)
{
    return offset % TERN_CACHE_LINE == 0 && tern_range_inside(offset, bytes, length);
}

static bool header_is_sound(const struct tern_records_header *header, size_t length)
{
    return header->column_count >= 1 && header->column_count <= TERN_COLUMNS_MAX &&
           header->row_bytes >= 4 && header->row_bytes % 4 == 0 &&
           header->row_bytes <= TERN_COLUMNS_MAX * 16 + 8 &&
           (header->presence_offset == 0 ||
            tern_range_inside(header->presence_offset, (header->column_count + 7) / 8,
                              header->row_bytes)) &&
           tern_range_inside(sizeof *header, header->column_count * sizeof(struct tern_column),
                             length) &&
           part_is_inside(header->rows_offset, (uint64_t)header->record_count * header->row_bytes,
                          length) &&
           part_is_inside(header->string_ends_offset, 4ull * header->string_count, length) &&
           part_is_inside(header->string_bytes_offset, header->string_bytes, length);
}

int tern_records_open(struct tern_records *records, const void *section, size_t length,
                      struct tern_error *error)
{
    const struct tern_records_header *header = section;
    struct tern_records found;

    if ((uintptr_t)section % TERN_CACHE_LINE != 0)
        return tern_error_set(error, TERN_ECORRUPT, "records: not aligned to 64 bytes");
    if (length < sizeof *header)
        return tern_error_set(error, TERN_ECORRUPT, "records: %zu bytes, no header", length);
    if (header->magic != TERN_RECORDS_MAGIC)
        return tern_error_set(error, TERN_ECORRUPT, "records: magic is %#x, expected %#x",
                              header->magic, TERN_RECORDS_MAGIC);
    if (!header_is_sound(header, length))
        return tern_error_set(error, TERN_ECORRUPT, "records: the header does not fit %zu bytes",
                              length);
    found = (struct tern_records){
        .columns = (const struct tern_column *)(header + 1),
        .rows = (const uint8_t *)section + header->rows_offset,
        .string_ends = (const uint32_t *)((const uint8_t *)section + header->string_ends_offset),
        .string_bytes = (const uint8_t *)section + header->string_bytes_offset,
        .column_count = header->column_count,
        .record_count = header->record_count,
        .row_bytes = header->row_bytes,
        .presence_offset = header->presence_offset,
        .string_count = header->string_count,
    };
    for (unsigned column = 0; column < found.column_count; column++)
        if (!column_is_sound(&found.columns[column], found.row_bytes))
            return tern_error_set(error, TERN_ECORRUPT, "records: column %u is malformed", column);
    if (!strings_are_sound(&found, header->string_bytes))
        return tern_error_set(error, TERN_ECORRUPT, "records: the strings are malformed");
    for (uint32_t index = 0; index < found.record_count; index++)
        for (unsigned column = 0; column < found.column_count; column++)
            if (!cell_is_sound(&found, row_of(&found, index), column))
                return tern_error_set(error, TERN_ECORRUPT,
                                      "records: column %u of record %u is malformed", column,
                                      index);
    *records = found;
    return 0;
}
