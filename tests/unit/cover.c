/* Rules that are never reached, found when they are checked. tests/reference/compare.c asks random
 * rule sets whether what is said is true; here is what must be found, and what must not be said. */
#include "tests/unit/unit.h"

#include "controlplane/compile/compile.h"
#include "shared/clock.h"
#include "tests/reference/world.h"

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

/* The warnings about rules that are never reached; the first of them is copied to `said`. */
static unsigned unreached(struct tern_config_rule *rules, unsigned count, char said[256])
{
    struct tern_config config = world_config(&world, rules, count);
    struct tern_diagnostics diagnostics = {0};
    unsigned found = 0;

    assert_int_equal(tern_compile_check(&config, &diagnostics), 0);
    said[0] = '\0';
    for (size_t i = 0; i < diagnostics.count; i++)
        if (strstr(diagnostics.items[i].message, "never reached") != NULL && found++ == 0)
            snprintf(said, 256, "%s", diagnostics.items[i].message);
    tern_diagnostics_free(&diagnostics);
    return found;
}

/* The second of two rules: is it said to be never reached? */
static bool hides(const char *first, const char *second)
{
    struct tern_config_rule rules[] = {world_rule("first", first), world_rule("second", second)};
    char said[256];
    unsigned found = unreached(rules, 2, said);

    assert_true(found <= 1);
    if (found == 1 && (strncmp(said, "rule 'second'", 13) != 0 || strstr(said, "'first'") == NULL))
        fail_msg("%s", said);
    return found == 1;
}

static void what_an_earlier_rule_matches_as_well(TERN_TEST_STATE)
{
    static const char *const hidden[][2] = {
        {"user == 5", "user == 5"},
        {"user > 5", "user > 7"},
        {"user > 5", "user in {8..9, 20}"},
        {"user != 5", "user > 5"},
        {"ip in {10.0.0.0/8}", "ip in {10.1.0.0/16, 10.2.3.4}"},
        {"ip in {10.0.0.0/8} or ip in {192.168.0.0/16}", "ip == 192.168.3.4"},
        {"path starts_with \"/a\"", "path starts_with \"/ab\""},
        {"path starts_with \"/a\"", "path == \"/a/b\" and user == 3"},
        {"path ends_with \".php\"", "path ends_with \"x.php\" and path starts_with \"/\""},
        {"exists(user)", "user == 1"},
        {"user == 1 or path == \"/x\"", "path == \"/x\" and user == 2"},
        {"user == 1 or path == \"/x\"", "path == \"/x\" or user == 1"},
        {"ip in $bad_nets", "ip in $bad_nets and user == 1"},
        {"not user == 5", "user == 6"},
        {"not user == 5", "not exists(user)"},
        {"asn.country == \"DE\"", "asn.country == \"DE\" and asn.number == 5"},
        {"asn.country == \"DE\" or asn.number == 5", "asn.number == 5 and user == 1"},
        {"user == 1 or not user == 1", "path == \"/anything\""},
    };

    for (unsigned i = 0; i < TERN_COUNT(hidden); i++)
        if (!hides(hidden[i][0], hidden[i][1]))
            fail_msg("'%s' is not seen to hide '%s'", hidden[i][0], hidden[i][1]);
}

static void what_it_does_not(TERN_TEST_STATE)
{
    static const char *const reached[][2] = {
        {"user == 5", "user == 6"},
        {"user > 7", "user > 5"},
        {"ip in {10.1.0.0/16}", "ip in {10.0.0.0/8}"},
        {"path starts_with \"/ab\"", "path starts_with \"/a\""},
        {"path == \"/a\" and user == 3", "path == \"/a\""},
        {"user == 1", "path == \"/x\""},
        {"user == 1", "user == 1 or path == \"/x\""},
        {"ip in $bad_nets and user == 1", "ip in $bad_nets"},
        {"not user == 5", "user == 5"},
        {"exists(user)", "not user == 1"},
        {"asn.country == \"DE\" and asn.number == 5", "asn.country == \"DE\""},
        {"peer == 10.0.0.1", "ip == 10.0.0.1"},
    };

    for (unsigned i = 0; i < TERN_COUNT(reached); i++)
        if (hides(reached[i][0], reached[i][1]))
            fail_msg("'%s' does not hide '%s'", reached[i][0], reached[i][1]);
}

static void only_rules_that_decide_hide(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {world_rule("first", "user > 1"),
                                       world_rule("second", "user > 2")};
    char said[256];

    assert_int_equal(unreached(rules, 2, said), 1);
    rules[0].then = TERN_THEN_ADD;
    assert_int_equal(unreached(rules, 2, said), 0);
    rules[0].then = TERN_THEN_ACTION;
    rules[0].mode = TERN_RULE_SHADOW;
    assert_int_equal(unreached(rules, 2, said), 0);
    rules[0].mode = TERN_RULE_OFF;
    assert_int_equal(unreached(rules, 2, said), 0);
    rules[0].mode = TERN_RULE_LIVE;
    rules[1].then = TERN_THEN_ADD; /* would add, but is not reached */
    assert_int_equal(unreached(rules, 2, said), 1);
    rules[1].mode = TERN_RULE_SHADOW;
    assert_int_equal(unreached(rules, 2, said), 1);
    rules[1].mode = TERN_RULE_OFF; /* is meant not to be reached */
    assert_int_equal(unreached(rules, 2, said), 0);
}

static void several_rules_hide_together(TERN_TEST_STATE)
{
    struct tern_config_rule rules[] = {
        world_rule("a", "user == 1"), world_rule("b", "user == 2"),
        world_rule("c", "user == 1 or path == \"/x\""),
        world_rule("d", "path == \"/x\" or (user == 2 and secure == true)")};
    char said[256];

    assert_int_equal(unreached(rules, 4, said), 1);
    assert_non_null(strstr(said, "rule 'd'"));
    assert_non_null(strstr(said, "and others decide before it"));
}

/* As many rules as there may be, of which none or all hide others: in bounded time. */
static void very_many_rules_take_bounded_time(TERN_TEST_STATE)
{
    static const char *const forms[] = {
        "user == %u and path == \"/%u\"",         /* nothing in common */
        "user > %u and path starts_with \"/%u\"", /* each implies those before it, in part */
        "ip in {10.0.0.0/8} and user != %u and path != \"/%u\"", /* each nearly any other */
    };
    const unsigned count = 65536;
    struct tern_config_rule *rules = calloc(count, sizeof *rules);
    char(*texts)[80] = calloc(count, sizeof *texts);
    char(*ids)[16] = calloc(count, sizeof *ids);
    char said[256];

    assert_true(rules != NULL && texts != NULL && ids != NULL);
    for (unsigned form = 0; form < TERN_COUNT(forms); form++) {
        uint64_t started = tern_clock_now_ns();

        for (unsigned i = 0; i < count; i++) {
            snprintf(ids[i], sizeof ids[i], "r%u", i);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(texts[i], sizeof texts[i], forms[form], i, i);
#pragma GCC diagnostic pop
            rules[i] = world_rule(ids[i], texts[i]);
        }
        rules[count - 1] = world_rule("last", "user == 12345 and path == \"/12345\"");
        assert_true(unreached(rules, count, said) >= (form < 2));
        if (form == 0)
            assert_non_null(strstr(said, "rule 'last'"));
        print_message("%s: checked in %.2f s\n", forms[form], tern_clock_ms_since(started) / 1000);
    }
    free(rules);
    free(texts);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_earlier_rule_matches_as_well),
        cmocka_unit_test(what_it_does_not),
        cmocka_unit_test(only_rules_that_decide_hide),
        cmocka_unit_test(several_rules_hide_together),
        cmocka_unit_test(very_many_rules_take_bounded_time),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
