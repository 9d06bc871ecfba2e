/* Records of the map tables: fixed-width rows of exactly the columns used, strings interned.
 *
 * Each column of a row is 4 bytes (u32, i32 index of an interned string, f32, bool) or 8 (u64, i64) or
 * 16 (ip), naturally aligned. Interned strings are sorted bytewise and numbered, so equal strings have
 * equal numbers. Thread-safe (read-only). */
#ifndef TERN_TABLES_RECORDS_H
#define TERN_TABLES_RECORDS_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/facts.h"
#include "shared/limits.h"
#include "shared/schema.h"

struct tern_records; /* handle */

struct tern_column { /* as stored in the section */
    uint8_t type; /* enum tern_type */
    uint8_t flags; /* TERN_FIELD_HOST */
    uint8_t name_length;
    uint8_t reserved;
    uint32_t offset; /* bytes into a row */
    char name[TERN_NAME_MAX + 1];
};

int tern_records_open(struct tern_records *records, const void *section, size_t length,
                      struct tern_error *error);
uint32_t tern_records_count(const struct tern_records *records);
unsigned tern_records_column_count(const struct tern_records *records);
const struct tern_column *tern_records_column(const struct tern_records *records, unsigned column);

/* The value of `column` in record `index`; false when the cell is empty (missing). */
bool tern_records_value(const struct tern_records *records, uint32_t index, unsigned column,
                        union tern_value *value);

/* String columns: the interned number of the cell (for class building: equal strings, equal number),
 * TERN_NOT_FOUND when missing; and the number of interned strings, and the bytes of one. */
uint32_t tern_records_string_id(const struct tern_records *records, uint32_t index, unsigned column);
uint32_t tern_records_string_count(const struct tern_records *records);
const uint8_t *tern_records_string(const struct tern_records *records, uint32_t id,
                                   uint32_t *length);

/* Starts fetching the row. */
void tern_records_prefetch(const struct tern_records *records, uint32_t index);

#endif
