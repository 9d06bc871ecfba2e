/* One table of a snapshot, whatever its kind: a key index, and records for the maps.
 *
 * Section bytes: struct tern_table_header, then the index, then (maps) the records, each 64-byte
 * aligned at the offset the header gives. Thread-safe (read-only). */
#ifndef TERN_TABLES_TABLE_H
#define TERN_TABLES_TABLE_H

#include "shared/facts.h"
#include "shared/layout.h"
#include "shared/schema.h"
#include "shared/tables/domain.h"
#include "shared/tables/exact.h"
#include "shared/tables/patterns.h"
#include "shared/tables/prefix.h"
#include "shared/tables/records.h"

#define TERN_TABLE_MAGIC 0x6c626174u /* "tabl" */

struct tern_table_header {
    uint32_t magic;
    uint8_t kind;      /* enum tern_table_kind */
    uint8_t key_type;  /* enum tern_type */
    uint8_t key_flags; /* enum tern_field_flags */
    uint8_t reserved0;
    uint64_t key_count; /* distinct keys */
    uint64_t index_offset;
    uint64_t index_bytes;
    uint64_t records_offset;
    uint64_t records_bytes; /* 0: a set */
    uint8_t reserved[16];
};
TERN_LAYOUT_SIZE(tern_table_header, 64);
TERN_LAYOUT_FIELD(tern_table_header, magic, 0);
TERN_LAYOUT_FIELD(tern_table_header, kind, 4);
TERN_LAYOUT_FIELD(tern_table_header, key_type, 5);
TERN_LAYOUT_FIELD(tern_table_header, key_flags, 6);
TERN_LAYOUT_FIELD(tern_table_header, reserved0, 7);
TERN_LAYOUT_FIELD(tern_table_header, key_count, 8);
TERN_LAYOUT_FIELD(tern_table_header, index_offset, 16);
TERN_LAYOUT_FIELD(tern_table_header, index_bytes, 24);
TERN_LAYOUT_FIELD(tern_table_header, records_offset, 32);
TERN_LAYOUT_FIELD(tern_table_header, records_bytes, 40);
TERN_LAYOUT_FIELD(tern_table_header, reserved, 48);

struct tern_table { /* a handle private to the process; plain values, nothing to free */
    enum tern_table_kind kind;
    enum tern_type key_type;
    uint8_t key_flags; /* TERN_FIELD_HOST: keys are folded hosts */
    bool has_records;  /* maps */
    uint64_t key_count;
    union {
        struct tern_exact exact;       /* exact sets and maps */
        struct tern_prefix prefix;     /* prefix sets and maps */
        struct tern_domain domain;     /* domain sets */
        struct tern_patterns patterns; /* pattern sets: no keys to look up */
    };
    struct tern_records records; /* maps: the index's values are record numbers */
};

/* Validates the section (64-byte aligned) and everything in it. TERN_ECORRUPT with a reason,
 * TERN_ENOMEM. */
int tern_table_open(struct tern_table *table, const void *section, size_t length,
                    struct tern_error *error);

/* Looks one key up: strings and hosts by bytes (hosts folded), ips, u64, i64 by value. Returns the
 * record index of a map, 0 for a set's hit, TERN_NOT_FOUND otherwise. */
uint32_t tern_table_find(const struct tern_table *table, const union tern_value *key);

/* The bytes under which a value of `type` is kept in an exact table: strings as they are, integers
 * as 8 little-endian bytes, addresses as 16 (high half, low half, both little-endian). `scratch` is
 * used where the value itself has no bytes. NULL for a type that cannot be a key. */
const void *tern_table_key_bytes(enum tern_type type, const union tern_value *value,
                                 uint8_t scratch[16], size_t *length);

#endif
