/* tables: what is looked up, and where its rows come from. */
#include "controlplane/config/nearest.h"
#include "controlplane/config/quantity.h"
#include "controlplane/config/reader.h"

/* ---- Columns ---- */

static void read_column_type(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, void *member)
{
    struct tern_config_column *column = member;
    struct tern_text text = {0};
    uint32_t dim;

    tern_config_read_text(reader, key, node, &text);
    if (text.text != NULL)
        tern_config_read_type(reader, &text, true, &column->type, &column->flags, &dim);
}

static void read_column(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                        void *element)
{
    static const struct tern_config_key keys[] = {
        {.name = "type", .read = read_column_type, .required = true},
        {.name = "from",
         .read = tern_config_read_text,
         .offset = offsetof(struct tern_config_column, from)},
    };
    struct tern_config_column *column = element;
    char what[TERN_NAME_MAX + 16];

    snprintf(what, sizeof what, "column '%s'", column->name.text);
    if (node->kind == TERN_YAML_MAPPING)
        tern_config_read_mapping(reader, node, what, keys, TERN_COUNT(keys), column);
    else
        read_column_type(reader, &(struct tern_config_key){.name = column->name.text}, node,
                         column);
    if (column->from.text == NULL)
        column->from = column->name;
}

static void read_columns(struct tern_config_reader *reader, const struct tern_config_key *key,
                         const struct tern_yaml_node *node, void *member)
{
    struct tern_config_table *table = member;

    table->columns = tern_config_read_named(reader, key, node, "column", sizeof *table->columns,
                                            TERN_COLUMNS_MAX, read_column, &table->column_count);
    if (node->kind == TERN_YAML_MAPPING && node->count == 0)
        TERN_CONFIG_ERROR(reader, node->place, "'columns' is empty: a map needs at least one");
}

/* ---- Single keys ---- */

static bool key_type_is_possible(enum tern_type type)
{
    return type == TERN_TYPE_IP || type == TERN_TYPE_STRING || type == TERN_TYPE_U64 ||
           type == TERN_TYPE_I64;
}

static void read_of(struct tern_config_reader *reader, const struct tern_config_key *key,
                    const struct tern_yaml_node *node, void *member)
{
    struct tern_config_table *table = member;
    struct tern_text text = {0};
    enum tern_type type;
    uint8_t flags;
    uint32_t dim;

    tern_config_read_text(reader, key, node, &text);
    if (text.text == NULL || !tern_config_read_type(reader, &text, false, &type, &flags, &dim))
        return;
    if (!key_type_is_possible(type)) {
        TERN_CONFIG_ERROR(reader, text.place,
                          "'of' cannot be %s; keys are ip, string, host, u64 or i64", text.text);
        return;
    }
    table->key_type = type;
    table->key_flags = flags;
}

static void read_source(struct tern_config_reader *reader, const struct tern_config_key *key,
                        const struct tern_yaml_node *node, void *member)
{
    struct tern_config_table *table = member;

    tern_config_read_text(reader, key, node, &table->source);
    if (table->source.text != NULL)
        table->source_path = tern_config_resolve(reader, &table->source);
}

static void read_max_change(struct tern_config_reader *reader, const struct tern_config_key *key,
                            const struct tern_yaml_node *node, void *member)
{
    struct tern_text text = {0};
    uint64_t permille;

    tern_config_read_text(reader, key, node, &text);
    if (text.text == NULL)
        return;
    if (tern_quantity_share(text.text, text.length, &permille) != 0) {
        TERN_CONFIG_ERROR(reader, text.place, "'max_change' takes a share such as 20%%, not '%s'",
                          text.text);
        return;
    }
    *(uint32_t *)member = permille > UINT32_MAX - 1 ? UINT32_MAX - 1 : (uint32_t)permille;
}

/* ---- A table ---- */

enum table_key {
    KEY_TYPE,
    KEY_SOURCE,
    KEY_BY,
    KEY_KEY,
    KEY_OF,
    KEY_COLUMNS,
    KEY_REFRESH,
    KEY_MAX_BAD_ROWS,
    KEY_MIN_ROWS,
    KEY_MAX_CHANGE,
    KEY_MAX_BYTES,
    KEY_ON_ERROR,
};

static const struct tern_config_choice kinds[] = {
    {"exact_set", TERN_TABLE_EXACT_SET},
    {"exact_map", TERN_TABLE_EXACT_MAP},
    {"prefix_set", TERN_TABLE_PREFIX_SET},
    {"prefix_map", TERN_TABLE_PREFIX_MAP},
    {"domain_set", TERN_TABLE_DOMAIN_SET},
    {"pattern_set", TERN_TABLE_PATTERN_SET},
    {NULL, 0},
};

static const struct tern_config_choice on_error_choices[] = {
    {"fail", TERN_ON_ERROR_FAIL}, {"keep", TERN_ON_ERROR_KEEP}, {NULL, 0}};

#define TABLE(member_name) offsetof(struct tern_config_table, member_name)
static const struct tern_config_key table_keys[] = {
    [KEY_TYPE] = {.name = "type",
                  .read = tern_config_read_choice,
                  .offset = TABLE(kind),
                  .required = true,
                  .choices = kinds},
    [KEY_SOURCE] = {.name = "source", .read = read_source, .required = true},
    [KEY_BY] = {.name = "by", .read = tern_config_read_text, .offset = TABLE(by)},
    [KEY_KEY] = {.name = "key", .read = tern_config_read_text, .offset = TABLE(key)},
    [KEY_OF] = {.name = "of", .read = read_of},
    [KEY_COLUMNS] = {.name = "columns", .read = read_columns},
    [KEY_REFRESH] = {.name = "refresh",
                     .read = tern_config_read_duration,
                     .offset = TABLE(refresh_us),
                     .minimum = 10 * 1000,
                     .maximum = 30 * 86400000000ull},
    [KEY_MAX_BAD_ROWS] = {.name = "max_bad_rows",
                          .read = tern_config_read_count,
                          .offset = TABLE(max_bad_rows)},
    [KEY_MIN_ROWS] = {.name = "min_rows",
                      .read = tern_config_read_count,
                      .offset = TABLE(min_rows)},
    [KEY_MAX_CHANGE] = {.name = "max_change",
                        .read = read_max_change,
                        .offset = TABLE(max_change_permille)},
    [KEY_MAX_BYTES] = {.name = "max_bytes",
                       .read = tern_config_read_size,
                       .offset = TABLE(max_bytes),
                       .minimum = 1},
    [KEY_ON_ERROR] = {.name = "on_error",
                      .read = tern_config_read_choice,
                      .offset = TABLE(on_error),
                      .choices = on_error_choices},
};
#undef TABLE

#define BIT(key) (1u << (key))

/* Which of by, key, of and columns each kind needs and may have. */
static const struct {
    unsigned needed, possible;
} kind_keys[] = {
    [TERN_TABLE_EXACT_SET] = {BIT(KEY_OF), BIT(KEY_OF) | BIT(KEY_KEY)},
    [TERN_TABLE_EXACT_MAP] = {BIT(KEY_BY) | BIT(KEY_KEY) | BIT(KEY_COLUMNS),
                              BIT(KEY_BY) | BIT(KEY_KEY) | BIT(KEY_COLUMNS)},
    [TERN_TABLE_PREFIX_SET] = {0, BIT(KEY_KEY)},
    [TERN_TABLE_PREFIX_MAP] = {BIT(KEY_BY) | BIT(KEY_COLUMNS), BIT(KEY_BY) | BIT(KEY_COLUMNS)},
    [TERN_TABLE_DOMAIN_SET] = {0, BIT(KEY_KEY)},
    [TERN_TABLE_PATTERN_SET] = {0, BIT(KEY_KEY)},
};

static void check_kind_keys(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                            const struct tern_config_table *table, uint64_t seen)
{
    for (unsigned key = KEY_BY; key <= KEY_COLUMNS; key++) {
        bool given = seen >> key & 1;

        if (!given && kind_keys[table->kind].needed & BIT(key))
            TERN_CONFIG_ERROR(reader, node->place, "'%s' is missing in table '%s': %s needs it",
                              table_keys[key].name, table->name.text,
                              tern_table_kind_name(table->kind));
        if (given && !(kind_keys[table->kind].possible & BIT(key)))
            TERN_CONFIG_ERROR(reader, node->place, "'%s' does not go with %s", table_keys[key].name,
                              tern_table_kind_name(table->kind));
    }
}

static void read_table(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                       void *element)
{
    struct tern_config_table *table = element;
    char what[TERN_NAME_MAX + 16];
    uint64_t seen;

    snprintf(what, sizeof what, "table '%s'", table->name.text);
    table->min_rows = 1;
    table->max_change_permille = UINT32_MAX;
    seen = tern_config_read_mapping(reader, node, what, table_keys, TERN_COUNT(table_keys), table);
    if (table->kind == TERN_TABLE_NONE)
        return;
    check_kind_keys(reader, node, table, seen);
    if (table->kind == TERN_TABLE_PREFIX_SET || table->kind == TERN_TABLE_PREFIX_MAP) {
        table->key_type = TERN_TYPE_IP;
    } else if (table->kind == TERN_TABLE_DOMAIN_SET) {
        table->key_type = TERN_TYPE_STRING;
        table->key_flags = TERN_FIELD_HOST;
    } else if (table->kind == TERN_TABLE_PATTERN_SET) {
        table->key_type = TERN_TYPE_STRING;
    }
}

void tern_config_read_tables(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, void *member)
{
    struct tern_config *config = member;

    config->tables = tern_config_read_named(reader, key, node, "table", sizeof *config->tables,
                                            TERN_TABLES_MAX, read_table, &config->table_count);
}

/* ---- by: ---- */

static unsigned find_field(struct tern_config_reader *reader, const struct tern_text *by)
{
    const struct tern_config *config = reader->config;
    struct tern_nearest nearest = {.wanted = by->text, .wanted_length = by->length};
    char hint[TERN_NEAREST_HINT];

    for (unsigned i = 0; i < config->field_count; i++) {
        const struct tern_text *name = &config->fields[i].name;

        if (strcmp(name->text, by->text) == 0)
            return i + 1;
        tern_nearest_offer(&nearest, name->text, name->length);
    }
    TERN_CONFIG_ERROR(reader, by->place, "'by' names no field: '%s'%s", by->text,
                      tern_nearest_hint(&nearest, "; ", hint));
    return 0;
}

static const char *type_name(const struct tern_config_field *field)
{
    return field->flags & TERN_FIELD_HOST ? "host" : tern_type_name(field->type);
}

void tern_config_check_tables(struct tern_config_reader *reader)
{
    for (unsigned i = 0; i < reader->config->table_count; i++) {
        struct tern_config_table *table = &reader->config->tables[i];
        const struct tern_config_field *field;

        if (table->by.text == NULL)
            continue;
        table->by_field = find_field(reader, &table->by);
        if (table->by_field == 0)
            continue;
        field = &reader->config->fields[table->by_field - 1];
        if (field->type == TERN_TYPE_NONE)
            continue; /* its own error has been reported */
        if (table->kind == TERN_TABLE_PREFIX_MAP && field->type != TERN_TYPE_IP) {
            TERN_CONFIG_ERROR(reader, table->by.place,
                              "a prefix_map is looked up by an ip field; '%s' is %s",
                              table->by.text, type_name(field));
        } else if (table->kind == TERN_TABLE_EXACT_MAP) {
            if (!key_type_is_possible(field->type))
                TERN_CONFIG_ERROR(reader, table->by.place,
                                  "an exact_map is looked up by an ip, string, host, u64 or i64 "
                                  "field; '%s' is %s",
                                  table->by.text, type_name(field));
            table->key_type = field->type;
            table->key_flags = field->flags;
        }
    }
}
