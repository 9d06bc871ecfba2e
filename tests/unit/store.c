#include "tests/unit/unit.h"

#include "controlplane/store_private.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64];

static int make_directory(TERN_TEST_STATE)
{
    /* thousands of commits: not onto a disk */
    strcpy(directory, "/dev/shm/tern-unit-store-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int remove_directory(TERN_TEST_STATE)
{
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm"};
    int fd = open(directory, O_RDONLY | O_DIRECTORY);

    for (unsigned i = 0; i < TERN_COUNT(names); i++)
        unlinkat(fd, names[i], 0);
    close(fd);
    return rmdir(directory);
}

static struct tern_store *open_store(void)
{
    struct tern_store *store = NULL;
    struct tern_error error = {0};

    if (tern_store_open(directory, &store, &error) != 0)
        fail_msg("%s", error.message);
    return store;
}

static char *database_path(void)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/state.db", directory);
    return path;
}

static void secret_and_numbers_survive(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    uint8_t first[32] = {0}, second[32] = {0}, zero[32] = {0};
    struct tern_pipeline_numbers numbers = {7, 9, 11}, read = {0};
    struct stat status;

    assert_int_equal(tern_store_secret(store, first, NULL), 0);
    assert_memory_not_equal(first, zero, 32);
    assert_int_equal(tern_store_begin(store, &numbers, NULL, NULL), 0);
    /* numbers only grow, each on its own */
    numbers = (struct tern_pipeline_numbers){5, 10, 1};
    assert_int_equal(tern_store_begin(store, &numbers, NULL, NULL), 0);
    tern_store_close(store);

    store = open_store();
    assert_int_equal(tern_store_secret(store, second, NULL), 0);
    assert_memory_equal(first, second, 32);
    assert_int_equal(tern_store_numbers(store, &read, NULL), 0);
    assert_int_equal(read.generation, 7);
    assert_int_equal(read.announcement, 10);
    assert_int_equal(read.epoch, 11);
    tern_store_close(store);

    assert_int_equal(stat(database_path(), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void publish(struct tern_store *store, uint64_t generation, const char *text,
                    enum tern_history_state state)
{
    struct tern_pipeline_numbers numbers = {generation, generation, generation};
    struct tern_history_row row = {
        .generation = generation,
        .state = TERN_HISTORY_PUBLISHING,
        .kind = TERN_HISTORY_APPLY,
        .at_us = 1000 * generation,
        .uid = 12,
        .config_text = (char *)text,
        .config_length = strlen(text),
        .config_path = (char *)"/etc/tern/edge.yaml",
        .message = (char *)"why",
    };

    tern_store_config_hash(text, strlen(text), row.config_hash);
    assert_int_equal(tern_store_begin(store, &numbers, &row, NULL), 0);
    assert_true(row.id > 0);
    if (state == TERN_HISTORY_PUBLISHING)
        return;
    row.state = state;
    row.rules = 3;
    row.rows = 4;
    row.bytes = 5;
    row.duration_ms = 1.5;
    row.reason = state == TERN_HISTORY_FAILED ? (char *)"seat 0 rejected it" : NULL;
    assert_int_equal(tern_store_finish(store, &row, NULL), 0);
}

static void history_tells_what_happened(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_history_query query = {.limit = 10, .with_text = true};
    struct tern_history_row *rows = NULL;
    unsigned count = 0;

    publish(store, 1, "tern: 1\n", TERN_HISTORY_LIVE);
    publish(store, 2, "tern: 1\n# two\n", TERN_HISTORY_FAILED);
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_int_equal(rows[0].generation, 2);
    assert_int_equal(rows[0].state, TERN_HISTORY_FAILED);
    assert_string_equal(rows[0].reason, "seat 0 rejected it");
    assert_string_equal(rows[0].config_text, "tern: 1\n# two\n");
    assert_int_equal(rows[1].generation, 1);
    assert_int_equal(rows[1].state, TERN_HISTORY_LIVE);
    assert_int_equal(rows[1].rules, 3);
    assert_int_equal(rows[1].rows, 4);
    assert_int_equal(rows[1].bytes, 5);
    assert_int_equal(rows[1].uid, 12);
    assert_true(rows[1].duration_ms == 1.5);
    assert_string_equal(rows[1].message, "why");
    assert_string_equal(rows[1].config_path, "/etc/tern/edge.yaml");
    tern_history_free(rows, count);

    query = (struct tern_history_query){.limit = 10, .live_only = true};
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_null(rows[0].config_text);
    tern_history_free(rows, count);

    query = (struct tern_history_query){.limit = 10, .generation = 77};
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    assert_int_equal(count, 0);
    tern_history_free(rows, count);
    tern_store_close(store);
}

static void crash_is_settled_by_the_arena(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_history_query query = {.limit = 10};
    struct tern_history_row *rows = NULL;
    unsigned count = 0, settled = 99;

    publish(store, 1, "a", TERN_HISTORY_LIVE);
    publish(store, 2, "b", TERN_HISTORY_PUBLISHING);
    publish(store, 3, "c", TERN_HISTORY_PUBLISHING);
    tern_store_close(store);

    store = open_store();
    assert_int_equal(tern_store_settle(store, 2, &settled, NULL), 0);
    assert_int_equal(settled, 2);
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    assert_int_equal(count, 3);
    assert_int_equal(rows[0].state, TERN_HISTORY_FAILED);
    assert_string_equal(rows[0].reason, "interrupted before the swap");
    assert_int_equal(rows[1].state, TERN_HISTORY_LIVE);
    assert_int_equal(rows[2].state, TERN_HISTORY_LIVE);
    tern_history_free(rows, count);
    tern_store_close(store);
}

static void texts_and_rows_are_bounded(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_history_query query = {.limit = UINT32_MAX, .with_text = true};
    struct tern_history_row *rows = NULL;
    unsigned count = 0, with_text = 0;
    char text[32];

    for (unsigned i = 1; i <= TERN_STORE_TEXTS + 10; i++) {
        snprintf(text, sizeof text, "configuration %u", i);
        publish(store, i, text, TERN_HISTORY_LIVE);
    }
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    assert_int_equal(count, TERN_STORE_TEXTS + 10);
    for (unsigned i = 0; i < count; i++)
        with_text += rows[i].config_text != NULL;
    assert_int_equal(with_text, TERN_STORE_TEXTS);
    assert_non_null(rows[0].config_text);
    assert_null(rows[count - 1].config_text);
    tern_history_free(rows, count);
    assert_int_equal(tern_store_audit(store, 1, 2, "apply", "ok", NULL), 0);
    tern_store_close(store);
}

/* A database of version 1 is brought up to date, and loses nothing. */
static void older_versions_are_upgraded(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_history_query query = {.limit = 10, .with_text = true};
    struct tern_history_row *rows = NULL;
    struct tern_sources_hold hold = {.since_us = 9};
    unsigned count = 0;
    sqlite3 *database;

    publish(store, 1, "a", TERN_HISTORY_LIVE);
    tern_store_close(store);
    assert_int_equal(sqlite3_open(database_path(), &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database,
                                  "ALTER TABLE history DROP COLUMN details;"
                                  "ALTER TABLE history DROP COLUMN rules_hash;"
                                  "DROP TABLE hold; PRAGMA user_version = 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(database);

    store = open_store();
    publish(store, 2, "b", TERN_HISTORY_LIVE);
    assert_int_equal(tern_store_hold(store, &hold, NULL), 0);
    assert_int_equal(hold.since_us, 0);
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_string_equal(rows[1].config_text, "a");
    assert_null(rows[1].rules_text);
    assert_int_equal(rows[1].details_length, 0);
    tern_history_free(rows, count);
    tern_store_close(store);
}

static void rules_and_details_are_kept(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_pipeline_numbers numbers = {1, 1, 1};
    struct tern_history_query query = {.limit = 10, .with_text = true};
    struct tern_history_row *rows = NULL, row = {
                                              .generation = 1,
                                              .config_text = (char *)"tables",
                                              .config_length = 6,
                                              .rules_text = (char *)"rules",
                                              .rules_length = 5,
                                              .details = (uint8_t *)"a\0b",
                                              .details_length = 3,
                                          };
    unsigned count = 0;

    tern_store_config_hash("tables", 6, row.config_hash);
    tern_store_config_hash("rules", 5, row.rules_hash);
    assert_int_equal(tern_store_begin(store, &numbers, &row, NULL), 0);
    row.state = TERN_HISTORY_LIVE;
    row.message = (char *)"later";
    assert_int_equal(tern_store_finish(store, &row, NULL), 0);
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].config_text, "tables");
    assert_string_equal(rows[0].rules_text, "rules");
    assert_memory_equal(rows[0].rules_hash, row.rules_hash, 16);
    assert_int_equal(rows[0].details_length, 3);
    assert_memory_equal(rows[0].details, "a\0b", 3);
    assert_string_equal(rows[0].message, "later");
    tern_history_free(rows, count);
    query.with_text = false;
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    assert_null(rows[0].config_text);
    assert_null(rows[0].details);
    tern_history_free(rows, count);
    tern_store_close(store);
}

static void holds_survive(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_sources_hold hold = {.since_us = 5, .generation = 6, .uid = 7}, read = {0};

    assert_int_equal(tern_store_set_hold(store, &hold, NULL), 0);
    tern_store_close(store);
    store = open_store();
    assert_int_equal(tern_store_hold(store, &read, NULL), 0);
    assert_int_equal(read.since_us, 5);
    assert_int_equal(read.generation, 6);
    assert_int_equal(read.uid, 7);
    tern_store_close(store);
}

static void add_row(struct tern_store *store, enum tern_history_kind kind,
                    enum tern_history_state state, const char *text)
{
    struct tern_history_row row = {.generation = 1, .kind = kind, .state = state};

    if (text != NULL) {
        row.config_text = (char *)(uintptr_t)text;
        row.config_length = strlen(text);
        tern_store_config_hash(text, strlen(text), row.config_hash);
    }
    assert_int_equal(tern_store_finish(store, &row, NULL), 0);
}

/* Neither failures nor refreshes push out what is served and its text. */
static void what_was_served_outlives_what_failed(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_history_query query = {.limit = UINT32_MAX, .with_text = true};
    struct tern_history_row *rows = NULL;
    unsigned count = 0, refreshes = 0;
    char text[32];

    assert_int_equal(tern_store_set_hold(store, &(struct tern_sources_hold){0}, NULL), 0);
    add_row(store, TERN_HISTORY_APPLY, TERN_HISTORY_LIVE, "good");
    for (unsigned i = 0; i < TERN_STORE_TEXTS + 5; i++) {
        snprintf(text, sizeof text, "bad %u", i);
        add_row(store, TERN_HISTORY_APPLY, TERN_HISTORY_FAILED, text);
    }
    for (unsigned i = 0; i < TERN_STORE_REFRESHES + 5; i++)
        add_row(store, TERN_HISTORY_REFRESH, TERN_HISTORY_FAILED, NULL);
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    for (unsigned i = 0; i < count; i++)
        refreshes += rows[i].kind == TERN_HISTORY_REFRESH;
    assert_int_equal(refreshes, TERN_STORE_REFRESHES);
    assert_int_equal(count, TERN_STORE_REFRESHES + TERN_STORE_TEXTS + 6);
    assert_string_equal(rows[count - 1].config_text, "good");
    tern_history_free(rows, count);
    query.no_refreshes = true;
    assert_int_equal(tern_store_history(store, &query, &rows, &count, NULL), 0);
    assert_int_equal(count, TERN_STORE_TEXTS + 6);
    tern_history_free(rows, count);
    tern_store_close(store);
}

/* SQLite would go on writing into a file that nobody will find again. */
static void a_file_taken_away_is_an_error(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_pipeline_numbers numbers = {1, 1, 1};
    struct tern_error error = {0};
    char aside[160];

    snprintf(aside, sizeof aside, "%s.aside", database_path());
    assert_int_equal(rename(database_path(), aside), 0);
    assert_int_equal(tern_store_begin(store, &numbers, NULL, &error), TERN_ENOENT);
    assert_non_null(strstr(error.message, database_path()));
    fclose(fopen(database_path(), "w"));
    assert_int_equal(tern_store_begin(store, &numbers, NULL, &error), TERN_ECORRUPT);
    assert_non_null(strstr(error.message, "replaced"));
    assert_int_equal(rename(aside, database_path()), 0);
    assert_int_equal(tern_store_begin(store, &numbers, NULL, &error), 0);
    tern_store_close(store);
}

static void a_locked_file_is_an_error_in_time(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_pipeline_numbers numbers = {1, 1, 1};
    struct tern_error error = {0};
    sqlite3 *database;

    tern_store_set_patience(store, 20);
    assert_int_equal(sqlite3_open(database_path(), &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(tern_store_begin(store, &numbers, NULL, &error), TERN_EBUSY);
    assert_non_null(strstr(error.message, "locked"));
    assert_int_equal(sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
    assert_int_equal(tern_store_begin(store, &numbers, NULL, &error), 0);
    tern_store_close(store);
}

static void audits_come_back_newest_first(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_audit_row *rows = NULL;
    unsigned count = 9;

    assert_int_equal(tern_store_audits(store, 5, &rows, &count, NULL), 0);
    assert_int_equal(count, 0);
    tern_audit_free(rows, count);
    assert_int_equal(tern_store_audit(store, 1, 2, "apply x", "generation 1", NULL), 0);
    assert_int_equal(tern_store_audit(store, 3, 4, "rollback", "refused: no", NULL), 0);
    assert_int_equal(tern_store_audits(store, 5, &rows, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].action, "rollback");
    assert_string_equal(rows[0].outcome, "refused: no");
    assert_int_equal(rows[0].uid, 3);
    assert_int_equal(rows[1].pid, 2);
    tern_audit_free(rows, count);
    assert_int_equal(tern_store_audits(store, 1, &rows, &count, NULL), 0);
    assert_int_equal(count, 1);
    tern_audit_free(rows, count);
    tern_store_close(store);
}

/* Records may be lost to a power failure, generation numbers may not: also not after a record that
 * could not be written. */
static void audits_that_fail_weaken_nothing(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    int64_t synchronous = 0;
    sqlite3 *other;

    tern_store_set_patience(store, 5);
    assert_int_equal(sqlite3_open(database_path(), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(tern_store_audit(store, 1, 2, "apply x", "generation 1", NULL), TERN_EBUSY);
    sqlite3_close(other);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(
            tern_database_integer(&store->database, "PRAGMA synchronous", &synchronous, NULL), 0);
        assert_int_equal(synchronous, 2); /* FULL */
        assert_int_equal(tern_store_audit(store, 1, 2, "apply x", "generation 1", NULL), 0);
    }
    tern_store_close(store);
}

static void damaged_files_are_named(TERN_TEST_STATE)
{
    struct tern_store *store = NULL;
    struct tern_error error = {0};
    FILE *file = fopen(database_path(), "w");

    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database ", file);
    fclose(file);
    assert_int_equal(tern_store_open(directory, &store, &error), TERN_ECORRUPT);
    assert_null(store);
    assert_non_null(strstr(error.message, database_path()));
}

static void newer_versions_are_refused(TERN_TEST_STATE)
{
    struct tern_store *store = open_store();
    struct tern_error error = {0};
    sqlite3 *database;

    tern_store_close(store);
    store = NULL;
    assert_int_equal(sqlite3_open(database_path(), &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "PRAGMA user_version = 99", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(database);
    assert_int_equal(tern_store_open(directory, &store, &error), TERN_EABI);
    assert_non_null(strstr(error.message, "version 99"));
}

/* What is known of loads is known of one store of vectors: another one has nothing of them. */
static void loads_are_of_one_store_of_vectors(TERN_TEST_STATE)
{
    const uint8_t here[16] = "this", there[16] = "the other";
    const struct tern_store_load begun = {TERN_STORE_LOAD_BEGUN, 12345, "a file"},
                                 done = {TERN_STORE_LOAD_DONE, 7, "a file"};
    struct tern_store *store = open_store();
    struct tern_store_load load = done;

    assert_int_equal(tern_store_load(store, "docs", here, &load, NULL), 0);
    assert_int_equal(load.state, TERN_STORE_LOAD_NONE);
    assert_int_equal(tern_store_set_load(store, "docs", here, &begun, NULL), 0);
    assert_int_equal(tern_store_set_load(store, "secret", here, &done, NULL), 0);
    tern_store_close(store);
    store = open_store();
    assert_int_equal(tern_store_load(store, "docs", here, &load, NULL), 0);
    assert_int_equal(load.state, TERN_STORE_LOAD_BEGUN);
    assert_int_equal(load.rows, begun.rows);
    assert_memory_equal(load.file, begun.file, sizeof load.file);
    assert_int_equal(tern_store_load(store, "docs", there, &load, NULL), 0);
    assert_int_equal(load.state, TERN_STORE_LOAD_NONE);
    assert_int_equal(tern_store_load(store, "secret", here, &load, NULL), 0);
    assert_int_equal(load.state, TERN_STORE_LOAD_DONE);
    assert_int_equal(tern_store_set_load(store, "docs", here, &done, NULL), 0);
    assert_int_equal(tern_store_load(store, "docs", here, &load, NULL), 0);
    assert_int_equal(load.state, TERN_STORE_LOAD_DONE);
    tern_store_close(store);
}

static void missing_directories_are_named(TERN_TEST_STATE)
{
    struct tern_store *store = NULL;
    struct tern_error error = {0};

    assert_int_equal(tern_store_open("/nonexistent-tern", &store, &error), TERN_ENOENT);
    assert_non_null(strstr(error.message, "/nonexistent-tern/state.db"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(secret_and_numbers_survive),        TEST(history_tells_what_happened),
        TEST(crash_is_settled_by_the_arena),     TEST(texts_and_rows_are_bounded),
        TEST(damaged_files_are_named),           TEST(newer_versions_are_refused),
        TEST(missing_directories_are_named),     TEST(older_versions_are_upgraded),
        TEST(rules_and_details_are_kept),        TEST(holds_survive),
        TEST(loads_are_of_one_store_of_vectors), TEST(what_was_served_outlives_what_failed),
        TEST(a_file_taken_away_is_an_error),     TEST(a_locked_file_is_an_error_in_time),
        TEST(audits_come_back_newest_first),     TEST(audits_that_fail_weaken_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
