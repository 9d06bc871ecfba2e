/* What a request resembles: votes of neighbours, at once after each change, searched when needed.
 */
#include "tests/unit/asked.h"

#include "shared/rules/rules.h"

#include <math.h>

static struct world world;

/* All collections are emptied: a test puts what it needs. */
static int setup(TERN_TEST_STATE)
{
    world_make(&world, 16);
    for (unsigned id = 1; id <= WORLD_MASS; id++)
        for (unsigned i = 0; i < WORLD_VECTORS; i++)
            world_vector_remove(&world, (enum world_collection)id, i);
    return 0;
}

static int teardown(TERN_TEST_STATE)
{
    world_free(&world);
    return 0;
}

/* The vector of +1s with the first `turned` signs turned: cosine with none turned 1 - turned / 8.
 */
static void turn(unsigned turned, float values[WORLD_DIM])
{
    for (unsigned i = 0; i < WORLD_DIM; i++)
        values[i] = i < turned ? -1 : 1;
}

static void put(enum world_collection collection, unsigned index, unsigned turned,
                const char *label, uint64_t tier)
{
    struct world_vector vector = {.is_live = true};

    turn(turned, vector.values);
    if (label != NULL)
        vector.payload[0] = (struct tern_payload_value){
            .type = TERN_TYPE_STRING, .string = {(const uint8_t *)label, (uint32_t)strlen(label)}};
    vector.payload[1] = (struct tern_payload_value){.type = TERN_TYPE_U32, .u64 = tier};
    vector.payload[2] = (struct tern_payload_value){.type = TERN_TYPE_I64, .i64 = -(int64_t)tier};
    vector.payload[3] = (struct tern_payload_value){.type = TERN_TYPE_BOOL, .u64 = tier & 1};
    world_vector_put(&world, collection, index, &vector);
}

static void set_shape(union world_facts *facts, const float *values, uint32_t count)
{
    facts->head.values[WORLD_SHAPE].string.bytes = (const uint8_t *)values;
    facts->head.values[WORLD_SHAPE].string.length = count * (uint32_t)sizeof *values;
    tern_facts_set_present(&facts->head, WORLD_SHAPE);
}

/* Whether the one expression holds for the vector of +1s. */
static bool holds(const char *when)
{
    struct tern_config_rule rule = world_rule("rule", when);
    union world_facts facts = {.room = {0}};
    float values[WORLD_DIM];
    struct asked asked;
    uint32_t found;

    turn(0, values);
    set_shape(&facts, values, WORLD_DIM);
    asked_make(&asked, &world, &rule, 1);
    found = asked_rule(&asked, &facts);
    asked_free(&asked);
    return found == 1;
}

static void similarity_weighs_votes(TERN_TEST_STATE)
{
    put(WORLD_DOCS, 0, 1, "fraud", 1); /* 0.875 */
    put(WORLD_DOCS, 1, 5, "fine", 2);  /* 0.375 */
    put(WORLD_DOCS, 2, 5, "fine", 2);
    assert_true(holds("similar(docs, shape, k: 10).label == \"fraud\"")); /* against 0.75 */
    put(WORLD_DOCS, 3, 6, "fine", 3);
    assert_true(holds("similar(docs, shape, k: 10).label == \"fine\"")); /* 1.0 */
    assert_true(holds("similar(docs, shape, k: 1).label == \"fraud\""));
    assert_true(holds("similar(docs, shape, k: 10, min: 0.8).label in {\"abuse\", \"fraud\"}"));
    assert_true(holds("similar(docs, shape, k: 10).label starts_with \"fi\""));
    assert_true(holds("similar(docs, shape, k: 10).label ends_with \"ine\""));
    assert_false(holds("similar(docs, shape, k: 10).label ends_with \"afine\""));
    assert_true(holds("similar(docs, shape, k: 10).label != \"fraud\""));
    assert_false(holds("similar(docs, shape, k: 10).label != \"fine\""));
    assert_true(holds("similar(docs, shape, k: 10).tier == 1")); /* 0.875, 0.75, 0.25 */
    assert_true(holds("similar(docs, shape, k: 10).age < 0"));
    assert_true(holds("similar(docs, shape, k: 10).vip == true")); /* 1.125 against 0.75 */
    assert_true(holds("similar(docs, shape, k: 10, min: 0.3).tier in {0, 1..1}"));
    assert_true(holds("similar(docs, shape, k: 10).score == 0.875"));
    assert_true(holds("similar(docs, shape, k: 10).score > 0.8749"));
    assert_false(holds("similar(docs, shape, k: 10).score > 0.875"));
}

static void nearness_breaks_ties(TERN_TEST_STATE)
{
    put(WORLD_DOCS, 0, 2, "a", 0); /* 0.75 */
    put(WORLD_DOCS, 1, 4, "b", 0); /* 0.5 */
    put(WORLD_DOCS, 2, 6, "b", 0); /* 0.25 */
    assert_true(holds("similar(docs, shape, k: 3).label == \"a\""));
    put(WORLD_DOCS, 3, 7, "b", 0); /* 0.125 */
    assert_true(holds("similar(docs, shape, k: 4).label == \"b\""));
}

/* A neighbour without a label has no vote, nor has one that is not similar at all; both are there.
 */
static void not_every_neighbour_votes(TERN_TEST_STATE)
{
    assert_false(holds("exists(similar(docs, shape, k: 3))"));
    assert_false(holds("similar(docs, shape, k: 3).score >= -1"));
    assert_false(holds("similar(docs, shape, k: 3).label != \"a\""));
    assert_true(holds("not similar(docs, shape, k: 3).label == \"a\""));
    put(WORLD_DOCS, 0, 0, NULL, 1);
    assert_true(holds("exists(similar(docs, shape, k: 3, min: 1))"));
    assert_false(holds("exists(similar(docs, shape, k: 3).label)"));
    assert_true(holds("exists(similar(docs, shape, k: 3).tier)"));
    assert_true(holds("exists(similar(docs, shape, k: 3).score)"));
    put(WORLD_DOCS, 1, 8, "across", 1);    /* 0 */
    put(WORLD_DOCS, 2, 16, "opposite", 1); /* -1 */
    assert_false(holds("exists(similar(docs, shape, k: 3).label)"));
    assert_false(holds("exists(similar(docs, shape, k: 1).label)"));
    put(WORLD_DOCS, 3, 7, "near", 1);
    assert_true(holds("similar(docs, shape, k: 4).label == \"near\""));
    assert_false(holds("exists(similar(docs, shape, k: 4, min: 0.13).label)"));
}

/* In l2 collections similarity is 1 / (1 + distance); in dot collections the product. */
static void similarity_of_other_metrics(TERN_TEST_STATE)
{
    put(WORLD_NEAR, 0, 1, "a", 0); /* distance 2 */
    put(WORLD_NEAR, 1, 4, "b", 0); /* distance 4 */
    put(WORLD_NEAR, 2, 4, "b", 0);
    assert_true(holds("similar(near, shape, k: 3).label == \"b\"")); /* 2/5 against 1/3 */
    assert_true(holds("similar(near, shape, k: 3, min: 0.3).label == \"a\""));
    assert_true(holds("similar(near, shape, k: 3).score in {0.3333..0.3334}"));
    put(WORLD_MASS, 0, 1, "a", 0); /* 14 */
    put(WORLD_MASS, 1, 5, "b", 0); /* 6 */
    assert_true(holds("similar(mass, shape, k: 3).score == 14"));
    assert_true(holds("similar(mass, shape, k: 3, min: 6.5).label == \"a\""));
    assert_false(holds("exists(similar(mass, shape, k: 3, min: 14.5))"));
}

/* The very next decision after a change rests on it. */
static void changes_count_at_once(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("fraud", "similar(docs, shape, k: 3).label == \"fraud\""),
        world_rule("fine", "similar(docs, shape, k: 3).label == \"fine\""),
    };
    union world_facts facts = {.room = {0}};
    float values[WORLD_DIM];
    struct asked asked;

    asked_make(&asked, &world, rules, TERN_COUNT(rules));
    turn(0, values);
    set_shape(&facts, values, WORLD_DIM);
    assert_int_equal(asked_rule(&asked, &facts), 0);
    for (unsigned i = 0; i < 200; i++) {
        put(WORLD_DOCS, 0, i % 4, i % 2 ? "fraud" : "fine", 0);
        assert_int_equal(asked_rule(&asked, &facts), i % 2 ? 1 : 2);
        if (i % 16 == 3)
            tern_graph_link(world.graphs[WORLD_DOCS]);
        if (i % 16 == 7) {
            world_vector_remove(&world, WORLD_DOCS, 0);
            assert_int_equal(asked_rule(&asked, &facts), 0);
        }
        if (i % 16 == 9)
            while (tern_graph_work(world.graphs[WORLD_DOCS], 1000))
                ;
    }
    asked_free(&asked);
}

static void what_cannot_be_compared_has_no_neighbours(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("some", "exists(similar(docs, shape, k: 3))"),
        world_rule("none", "not similar(docs, shape, k: 3).label == \"a\""),
    };
    union world_facts facts = {.room = {0}};
    float values[WORLD_DIM];
    struct asked asked;

    put(WORLD_DOCS, 0, 0, "a", 0);
    asked_make(&asked, &world, rules, TERN_COUNT(rules));
    assert_int_equal(asked_rule(&asked, &facts), 2); /* no field */
    turn(0, values);
    set_shape(&facts, values, WORLD_DIM);
    assert_int_equal(asked_rule(&asked, &facts), 1);
    set_shape(&facts, values, WORLD_DIM - 1);
    assert_int_equal(asked_rule(&asked, &facts), 2);
    set_shape(&facts, values, WORLD_DIM);
    values[3] = NAN;
    assert_int_equal(asked_rule(&asked, &facts), 2);
    values[3] = INFINITY;
    assert_int_equal(asked_rule(&asked, &facts), 2);
    asked_free(&asked);
    assert_false(holds("exists(similar(unserved, shape, k: 3))"));
    assert_true(holds("not similar(unserved, shape, k: 3).label == \"a\""));
}

/* One search answers all that is asked of one collection, after cheaper ways to decide. */
static void searches_last_and_once(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("early", "user == 1"),
        world_rule("both", "similar(docs, shape, k: 2, min: 0.5).label == \"a\" and path contains "
                           "\"..\""),
        world_rule("wide", "user == 3 and similar(docs, shape, k: 7).tier == 2"),
    };
    union world_facts facts = {.room = {0}};
    float values[WORLD_DIM];
    struct asked asked;

    put(WORLD_DOCS, 0, 1, "a", 2);
    put(WORLD_DOCS, 1, 6, "b", 2);
    asked_make(&asked, &world, rules, TERN_COUNT(rules));
    turn(0, values);
    set_shape(&facts, values, WORLD_DIM);
    facts.head.values[WORLD_PATH].string.bytes = (const uint8_t *)"/..";
    facts.head.values[WORLD_PATH].string.length = 2;
    tern_facts_set_present(&facts.head, WORLD_PATH);
    facts.head.values[WORLD_USER].u64 = 1;
    tern_facts_set_present(&facts.head, WORLD_USER);
    assert_int_equal(asked_rule(&asked, &facts), 1);
    assert_int_equal(asked.scratch->unscanned, 3); /* neither scanned nor searched */
    facts.head.values[WORLD_USER].u64 = 2;
    assert_int_equal(asked_rule(&asked, &facts), 0);
    assert_int_equal(asked.scratch->unscanned, 2); /* the scan came first and was enough */
    assert_true(asked_explains(&asked, &facts,
                               "\"kind\":\"similar\",\"field\":\"shape\",\"collection\":"
                               "\"docs\",\"served\":true,\"found\":2,\"score\":0.875"));
    assert_true(
        asked_explains(&asked, &facts, "\"outcome\":\"match\",\"hits\":2,\"needed\":false}"));
    facts.head.values[WORLD_PATH].string.length = 3;
    assert_int_equal(asked_rule(&asked, &facts), 2);
    assert_int_equal(asked.scratch->unscanned, 0);
    assert_true(
        asked_explains(&asked, &facts,
                       "{\"k\":2,\"min\":0.5,\"found\":1,\"column\":\"label\",\"value\":\"a\","
                       "\"share\":1.000}"));
    assert_true(asked_explains(
        &asked, &facts, "{\"k\":7,\"found\":2,\"column\":\"tier\",\"value\":2,\"share\":1.000}"));
    assert_true(asked_explains(&asked, &facts, "\"search_ns\":"));
    facts.head.values[WORLD_PATH].string.length = 1;
    facts.head.values[WORLD_USER].u64 = 3;
    assert_int_equal(asked_rule(&asked, &facts), 3);
    tern_facts_clear(&facts.head);
    assert_true(
        asked_explains(&asked, &facts, "\"served\":true,\"outcome\":\"missing\",\"hits\":0"));
    asked_free(&asked);
}

/* More scans than there are lazy bits: the searches keep theirs. */
static void searches_stay_lazy(TERN_TEST_STATE)
{
    enum { FIELDS = 11, STRINGS = FIELDS - 1 };
    struct tern_config_field fields[FIELDS] = {{.type = TERN_TYPE_NONE}};
    struct tern_config_rule rules[FIELDS];
    struct tern_config config = {.fields = fields,
                                 .field_count = FIELDS,
                                 .collections = world.collections,
                                 .collection_count = WORLD_COLLECTIONS,
                                 .rules = rules,
                                 .rule_count = FIELDS,
                                 .limits.rules_bytes = 1 << 20,
                                 .default_action = TERN_ALLOW};
    uint8_t room[sizeof(struct tern_facts) + (FIELDS + 1) * sizeof(union tern_value)] = {0};
    struct tern_facts *facts = (struct tern_facts *)(void *)room;
    const struct tern_facts *item = facts;
    char names[FIELDS][8], texts[FIELDS][128];
    struct tern_schema *schema = world.schema;
    struct tern_scratch *scratch = NULL;
    struct world_rules compiled;
    struct tern_verdict verdict;
    float values[WORLD_DIM];
    unsigned lazy = 0;

    put(WORLD_DOCS, 0, 1, "a", 2);
    for (unsigned i = 0; i < FIELDS; i++) {
        snprintf(names[i], sizeof names[i], "f%u", i);
        fields[i].name = (struct tern_text){.text = names[i], .length = strlen(names[i])};
        fields[i].type = i < STRINGS ? TERN_TYPE_STRING : TERN_TYPE_VECTOR;
        fields[i].dim = i < STRINGS ? 0 : WORLD_DIM;
        snprintf(texts[i], sizeof texts[i], "f%u contains \"%u\"", i, i);
        if (i == STRINGS)
            snprintf(texts[i], sizeof texts[i],
                     "similar(docs, f%u, k: 3).label == \"a\" and f0 contains \"x\"", i);
        rules[i] = world_rule(names[i], texts[i]);
    }
    assert_int_equal(world_schema(&world, &config), 0);
    assert_int_equal(world_compile(&world, &config, &compiled), 0);
    assert_int_equal(tern_scratch_new(&scratch), 0);
    assert_int_equal(tern_scratch_prepare(scratch, compiled.rules), 0);
    while (lazy < TERN_LAZY_MAX && compiled.rules->scans[lazy].similar == NULL)
        lazy++;
    assert_int_equal(lazy, TERN_LAZY_MAX - 1); /* behind all lazy scans */
    turn(0, values);
    for (unsigned i = 1; i <= FIELDS; i++) {
        facts->values[i].string.bytes = (const uint8_t *)"-";
        facts->values[i].string.length = 1;
        tern_facts_set_present(facts, i);
    }
    facts->values[FIELDS].string.bytes = (const uint8_t *)values;
    facts->values[FIELDS].string.length = sizeof values;
    tern_rules_decide(compiled.rules, scratch, &item, 1, &verdict);
    assert_int_equal(verdict.rule, 0);
    assert_true(scratch->unscanned >> lazy & 1);
    facts->values[1].string.bytes = (const uint8_t *)"x";
    tern_rules_decide(compiled.rules, scratch, &item, 1, &verdict);
    assert_int_equal(verdict.rule, FIELDS);
    assert_false(scratch->unscanned >> lazy & 1);
    tern_scratch_free(scratch);
    world_rules_free(&compiled);
    free(schema);
}

static void absence_can_be_asked(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("skip", "not similar(docs, shape, k: 3).label == \"a\""),
        world_rule("rest", "not exists(similar(docs, shape, k: 3))"),
    };
    union world_facts facts = {.room = {0}};
    float values[WORLD_DIM];
    struct asked asked;

    rules[0].missing_skip = true;
    asked_make(&asked, &world, rules, TERN_COUNT(rules));
    turn(0, values);
    set_shape(&facts, values, WORLD_DIM);
    assert_int_equal(asked_rule(&asked, &facts), 2);
    put(WORLD_DOCS, 0, 1, "b", 2);
    assert_int_equal(asked_rule(&asked, &facts), 1);
    put(WORLD_DOCS, 0, 1, "a", 2);
    assert_int_equal(asked_rule(&asked, &facts), 0);
    asked_free(&asked);
}

/* A vote of hundreds, all as similar, each with a value of its own but two. */
static void many_vote(TERN_TEST_STATE)
{
    struct world_vector vector = {.is_live = true};
    struct tern_graph_value payload[5];
    struct tern_error error;

    turn(1, vector.values);
    for (unsigned i = 0; i < 900; i++) {
        memset(payload, 0, sizeof payload);
        payload[4].present = true;
        payload[4].u64 = i == 700 ? 5 : i * 1000003ull;
        if (i == 20)
            payload[4].u64 = 5;
        assert_int_equal(tern_graph_put(world.graphs[WORLD_DOCS], 1000000 + i, 100000 + i,
                                        vector.values, payload, &error),
                         0);
    }
    assert_true(holds("similar(docs, shape, k: 1000).big == 5"));
    assert_false(holds("similar(docs, shape, k: 700).big == 5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(similarity_weighs_votes, setup, teardown),
        cmocka_unit_test_setup_teardown(nearness_breaks_ties, setup, teardown),
        cmocka_unit_test_setup_teardown(not_every_neighbour_votes, setup, teardown),
        cmocka_unit_test_setup_teardown(similarity_of_other_metrics, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_count_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_compared_has_no_neighbours, setup, teardown),
        cmocka_unit_test_setup_teardown(searches_last_and_once, setup, teardown),
        cmocka_unit_test_setup_teardown(searches_stay_lazy, setup, teardown),
        cmocka_unit_test_setup_teardown(absence_can_be_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(many_vote, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
