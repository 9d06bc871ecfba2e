#include "shared/schema.h"

#include "shared/error.h"
#include "shared/vector/format.h"

#include <xxhash.h>

static bool is_zero(const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < length; i++)
        if (at[i] != 0)
            return false;
    return true;
}

static bool name_is_sound(const char name[TERN_NAME_MAX + 1], unsigned length)
{
    return length >= 1 && length <= TERN_NAME_MAX && memchr(name, 0, length) == NULL &&
           is_zero(name + length, TERN_NAME_MAX + 1 - length);
}

static bool field_is_sound(const struct tern_schema_field *field, unsigned id)
{
    bool is_string = field->type == TERN_TYPE_STRING;
    bool is_vector = field->type == TERN_TYPE_VECTOR;

    return field->id == id && field->type >= TERN_TYPE_IP && field->type <= TERN_TYPE_VECTOR &&
           (field->flags == 0 || (is_string && field->flags == TERN_FIELD_HOST)) &&
           (is_vector ? field->dim >= 1 && field->dim <= TERN_DIM_MAX : field->dim == 0) &&
           (is_string ? field->max_bytes >= 1 && field->max_bytes <= TERN_STRING_MAX
                      : field->max_bytes == 0) &&
           (field->normalize == 0 ||
            (is_string && field->flags == 0 && field->normalize < 2 * TERN_NORMALIZE_LOWER)) &&
           name_is_sound(field->name, field->name_length) &&
           is_zero(field->reserved, sizeof field->reserved);
}

static bool key_is_sound(const struct tern_schema_table *table)
{
    switch (table->kind) {
    case TERN_TABLE_EXACT_SET:
    case TERN_TABLE_EXACT_MAP:
        switch (table->key_type) {
        case TERN_TYPE_STRING:
            return table->key_flags == 0 || table->key_flags == TERN_FIELD_HOST;
        case TERN_TYPE_IP:
        case TERN_TYPE_U64:
        case TERN_TYPE_I64:
            return table->key_flags == 0;
        default:
            return false;
        }
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        return table->key_type == TERN_TYPE_IP && table->key_flags == 0;
    case TERN_TABLE_DOMAIN_SET:
        return table->key_type == TERN_TYPE_STRING && table->key_flags == TERN_FIELD_HOST;
    case TERN_TABLE_PATTERN_SET:
        return table->key_type == TERN_TYPE_STRING && table->key_flags == 0;
    default:
        return false;
    }
}

static bool table_is_sound(const struct tern_schema_table *table, unsigned id, unsigned field_count)
{
    bool is_map = table->kind == TERN_TABLE_EXACT_MAP || table->kind == TERN_TABLE_PREFIX_MAP;

    return table->id == id && key_is_sound(table) && table->reserved0 == 0 &&
           table->by_field <= (is_map ? field_count : 0) &&
           name_is_sound(table->name, table->name_length) &&
           is_zero(table->reserved, sizeof table->reserved);
}

static bool collection_is_sound(const struct tern_schema_collection *collection, unsigned id)
{
    return collection->id == id && collection->metric >= TERN_METRIC_COSINE &&
           collection->metric <= TERN_METRIC_DOT && collection->reserved0 == 0 &&
           collection->dim >= 1 && collection->dim <= TERN_DIM_MAX &&
           name_is_sound(collection->name, collection->name_length) &&
           is_zero(collection->reserved, sizeof collection->reserved);
}

int tern_schema_open(const void *section, size_t length, const struct tern_schema **schema)
{
    const struct tern_schema *found = section;

    if ((uintptr_t)section % alignof(struct tern_schema) != 0 || length < sizeof *found ||
        found->field_count > TERN_FIELDS_MAX || found->table_count > TERN_TABLES_MAX ||
        found->collection_count > TERN_COLLECTIONS_MAX ||
        !is_zero(found->reserved, sizeof found->reserved) ||
        length != sizeof *found + found->field_count * sizeof(struct tern_schema_field) +
                      found->table_count * sizeof(struct tern_schema_table) +
                      found->collection_count * sizeof(struct tern_schema_collection))
        return TERN_ECORRUPT;
    if (found->hash !=
        XXH3_64bits((const uint8_t *)section + sizeof found->hash, length - sizeof found->hash))
        return TERN_ECORRUPT;
    for (unsigned i = 0; i < found->field_count; i++)
        if (!field_is_sound(&tern_schema_fields(found)[i], i + 1))
            return TERN_ECORRUPT;
    for (unsigned i = 0; i < found->table_count; i++)
        if (!table_is_sound(&tern_schema_tables(found)[i], i + 1, found->field_count))
            return TERN_ECORRUPT;
    for (unsigned i = 0; i < found->collection_count; i++)
        if (!collection_is_sound(&tern_schema_collections(found)[i], i + 1))
            return TERN_ECORRUPT;
    *schema = found;
    return 0;
}

unsigned tern_schema_raw_slots(const struct tern_schema *schema, uint8_t slots[TERN_FIELDS_MAX + 1])
{
    const struct tern_schema_field *fields = tern_schema_fields(schema);
    unsigned last = schema->field_count;

    memset(slots, 0, TERN_FIELDS_MAX + 1);
    for (unsigned i = 0; i < schema->field_count && last < TERN_FIELDS_MAX; i++)
        if (tern_field_is_changed(fields[i].flags, fields[i].normalize))
            slots[i + 1] = (uint8_t)++last;
    return last;
}

const struct tern_schema_field *tern_schema_slot(const struct tern_schema *schema, unsigned slot,
                                                 bool *raw)
{
    uint8_t slots[TERN_FIELDS_MAX + 1];
    unsigned id = slot;

    *raw = slot > schema->field_count;
    if (*raw) {
        tern_schema_raw_slots(schema, slots);
        for (id = 1; id <= schema->field_count && slots[id] != slot; id++)
            ;
    }
    return id >= 1 && id <= schema->field_count ? &tern_schema_fields(schema)[id - 1] : NULL;
}

const struct tern_schema_field *tern_schema_find_field(const struct tern_schema *schema,
                                                       const char *name, size_t length)
{
    const struct tern_schema_field *fields = tern_schema_fields(schema);

    for (unsigned i = 0; i < schema->field_count; i++)
        if (fields[i].name_length == length && memcmp(fields[i].name, name, length) == 0)
            return &fields[i];
    return NULL;
}

const struct tern_schema_table *tern_schema_find_table(const struct tern_schema *schema,
                                                       const char *name, size_t length)
{
    const struct tern_schema_table *tables = tern_schema_tables(schema);

    for (unsigned i = 0; i < schema->table_count; i++)
        if (tables[i].name_length == length && memcmp(tables[i].name, name, length) == 0)
            return &tables[i];
    return NULL;
}

const struct tern_schema_collection *tern_schema_find_collection(const struct tern_schema *schema,
                                                                 const char *name, size_t length)
{
    const struct tern_schema_collection *collections = tern_schema_collections(schema);

    for (unsigned i = 0; i < schema->collection_count; i++)
        if (collections[i].name_length == length && memcmp(collections[i].name, name, length) == 0)
            return &collections[i];
    return NULL;
}

/* Ids are positions, and clients keep them for a connection: what is there stays where it is. */
int tern_schema_extends(const struct tern_schema *live, const struct tern_schema *next,
                        struct tern_error *error)
{
    const struct tern_schema_field *old_fields = tern_schema_fields(live);
    const struct tern_schema_field *fields = tern_schema_fields(next);
    const struct tern_schema_table *old_tables = tern_schema_tables(live);
    const struct tern_schema_table *tables = tern_schema_tables(next);
    const struct tern_schema_collection *old_collections = tern_schema_collections(live);
    const struct tern_schema_collection *collections = tern_schema_collections(next);

    for (unsigned i = 0; i < live->field_count; i++)
        if (i >= next->field_count || strcmp(old_fields[i].name, fields[i].name) != 0 ||
            old_fields[i].type != fields[i].type || old_fields[i].dim != fields[i].dim)
            return tern_error_set(
                error, TERN_EREFUSED,
                "field %u was `%s: %s` and clients know it by that id: fields may "
                "only be added at the end",
                i + 1, old_fields[i].name, tern_type_name((enum tern_type)old_fields[i].type));
    for (unsigned i = 0; i < live->table_count; i++)
        if (i >= next->table_count || strcmp(old_tables[i].name, tables[i].name) != 0 ||
            old_tables[i].kind != tables[i].kind || old_tables[i].key_type != tables[i].key_type)
            return tern_error_set(
                error, TERN_EREFUSED,
                "table %u was `%s` (%s) and clients know it by that id: tables may "
                "only be added at the end",
                i + 1, old_tables[i].name,
                tern_table_kind_name((enum tern_table_kind)old_tables[i].kind));
    for (unsigned i = 0; i < live->collection_count; i++)
        if (i >= next->collection_count ||
            strcmp(old_collections[i].name, collections[i].name) != 0 ||
            old_collections[i].dim != collections[i].dim)
            return tern_error_set(error, TERN_EREFUSED,
                                  "collection %u was `%s` (%u dimensions) and clients know it by "
                                  "that id: collections may only be added at the end",
                                  i + 1, old_collections[i].name, old_collections[i].dim);
    return 0;
}
