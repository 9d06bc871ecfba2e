/* Patterns: what is asked together, scanned when needed, shared between generations, damaged. */
#include "tests/unit/asked.h"

#include "shared/rules/rules.h"

static struct world world;

static int setup(TERN_TEST_STATE)
{
    world_make(&world, 50);
    return 0;
}

static int teardown(TERN_TEST_STATE)
{
    world_free(&world);
    return 0;
}

static uint32_t rule_for_path(struct asked *asked, const char *path)
{
    union world_facts facts = {.room = {0}};

    world_set_string(&facts, WORLD_PATH, path);
    return asked_rule(asked, &facts);
}

static void all_that_hits_counts(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("three", "path contains \"a\" and path contains \"b\" and path contains \"c\""),
        world_rule("two",
                   "path contains \"a\" and path contains \"b\" and not path contains \"x\""),
        world_rule("one", "path matches r\"^/[0-9]+$\" or path contains \"\\x00\""),
        world_rule("none", "exists(path) and not (path contains \"a\" or path contains \"b\")"),
    };
    struct asked asked;
    union world_facts facts = {.room = {0}};

    asked_make(&asked, &world, rules, TERN_COUNT(rules));
    assert_int_equal(rule_for_path(&asked, "cab"), 1);
    assert_int_equal(rule_for_path(&asked, "ab"), 2);
    assert_int_equal(rule_for_path(&asked, "abx"), 0);
    assert_int_equal(rule_for_path(&asked, "/12"), 3);
    assert_int_equal(rule_for_path(&asked, "/12x"), 4);
    assert_int_equal(rule_for_path(&asked, "a"), 0);
    assert_int_equal(rule_for_path(&asked, ""), 4);
    world_set_string(&facts, WORLD_PATH, "a");
    facts.head.values[WORLD_PATH].string.length = 2; /* with the NUL behind it */
    assert_int_equal(asked_rule(&asked, &facts), 3);
    tern_facts_clear(&facts.head);
    assert_int_equal(asked_rule(&asked, &facts), 0); /* absence satisfies no exists() */
    asked_free(&asked);
}

/* Alternatives of one field are one atom, however many: no expansion to conjunctions. */
static void alternatives_are_one_atom(TERN_TEST_STATE)
{
    struct tern_buffer when = {0};
    struct tern_config_rule rule;
    struct asked asked;

    for (unsigned i = 0; i < 500; i++)
        tern_buffer_printf(&when, "%spath contains \"<%u>\"", i > 0 ? " or " : "", i);
    tern_buffer_printf(&when, " or path matches $bots");
    tern_buffer_append(&when, "", 1);
    rule = world_rule("many", (const char *)when.data);
    asked_make(&asked, &world, &rule, 1);
    assert_int_equal(asked.compiled.compiled.conjunctions, 1);
    assert_int_equal(asked.compiled.compiled.patterns[0].expressions, 516);
    assert_int_equal(rule_for_path(&asked, "x<499>"), 1);
    assert_int_equal(rule_for_path(&asked, "my bot/2"), 1);
    assert_int_equal(rule_for_path(&asked, "x<500>"), 0);
    asked_free(&asked);
    tern_buffer_free(&when);
}

/* A value is scanned when a rule that is still in question needs it, and not before. */
static void scans_only_what_is_needed(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("first", "user == 1"),
        world_rule("agent", "user < 10 and agent contains \"bot\""),
        world_rule("path", "secure == true and path contains \"..\""),
    };
    struct asked asked;
    union world_facts facts = {.room = {0}};
    struct tern_scratch *scratch;

    asked_make(&asked, &world, rules, TERN_COUNT(rules));
    scratch = asked.scratch;
    world_set_string(&facts, WORLD_AGENT, "bot");
    world_set_string(&facts, WORLD_PATH, "..");
    facts.head.values[WORLD_USER].u64 = 1;
    tern_facts_set_present(&facts.head, WORLD_USER);
    assert_int_equal(asked_rule(&asked, &facts), 1);
    assert_int_equal(scratch->unscanned, 3); /* decided before either was needed */
    facts.head.values[WORLD_USER].u64 = 2;
    assert_int_equal(asked_rule(&asked, &facts), 2);
    assert_int_equal(scratch->unscanned, 2);
    facts.head.values[WORLD_USER].u64 = 20;
    assert_int_equal(asked_rule(&asked, &facts), 0);
    assert_int_equal(scratch->unscanned, 3); /* no rule is in question */
    facts.head.values[WORLD_SECURE].boolean = true;
    tern_facts_set_present(&facts.head, WORLD_SECURE);
    assert_int_equal(asked_rule(&asked, &facts), 3);
    assert_int_equal(scratch->unscanned, 1);
    assert_true(
        asked_explains(&asked, &facts,
                       "\"kind\":\"scan\",\"field\":\"agent\",\"outcome\":\"match\",\"hits\":1,"
                       "\"needed\":false}"));
    assert_true(
        asked_explains(&asked, &facts,
                       "\"kind\":\"scan\",\"field\":\"path\",\"outcome\":\"match\",\"hits\":1,"
                       "\"needed\":true}"));
    assert_true(
        asked_explains(&asked, &facts, "\"text\":\"path contains \\\"..\\\"\",\"true\":true}"));
    world_set_string(&facts, WORLD_PATH, "/");
    assert_true(
        asked_explains(&asked, &facts, "\"text\":\"path contains \\\"..\\\"\",\"true\":false}"));
    asked_free(&asked);
}

/* More fields than there are lazy bits: the rest is scanned at once, and the verdict is right. */
static void more_scans_than_lazy_bits(TERN_TEST_STATE)
{
    enum { FIELDS = 11 };
    struct tern_config_field fields[FIELDS] = {{.type = TERN_TYPE_NONE}};
    struct tern_config_rule rules[FIELDS];
    struct tern_config config = {.fields = fields,
                                 .field_count = FIELDS,
                                 .rules = rules,
                                 .rule_count = FIELDS,
                                 .limits.rules_bytes = 1 << 20,
                                 .default_action = TERN_ALLOW};
    uint8_t room[sizeof(struct tern_facts) + (FIELDS + 1) * sizeof(union tern_value)] = {0};
    struct tern_facts *facts = (struct tern_facts *)(void *)room;
    char names[FIELDS][8], texts[FIELDS][64];
    struct world small = {.fields = {{.type = TERN_TYPE_NONE}}};
    struct tern_scratch *scratch = NULL;
    struct world_rules compiled;

    for (unsigned i = 0; i < FIELDS; i++) {
        snprintf(names[i], sizeof names[i], "f%u", i);
        fields[i].name = (struct tern_text){.text = names[i], .length = strlen(names[i])};
        fields[i].type = TERN_TYPE_STRING;
        snprintf(texts[i], sizeof texts[i], "f%u contains \"%u\" and not f%u contains \"x\"", i, i,
                 (i + 1) % FIELDS);
        rules[i] = world_rule(names[i], texts[i]);
    }
    assert_int_equal(world_schema(&small, &config), 0);
    assert_int_equal(world_compile(&small, &config, &compiled), 0);
    assert_int_equal(compiled.rules->scan_count, FIELDS);
    assert_int_equal(tern_scratch_new(&scratch), 0);
    assert_int_equal(tern_scratch_prepare(scratch, compiled.rules), 0);
    for (unsigned i = 0; i < FIELDS; i++) {
        const struct tern_facts *item = facts;
        struct tern_verdict verdict;

        tern_facts_clear(facts);
        for (unsigned j = 0; j < FIELDS; j++) { /* the i-th field alone has its own number */
            facts->values[j + 1].string.bytes = (const uint8_t *)(i == j ? names[j] : "none");
            facts->values[j + 1].string.length = i == j ? (uint32_t)strlen(names[j]) : 4;
            tern_facts_set_present(facts, j + 1);
        }
        tern_rules_decide(compiled.rules, scratch, &item, 1, &verdict);
        assert_int_equal(verdict.rule, i + 1);
    }
    tern_scratch_free(scratch);
    world_rules_free(&compiled);
    free(small.schema);
}

/* A room remembers what values held; other values with the same place, length or beginning are told
 * apart, in any order, also when they stand at the same address. */
static void remembered_values_answer_the_same(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("seven", "path contains \"7\""),
        world_rule("many",
                   "path contains \"1\" and path contains \"2\" and path contains \"3\" and "
                   "path contains \"4\" and path contains \"5\" and path contains \"6\""),
        world_rule("not", "not path contains \"0\""),
    };
    struct asked asked;
    uint64_t seed = 17;
    char path[300] = "";

    asked_make(&asked, &world, rules, TERN_COUNT(rules));
    for (unsigned i = 0; i < 60000; i++) {
        uint64_t number = tern_test_random(&seed) % (i % 3 ? 40 : 20000);
        uint32_t expected;
        int length = snprintf(path, sizeof path, "%05llu%s", (unsigned long long)number,
                              number % 5 ? "" : "123456");

        if (number % 64 == 0) { /* longer than what is remembered */
            memset(path + length, 'x', 250);
            path[length + 250] = '\0';
        }
        expected = strchr(path, '7') != NULL   ? 1
                   : number % 5 == 0           ? 2
                   : strchr(path, '0') == NULL ? 3
                                               : 0;
        assert_int_equal(rule_for_path(&asked, path), expected);
    }
    asked_free(&asked);
}

struct earlier { /* what the running generation has */
    const struct tern_compiled *compiled;
    unsigned found;
};

static bool find_patterns(void *context, const uint8_t hash[16])
{
    struct earlier *earlier = context;

    for (unsigned i = 0; i < earlier->compiled->patterns_count; i++)
        if (memcmp(earlier->compiled->patterns[i].content_hash, hash, 16) == 0) {
            earlier->found++;
            return true;
        }
    return false;
}

/* Rules may change around their patterns: these are compiled once. */
static void unchanged_patterns_are_shared(TERN_TEST_STATE)
{
    struct tern_config_rule before[] = {
        world_rule("a", "agent matches $bots and user == 1"),
        world_rule("b", "agent contains \"x\" or agent matches \"[0-9]y\"")};
    struct tern_config_rule after[] = {
        world_rule("new", "user == 7"),
        world_rule("b", "not (agent matches \"[0-9]y\" or agent contains \"x\")"),
        world_rule("a", "user == 2 or agent matches $bots")};
    struct tern_config_rule other[] = {world_rule("a", "agent contains \"y\"")};
    struct tern_config config = world_config(&world, after, TERN_COUNT(after));
    struct tern_diagnostics diagnostics = {0};
    struct asked asked;
    struct earlier earlier = {.compiled = &asked.compiled.compiled};
    struct tern_compile_input input = {.config = &config,
                                       .schema = world.schema,
                                       .tables = world.opened,
                                       .table_hashes = (const uint8_t(*)[16])world.hashes,
                                       .find_patterns = find_patterns,
                                       .context = &earlier};
    struct tern_compiled second;

    asked_make(&asked, &world, before, TERN_COUNT(before));
    assert_int_equal(asked.compiled.compiled.patterns_count, 1);
    assert_int_equal(tern_compile(&input, &second, &diagnostics), 0);
    assert_int_equal(earlier.found, 1);
    assert_true(second.patterns[0].reused);
    assert_int_equal(second.patterns[0].bytes.length, 0);
    tern_compiled_free(&second);
    config = world_config(&world, other, 1);
    assert_int_equal(tern_compile(&input, &second, &diagnostics), 0);
    assert_int_equal(earlier.found, 1);
    assert_true(second.patterns[0].bytes.length > 0);
    tern_compiled_free(&second);
    tern_diagnostics_free(&diagnostics);
    asked_free(&asked);
}

/* Every damaged word of a patterns section is found: what hyperscan is given is what it made. */
static void damaged_patterns_are_refused(TERN_TEST_STATE)
{
    struct tern_config_rule rule =
        world_rule("r", "path contains \"ab\" or path matches r\"x[0-9]+$\"");
    uint8_t *section;
    struct asked asked;
    size_t length;
    uint64_t seed = 11;

    asked_make(&asked, &world, &rule, 1);
    section = asked.compiled.patterns[0];
    length = asked.compiled.compiled.patterns[0].bytes.length;
    for (size_t at = 0; at + 4 <= length; at += 4) {
        uint32_t before = tern_load_u32(section + at);
        struct tern_rules *opened = NULL;
        struct tern_error error = {0};
        int status;

        tern_store_u32(section + at, before ^ (1u << (tern_test_random(&seed) & 31)));
        status = world_open(&world, &asked.compiled, asked.compiled.section,
                            asked.compiled.compiled.rules.length, &opened, &error);
        if (status != TERN_ECORRUPT)
            fail_msg("word %zu: %d", at / 4, status);
        assert_non_null(strstr(error.message, "patterns: "));
        tern_store_u32(section + at, before);
    }
    asked_free(&asked);
}

/* A database of another hyperscan, or for another processor, is told from a damaged one. */
static void foreign_patterns_say_so(TERN_TEST_STATE)
{
    struct tern_config_rule rule = world_rule("r", "path contains \"ab\"");
    struct tern_patterns_header *header;
    struct tern_rules *opened = NULL;
    struct tern_error error = {0};
    uint8_t *database;
    struct asked asked;

    asked_make(&asked, &world, &rule, 1);
    header = asked.compiled.patterns[0];
    database = (uint8_t *)header + header->database_offset;
    tern_store_u32(database + 4, tern_load_u32(database + 4) + (1u << 8)); /* its version */
    header->checksum = tern_patterns_checksum(header, header->length);
    assert_int_equal(world_open(&world, &asked.compiled, asked.compiled.section,
                                asked.compiled.compiled.rules.length, &opened, &error),
                     TERN_EABI);
    assert_non_null(strstr(error.message, "another version of hyperscan"));
    assert_non_null(strstr(error.message, "apply the configuration again"));
    asked_free(&asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_hits_counts),
        cmocka_unit_test(alternatives_are_one_atom),
        cmocka_unit_test(scans_only_what_is_needed),
        cmocka_unit_test(more_scans_than_lazy_bits),
        cmocka_unit_test(remembered_values_answer_the_same),
        cmocka_unit_test(unchanged_patterns_are_shared),
        cmocka_unit_test(damaged_patterns_are_refused),
        cmocka_unit_test(foreign_patterns_say_so),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
