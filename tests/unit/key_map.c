/* controlplane/build/key_map.c: a map as an array of all ids is one. */
#include "tests/unit/unit.h"

#include "controlplane/build/key_map.h"
#include "shared/vector/format.h"

#define IDS 3000

static void as_an_array(TERN_TEST_STATE)
{
    static uint32_t slots[IDS];
    struct tern_key_map map = {.entries = NULL};
    uint64_t seed = 4, count = 0;

    for (unsigned i = 0; i < IDS; i++)
        slots[i] = TERN_SLOT_NONE;
    assert_int_equal(tern_key_map_find(&map, 0), TERN_SLOT_NONE);
    tern_key_map_remove(&map, 0);
    for (unsigned step = 0; step < 100000; step++) {
        /* Ids that lie together, and 0. */
        uint64_t which = tern_test_random(&seed) % IDS,
                 id = which * (which % 2 == 0 ? 1 : 1ull << 40);

        assert_int_equal(tern_key_map_find(&map, id), slots[which]);
        if (tern_test_random(&seed) % 5 < (step < 50000 ? 3 : 1)) {
            count += slots[which] == TERN_SLOT_NONE;
            slots[which] = step;
            assert_int_equal(tern_key_map_reserve(&map), 0);
            tern_key_map_put(&map, id, step);
        } else {
            count -= slots[which] != TERN_SLOT_NONE;
            slots[which] = TERN_SLOT_NONE;
            tern_key_map_remove(&map, id);
        }
        assert_int_equal(map.count, count);
    }
    for (uint64_t which = 0; which < IDS; which++)
        assert_int_equal(tern_key_map_find(&map, which * (which % 2 == 0 ? 1 : 1ull << 40)),
                         slots[which]);
    tern_key_map_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_an_array)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
