#include "tests/unit/unit.h"

#include "dataplane/connection.h"

static void kept_input_is_a_queue_of_bytes(TERN_TEST_STATE)
{
    struct tern_pool pool = {0};
    struct tern_connection connection = {0};
    uint64_t seed = 5;
    uint8_t in = 0, out = 0;
    size_t held = 0;

    for (unsigned step = 0; step < 5000; step++) {
        uint8_t bytes[3000];
        size_t length = tern_test_random(&seed) % sizeof bytes;
        size_t forget;

        for (size_t i = 0; i < length; i++)
            bytes[i] = in++;
        assert_int_equal(tern_connection_keep(&pool, &connection, bytes, length), 0);
        held += length;
        assert_int_equal(tern_connection_unread(&connection), held);
        forget = tern_test_random(&seed) % (held + 1);
        if (step % 50 == 49)
            forget = held;
        for (size_t i = 0; i < forget; i++)
            assert_int_equal(connection.input.data[connection.input_start + i], out++);
        if (forget > 0)
            tern_connection_forget(&pool, &connection, forget);
        held -= forget;
        if (held == 0)
            assert_null(connection.input.data);
    }
    tern_pool_give(&pool, &connection.input);
    tern_pool_clear(&pool);
}

static void a_slot_is_reused_under_another_generation(TERN_TEST_STATE)
{
    struct tern_connection_table table;
    struct tern_pool pool = {0};
    struct tern_connection *first, *second;
    uint32_t generation;

    assert_int_equal(tern_connection_table_open(&table, 2, NULL), 0);
    first = tern_connection_take(&table, 10);
    second = tern_connection_take(&table, 11);
    assert_non_null(first);
    assert_non_null(second);
    assert_null(tern_connection_take(&table, 12));
    generation = first->generation;
    first->waits = TERN_WAIT_BATCH;
    tern_connection_give(&table, &pool, first);
    assert_int_equal(table.open, 1);
    assert_ptr_equal(tern_connection_take(&table, 13), first);
    assert_int_equal(first->fd, 13);
    assert_int_equal(first->index, 0);
    assert_int_not_equal(first->generation, generation);
    assert_int_equal(first->waits, TERN_WAIT_NONE);
    tern_connection_table_close(&table);
}

static void blocked_by_a_batch_or_by_output(TERN_TEST_STATE)
{
    struct tern_connection connection = {0};

    assert_false(tern_connection_is_blocked(&connection));
    connection.output_end = TERN_OUTPUT_HIGH_BYTES;
    assert_false(tern_connection_is_blocked(&connection));
    connection.sending_end = 1;
    assert_true(tern_connection_is_blocked(&connection));
    connection.sending_start = 1;
    assert_false(tern_connection_is_blocked(&connection));
    connection.waits = TERN_WAIT_BATCH;
    assert_true(tern_connection_is_blocked(&connection));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_input_is_a_queue_of_bytes),
        cmocka_unit_test(a_slot_is_reused_under_another_generation),
        cmocka_unit_test(blocked_by_a_batch_or_by_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
