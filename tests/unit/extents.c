#include "tests/unit/unit.h"

#include "controlplane/publish/extents.h"
#include "shared/base.h"

#define FIRST TERN_PAGE
#define END   (64ull << 20)

static void first_fit_with_alignment(TERN_TEST_STATE)
{
    struct tern_extents extents;
    uint64_t a, b, c, d;

    tern_extents_init(&extents, FIRST, END);
    assert_int_equal(tern_extents_allocate(&extents, 100, &a), 0);
    assert_int_equal(a, FIRST);
    assert_int_equal(tern_extents_allocate(&extents, TERN_EXTENT + 1, &b), 0);
    assert_int_equal(b, TERN_EXTENT);
    assert_int_equal(tern_extents_find(&extents, b)->length, TERN_EXTENT + TERN_PAGE);
    assert_int_equal(tern_extents_allocate(&extents, TERN_PAGE, &c), 0);
    assert_int_equal(c, FIRST + TERN_PAGE); /* the gap before the aligned one */
    tern_extents_remove(&extents, a);
    assert_int_equal(tern_extents_allocate(&extents, 1, &d), 0);
    assert_int_equal(d, a);
    assert_int_equal(tern_extents_allocate(&extents, END, &d), TERN_ENOSPC);
    assert_int_equal(tern_extents_allocate(&extents, 0, &d), TERN_ENOSPC);
    tern_extents_free(&extents);
}

static void damaged_lists_are_refused(TERN_TEST_STATE)
{
    struct tern_extents extents;

    tern_extents_init(&extents, FIRST, END);
    assert_int_equal(tern_extents_insert(&extents, 8 * TERN_PAGE, 3 * TERN_PAGE, TERN_EXTENT_LIVE),
                     0);
    assert_int_equal(tern_extents_insert(&extents, 8 * TERN_PAGE, 3 * TERN_PAGE, TERN_EXTENT_LIVE),
                     0);
    assert_int_equal(extents.count, 1);
    assert_int_equal(tern_extents_insert(&extents, 8 * TERN_PAGE, TERN_PAGE, TERN_EXTENT_LIVE),
                     TERN_ECORRUPT);
    assert_int_equal(tern_extents_insert(&extents, 10 * TERN_PAGE, TERN_PAGE, TERN_EXTENT_LIVE),
                     TERN_ECORRUPT);
    assert_int_equal(tern_extents_insert(&extents, 7 * TERN_PAGE, 2 * TERN_PAGE, TERN_EXTENT_LIVE),
                     TERN_ECORRUPT);
    assert_int_equal(tern_extents_insert(&extents, 0, TERN_PAGE, TERN_EXTENT_LIVE), TERN_ECORRUPT);
    assert_int_equal(tern_extents_insert(&extents, 20 * TERN_PAGE + 1, 1, TERN_EXTENT_LIVE),
                     TERN_ECORRUPT);
    assert_int_equal(tern_extents_insert(&extents, END, TERN_PAGE, TERN_EXTENT_LIVE),
                     TERN_ECORRUPT);
    assert_int_equal(tern_extents_insert(&extents, TERN_PAGE, UINT64_MAX, TERN_EXTENT_LIVE),
                     TERN_ECORRUPT);
    tern_extents_free(&extents);
}

/* Random allocations and removals against a page map. */
static void extents_never_overlap(TERN_TEST_STATE)
{
    static uint8_t owner[END / TERN_PAGE];
    struct tern_extents extents;
    uint64_t seed = 1;

    tern_extents_init(&extents, FIRST, END);
    memset(owner, 0, sizeof owner);
    for (unsigned step = 0; step < 20000; step++) {
        if (tern_test_random(&seed) % 3 != 0) {
            uint64_t length =
                1 + tern_test_random(&seed) % (step % 5 == 0 ? 3 * TERN_EXTENT : 40000);
            uint64_t at;

            if (tern_extents_allocate(&extents, length, &at) != 0)
                continue;
            assert_true(at >= FIRST && at + length <= END);
            if (length >= TERN_EXTENT)
                assert_int_equal(at % TERN_EXTENT, 0);
            for (uint64_t page = at / TERN_PAGE; page * TERN_PAGE < at + length; page++) {
                assert_int_equal(owner[page], 0);
                owner[page] = 1;
            }
        } else if (extents.count > 0) {
            struct tern_extent extent = extents.items[tern_test_random(&seed) % extents.count];

            memset(&owner[extent.offset / TERN_PAGE], 0, extent.length / TERN_PAGE);
            tern_extents_remove(&extents, extent.offset);
        }
    }
    tern_extents_free(&extents);
}

static void gaps_are_retired_exactly(TERN_TEST_STATE)
{
    struct tern_extents extents;
    uint64_t bytes = 0;

    tern_extents_init(&extents, FIRST, END);
    tern_extents_insert(&extents, 4 * TERN_PAGE, TERN_PAGE, TERN_EXTENT_LIVE);
    tern_extents_insert(&extents, 5 * TERN_PAGE, TERN_PAGE, TERN_EXTENT_LIVE);
    tern_extents_insert(&extents, 9 * TERN_PAGE, 2 * TERN_PAGE, TERN_EXTENT_LIVE);
    assert_int_equal(tern_extents_retire_gaps(&extents, 20 * TERN_PAGE, 7), 0);
    for (size_t i = 0; i < extents.count; i++) {
        if (i > 0)
            assert_int_equal(extents.items[i].offset,
                             extents.items[i - 1].offset + extents.items[i - 1].length);
        bytes += extents.items[i].length;
    }
    assert_int_equal(bytes, 19 * TERN_PAGE);
    assert_int_equal(tern_extents_bytes(&extents, TERN_EXTENT_LIVE), 4 * TERN_PAGE);
    tern_extents_free(&extents);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_fit_with_alignment),
        cmocka_unit_test(damaged_lists_are_refused),
        cmocka_unit_test(extents_never_overlap),
        cmocka_unit_test(gaps_are_retired_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
