#include "controlplane/collections/vector_database.h"

#include "controlplane/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_VERSION 1
#define PATIENCE_MS   2000 /* longer than any transaction of ours by two orders */
#define IMPATIENCE_MS 20   /* with a lock that was waited for in vain */

/* `seq` is the newest committed sequence number. It stands here and not only in the rows, so that
 * it survives the removal of the newest ones. */
static const char schema[] =
    "CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL,"
    "  seq INTEGER NOT NULL);"
    "CREATE TABLE collections (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    "  purged INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE shapes (number INTEGER PRIMARY KEY, columns BLOB NOT NULL UNIQUE);"
    "PRAGMA user_version = 1;";

int tern_vector_store_damaged(const struct tern_vector_store *store, struct tern_error *error,
                              const char *format, ...)
{
    char what[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return tern_error_set(
        error, TERN_ECORRUPT,
        "%s is damaged (%s); stop tern-control, keep a copy, and save what can be "
        "saved with `sqlite3 vectors.db .recover`, or move it away with its -wal "
        "and -shm to begin without vectors",
        store->path, what);
}

int tern_vector_store_error(const struct tern_vector_store *store, struct tern_error *error,
                            int status)
{
    const char *text =
        store->database != NULL ? sqlite3_errmsg(store->database) : sqlite3_errstr(status);
    int code;

    switch (status & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return tern_error_set(
            error, TERN_EBUSY,
            "%s is locked by another program; nothing was written: try again when "
            "it has let go",
            store->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return tern_vector_store_damaged(store, error, "%s", text);
    case SQLITE_NOMEM:
        code = TERN_ENOMEM;
        break;
    case SQLITE_FULL:
        return tern_error_set(error, TERN_ENOSPC,
                              "%s: the disk is full; nothing was written: make room and try again",
                              store->path);
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        code = TERN_EACCES;
        break;
    default:
        code = TERN_EIO;
    }
    return tern_error_set(error, code, "%s: %s", store->path, text);
}

int tern_vector_store_execute(struct tern_vector_store *store, const char *sql,
                              struct tern_error *error)
{
    int status = sqlite3_exec(store->database, sql, NULL, NULL, NULL);

    return status == SQLITE_OK ? 0 : tern_vector_store_error(store, error, status);
}

int tern_vector_store_prepare(struct tern_vector_store *store, const char *sql,
                              sqlite3_stmt **statement, struct tern_error *error)
{
    int status =
        sqlite3_prepare_v3(store->database, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);

    return status == SQLITE_OK ? 0 : tern_vector_store_error(store, error, status);
}

/* SQLite goes on writing into a file that has lost its name: what it says is then lost as well. */
static int check_place(const struct tern_vector_store *store, struct tern_error *error)
{
    struct stat status;

    if (stat(store->path, &status) != 0)
        return tern_error_system(error, errno,
                                 "%s was taken away while in use; put it back or restart "
                                 "tern-control to begin another",
                                 store->path);
    if (status.st_dev != store->device || status.st_ino != store->inode)
        return tern_error_set(error, TERN_ECORRUPT,
                              "%s was replaced while in use; restart tern-control", store->path);
    return 0;
}

int tern_vector_store_lock(struct tern_vector_store *store, struct tern_error *error)
{
    int rc = check_place(store, error);

    if (rc == 0)
        rc = tern_vector_store_execute(store, "BEGIN IMMEDIATE", error);
    /* Whoever holds the lock for so long will not let go for the next write: waiting once is
     * enough. */
    sqlite3_busy_timeout(store->database,
                         rc == TERN_EBUSY ? IMPATIENCE_MS : (int)store->patience_ms);
    return rc;
}

int tern_vector_store_unlock(struct tern_vector_store *store, int rc, struct tern_error *error)
{
    if (rc == 0)
        rc = tern_vector_store_execute(store, "COMMIT", error);
    if (rc != 0)
        sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

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

/* --- Opening --- */

static int read_integer(struct tern_vector_store *store, const char *sql, sqlite3_int64 *value,
                        struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_vector_store_prepare(store, sql, &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    else
        rc = tern_vector_store_error(store, error, status);
    sqlite3_finalize(statement);
    return rc;
}

static int create(struct tern_vector_store *store, struct tern_error *error)
{
    sqlite3_stmt *statement;
    uint8_t id[16];
    int status, rc;

    if (getrandom(id, sizeof id, 0) != sizeof id)
        return tern_error_system(error, errno, "cannot get random bytes for the id of %s",
                                 store->path);
    rc = tern_vector_store_execute(store, schema, error);
    if (rc == 0)
        rc = tern_vector_store_prepare(store, "INSERT INTO store VALUES (1, ?, 0)", &statement,
                                       error);
    if (rc != 0)
        return rc;
    sqlite3_bind_blob(statement, 1, id, sizeof id, SQLITE_STATIC);
    status = sqlite3_step(statement);
    if (status != SQLITE_DONE)
        rc = tern_vector_store_error(store, error, status);
    sqlite3_finalize(statement);
    return rc;
}

static int open_schema(struct tern_vector_store *store, struct tern_error *error)
{
    sqlite3_int64 version = 0, tables = 0;
    int rc = read_integer(store, "PRAGMA user_version", &version, error);

    if (rc == 0 && version == 0) {
        rc = read_integer(store, "SELECT count(*) FROM sqlite_schema", &tables, error);
        if (rc == 0 && tables != 0)
            return tern_error_set(error, TERN_ECORRUPT,
                                  "%s is a database, but not one of tern's; move it away",
                                  store->path);
        if (rc == 0)
            rc = tern_vector_store_lock(store, error);
        if (rc != 0)
            return rc;
        rc = tern_vector_store_unlock(store, create(store, error), error);
        version = STORE_VERSION;
    }
    if (rc == 0 && version != STORE_VERSION)
        rc = tern_error_set(error, TERN_EABI, "%s has version %lld, this tern-control knows %d",
                            store->path, (long long)version, STORE_VERSION);
    return rc;
}

static int read_store(struct tern_vector_store *store, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status,
        rc = tern_vector_store_prepare(store, "SELECT id, seq FROM store", &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == 16 &&
        sqlite3_column_int64(statement, 1) >= 0) {
        memcpy(store->id, sqlite3_column_blob(statement, 0), 16);
        store->committed = (uint64_t)sqlite3_column_int64(statement, 1);
        store->next = store->committed + 1;
    } else if (status == SQLITE_ROW || status == SQLITE_DONE) {
        rc = tern_vector_store_damaged(store, error, "it has no id");
    } else {
        rc = tern_vector_store_error(store, error, status);
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

/* SQLite would create the file with the umask's rights; its -wal and -shm take the file's. */
static int make_private(struct tern_vector_store *store, struct tern_error *error)
{
    int fd = open(store->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat status;
    int rc = 0;

    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %s", store->path);
    if (fchmod(fd, 0600) != 0 || fstat(fd, &status) != 0) {
        rc = tern_error_system(error, errno, "cannot make %s private", store->path);
    } else {
        store->device = status.st_dev;
        store->inode = status.st_ino;
    }
    close(fd);
    return rc;
}

static int open_database(struct tern_vector_store *store, struct tern_error *error)
{
    int status =
        sqlite3_open_v2(store->path, &store->database,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

    if (status != SQLITE_OK)
        return tern_vector_store_error(store, error, status);
    tern_vector_store_set_patience(store, PATIENCE_MS);
    /* A row of a file that was tampered with must not reach anything but our checks. */
    sqlite3_db_config(store->database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return tern_vector_store_execute(store,
                                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                     "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                                     "PRAGMA cache_size = -16384;"
                                     "PRAGMA journal_size_limit = 67108864",
                                     error);
}

int tern_vector_store_open(const char *state_dir, struct tern_vector_store **out,
                           struct tern_error *error)
{
    struct tern_vector_store *store = calloc(1, sizeof *store);
    int rc;

    if (store == NULL || asprintf(&store->path, "%s/%s", state_dir, TERN_VECTOR_STORE_FILE) < 0) {
        free(store);
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    }
    store->lock_fd = -1;
    /* Two writers would give out the same numbers. */
    rc = tern_directory_lock(state_dir, TERN_VECTOR_STORE_LOCK, "tern-control", &store->lock_fd,
                             error);
    if (rc == 0)
        rc = make_private(store, error);
    if (rc == 0)
        rc = open_database(store, error);
    if (rc == 0)
        rc = open_schema(store, error);
    if (rc == 0)
        rc = read_all(store, error);
    if (rc == 0)
        rc = tern_checkpoint_start(store->path, store->database, &store->checkpoint, error);
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
    int status, rc;

    if (store == NULL || asprintf(&store->path, "%s/%s", state_dir, TERN_VECTOR_STORE_FILE) < 0) {
        free(store);
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    }
    store->lock_fd = -1;
    status = sqlite3_open_v2(store->path, &store->database,
                             SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    rc = status == SQLITE_OK ? 0 : tern_vector_store_error(store, error, status);
    if (rc == 0) {
        tern_vector_store_set_patience(store, IMPATIENCE_MS);
        sqlite3_db_config(store->database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        /* The first reading decides which commits are seen, up to the end. */
        rc = tern_vector_store_execute(store,
                                       "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                                       "BEGIN",
                                       error);
    }
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
    store->patience_ms = patience_ms;
    sqlite3_busy_timeout(store->database, (int)patience_ms);
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
    sqlite3_close_v2(store->database);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    free(store->path);
    free(store);
}
