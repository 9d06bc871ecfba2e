/* Rows over limits.rules_bytes: what becomes residual, what is said of it, and that verdicts stay.
 */
#include "tests/unit/unit.h"

#include "controlplane/compile/reference.h"
#include "shared/rules/rules.h"
#include "tests/reference/world.h"

#define SAMPLES 300

static struct world world;

static int setup(TERN_TEST_STATE)
{
    world_make(&world, 500);
    return 0;
}

static int teardown(TERN_TEST_STATE)
{
    world_free(&world);
    return 0;
}

/* One rule of every kind of check, beside some that are none. */
static const char *const kinds[] = {
    "delta in {-3..4, 7} and not user == 6",
    "ip in {10.0.0.0/15, 2001:db8::/32} and path starts_with \"/p\"",
    "path in {\"/p1/x\", \"/p2/x\", \"/p7/x\"} or path ends_with \"9/x\"",
    "host in $bad_hosts and not exists(secure)",
    "ratio < 1.25 and not (path starts_with \"/p1\" or path == \"\" or exists(user))",
    "users.trust > 0.4 and users.vip == true and not users.age in {0..9}",
    "users.name starts_with \"user1\" and exists(users.trust)",
    "exists(asn) and asn.country in {\"DE\", \"FR\"} and not asn.weight == 2",
    "users.home in $bad_nets or asn.number in $ids",
    "paths[path].hits >= 20 and secure == false",
    "not exists(peers) and peer in {10.0.0.1..10.0.9.1, ::/1}",
    "users.home in {10.0.0.0/16} and users.name ends_with \"2\"",
};

static struct tern_config config_of(struct tern_config_rule *rules, const char *const *texts,
                                    unsigned count, uint64_t rules_bytes)
{
    struct tern_config config = world_config(&world, rules, count);

    for (unsigned i = 0; i < count; i++) {
        rules[i] = world_rule("r", texts[i]);
        rules[i].then = i % 3 == 0 ? TERN_THEN_ADD : TERN_THEN_ACTION;
        rules[i].score = (float)(1 + i);
    }
    config.limits.rules_bytes = rules_bytes;
    return config;
}

/* The smallest limit that all of them fit into. */
static uint64_t smallest_limit(struct tern_config_rule *rules, const char *const *texts,
                               unsigned count)
{
    for (uint64_t limit = 64;; limit += 64) {
        struct tern_config config = config_of(rules, texts, count, limit);
        struct world_rules compiled;
        int status = world_compile(&world, &config, &compiled);

        if (status == 0)
            world_rules_free(&compiled);
        if (status == 0)
            return limit;
        assert_int_equal(status, TERN_ELIMIT);
    }
}

static void verdicts_stay_the_same(TERN_TEST_STATE)
{
    struct tern_config_rule rules[TERN_COUNT(kinds)];
    uint64_t smallest = smallest_limit(rules, kinds, TERN_COUNT(kinds));
    struct tern_config config = config_of(rules, kinds, TERN_COUNT(kinds), 1 << 20);
    struct tern_diagnostics diagnostics = {0};
    struct tern_reference *reference = NULL;
    struct tern_scratch *scratch = NULL;
    uint8_t *strings = malloc(TERN_REFERENCE_SCRATCH);
    struct world_rules roomy;
    uint32_t last = 0;

    assert_non_null(strings);
    assert_int_equal(tern_scratch_new(&scratch), 0);
    assert_int_equal(
        tern_reference_new(&config, world.opened, WORLD_TABLES + 1, &diagnostics, &reference), 0);
    assert_int_equal(world_compile(&world, &config, &roomy), 0);
    assert_int_equal(roomy.compiled.residual_comparisons, 0);
    for (uint64_t limit = roomy.compiled.rows_bytes; limit >= smallest; limit -= 200) {
        struct world_rules compiled;

        config.limits.rules_bytes = limit;
        assert_int_equal(world_compile(&world, &config, &compiled), 0);
        assert_true(compiled.compiled.rows_bytes <= limit);
        assert_true(compiled.compiled.residual_rules <= compiled.compiled.residual_comparisons);
        last = compiled.compiled.residual_comparisons;
        for (uint64_t i = 0; i < SAMPLES; i++) {
            union world_facts facts;
            const struct tern_facts *item = &facts.head;
            struct tern_verdict expected, actual;

            tern_reference_sample(reference, limit, i, strings, &facts.head);
            tern_reference_decide(reference, item, &expected);
            tern_rules_decide(compiled.rules, scratch, &item, 1, &actual);
            assert_true(tern_verdict_equal(&expected, &actual));
            tern_rules_walk_scalar(compiled.rules, scratch, item, scratch->classes, &actual);
            assert_true(tern_verdict_equal(&expected, &actual));
        }
        world_rules_free(&compiled);
    }
    assert_true(last >= 15); /* hardly anything was left in the rows */
    world_rules_free(&roomy);
    tern_diagnostics_free(&diagnostics);
    tern_reference_free(reference);
    tern_scratch_free(scratch);
    free(strings);
}

static bool warns(const struct tern_diagnostics *diagnostics, const char *text)
{
    for (size_t i = 0; i < diagnostics->count; i++)
        if (diagnostics->items[i].severity == TERN_SEVERITY_WARNING &&
            strstr(diagnostics->items[i].message, text) != NULL)
            return true;
    return false;
}

/* Wide ranges beside paths: the ranges cost most and keep the fewest candidates away. */
static void what_costs_most_and_helps_least_goes(TERN_TEST_STATE)
{
    enum { COUNT = 1500 };
    struct tern_config_rule *rules = calloc(COUNT, sizeof *rules);
    char(*texts)[96] = calloc(COUNT, sizeof *texts);
    struct tern_config config = world_config(&world, rules, COUNT);
    struct tern_diagnostics diagnostics = {0}, checked = {0};
    struct tern_compile_input input = {.config = &config,
                                       .schema = world.schema,
                                       .tables = world.opened,
                                       .table_hashes = (const uint8_t(*)[16])world.hashes};
    struct tern_compiled compiled, again;

    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof texts[i], "user >= %u and user < %u and path == \"/k%u\"", i,
                 100000 - i * 7, i);
        rules[i] = world_rule("r", texts[i]);
    }
    config.limits.rules_bytes = 128 << 10;
    assert_int_equal(tern_compile(&input, &compiled, &diagnostics), 0);
    assert_true(compiled.rows_bytes <= config.limits.rules_bytes);
    assert_true(compiled.unfitted_rows_bytes > config.limits.rules_bytes);
    assert_true(compiled.residual_comparisons > COUNT / 2);
    assert_int_equal(compiled.residual_rules, compiled.residual_comparisons);
    assert_int_equal(diagnostics.error_count, 0);
    assert_true(warns(&diagnostics, "and is residual: asked of each"));
    assert_true(warns(&diagnostics, "limits.rules_bytes is 128 KiB"));
    assert_true(warns(&diagnostics, "'user >= "));
    assert_false(warns(&diagnostics, "'path == "));
    assert_int_equal(diagnostics.items[0].place.line, 1);

    /* no tables are involved, so a check says the very same; and the bytes depend on nothing else
     */
    assert_int_equal(tern_compile_check_rows(&config, &checked), 0);
    assert_true(warns(&checked, "limits.rules_bytes is 128 KiB"));
    tern_diagnostics_free(&diagnostics);
    memset(&diagnostics, 0, sizeof diagnostics);
    assert_int_equal(tern_compile(&input, &again, &diagnostics), 0);
    assert_int_equal(compiled.rules.length, again.rules.length);
    assert_memory_equal(compiled.rules.data, again.rules.data, again.rules.length);
    tern_compiled_free(&again);
    tern_compiled_free(&compiled);
    tern_diagnostics_free(&diagnostics);
    tern_diagnostics_free(&checked);
    free(texts);
    free(rules);
}

static void too_small_a_limit_is_an_error(TERN_TEST_STATE)
{
    struct tern_config_rule rules[TERN_COUNT(kinds)];
    struct tern_config config = config_of(rules, kinds, TERN_COUNT(kinds), 100);
    struct tern_diagnostics diagnostics = {0};
    struct tern_compile_input input = {.config = &config,
                                       .schema = world.schema,
                                       .tables = world.opened,
                                       .table_hashes = (const uint8_t(*)[16])world.hashes};
    struct tern_compiled compiled;
    unsigned long long needed = 0;
    const char *message;

    assert_int_equal(tern_compile(&input, &compiled, &diagnostics), TERN_ELIMIT);
    assert_int_equal(diagnostics.error_count, 1);
    message = diagnostics.items[diagnostics.count - 1].message;
    assert_non_null(strstr(message, "limits.rules_bytes is 100: raise it"));
    assert_int_equal(sscanf(message, "the rules take %llu bytes", &needed), 1);
    tern_diagnostics_free(&diagnostics);
    memset(&diagnostics, 0, sizeof diagnostics);
    assert_int_equal(tern_compile_check_rows(&config, &diagnostics), TERN_EINVAL);
    tern_diagnostics_free(&diagnostics);

    /* what it says is enough */
    memset(&diagnostics, 0, sizeof diagnostics);
    config.limits.rules_bytes = needed;
    assert_int_equal(tern_compile(&input, &compiled, &diagnostics), 0);
    tern_diagnostics_free(&diagnostics);
    tern_compiled_free(&compiled);
}

static void explain_marks_what_is_residual(TERN_TEST_STATE)
{
    static const char *const texts[] = {"path == \"/a\" and users.trust < 2 and not user == 5"};
    struct tern_config_rule rules[1];
    struct tern_config config = config_of(rules, texts, 1, smallest_limit(rules, texts, 1));
    struct world_rules compiled;
    union world_facts facts = {.room = {0}};
    struct tern_buffer out = {0};
    struct tern_scratch *scratch = NULL;
    static const char *const wanted[] = {
        "\"text\":\"path == \\\"/a\\\"\",\"true\":true,\"residual\":true}",
        "\"text\":\"users.trust < 2\",\"true\":true,\"residual\":true}",
        "\"text\":\"not user == 5\",\"true\":true,\"residual\":true}",
    };

    facts.head.values[WORLD_PATH].string.bytes = (const uint8_t *)"/a";
    facts.head.values[WORLD_PATH].string.length = 2;
    facts.head.values[WORLD_USER].u64 = 2;
    tern_facts_set_present(&facts.head, WORLD_PATH);
    tern_facts_set_present(&facts.head, WORLD_USER);
    assert_int_equal(world_compile(&world, &config, &compiled), 0);
    assert_int_equal(tern_scratch_new(&scratch), 0);
    assert_int_equal(tern_rules_explain(compiled.rules, scratch, &facts.head, &out), 0);
    assert_int_equal(tern_buffer_append(&out, "", 1), 0);
    for (size_t i = 0; i < TERN_COUNT(wanted); i++)
        if (strstr((const char *)out.data, wanted[i]) == NULL)
            fail_msg("missing %s in %s", wanted[i], (const char *)out.data);
    tern_buffer_free(&out);
    tern_scratch_free(scratch);
    world_rules_free(&compiled);
}

/* Every damaged word is refused or harmless (the address sanitizer watches in its build). */
static void corrupt_checks_stay_harmless(TERN_TEST_STATE)
{
    struct tern_config_rule rules[TERN_COUNT(kinds)];
    uint64_t limit = smallest_limit(rules, kinds, TERN_COUNT(kinds)), seed = 7;
    struct tern_config config = config_of(rules, kinds, TERN_COUNT(kinds), limit);
    struct tern_diagnostics diagnostics = {0};
    struct tern_reference *reference = NULL;
    struct tern_scratch *scratch = NULL;
    uint8_t *strings = malloc(TERN_REFERENCE_SCRATCH), *section;
    struct world_rules compiled;
    union world_facts items[16];
    unsigned refused = 0;

    assert_non_null(strings);
    assert_int_equal(world_compile(&world, &config, &compiled), 0);
    assert_int_equal(tern_scratch_new(&scratch), 0);
    assert_int_equal(
        tern_reference_new(&config, world.opened, WORLD_TABLES + 1, &diagnostics, &reference), 0);
    section = compiled.section;
    for (size_t at = 0; at + 4 <= compiled.compiled.rules.length; at += 4) {
        static const uint32_t patterns[] = {0, 1, UINT32_MAX, 0x80000000u, UINT32_MAX - 1};
        uint32_t before = tern_load_u32(section + at);
        struct tern_rules *opened = NULL;

        tern_store_u32(section + at, at % 3 ? patterns[tern_test_random(&seed) % 5]
                                            : (uint32_t)tern_test_random(&seed));
        if (world_open(&world, &compiled, section, compiled.compiled.rules.length, &opened, NULL) ==
            0) {
            struct tern_buffer out = {0};
            struct tern_verdict verdict;

            for (size_t i = 0; i < TERN_COUNT(items); i++) {
                const struct tern_facts *item = &items[i].head;

                tern_reference_sample(reference, at, i, strings, &items[i].head);
                tern_rules_decide(opened, scratch, &item, 1, &verdict);
            }
            tern_rules_explain(opened, scratch, &items[0].head, &out);
            tern_buffer_free(&out);
            tern_rules_close(opened);
        } else {
            refused++;
        }
        tern_store_u32(section + at, before);
    }
    assert_true(refused > 200);
    tern_diagnostics_free(&diagnostics);
    tern_reference_free(reference);
    tern_scratch_free(scratch);
    world_rules_free(&compiled);
    free(strings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_stay_the_same),
        cmocka_unit_test(what_costs_most_and_helps_least_goes),
        cmocka_unit_test(too_small_a_limit_is_an_error),
        cmocka_unit_test(explain_marks_what_is_residual),
        cmocka_unit_test(corrupt_checks_stay_harmless),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
