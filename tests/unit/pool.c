#include "tests/unit/unit.h"

#include "dataplane/pool.h"

static void what_was_given_back_is_taken_again(TERN_TEST_STATE)
{
    struct tern_pool pool = {0};
    struct tern_block blocks[8] = {0};
    uint64_t before;

    for (unsigned round = 0; round < 3; round++) {
        before = pool.allocations;
        for (unsigned i = 0; i < 8; i++) {
            assert_int_equal(tern_pool_take(&pool, 100 + 5000 * i, &blocks[i]), 0);
            assert_true(blocks[i].capacity >= 100 + 5000 * i);
            memset(blocks[i].data, 0xab, blocks[i].capacity);
        }
        for (unsigned i = 0; i < 8; i++) {
            tern_pool_give(&pool, &blocks[i]);
            assert_null(blocks[i].data);
        }
        assert_int_equal(pool.allocations - before, round == 0 ? 8 : 0);
    }
    assert_int_equal(pool.kept_bytes, pool.total_bytes);
    tern_pool_clear(&pool);
}

static void growing_keeps_the_bytes(TERN_TEST_STATE)
{
    struct tern_pool pool = {0};
    struct tern_block block = {0};

    assert_int_equal(tern_pool_grow(&pool, &block, 0, 10), 0);
    assert_int_equal(block.capacity, TERN_POOL_SMALLEST);
    for (unsigned i = 0; i < TERN_POOL_SMALLEST; i++)
        block.data[i] = (uint8_t)(i * 7);
    assert_int_equal(tern_pool_grow(&pool, &block, TERN_POOL_SMALLEST, 100000), 0);
    assert_true(block.capacity >= 100000);
    for (unsigned i = 0; i < TERN_POOL_SMALLEST; i++)
        assert_int_equal(block.data[i], (uint8_t)(i * 7));
    tern_pool_give(&pool, &block);
    tern_pool_clear(&pool);
}

static void bounds_hold(TERN_TEST_STATE)
{
    static struct tern_block blocks[TERN_POOL_LIMIT_BYTES / (64u << 20) + 2];
    struct tern_pool pool = {0};
    struct tern_block none = {0};
    unsigned taken = 0;

    assert_int_equal(tern_pool_take(&pool, TERN_POOL_LARGEST + 1, &none), TERN_ELIMIT);
    while (tern_pool_take(&pool, 64u << 20, &blocks[taken]) == 0)
        taken++;
    assert_int_equal(taken, TERN_POOL_LIMIT_BYTES / (64u << 20));
    assert_int_equal(tern_pool_take(&pool, 1, &none), TERN_ELIMIT);
    assert_null(none.data);
    for (unsigned i = 0; i < taken; i++)
        tern_pool_give(&pool, &blocks[i]);
    assert_true(pool.kept_bytes <= TERN_POOL_KEEP_BYTES);
    tern_pool_clear(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_given_back_is_taken_again),
        cmocka_unit_test(growing_keeps_the_bytes),
        cmocka_unit_test(bounds_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
