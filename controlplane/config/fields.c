/* fields: what a request may carry. */
#include "controlplane/config/nearest.h"
#include "controlplane/config/reader.h"
#include "shared/number.h"

static const struct type_name {
    const char *name;
    enum tern_type type;
    uint8_t flags;
} type_names[] = {
    {"ip", TERN_TYPE_IP, 0},   {"string", TERN_TYPE_STRING, 0},
    {"u64", TERN_TYPE_U64, 0}, {"host", TERN_TYPE_STRING, TERN_FIELD_HOST},
    {"i64", TERN_TYPE_I64, 0}, {"f32", TERN_TYPE_F32, 0},
    {"u32", TERN_TYPE_U32, 0}, {"bool", TERN_TYPE_BOOL, 0},
};

/* "vector(100)" */
static bool read_vector(struct tern_config_reader *reader, const struct tern_text *text,
                        uint32_t *dim)
{
    static const char start[] = "vector(";
    size_t prefix = strlen(start);
    uint64_t number;

    if (text->length > prefix && strncmp(text->text, start, prefix) == 0 &&
        text->text[text->length - 1] == ')' &&
        tern_number_parse_u64(text->text + prefix, text->length - prefix - 1, &number) == 0 &&
        number >= 1 && number <= TERN_DIM_MAX) {
        *dim = (uint32_t)number;
        return true;
    }
    TERN_CONFIG_ERROR(reader, text->place,
                      "'%s': a vector gives its dimension, 1 to %u, as in vector(100)", text->text,
                      TERN_DIM_MAX);
    return false;
}

bool tern_config_read_type(struct tern_config_reader *reader, const struct tern_text *text,
                           bool column, enum tern_type *type, uint8_t *flags, uint32_t *dim)
{
    struct tern_nearest nearest = {.wanted = text->text, .wanted_length = text->length};
    const char *all = column ? "ip, string, host, u32, u64, i64, f32 or bool"
                             : "ip, string, host, u64, i64, f32, bool or vector(N)";

    if (!column && strncmp(text->text, "vector", strlen("vector")) == 0) {
        if (!read_vector(reader, text, dim))
            return false;
        *type = TERN_TYPE_VECTOR;
        *flags = 0;
        return true;
    }
    for (size_t i = 0; i < TERN_COUNT(type_names); i++) {
        if (!column && type_names[i].type == TERN_TYPE_U32)
            continue;
        tern_nearest_offer(&nearest, type_names[i].name, strlen(type_names[i].name));
        if (strcmp(text->text, type_names[i].name) != 0)
            continue;
        *type = type_names[i].type;
        *flags = type_names[i].flags;
        return true;
    }
    if (!column && strcmp(text->text, "u32") == 0)
        TERN_CONFIG_ERROR(reader, text->place, "u32 is a type of columns; a field is u64");
    else if (nearest.best != NULL)
        TERN_CONFIG_ERROR(reader, text->place, "unknown type '%s'; did you mean '%s'?", text->text,
                          nearest.best);
    else
        TERN_CONFIG_ERROR(reader, text->place, "unknown type '%s'; expected %s", text->text, all);
    return false;
}

static void read_type(struct tern_config_reader *reader, const struct tern_config_key *key,
                      const struct tern_yaml_node *node, void *member)
{
    struct tern_config_field *field = member;
    struct tern_text text = {0};

    tern_config_read_text(reader, key, node, &text);
    if (text.text != NULL)
        tern_config_read_type(reader, &text, false, &field->type, &field->flags, &field->dim);
}

static void read_normalize_step(struct tern_config_reader *reader,
                                const struct tern_yaml_node *node, void *element)
{
    static const struct tern_config_choice steps[] = {
        {"percent_decode", TERN_NORMALIZE_PERCENT_DECODE},
        {"strip_query", TERN_NORMALIZE_STRIP_QUERY},
        {"dot_segments", TERN_NORMALIZE_DOT_SEGMENTS},
        {"merge_slashes", TERN_NORMALIZE_MERGE_SLASHES},
        {"lower", TERN_NORMALIZE_LOWER},
        {NULL, 0},
    };
    static const struct tern_config_key key = {.name = "normalize", .choices = steps};

    tern_config_read_choice(reader, &key, node, element);
}

static void read_normalize(struct tern_config_reader *reader, const struct tern_config_key *key,
                           const struct tern_yaml_node *node, void *member)
{
    struct tern_config_field *field = member;
    unsigned count;
    int *steps =
        tern_config_read_list(reader, key, node, sizeof *steps, 16, read_normalize_step, &count);

    for (unsigned i = 0; i < count; i++)
        field->normalize |= (uint8_t)steps[i];
}

static void read_max(struct tern_config_reader *reader, const struct tern_config_key *key,
                     const struct tern_yaml_node *node, void *member)
{
    uint64_t bytes = 0;

    tern_config_read_size(reader, key, node, &bytes);
    ((struct tern_config_field *)member)->max_bytes = (uint32_t)bytes;
}

/* Bytes of a value on the wire. */
static uint32_t value_bytes(const struct tern_config_field *field)
{
    switch (field->type) {
    case TERN_TYPE_IP:
        return 16;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        return 8;
    case TERN_TYPE_F32:
        return 4;
    case TERN_TYPE_BOOL:
        return 1;
    case TERN_TYPE_VECTOR:
        return field->dim * 4;
    default:
        return TERN_STRING_MAX;
    }
}

static void read_field(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                       void *element)
{
    enum { TYPE, NORMALIZE, MAX };
    static const struct tern_config_key keys[] = {
        [TYPE] = {.name = "type", .read = read_type, .required = true},
        [NORMALIZE] = {.name = "normalize", .read = read_normalize},
        [MAX] = {.name = "max", .read = read_max, .minimum = 1, .maximum = TERN_STRING_MAX},
    };
    struct tern_config_field *field = element;
    char what[TERN_NAME_MAX + 16];
    uint64_t seen = 0;

    snprintf(what, sizeof what, "field '%s'", field->name.text);
    if (node->kind == TERN_YAML_MAPPING)
        seen = tern_config_read_mapping(reader, node, what, keys, TERN_COUNT(keys), field);
    else
        read_type(reader, &(struct tern_config_key){.name = field->name.text}, node, field);
    if (field->type != TERN_TYPE_NONE && field->type != TERN_TYPE_STRING)
        for (unsigned i = NORMALIZE; i <= MAX; i++)
            if (seen >> i & 1)
                TERN_CONFIG_ERROR(reader, node->place,
                                  "'%s' in %s is for string and host fields only", keys[i].name,
                                  what);
    if (field->flags & TERN_FIELD_HOST && field->normalize != 0)
        TERN_CONFIG_ERROR(reader, node->place,
                          "'normalize' in %s is for string fields: a host is folded anyway", what);
    if (field->max_bytes == 0)
        field->max_bytes = value_bytes(field);
}

/* FIELD.raw, behind the fields in the same order, as the schema's slots are. */
static void add_raw_slots(struct tern_config_reader *reader, struct tern_config *config)
{
    struct tern_config_field *slots =
        tern_config_take(reader, TERN_FIELDS_MAX * sizeof *config->fields);

    if (slots == NULL)
        return;
    if (config->field_count > 0)
        memcpy(slots, config->fields, config->field_count * sizeof *slots);
    for (unsigned i = 0; i < config->field_count && config->slot_count < TERN_FIELDS_MAX; i++) {
        struct tern_config_field *slot = &slots[config->slot_count];
        const struct tern_config_field *field = &slots[i];
        size_t bytes = field->name.length + sizeof ".raw";
        char *name;

        if (!tern_field_is_changed(field->flags, field->normalize))
            continue;
        name = tern_config_take(reader, bytes);
        if (name == NULL)
            return;
        snprintf(name, bytes, "%s.raw", field->name.text);
        *slot = *field;
        slot->name.text = name;
        slot->name.length = bytes - 1;
        slot->flags = slot->normalize = 0;
        slot->raw_of = i + 1;
        config->slot_count++;
    }
    config->fields = slots;
}

unsigned tern_config_raw_slot(const struct tern_config *config, unsigned id)
{
    for (unsigned slot = config->field_count; slot < config->slot_count; slot++)
        if (config->fields[slot].raw_of == id)
            return slot + 1;
    return 0;
}

void tern_config_read_fields(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, void *member)
{
    struct tern_config *config = member;

    config->fields = tern_config_read_named(reader, key, node, "field", sizeof *config->fields,
                                            TERN_FIELDS_MAX, read_field, &config->field_count);
    config->slot_count = config->field_count;
    add_raw_slots(reader, config);
}

/* ---- Names that expressions could not tell apart ---- */

void tern_config_check_word(struct tern_config_reader *reader, const struct tern_text *name,
                            const char *what)
{
    static const char *const words[] = {"or",          "and",       "not",      "in",
                                        "starts_with", "ends_with", "contains", "matches",
                                        "exists",      "true",      "false",    "model"};

    for (size_t i = 0; i < TERN_COUNT(words); i++)
        if (strcmp(name->text, words[i]) == 0)
            TERN_CONFIG_ERROR(reader, name->place,
                              "'%s' is a word of the expressions and no name for a %s", name->text,
                              what);
}

void tern_config_check_fields(struct tern_config_reader *reader)
{
    struct tern_config *config = reader->config;

    for (unsigned i = 0; i < config->field_count; i++)
        tern_config_check_word(reader, &config->fields[i].name, "field");
    for (unsigned t = 0; t < config->table_count; t++) {
        const struct tern_text *name = &config->tables[t].name;

        tern_config_check_word(reader, name, "table");
        for (unsigned i = 0; i < config->field_count; i++)
            if (strcmp(config->fields[i].name.text, name->text) == 0)
                TERN_CONFIG_ERROR(reader, name->place,
                                  "table '%s' has the name of a field (line %u); expressions could "
                                  "not tell them apart",
                                  name->text, config->fields[i].name.place.line);
    }
}
