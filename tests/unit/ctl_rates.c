#include "tests/unit/unit.h"

#include "controlplane/ctl/rates.h"

/* Two looks at up to two seats, filled in by each test. */
static struct tern_seats before, after;
static struct tern_seat_sums sums[4];
static struct tern_seat_rule rules[4][4];

static int setup(TERN_TEST_STATE)
{
    memset(&before, 0, sizeof before);
    memset(&after, 0, sizeof after);
    memset(sums, 0, sizeof sums);
    memset(rules, 0, sizeof rules);
    before.at_ns = 1000000000;
    after.at_ns = 3000000000;
    return 0;
}

static struct tern_seat_copy *add_seat(struct tern_seats *seats, unsigned storage, unsigned seat,
                                       uint32_t pid, uint64_t started_at_us)
{
    struct tern_seat_copy *copy = &seats->items[seats->count++];

    *copy = (struct tern_seat_copy){.seat = seat,
                                    .pid = pid,
                                    .started_at_us = started_at_us,
                                    .loop_count = 1,
                                    .sums = &sums[storage],
                                    .rules = rules[storage]};
    return copy;
}

static void add_rule(struct tern_seat_copy *seat, const char *id, uint8_t kind, uint64_t hits)
{
    struct tern_seat_rule *rule = &seat->rules[seat->rule_count++];

    snprintf(rule->id, sizeof rule->id, "%s", id);
    rule->kind = kind;
    rule->hits = hits;
}

static struct tern_rates *rates_of(const struct tern_seats *earlier)
{
    struct tern_rates *rates = NULL;

    assert_int_equal(tern_rates_between(earlier, &after, &rates), 0);
    return rates;
}

static const struct tern_rates_rule *rule_of(const struct tern_rates *rates, const char *id,
                                             uint8_t kind)
{
    for (unsigned i = 0; i < rates->rule_count; i++)
        if (strcmp(rates->rules[i].id, id) == 0 && rates->rules[i].kind == kind)
            return &rates->rules[i];
    return NULL;
}

static void a_seat_counts_from_look_to_look(TERN_TEST_STATE)
{
    struct tern_rates *rates;

    add_seat(&before, 0, 3, 77, 5)->sums->decisions = 1000;
    add_seat(&after, 1, 3, 77, 5)->sums->decisions = 1500;
    sums[0].stages[TERN_STAGE_total].counts[100] = 4;
    sums[1].stages[TERN_STAGE_total].counts[100] = 9;
    sums[0].stages[TERN_STAGE_total].sum_ns = 400;
    sums[1].stages[TERN_STAGE_total].sum_ns = 1000;
    sums[1].stages[TERN_STAGE_recv].sum_ns = 150;
    sums[1].stages[TERN_STAGE_reply].sum_ns = 450;
    rates = rates_of(&before);
    assert_true(rates->seconds == 2.0);
    assert_int_equal(rates->sums.decisions, 500);
    assert_true(tern_rates_per_s(rates, rates->sums.decisions) == 250.0);
    assert_int_equal(rates->sums.stages[TERN_STAGE_total].total, 5);
    assert_int_equal(rates->sums.stages[TERN_STAGE_total].sum_ns, 600);
    assert_true(tern_rates_share(&rates->sums, TERN_STAGE_recv) == 0.25);
    assert_true(tern_rates_covered(&rates->sums) == 1.0);
    assert_int_equal(rates->started, 0);
    assert_int_equal(rates->ended, 0);
    tern_rates_free(rates);

    rates = rates_of(NULL); /* since the start */
    assert_int_equal(rates->sums.decisions, 1500);
    assert_true(tern_rates_per_s(rates, 7) == 0.0);
    tern_rates_free(rates);
}

static void a_restarted_seat_counts_from_zero(TERN_TEST_STATE)
{
    struct tern_rates *rates;

    add_seat(&before, 0, 0, 77, 5)->sums->decisions = 1000000;
    add_seat(&before, 1, 1, 78, 6)->sums->decisions = 10;
    add_seat(&after, 2, 0, 79, 900)->sums->decisions = 40; /* another process in the same seat */
    add_seat(&after, 3, 1, 78, 6)->sums->decisions = 30;
    after.items[0].loops[0] =
        (struct tern_seat_loop){.decisions = 40, .usage_at_ns = 9, .cpu_ns = 9};
    after.items[1].loops[0] = (struct tern_seat_loop){.decisions = 30};
    add_rule(&before.items[0], "a", TERN_RULE_SLOT_LIVE, 500);
    add_rule(&before.items[1], "a", TERN_RULE_SLOT_LIVE, 5);
    add_rule(&after.items[0], "a", TERN_RULE_SLOT_LIVE, 20);
    add_rule(&after.items[1], "a", TERN_RULE_SLOT_LIVE, 15);
    rates = rates_of(&before);
    assert_int_equal(rates->sums.decisions, 40 + 20);
    assert_int_equal(rates->started, 1);
    assert_int_equal(rates->ended, 1);
    assert_int_equal(rates->loops[0].decisions, 40);
    assert_true(rates->loops[0].busy < 0); /* one note says nothing */
    assert_int_equal(rule_of(rates, "a", TERN_RULE_SLOT_LIVE)->hits, 20 + 10);
    assert_int_equal(rule_of(rates, "a", TERN_RULE_SLOT_LIVE)->before, 5);
    tern_rates_free(rates);

    /* the same pid again, started later: still another process */
    after.items[0].pid = 77;
    rates = rates_of(&before);
    assert_int_equal(rates->sums.decisions, 40 + 20);
    tern_rates_free(rates);
}

/* A copy is not of one instant: a counter that seems to shrink is no huge rate. */
static void nothing_goes_backwards(TERN_TEST_STATE)
{
    struct tern_rates *rates;

    add_seat(&before, 0, 0, 77, 5)->sums->decisions = 1000;
    add_seat(&after, 1, 0, 77, 5)->sums->decisions = 999;
    sums[0].stages[TERN_STAGE_recv].counts[5] = 2;
    after.at_ns = before.at_ns - 1;
    rates = rates_of(&before);
    assert_int_equal(rates->sums.decisions, 0);
    assert_int_equal(rates->sums.stages[TERN_STAGE_recv].total, 0);
    assert_true(rates->seconds == 0);
    assert_true(tern_rates_per_s(rates, 5) == 0);
    tern_rates_free(rates);
}

static void a_loop_is_busy_with_what_it_does_not_spin(TERN_TEST_STATE)
{
    struct tern_rates *rates;

    add_seat(&before, 0, 0, 1, 1)->loops[0] = (struct tern_seat_loop){
        .usage_at_ns = 1000, .cpu_ns = 500, .spin_ns = 100, .generation = 3};
    add_seat(&after, 1, 0, 1, 1)->loops[0] = (struct tern_seat_loop){
        .usage_at_ns = 2000, .cpu_ns = 1300, .spin_ns = 300, .generation = 4};
    rates = rates_of(&before);
    assert_int_equal(rates->loop_count, 1);
    assert_int_equal(rates->loops[0].generation, 4);
    assert_true(rates->loops[0].spin > 0.199 && rates->loops[0].spin < 0.201);
    assert_true(rates->loops[0].busy > 0.599 && rates->loops[0].busy < 0.601);
    tern_rates_free(rates);

    /* spun while others had the CPU: spin is never more than what was used */
    after.items[0].loops[0].spin_ns = 100 + 950;
    rates = rates_of(&before);
    assert_true(rates->loops[0].busy == 0);
    assert_true(rates->loops[0].spin > 0.799 && rates->loops[0].spin < 0.801);
    tern_rates_free(rates);
}

static void rules_are_joined_and_ordered(TERN_TEST_STATE)
{
    struct tern_seat_copy *left = add_seat(&after, 2, 0, 1, 1);
    struct tern_seat_copy *right = add_seat(&after, 3, 1, 2, 2);
    struct tern_rates *rates;

    add_rule(left, "(others)", TERN_RULE_SLOT_NONE, 0);
    add_rule(left, "rare", TERN_RULE_SLOT_LIVE, 1);
    add_rule(left, "common", TERN_RULE_SLOT_LIVE, 50);
    add_rule(left, "common", TERN_RULE_SLOT_SHADOW, 7);
    add_rule(right, "(others)", TERN_RULE_SLOT_NONE, 3);
    add_rule(right, "rare", TERN_RULE_SLOT_LIVE, 1);
    rates = rates_of(NULL);
    assert_int_equal(rates->rule_count, 4); /* an empty slot of others is not shown */
    assert_string_equal(rates->rules[0].id, "common");
    assert_int_equal(rates->rules[0].hits, 50);
    assert_string_equal(rates->rules[1].id, "common");
    assert_int_equal(rates->rules[1].kind, TERN_RULE_SLOT_SHADOW);
    assert_string_equal(rates->rules[2].id, "(others)");
    assert_string_equal(rates->rules[3].id, "rare");
    assert_int_equal(rates->rules[3].hits, 2);
    tern_rates_free(rates);
}

static void an_empty_board_is_no_trouble(TERN_TEST_STATE)
{
    struct tern_rates *rates = rates_of(&before);

    assert_int_equal(rates->rule_count, 0);
    assert_int_equal(rates->loop_count, 0);
    assert_true(tern_rates_covered(&rates->sums) == 0);
    tern_rates_free(rates);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        T(a_seat_counts_from_look_to_look), T(a_restarted_seat_counts_from_zero),
        T(nothing_goes_backwards),          T(a_loop_is_busy_with_what_it_does_not_spin),
        T(rules_are_joined_and_ordered),    T(an_empty_board_is_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
