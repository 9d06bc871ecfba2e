#include "controlplane/compile/neighbours.h"

#include <math.h>

#include "controlplane/config/nearest.h"

static int shown(const struct tern_token *token)
{
    return (int)tern_min_u64(token->length, TERN_NAME_MAX);
}

static const struct tern_config_collection *collection_of(const struct tern_config *config,
                                                          const struct tern_operand *operand)
{
    return &config->collections[operand->collection - 1];
}

int tern_neighbours_collection(const struct tern_config *config, const struct tern_token *name,
                               struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE])
{
    struct tern_nearest nearest = {.wanted = name->text, .wanted_length = name->length};
    char hint[TERN_NEAREST_HINT];

    for (unsigned i = 0; i < config->collection_count; i++) {
        const struct tern_text *known = &config->collections[i].name;

        if (known->length == name->length && memcmp(known->text, name->text, known->length) == 0) {
            operand->collection = (uint16_t)(i + 1);
            return 0;
        }
        tern_nearest_offer(&nearest, known->text, known->length);
    }
    if (config->collection_count == 0)
        return tern_operand_fail(
            message, "unknown collection '%.*s': the configuration has no 'collections:'",
            shown(name), name->text);
    return tern_operand_fail(message, "unknown collection '%.*s'%s", shown(name), name->text,
                             tern_nearest_hint(&nearest, ", ", hint));
}

int tern_neighbours_field(const struct tern_config *config, const struct tern_token *name,
                          struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE])
{
    const struct tern_config_collection *collection = collection_of(config, operand);
    const struct tern_config_field *field;
    struct tern_operand found = {.column = TERN_COLUMN_NONE};
    int status = tern_operand_field(config, name, &found, message);

    if (status != 0)
        return status;
    field = &config->fields[found.field - 1];
    if (field->type != TERN_TYPE_VECTOR)
        return tern_operand_fail(
            message,
            "similar(…) compares vectors, field '%s' is of type %s: it would have to be "
            "vector(%u)",
            field->name.text, tern_type_name(field->type), collection->shape.dim);
    if (field->dim != collection->shape.dim)
        return tern_operand_fail(message, "field '%s' has %u dimensions, collection '%s' has %u",
                                 field->name.text, field->dim, collection->name.text,
                                 collection->shape.dim);
    operand->field = found.field;
    return 0;
}

/* Digits alone; a sign or a fraction is none. */
static bool whole_number(const struct tern_token *token, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < token->length; i++) {
        if (token->text[i] < '0' || token->text[i] > '9' || *number > UINT32_MAX)
            return false;
        *number = *number * 10 + (uint64_t)(token->text[i] - '0');
    }
    return token->length > 0;
}

static int take_min(const struct tern_config *config, const struct tern_token *number,
                    struct tern_operand *operand, char *message)
{
    enum tern_metric metric = collection_of(config, operand)->shape.metric;
    char text[64] = "", *end = text;
    float min = 0;

    if (number->length < sizeof text) {
        memcpy(text, number->text, number->length);
        text[number->length] = '\0';
        min = strtof(text, &end);
    }
    if (*end != '\0' || end == text || !isfinite(min))
        return tern_operand_fail(message, "'min' is no number that fits: a similarity is a f32");
    if (metric == TERN_METRIC_COSINE && (min < -1 || min > 1))
        return tern_operand_fail(
            message, "'min' is %g; the similarity of cosine collections is -1 to 1", (double)min);
    if (metric == TERN_METRIC_L2 && (min < 0 || min > 1))
        return tern_operand_fail(
            message, "'min' is %g; the similarity of l2 collections is 1 / (1 + distance), 0 to 1",
            (double)min);
    operand->min = min;
    return 0;
}

int tern_neighbours_option(const struct tern_config *config, const struct tern_token *name,
                           const struct tern_token *number, struct tern_operand *operand,
                           char message[TERN_OPERAND_MESSAGE])
{
    uint64_t k;

    if (tern_token_is(name, "min")) {
        if (operand->min != -INFINITY)
            return tern_operand_fail(message, "'min' is given twice");
        return take_min(config, number, operand, message);
    }
    if (operand->k != 0)
        return tern_operand_fail(message, "'k' is given twice");
    if (!whole_number(number, &k) || k == 0 || k > TERN_SEARCH_K_MAX)
        return tern_operand_fail(message, "'k' is %.*s; it may be 1 to %u (neighbours)",
                                 shown(number), number->text, TERN_SEARCH_K_MAX);
    operand->k = (uint16_t)k;
    return 0;
}

int tern_neighbours_column(const struct tern_config *config, const struct tern_token *name,
                           struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE])
{
    const struct tern_config_collection *collection = collection_of(config, operand);
    struct tern_nearest nearest = {.wanted = name->text, .wanted_length = name->length};
    char hint[TERN_NEAREST_HINT];

    if (tern_token_is(name, "score")) {
        operand->column = TERN_COLUMN_SCORE;
        operand->type = TERN_TYPE_F32;
        return 0;
    }
    for (unsigned i = 0; i < collection->shape.column_count; i++) {
        const struct tern_graph_column *column = &collection->shape.columns[i];

        tern_nearest_offer(&nearest, column->name, strlen(column->name));
        if (!tern_token_is(name, column->name))
            continue;
        if (column->type == TERN_TYPE_F32)
            return tern_operand_fail(
                message,
                "column '%s.%s' is of type f32, of which there is no majority: name one "
                "of strings, whole numbers or booleans, or score (the best similarity)",
                collection->name.text, column->name);
        operand->column = (int16_t)i;
        operand->type = column->type;
        return 0;
    }
    tern_nearest_offer(&nearest, "score", 5);
    return tern_operand_fail(message, "the payload of collection '%s' has no column '%.*s'%s",
                             collection->name.text, shown(name), name->text,
                             tern_nearest_hint(&nearest, ", ", hint));
}

void tern_neighbours_text(const struct tern_config *config, const struct tern_operand *operand,
                          char text[TERN_NEIGHBOURS_TEXT])
{
    int length = snprintf(text, TERN_NEIGHBOURS_TEXT, "similar(%s, %s, k: %u",
                          collection_of(config, operand)->name.text,
                          config->fields[operand->field - 1].name.text, operand->k);

    if (operand->min != -INFINITY)
        length += snprintf(text + length, TERN_NEIGHBOURS_TEXT - (size_t)length, ", min: %g",
                           (double)operand->min);
    snprintf(text + length, TERN_NEIGHBOURS_TEXT - (size_t)length, ")");
}
