#include "controlplane/store.h"

#include "controlplane/database.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_VERSION 2
#define PATIENCE_MS   2000 /* longer than any transaction of ours by two orders */
#define IMPATIENCE_MS 20   /* with a lock that was waited for in vain */

/* A configuration is kept once, however often it was applied. */
static const char schema[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE numbers (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL,"
    "  announcement INTEGER NOT NULL, epoch INTEGER NOT NULL);"
    "CREATE TABLE configs (hash BLOB PRIMARY KEY, text BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE history (id INTEGER PRIMARY KEY AUTOINCREMENT, generation INTEGER NOT NULL,"
    "  state INTEGER NOT NULL, kind INTEGER NOT NULL, at_us INTEGER NOT NULL, uid INTEGER NOT NULL,"
    "  rules INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    "  duration_ms REAL NOT NULL, restored_from INTEGER NOT NULL, message TEXT NOT NULL,"
    "  reason TEXT NOT NULL, config_path TEXT NOT NULL, config_hash BLOB NOT NULL);"
    "CREATE INDEX history_generation ON history (generation);"
    "CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at_us INTEGER NOT NULL,"
    "  uid INTEGER NOT NULL, pid INTEGER NOT NULL, action TEXT NOT NULL, outcome TEXT NOT NULL);"
    "INSERT INTO numbers VALUES (1, 0, 0, 0);";

/* Version 2: rules may come from another configuration; what changed; refreshes may be held. */
static const char to_version_2[] =
    "ALTER TABLE history ADD COLUMN rules_hash BLOB NOT NULL DEFAULT x'';"
    "ALTER TABLE history ADD COLUMN details BLOB NOT NULL DEFAULT x'';"
    "CREATE TABLE hold (one INTEGER PRIMARY KEY CHECK (one = 1), since_us INTEGER NOT NULL,"
    "  generation INTEGER NOT NULL, uid INTEGER NOT NULL);"
    "INSERT INTO hold VALUES (1, 0, 0, 0);"
    "PRAGMA user_version = 2;";

/* Every failure names the file: the operator must know which one to look at. */
int tern_store_error(const struct tern_store *store, struct tern_error *error, int status)
{
    int code;

    switch (status & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return tern_error_set(error, TERN_EBUSY, "%s is locked by another program", store->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return tern_error_set(error, TERN_ECORRUPT,
                              "%s is damaged (%s); move it away to start with an empty history",
                              store->path, sqlite3_errmsg(store->database));
    case SQLITE_NOMEM:
        code = TERN_ENOMEM;
        break;
    case SQLITE_FULL:
        code = TERN_ENOSPC;
        break;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        code = TERN_EACCES;
        break;
    default:
        code = TERN_EIO;
    }
    return tern_error_set(error, code, "%s: %s", store->path,
                          store->database != NULL ? sqlite3_errmsg(store->database)
                                                  : sqlite3_errstr(status));
}

int tern_store_execute(struct tern_store *store, const char *sql, struct tern_error *error)
{
    int status = sqlite3_exec(store->database, sql, NULL, NULL, NULL);

    return status == SQLITE_OK ? 0 : tern_store_error(store, error, status);
}

int tern_store_prepare(struct tern_store *store, const char *sql, sqlite3_stmt **statement,
                       struct tern_error *error)
{
    int status = sqlite3_prepare_v2(store->database, sql, -1, statement, NULL);

    return status == SQLITE_OK ? 0 : tern_store_error(store, error, status);
}

/* Runs a statement that yields no row, and finalizes it. */
int tern_store_finish_statement(struct tern_store *store, sqlite3_stmt *statement,
                                struct tern_error *error)
{
    int status = sqlite3_step(statement);
    int rc =
        status == SQLITE_DONE || status == SQLITE_ROW ? 0 : tern_store_error(store, error, status);

    sqlite3_finalize(statement);
    return rc;
}

/* SQLite goes on writing into a file that has lost its name: what it says is then lost as well. */
static int check_place(const struct tern_store *store, struct tern_error *error)
{
    struct stat status;

    if (stat(store->path, &status) != 0)
        return tern_error_system(error, errno,
                                 "%s was taken away while in use; restart "
                                 "tern-control to begin another",
                                 store->path);
    if (status.st_dev != store->device || status.st_ino != store->inode)
        return tern_error_set(error, TERN_ECORRUPT,
                              "%s was replaced while in use; restart tern-control", store->path);
    return 0;
}

int tern_store_begin_transaction(struct tern_store *store, struct tern_error *error)
{
    int rc = check_place(store, error);

    if (rc == 0)
        rc = tern_store_execute(store, "BEGIN IMMEDIATE", error);
    /* Whoever holds the lock for so long will not let go for the next row: waiting once is enough.
     */
    sqlite3_busy_timeout(store->database,
                         rc == TERN_EBUSY ? IMPATIENCE_MS : (int)store->patience_ms);
    return rc;
}

/* Commits when `rc` is 0, else rolls back and hands the first failure on. */
int tern_store_end_transaction(struct tern_store *store, int rc, struct tern_error *error)
{
    if (rc == 0)
        rc = tern_store_execute(store, "COMMIT", error);
    if (rc != 0)
        sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int user_version(struct tern_store *store, int *version, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_store_prepare(store, "PRAGMA user_version", &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW)
        *version = sqlite3_column_int(statement, 0);
    else
        rc = tern_store_error(store, error, status);
    sqlite3_finalize(statement);
    return rc;
}

static int create(struct tern_store *store, struct tern_error *error)
{
    uint8_t secret[32];
    sqlite3_stmt *statement;
    int rc;

    if (getrandom(secret, sizeof secret, 0) != sizeof secret)
        return tern_error_system(error, errno, "cannot get random bytes for the instance's secret");
    rc = tern_store_execute(store, schema, error);
    if (rc == 0)
        rc = tern_store_prepare(store, "INSERT INTO meta VALUES ('secret', ?)", &statement, error);
    if (rc == 0) {
        sqlite3_bind_blob(statement, 1, secret, sizeof secret, SQLITE_TRANSIENT);
        rc = tern_store_finish_statement(store, statement, error);
    }
    return rc;
}

/* From `version` to the newest. */
static int upgrade(struct tern_store *store, int version, struct tern_error *error)
{
    int rc = 0;

    _Static_assert(STORE_VERSION == 2, "one step a version");
    if (version == 0)
        rc = create(store, error);
    if (rc == 0 && version < 2)
        rc = tern_store_execute(store, to_version_2, error);
    return rc;
}

/* Checks the version, makes the tables or brings them up to date; two that start at once are kept
 * apart by the transaction. */
static int open_schema(struct tern_store *store, struct tern_error *error)
{
    int version = 0, rc = user_version(store, &version, error);

    if (rc == 0 && version < STORE_VERSION) {
        rc = tern_store_begin_transaction(store, error);
        if (rc != 0)
            return rc;
        rc = user_version(store, &version, error);
        if (rc == 0 && version < STORE_VERSION) {
            rc = upgrade(store, version, error);
            version = STORE_VERSION;
        }
        rc = tern_store_end_transaction(store, rc, error);
    }
    if (rc == 0 && version != STORE_VERSION)
        rc = tern_error_set(error, TERN_EABI, "%s has version %d, this tern-control knows %d",
                            store->path, version, STORE_VERSION);
    return rc;
}

/* SQLite would create the file with the umask's rights; its -wal and -shm take the file's. */
static int make_private(struct tern_store *store, struct tern_error *error)
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

int tern_store_open(const char *state_dir, struct tern_store **out, struct tern_error *error)
{
    struct tern_store *store = calloc(1, sizeof *store);
    int status, rc;

    if (store == NULL || asprintf(&store->path, "%s/%s", state_dir, TERN_STORE_FILE) < 0) {
        free(store);
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    }
    rc = make_private(store, error);
    if (rc == 0) {
        status =
            sqlite3_open_v2(store->path, &store->database,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
        if (status != SQLITE_OK)
            rc = tern_store_error(store, error, status);
    }
    if (rc == 0) {
        tern_store_set_patience(store, PATIENCE_MS);
        /* FULL: a generation number must not be used twice, not even after a power failure. */
        rc = tern_store_execute(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
                                error);
    }
    if (rc == 0)
        rc = open_schema(store, error);
    if (rc != 0) {
        tern_store_close(store);
        return rc;
    }
    *out = store;
    return 0;
}

void tern_store_set_patience(struct tern_store *store, unsigned patience_ms)
{
    store->patience_ms = patience_ms;
    sqlite3_busy_timeout(store->database, (int)patience_ms);
}

void tern_store_close(struct tern_store *store)
{
    if (store == NULL)
        return;
    sqlite3_close_v2(store->database);
    free(store->path);
    free(store);
}

int tern_store_secret(struct tern_store *store, uint8_t secret[32], struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_store_prepare(store, "SELECT value FROM meta WHERE name = 'secret'",
                                        &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == 32)
        memcpy(secret, sqlite3_column_blob(statement, 0), 32);
    else if (status == SQLITE_ROW || status == SQLITE_DONE)
        rc = tern_error_set(error, TERN_ECORRUPT, "%s holds no secret of 32 bytes", store->path);
    else
        rc = tern_store_error(store, error, status);
    sqlite3_finalize(statement);
    return rc;
}

int tern_store_numbers(struct tern_store *store, struct tern_pipeline_numbers *numbers,
                       struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status,
        rc = tern_store_prepare(store, "SELECT generation, announcement, epoch FROM numbers",
                                &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW) {
        numbers->generation = (uint64_t)sqlite3_column_int64(statement, 0);
        numbers->announcement = (uint64_t)sqlite3_column_int64(statement, 1);
        numbers->epoch = (uint64_t)sqlite3_column_int64(statement, 2);
    } else if (status == SQLITE_DONE) {
        rc = tern_error_set(error, TERN_ECORRUPT, "%s holds no numbers", store->path);
    } else {
        rc = tern_store_error(store, error, status);
    }
    sqlite3_finalize(statement);
    return rc;
}

int tern_store_raise_numbers(struct tern_store *store, const struct tern_pipeline_numbers *numbers,
                             struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = tern_store_prepare(store,
                                "UPDATE numbers SET generation = max(generation, ?),"
                                " announcement = max(announcement, ?), epoch = max(epoch, ?)",
                                &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)numbers->generation);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)numbers->announcement);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)numbers->epoch);
    return tern_store_finish_statement(store, statement, error);
}

void tern_store_bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    sqlite3_bind_text(statement, index, text != NULL ? text : "", -1, SQLITE_STATIC);
}

char *tern_store_column_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);

    return strdup(text != NULL ? (const char *)text : "");
}

int tern_store_hold(struct tern_store *store, struct tern_sources_hold *hold,
                    struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_store_prepare(store, "SELECT since_us, generation, uid FROM hold",
                                        &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW) {
        hold->since_us = (uint64_t)sqlite3_column_int64(statement, 0);
        hold->generation = (uint64_t)sqlite3_column_int64(statement, 1);
        hold->uid = (uint32_t)sqlite3_column_int64(statement, 2);
    } else if (status == SQLITE_DONE) {
        rc = tern_error_set(error, TERN_ECORRUPT, "%s does not say whether refreshes are held",
                            store->path);
    } else {
        rc = tern_store_error(store, error, status);
    }
    sqlite3_finalize(statement);
    return rc;
}

int tern_store_set_hold(struct tern_store *store, const struct tern_sources_hold *hold,
                        struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = tern_store_begin_transaction(store, error);

    if (rc != 0)
        return rc;
    rc = tern_store_prepare(store, "UPDATE hold SET since_us = ?, generation = ?, uid = ?",
                            &statement, error);
    if (rc == 0) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)hold->since_us);
        sqlite3_bind_int64(statement, 2, (sqlite3_int64)hold->generation);
        sqlite3_bind_int64(statement, 3, hold->uid);
        rc = tern_store_finish_statement(store, statement, error);
    }
    return tern_store_end_transaction(store, rc, error);
}

/* In `meta`, as "load NAME". */
#define LOAD_KEY "load "
struct load_value {
    uint8_t vectors_id[16];
    uint8_t file[16];
    uint64_t rows;
    uint64_t state;
};

int tern_store_load(struct tern_store *store, const char *name, const uint8_t vectors_id[16],
                    struct tern_store_load *load, struct tern_error *error)
{
    char key[sizeof LOAD_KEY + TERN_NAME_MAX];
    struct tern_store_load found = {.state = TERN_STORE_LOAD_NONE};
    struct load_value value;
    sqlite3_stmt *statement;
    int status,
        rc = tern_store_prepare(store, "SELECT value FROM meta WHERE name = ?", &statement, error);

    if (rc != 0)
        return rc;
    snprintf(key, sizeof key, LOAD_KEY "%s", name);
    tern_store_bind_text(statement, 1, key);
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == sizeof value) {
        memcpy(&value, sqlite3_column_blob(statement, 0), sizeof value);
        if (memcmp(value.vectors_id, vectors_id, sizeof value.vectors_id) == 0) {
            found.state =
                value.state == TERN_STORE_LOAD_DONE ? TERN_STORE_LOAD_DONE : TERN_STORE_LOAD_BEGUN;
            found.rows = value.rows;
            memcpy(found.file, value.file, sizeof found.file);
        }
    } else if (status != SQLITE_ROW && status != SQLITE_DONE) {
        rc = tern_store_error(store, error, status);
    }
    sqlite3_finalize(statement);
    if (rc == 0)
        *load = found;
    return rc;
}

int tern_store_set_load(struct tern_store *store, const char *name, const uint8_t vectors_id[16],
                        const struct tern_store_load *load, struct tern_error *error)
{
    char key[sizeof LOAD_KEY + TERN_NAME_MAX];
    struct load_value value = {.rows = load->rows, .state = load->state};
    sqlite3_stmt *statement;
    int rc = tern_store_begin_transaction(store, error);

    if (rc != 0)
        return rc;
    snprintf(key, sizeof key, LOAD_KEY "%s", name);
    memcpy(value.vectors_id, vectors_id, sizeof value.vectors_id);
    memcpy(value.file, load->file, sizeof value.file);
    rc = tern_store_prepare(store, "INSERT OR REPLACE INTO meta VALUES (?, ?)", &statement, error);
    if (rc == 0) {
        tern_store_bind_text(statement, 1, key);
        sqlite3_bind_blob(statement, 2, &value, sizeof value, SQLITE_STATIC);
        rc = tern_store_finish_statement(store, statement, error);
    }
    return tern_store_end_transaction(store, rc, error);
}
