#include "controlplane/store.h"
#include "shared/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define STORE_VERSION   1
#define BUSY_TIMEOUT_MS 5000 /* longer than any transaction of ours by three orders */

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

struct tern_store {
    sqlite3 *database;
    char *path;
};

const char *tern_history_state_name(enum tern_history_state state)
{
    static const char *const names[] = {"publishing", "live", "failed"};

    return (unsigned)state < TERN_COUNT(names) ? names[state] : "?";
}

const char *tern_history_kind_name(enum tern_history_kind kind)
{
    static const char *const names[] = {"start", "apply", "rollback", "restore"};

    return (unsigned)kind < TERN_COUNT(names) ? names[kind] : "?";
}

void tern_history_row_clear(struct tern_history_row *row)
{
    free(row->message);
    free(row->reason);
    free(row->config_path);
    free(row->config_text);
    row->message = row->reason = row->config_path = row->config_text = NULL;
}

void tern_history_free(struct tern_history_row *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        tern_history_row_clear(&rows[i]);
    free(rows);
}

void tern_store_config_hash(const char *text, size_t length, uint8_t hash[16])
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(text, length));
    memcpy(hash, canonical.digest, 16);
}

/* Every failure names the file: the operator must know which one to look at. */
static int store_error(const struct tern_store *store, struct tern_error *error, int status)
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

static int execute(struct tern_store *store, const char *sql, struct tern_error *error)
{
    int status = sqlite3_exec(store->database, sql, NULL, NULL, NULL);

    return status == SQLITE_OK ? 0 : store_error(store, error, status);
}

static int prepare(struct tern_store *store, const char *sql, sqlite3_stmt **statement,
                   struct tern_error *error)
{
    int status = sqlite3_prepare_v2(store->database, sql, -1, statement, NULL);

    return status == SQLITE_OK ? 0 : store_error(store, error, status);
}

/* Runs a statement that yields no row, and finalizes it. */
static int finish_statement(struct tern_store *store, sqlite3_stmt *statement,
                            struct tern_error *error)
{
    int status = sqlite3_step(statement);
    int rc = status == SQLITE_DONE || status == SQLITE_ROW ? 0 : store_error(store, error, status);

    sqlite3_finalize(statement);
    return rc;
}

static int begin(struct tern_store *store, struct tern_error *error)
{
    return execute(store, "BEGIN IMMEDIATE", error);
}

/* Commits when `rc` is 0, else rolls back and hands the first failure on. */
static int end(struct tern_store *store, int rc, struct tern_error *error)
{
    if (rc == 0)
        rc = execute(store, "COMMIT", error);
    if (rc != 0)
        sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int user_version(struct tern_store *store, int *version, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = prepare(store, "PRAGMA user_version", &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW)
        *version = sqlite3_column_int(statement, 0);
    else
        rc = store_error(store, error, status);
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
    rc = execute(store, schema, error);
    if (rc == 0)
        rc = prepare(store, "INSERT INTO meta VALUES ('secret', ?)", &statement, error);
    if (rc == 0) {
        sqlite3_bind_blob(statement, 1, secret, sizeof secret, SQLITE_TRANSIENT);
        rc = finish_statement(store, statement, error);
    }
    if (rc == 0)
        rc = execute(store, "PRAGMA user_version = 1", error);
    return rc;
}

/* Checks the version, or makes the tables; two that start at once are kept apart by the
 * transaction. */
static int open_schema(struct tern_store *store, struct tern_error *error)
{
    int version = 0, rc = user_version(store, &version, error);

    _Static_assert(STORE_VERSION == 1, "the pragma in create() says 1");
    if (rc == 0 && version == 0) {
        rc = begin(store, error);
        if (rc != 0)
            return rc;
        rc = user_version(store, &version, error);
        if (rc == 0 && version == 0) {
            rc = create(store, error);
            version = STORE_VERSION;
        }
        rc = end(store, rc, error);
    }
    if (rc == 0 && version != STORE_VERSION)
        rc = tern_error_set(error, TERN_EABI, "%s has version %d, this tern-control knows %d",
                            store->path, version, STORE_VERSION);
    return rc;
}

/* SQLite would create the file with the umask's rights; its -wal and -shm take the file's. */
static int make_private(const char *path, struct tern_error *error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = 0;

    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %s", path);
    if (fchmod(fd, 0600) != 0)
        rc = tern_error_system(error, errno, "cannot make %s private", path);
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
    rc = make_private(store->path, error);
    if (rc == 0) {
        status =
            sqlite3_open_v2(store->path, &store->database,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
        if (status != SQLITE_OK)
            rc = store_error(store, error, status);
    }
    if (rc == 0) {
        sqlite3_busy_timeout(store->database, BUSY_TIMEOUT_MS);
        /* FULL: a generation number must not be used twice, not even after a power failure. */
        rc = execute(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", error);
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
    int status,
        rc = prepare(store, "SELECT value FROM meta WHERE name = 'secret'", &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == 32)
        memcpy(secret, sqlite3_column_blob(statement, 0), 32);
    else if (status == SQLITE_ROW || status == SQLITE_DONE)
        rc = tern_error_set(error, TERN_ECORRUPT, "%s holds no secret of 32 bytes", store->path);
    else
        rc = store_error(store, error, status);
    sqlite3_finalize(statement);
    return rc;
}

int tern_store_numbers(struct tern_store *store, struct tern_pipeline_numbers *numbers,
                       struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = prepare(store, "SELECT generation, announcement, epoch FROM numbers",
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
        rc = store_error(store, error, status);
    }
    sqlite3_finalize(statement);
    return rc;
}

static int raise_numbers(struct tern_store *store, const struct tern_pipeline_numbers *numbers,
                         struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = prepare(store,
                     "UPDATE numbers SET generation = max(generation, ?),"
                     " announcement = max(announcement, ?), epoch = max(epoch, ?)",
                     &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)numbers->generation);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)numbers->announcement);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)numbers->epoch);
    return finish_statement(store, statement, error);
}

static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    sqlite3_bind_text(statement, index, text != NULL ? text : "", -1, SQLITE_STATIC);
}

static int insert_text(struct tern_store *store, const struct tern_history_row *row,
                       struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc;

    if (row->config_text == NULL)
        return 0;
    rc = prepare(store, "INSERT OR IGNORE INTO configs VALUES (?, ?)", &statement, error);
    if (rc != 0)
        return rc;
    sqlite3_bind_blob(statement, 1, row->config_hash, 16, SQLITE_STATIC);
    sqlite3_bind_blob64(statement, 2, row->config_text, row->config_length, SQLITE_STATIC);
    return finish_statement(store, statement, error);
}

static int insert_row(struct tern_store *store, struct tern_history_row *row,
                      struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = insert_text(store, row, error);

    if (rc == 0)
        rc = prepare(store,
                     "INSERT INTO history (generation, state, kind, at_us, uid, rules, rows, bytes,"
                     " duration_ms, restored_from, message, reason, config_path, config_hash)"
                     " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                     &statement, error);
    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)row->generation);
    sqlite3_bind_int(statement, 2, (int)row->state);
    sqlite3_bind_int(statement, 3, (int)row->kind);
    sqlite3_bind_int64(statement, 4, (sqlite3_int64)row->at_us);
    sqlite3_bind_int64(statement, 5, row->uid);
    sqlite3_bind_int64(statement, 6, row->rules);
    sqlite3_bind_int64(statement, 7, (sqlite3_int64)row->rows);
    sqlite3_bind_int64(statement, 8, (sqlite3_int64)row->bytes);
    sqlite3_bind_double(statement, 9, row->duration_ms);
    sqlite3_bind_int64(statement, 10, (sqlite3_int64)row->restored_from);
    bind_text(statement, 11, row->message);
    bind_text(statement, 12, row->reason);
    bind_text(statement, 13, row->config_path);
    sqlite3_bind_blob(statement, 14, row->config_hash, 16, SQLITE_STATIC);
    rc = finish_statement(store, statement, error);
    if (rc == 0)
        row->id = sqlite3_last_insert_rowid(store->database);
    return rc;
}

static int update_row(struct tern_store *store, const struct tern_history_row *row,
                      struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = prepare(store,
                     "UPDATE history SET state = ?, reason = ?, rules = ?, rows = ?, bytes = ?,"
                     " duration_ms = ?, at_us = ? WHERE id = ?",
                     &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int(statement, 1, (int)row->state);
    bind_text(statement, 2, row->reason);
    sqlite3_bind_int64(statement, 3, row->rules);
    sqlite3_bind_int64(statement, 4, (sqlite3_int64)row->rows);
    sqlite3_bind_int64(statement, 5, (sqlite3_int64)row->bytes);
    sqlite3_bind_double(statement, 6, row->duration_ms);
    sqlite3_bind_int64(statement, 7, (sqlite3_int64)row->at_us);
    sqlite3_bind_int64(statement, 8, row->id);
    return finish_statement(store, statement, error);
}

static int prune(struct tern_store *store, struct tern_error *error)
{
    char sql[320];

    snprintf(sql, sizeof sql,
             "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - %u;"
             "DELETE FROM configs WHERE hash NOT IN (SELECT config_hash FROM history"
             " GROUP BY config_hash ORDER BY max(id) DESC LIMIT %u);",
             TERN_STORE_ROWS, TERN_STORE_TEXTS);
    return execute(store, sql, error);
}

int tern_store_begin(struct tern_store *store, const struct tern_pipeline_numbers *numbers,
                     struct tern_history_row *row, struct tern_error *error)
{
    int rc = begin(store, error);

    if (rc != 0)
        return rc;
    rc = raise_numbers(store, numbers, error);
    if (rc == 0 && row != NULL)
        rc = insert_row(store, row, error);
    return end(store, rc, error);
}

int tern_store_finish(struct tern_store *store, struct tern_history_row *row,
                      struct tern_error *error)
{
    int rc = begin(store, error);

    if (rc != 0)
        return rc;
    rc = row->id != 0 ? update_row(store, row, error) : insert_row(store, row, error);
    if (rc == 0)
        rc = prune(store, error);
    return end(store, rc, error);
}

int tern_store_settle(struct tern_store *store, uint64_t generation, unsigned *settled,
                      struct tern_error *error)
{
    sqlite3_stmt *statement;
    unsigned count = 0;
    int rc = begin(store, error);

    if (rc != 0)
        return rc;
    rc = prepare(store, "UPDATE history SET state = 1 WHERE state = 0 AND generation = ?",
                 &statement, error);
    if (rc == 0) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)generation);
        rc = finish_statement(store, statement, error);
    }
    if (rc == 0) {
        count = (unsigned)sqlite3_changes(store->database);
        rc = execute(store,
                     "UPDATE history SET state = 2, reason = 'interrupted before the swap'"
                     " WHERE state = 0",
                     error);
    }
    if (rc == 0)
        count += (unsigned)sqlite3_changes(store->database);
    rc = end(store, rc, error);
    if (rc == 0)
        *settled = count;
    return rc;
}

static char *column_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);

    return strdup(text != NULL ? (const char *)text : "");
}

static int read_row(sqlite3_stmt *statement, struct tern_history_row *row)
{
    *row = (struct tern_history_row){
        .id = sqlite3_column_int64(statement, 0),
        .generation = (uint64_t)sqlite3_column_int64(statement, 1),
        .state = (enum tern_history_state)sqlite3_column_int(statement, 2),
        .kind = (enum tern_history_kind)sqlite3_column_int(statement, 3),
        .at_us = (uint64_t)sqlite3_column_int64(statement, 4),
        .uid = (uint32_t)sqlite3_column_int64(statement, 5),
        .rules = (uint32_t)sqlite3_column_int64(statement, 6),
        .rows = (uint64_t)sqlite3_column_int64(statement, 7),
        .bytes = (uint64_t)sqlite3_column_int64(statement, 8),
        .duration_ms = sqlite3_column_double(statement, 9),
        .restored_from = (uint64_t)sqlite3_column_int64(statement, 10),
        .message = column_text(statement, 11),
        .reason = column_text(statement, 12),
        .config_path = column_text(statement, 13),
    };
    if (sqlite3_column_bytes(statement, 14) == 16)
        memcpy(row->config_hash, sqlite3_column_blob(statement, 14), 16);
    if (sqlite3_column_type(statement, 15) == SQLITE_BLOB) {
        const void *text = sqlite3_column_blob(statement, 15);

        row->config_length = (size_t)sqlite3_column_bytes(statement, 15);
        row->config_text = calloc(1, row->config_length + 1);
        if (row->config_text != NULL && row->config_length != 0)
            memcpy(row->config_text, text, row->config_length);
        if (row->config_text == NULL)
            return TERN_ENOMEM;
    }
    return row->message != NULL && row->reason != NULL && row->config_path != NULL ? 0
                                                                                   : TERN_ENOMEM;
}

int tern_store_history(struct tern_store *store, const struct tern_history_query *query,
                       struct tern_history_row **out, unsigned *out_count, struct tern_error *error)
{
    struct tern_history_row *rows = NULL;
    unsigned count = 0, capacity = 0;
    sqlite3_stmt *statement;
    int status,
        rc = prepare(store,
                     "SELECT id, generation, state, kind, at_us, uid, rules, rows, bytes,"
                     " duration_ms, restored_from, message, reason, config_path,"
                     " history.config_hash,"
                     " CASE WHEN ?1 THEN (SELECT text FROM configs WHERE hash = config_hash) END"
                     " FROM history WHERE (?2 = 0 OR generation = ?2) AND (NOT ?3 OR state = 1)"
                     " ORDER BY id DESC LIMIT ?4",
                     &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int(statement, 1, query->with_text);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)query->generation);
    sqlite3_bind_int(statement, 3, query->live_only);
    sqlite3_bind_int64(statement, 4, (sqlite3_int64)tern_min_u64(query->limit, TERN_STORE_ROWS));
    while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
        if (count == capacity) {
            unsigned grown = capacity == 0 ? 16 : capacity * 2;
            struct tern_history_row *more = realloc(rows, grown * sizeof *rows);

            if (more == NULL) {
                rc = tern_error_set(error, TERN_ENOMEM, "out of memory");
                break;
            }
            rows = more;
            capacity = grown;
        }
        if (read_row(statement, &rows[count++]) != 0) {
            rc = tern_error_set(error, TERN_ENOMEM, "out of memory");
            break;
        }
    }
    if (rc == 0 && status != SQLITE_DONE)
        rc = store_error(store, error, status);
    sqlite3_finalize(statement);
    if (rc != 0) {
        tern_history_free(rows, count);
        return rc;
    }
    *out = rows;
    *out_count = count;
    return 0;
}

int tern_store_audit(struct tern_store *store, uint32_t uid, uint32_t pid, const char *action,
                     const char *outcome, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = execute(store, "PRAGMA synchronous = NORMAL", error);

    /* Losing the last records to a power failure is no reason to wait for the disk. */
    if (rc == 0)
        rc = begin(store, error);
    if (rc != 0)
        return rc;
    rc = prepare(store,
                 "INSERT INTO audit (at_us, uid, pid, action, outcome) VALUES (?, ?, ?, ?, ?)",
                 &statement, error);
    if (rc == 0) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)tern_clock_wall_us());
        sqlite3_bind_int64(statement, 2, uid);
        sqlite3_bind_int64(statement, 3, pid);
        bind_text(statement, 4, action);
        bind_text(statement, 5, outcome);
        rc = finish_statement(store, statement, error);
    }
    if (rc == 0) {
        char sql[96];

        snprintf(sql, sizeof sql, "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - %u",
                 TERN_STORE_AUDITS);
        rc = execute(store, sql, error);
    }
    rc = end(store, rc, error);
    if (execute(store, "PRAGMA synchronous = FULL", rc == 0 ? error : NULL) != 0 && rc == 0)
        rc = TERN_EIO;
    return rc;
}
