/* Records of the map tables: fixed-width rows of exactly the columns used, strings interned.
 *
 * Each column of a row is 4 bytes (u32, number of an interned string, f32, bool) or 8 (u64, i64) or
 * 16 (ip), naturally aligned (ip: 8). Interned strings are sorted bytewise and numbered, so equal
 * strings have equal numbers. Empty cells are zeros, told from values by a presence bitmap at the
 * end of the row (bit per column, at most 8 bytes); a table without empty cells has none. Equal
 * rows are stored once, where rows repeat at all. Thread-safe (read-only). */
#ifndef TERN_TABLES_RECORDS_H
#define TERN_TABLES_RECORDS_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/facts.h"
#include "shared/layout.h"
#include "shared/limits.h"
#include "shared/schema.h"

#define TERN_RECORDS_MAGIC 0x73636572u /* "recs" */

/* Section bytes: this header, the columns, rows, u32 string ends (one per string), the strings'
 * bytes; each part 64-byte aligned. */
struct tern_records_header {
    uint32_t magic;
    uint32_t column_count;
    uint32_t record_count;
    uint32_t row_bytes;       /* a multiple of 4 or 8, as the widest column needs */
    uint32_t presence_offset; /* of the bitmap in a row; 0: no cell is empty */
    uint32_t string_count;
    uint64_t rows_offset;
    uint64_t string_ends_offset;
    uint64_t string_bytes_offset;
    uint64_t string_bytes;
    uint8_t reserved[8];
};
TERN_LAYOUT_SIZE(tern_records_header, 64);
TERN_LAYOUT_FIELD(tern_records_header, magic, 0);
TERN_LAYOUT_FIELD(tern_records_header, column_count, 4);
TERN_LAYOUT_FIELD(tern_records_header, record_count, 8);
TERN_LAYOUT_FIELD(tern_records_header, row_bytes, 12);
TERN_LAYOUT_FIELD(tern_records_header, presence_offset, 16);
TERN_LAYOUT_FIELD(tern_records_header, string_count, 20);
TERN_LAYOUT_FIELD(tern_records_header, rows_offset, 24);
TERN_LAYOUT_FIELD(tern_records_header, string_ends_offset, 32);
TERN_LAYOUT_FIELD(tern_records_header, string_bytes_offset, 40);
TERN_LAYOUT_FIELD(tern_records_header, string_bytes, 48);
TERN_LAYOUT_FIELD(tern_records_header, reserved, 56);

struct tern_column { /* as stored in the section */
    uint8_t type;    /* enum tern_type */
    uint8_t flags;   /* TERN_FIELD_HOST */
    uint8_t name_length;
    uint8_t reserved;
    uint32_t offset; /* bytes into a row */
    char name[TERN_NAME_MAX + 1];
};
TERN_LAYOUT_SIZE(tern_column, 72);
TERN_LAYOUT_FIELD(tern_column, type, 0);
TERN_LAYOUT_FIELD(tern_column, flags, 1);
TERN_LAYOUT_FIELD(tern_column, name_length, 2);
TERN_LAYOUT_FIELD(tern_column, reserved, 3);
TERN_LAYOUT_FIELD(tern_column, offset, 4);
TERN_LAYOUT_FIELD(tern_column, name, 8);

struct tern_records { /* a handle private to the process; plain values, nothing to free */
    const struct tern_column *columns;
    const uint8_t *rows;
    const uint32_t *string_ends;
    const uint8_t *string_bytes;
    uint32_t column_count;
    uint32_t record_count;
    uint32_t row_bytes;
    uint32_t presence_offset;
    uint32_t string_count;
};

/* The bytes a column of `type` takes in a row, 0 for a type that cannot be a column. */
unsigned tern_column_bytes(enum tern_type type);

/* Validates `length` bytes at `section` (64-byte aligned), every cell included: string numbers are
 * in range, booleans 0 or 1, no f32 is NaN. TERN_ECORRUPT with a reason. */
int tern_records_open(struct tern_records *records, const void *section, size_t length,
                      struct tern_error *error);

/* Below, `index` is less than the record count and `column` less than the column count. */
uint32_t tern_records_count(const struct tern_records *records);
unsigned tern_records_column_count(const struct tern_records *records);
const struct tern_column *tern_records_column(const struct tern_records *records, unsigned column);

/* The value of `column` in record `index` (u32: in .u64); false when the cell is empty (missing),
 * and `value` is untouched. */
bool tern_records_value(const struct tern_records *records, uint32_t index, unsigned column,
                        union tern_value *value);

/* String columns: the interned number of the cell (for class building: equal strings, equal
 * number), TERN_NOT_FOUND when missing; and the number of interned strings, and the bytes of one.
 */
uint32_t tern_records_string_id(const struct tern_records *records, uint32_t index,
                                unsigned column);
uint32_t tern_records_string_count(const struct tern_records *records);
const uint8_t *tern_records_string(const struct tern_records *records, uint32_t id,
                                   uint32_t *length);

/* Starts fetching the row. */
void tern_records_prefetch(const struct tern_records *records, uint32_t index);

#endif
