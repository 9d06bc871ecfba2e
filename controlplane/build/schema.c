#include "controlplane/build/schema.h"

#include "shared/error.h"

#include <xxhash.h>

static int build_field(const struct tern_config_field *from, unsigned id,
                       struct tern_schema_field *field)
{
    if (from->name.length > TERN_NAME_MAX)
        return TERN_ELIMIT;
    *field = (struct tern_schema_field){
        .id = (uint16_t)id,
        .type = (uint8_t)from->type,
        .name_length = (uint8_t)from->name.length,
    };
    /* What does not apply to a type is zero, whatever the configuration's defaults put there: equal
     * schemas have equal hashes. */
    if (from->type == TERN_TYPE_STRING) {
        field->flags = from->flags;
        field->max_bytes = from->max_bytes;
        field->normalize = from->normalize;
    } else if (from->type == TERN_TYPE_VECTOR) {
        field->dim = from->dim;
    }
    memcpy(field->name, from->name.text, from->name.length);
    return 0;
}

static int build_table(const struct tern_config_table *from, unsigned id,
                       struct tern_schema_table *table)
{
    if (from->name.length > TERN_NAME_MAX || from->by_field > TERN_FIELDS_MAX)
        return TERN_ELIMIT;
    *table = (struct tern_schema_table){
        .id = (uint16_t)id,
        .kind = (uint8_t)from->kind,
        .name_length = (uint8_t)from->name.length,
    };
    memcpy(table->name, from->name.text, from->name.length);
    switch (from->kind) {
    case TERN_TABLE_EXACT_MAP:
        table->by_field = (uint16_t)from->by_field;
        /* fallthrough */
    case TERN_TABLE_EXACT_SET:
        table->key_type = (uint8_t)from->key_type;
        table->key_flags = from->key_flags;
        break;
    case TERN_TABLE_PREFIX_MAP:
        table->by_field = (uint16_t)from->by_field;
        /* fallthrough */
    case TERN_TABLE_PREFIX_SET:
        table->key_type = TERN_TYPE_IP;
        break;
    case TERN_TABLE_DOMAIN_SET:
        table->key_type = TERN_TYPE_STRING;
        table->key_flags = TERN_FIELD_HOST;
        break;
    default:
        table->key_type = TERN_TYPE_STRING;
        break;
    }
    return 0;
}

static int build_collection(const struct tern_config_collection *from, unsigned id,
                            struct tern_schema_collection *collection)
{
    if (from->name.length > TERN_NAME_MAX)
        return TERN_ELIMIT;
    *collection = (struct tern_schema_collection){
        .id = (uint16_t)id,
        .metric = (uint8_t)from->shape.metric,
        .dim = from->shape.dim,
        .name_length = (uint8_t)from->name.length,
    };
    memcpy(collection->name, from->name.text, from->name.length);
    return 0;
}

int tern_schema_build(const struct tern_config *config, struct tern_buffer *out)
{
    struct tern_schema *schema;
    struct tern_schema_field *fields;
    struct tern_schema_table *tables;
    struct tern_schema_collection *collections;
    size_t bytes;

    if (config->field_count > TERN_FIELDS_MAX || config->table_count > TERN_TABLES_MAX ||
        config->collection_count > TERN_COLLECTIONS_MAX)
        return TERN_ELIMIT;
    bytes = sizeof *schema + config->field_count * sizeof *fields +
            config->table_count * sizeof *tables + config->collection_count * sizeof *collections;
    schema = calloc(1, bytes);
    if (schema == NULL)
        return TERN_ENOMEM;
    schema->field_count = (uint16_t)config->field_count;
    schema->table_count = (uint16_t)config->table_count;
    schema->collection_count = (uint16_t)config->collection_count;
    fields = (struct tern_schema_field *)(schema + 1);
    tables = (struct tern_schema_table *)(fields + config->field_count);
    collections = (struct tern_schema_collection *)(tables + config->table_count);

    int status = 0;
    for (unsigned i = 0; status == 0 && i < config->field_count; i++)
        status = build_field(&config->fields[i], i + 1, &fields[i]);
    for (unsigned i = 0; status == 0 && i < config->table_count; i++)
        status = build_table(&config->tables[i], i + 1, &tables[i]);
    for (unsigned i = 0; status == 0 && i < config->collection_count; i++)
        status = build_collection(&config->collections[i], i + 1, &collections[i]);
    if (status == 0) {
        schema->hash =
            XXH3_64bits((const uint8_t *)schema + sizeof schema->hash, bytes - sizeof schema->hash);
        status = tern_buffer_append(out, schema, bytes);
    }
    free(schema);
    return status;
}
