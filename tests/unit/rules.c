/* Compiled rules: warnings, shared classes, determinism, explain, corrupt sections. */
#include "tests/unit/unit.h"

#include "shared/rules/rules.h"
#include "tests/reference/world.h"

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

static struct tern_verdict decide(const struct world_rules *compiled,
                                  const union world_facts *facts)
{
    struct tern_verdict verdict;
    struct tern_scratch *scratch = NULL;
    const struct tern_facts *item = &facts->head;

    assert_int_equal(tern_scratch_new(&scratch), 0);
    assert_int_equal(tern_scratch_prepare(scratch, compiled->rules), 0);
    tern_rules_decide(compiled->rules, scratch, &item, 1, &verdict);
    tern_scratch_free(scratch);
    return verdict;
}

/* Exactly those texts, in order, as warnings of tern_compile_check. */
static void warns(const char *when, bool skip, const char *const *texts, size_t count)
{
    struct tern_config_rule rule = world_rule("r", when);
    struct tern_config config;
    struct tern_diagnostics diagnostics = {0};
    size_t seen = 0;

    rule.missing_skip = skip;
    config = world_config(&world, &rule, 1);
    assert_int_equal(tern_compile_check(&config, &diagnostics), 0);
    for (size_t i = 0; i < diagnostics.count; i++) {
        if (strstr(diagnostics.items[i].message, "no rule uses table") != NULL)
            continue;
        if (seen == count || strstr(diagnostics.items[i].message, texts[seen]) == NULL)
            fail_msg("%s: unexpected: %s", when, diagnostics.items[i].message);
        seen++;
    }
    if (seen != count)
        fail_msg("%s: %zu warnings of %zu", when, seen, count);
    tern_diagnostics_free(&diagnostics);
}

static void warns_of_what_cannot_be_meant(TERN_TEST_STATE)
{
    static const char *const never[] = {"can never match"};
    static const char *const path[] = {"is true when field 'path' is missing"};
    static const char *const record[] = {"is true when table 'asn' has no record"};

    warns("user < 5 and user > 7", false, never, 1);
    warns("user < 0", false, never, 1);
    warns("path == \"a\" and path starts_with \"b\"", false, never, 1);
    warns("ip in {10.0.0.0/8} and ip == 11.0.0.1", false, never, 1);
    warns("not exists(user) and user == 1", false, never, 1);
    warns("not path == \"a\"", false, path, 1);
    warns("not path == \"a\"", true, NULL, 0);
    warns("exists(path) and not path == \"a\"", false, NULL, 0);
    warns("path starts_with \"/\" and not path ends_with \"x\"", false, NULL, 0);
    warns("path != \"a\"", false, NULL, 0);
    warns("ip in $bad_nets and not asn.country == \"DE\"", false, record, 1);
    warns("exists(asn) and not asn.country == \"DE\"", false, NULL, 0);
    warns("asn.number == 1 and not asn.country == \"DE\"", false, NULL, 0);
    warns("not exists(path)", false, NULL, 0);
}

static void warns_of_unused_tables(TERN_TEST_STATE)
{
    struct tern_config_rule rule = world_rule("r", "ip in $bad_nets");
    struct tern_config config = world_config(&world, &rule, 1);
    struct tern_diagnostics diagnostics = {0};

    assert_int_equal(tern_compile_check(&config, &diagnostics), 0);
    assert_int_equal(diagnostics.count, WORLD_TABLES - 1);
    tern_diagnostics_free(&diagnostics);
}

static void verdicts_say_why(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("off", "exists(path)"),
        world_rule("points", "path ends_with \"x\""),
        world_rule("either", "path == \"ax\" or user == 3"),
        world_rule("escalated", "path == \"e\""),
        world_rule("denied", "path == \"dx\""),
        world_rule("plain", "path == \"px\""),
    };
    struct tern_config_threshold thresholds[] = {{.at = 4, .action = TERN_DENY},
                                                 {.at = 2, .action = TERN_CHALLENGE}};
    struct tern_config config = world_config(&world, rules, TERN_COUNT(rules));
    struct world_rules compiled;
    union world_facts facts = {.room = {0}};
    struct tern_verdict verdict;

    rules[0].mode = TERN_RULE_OFF;
    rules[1].then = TERN_THEN_ADD;
    rules[1].score = 2.5f;
    rules[2].then = TERN_THEN_ADD;
    rules[2].score = 2;
    rules[3].then = TERN_THEN_ESCALATE;
    rules[3].action = TERN_UNDECIDED;
    rules[4].score = 9;
    config.thresholds = thresholds;
    config.threshold_count = 2;
    assert_int_equal(world_compile(&world, &config, &compiled), 0);

    world_set_string(&facts, WORLD_PATH, "nothing");
    verdict = decide(&compiled, &facts);
    assert_true(tern_verdict_equal(&verdict, &(struct tern_verdict){.action = TERN_ALLOW}));
    world_set_string(&facts, WORLD_PATH, "x"); /* one scoring rule: the lower threshold */
    verdict = decide(&compiled, &facts);
    assert_true(tern_verdict_equal(&verdict, &(struct tern_verdict){.action = TERN_CHALLENGE,
                                                                    .tier = 1,
                                                                    .cause = TERN_CAUSE_THRESHOLD,
                                                                    .score = 2.5f}));
    world_set_string(&facts, WORLD_PATH, "ax"); /* both; a rule of two conjunctions adds once */
    facts.head.values[WORLD_USER].u64 = 3;
    tern_facts_set_present(&facts.head, WORLD_USER);
    verdict = decide(&compiled, &facts);
    assert_true(tern_verdict_equal(&verdict, &(struct tern_verdict){.action = TERN_DENY,
                                                                    .tier = 1,
                                                                    .cause = TERN_CAUSE_THRESHOLD,
                                                                    .score = 4.5f}));
    tern_facts_clear(&facts.head);
    world_set_string(&facts, WORLD_PATH, "e");
    verdict = decide(&compiled, &facts);
    assert_true(tern_verdict_equal(
        &verdict, &(struct tern_verdict){.action = TERN_UNDECIDED,
                                         .tier = 1,
                                         .rule = 4,
                                         .flags = TERN_VERDICT_DEGRADED,
                                         .cause = TERN_CAUSE_ESCALATION_UNAVAILABLE}));
    world_set_string(&facts, WORLD_PATH, "dx"); /* its own score */
    verdict = decide(&compiled, &facts);
    assert_true(tern_verdict_equal(
        &verdict,
        &(struct tern_verdict){
            .action = TERN_DENY, .tier = 1, .rule = 5, .cause = TERN_CAUSE_RULE, .score = 9}));
    world_set_string(&facts, WORLD_PATH, "px"); /* none of its own: what was added before it */
    verdict = decide(&compiled, &facts);
    assert_true(tern_verdict_equal(
        &verdict,
        &(struct tern_verdict){
            .action = TERN_DENY, .tier = 1, .rule = 6, .cause = TERN_CAUSE_RULE, .score = 2.5f}));
    world_rules_free(&compiled);
}

/* Counted as far as the first live rule that decides, and of no weight otherwise. */
static void shadow_rules_only_count(TERN_TEST_STATE)
{
    enum { WOULD_DENY, WOULD_ADD, ADDS, OFF, ESCALATED, BEHIND, COUNT };
    struct tern_config_rule rules[COUNT] = {
        [WOULD_DENY] = world_rule("would-deny", "path == \"a\" or not user == 3"),
        [WOULD_ADD] = world_rule("would-add", "path starts_with \"a\""),
        [ADDS] = world_rule("adds", "path starts_with \"a\""),
        [OFF] = world_rule("off", "exists(path)"),
        [ESCALATED] = world_rule("escalated", "path == \"ab\""),
        [BEHIND] = world_rule("behind", "exists(path)"),
    };
    static const uint32_t slots[COUNT] = {3, 1, 4, 0, 5, 2};
    static const uint64_t expected[COUNT] = {3, 2, 2, 0, 1, 2};
    _Atomic uint64_t counters[COUNT] = {0};
    struct tern_config config = world_config(&world, rules, COUNT);
    struct tern_scratch *scratch = NULL;
    struct world_rules compiled;
    union world_facts facts = {.room = {0}};
    const struct tern_facts *item = &facts.head;
    struct tern_buffer out = {0};
    struct tern_verdict verdict;

    rules[WOULD_DENY].mode = rules[WOULD_ADD].mode = rules[BEHIND].mode = TERN_RULE_SHADOW;
    rules[OFF].mode = TERN_RULE_OFF;
    rules[WOULD_ADD].then = rules[ADDS].then = TERN_THEN_ADD;
    rules[WOULD_ADD].score = 100;
    rules[ADDS].score = 2;
    rules[ESCALATED].then = TERN_THEN_ESCALATE;
    rules[ESCALATED].action = TERN_CHALLENGE;
    assert_int_equal(world_compile(&world, &config, &compiled), 0);
    assert_int_equal(tern_scratch_new(&scratch), 0);
    tern_scratch_count_hits(scratch, slots, counters);

    world_set_string(&facts, WORLD_PATH, "a");
    tern_rules_decide(compiled.rules, scratch, &item, 1, &verdict);
    assert_true(
        tern_verdict_equal(&verdict, &(struct tern_verdict){.action = TERN_ALLOW, .score = 2}));
    world_set_string(&facts, WORLD_PATH, "ab");
    tern_rules_decide(compiled.rules, scratch, &item, 1, &verdict);
    assert_true(tern_verdict_equal(
        &verdict, &(struct tern_verdict){.action = TERN_CHALLENGE,
                                         .tier = 1,
                                         .rule = ESCALATED + 1,
                                         .flags = TERN_VERDICT_DEGRADED,
                                         .cause = TERN_CAUSE_ESCALATION_UNAVAILABLE,
                                         .score = 2}));
    world_set_string(&facts, WORLD_PATH, "b");
    tern_rules_decide(compiled.rules, scratch, &item, 1, &verdict);
    assert_true(tern_verdict_equal(&verdict, &(struct tern_verdict){.action = TERN_ALLOW}));
    /* explaining is no traffic, and nothing is counted once nobody wants to know */
    assert_int_equal(tern_rules_explain(compiled.rules, scratch, item, &out), 0);
    assert_int_equal(tern_buffer_append(&out, "", 1), 0);
    assert_non_null(strstr((const char *)out.data,
                           "\"name\":\"would-deny\",\"mode\":\"shadow\",\"then\":\"deny\""));
    tern_scratch_count_hits(scratch, NULL, NULL);
    tern_rules_decide(compiled.rules, scratch, &item, 1, &verdict);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(atomic_load(&counters[slots[i]]), expected[i]);
    tern_buffer_free(&out);
    tern_scratch_free(scratch);
    world_rules_free(&compiled);
}

static void decides_without_rules(TERN_TEST_STATE)
{
    struct tern_config config = world_config(&world, NULL, 0);
    struct world_rules compiled;
    union world_facts facts = {.room = {0}};
    struct tern_verdict verdict;

    config.default_action = TERN_CHALLENGE;
    assert_int_equal(world_compile(&world, &config, &compiled), 0);
    verdict = decide(&compiled, &facts);
    assert_int_equal(verdict.action, TERN_CHALLENGE);
    assert_int_equal(verdict.tier, 0);
    world_rules_free(&compiled);
}

/* Rules that need several blocks, many ups in one block, and long labels. */
static void decides_across_blocks(TERN_TEST_STATE)
{
    enum { COUNT = 3000 };
    struct tern_config_rule *rules = calloc(COUNT, sizeof *rules);
    char(*texts)[128] = calloc(COUNT, sizeof *texts);
    struct tern_config config = world_config(&world, rules, COUNT);
    struct world_rules compiled;

    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof texts[i],
                 "path starts_with \"/a/very/long/prefix/of/all/of/them/%u/\" and user == %u and "
                 "secure == true and delta > 0",
                 i, i);
        rules[i] = world_rule("r", texts[i]);
    }
    assert_int_equal(world_compile(&world, &config, &compiled), 0);
    for (unsigned i = 0; i < COUNT; i += 7) {
        union world_facts facts = {.room = {0}};
        struct tern_verdict verdict;
        char path[128];

        snprintf(path, sizeof path, "/a/very/long/prefix/of/all/of/them/%u/tail", i);
        world_set_string(&facts, WORLD_PATH, path);
        facts.head.values[WORLD_USER].u64 = i;
        facts.head.values[WORLD_SECURE].boolean = true;
        facts.head.values[WORLD_DELTA].i64 = 1;
        for (unsigned field = WORLD_USER; field <= WORLD_SECURE; field++)
            if (field != WORLD_RATIO)
                tern_facts_set_present(&facts.head, field);
        verdict = decide(&compiled, &facts);
        assert_int_equal(verdict.rule, i + 1);
        facts.head.values[WORLD_DELTA].i64 = 0;
        verdict = decide(&compiled, &facts);
        assert_int_equal(verdict.rule, 0);
    }
    world_rules_free(&compiled);
    free(texts);
    free(rules);
}

static void same_input_same_bytes(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("a", "asn.country == \"DE\" or users.trust > 0.5 and path starts_with \"/p\""),
        world_rule("b", "host ends_with \".com\" and not ip in {10.0.0.0/9, 2001:db8::/32}")};
    struct tern_config config = world_config(&world, rules, 2);
    struct world_rules first, second;

    assert_int_equal(world_compile(&world, &config, &first), 0);
    assert_int_equal(world_compile(&world, &config, &second), 0);
    assert_int_equal(first.compiled.rules.length, second.compiled.rules.length);
    assert_memory_equal(first.compiled.rules.data, second.compiled.rules.data,
                        first.compiled.rules.length);
    assert_int_equal(first.compiled.classes_count, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_memory_equal(first.compiled.classes[i].bytes.data,
                            second.compiled.classes[i].bytes.data,
                            first.compiled.classes[i].bytes.length);
    world_rules_free(&first);
    world_rules_free(&second);
}

struct earlier { /* a generation whose classes sections can be shared */
    const struct tern_compiled *compiled;
    unsigned found;
};

static bool find_classes(void *context, const uint8_t hash[16], const void **data, size_t *length)
{
    struct earlier *earlier = context;

    for (unsigned i = 0; i < earlier->compiled->classes_count; i++) {
        const struct tern_compiled_classes *classes = &earlier->compiled->classes[i];

        if (memcmp(classes->content_hash, hash, 16) != 0)
            continue;
        *data = classes->bytes.data;
        *length = classes->bytes.length;
        earlier->found++;
        return true;
    }
    return false;
}

static void unchanged_classes_are_shared(TERN_TEST_STATE)
{
    struct tern_config_rule before[] = {
        world_rule("a", "asn.country == \"DE\" and asn.number < 20"),
        world_rule("b", "asn.weight >= 1 or path == \"x\"")};
    struct tern_config_rule after[] = {
        world_rule("new", "path == \"y\""), world_rule("b", "path == \"x\" or asn.weight >= 1"),
        world_rule("c", "exists(asn) and user == 7"),
        world_rule("a", "asn.number < 20 and not asn.country == \"DE\"")};
    struct tern_config first_config = world_config(&world, before, 2);
    struct tern_config second_config = world_config(&world, after, 4);
    struct tern_diagnostics diagnostics = {0};
    struct world_rules first, fresh;
    struct earlier earlier = {.compiled = &first.compiled};
    struct tern_compile_input input = {.config = &second_config,
                                       .schema = world.schema,
                                       .tables = world.opened,
                                       .table_hashes = (const uint8_t(*)[16])world.hashes,
                                       .find_classes = find_classes,
                                       .context = &earlier};
    struct tern_compiled second;

    assert_int_equal(world_compile(&world, &first_config, &first), 0);
    assert_int_equal(world_compile(&world, &second_config, &fresh), 0);
    assert_int_equal(tern_compile(&input, &second, &diagnostics), 0);
    assert_int_equal(earlier.found, 1);
    assert_int_equal(second.classes_count, 1);
    assert_true(second.classes[0].reused);
    assert_int_equal(second.classes[0].bytes.length, 0);
    /* and the rules section is the one that a fresh build gives */
    assert_int_equal(second.rules.length, fresh.compiled.rules.length);
    assert_memory_equal(second.rules.data, fresh.compiled.rules.data, second.rules.length);
    assert_memory_equal(first.compiled.classes[0].bytes.data, fresh.compiled.classes[0].bytes.data,
                        first.compiled.classes[0].bytes.length);
    tern_compiled_free(&second);
    tern_diagnostics_free(&diagnostics);
    world_rules_free(&first);
    world_rules_free(&fresh);
}

static void explain_tells_the_truth(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("first", "path == \"/a\" and not user == 5"),
        world_rule("second", "path starts_with \"/\" and (users.vip == true or user < 10)")};
    struct tern_config config = world_config(&world, rules, 2);
    struct world_rules compiled;
    union world_facts facts = {.room = {0}};
    struct tern_buffer out = {0};
    struct tern_scratch *scratch = NULL;
    static const char *const wanted[] = {
        ("{\"verdict\":{\"action\":\"deny\",\"tier\":1,\"flags\":0,\"cause\":\"rule\",\"rule\":2,"
         "\"name\":\"second\",\"score\":0}"),
        "\"kind\":\"map\",\"field\":\"user\",\"table\":\"users\"",
        "\"rule\":1,\"name\":\"first\",\"mode\":\"live\",\"then\":\"deny\",\"score\":0,\"matched\":"
        "false",
        "\"text\":\"path == \\\"/a\\\"\",\"true\":true}",
        "\"text\":\"not user == 5\",\"true\":false}",
        "\"rule\":2,\"name\":\"second\",\"mode\":\"live\",\"then\":\"deny\",\"score\":0,"
        "\"matched\":true",
        "\"text\":\"user < 10\",\"true\":true}",
        "\"text\":\"users.vip == true\",\"true\":false}",
        "\"stages\":{\"classify_ns\":",
    };

    world_set_string(&facts, WORLD_PATH, "/a");
    facts.head.values[WORLD_USER].u64 = 5; /* odd: no record */
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

/* Without its classes or patterns sections, or with those of other rules. */
static void opens_only_with_its_parts(struct world_rules *compiled)
{
    size_t length = compiled->compiled.rules.length;
    struct tern_rules *opened = NULL;

    compiled->compiled.classes_count--;
    assert_int_equal(world_open(&world, compiled, compiled->section, length, &opened, NULL),
                     TERN_ECORRUPT);
    compiled->compiled.classes_count++;
    compiled->compiled.patterns_count--;
    assert_int_equal(world_open(&world, compiled, compiled->section, length, &opened, NULL),
                     TERN_ECORRUPT);
    compiled->compiled.patterns_count++;
    ((uint8_t *)compiled->classes[0])[8] ^= 1;
    assert_int_equal(world_open(&world, compiled, compiled->section, length, &opened, NULL),
                     TERN_ECORRUPT);
    ((uint8_t *)compiled->classes[0])[8] ^= 1;
    ((uint8_t *)compiled->patterns[0])[8] ^= 1;
    assert_int_equal(world_open(&world, compiled, compiled->section, length, &opened, NULL),
                     TERN_ECORRUPT);
}

/* Every single damaged word of a section is refused or harmless: opening and deciding stay inside
 * it (the address sanitizer watches in its build). */
static void corrupt_sections_stay_harmless(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("a", "asn.country == \"DE\" and asn.number < 20 or path starts_with \"/p1\""),
        world_rule("b",
                   "ip in {10.0.0.0/9, ::1} and not user in {3..9, 12} and host ends_with \"m\""),
        world_rule("c", "not path == \"x\" and secure == true"),
        world_rule("d",
                   "path contains \"1\" and path matches \"^/p\" and not agent contains \"b\""),
        world_rule("e", "agent matches $bots or agent contains \"zilla\""),
        world_rule("f", "similar(docs, shape, k: 9).label in {\"DE\", \"US\"} and "
                        "similar(docs, shape, k: 5, min: 0.5).tier > 0"),
        world_rule("g", "similar(near, shape, k: 3).score > 0.3 or "
                        "similar(near, shape, k: 20).label starts_with \"u\"")};
    struct tern_config config = world_config(&world, rules, TERN_COUNT(rules));
    struct world_rules compiled;
    struct tern_scratch *scratch = NULL;
    union world_facts facts = {.room = {0}};
    const struct tern_facts *item = &facts.head;
    struct tern_verdict verdict;
    float shape[WORLD_DIM];
    uint64_t seed = 5;
    size_t length;
    unsigned refused = 0;

    assert_int_equal(world_compile(&world, &config, &compiled), 0);
    assert_int_equal(tern_scratch_new(&scratch), 0);
    length = compiled.compiled.rules.length;
    world_set_string(&facts, WORLD_PATH, "/p1/x");
    world_set_string(&facts, WORLD_AGENT, "Mozilla/5.0");
    facts.head.values[WORLD_IP].address = tern_address_from_v4(0x0a000001);
    facts.head.values[WORLD_USER].u64 = 4;
    world_vector_values(7, shape);
    facts.head.values[WORLD_SHAPE].string.bytes = (const uint8_t *)shape;
    facts.head.values[WORLD_SHAPE].string.length = sizeof shape;
    tern_facts_set_present(&facts.head, WORLD_SHAPE);
    tern_facts_set_present(&facts.head, WORLD_IP);
    tern_facts_set_present(&facts.head, WORLD_USER);
    for (size_t at = 0; at + 4 <= length; at += 4) {
        static const uint32_t patterns[] = {0, 1, UINT32_MAX, 0x80000000u};
        uint8_t *section = compiled.section;
        uint32_t before = tern_load_u32(section + at);
        struct tern_rules *opened = NULL;

        tern_store_u32(section + at, at % 3 ? patterns[tern_test_random(&seed) % 4]
                                            : (uint32_t)tern_test_random(&seed));
        if (world_open(&world, &compiled, section, length, &opened, NULL) == 0) {
            struct tern_buffer out = {0};

            assert_int_equal(tern_scratch_prepare(scratch, opened), 0);
            tern_rules_decide(opened, scratch, &item, 1, &verdict);
            tern_rules_explain(opened, scratch, item, &out);
            tern_buffer_free(&out);
            tern_rules_close(opened);
        } else {
            refused++;
        }
        tern_store_u32(section + at, before);
    }
    assert_true(refused > 100);
    for (size_t cut = 0; cut < length; cut += 64) {
        struct tern_rules *opened = NULL;

        assert_int_not_equal(world_open(&world, &compiled, compiled.section, cut, &opened, NULL),
                             0);
    }
    opens_only_with_its_parts(&compiled);
    tern_scratch_free(scratch);
    world_rules_free(&compiled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warns_of_what_cannot_be_meant),
        cmocka_unit_test(warns_of_unused_tables),
        cmocka_unit_test(verdicts_say_why),
        cmocka_unit_test(shadow_rules_only_count),
        cmocka_unit_test(decides_without_rules),
        cmocka_unit_test(decides_across_blocks),
        cmocka_unit_test(same_input_same_bytes),
        cmocka_unit_test(unchanged_classes_are_shared),
        cmocka_unit_test(explain_tells_the_truth),
        cmocka_unit_test(corrupt_sections_stay_harmless),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
