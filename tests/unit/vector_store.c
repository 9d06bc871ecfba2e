/* The durable store of vectors against a slow one that is an array, through restarts, failures and
 * bytes that are not what was written. */
#include "tests/unit/unit.h"

#include "controlplane/collections/payload.h"
#include "controlplane/collections/vector_store.h"
#include "shared/schema.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64], path[96];

static int set_up(TERN_TEST_STATE)
{
    /* thousands of commits: not onto a disk */
    strcpy(directory, "/dev/shm/tern-unit-vectors-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/%s", directory, TERN_VECTOR_STORE_FILE);
    return 0;
}

static int tear_down(TERN_TEST_STATE)
{
    static const char *const names[] = {"vectors.db", "vectors.db-wal", "vectors.db-shm",
                                        "vectors.lock", "aside"};
    int fd = open(directory, O_RDONLY | O_DIRECTORY);

    for (unsigned i = 0; i < TERN_COUNT(names); i++)
        unlinkat(fd, names[i], 0);
    close(fd);
    return rmdir(directory);
}

static struct tern_vector_store *open_store(void)
{
    struct tern_vector_store *store = NULL;
    struct tern_error error = {0};

    if (tern_vector_store_open(directory, &store, &error) != 0)
        fail_msg("%s", error.message);
    return store;
}

static int open_code(struct tern_error *error)
{
    struct tern_vector_store *store = NULL;
    int rc = tern_vector_store_open(directory, &store, error);

    tern_vector_store_close(store);
    return rc;
}

static uint32_t collection(struct tern_vector_store *store, const char *name)
{
    struct tern_error error = {0};
    uint32_t number = 0;

    if (tern_vector_store_collection(store, name, &number, &error) != 0)
        fail_msg("%s", error.message);
    return number;
}

/* --- Against an array --- */

enum { IDS = 200, DIM = 5, COLLECTIONS = 3 };

struct model_row {
    uint64_t seq;
    bool live;
    float vector[DIM];
    uint8_t payload[24];
    size_t payload_length;
};

static struct model_row model[COLLECTIONS][IDS];
static uint64_t model_purged[COLLECTIONS];

static uint64_t id_of(unsigned index)
{
    /* both ends of u64: SQLite's integers are signed */
    return index % 2 == 0 ? index : UINT64_MAX - index;
}

static void random_write(struct tern_vector_store *store, unsigned c, struct model_row *rows,
                         uint64_t *last, uint64_t *seed)
{
    unsigned index = (unsigned)(tern_test_random(seed) % IDS);
    struct model_row *row = &rows[index];
    struct tern_error error = {0};
    uint64_t seq = 0;

    if (tern_test_random(seed) % 4 == 0) {
        bool found = false;

        assert_int_equal(tern_vector_store_remove(store, c + 1, id_of(index), &seq, &found, &error),
                         0);
        assert_int_equal(found, row->live);
        if (!found)
            return;
        row->live = false;
    } else {
        for (unsigned i = 0; i < DIM; i++)
            row->vector[i] = (float)(tern_test_random(seed) % 1000) / 7;
        row->payload_length = tern_test_random(seed) % sizeof row->payload;
        for (size_t i = 0; i < row->payload_length; i++)
            row->payload[i] = (uint8_t)tern_test_random(seed);
        assert_int_equal(tern_vector_store_put(store, c + 1, id_of(index), row->vector, DIM,
                                               row->payload, row->payload_length, &seq, &error),
                         0);
        row->live = true;
    }
    assert_true(seq > *last);
    *last = row->seq = seq;
}

struct reading {
    const struct model_row *rows;
    uint64_t after, seen;
    unsigned count, stop_at;
};

static bool take(void *context, const struct tern_vector_row *row)
{
    struct reading *reading = context;
    const struct model_row *expected = NULL;

    for (unsigned i = 0; i < IDS; i++)
        if (reading->rows[i].seq == row->seq) {
            assert_true(id_of(i) == row->id);
            expected = &reading->rows[i];
        }
    assert_non_null(expected);
    assert_true(row->seq > reading->seen);
    reading->seen = row->seq;
    reading->count++;
    assert_int_equal(row->vector != NULL, expected->live);
    if (expected->live) {
        assert_int_equal(row->dim, DIM);
        assert_memory_equal(row->vector, expected->vector, sizeof expected->vector);
        assert_int_equal(row->payload_length, expected->payload_length);
        if (expected->payload_length != 0)
            assert_memory_equal(row->payload, expected->payload, expected->payload_length);
    }
    return reading->count != reading->stop_at;
}

/* One id after the other, by a second handle, which sees what is committed and nothing that comes
 * after it was opened. */
static void look_up(struct tern_vector_store *store, unsigned c)
{
    const struct model_row *rows = model[c];
    struct tern_vector_store *peek = NULL;
    struct tern_vector_row row;
    struct tern_error error = {0};

    assert_int_equal(tern_vector_store_begin(store, &error), 0);
    if (tern_vector_store_peek(directory, &peek, &error) != 0)
        fail_msg("%s", error.message);
    assert_int_equal(tern_vector_store_end(store, 0, &error), 0);
    for (unsigned i = 0; i < IDS; i++) {
        int rc = tern_vector_store_find(peek, c + 1, id_of(i), &row, &error);

        assert_int_equal(rc, rows[i].live ? 0 : TERN_ENOENT);
        if (!rows[i].live)
            continue;
        assert_true(row.id == id_of(i) && row.seq == rows[i].seq && row.dim == DIM);
        assert_memory_equal(row.vector, rows[i].vector, sizeof rows[i].vector);
        assert_int_equal(row.payload_length, rows[i].payload_length);
        if (row.payload_length != 0)
            assert_memory_equal(row.payload, rows[i].payload, row.payload_length);
    }
    tern_vector_store_close(peek);
}

static void compare(struct tern_vector_store *store, unsigned c, uint64_t *seed)
{
    const struct model_row *rows = model[c];
    struct tern_error error = {0};
    uint64_t after = tern_test_random(seed) % (tern_vector_store_seq(store) + 1);
    struct reading reading = {.rows = rows, .after = after, .seen = after};
    unsigned count = 0, expected = 0, live = 0, limit = 1 + (unsigned)(tern_test_random(seed) % 40);
    uint64_t stored = 0, last = 0, highest = 0;

    after = tern_max_u64(after, model_purged[c]);
    reading.after = reading.seen = after;
    for (unsigned i = 0; i < IDS; i++) {
        expected += rows[i].seq > after;
        live += rows[i].live;
        if (rows[i].live || rows[i].seq > model_purged[c])
            highest = tern_max_u64(highest, rows[i].seq);
    }
    /* in pieces, as a replay reads */
    do {
        if (tern_vector_store_read(store, c + 1, reading.seen, limit, take, &reading, &count,
                                   &error) != 0)
            fail_msg("%s", error.message);
    } while (count == limit);
    assert_int_equal(reading.count, expected);
    assert_int_equal(tern_vector_store_count(store, c + 1, &stored, &error), 0);
    assert_int_equal(stored, live);
    assert_int_equal(tern_vector_store_last(store, c + 1, &last, &error), 0);
    assert_true(last == highest);
    look_up(store, c);
    if (expected > 1) { /* a reader that has enough */
        reading = (struct reading){.rows = rows, .after = after, .seen = after, .stop_at = 1};
        assert_int_equal(
            tern_vector_store_read(store, c + 1, after, 10, take, &reading, &count, &error), 0);
        assert_int_equal(count, 1);
    }
}

static void purge(struct tern_vector_store *store, unsigned c, uint64_t *seed)
{
    uint64_t seq = tern_test_random(seed) % (tern_vector_store_seq(store) + 1);
    unsigned purged = 0, expected = 0;
    struct tern_error error = {0};

    for (unsigned i = 0; i < IDS; i++)
        expected += !model[c][i].live && model[c][i].seq != 0 && model[c][i].seq <= seq &&
                    model[c][i].seq > model_purged[c];
    assert_int_equal(tern_vector_store_purge(store, c + 1, seq, IDS, &purged, &error), 0);
    assert_int_equal(purged, expected);
    if (purged != 0)
        model_purged[c] = seq;
    assert_true(tern_vector_store_purged(store, c + 1) == model_purged[c]);
}

static void agrees_with_an_array(TERN_TEST_STATE)
{
    static const char *const names[COLLECTIONS] = {"docs", "faces", "a b"};
    uint64_t seed = 20240917, last = 0;
    struct tern_vector_store *store = open_store();
    struct tern_error error = {0};
    uint8_t id[16];

    memset(model, 0, sizeof model);
    memset(model_purged, 0, sizeof model_purged);
    memcpy(id, tern_vector_store_id(store), 16);
    for (unsigned c = 0; c < COLLECTIONS; c++)
        assert_int_equal(collection(store, names[c]), c + 1);
    for (unsigned round = 0; round < 300; round++) {
        unsigned writes = (unsigned)(tern_test_random(&seed) % 30);
        uint64_t committed = tern_vector_store_seq(store), numbers = last;
        static struct model_row before[COLLECTIONS][IDS];
        bool fails = tern_test_random(&seed) % 5 == 0;

        memcpy(before, model, sizeof model);
        assert_int_equal(tern_vector_store_begin(store, &error), 0);
        for (unsigned i = 0; i < writes; i++) {
            unsigned c = (unsigned)(tern_test_random(&seed) % COLLECTIONS);

            random_write(store, c, model[c], &numbers, &seed);
        }
        last = numbers; /* those of a failure are not used again either */
        assert_int_equal(tern_vector_store_end(store, fails ? TERN_EREFUSED : 0, &error),
                         fails ? TERN_EREFUSED : 0);
        if (fails) {
            memcpy(model, before, sizeof model);
            assert_true(tern_vector_store_seq(store) == committed);
        }
        compare(store, (unsigned)(tern_test_random(&seed) % COLLECTIONS), &seed);
        if (tern_test_random(&seed) % 8 == 0)
            purge(store, (unsigned)(tern_test_random(&seed) % COLLECTIONS), &seed);
        if (tern_test_random(&seed) % 16 == 0) {
            committed = tern_vector_store_seq(store);
            tern_vector_store_close(store);
            store = open_store();
            assert_true(tern_vector_store_seq(store) == committed);
            assert_memory_equal(tern_vector_store_id(store), id, 16);
            for (unsigned c = 0; c < COLLECTIONS; c++) {
                assert_int_equal(collection(store, names[c]), c + 1);
                assert_true(tern_vector_store_purged(store, c + 1) == model_purged[c]);
            }
            last = committed; /* what no commit has named may come again */
        }
    }
    tern_vector_store_close(store);
}

static void numbers_outlive_what_they_counted(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    uint32_t docs = collection(store, "docs");
    const float vector[2] = {1, 2};
    struct tern_error error = {0};
    uint64_t seq = 0, removed = 0, again = 0;
    unsigned purged = 0;
    bool found = false;

    assert_int_equal(tern_vector_store_begin(store, &error), 0);
    assert_int_equal(tern_vector_store_put(store, docs, 7, vector, 2, NULL, 0, &seq, &error), 0);
    assert_int_equal(tern_vector_store_remove(store, docs, 7, &removed, &found, &error), 0);
    assert_true(found);
    assert_int_equal(tern_vector_store_end(store, 0, &error), 0);
    assert_int_equal(tern_vector_store_purge(store, docs, removed, 10, &purged, &error), 0);
    assert_int_equal(purged, 1);
    tern_vector_store_close(store);

    store = open_store();
    assert_int_equal(tern_vector_store_begin(store, &error), 0);
    assert_int_equal(tern_vector_store_put(store, docs, 7, vector, 2, NULL, 0, &again, &error), 0);
    assert_int_equal(tern_vector_store_end(store, 0, &error), 0);
    assert_true(again > removed && removed > seq);
    tern_vector_store_close(store);
}

/* --- Shapes --- */

static const struct tern_graph_column columns[] = {
    {"label", TERN_TYPE_STRING}, {"good", TERN_TYPE_BOOL}, {"tenant", TERN_TYPE_U32},
    {"time", TERN_TYPE_U64},     {"delta", TERN_TYPE_I64}, {"weight", TERN_TYPE_F32},
};

static void shapes_stay(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    const struct tern_graph_column *found;
    struct tern_error error = {0};
    uint32_t all = 0, none = 0, one = 0, again = 0;
    unsigned count = 0;

    assert_int_equal(tern_vector_store_shape(store, columns, 6, &all, &error), 0);
    assert_int_equal(tern_vector_store_shape(store, NULL, 0, &none, &error), 0);
    assert_int_equal(tern_vector_store_shape(store, columns + 1, 1, &one, &error), 0);
    tern_vector_store_close(store);
    store = open_store();
    assert_int_equal(tern_vector_store_shape(store, columns, 6, &again, &error), 0);
    assert_int_equal(again, all);
    assert_int_equal(tern_vector_store_columns(store, one, &found, &count, &error), 0);
    assert_int_equal(count, 1);
    assert_string_equal(found[0].name, "good");
    assert_int_equal(found[0].type, TERN_TYPE_BOOL);
    assert_int_equal(tern_vector_store_columns(store, none, &found, &count, &error), 0);
    assert_int_equal(count, 0);
    assert_int_equal(tern_vector_store_columns(store, 99, &found, &count, &error), TERN_ECORRUPT);
    assert_non_null(strstr(error.message, "vectors.db"));
    tern_vector_store_close(store);
}

/* --- What is wrong with the file --- */

static void put_some(struct tern_vector_store *store, unsigned count)
{
    uint32_t docs = collection(store, "docs");
    struct tern_error error = {0};
    float vector[100];

    for (unsigned i = 0; i < 100; i++)
        vector[i] = (float)i;
    assert_int_equal(tern_vector_store_begin(store, &error), 0);
    for (unsigned i = 0; i < count; i++) {
        uint64_t seq = 0;

        vector[0] = (float)i;
        assert_int_equal(tern_vector_store_put(store, docs, i, vector, 100, NULL, 0, &seq, &error),
                         0);
    }
    assert_int_equal(tern_vector_store_end(store, 0, &error), 0);
}

static bool ignore(void *context, const struct tern_vector_row *row)
{
    (void)context;
    (void)row;
    return true;
}

/* Runs SQL as another program would. */
static void with_sqlite(const char *sql)
{
    sqlite3 *database = NULL;

    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(database));
    sqlite3_close(database);
}

static void flipped_bits_are_noticed(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    struct tern_error error = {0};
    unsigned count = 0;

    put_some(store, 20);
    tern_vector_store_close(store);
    with_sqlite("UPDATE vectors_1 SET vector = zeroblob(400) WHERE id = 13");
    store = open_store();
    assert_int_equal(tern_vector_store_read(store, 1, 0, 100, ignore, NULL, &count, &error),
                     TERN_ECORRUPT);
    assert_non_null(strstr(error.message, "vector 13 of collection docs"));
    assert_non_null(strstr(error.message, "move it away"));
    assert_int_equal(count, 13);
    tern_vector_store_close(store);
    /* a row past the store's number: what is applied could not be told */
    with_sqlite("UPDATE vectors_1 SET seq = 1000 WHERE id = 0");
    store = open_store();
    assert_int_equal(tern_vector_store_read(store, 1, 20, 100, ignore, NULL, &count, &error),
                     TERN_ECORRUPT);
    tern_vector_store_close(store);
}

static void a_damaged_file_says_what_to_do(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    struct tern_error error = {0};
    static const char rubbish[64] = "this was a database once, but it is not one any more";
    int fd;

    put_some(store, 500);
    tern_vector_store_close(store);
    fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, rubbish, sizeof rubbish, 0), sizeof rubbish);
    assert_int_equal(open_code(&error), TERN_ECORRUPT);
    assert_non_null(strstr(error.message, path));
    assert_non_null(strstr(error.message, "move it away"));
    close(fd);
    assert_int_equal(unlink(path), 0);
    /* another program's database */
    with_sqlite("CREATE TABLE theirs (x)");
    assert_int_equal(open_code(&error), TERN_ECORRUPT);
    assert_non_null(strstr(error.message, "not one of tern's"));
    assert_int_equal(unlink(path), 0);
    store = open_store();
    tern_vector_store_close(store);
    with_sqlite("PRAGMA user_version = 99");
    assert_int_equal(open_code(&error), TERN_EABI);
    with_sqlite("PRAGMA user_version = 1; DELETE FROM store");
    assert_int_equal(open_code(&error), TERN_ECORRUPT);
}

static void damaged_pages_are_errors(TERN_TEST_STATE)
{
    uint64_t seed = 99;

    for (unsigned round = 0; round < 40; round++) {
        struct tern_vector_store *store = open_store();
        struct tern_error error = {0};
        unsigned count = 0;
        uint8_t page[512];
        struct stat status;
        int fd, rc;

        put_some(store, 300);
        tern_vector_store_close(store);
        fd = open(path, O_RDWR);
        assert_int_equal(fstat(fd, &status), 0);
        for (unsigned i = 0; i < sizeof page; i++)
            page[i] = (uint8_t)tern_test_random(&seed);
        assert_true(pwrite(fd, page, sizeof page,
                           (off_t)(tern_test_random(&seed) % (uint64_t)(status.st_size - 600)) +
                               100) == sizeof page);
        close(fd);
        rc = tern_vector_store_open(directory, &store, &error);
        if (rc == 0) {
            rc = tern_vector_store_read(store, 1, 0, 10000, ignore, NULL, &count, &error);
            tern_vector_store_close(store);
        }
        if (rc != 0)
            assert_non_null(strstr(error.message, "vectors.db"));
        unlink(path);
        snprintf(error.message, sizeof error.message, "%s-wal", path);
        unlink(error.message);
        snprintf(error.message, sizeof error.message, "%s-shm", path);
        unlink(error.message);
    }
}

static void only_one_opens_it(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    struct tern_error error = {0};

    assert_int_equal(open_code(&error), TERN_EBUSY);
    assert_non_null(strstr(error.message, directory));
    tern_vector_store_close(store);
}

static void a_peek_stays_at_its_moment(TERN_TEST_STATE)
{
    struct tern_vector_store *store, *peek = NULL;
    struct tern_error error = {0};
    struct tern_vector_row row;

    assert_true(tern_vector_store_peek(directory, &peek, &error) < 0); /* and makes none */
    assert_int_not_equal(access(path, F_OK), 0);
    store = open_store();
    put_some(store, 3);
    assert_int_equal(tern_vector_store_peek(directory, &peek, &error), 0);
    put_some(store, 5);
    assert_int_equal(tern_vector_store_find_collection(peek, "no such"), 0);
    assert_int_equal(tern_vector_store_find(peek, 1, 2, &row, &error), 0);
    assert_int_equal(row.seq, 3);
    assert_int_equal(tern_vector_store_find(peek, 1, 4, &row, &error), TERN_ENOENT);
    assert_non_null(strstr(error.message, "has no vector 4"));
    tern_vector_store_close(peek);
    tern_vector_store_close(store);
}

static void a_locked_file_is_an_error(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    struct tern_error error = {0};
    uint64_t before, seq = 0;
    const float vector[1] = {1};
    sqlite3 *other = NULL;

    put_some(store, 3);
    before = tern_vector_store_seq(store);
    tern_vector_store_set_patience(store, 10);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(tern_vector_store_begin(store, &error), TERN_EBUSY);
    assert_non_null(strstr(error.message, "nothing was written"));
    sqlite3_close(other);
    assert_int_equal(tern_vector_store_begin(store, &error), 0);
    assert_int_equal(tern_vector_store_put(store, 1, 1, vector, 1, NULL, 0, &seq, &error), 0);
    assert_int_equal(tern_vector_store_end(store, 0, &error), 0);
    assert_true(seq > before);
    tern_vector_store_close(store);
}

/* A file that may not grow fails in the middle of a transaction, as on a full disk. */
static void what_does_not_fit_is_not_there(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    struct tern_error error = {0};
    struct rlimit limit, old;
    static float vector[TERN_DIM_MAX];
    uint64_t before, seq = 0, count = 0;
    int rc;

    put_some(store, 3);
    before = tern_vector_store_seq(store);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(tern_vector_store_begin(store, &error), 0);
    rc = 0;
    for (unsigned i = 0; i < 1000 && rc == 0; i++)
        rc = tern_vector_store_put(store, 1, 1000 + i, vector, TERN_DIM_MAX, NULL, 0, &seq, &error);
    rc = tern_vector_store_end(store, rc, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(rc == TERN_ENOSPC || rc == TERN_EIO);
    assert_non_null(strstr(error.message, path));
    assert_true(tern_vector_store_seq(store) == before);
    assert_int_equal(tern_vector_store_count(store, 1, &count, &error), 0);
    assert_int_equal(count, 3);
    put_some(store, 5);
    assert_true(tern_vector_store_seq(store) > seq);
    assert_int_equal(tern_vector_store_count(store, 1, &count, &error), 0);
    assert_int_equal(count, 5);
    tern_vector_store_close(store);
}

static void a_file_that_goes_is_noticed(TERN_TEST_STATE)
{
    struct tern_vector_store *store = open_store();
    struct tern_error error = {0};
    char aside[128];

    put_some(store, 3);
    snprintf(aside, sizeof aside, "%s/aside", directory);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(tern_vector_store_begin(store, &error), TERN_ENOENT);
    assert_non_null(strstr(error.message, "taken away"));
    assert_int_equal(rename(aside, path), 0);
    put_some(store, 3);
    tern_vector_store_close(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(agrees_with_an_array),
        TEST(numbers_outlive_what_they_counted),
        TEST(shapes_stay),
        TEST(flipped_bits_are_noticed),
        TEST(a_damaged_file_says_what_to_do),
        TEST(damaged_pages_are_errors),
        TEST(only_one_opens_it),
        TEST(a_peek_stays_at_its_moment),
        TEST(a_locked_file_is_an_error),
        TEST(what_does_not_fit_is_not_there),
        TEST(a_file_that_goes_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
