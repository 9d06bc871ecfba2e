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

/* Rows lie in the order of their sequence numbers: a replay is one scan from its first row, and new
 * rows go to the end. The partial index makes tombstones cheap to find and costs the rest nothing.
 */
static const char table_schema[] =
    "CREATE TABLE vectors_%u (seq INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, vector BLOB,"
    "  payload BLOB, checksum INTEGER);"
    "CREATE INDEX removed_%u ON vectors_%u (seq) WHERE vector IS NULL;";

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

/* --- Collections --- */

static int add_table(struct tern_vector_store *store, const char *name, uint64_t purged,
                     struct tern_error *error)
{
    struct tern_vector_table *table = calloc(1, sizeof *table);

    if (table == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    snprintf(table->name, sizeof table->name, "%s", name);
    table->number = store->table_count + 1;
    table->purged = purged;
    store->tables[store->table_count++] = table;
    return 0;
}

static int read_tables(struct tern_vector_store *store, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_vector_store_prepare(
                    store, "SELECT number, name, purged FROM collections ORDER BY number",
                    &statement, error);

    if (rc != 0)
        return rc;
    while (rc == 0 && (status = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(statement, 1);
        sqlite3_int64 number = sqlite3_column_int64(statement, 0);

        if (number != store->table_count + 1 || number > TERN_VECTOR_COLLECTIONS_MAX ||
            name == NULL || strlen(name) > TERN_NAME_MAX)
            rc = tern_vector_store_damaged(store, error, "its list of collections");
        else
            rc = add_table(store, name, (uint64_t)sqlite3_column_int64(statement, 2), error);
    }
    if (rc == 0 && status != SQLITE_DONE)
        rc = tern_vector_store_error(store, error, status);
    sqlite3_finalize(statement);
    return rc;
}

static int make_table(struct tern_vector_store *store, const char *name, struct tern_error *error)
{
    unsigned number = store->table_count + 1;
    sqlite3_stmt *statement;
    char sql[sizeof table_schema + 32];
    int status, rc;

    snprintf(sql, sizeof sql, table_schema, number, number, number);
    rc = tern_vector_store_execute(store, sql, error);
    if (rc == 0)
        rc = tern_vector_store_prepare(
            store, "INSERT INTO collections (number, name) VALUES (?, ?)", &statement, error);
    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, number);
    sqlite3_bind_text(statement, 2, name, -1, SQLITE_STATIC);
    status = sqlite3_step(statement);
    if (status != SQLITE_DONE)
        rc = tern_vector_store_error(store, error, status);
    sqlite3_finalize(statement);
    return rc;
}

int tern_vector_store_collection(struct tern_vector_store *store, const char *name,
                                 uint32_t *number, struct tern_error *error)
{
    int rc;

    for (uint32_t i = 0; i < store->table_count; i++)
        if (strcmp(store->tables[i]->name, name) == 0) {
            *number = i + 1;
            return 0;
        }
    if (store->table_count == TERN_VECTOR_COLLECTIONS_MAX)
        return tern_error_set(
            error, TERN_ELIMIT,
            "%s holds %u collections by now, those included that no configuration "
            "names any more; '%s' does not fit",
            store->path, TERN_VECTOR_COLLECTIONS_MAX, name);
    rc = tern_vector_store_lock(store, error);
    if (rc != 0)
        return rc;
    rc = tern_vector_store_unlock(store, make_table(store, name, error), error);
    if (rc == 0)
        rc = add_table(store, name, 0, error);
    if (rc == 0)
        *number = store->table_count;
    return rc;
}

/* --- Shapes: per column u8 type, u8 length, name --- */

static size_t pack_columns(const struct tern_graph_column *columns, unsigned count,
                           uint8_t packed[TERN_PAYLOAD_COLUMNS_MAX * (2 + TERN_NAME_MAX)])
{
    size_t length = 0;

    for (unsigned i = 0; i < count; i++) {
        size_t name = strlen(columns[i].name);

        packed[length] = columns[i].type;
        packed[length + 1] = (uint8_t)name;
        memcpy(packed + length + 2, columns[i].name, name);
        length += 2 + name;
    }
    return length;
}

static bool unpack_columns(const uint8_t *packed, size_t length,
                           struct tern_vector_columns *columns)
{
    while (length != 0) {
        struct tern_graph_column *column = &columns->columns[columns->count];

        if (columns->count == TERN_PAYLOAD_COLUMNS_MAX || length < 2 || packed[1] == 0 ||
            packed[1] > TERN_NAME_MAX || length < 2u + packed[1])
            return false;
        column->type = packed[0];
        memcpy(column->name, packed + 2, packed[1]);
        columns->count++;
        length -= 2u + packed[1];
        packed += 2u + packed[1];
    }
    return true;
}

static int add_shape(struct tern_vector_store *store, const uint8_t *packed, size_t length,
                     struct tern_error *error)
{
    struct tern_vector_columns *columns = calloc(1, sizeof *columns);

    if (columns == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    if (!unpack_columns(packed, length, columns)) {
        free(columns);
        return tern_vector_store_damaged(store, error, "its list of payload columns");
    }
    store->shapes[store->shape_count++] = columns;
    return 0;
}

static int read_shapes(struct tern_vector_store *store, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_vector_store_prepare(
                    store, "SELECT number, columns FROM shapes ORDER BY number", &statement, error);

    if (rc != 0)
        return rc;
    while (rc == 0 && (status = sqlite3_step(statement)) == SQLITE_ROW) {
        const void *packed = sqlite3_column_blob(statement, 1);

        if (sqlite3_column_int64(statement, 0) != store->shape_count + 1 ||
            store->shape_count == TERN_VECTOR_SHAPES_MAX)
            rc = tern_vector_store_damaged(store, error, "its list of payload columns");
        else
            rc = add_shape(store, packed, (size_t)sqlite3_column_bytes(statement, 1), error);
    }
    if (rc == 0 && status != SQLITE_DONE)
        rc = tern_vector_store_error(store, error, status);
    sqlite3_finalize(statement);
    return rc;
}

static int make_shape(struct tern_vector_store *store, const uint8_t *packed, size_t length,
                      struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_vector_store_prepare(
                    store, "INSERT INTO shapes (number, columns) VALUES (?, ?)", &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, store->shape_count + 1);
    sqlite3_bind_blob(statement, 2, packed, (int)length, SQLITE_STATIC);
    status = sqlite3_step(statement);
    if (status != SQLITE_DONE)
        rc = tern_vector_store_error(store, error, status);
    sqlite3_finalize(statement);
    return rc;
}

static bool same_columns(const struct tern_vector_columns *known,
                         const struct tern_graph_column *columns, unsigned count)
{
    bool same = known->count == count;

    for (unsigned i = 0; i < count && same; i++)
        same = known->columns[i].type == columns[i].type &&
               strcmp(known->columns[i].name, columns[i].name) == 0;
    return same;
}

int tern_vector_store_shape(struct tern_vector_store *store,
                            const struct tern_graph_column *columns, unsigned count,
                            uint32_t *shape, struct tern_error *error)
{
    uint8_t packed[TERN_PAYLOAD_COLUMNS_MAX * (2 + TERN_NAME_MAX)];
    size_t length;
    int rc;

    for (uint32_t i = 0; i < store->shape_count; i++)
        if (same_columns(store->shapes[i], columns, count)) {
            *shape = i + 1;
            return 0;
        }
    if (store->shape_count == TERN_VECTOR_SHAPES_MAX)
        return tern_error_set(error, TERN_ELIMIT, "%s knows %u sets of payload columns by now",
                              store->path, TERN_VECTOR_SHAPES_MAX);
    length = pack_columns(columns, count, packed);
    rc = tern_vector_store_lock(store, error);
    if (rc != 0)
        return rc;
    rc = tern_vector_store_unlock(store, make_shape(store, packed, length, error), error);
    if (rc == 0)
        rc = add_shape(store, packed, length, error);
    if (rc == 0)
        *shape = store->shape_count;
    return rc;
}

int tern_vector_store_columns(struct tern_vector_store *store, uint32_t shape,
                              const struct tern_graph_column **columns, unsigned *count,
                              struct tern_error *error)
{
    if (shape == 0 || shape > store->shape_count)
        return tern_vector_store_damaged(store, error, "a row has the payload columns %u",
                                         (unsigned)shape);
    *columns = store->shapes[shape - 1]->columns;
    *count = store->shapes[shape - 1]->count;
    return 0;
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
        rc = read_store(store, error);
    if (rc == 0)
        rc = read_tables(store, error);
    if (rc == 0)
        rc = read_shapes(store, error);
    if (rc == 0)
        rc = tern_checkpoint_start(store->path, store->database, &store->checkpoint, error);
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
