#include "controlplane/compile/operand.h"

#include <stdarg.h>

#include "controlplane/compile/literal.h"
#include "controlplane/config/nearest.h"

int tern_operand_fail(char message[TERN_OPERAND_MESSAGE], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, TERN_OPERAND_MESSAGE, format, arguments);
    va_end(arguments);
    return TERN_EINVAL;
}

static bool same_name(const struct tern_text *text, const char *name, size_t length)
{
    return text->length == length && memcmp(text->text, name, length) == 0;
}

unsigned tern_operand_find_field(const struct tern_config *config, const char *name, size_t length)
{
    for (unsigned i = 0; i < config->field_count; i++)
        if (same_name(&config->fields[i].name, name, length))
            return i + 1;
    return 0;
}

unsigned tern_operand_find_table(const struct tern_config *config, const char *name, size_t length)
{
    for (unsigned i = 0; i < config->table_count; i++)
        if (same_name(&config->tables[i].name, name, length))
            return i + 1;
    return 0;
}

static const char *nearest_field(const struct tern_config *config, const struct tern_token *name,
                                 char hint[TERN_NEAREST_HINT])
{
    struct tern_nearest nearest = {.wanted = name->text, .wanted_length = name->length};

    for (unsigned i = 0; i < config->field_count; i++)
        tern_nearest_offer(&nearest, config->fields[i].name.text, config->fields[i].name.length);
    return tern_nearest_hint(&nearest, ", ", hint);
}

static const char *nearest_table(const struct tern_config *config, const struct tern_token *name,
                                 char hint[TERN_NEAREST_HINT])
{
    struct tern_nearest nearest = {.wanted = name->text, .wanted_length = name->length};

    for (unsigned i = 0; i < config->table_count; i++)
        tern_nearest_offer(&nearest, config->tables[i].name.text, config->tables[i].name.length);
    return tern_nearest_hint(&nearest, ", ", hint);
}

static int shown(const struct tern_token *token)
{
    return (int)tern_min_u64(token->length, TERN_NAME_MAX);
}

int tern_operand_field(const struct tern_config *config, const struct tern_token *name,
                       struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE])
{
    unsigned id = tern_operand_find_field(config, name->text, name->length);
    char hint[TERN_NEAREST_HINT];

    if (id == 0 && tern_operand_find_table(config, name->text, name->length) != 0)
        return tern_operand_fail(
            message,
            "'%.*s' is a table: name one of its columns (%.*s.COLUMN), or write "
            "FIELD in $%.*s",
            shown(name), name->text, shown(name), name->text, shown(name), name->text);
    if (id == 0)
        return tern_operand_fail(message, "unknown field '%.*s'%s", shown(name), name->text,
                                 nearest_field(config, name, hint));
    *operand = (struct tern_operand){.field = (uint16_t)id,
                                     .column = TERN_COLUMN_NONE,
                                     .type = (uint8_t)config->fields[id - 1].type,
                                     .flags = config->fields[id - 1].flags};
    return 0;
}

int tern_operand_raw(const struct tern_config *config, struct tern_operand *operand,
                     char message[TERN_OPERAND_MESSAGE])
{
    const struct tern_config_field *field = &config->fields[operand->field - 1];
    unsigned slot = tern_config_raw_slot(config, operand->field);

    if (slot == 0 && tern_field_is_changed(field->flags, field->normalize))
        return tern_operand_fail(
            message,
            "there is no room for '%s.raw': fields and untouched values together are at "
            "most %u",
            field->name.text, TERN_FIELDS_MAX);
    if (slot == 0)
        return tern_operand_fail(message, "field '%s' is not normalized: '%s.raw' is '%s'",
                                 field->name.text, field->name.text, field->name.text);
    operand->field = (uint16_t)slot;
    operand->flags = 0;
    return 0;
}

/* Whether values of `operand` can be looked up under the keys of `table`. Integers of columns
 * widen; host keys need folded hosts. */
static bool keys_match(const struct tern_operand *operand, const struct tern_config_table *table)
{
    enum tern_type type = operand->type == TERN_TYPE_U32 ? TERN_TYPE_U64 : operand->type;

    switch (table->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        return type == TERN_TYPE_IP;
    case TERN_TABLE_DOMAIN_SET:
        return type == TERN_TYPE_STRING && (operand->flags & TERN_FIELD_HOST);
    case TERN_TABLE_EXACT_SET:
    case TERN_TABLE_EXACT_MAP:
        if ((table->key_flags & TERN_FIELD_HOST) && !(operand->flags & TERN_FIELD_HOST))
            return false;
        return type == table->key_type && type != TERN_TYPE_NONE;
    default:
        return false;
    }
}

static const char *key_type_name(const struct tern_config_table *table)
{
    switch (table->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        return "ip";
    case TERN_TABLE_DOMAIN_SET:
        return "host";
    default:
        return table->key_flags & TERN_FIELD_HOST ? "host" : tern_type_name(table->key_type);
    }
}

static bool is_map(const struct tern_config_table *table)
{
    return table->kind == TERN_TABLE_EXACT_MAP || table->kind == TERN_TABLE_PREFIX_MAP;
}

int tern_operand_record(const struct tern_config *config, const struct tern_token *name,
                        const struct tern_token *by, bool raw, struct tern_operand *operand,
                        char message[TERN_OPERAND_MESSAGE])
{
    unsigned id = tern_operand_find_table(config, name->text, name->length);
    const struct tern_config_table *table;
    struct tern_operand key = {0};
    char hint[TERN_NEAREST_HINT];

    if (id == 0 && tern_operand_find_field(config, name->text, name->length) != 0)
        return tern_operand_fail(message, "'%.*s' is a field and has no columns", shown(name),
                                 name->text);
    if (id == 0)
        return tern_operand_fail(message, "unknown table '%.*s'%s", shown(name), name->text,
                                 nearest_table(config, name, hint));
    table = &config->tables[id - 1];
    if (!is_map(table))
        return tern_operand_fail(
            message, "table '%.*s' is a %s and has no columns: write FIELD in $%.*s", shown(name),
            name->text, tern_table_kind_name(table->kind), shown(name), name->text);
    if (by != NULL) {
        int status = tern_operand_field(config, by, &key, message);

        if (status == 0 && raw)
            status = tern_operand_raw(config, &key, message);
        if (status != 0)
            return status;
    } else if (table->by_field == 0) {
        return tern_operand_fail(
            message,
            "table '%.*s' is not joined by a field: write %.*s[FIELD].COLUMN, or "
            "give it a 'by:'",
            shown(name), name->text, shown(name), name->text);
    } else {
        const struct tern_config_field *field = &config->fields[table->by_field - 1];

        key = (struct tern_operand){.field = (uint16_t)table->by_field,
                                    .column = TERN_COLUMN_NONE,
                                    .type = (uint8_t)field->type,
                                    .flags = field->flags};
    }
    if (!keys_match(&key, table))
        return tern_operand_fail(
            message, "table '%.*s' has keys of type %s, field '%s' is of type %s", shown(name),
            name->text, key_type_name(table), config->fields[key.field - 1].name.text,
            tern_operand_type_name(&key));
    *operand = (struct tern_operand){
        .field = key.field, .table = (uint16_t)id, .column = TERN_COLUMN_NONE};
    return 0;
}

int tern_operand_column(const struct tern_config *config, const struct tern_token *name,
                        struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE])
{
    const struct tern_config_table *table = &config->tables[operand->table - 1];
    struct tern_nearest nearest = {.wanted = name->text, .wanted_length = name->length};
    char hint[TERN_NEAREST_HINT];

    for (unsigned i = 0; i < table->column_count; i++) {
        if (same_name(&table->columns[i].name, name->text, name->length)) {
            operand->column = (int16_t)i;
            operand->type = (uint8_t)table->columns[i].type;
            operand->flags = table->columns[i].flags;
            return 0;
        }
        tern_nearest_offer(&nearest, table->columns[i].name.text, table->columns[i].name.length);
    }
    return tern_operand_fail(message, "table '%s' has no column '%.*s'%s", table->name.text,
                             shown(name), name->text, tern_nearest_hint(&nearest, ", ", hint));
}

int tern_operand_patterns(const struct tern_config *config, const struct tern_token *name,
                          unsigned *table, char message[TERN_OPERAND_MESSAGE])
{
    unsigned id = tern_operand_find_table(config, name->text, name->length);
    const struct tern_config_table *found;
    char hint[TERN_NEAREST_HINT];

    if (id == 0)
        return tern_operand_fail(message, "unknown table '%.*s'%s", shown(name), name->text,
                                 nearest_table(config, name, hint));
    found = &config->tables[id - 1];
    if (found->kind != TERN_TABLE_PATTERN_SET)
        return tern_operand_fail(message, "table '%s' is a %s, not a pattern_set: write in $%s",
                                 found->name.text, tern_table_kind_name(found->kind),
                                 found->name.text);
    *table = id;
    return 0;
}

int tern_operand_set(const struct tern_config *config, const struct tern_operand *operand,
                     const struct tern_token *name, unsigned *table,
                     char message[TERN_OPERAND_MESSAGE])
{
    unsigned id = tern_operand_find_table(config, name->text, name->length);
    const struct tern_config_table *found;
    char hint[TERN_NEAREST_HINT], described[TERN_OPERAND_TEXT];

    if (id == 0)
        return tern_operand_fail(message, "unknown table '%.*s'%s", shown(name), name->text,
                                 nearest_table(config, name, hint));
    found = &config->tables[id - 1];
    if (found->kind == TERN_TABLE_PATTERN_SET)
        return tern_operand_fail(message, "table '%s' is a pattern_set: write matches $%s",
                                 found->name.text, found->name.text);
    if (operand->type != TERN_TYPE_NONE && !keys_match(operand, found)) {
        tern_operand_describe(config, operand, described);
        return tern_operand_fail(message, "table '%s' has keys of type %s, %s is of type %s",
                                 found->name.text, key_type_name(found), described,
                                 tern_operand_type_name(operand));
    }
    *table = id;
    return 0;
}

void tern_operand_describe(const struct tern_config *config, const struct tern_operand *operand,
                           char text[TERN_OPERAND_TEXT])
{
    const struct tern_config_collection *collection;
    const struct tern_config_table *table;

    if (operand->collection != 0) {
        collection = &config->collections[operand->collection - 1];
        snprintf(text, TERN_OPERAND_TEXT, "column '%s.%s'", collection->name.text,
                 operand->column >= 0 ? collection->shape.columns[operand->column].name : "score");
        return;
    }
    if (operand->table == 0) {
        snprintf(text, TERN_OPERAND_TEXT, "field '%s'",
                 config->fields[operand->field - 1].name.text);
        return;
    }
    table = &config->tables[operand->table - 1];
    if (operand->column < 0)
        snprintf(text, TERN_OPERAND_TEXT, "the record of table '%s'", table->name.text);
    else
        snprintf(text, TERN_OPERAND_TEXT, "column '%s.%s'", table->name.text,
                 table->columns[operand->column].name.text);
}
