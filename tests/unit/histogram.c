#include "tests/unit/unit.h"

#include "shared/histogram.h"

static void buckets_cover_every_value_within_a_sixteenth(TERN_TEST_STATE)
{
    uint64_t seed = 3;

    for (uint64_t ns = 0; ns < 100000; ns++) {
        uint64_t upper = tern_histogram_upper_ns(tern_histogram_bucket(ns));

        assert_true(upper >= ns);
        assert_true(upper - ns <= ns / 16);
    }
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t ns = tern_test_random(&seed) >> (24 + tern_test_random(&seed) % 40);
        uint64_t upper = tern_histogram_upper_ns(tern_histogram_bucket(ns));

        assert_true(upper >= ns && upper - ns <= ns / 16);
    }
    for (unsigned bucket = 1; bucket < TERN_HISTOGRAM_BUCKETS; bucket++) {
        uint64_t upper = tern_histogram_upper_ns(bucket);

        assert_int_equal(tern_histogram_bucket(upper), bucket);
        if (bucket < TERN_HISTOGRAM_BUCKETS - 1)
            assert_int_equal(tern_histogram_bucket(upper + 1), bucket + 1);
    }
    assert_int_equal(tern_histogram_bucket(UINT64_MAX), TERN_HISTOGRAM_BUCKETS - 1);
}

static void quantiles_match_a_sorted_list(TERN_TEST_STATE)
{
    static struct tern_histogram histogram;
    struct tern_histogram_sum sum = {0};

    assert_int_equal(tern_histogram_quantile(&sum, 0.5), 0);
    for (uint64_t ns = 1; ns <= 1000; ns++)
        tern_histogram_add(&histogram, ns * 1000, 2);
    tern_histogram_collect(&sum, &histogram);
    assert_int_equal(sum.total, 2000);
    assert_int_equal(sum.sum_ns, 2ull * 1000 * 1001 / 2 * 1000);
    for (double fraction = 0; fraction < 1; fraction += 0.01) {
        double exact = 1000.0 * (1 + (double)(uint64_t)(fraction * 1000));
        double found = (double)tern_histogram_quantile(&sum, fraction);

        assert_true(found >= exact * 0.999 && found <= exact * 1.0625 + 1);
    }
}

static void above_is_what_lies_over_a_limit(TERN_TEST_STATE)
{
    static struct tern_histogram histogram;
    struct tern_histogram_sum sum = {0};

    assert_true(tern_histogram_above(&sum, 5) == 0);
    for (uint64_t ns = 1; ns <= 100000; ns++)
        tern_histogram_add(&histogram, ns, 1);
    tern_histogram_collect(&sum, &histogram);
    for (uint64_t limit = 0; limit < 100000; limit += 997) {
        double found = tern_histogram_above(&sum, limit);

        /* uniform within a bucket, as the samples are, but for the last, half-filled bucket */
        assert_true(found >= (double)(100000 - limit) - 4096 &&
                    found <= (double)(100000 - limit) + 4096);
        if (limit < 65536)
            assert_true(found == (double)(100000 - limit));
    }
    assert_true(tern_histogram_above(&sum, 1u << 20) == 0);
    assert_true(tern_histogram_above(&sum, 0) == 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_cover_every_value_within_a_sixteenth),
        cmocka_unit_test(quantiles_match_a_sorted_list),
        cmocka_unit_test(above_is_what_lies_over_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
