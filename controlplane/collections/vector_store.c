#include "controlplane/collections/vector_database.h"

#include "controlplane/directory.h"

#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

#define STORE_VERSION 1

static const struct tern_database_advice advice = {
    .locked = "; nothing was written: try again when it has let go",
    .full = "the disk is full; nothing was written: make room and try again",
    .damaged = "stop tern-control, keep a copy, and save what can be saved with `sqlite3 vectors.db"
               " .recover`, or move it away with its -wal and -shm to begin without vectors",
    .gone = "put it back or restart tern-control to begin another",
};

/* `seq` is the newest committed sequence number. It stands here and not only in the rows, so that
 * it survives the removal of the newest ones. */
static const char schema[] =
    "CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL,"
    "  seq INTEGER NOT NULL);"
    "CREATE TABLE collections (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    "  purged INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE shapes (number INTEGER PRIMARY KEY, columns BLOB NOT NULL UNIQUE);"
    "PRAGMA user_version = 1;";

/* Collections whose rows up to `seq` are dropped and not all swept away yet. Came later: a tern
 * that does not know it leaves it alone. */
static const char dropped_schema[] =
    "CREATE TABLE IF NOT EXISTS dropped (number INTEGER PRIMARY KEY, seq INTEGER NOT NULL)";

struct tern_vector_table *tern_vector_store_table(const struct tern_vector_store *store,
                                                  uint32_t number)
{
    assert(number >= 1 && number <= store->table_count);
    return store->tables[number - 1];
}

const uint8_t *tern_vector_store_id(const struct tern_vector_store *store)
{
    return store->id;
}

uint64_t tern_vector_store_seq(const struct tern_vector_store *store)
{
    return store->committed;
}

uint64_t tern_vector_store_purged(const struct tern_vector_store *store, uint32_t collection)
{
    return tern_vector_store_table(store, collection)->purged;
}

uint64_t tern_vector_store_dropped(const struct tern_vector_store *store, uint32_t collection)
{
    return tern_vector_store_table(store, collection)->dropped;
}

/* --- Opening --- */

static int create(struct tern_vector_store *store, struct tern_error *error)
{
    sqlite3_stmt *statement;
    uint8_t id[16];
    int rc;

    if (getrandom(id, sizeof id, 0) != sizeof id)
        return tern_error_system(error, errno, "cannot get random bytes for the id of %s",
                                 store->database.path);
    rc = tern_database_execute(&store->database, schema, error);
    if (rc == 0)
        rc = tern_database_prepare(&store->database, "INSERT INTO store VALUES (1, ?, 0)",
                                   &statement, error);
    if (rc != 0)
        return rc;
    sqlite3_bind_blob(statement, 1, id, sizeof id, SQLITE_STATIC);
    return tern_database_finish(&store->database, statement, error);
}

static int open_schema(struct tern_vector_store *store, struct tern_error *error)
{
    int64_t version = 0, tables = 0;
    int rc = tern_database_integer(&store->database, "PRAGMA user_version", &version, error);

    if (rc == 0 && version == 0) {
        rc = tern_database_integer(&store->database, "SELECT count(*) FROM sqlite_schema", &tables,
                                   error);
        if (rc == 0 && tables != 0)
            return tern_error_set(error, TERN_ECORRUPT,
                                  "%s is a database, but not one of tern's; move it away",
                                  store->database.path);
        if (rc == 0)
            rc = tern_database_begin(&store->database, error);
        if (rc != 0)
            return rc;
        rc = tern_database_end(&store->database, create(store, error), error);
        version = STORE_VERSION;
    }
    if (rc == 0 && version != STORE_VERSION)
        rc = tern_error_set(error, TERN_EABI, "%s has version %lld, this tern-control knows %d",
                            store->database.path, (long long)version, STORE_VERSION);
    if (rc == 0)
        rc = tern_database_execute(&store->database, dropped_schema, error);
    return rc;
}

static int read_store(struct tern_vector_store *store, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_database_prepare(&store->database, "SELECT id, seq FROM store",
                                           &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == 16 &&
        sqlite3_column_int64(statement, 1) >= 0) {
        memcpy(store->id, sqlite3_column_blob(statement, 0), 16);
        store->committed = (uint64_t)sqlite3_column_int64(statement, 1);
        store->next = store->committed + 1;
    } else if (status == SQLITE_ROW || status == SQLITE_DONE) {
        rc = tern_database_damaged(&store->database, error, "it has no id");
    } else {
        rc = tern_database_error(&store->database, error, status);
    }
    sqlite3_finalize(statement);
    return rc;
}

static int read_all(struct tern_vector_store *store, struct tern_error *error)
{
    int rc = read_store(store, error);

    if (rc == 0)
        rc = tern_vector_store_read_tables(store, error);
    if (rc == 0)
        rc = tern_vector_store_read_shapes(store, error);
    return rc;
}

int tern_vector_store_open(const char *state_dir, struct tern_vector_store **out,
                           struct tern_error *error)
{
    struct tern_vector_store *store = calloc(1, sizeof *store);
    int rc;

    if (store == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    store->lock_fd = -1;
    /* Two writers would give out the same numbers. */
    rc = tern_directory_lock(state_dir, TERN_VECTOR_STORE_LOCK, "tern-control", &store->lock_fd,
                             error);
    if (rc == 0)
        rc =
            tern_database_open(&store->database, state_dir, TERN_VECTOR_STORE_FILE, &advice, error);
    if (rc == 0)
        rc = tern_database_execute(&store->database,
                                   "PRAGMA cache_size = -16384;"
                                   "PRAGMA journal_size_limit = 67108864",
                                   error);
    if (rc == 0)
        rc = open_schema(store, error);
    if (rc == 0)
        rc = read_all(store, error);
    if (rc == 0)
        rc = tern_checkpoint_start(store->database.path, store->database.handle, &store->checkpoint,
                                   error);
    if (rc != 0) {
        tern_vector_store_close(store);
        return rc;
    }
    *out = store;
    return 0;
}

int tern_vector_store_peek(const char *state_dir, struct tern_vector_store **out,
                           struct tern_error *error)
{
    struct tern_vector_store *store = calloc(1, sizeof *store);
    int rc;

    if (store == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    store->lock_fd = -1;
    rc = tern_database_peek(&store->database, state_dir, TERN_VECTOR_STORE_FILE, &advice, error);
    /* The first reading decides which commits are seen, up to the end. */
    if (rc == 0)
        rc = tern_database_execute(&store->database, "BEGIN", error);
    if (rc == 0)
        rc = read_all(store, error);
    if (rc != 0) {
        tern_vector_store_close(store);
        return rc;
    }
    *out = store;
    return 0;
}

void tern_vector_store_set_patience(struct tern_vector_store *store, unsigned patience_ms)
{
    tern_database_set_patience(&store->database, patience_ms);
}

void tern_vector_store_close(struct tern_vector_store *store)
{
    if (store == NULL)
        return;
    tern_checkpoint_stop(store->checkpoint);
    for (uint32_t i = 0; i < store->table_count; i++) {
        sqlite3_finalize(store->tables[i]->put);
        sqlite3_finalize(store->tables[i]->remove);
        sqlite3_finalize(store->tables[i]->read);
        sqlite3_finalize(store->tables[i]->find);
        free(store->tables[i]);
    }
    for (uint32_t i = 0; i < store->shape_count; i++)
        free(store->shapes[i]);
    sqlite3_finalize(store->set_seq);
    tern_database_close(&store->database);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    free(store);
}
