/* Objects that are filled from the store beside the one that is served, while both are written to;
 * and all of it against a dictionary. */
#include "tests/unit/collections_world.h"

#include "shared/schema.h"

#include <pthread.h>

/* --- Beside the one that is served --- */

static bool count_reports(void *context, uint64_t done, uint64_t total)
{
    unsigned *reports = context;

    assert_true(done <= total);
    (*reports)++;
    return true;
}

/* The thread waits for it, so that there is something left to cancel. */
static bool cancel(TERN_UNUSED void *context, TERN_UNUSED uint64_t done, TERN_UNUSED uint64_t total)
{
    graph_double_hold(false);
    return false;
}

static void a_new_object_is_filled_beside_the_old(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 3000), next = spec;
    const struct tern_graph_value payload[2] = {{.present = true, .string = {"spam", 4}},
                                                {.present = true, .u64 = 12}};
    struct tern_collection_place old, place, places[1];
    struct tern_collection_write writes[2];
    struct tern_collection_status statuses[2];
    float vector[DIM] = {0, 2, 3, 4};
    struct tern_error error;
    unsigned reports = 0;

    start();
    old = serve(&spec);
    write_range(2000, vector, payload);
    /* other columns: moved, and a new one */
    next.shape.m = 32;
    next.shape.column_count = 3;
    next.shape.columns[0] = spec.shape.columns[1];
    next.shape.columns[1] = spec.shape.columns[0];
    next.shape.columns[2] = (struct tern_graph_column){"weight", TERN_TYPE_F32};
    place = new_place(&next);
    graph_double_hold(true);
    assert_int_equal(
        tern_collections_prepare(collections, &next, &place, false, NULL, NULL, &error), 0);
    vector[0] = 7;
    writes[0] = put_of(5, vector, payload);
    writes[1] = put_of(1999, NULL, NULL);
    submit(1, 1, writes, 2);
    graph_double_hold(false);
    assert_int_equal(collect().removed, 1);
    await_current();
    assert_int_equal(tern_collections_status(collections, statuses, 2), 2);
    assert_int_equal(statuses[1].live, 1999);
    assert_false(statuses[1].served);
    assert_true(graph_double_find(old.object, 5)->first == 7);
    assert_true(graph_double_find(place.object, 5)->first == 7);
    assert_int_equal(graph_double_find(place.object, 5)->values[0].number, 12);
    assert_string_equal(graph_double_find(place.object, 5)->values[1].text, "spam");
    assert_false(graph_double_find(place.object, 5)->values[2].present);
    assert_null(graph_double_find(place.object, 1999));
    /* both are current until one is let go of */
    assert_int_equal(write_one(2500, vector).rc, 0);
    assert_non_null(graph_double_find(place.object, 2500));
    places[0] = place;
    tern_collections_commit(collections, &next, places, 1);
    assert_int_equal(tern_collections_status(collections, statuses, 2), 1);
    assert_int_equal(write_one(2501, vector).rc, 0);
    assert_null(graph_double_find(old.object, 2501));
    assert_non_null(graph_double_find(place.object, 2501));

    /* one that is not wanted in the end */
    place = new_place(&spec);
    assert_int_equal(
        tern_collections_prepare(collections, &spec, &place, true, count_reports, &reports, &error),
        0);
    assert_true(reports > 0);
    tern_collections_abandon(collections);
    assert_int_equal(write_one(2502, vector).rc, 0);
    assert_null(graph_double_find(place.object, 2502));
    place = new_place(&spec);
    graph_double_hold(true);
    assert_int_equal(
        tern_collections_prepare(collections, &spec, &place, false, NULL, NULL, &error), 0);
    graph_double_hold(false);
    tern_collections_abandon(collections);
    assert_int_equal(tern_collections_status(collections, statuses, 2), 1);

    /* one that cannot hold it, one that gets no pages, one that is cancelled */
    spec.shape.capacity = 100;
    place = new_place(&spec);
    assert_int_equal(tern_collections_prepare(collections, &spec, &place, true, NULL, NULL, &error),
                     TERN_ENOSPC);
    assert_string_equal(error.message,
                        "collection docs: the store holds 2002 vectors, its `capacity` is 100");
    spec.shape.capacity = 3000;
    place = new_place(&spec);
    graph_double_fail_after(50);
    assert_int_equal(tern_collections_prepare(collections, &spec, &place, true, NULL, NULL, &error),
                     TERN_ENOSPC);
    graph_double_fail_after(-1);
    place = new_place(&spec);
    graph_double_hold(true);
    assert_int_equal(
        tern_collections_prepare(collections, &spec, &place, true, cancel, NULL, &error),
        TERN_ECANCELLED);
    assert_int_equal(tern_collections_status(collections, statuses, 2), 1);
    assert_int_equal(write_one(2503, vector).rc, 0);
    stop();
}

static _Atomic bool writing_ended;

static void *write_all_the_time(TERN_UNUSED void *unused)
{
    const float vector[DIM] = {1, 2, 3, 4};
    struct tern_collection_write write = put_of(3, vector, NULL);
    struct tern_collection_ack ack;
    struct tern_error error;
    uint64_t ticket = 0;

    while (!writing_ended) {
        (void)tern_collections_submit(collections, "docs", 9, ++ticket, &write, 1, NULL, &error);
        while (tern_collections_collect(collections, &ack))
            if (ack.rc != 0)
                return &writing_ended;
    }
    return NULL;
}

/* Writes that never pause keep no object from being filled. */
static void filling_ends_while_writes_come(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 3000);
    const float vector[DIM] = {1, 2, 3, 4};
    struct tern_collection_place place;
    struct tern_collection_status statuses[2];
    pthread_t thread;
    void *failed = NULL;

    start();
    serve(&spec);
    write_range(3000, vector, NULL);
    writing_ended = false;
    assert_int_equal(pthread_create(&thread, NULL, write_all_the_time, NULL), 0);
    place = prepare(&spec);
    assert_int_equal(tern_collections_status(collections, statuses, 2), 2);
    assert_false(statuses[1].filling);
    assert_int_equal(statuses[1].live, 3000);
    writing_ended = true;
    pthread_join(thread, &failed);
    assert_null(failed);
    stop();
    assert_non_null(graph_double_find(place.object, 2999)); /* now that nobody writes there */
}

static void another_dimension_passes_over_what_was(TERN_TEST_STATE)
{
    struct tern_collection_spec spec = make_spec(DIM, 100), wide;
    const float vector[2 * DIM] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct tern_collection_place place;
    struct tern_collection_status statuses[2];

    start();
    serve(&spec);
    for (uint64_t id = 0; id < 10; id++)
        assert_int_equal(write_one(id, vector).rc, 0);
    wide = make_spec(2 * DIM, 100);
    place = prepare(&wide);
    assert_int_equal(tern_collections_status(collections, statuses, 2), 2);
    assert_int_equal(statuses[1].live, 0);
    assert_int_equal(statuses[1].skipped, 10);
    /* still the old shape, until it is served */
    assert_int_equal(write_one(10, vector).rc, 0);
    assert_null(graph_double_find(place.object, 10));
    tern_collections_commit(collections, &wide, &place, 1);
    assert_int_equal(write_one(3, vector).rc, 0);
    assert_true(graph_double_find(place.object, 3)->last == 8);
    /* going back finds all but what was overwritten */
    place = serve(&spec);
    assert_null(graph_double_find(place.object, 3));
    assert_non_null(graph_double_find(place.object, 10));
    assert_int_equal(tern_collections_status(collections, statuses, 2), 1);
    assert_int_equal(statuses[0].live, 10);
    stop();
}

/* --- Against a dictionary --- */

enum { IDS = 150, OWNERS = 3 };

struct word {
    bool live;
    float first;
};

static void random_batch(uint64_t owner, uint64_t ticket, struct word *words, uint64_t *seed)
{
    static float vectors[40][DIM];
    struct tern_collection_write writes[40];
    unsigned count = 1 + (unsigned)(tern_test_random(seed) % 40);

    for (unsigned i = 0; i < count; i++) {
        /* ids of different owners differ: between owners the order is the thread's */
        uint64_t id = tern_test_random(seed) % IDS * OWNERS + owner;
        bool remove = tern_test_random(seed) % 3 == 0;

        vectors[i][0] = (float)(tern_test_random(seed) % 100000);
        writes[i] = put_of(id, remove ? NULL : vectors[i], NULL);
        words[id] = (struct word){!remove, vectors[i][0]};
    }
    submit(owner, ticket, writes, count);
}

static void compare(const struct tern_collection_place *place, const struct word *words)
{
    for (uint64_t id = 0; id < IDS * OWNERS; id++) {
        const struct graph_double_entry *entry = graph_double_find(place->object, id);

        assert_int_equal(entry != NULL, words[id].live);
        if (entry != NULL)
            assert_true(entry->first == words[id].first);
    }
}

static void agrees_with_a_dictionary(TERN_TEST_STATE)
{
    static struct word words[IDS * OWNERS];
    struct tern_collection_spec spec = make_spec(DIM, IDS * OWNERS);
    uint64_t seed = 31337, ticket = 0;
    struct tern_collection_place place;
    struct tern_error error;

    memset(words, 0, sizeof words);
    start();
    place = serve(&spec);
    for (unsigned round = 0; round < 120; round++) {
        unsigned batches = (unsigned)(tern_test_random(&seed) % 20), kind;
        struct tern_collection_place beside = {0};

        for (unsigned i = 0; i < batches; i++)
            random_batch(tern_test_random(&seed) % OWNERS, ++ticket, words, &seed);
        kind = (unsigned)(tern_test_random(&seed) % 6);
        if (kind == 0 && world.used < world.size / 2) { /* a new one, while writes wait */
            beside = new_place(&spec);
            assert_int_equal(tern_collections_prepare(collections, &spec, &beside, round % 2 == 0,
                                                      NULL, NULL, &error),
                             0);
            random_batch(0, ++ticket, words, &seed);
            batches++;
        }
        for (unsigned i = 0; i < batches; i++)
            assert_int_equal(collect().rc, 0);
        compare(&place, words);
        if (beside.object != NULL) {
            await_current();
            compare(&beside, words);
            tern_collections_commit(collections, &spec, &beside, 1);
            place = beside;
        } else if (kind == 1) {
            stop();
            start();
            assert_int_equal(tern_collections_attach(collections, &spec, &place, &error), 0);
            tern_collections_commit(collections, &spec, &place, 1);
        }
    }
    stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_new_object_is_filled_beside_the_old),
        TEST(filling_ends_while_writes_come),
        TEST(another_dimension_passes_over_what_was),
        TEST(agrees_with_a_dictionary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
