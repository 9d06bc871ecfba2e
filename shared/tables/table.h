/* One table of a snapshot, whatever its kind: a key index, and records for the maps.
 *
 * Section bytes: struct tern_table_header, then the index, then (maps) the records, each 64-byte
 * aligned at the offset the header gives. */
#ifndef TERN_TABLES_TABLE_H
#define TERN_TABLES_TABLE_H

#include "shared/facts.h"
#include "shared/schema.h"
#include "shared/tables/domain.h"
#include "shared/tables/exact.h"
#include "shared/tables/prefix.h"
#include "shared/tables/records.h"

struct tern_table; /* {kind, key_type, union index, records}: a handle, plain values, nothing to free */

/* Validates the section and everything in it. TERN_ECORRUPT with a reason. */
int tern_table_open(struct tern_table *table, const void *section, size_t length,
                    struct tern_error *error);

/* Looks one key up: strings and hosts by bytes (hosts folded), ips, u64, i64 by value. Returns the
 * record index of a map, 0 for a set's hit, TERN_NOT_FOUND otherwise. */
uint32_t tern_table_find(const struct tern_table *table, const union tern_value *key);

/* The bytes under which a value of `type` is kept in an exact table: strings as they are, integers as
 * 8 little-endian bytes, addresses as 16. `scratch` is used where the value itself has no bytes. */
const void *tern_table_key_bytes(enum tern_type type, const union tern_value *value,
                                 uint8_t scratch[16], size_t *length);

#endif
