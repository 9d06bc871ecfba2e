/* What a request may carry and what can be asked for: fields, tables and collections of vectors
 * with their stable ids.
 *
 * The schema is a section of every snapshot. Ids are 1-based in the order of the configuration and
 * append-only across publishes, so that a client may cache them for a connection. */
#ifndef TERN_SCHEMA_H
#define TERN_SCHEMA_H

#include "shared/base.h"
#include "shared/layout.h"
#include "shared/limits.h"

/* Value types; the numbers are the wire's. */
enum tern_type {
    TERN_TYPE_NONE = 0,
    TERN_TYPE_IP = 1,
    TERN_TYPE_STRING = 2, /* `host` is a string with TERN_FIELD_HOST */
    TERN_TYPE_U64 = 3,
    TERN_TYPE_I64 = 4,
    TERN_TYPE_F32 = 5,
    TERN_TYPE_BOOL = 6,
    TERN_TYPE_VECTOR = 7,
    TERN_TYPE_U32 = 8, /* columns only */
};

enum tern_field_flags {
    TERN_FIELD_HOST = 1, /* folds case, trailing dot and port, and compares in punycode */
};

enum tern_normalize { /* steps, a bit each; shared/normalize.h says in which order and why */
                      TERN_NORMALIZE_PERCENT_DECODE = 1,
                      TERN_NORMALIZE_STRIP_QUERY = 2,
                      TERN_NORMALIZE_DOT_SEGMENTS = 4,
                      TERN_NORMALIZE_MERGE_SLASHES = 8,
                      TERN_NORMALIZE_LOWER = 16,
};

enum tern_table_kind {
    TERN_TABLE_NONE = 0,
    TERN_TABLE_EXACT_SET = 1,
    TERN_TABLE_EXACT_MAP = 2,
    TERN_TABLE_PREFIX_SET = 3,
    TERN_TABLE_PREFIX_MAP = 4,
    TERN_TABLE_DOMAIN_SET = 5,
    TERN_TABLE_PATTERN_SET = 6,
};

/* "ip", "string", … for messages and --json; "?" for an unknown number. */
const char *tern_type_name(enum tern_type type);
const char *tern_table_kind_name(enum tern_table_kind kind);

struct tern_schema_field {
    uint16_t id;
    uint8_t type;  /* enum tern_type */
    uint8_t flags; /* enum tern_field_flags */
    uint32_t dim;  /* vectors only */
    uint32_t max_bytes;
    uint8_t normalize; /* enum tern_normalize bits */
    uint8_t name_length;
    char name[TERN_NAME_MAX + 1];
    uint8_t reserved[50];
};
TERN_LAYOUT_SIZE(tern_schema_field, 128);
TERN_LAYOUT_FIELD(tern_schema_field, id, 0);
TERN_LAYOUT_FIELD(tern_schema_field, type, 2);
TERN_LAYOUT_FIELD(tern_schema_field, flags, 3);
TERN_LAYOUT_FIELD(tern_schema_field, dim, 4);
TERN_LAYOUT_FIELD(tern_schema_field, max_bytes, 8);
TERN_LAYOUT_FIELD(tern_schema_field, normalize, 12);
TERN_LAYOUT_FIELD(tern_schema_field, name_length, 13);
TERN_LAYOUT_FIELD(tern_schema_field, name, 14);
TERN_LAYOUT_FIELD(tern_schema_field, reserved, 78);

struct tern_schema_table {
    uint16_t id;
    uint8_t kind;      /* enum tern_table_kind */
    uint8_t key_type;  /* enum tern_type of what is looked up */
    uint8_t key_flags; /* enum tern_field_flags: TERN_FIELD_HOST keys are folded before look-up */
    uint8_t reserved0;
    uint16_t by_field; /* maps: the field joined by default, 0 for none */
    uint8_t name_length;
    char name[TERN_NAME_MAX + 1];
    uint8_t reserved[55];
};
TERN_LAYOUT_SIZE(tern_schema_table, 128);
TERN_LAYOUT_FIELD(tern_schema_table, id, 0);
TERN_LAYOUT_FIELD(tern_schema_table, kind, 2);
TERN_LAYOUT_FIELD(tern_schema_table, key_type, 3);
TERN_LAYOUT_FIELD(tern_schema_table, key_flags, 4);
TERN_LAYOUT_FIELD(tern_schema_table, reserved0, 5);
TERN_LAYOUT_FIELD(tern_schema_table, by_field, 6);
TERN_LAYOUT_FIELD(tern_schema_table, name_length, 8);
TERN_LAYOUT_FIELD(tern_schema_table, name, 9);
TERN_LAYOUT_FIELD(tern_schema_table, reserved, 73);

/* What a payload holds, and how vectors are searched, stands in the collection's object and changes
 * without another id. */
struct tern_schema_collection {
    uint16_t id;
    uint8_t metric; /* enum tern_metric */
    uint8_t reserved0;
    uint32_t dim;
    uint8_t name_length;
    char name[TERN_NAME_MAX + 1];
    uint8_t reserved[55];
};
TERN_LAYOUT_SIZE(tern_schema_collection, 128);
TERN_LAYOUT_FIELD(tern_schema_collection, id, 0);
TERN_LAYOUT_FIELD(tern_schema_collection, metric, 2);
TERN_LAYOUT_FIELD(tern_schema_collection, reserved0, 3);
TERN_LAYOUT_FIELD(tern_schema_collection, dim, 4);
TERN_LAYOUT_FIELD(tern_schema_collection, name_length, 8);
TERN_LAYOUT_FIELD(tern_schema_collection, name, 9);
TERN_LAYOUT_FIELD(tern_schema_collection, reserved, 73);

/* Section bytes: this header, then `field_count` fields, `table_count` tables and
 * `collection_count` collections, in id order. */
struct tern_schema {
    uint64_t hash; /* of all that follows in the section; clients compare it */
    uint16_t field_count;
    uint16_t table_count;
    uint16_t collection_count;
    uint8_t reserved[50];
};
TERN_LAYOUT_SIZE(tern_schema, 64);
TERN_LAYOUT_FIELD(tern_schema, hash, 0);
TERN_LAYOUT_FIELD(tern_schema, field_count, 8);
TERN_LAYOUT_FIELD(tern_schema, table_count, 10);
TERN_LAYOUT_FIELD(tern_schema, collection_count, 12);
TERN_LAYOUT_FIELD(tern_schema, reserved, 14);

static inline const struct tern_schema_field *tern_schema_fields(const struct tern_schema *schema)
{
    return (const struct tern_schema_field *)(schema + 1);
}

static inline const struct tern_schema_table *tern_schema_tables(const struct tern_schema *schema)
{
    return (const struct tern_schema_table *)(tern_schema_fields(schema) + schema->field_count);
}

static inline const struct tern_schema_collection *
tern_schema_collections(const struct tern_schema *schema)
{
    return (const struct tern_schema_collection *)(tern_schema_tables(schema) +
                                                   schema->table_count);
}

/* Slots of facts: values lie by field id; behind the last field, in the same order, come the
 * untouched values (FIELD.raw) of those that are changed before rules see them, hosts and what has
 * `normalize:`. Slots share one byte with ids, so fields past TERN_FIELDS_MAX slots have none. */
static inline bool tern_field_is_changed(unsigned flags, unsigned normalize)
{
    return ((flags & TERN_FIELD_HOST) | normalize) != 0;
}

/* Fills the slot of each field's untouched value, 0 where there is none, by field id; returns the
 * highest slot that is in use. */
unsigned tern_schema_raw_slots(const struct tern_schema *schema,
                               uint8_t slots[TERN_FIELDS_MAX + 1]);

/* The field that a slot belongs to, NULL when none does; `*raw`: the slot is of its untouched
 * value. */
const struct tern_schema_field *tern_schema_slot(const struct tern_schema *schema, unsigned slot,
                                                 bool *raw);

/* 0 when everything that ids of `old` mean they mean in `next` as well: the same fields, tables
 * and collections in the same order, perhaps more behind them. Otherwise TERN_EREFUSED with the
 * first that differs.
 */
struct tern_error;
int tern_schema_extends(const struct tern_schema *old, const struct tern_schema *next,
                        struct tern_error *error);

/* Checks `length` bytes at `section` and yields them as a schema. TERN_ECORRUPT when counts, ids,
 * types, name lengths or the total length are not what a builder writes. */
int tern_schema_open(const void *section, size_t length, const struct tern_schema **schema);

/* The field, table or collection of that name, or NULL. */
const struct tern_schema_field *tern_schema_find_field(const struct tern_schema *schema,
                                                       const char *name, size_t length);
const struct tern_schema_table *tern_schema_find_table(const struct tern_schema *schema,
                                                       const char *name, size_t length);
const struct tern_schema_collection *tern_schema_find_collection(const struct tern_schema *schema,
                                                                 const char *name, size_t length);

#endif
