/* What state.db and vectors.db have in common: failures told in the words of the file at hand. */
#include "tests/unit/unit.h"

#include "controlplane/database.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct tern_database_advice advice = {
    .locked = "; wait",
    .full = "no room; make some",
    .damaged = "mend it",
    .gone = "look for it",
};
static char directory[64];
static struct tern_database database;

static const char *path_of(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static int set_up(TERN_TEST_STATE)
{
    struct tern_error error = {0};

    strcpy(directory, "/dev/shm/tern-unit-database-XXXXXX");
    if (mkdtemp(directory) == NULL ||
        tern_database_open(&database, directory, "some.db", &advice, &error) != 0)
        return 1;
    return tern_database_execute(&database, "CREATE TABLE t (x)", &error);
}

static int tear_down(TERN_TEST_STATE)
{
    static const char *const names[] = {"some.db", "some.db-wal", "some.db-shm", "aside", "link"};

    tern_database_close(&database);
    for (unsigned i = 0; i < TERN_COUNT(names); i++)
        unlink(path_of(names[i]));
    return rmdir(directory);
}

/* "PATH" and what follows it, nothing else. */
static void assert_says(const struct tern_error *error, const char *rest)
{
    char expected[256];

    snprintf(expected, sizeof expected, "%s%s", path_of("some.db"), rest);
    assert_string_equal(error->message, expected);
}

static void a_file_is_its_owners(TERN_TEST_STATE)
{
    struct tern_database other = {0};
    struct tern_error error = {0};
    struct stat status;

    assert_int_equal(stat(database.path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    /* where a link leads is somebody else's choice */
    assert_int_equal(symlink("some.db", path_of("link")), 0);
    assert_true(tern_database_open(&other, directory, "link", &advice, &error) < 0);
    assert_non_null(strstr(error.message, path_of("link")));
    assert_null(other.handle);
    assert_null(other.path);
}

static void a_place_that_is_lost_is_told(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    char aside[128];

    strcpy(aside, path_of("aside"));
    assert_int_equal(rename(database.path, aside), 0);
    assert_int_equal(tern_database_begin(&database, &error), TERN_ENOENT);
    assert_says(&error, " was taken away while in use; look for it: No such file or directory");
    assert_int_equal(close(open(database.path, O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(tern_database_begin(&database, &error), TERN_ECORRUPT);
    assert_says(&error, " was replaced while in use; restart tern-control");
    assert_int_equal(rename(aside, database.path), 0);
    assert_int_equal(tern_database_begin(&database, &error), 0);
    assert_int_equal(tern_database_end(&database, 0, &error), 0);
}

static void another_programs_lock_is_told(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    sqlite3 *other = NULL;

    tern_database_set_patience(&database, 5);
    assert_int_equal(sqlite3_open(database.path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(tern_database_begin(&database, &error), TERN_EBUSY);
    assert_says(&error, " is locked by another program; wait");
    sqlite3_close(other);
    assert_int_equal(tern_database_begin(&database, &error), 0);
    assert_int_equal(tern_database_end(&database, 0, &error), 0);
}

static void what_fails_leaves_nothing(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    int64_t count = -1;
    int rc;

    /* of what ends in the caller's own failure, and of what does not fit */
    assert_int_equal(tern_database_begin(&database, &error), 0);
    rc = tern_database_execute(&database, "INSERT INTO t VALUES (1)", &error);
    assert_int_equal(rc, 0);
    assert_int_equal(tern_database_end(&database, TERN_EREFUSED, &error), TERN_EREFUSED);
    assert_int_equal(tern_database_execute(&database, "PRAGMA max_page_count = 1", &error), 0);
    assert_int_equal(tern_database_begin(&database, &error), 0);
    rc = tern_database_execute(&database, "INSERT INTO t VALUES (zeroblob(100000))", &error);
    assert_int_equal(tern_database_end(&database, rc, &error), TERN_ENOSPC);
    assert_says(&error, ": no room; make some");
    assert_int_equal(tern_database_integer(&database, "SELECT count(*) FROM t", &count, &error), 0);
    assert_int_equal(count, 0);
}

static void damage_is_told(TERN_TEST_STATE)
{
    struct tern_database other = {0};
    struct tern_error error = {0};
    FILE *file = fopen(path_of("aside"), "w");

    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database ", file);
    fclose(file);
    assert_int_equal(tern_database_open(&other, directory, "aside", &advice, &error),
                     TERN_ECORRUPT);
    assert_non_null(strstr(error.message, path_of("aside")));
    assert_non_null(strstr(error.message, " is damaged (file is not a database); mend it"));
    assert_null(other.handle);
    assert_int_equal(tern_database_damaged(&database, &error, "row %d", 7), TERN_ECORRUPT);
    assert_says(&error, " is damaged (row 7); mend it");
}

/* A statement that is kept runs again with new values, those of before forgotten; one that fails
 * does not spoil the next run. */
static void statements_are_kept(TERN_TEST_STATE)
{
    struct tern_error error = {0};
    sqlite3_stmt *insert = NULL, *first;
    int64_t sum = 0;

    assert_int_equal(
        tern_database_execute(&database, "CREATE TABLE u (x INTEGER PRIMARY KEY)", &error), 0);
    assert_int_equal(
        tern_database_keep(&database, "INSERT INTO u VALUES (ifnull(?, 40))", &insert, &error), 0);
    first = insert;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(tern_database_keep(&database, "not even SQL", &insert, &error), 0);
        assert_ptr_equal(insert, first);
        if (i == 0)
            sqlite3_bind_int64(insert, 1, 2);
        assert_int_equal(tern_database_run(&database, insert, &error), i == 2 ? TERN_EIO : 0);
    }
    assert_says(&error, ": UNIQUE constraint failed: u.x");
    sqlite3_bind_int64(insert, 1, 100);
    assert_int_equal(tern_database_finish(&database, insert, &error), 0);
    assert_int_equal(tern_database_integer(&database, "SELECT sum(x) FROM u", &sum, &error), 0);
    assert_int_equal(sum, 142);
    assert_int_equal(tern_database_prepare(&database, "not even SQL", &insert, &error), TERN_EIO);
    assert_says(&error, ": near \"not\": syntax error");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_its_owners),
        TEST(a_place_that_is_lost_is_told),
        TEST(another_programs_lock_is_told),
        TEST(what_fails_leaves_nothing),
        TEST(damage_is_told),
        TEST(statements_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
