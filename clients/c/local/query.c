/* Look-ups in tables and names of rules. */
#include "clients/c/local/local.h"

static void list_columns(struct tern_local_context *context, const struct tern_records *records,
                         uint32_t record, struct tern_client_column *columns, unsigned capacity)
{
    unsigned count = tern_records_column_count(records);

    for (unsigned i = 0; i < count && i < capacity; i++) {
        enum tern_type type = (enum tern_type)tern_records_column(records, i)->type;
        struct tern_client_column column = {0};
        union tern_value value;
        size_t length;

        if (tern_records_value(records, record, i, &value)) {
            column.type = (uint8_t)type;
            column.value = tern_encode_value(type, &value, context->cells[i], &length);
            column.length = (uint16_t)length;
        }
        columns[i] = column;
    }
}

int tern_local_lookup(struct tern_local_context *context, int id, const void *key,
                      size_t key_length, struct tern_client_column *columns, unsigned capacity,
                      unsigned *count, struct tern_error *error)
{
    const struct tern_schema_table *described;
    struct tern_decode_field field;
    const struct tern_table *table;
    const char *expected;
    union tern_value value;
    size_t space_used = 0;
    uint32_t found;
    int code = tern_local_ready(context, error);

    if (code < 0)
        return code;
    tern_counter_add(&context->part->lookups, 1);
    if (id < 1 || id > (int)context->offer->view->table_count)
        return tern_error_set(error, TERN_ENOENT, "there is no table %d", id);
    table = &context->offer->view->tables[id];
    described = &tern_schema_tables(context->offer->view->schema)[id - 1];
    if (described->kind == TERN_TABLE_PATTERN_SET)
        return tern_error_set(error, TERN_ENOTSUP, "a pattern set is not looked up by key");
    field = tern_decode_field_of((enum tern_type)described->key_type, described->key_flags, 0,
                                 TERN_STRING_MAX);
    expected = tern_decode_value(&field, key, key_length, &value, context->space, &space_used);
    if (expected != NULL)
        return tern_error_set(error, TERN_EINVAL, "a key of table %s: %s", described->name,
                              expected);
    found = tern_table_find(table, &value);
    if (found == TERN_NOT_FOUND)
        return tern_error_set(error, TERN_ENOENT, "table %s has no such key", described->name);
    *count = table->has_records ? tern_records_column_count(&table->records) : 0;
    if (table->has_records)
        list_columns(context, &table->records, found, columns, capacity);
    return 0;
}

int tern_local_rule(const struct tern_local_context *context, uint32_t index,
                    struct tern_client_rule *rule)
{
    const struct tern_rules *rules;
    const char *name;
    size_t length;

    if (context->offer == NULL)
        return TERN_ENOENT;
    rules = context->offer->view->rules;
    name = index == 0 ? NULL : tern_rules_name(rules, index, &length);
    if (name == NULL)
        return TERN_ENOENT;
    *rule = (struct tern_client_rule){
        .index = index,
        .action = (uint8_t)tern_rules_action(rules, index),
        .name_length = (uint8_t)length,
    };
    memcpy(rule->name, name, length);
    return 0;
}
