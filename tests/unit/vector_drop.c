/* What is dropped from the store of vectors: gone with one commit, swept away in slices, through
 * restarts and beside whatever is written. */
#include "tests/unit/unit.h"

#include "controlplane/collections/vector_store.h"

#include <fcntl.h>
#include <unistd.h>

static char directory[64];

static int set_up(TERN_TEST_STATE)
{
    strcpy(directory, "/dev/shm/tern-unit-drop-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int tear_down(TERN_TEST_STATE)
{
    static const char *const names[] = {"vectors.db", "vectors.db-wal", "vectors.db-shm",
                                        "vectors.lock"};
    int fd = open(directory, O_RDONLY | O_DIRECTORY);

    for (unsigned i = 0; i < TERN_COUNT(names); i++)
        unlinkat(fd, names[i], 0);
    close(fd);
    return rmdir(directory);
}

/* With the collections 1, "docs", and 2, "other". */
static struct tern_vector_store *open_store(void)
{
    struct tern_vector_store *store = NULL;
    struct tern_error error = {0};
    uint32_t docs = 0, other = 0;

    if (tern_vector_store_open(directory, &store, &error) != 0)
        fail_msg("%s", error.message);
    assert_int_equal(tern_vector_store_collection(store, "docs", &docs, &error), 0);
    assert_int_equal(tern_vector_store_collection(store, "other", &other, &error), 0);
    assert_true(docs == 1 && other == 2);
    return store;
}

static void put(struct tern_vector_store *store, uint32_t collection, uint64_t first,
                unsigned count)
{
    struct tern_error error = {0};
    const float vector[2] = {1, 2};
    uint64_t seq = 0;

    assert_int_equal(tern_vector_store_begin(store, &error), 0);
    for (uint64_t id = first; id < first + count; id++)
        assert_int_equal(
            tern_vector_store_put(store, collection, id, vector, 2, NULL, 0, &seq, &error), 0);
    assert_int_equal(tern_vector_store_end(store, 0, &error), 0);
}

static bool ignore(void *context, const struct tern_vector_row *row)
{
    (void)context;
    (void)row;
    return true;
}

static void count_rows(struct tern_vector_store *store, unsigned *all, uint64_t *vectors)
{
    struct tern_error error = {0};

    assert_int_equal(tern_vector_store_read(store, 1, 0, 1000, ignore, NULL, all, &error), 0);
    assert_int_equal(tern_vector_store_count(store, 1, vectors, &error), 0);
}

/* Of collection 1: the rows that a reading finds, its vectors, the last number. */
static void check_rows(struct tern_vector_store *store, unsigned rows, uint64_t vectors,
                       uint64_t last)
{
    struct tern_error error = {0};
    uint64_t counted = UINT64_MAX, seq = UINT64_MAX;
    unsigned all = UINT32_MAX;

    count_rows(store, &all, &counted);
    assert_int_equal(all, rows);
    assert_int_equal(counted, vectors);
    assert_int_equal(tern_vector_store_last(store, 1, &seq, &error), 0);
    assert_int_equal(seq, last);
}

/* With one commit, tombstones as well; other collections and the numbers stay. Slices sweep. */
static void a_drop_leaves_nothing(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    struct tern_error error = {0};
    uint64_t seq = 0, vectors = 0, before;
    struct tern_vector_row row;
    unsigned swept = 0;
    bool found = false;

    put(store, 1, 0, 25);
    put(store, 2, 7, 1);
    assert_int_equal(tern_vector_store_begin(store, &error), 0);
    assert_int_equal(tern_vector_store_remove(store, 1, 24, &seq, &found, &error), 0);
    assert_int_equal(tern_vector_store_end(store, 0, &error), 0);
    before = tern_vector_store_seq(store);
    check_rows(store, 25, 24, before);
    assert_int_equal(tern_vector_store_find(store, 1, 3, &row, &error), 0);
    assert_int_equal(tern_vector_store_sweep(store, 1, 10, &swept, &error), 0);
    assert_int_equal(swept, 0); /* nothing is dropped yet */
    assert_int_equal(tern_vector_store_drop(store, 1, &error), 0);
    check_rows(store, 0, 0, 0);
    assert_int_equal(tern_vector_store_find(store, 1, 3, &row, &error), TERN_ENOENT);
    for (unsigned left = 25; left > 0; left -= swept) {
        assert_true(tern_vector_store_dropped(store, 1) == before);
        assert_int_equal(tern_vector_store_sweep(store, 1, 10, &swept, &error), 0);
        assert_int_equal(swept, left < 10 ? left : 10);
    }
    assert_true(tern_vector_store_dropped(store, 1) == 0);
    assert_true(tern_vector_store_purged(store, 1) == before && before == 27);
    assert_true(tern_vector_store_seq(store) == before);
    tern_vector_store_close(store);
    store = open_store();
    check_rows(store, 0, 0, 0);
    assert_true(tern_vector_store_purged(store, 1) == before);
    assert_int_equal(tern_vector_store_count(store, 2, &vectors, &error), 0);
    assert_int_equal(vectors, 1);
    assert_string_equal(tern_vector_store_name(store, 2), "other");
    assert_null(tern_vector_store_name(store, 3));
    put(store, 1, 0, 3);
    assert_true(tern_vector_store_seq(store) == before + 3);
    tern_vector_store_close(store);
}

/* What is written under the name while rows of before are still to be swept is not swept, and
 * knows nothing of them; nor is the sweeping forgotten with the process. */
static void a_dropped_name_is_written_anew(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    struct tern_error error = {0};
    struct tern_vector_row row;
    unsigned swept = 0;
    uint64_t seq = 77;
    bool found = true;

    put(store, 1, 0, 25);
    assert_int_equal(tern_vector_store_drop(store, 1, &error), 0);
    assert_int_equal(tern_vector_store_sweep(store, 1, 10, &swept, &error), 0);
    tern_vector_store_close(store);
    store = open_store();
    assert_true(tern_vector_store_dropped(store, 1) == 25);
    check_rows(store, 0, 0, 0);
    put(store, 1, 20, 1); /* an id that a row of before has */
    put(store, 1, 99, 1);
    check_rows(store, 2, 2, 27);
    assert_int_equal(tern_vector_store_find(store, 1, 20, &row, &error), 0);
    assert_true(row.seq == 26);
    assert_int_equal(tern_vector_store_find(store, 1, 21, &row, &error), TERN_ENOENT);
    assert_int_equal(tern_vector_store_begin(store, &error), 0);
    assert_int_equal(tern_vector_store_remove(store, 1, 21, &seq, &found, &error), 0);
    assert_true(!found && seq == 77);
    assert_int_equal(tern_vector_store_remove(store, 1, 99, &seq, &found, &error), 0);
    assert_true(found && seq == 28);
    assert_int_equal(tern_vector_store_end(store, 0, &error), 0);
    check_rows(store, 2, 1, 28);
    assert_int_equal(tern_vector_store_sweep(store, 1, 1000, &swept, &error), 0);
    assert_int_equal(swept, 14); /* 15 were left, one has been replaced */
    assert_true(tern_vector_store_dropped(store, 1) == 0);
    check_rows(store, 2, 1, 28);
    assert_int_equal(tern_vector_store_drop(store, 1, &error), 0);
    put(store, 1, 5, 1);
    assert_int_equal(tern_vector_store_drop(store, 1, &error), 0); /* before the sweep: all of it */
    check_rows(store, 0, 0, 0);
    assert_int_equal(tern_vector_store_sweep(store, 1, 1000, &swept, &error), 0);
    assert_int_equal(swept, 3);
    tern_vector_store_close(store);
    store = open_store();
    assert_true(tern_vector_store_dropped(store, 1) == 0);
    tern_vector_store_close(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_drop_leaves_nothing),
        TEST(a_dropped_name_is_written_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
