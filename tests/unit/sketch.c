/* Sketches of rows against sets that hold all of them. */
#include "tests/unit/unit.h"

#include "controlplane/build/sketch.h"
#include "shared/error.h"

#include <math.h>
#include <xxhash.h>

/* A table of the rows first … first + count − 1, some of them twice, in an order of its own. */
static struct tern_sketch make(uint64_t first, uint64_t count)
{
    struct tern_sketch sketch = {0};

    for (uint64_t i = 0; i < count; i++) {
        uint64_t row = first + (i * 7919 + 3) % count;
        uint64_t hash = XXH3_64bits(&row, sizeof row);

        assert_int_equal(tern_sketch_add(&sketch, hash), 0);
        if (row % 3 == 0)
            assert_int_equal(tern_sketch_add(&sketch, hash), 0);
    }
    tern_sketch_finish(&sketch);
    return sketch;
}

static double change(uint64_t first, uint64_t count, uint64_t new_first, uint64_t new_count)
{
    struct tern_sketch before = make(first, count), now = make(new_first, new_count);
    double found = tern_sketch_change(&before, &now);

    tern_sketch_free(&before);
    tern_sketch_free(&now);
    return found;
}

static double truth(uint64_t first, uint64_t count, uint64_t new_first, uint64_t new_count)
{
    uint64_t from = first > new_first ? first : new_first;
    uint64_t to = first + count < new_first + new_count ? first + count : new_first + new_count;
    uint64_t common = to > from ? to - from : 0;
    uint64_t gone = count - common, added = new_count - common;

    return count == 0 ? 0 : (double)(gone > added ? gone : added) / (double)count;
}

static void small_tables_are_compared_exactly(TERN_TEST_STATE)
{
    static const uint64_t cases[][4] = {
        {0, 100, 0, 100},   {0, 100, 0, 79}, {0, 100, 0, 121},   {0, 100, 50, 100},
        {0, 100, 100, 100}, {0, 1, 0, 4000}, {0, 4096, 0, 4096}, {0, 4096, 4095, 1},
        {0, 100, 0, 0},     {0, 0, 0, 100},  {0, 4096, 1, 4096}, {7, 3, 7, 2},
    };

    for (size_t i = 0; i < TERN_COUNT(cases); i++) {
        const uint64_t *c = cases[i];

        assert_true(change(c[0], c[1], c[2], c[3]) == truth(c[0], c[1], c[2], c[3]));
    }
}

static void large_ones_within_a_few_percent(TERN_TEST_STATE)
{
    static const uint64_t cases[][4] = {
        {0, 100000, 0, 100000},     {0, 100000, 0, 80000}, {0, 100000, 20000, 100000},
        {0, 100000, 100000, 99999}, {0, 50000, 0, 100000}, {0, 200000, 1000, 200000},
        {0, 300000, 0, 1000},       {0, 4097, 0, 4097},
    };

    for (size_t i = 0; i < TERN_COUNT(cases); i++) {
        const uint64_t *c = cases[i];
        double found = change(c[0], c[1], c[2], c[3]), right = truth(c[0], c[1], c[2], c[3]);

        /* five standard deviations and more, relative to what is estimated */
        if (fabs(found - right) > 0.05 * (right > 1 ? 3 * right : 1))
            fail_msg("case %zu: %f instead of %f", i, found, right);
    }
    /* What is the same is the same, however large. */
    assert_true(change(5, 100000, 5, 100000) == 0);
}

static void saved_ones_come_back(TERN_TEST_STATE)
{
    static const uint64_t counts[] = {0, 1, 4096, 50000};

    for (size_t i = 0; i < TERN_COUNT(counts); i++) {
        struct tern_sketch sketch = make(0, counts[i]), loaded = {0};
        struct tern_buffer bytes = {0};

        assert_int_equal(tern_sketch_save(&sketch, &bytes), 0);
        assert_int_equal(tern_sketch_load(bytes.data, bytes.length, &loaded), 0);
        assert_int_equal(loaded.count, sketch.count);
        assert_true(loaded.below == sketch.below);
        assert_true(tern_sketch_change(&sketch, &loaded) == 0);
        tern_sketch_free(&loaded);
        for (size_t cut = 0; cut < bytes.length; cut += 1 + cut / 2)
            assert_int_equal(tern_sketch_load(bytes.data, cut, &loaded), TERN_ECORRUPT);
        bytes.data[bytes.length / 2] ^= 1;
        assert_int_equal(tern_sketch_load(bytes.data, bytes.length, &loaded), TERN_ECORRUPT);
        tern_buffer_free(&bytes);
        tern_sketch_free(&sketch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_tables_are_compared_exactly),
        cmocka_unit_test(large_ones_within_a_few_percent),
        cmocka_unit_test(saved_ones_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
