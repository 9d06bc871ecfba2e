#include "tests/unit/unit.h"

#include "dataplane/wheel.h"

#include <limits.h>

#define TICK TERN_WHEEL_TICK_NS

static struct tern_wheel wheel;

static struct tern_timer *expire(uint64_t now_ns)
{
    unsigned looks = UINT_MAX;

    return tern_wheel_expire(&wheel, now_ns, &looks);
}

static void fires_within_a_tick_and_not_before(TERN_TEST_STATE)
{
    struct tern_timer timer = {0};
    uint64_t start = 12345 * (uint64_t)TICK + 17;

    for (uint64_t delay = 0; delay < 40 * TICK; delay += TICK / 3) {
        tern_wheel_init(&wheel, start);
        tern_wheel_set(&wheel, &timer, start + delay);
        assert_null(expire(start + delay - (delay > 0)));
        assert_ptr_equal(expire(start + delay + TICK), &timer);
        assert_false(tern_timer_is_set(&timer));
        assert_null(expire(start + delay + TICK));
    }
}

static void a_cancelled_timer_is_silent(TERN_TEST_STATE)
{
    struct tern_timer timers[3] = {0};

    tern_wheel_init(&wheel, 0);
    for (unsigned i = 0; i < 3; i++)
        tern_wheel_set(&wheel, &timers[i], 5 * TICK);
    tern_wheel_cancel(&wheel, &timers[1]);
    tern_wheel_cancel(&wheel, &timers[1]);
    assert_ptr_equal(expire(7 * TICK), &timers[0]);
    assert_ptr_equal(expire(7 * TICK), &timers[2]);
    assert_null(expire(7 * TICK));
    assert_int_equal(tern_wheel_wait_ns(&wheel, 7 * TICK), UINT64_MAX);
}

static void goes_round_for_what_is_beyond_its_span(TERN_TEST_STATE)
{
    struct tern_timer timer = {0};
    uint64_t at = 3 * (uint64_t)TERN_WHEEL_SLOTS * TICK + 11 * TICK;
    uint64_t now = 0;

    tern_wheel_init(&wheel, now);
    tern_wheel_set(&wheel, &timer, at);
    for (;;) {
        uint64_t wait = tern_wheel_wait_ns(&wheel, now);

        assert_true(wait <= TERN_WHEEL_SLOTS * (uint64_t)TICK);
        now += wait;
        if (expire(now) == &timer)
            break;
        assert_true(now < at + TICK);
    }
    assert_in_range(now, at, at + TICK);
}

static void sooner_moves_only_forward(TERN_TEST_STATE)
{
    struct tern_timer timer = {0};

    tern_wheel_init(&wheel, 0);
    tern_wheel_set_sooner(&wheel, &timer, 100 * TICK);
    tern_wheel_set_sooner(&wheel, &timer, 200 * TICK);
    assert_int_equal(timer.at_tick, 101);
    tern_wheel_set_sooner(&wheel, &timer, 50 * TICK);
    assert_int_equal(timer.at_tick, 51);
}

/* However many share a slot, a call looks at so many only; none is lost, late or early for it. */
static void a_turn_looks_at_so_many(TERN_TEST_STATE)
{
    enum { COUNT = 1000, LOOKS = 64 };
    static struct tern_timer due[COUNT], far[COUNT];
    uint64_t round = (TERN_WHEEL_SLOTS - 1) * (uint64_t)TICK;
    unsigned fired = 0, calls = 0;

    tern_wheel_init(&wheel, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        tern_wheel_set(&wheel, &due[i], round - TICK);
        tern_wheel_set(&wheel, &far[i], 3 * round); /* the same slot: looked at and set again */
    }
    do {
        unsigned looks = LOOKS;

        while (tern_wheel_expire(&wheel, round, &looks) != NULL)
            fired++;
        assert_true(fired <= LOOKS * ++calls);
        assert_int_equal(looks == 0, tern_wheel_wait_ns(&wheel, round) == 0);
    } while (tern_wheel_wait_ns(&wheel, round) == 0);
    assert_int_equal(fired, COUNT);
    assert_in_range(calls, 2 * COUNT / LOOKS, 2 * COUNT / LOOKS + 2);
    assert_null(expire(3 * round - 1));
    for (fired = 0; expire(3 * round + TICK) != NULL; fired++)
        ;
    assert_int_equal(fired, COUNT);
}

/* Against the obvious: a list of deadlines, looked through at every step. */
static void agrees_with_a_list(TERN_TEST_STATE)
{
    enum { COUNT = 300 };
    static struct tern_timer timers[COUNT];
    uint64_t due[COUNT] = {0}; /* 0: not set */
    uint64_t seed = 20, now = 999 * (uint64_t)TICK;

    tern_wheel_init(&wheel, now);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned)(tern_test_random(&seed) % COUNT);
        struct tern_timer *fired;

        switch (tern_test_random(&seed) % 4) {
        case 0:
        case 1:
            due[i] = now + tern_test_random(&seed) % (3 * (uint64_t)TERN_WHEEL_SLOTS * TICK);
            tern_wheel_set(&wheel, &timers[i], due[i]);
            break;
        case 2:
            due[i] = 0;
            tern_wheel_cancel(&wheel, &timers[i]);
            break;
        default:
            now += tern_test_random(&seed) % (20 * (uint64_t)TICK);
            while ((fired = expire(now)) != NULL) {
                size_t k = (size_t)(fired - timers);

                assert_true(due[k] != 0 && due[k] <= now);
                due[k] = 0;
            }
            for (unsigned k = 0; k < COUNT; k++)
                assert_true(due[k] == 0 || due[k] + TICK > now);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_within_a_tick_and_not_before),
        cmocka_unit_test(a_cancelled_timer_is_silent),
        cmocka_unit_test(goes_round_for_what_is_beyond_its_span),
        cmocka_unit_test(sooner_moves_only_forward),
        cmocka_unit_test(a_turn_looks_at_so_many),
        cmocka_unit_test(agrees_with_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
