/* The thread that writes vectors, over the real store and a double of the graph: what is
 * acknowledged is found and survives, what is refused leaves nothing, owners take turns. */
#include "tests/unit/collections_world.h"

#include <math.h>
#include <sqlite3.h>

/* --- One at a time --- */

static void acknowledged_is_found_and_survives(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 100);
    const struct tern_graph_value payload[2] = {{.present = true, .string = {"spam", 4}},
                                                {.present = true, .u64 = 12}};
    const float vectors[2][DIM] = {{1, 2, 3, 4}, {5, 6, 7, 8}};
    struct tern_collection_write writes[3] = {put_of(7, vectors[0], payload),
                                              put_of(8, vectors[1], NULL),
                                              put_of(7, vectors[1], payload)};
    struct tern_collection_place place;
    const struct graph_double_entry *entry;
    struct tern_collection_ack ack;
    struct tern_error error;

    start();
    place = serve(&spec);
    submit(5, 99, writes, 3);
    ack = collect();
    assert_int_equal(ack.rc, 0);
    assert_int_equal(ack.owner, 5);
    assert_int_equal(ack.ticket, 99);
    assert_int_equal(ack.written, 3);
    assert_int_equal(ack.seq, 3);
    /* of two writes of one id the later counts */
    entry = graph_double_find(place.object, 7);
    assert_non_null(entry);
    assert_true(entry->first == 5 && entry->seq == 3);
    assert_string_equal(entry->values[0].text, "spam");
    assert_int_equal(entry->values[1].number, 12);
    assert_false(graph_double_find(place.object, 8)->values[0].present);
    writes[0] = put_of(8, NULL, NULL);
    writes[1] = put_of(1234, NULL, NULL);
    submit(5, 100, writes, 2);
    ack = collect();
    assert_int_equal(ack.rc, 0);
    assert_int_equal(ack.removed, 1);
    assert_null(graph_double_find(place.object, 8));
    stop();

    /* the same arena again: nothing to replay */
    start();
    graph_double_fail_after(0);
    assert_int_equal(tern_collections_attach(collections, &spec, &place, &error), 0);
    tern_collections_commit(collections, &spec, &place, 1);
    await_current();
    graph_double_fail_after(-1);
    /* a lost arena: all of it */
    place = prepare(&spec);
    assert_non_null(graph_double_find(place.object, 7));
    assert_string_equal(graph_double_find(place.object, 7)->values[0].text, "spam");
    assert_null(graph_double_find(place.object, 8));
    stop();
}

static void an_older_arena_is_caught_up(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 100);
    const float vector[DIM] = {1, 2, 3, 4}, other[DIM] = {9, 9, 9, 9};
    struct tern_collection_place place;
    struct tern_error error;
    void *copy;
    int status;

    start();
    place = serve(&spec);
    for (uint64_t id = 0; id < 6; id++)
        assert_int_equal(write_one(id, vector).rc, 0);
    copy = malloc(place.length);
    memcpy(copy, place.object, place.length);
    /* few, so that the removal's trace, which goes after a second, is still there */
    for (uint64_t id = 4; id < 9; id++)
        assert_int_equal(write_one(id, other).rc, 0);
    assert_int_equal(write_one(3, NULL).removed, 1);
    stop();
    memcpy(place.object, copy, place.length);
    free(copy);
    start();
    status = tern_collections_attach(collections, &spec, &place, &error);
    if (status == TERN_ECORRUPT && strstr(error.message, "has forgotten") != NULL) {
        stop(); /* on a slow machine the removal is purged meanwhile: rightly refused */
        return;
    }
    assert_int_equal(status, 0);
    await_current();
    for (uint64_t id = 0; id < 9; id++) {
        const struct graph_double_entry *entry = graph_double_find(place.object, id);

        if (id == 3)
            assert_null(entry);
        else
            assert_true(entry->first == (id < 4 ? 1.0f : 9.0f));
    }
    stop();
}

static void objects_that_do_not_fit_the_store_are_refused(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 100), other;
    const float vector[DIM] = {1, 2, 3, 4};
    struct tern_collection_header *header;
    struct tern_collection_place place;
    struct tern_error error;

    start();
    place = serve(&spec);
    header = (struct tern_collection_header *)(void *)place.object;
    assert_int_equal(write_one(1, vector).rc, 0);
    stop();
    start();
    header->store_id[3] ^= 1;
    assert_int_equal(tern_collections_attach(collections, &spec, &place, &error), TERN_ECORRUPT);
    assert_non_null(strstr(error.message, "another store"));
    header->store_id[3] ^= 1;
    header->applied_seq += 5;
    assert_int_equal(tern_collections_attach(collections, &spec, &place, &error), TERN_ECORRUPT);
    assert_non_null(strstr(error.message, "the store ends at 1"));
    header->applied_seq -= 5;
    other = spec;
    other.shape.column_count = 1;
    assert_int_equal(tern_collections_attach(collections, &other, &place, &error), TERN_ECORRUPT);
    header->magic = 0;
    assert_int_equal(tern_collections_attach(collections, &spec, &place, &error), TERN_ECORRUPT);
    header->magic = TERN_COLLECTION_MAGIC;
    assert_int_equal(tern_collections_attach(collections, &spec, &place, &error), 0);
    stop();
}

static void bad_writes_leave_nothing(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 3), read;
    const float good[DIM] = {1, 2, 3, 4}, bad[DIM] = {1, 2, NAN, 4}, zero[DIM] = {0};
    const struct tern_graph_value payload[2] = {{.present = false},
                                                {.present = true, .u64 = 1ull << 40}};
    struct tern_collection_write writes[TERN_COLLECTION_BATCH_MAX + 1];
    struct tern_collection_place place;
    struct tern_collection_status status;
    struct tern_collection_ack ack;
    struct tern_error error;
    uint32_t first_bad = 77;

    for (unsigned i = 0; i < TERN_COUNT(writes); i++)
        writes[i] = put_of(i, good, NULL);
    start();
    assert_int_equal(tern_collections_submit(collections, "docs", 1, 1, writes, 1, NULL, &error),
                     TERN_ENOENT);
    assert_non_null(strstr(error.message, "has none"));
    place = serve(&spec);
    assert_int_equal(tern_collections_submit(collections, "dogs", 1, 1, writes, 1, NULL, &error),
                     TERN_ENOENT);
    assert_string_equal(error.message, "there is no collection 'dogs'; there are: docs");
    assert_int_equal(tern_collections_describe(collections, "dogs", &read, &error), TERN_ENOENT);
    assert_int_equal(tern_collections_describe(collections, "docs", &read, &error), 0);
    assert_int_equal(read.shape.dim, DIM);
    writes[1] = put_of(2, bad, NULL);
    assert_int_equal(
        tern_collections_submit(collections, "docs", 1, 1, writes, 3, &first_bad, &error),
        TERN_EINVAL);
    assert_int_equal(first_bad, 1);
    writes[1] = put_of(2, good, payload);
    assert_int_equal(
        tern_collections_submit(collections, "docs", 1, 1, writes, 3, &first_bad, &error),
        TERN_EINVAL);
    assert_non_null(strstr(error.message, "tenant"));
    writes[1] = put_of(1, good, NULL);
    assert_int_equal(tern_collections_submit(collections, "docs", 1, 1, writes, 0, NULL, &error),
                     TERN_ELIMIT);
    assert_int_equal(tern_collections_submit(collections, "docs", 1, 1, writes,
                                             TERN_COLLECTION_BATCH_MAX + 1, NULL, &error),
                     TERN_ELIMIT);
    assert_false(tern_collections_collect(collections, &ack));
    /* capacity: all or nothing, and what is there may still be changed */
    submit(1, 2, writes, 4);
    ack = collect();
    assert_int_equal(ack.rc, TERN_ENOSPC);
    assert_non_null(strstr(ack.error.message, "raise its `capacity`"));
    assert_int_equal(ack.written, 0);
    assert_null(graph_double_find(place.object, 0));
    writes[0] = writes[1] = writes[2] = put_of(5, zero, NULL);
    writes[3] = put_of(6, good, NULL);
    writes[4] = put_of(7, good, NULL);
    submit(1, 3, writes, 5);
    assert_int_equal(collect().rc, 0); /* five writes, three ids */
    submit(1, 4, writes, 5);
    assert_int_equal(collect().rc, 0);
    assert_int_equal(write_one(8, good).rc, TERN_ENOSPC);
    assert_int_equal(write_one(7, NULL).removed, 1);
    assert_int_equal(write_one(8, good).rc, 0);
    assert_int_equal(tern_collections_status(collections, &status, 1), 1);
    assert_int_equal(status.live, 3);
    assert_true(status.stored_seq == status.applied_seq);
    assert_int_equal(status.writes_waiting, 0);
    stop();
}

static void a_locked_store_acknowledges_nothing(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 100);
    const float vector[DIM] = {1, 2, 3, 4};
    struct tern_collection_place place;
    struct tern_collection_ack ack;
    sqlite3 *other = NULL;

    start();
    place = serve(&spec);
    assert_int_equal(sqlite3_open(database_path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    ack = write_one(1, vector);
    assert_int_equal(ack.rc, TERN_EBUSY);
    assert_non_null(strstr(ack.error.message, "locked by another program"));
    assert_null(graph_double_find(place.object, 1));
    sqlite3_close(other);
    assert_int_equal(write_one(1, vector).rc, 0);
    assert_non_null(graph_double_find(place.object, 1));
    stop();
}

static void what_the_index_cannot_take_is_not_acknowledged(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 100);
    const float vector[DIM] = {1, 2, 3, 4};
    struct tern_collection_place place;
    struct tern_collection_status status;
    struct tern_collection_ack ack;

    start();
    place = serve(&spec);
    assert_int_equal(write_one(1, vector).rc, 0);
    graph_double_fail_after(0);
    ack = write_one(2, vector);
    assert_int_equal(ack.rc, TERN_ENOSPC);
    assert_non_null(strstr(ack.error.message, "stored, but not searchable"));
    /* until there is room, nothing is taken */
    ack = write_one(3, vector);
    assert_int_equal(ack.rc, TERN_ENOSPC);
    assert_non_null(strstr(ack.error.message, "takes no writes"));
    assert_int_equal(tern_collections_status(collections, &status, 1), 1);
    assert_true(status.filling);
    assert_string_equal(status.error, "the double has no room");
    assert_int_equal(status.applied_seq, 1);
    graph_double_fail_after(-1);
    await_current();
    assert_non_null(graph_double_find(place.object, 2));
    assert_null(graph_double_find(place.object, 3));
    assert_int_equal(write_one(3, vector).rc, 0);
    stop();
}

static void a_reader_that_stands_still_stops_puts_alone(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 100);
    const float vector[DIM] = {1, 2, 3, 4};
    struct tern_collection_header *header;
    struct tern_collection_place place;
    struct tern_collection_ack ack;

    start();
    place = serve(&spec);
    header = (struct tern_collection_header *)(void *)place.object;
    assert_int_equal(write_one(1, vector).rc, 0);
    atomic_store(&header->deleted_count, header->capacity - 1);
    ack = write_one(2, vector);
    assert_int_equal(ack.rc, TERN_ENOSPC);
    assert_non_null(strstr(ack.error.message, "has no slot left"));
    assert_null(graph_double_find(place.object, 2));
    ack = write_one(1, NULL);
    assert_int_equal(ack.rc, 0);
    assert_int_equal(ack.removed, 1);
    /* it has left: what was refused left nothing behind */
    atomic_store(&header->deleted_count, 0);
    ack = write_one(2, vector);
    assert_int_equal(ack.rc, 0);
    assert_int_equal(ack.seq, 3);
    stop();
}

/* --- Turns --- */

static void owners_take_turns(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 2000);
    const float vector[DIM] = {1, 2, 3, 4};
    struct tern_collection_write writes[200];
    struct tern_error error;
    unsigned place_of_two = 0, acks = 0;
    uint64_t last_ticket = 0;

    for (unsigned i = 0; i < TERN_COUNT(writes); i++)
        writes[i] = put_of(i, vector, NULL);
    start();
    serve(&spec);
    graph_double_hold(true);
    for (unsigned i = 0; i < TERN_COLLECTION_OWNER_MAX; i++)
        submit(1, i + 1, writes, TERN_COUNT(writes));
    assert_int_equal(tern_collections_submit(collections, "docs", 1, 99, writes, 1, NULL, &error),
                     TERN_EAGAIN);
    submit(2, 1, writes, 1);
    graph_double_hold(false);
    for (; acks < TERN_COLLECTION_OWNER_MAX + 1; acks++) {
        struct tern_collection_ack ack = collect();

        assert_int_equal(ack.rc, 0);
        if (ack.owner == 2) {
            place_of_two = acks;
        } else {
            assert_true(ack.ticket == last_ticket + 1); /* in order */
            last_ticket = ack.ticket;
        }
    }
    assert_true(place_of_two <= 3);
    submit(1, 99, writes, 1);
    assert_int_equal(collect().ticket, 99);
    stop();
}

/* --- What the graph has to do in between --- */

#define WORK_UNITS 50u

static void submit_another(void)
{
    static const float vector[DIM] = {1, 2, 3, 4};
    static uint64_t id = 1000;
    const struct tern_collection_write write = put_of(id++, vector, NULL);

    submit(9, 1, &write, 1);
}

/* How many units are done before a write that comes within the first one after a batch of four. */
static unsigned units_before_another(void)
{
    const float vector[DIM] = {1, 2, 3, 4};
    const struct tern_collection_write writes[4] = {
        put_of(1, vector, NULL), put_of(2, vector, NULL), put_of(3, vector, NULL),
        put_of(4, vector, NULL)};

    graph_double_give_work(WORK_UNITS, submit_another);
    submit(1, 1, writes, 4);
    assert_int_equal(collect().rc, 0);
    assert_int_equal(collect().owner, 9);
    return graph_double_units_before_put();
}

static void a_write_waits_for_one_unit_of_work(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 2000);

    start();
    serve(&spec);
    assert_int_equal(units_before_another(), 1);
    stop();
}

static void writes_wait_while_the_tail_is_long(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 2000);
    struct tern_collection_header *header;
    unsigned units = 0;

    start();
    header = (struct tern_collection_header *)(void *)serve(&spec).object;
    atomic_store(&header->tail, 1000ull << 32);
    /* For a millisecond a vector, in which a machine that is not too busy does them all. */
    for (unsigned turn = 0; turn < 200 && units != WORK_UNITS; turn++)
        units = units_before_another();
    assert_int_equal(units, WORK_UNITS);
    stop();
}

/* A load from within the process waits for its own acknowledgements, and takes nobody else's. */
static void writes_from_inside_are_awaited(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 100);
    const float vector[DIM] = {1, 2, 3, 4};
    struct tern_collection_write write = put_of(1, vector, NULL);
    struct tern_collection_ack ack;
    struct tern_error error;
    bool empty = false;

    start();
    serve(&spec);
    assert_int_equal(tern_collections_is_empty(collections, "docs", &empty, &error), 0);
    assert_true(empty);
    assert_int_equal(tern_collections_await(collections, &ack), TERN_ENOENT);
    for (uint64_t ticket = 1; ticket <= 3; ticket++) {
        write.id = ticket;
        submit(TERN_COLLECTIONS_INSIDE, ticket, &write, 1);
        write.id = 100 + ticket;
        submit(5, ticket, &write, 1);
    }
    for (uint64_t ticket = 1; ticket <= 3; ticket++) {
        assert_int_equal(tern_collections_await(collections, &ack), 0);
        assert_true(ack.owner == TERN_COLLECTIONS_INSIDE && ack.ticket == ticket && ack.rc == 0);
    }
    assert_int_equal(tern_collections_await(collections, &ack), TERN_ENOENT);
    for (uint64_t ticket = 1; ticket <= 3; ticket++) {
        ack = collect();
        assert_true(ack.owner == 5 && ack.ticket == ticket);
    }
    /* what has been removed leaves a trace */
    for (uint64_t id = 1; id <= 103; id++)
        write_one(id, NULL);
    assert_int_equal(tern_collections_is_empty(collections, "docs", &empty, &error), 0);
    assert_false(empty);
    stop();
}

static void the_forgotten_get_nothing(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 2000);
    const float vector[DIM] = {1, 2, 3, 4};
    struct tern_collection_place place;
    struct tern_collection_write write;
    struct tern_collection_ack ack;

    start();
    place = serve(&spec);
    graph_double_hold(true);
    for (uint64_t id = 0; id < 20; id++) {
        write = put_of(id, vector, NULL);
        submit(1 + id % 2, id, &write, 1);
    }
    tern_collections_forget(collections, 1);
    graph_double_hold(false);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(collect().owner, 2);
    /* they were submitted all the same */
    assert_int_equal(write_one(50, vector).owner, 1);
    for (uint64_t id = 0; id < 20; id++)
        assert_non_null(graph_double_find(place.object, id));
    assert_false(tern_collections_collect(collections, &ack));
    /* what was never collected is freed with the rest */
    write = put_of(51, vector, NULL);
    submit(1, 1, &write, 1);
    stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(acknowledged_is_found_and_survives),
        TEST(an_older_arena_is_caught_up),
        TEST(objects_that_do_not_fit_the_store_are_refused),
        TEST(bad_writes_leave_nothing),
        TEST(a_locked_store_acknowledges_nothing),
        TEST(what_the_index_cannot_take_is_not_acknowledged),
        TEST(a_reader_that_stands_still_stops_puts_alone),
        TEST(owners_take_turns),
        TEST(a_write_waits_for_one_unit_of_work),
        TEST(writes_wait_while_the_tail_is_long),
        TEST(writes_from_inside_are_awaited),
        TEST(the_forgotten_get_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
