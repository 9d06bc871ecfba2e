#include "controlplane/expectation.h"

#include "shared/decode.h"
#include "shared/rules/evaluate.h"

/* Room for one test's request: a value a field, and the bytes that folding or parsing writes. */
struct asking {
    const struct tern_view *view;
    const struct tern_config *config;
    struct tern_scratch *scratch;
    struct tern_facts *facts;
    uint8_t *bytes; /* TERN_VALUE_SCRATCH for each field */
};

static unsigned field_index(const struct tern_config *config, const struct tern_text *name)
{
    unsigned i = 0;

    while (i < config->field_count && strcmp(config->fields[i].name.text, name->text) != 0)
        i++;
    return i;
}

static uint8_t *space_of(struct asking *asking, unsigned index)
{
    return asking->bytes + (size_t)index * TERN_VALUE_SCRATCH;
}

/* A string goes the way of a request's: normalized, its untouched value kept. */
static int set_string(struct asking *asking, unsigned index, const struct tern_text *text,
                      struct tern_error *error)
{
    const struct tern_config_field *field = &asking->config->fields[index];
    struct tern_decode_field decode =
        tern_decode_field_of(field->type, field->flags, 0, field->max_bytes);
    const uint8_t *bytes = (const uint8_t *)text->text;
    unsigned raw = tern_config_raw_slot(asking->config, index + 1);
    const char *expected;
    size_t used = 0;

    decode.normalize = field->normalize;
    expected = tern_decode_value(&decode, bytes, text->length, &asking->facts->values[index + 1],
                                 space_of(asking, index), &used);
    if (expected != NULL)
        return tern_error_set(error, TERN_EINVAL, "field '%s': %s", field->name.text, expected);
    if (raw != 0) {
        asking->facts->values[raw].string.bytes = bytes;
        asking->facts->values[raw].string.length = (uint32_t)text->length;
        tern_facts_set_present(asking->facts, raw);
    }
    return 0;
}

static int ask(struct asking *asking, const struct tern_config_test *test,
               struct tern_verdict *verdict, struct tern_error *error)
{
    const struct tern_facts *items[1] = {asking->facts};

    tern_facts_clear(asking->facts);
    for (unsigned i = 0; i < test->value_count; i++) {
        const struct tern_config_test_value *given = &test->values[i];
        unsigned index = field_index(asking->config, &given->field);
        const struct tern_config_field *field = &asking->config->fields[index];
        int failed;

        if (index == asking->config->field_count)
            return tern_error_set(error, TERN_EINVAL, "there is no field '%s'", given->field.text);
        failed = field->type == TERN_TYPE_STRING
                     ? set_string(asking, index, &given->value, error)
                     : tern_config_parse_value(field->type, field->flags, given->value.text,
                                               given->value.length, space_of(asking, index),
                                               &asking->facts->values[index + 1], error);
        if (failed == 0 && field->type == TERN_TYPE_VECTOR &&
            asking->facts->values[index + 1].string.length != field->dim * sizeof(float))
            failed = tern_error_set(error, TERN_EINVAL,
                                    "field '%s' has %u dimensions, the test gives %zu numbers",
                                    field->name.text, field->dim,
                                    asking->facts->values[index + 1].string.length / sizeof(float));
        if (failed != 0)
            return failed;
        tern_facts_set_present(asking->facts, index + 1);
    }
    tern_rules_decide(asking->view->rules, asking->scratch, items, 1, verdict);
    return 0;
}

static const char *rule_name(const struct tern_config *config, uint32_t rule)
{
    return rule == 0 || rule > config->rule_count ? NULL : config->rules[rule - 1].id.text;
}

static void run(struct asking *asking, const struct tern_config_test *test,
                struct tern_expectation *outcome, struct tern_error *error)
{
    *outcome = (struct tern_expectation){.test = test};
    if (ask(asking, test, &outcome->verdict, error) != 0) {
        outcome->problem = error->message;
        return;
    }
    outcome->rule = rule_name(asking->config, outcome->verdict.rule);
    outcome->passed = outcome->verdict.action == (uint8_t)test->expect &&
                      (test->rule.length == 0 ||
                       (outcome->rule != NULL && strcmp(outcome->rule, test->rule.text) == 0));
}

/* A placed error that says what came instead. */
static void report(const struct tern_expectation *outcome, struct tern_diagnostics *diagnostics)
{
    const struct tern_config_test *test = outcome->test;
    const bool named = test->rule.length != 0;

    if (outcome->problem != NULL)
        tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, test->place, "test: %s",
                             outcome->problem);
    else
        tern_diagnostics_add(
            diagnostics, TERN_SEVERITY_ERROR, test->place,
            "test: expected %s%s%s, the answer is %s by %s (score %g)",
            tern_action_name(test->expect), named ? " by " : "", named ? test->rule.text : "",
            tern_action_name((enum tern_action)outcome->verdict.action),
            outcome->rule != NULL ? outcome->rule : "no rule", (double)outcome->verdict.score);
}

/* The facts are still those of the test that was run last. */
static int explain(const struct asking *asking, struct tern_expectation *outcome,
                   struct tern_buffer *text)
{
    int failed = 0;

    text->length = 0;
    if (!outcome->passed && outcome->problem == NULL)
        failed = tern_rules_explain(asking->view->rules, asking->scratch, asking->facts, text);
    outcome->explanation = (const char *)text->data;
    outcome->explanation_length = text->length;
    return failed;
}

int tern_expectations_check(const struct tern_view *view, const struct tern_config *config,
                            void (*tested)(void *context, const struct tern_expectation *outcome),
                            void *context, struct tern_diagnostics *diagnostics,
                            struct tern_error *error)
{
    struct tern_buffer text = {0};
    struct asking asking = {.view = view, .config = config};
    unsigned unlike = 0;
    int failed = 0;

    if (config->test_count == 0)
        return 0;
    asking.facts = malloc(tern_facts_bytes(config->slot_count));
    asking.bytes = malloc((size_t)config->field_count * TERN_VALUE_SCRATCH + 1);
    if (asking.facts == NULL || asking.bytes == NULL || tern_scratch_new(&asking.scratch) != 0 ||
        tern_scratch_prepare(asking.scratch, view->rules) != 0)
        failed = tern_error_set(error, TERN_ENOMEM, "no memory to run the tests");
    for (unsigned i = 0; failed == 0 && i < config->test_count; i++) {
        struct tern_expectation outcome;
        struct tern_error problem;

        run(&asking, &config->tests[i], &outcome, &problem);
        unlike += !outcome.passed;
        if (tested == NULL && !outcome.passed) {
            report(&outcome, diagnostics);
        } else if (tested != NULL) {
            if (explain(&asking, &outcome, &text) != 0)
                failed = tern_error_set(error, TERN_ENOMEM, "no memory to explain a test");
            else
                tested(context, &outcome);
        }
    }
    if (failed == 0 && unlike != 0)
        failed = tern_error_set(
            error, TERN_EINVAL,
            "%u of %u tests of the configuration failed; ternctl test --explain says "
            "why",
            unlike, config->test_count);
    tern_buffer_free(&text);
    tern_scratch_free(asking.scratch);
    free(asking.facts);
    free(asking.bytes);
    return failed;
}
