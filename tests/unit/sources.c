/* When sources are due, by a clock that the test turns. */
#include "tests/unit/unit.h"

#include "controlplane/sources.h"

#define SECOND 1000000ull
#define TABLES 4

static struct tern_apply_table tables[TABLES];
static struct tern_sources *sources;

/* Tables t0 … t3 that refresh every 1, 10, 100 s, and never; loaded when it was `loaded_at_us`. */
static struct tern_config *make_config(void)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    static const char text[] = "tern: 1\nfields: { ip: ip }\ntables:\n"
                               "  t0: { type: prefix_set, source: a, refresh: 1s }\n"
                               "  t1: { type: prefix_set, source: b, refresh: 10s }\n"
                               "  t2: { type: prefix_set, source: /c, refresh: 100s }\n"
                               "  t3: { type: prefix_set, source: d }\n";

    assert_int_equal(
        tern_config_read_kept("/etc/tern/x.yaml", text, strlen(text), &config, &diagnostics), 0);
    tern_diagnostics_free(&diagnostics);
    return config;
}

static int set_up(TERN_TEST_STATE)
{
    memset(tables, 0, sizeof tables);
    for (unsigned i = 0; i < TABLES; i++) {
        snprintf(tables[i].name, sizeof tables[i].name, "t%u", i);
        tables[i].rows = 10 + i;
        tables[i].loaded_at_us = 77;
        tables[i].looked_at = true;
    }
    return tern_sources_new(4711, &sources);
}

static int tear_down(TERN_TEST_STATE)
{
    tern_sources_free(sources);
    return 0;
}

static void serve(uint64_t now_us)
{
    assert_int_equal(tern_sources_serve(sources, make_config(), tables, TABLES, now_us), 0);
}

static struct tern_source_state state_of(unsigned table)
{
    struct tern_sources_copy copy = {0};
    struct tern_source_state found;

    assert_int_equal(tern_sources_copy(sources, &copy), 0);
    assert_int_equal(copy.count, TABLES);
    found = copy.items[table];
    found.path = NULL;
    tern_sources_copy_free(&copy);
    return found;
}

/* Over a long time each is looked at as often as it says: never later than `refresh` after the last
 * look, at most a tenth early, and never twice for one time. */
static void each_is_due_in_its_time(TERN_TEST_STATE)
{
    static const uint64_t refresh_us[] = {SECOND, 10 * SECOND, 100 * SECOND};
    uint64_t now_us = 5 * SECOND, last_us[TABLES] = {now_us, now_us, now_us};
    unsigned looks[TABLES] = {0};
    bool due[TABLES];

    serve(now_us);
    assert_int_equal(tern_sources_due(sources, now_us, due, TABLES), 0);
    for (unsigned step = 0; step < 2000; step++) {
        now_us = tern_sources_next(sources);
        assert_true(tern_sources_due(sources, now_us, due, TABLES) >= 1);
        assert_false(due[3]);
        tables[3].looked_at = false;
        for (unsigned i = 0; i < TERN_COUNT(refresh_us); i++) {
            tables[i].looked_at = due[i];
            if (!due[i])
                continue;
            looks[i]++;
            assert_true(now_us - last_us[i] <= refresh_us[i]);
            assert_true(now_us - last_us[i] >= refresh_us[i] - refresh_us[i] / 10);
            last_us[i] = now_us;
        }
        assert_false(tern_sources_note(sources, tables, TABLES, now_us));
        assert_int_equal(tern_sources_due(sources, now_us, due, TABLES), 0);
    }
    assert_true(looks[0] > 1500 && looks[1] > 150 && looks[2] > 15);
}

/* A refresh that takes an hour, or a machine that slept through one: one look, not thousands. */
static void what_was_missed_is_not_made_up_for(TERN_TEST_STATE)
{
    uint64_t now_us = 5 * SECOND;
    bool due[TABLES];

    serve(now_us);
    now_us += 3600 * SECOND;
    assert_int_equal(tern_sources_due(sources, now_us, due, TABLES), 3);
    now_us += 3600 * SECOND; /* it took as long */
    for (unsigned i = 0; i < TABLES; i++)
        tables[i].looked_at = due[i];
    tern_sources_note(sources, tables, TABLES, now_us);
    assert_int_equal(tern_sources_due(sources, now_us, due, TABLES), 0);
    assert_true(tern_sources_next(sources) > now_us);
    assert_true(tern_sources_next(sources) <= now_us + SECOND);
}

static void failures_are_counted_and_news_once(TERN_TEST_STATE)
{
    static const bool first[TABLES] = {true};
    struct tern_source_state now;

    serve(5 * SECOND);
    assert_true(tern_sources_fail(sources, first, "no such file", 6 * SECOND));
    assert_false(tern_sources_fail(sources, first, "no such file", 7 * SECOND));
    assert_true(tern_sources_fail(sources, first, "cut off", 8 * SECOND));
    now = state_of(0);
    assert_int_equal(now.failures, 3);
    assert_true(now.failed_at_us != 0);
    assert_string_equal(now.error, "cut off");
    assert_int_equal(now.confirmed_us, 5 * SECOND);
    assert_true(now.due_us > 8 * SECOND && now.due_us <= 9 * SECOND);
    assert_int_equal(state_of(1).failures, 0);

    /* It stays a failure while others are published, and ends with the next good look. */
    tables[0].looked_at = false;
    serve(9 * SECOND);
    assert_int_equal(state_of(0).failures, 3);
    tables[0].looked_at = true;
    serve(10 * SECOND);
    now = state_of(0);
    assert_int_equal(now.failures, 0);
    assert_int_equal(now.failed_at_us, 0);
    assert_string_equal(now.error, "");
    assert_int_equal(now.confirmed_us, 10 * SECOND);

    /* A table that was kept: published, and its source failed all the same. */
    tables[1].kept = true;
    strcpy(tables[1].error, "empty");
    serve(11 * SECOND);
    assert_int_equal(state_of(1).failures, 1);
    assert_string_equal(state_of(1).error, "empty");
}

static void held_ones_are_not_due_until_they_are_let_go(TERN_TEST_STATE)
{
    const struct tern_sources_hold hold = {.since_us = 1, .generation = 3}, none = {0};
    bool due[TABLES];

    serve(5 * SECOND);
    tern_sources_set_hold(sources, &hold, 6 * SECOND);
    assert_int_equal(tern_sources_next(sources), UINT64_MAX);
    assert_int_equal(tern_sources_due(sources, 1000 * SECOND, due, TABLES), 0);
    serve(1000 * SECOND); /* an apply does not let them go */
    assert_int_equal(tern_sources_next(sources), UINT64_MAX);
    tern_sources_set_hold(sources, &none, 1001 * SECOND);
    assert_int_equal(tern_sources_due(sources, 1001 * SECOND, due, TABLES), 3);
}

/* Found at a start, loaded by a wall clock that says anything: ages and timers stay sane. */
static void a_wall_clock_that_jumped_moves_no_timer(TERN_TEST_STATE)
{
    static const uint64_t loaded[] = {0, 1, UINT64_MAX, UINT64_MAX / 2};
    uint64_t now_us = 50 * SECOND;

    for (unsigned i = 0; i < TABLES; i++) {
        tables[i].looked_at = false;
        tables[i].loaded_at_us = loaded[i];
    }
    serve(now_us);
    for (unsigned i = 0; i < TABLES; i++)
        assert_true(state_of(i).confirmed_us <= now_us);
    assert_true(state_of(0).due_us <= now_us + SECOND);
    assert_true(state_of(2).due_us <= now_us + 100 * SECOND);
    assert_int_equal(state_of(3).due_us, UINT64_MAX);
}

static void paths_are_those_of_the_configuration(TERN_TEST_STATE)
{
    struct tern_sources_copy copy = {0};

    serve(SECOND);
    assert_int_equal(tern_sources_copy(sources, &copy), 0);
    assert_string_equal(copy.items[0].path, "/etc/tern/a");
    assert_string_equal(copy.items[2].path, "/c");
    tern_sources_copy_free(&copy);

    assert_int_equal(tern_sources_serve(sources, NULL, tables, TABLES, SECOND), 0);
    assert_null(tern_sources_config(sources));
    assert_int_equal(tern_sources_next(sources), UINT64_MAX);
    assert_int_equal(tern_sources_copy(sources, &copy), 0);
    assert_null(copy.items[0].path);
    tern_sources_copy_free(&copy);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_is_due_in_its_time),
        TEST(what_was_missed_is_not_made_up_for),
        TEST(failures_are_counted_and_news_once),
        TEST(held_ones_are_not_due_until_they_are_let_go),
        TEST(a_wall_clock_that_jumped_moves_no_timer),
        TEST(paths_are_those_of_the_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
