/* tests: requests with their expected answers, run by every apply. */
#include "controlplane/config/nearest.h"
#include "controlplane/config/reader.h"

static void read_request_value(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                               void *element)
{
    struct tern_config_test_value *value = element;

    tern_config_read_free_text(reader, &(struct tern_config_key){.name = value->field.text}, node,
                               &value->value);
}

static void read_request(struct tern_config_reader *reader, const struct tern_config_key *key,
                         const struct tern_yaml_node *node, void *member)
{
    struct tern_config_test *test = member;

    test->values = tern_config_read_named(reader, key, node, "field", sizeof *test->values,
                                          TERN_FIELDS_MAX, read_request_value, &test->value_count);
}

static void read_test(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                      void *element)
{
    static const struct tern_config_key keys[] = {
        {.name = "request", .read = read_request, .required = true},
        {.name = "expect",
         .read = tern_config_read_choice,
         .offset = offsetof(struct tern_config_test, expect),
         .required = true,
         .choices = tern_config_answers},
        {.name = "rule",
         .read = tern_config_read_identifier,
         .offset = offsetof(struct tern_config_test, rule)},
    };
    struct tern_config_test *test = element;

    test->place = node->place;
    tern_config_read_mapping(reader, node, "a test", keys, TERN_COUNT(keys), test);
}

void tern_config_read_tests(struct tern_config_reader *reader, const struct tern_config_key *key,
                            const struct tern_yaml_node *node, void *member)
{
    struct tern_config *config = member;

    config->tests = tern_config_read_list(reader, key, node, sizeof *config->tests, TERN_RULES_MAX,
                                          read_test, &config->test_count);
}

/* ---- Names and values against the rest ---- */

static void check_value(struct tern_config_reader *reader, const struct tern_config_field *field,
                        const struct tern_text *text)
{
    uint8_t scratch[TERN_VALUE_SCRATCH];
    union tern_value value;
    struct tern_error error;

    if (text->text == NULL || field->type == TERN_TYPE_NONE)
        return;
    if (tern_config_parse_value(field->type, field->flags, text->text, text->length, scratch,
                                &value, &error) != 0)
        TERN_CONFIG_ERROR(reader, text->place, "field '%s': %s", field->name.text, error.message);
    else if (field->type == TERN_TYPE_VECTOR && value.string.length != field->dim * 4)
        TERN_CONFIG_ERROR(reader, text->place, "field '%s' has %u dimensions, not %u",
                          field->name.text, field->dim, value.string.length / 4);
    else if (field->type == TERN_TYPE_STRING && text->length > field->max_bytes)
        TERN_CONFIG_ERROR(reader, text->place, "field '%s' has at most %u bytes, not %zu",
                          field->name.text, field->max_bytes, text->length);
}

static void check_request(struct tern_config_reader *reader,
                          const struct tern_config_test_value *value)
{
    const struct tern_config *config = reader->config;
    struct tern_nearest nearest = {.wanted = value->field.text,
                                   .wanted_length = value->field.length};
    char hint[TERN_NEAREST_HINT];

    for (unsigned i = 0; i < config->field_count; i++) {
        const struct tern_config_field *field = &config->fields[i];

        if (strcmp(field->name.text, value->field.text) == 0) {
            check_value(reader, field, &value->value);
            return;
        }
        tern_nearest_offer(&nearest, field->name.text, field->name.length);
    }
    TERN_CONFIG_ERROR(reader, value->field.place, "there is no field '%s'%s", value->field.text,
                      tern_nearest_hint(&nearest, "; ", hint));
}

/* Rule ids in order, so that thousands of tests over thousands of rules are no quadratic matter. */
static int compare_ids(const void *left, const void *right)
{
    return strcmp((*(const struct tern_text *const *)left)->text,
                  (*(const struct tern_text *const *)right)->text);
}

static void report_unknown_rule(struct tern_config_reader *reader, const struct tern_text *rule)
{
    struct tern_nearest nearest = {.wanted = rule->text, .wanted_length = rule->length};
    char hint[TERN_NEAREST_HINT];

    for (unsigned i = 0; i < reader->config->rule_count; i++)
        if (reader->config->rules[i].id.text != NULL)
            tern_nearest_offer(&nearest, reader->config->rules[i].id.text,
                               reader->config->rules[i].id.length);
    TERN_CONFIG_ERROR(reader, rule->place, "there is no rule '%s'%s", rule->text,
                      tern_nearest_hint(&nearest, "; ", hint));
}

void tern_config_check_tests(struct tern_config_reader *reader)
{
    const struct tern_config *config = reader->config;
    const struct tern_text **ids = malloc((config->rule_count + 1) * sizeof *ids);
    unsigned id_count = 0;

    if (ids == NULL) {
        reader->out_of_memory = true;
        return;
    }
    for (unsigned i = 0; i < config->rule_count; i++)
        if (config->rules[i].id.text != NULL)
            ids[id_count++] = &config->rules[i].id;
    qsort(ids, id_count, sizeof *ids, compare_ids);
    for (unsigned i = 0; i < config->test_count; i++) {
        const struct tern_config_test *test = &config->tests[i];
        const struct tern_text *rule = &test->rule;

        for (unsigned v = 0; v < test->value_count; v++)
            check_request(reader, &test->values[v]);
        if (rule->text != NULL && bsearch(&rule, ids, id_count, sizeof *ids, compare_ids) == NULL)
            report_unknown_rule(reader, rule);
    }
    free(ids);
}
