#include "tests/unit/unit.h"

#include "dataplane/timing.h"

static struct tern_histogram stages[TERN_STAGE_COUNT];
static struct tern_timing timing;

static int setup(TERN_TEST_STATE)
{
    memset(stages, 0, sizeof stages);
    memset(&timing, 0, sizeof timing);
    return 0;
}

static struct tern_histogram_sum sum_of(enum tern_stage stage)
{
    struct tern_histogram_sum sum = {0};

    tern_histogram_collect(&sum, &stages[stage]);
    return sum;
}

static uint64_t parts_ns(void)
{
    return sum_of(TERN_STAGE_recv).sum_ns + sum_of(TERN_STAGE_decode).sum_ns +
           sum_of(TERN_STAGE_tier1).sum_ns + sum_of(TERN_STAGE_reply).sum_ns;
}

/* Turns of random vectors and batches: for each the stages make up the whole. */
static void stages_add_up_to_the_total(TERN_TEST_STATE)
{
    uint64_t seed = 11, now_ns = 1000000, requests = 0, wanted_ns = 0;

    for (unsigned turn = 0; turn < 300; turn++) {
        unsigned vectors = tern_test_random(&seed) % 60;
        uint64_t from_ns = now_ns, total_ns = 0, decided = 0, started[64], counts[64];

        for (unsigned i = 0; i < vectors; i++) {
            /* 600 ns: a batch's parts fit between two decisions */
            uint64_t begun_ns = now_ns += 600 + tern_test_random(&seed) % 3000;
            uint64_t decoded_ns = now_ns += tern_test_random(&seed) % 3000;
            uint64_t decided_ns = now_ns += tern_test_random(&seed) % 3000;

            if (tern_test_random(&seed) % 8 == 0) {
                uint64_t arrived_ns = from_ns - tern_test_random(&seed) % 1000;

                tern_timing_add_batch(&timing, stages, arrived_ns, decided_ns, 300, 200, 100);
                started[i] = arrived_ns;
                counts[i] = 1;
            } else {
                started[i] = from_ns;
                counts[i] = 1 + tern_test_random(&seed) % 32;
                tern_timing_add(&timing, stages, from_ns, begun_ns, decoded_ns, decided_ns,
                                counts[i]);
            }
            decided += counts[i];
        }
        now_ns += 5000;
        for (unsigned i = 0; i < vectors; i++)
            total_ns += (now_ns - started[i]) * counts[i];
        tern_timing_close(&timing, stages, from_ns, now_ns);
        assert_false(tern_timing_is_open(&timing));
        requests += decided;
        wanted_ns += total_ns;
    }
    assert_int_equal(sum_of(TERN_STAGE_total).sum_ns, wanted_ns);
    assert_int_equal(parts_ns(), wanted_ns);
    for (unsigned stage = 0; stage < TERN_STAGE_COUNT; stage++)
        assert_int_equal(sum_of(stage).total, stage == TERN_STAGE_queue ||
                                                      stage == TERN_STAGE_tier2 ||
                                                      stage >= TERN_STAGE_other
                                                  ? 0
                                                  : requests);
}

/* More vectors than are kept apart: sums still agree but for the rounding of a mean. */
static void a_turn_of_very_many_vectors_keeps_its_sums(TERN_TEST_STATE)
{
    uint64_t seed = 12, now_ns = 1000, from_ns = 1000, requests = 0;

    for (unsigned i = 0; i < 10 * TERN_TIMING_VECTORS; i++) {
        uint64_t begun_ns = now_ns += 10 + tern_test_random(&seed) % 100;
        uint64_t decoded_ns = now_ns += 10 + tern_test_random(&seed) % 100;
        uint64_t decided_ns = now_ns += 10 + tern_test_random(&seed) % 100;
        uint64_t count = 1 + tern_test_random(&seed) % 32;

        tern_timing_add(&timing, stages, from_ns, begun_ns, decoded_ns, decided_ns, count);
        requests += count;
    }
    tern_timing_close(&timing, stages, from_ns, now_ns + 1000);
    assert_int_equal(sum_of(TERN_STAGE_total).sum_ns, (now_ns + 1000 - from_ns) * requests);
    assert_in_range(parts_ns(), sum_of(TERN_STAGE_total).sum_ns - requests * 1000,
                    sum_of(TERN_STAGE_total).sum_ns + requests * 1000);
    assert_int_equal(sum_of(TERN_STAGE_reply).total, requests);
}

static void other_requests_are_apart(TERN_TEST_STATE)
{
    timing.others = 3;
    assert_true(tern_timing_is_open(&timing));
    tern_timing_close(&timing, stages, 1000, 1500);
    assert_int_equal(sum_of(TERN_STAGE_other).total, 3);
    assert_int_equal(sum_of(TERN_STAGE_other).sum_ns, 1500);
    assert_int_equal(sum_of(TERN_STAGE_total).total, 0);
    assert_false(tern_timing_is_open(&timing));
}

static void nothing_is_timed_when_off(TERN_TEST_STATE)
{
    timing.off = true;
    tern_timing_add(&timing, stages, 1, 2, 3, 4, 5);
    timing.others = 1;
    tern_timing_close(&timing, stages, 1, 9);
    for (unsigned stage = 0; stage < TERN_STAGE_COUNT; stage++)
        assert_int_equal(sum_of(stage).total, 0);
    assert_false(tern_timing_is_open(&timing));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(stages_add_up_to_the_total, setup),
        cmocka_unit_test_setup(a_turn_of_very_many_vectors_keeps_its_sums, setup),
        cmocka_unit_test_setup(other_requests_are_apart, setup),
        cmocka_unit_test_setup(nothing_is_timed_when_off, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
