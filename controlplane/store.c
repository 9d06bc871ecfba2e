#include "controlplane/store_private.h"

#include <errno.h>
#include <sys/random.h>

#define STORE_VERSION 2

static const struct tern_database_advice advice = {
    .locked = "",
    .damaged = "move it away to start with an empty history",
    .gone = "restart tern-control to begin another",
};

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

static int create(struct tern_store *store, struct tern_error *error)
{
    uint8_t secret[32];
    sqlite3_stmt *statement;
    int rc;

    if (getrandom(secret, sizeof secret, 0) != sizeof secret)
        return tern_error_system(error, errno, "cannot get random bytes for the instance's secret");
    rc = tern_database_execute(&store->database, schema, error);
    if (rc == 0)
        rc = tern_database_prepare(&store->database, "INSERT INTO meta VALUES ('secret', ?)",
                                   &statement, error);
    if (rc == 0) {
        sqlite3_bind_blob(statement, 1, secret, sizeof secret, SQLITE_TRANSIENT);
        rc = tern_database_finish(&store->database, statement, error);
    }
    return rc;
}

/* From `version` to the newest. */
static int upgrade(struct tern_store *store, int64_t version, struct tern_error *error)
{
    int rc = 0;

    _Static_assert(STORE_VERSION == 2, "one step a version");
    if (version == 0)
        rc = create(store, error);
    if (rc == 0 && version < 2)
        rc = tern_database_execute(&store->database, to_version_2, error);
    return rc;
}

/* Checks the version, makes the tables or brings them up to date; two that start at once are kept
 * apart by the transaction. */
static int open_schema(struct tern_store *store, struct tern_error *error)
{
    int64_t version = 0;
    int rc = tern_database_integer(&store->database, "PRAGMA user_version", &version, error);

    if (rc == 0 && version < STORE_VERSION) {
        rc = tern_database_begin(&store->database, error);
        if (rc != 0)
            return rc;
        rc = tern_database_integer(&store->database, "PRAGMA user_version", &version, error);
        if (rc == 0 && version < STORE_VERSION) {
            rc = upgrade(store, version, error);
            version = STORE_VERSION;
        }
        rc = tern_database_end(&store->database, rc, error);
    }
    if (rc == 0 && version != STORE_VERSION)
        rc = tern_error_set(error, TERN_EABI, "%s has version %lld, this tern-control knows %d",
                            store->database.path, (long long)version, STORE_VERSION);
    return rc;
}

int tern_store_open(const char *state_dir, struct tern_store **out, struct tern_error *error)
{
    struct tern_store *store = calloc(1, sizeof *store);
    int rc;

    if (store == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    rc = tern_database_open(&store->database, state_dir, TERN_STORE_FILE, &advice, error);
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
    tern_database_set_patience(&store->database, patience_ms);
}

void tern_store_close(struct tern_store *store)
{
    if (store == NULL)
        return;
    tern_database_close(&store->database);
    free(store);
}

int tern_store_secret(struct tern_store *store, uint8_t secret[32], struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status,
        rc = tern_database_prepare(&store->database, "SELECT value FROM meta WHERE name = 'secret'",
                                   &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == 32)
        memcpy(secret, sqlite3_column_blob(statement, 0), 32);
    else if (status == SQLITE_ROW || status == SQLITE_DONE)
        rc = tern_error_set(error, TERN_ECORRUPT, "%s holds no secret of 32 bytes",
                            store->database.path);
    else
        rc = tern_database_error(&store->database, error, status);
    sqlite3_finalize(statement);
    return rc;
}

int tern_store_numbers(struct tern_store *store, struct tern_pipeline_numbers *numbers,
                       struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_database_prepare(&store->database,
                                           "SELECT generation, announcement, epoch FROM numbers",
                                           &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW) {
        numbers->generation = (uint64_t)sqlite3_column_int64(statement, 0);
        numbers->announcement = (uint64_t)sqlite3_column_int64(statement, 1);
        numbers->epoch = (uint64_t)sqlite3_column_int64(statement, 2);
    } else if (status == SQLITE_DONE) {
        rc = tern_error_set(error, TERN_ECORRUPT, "%s holds no numbers", store->database.path);
    } else {
        rc = tern_database_error(&store->database, error, status);
    }
    sqlite3_finalize(statement);
    return rc;
}

int tern_store_hold(struct tern_store *store, struct tern_sources_hold *hold,
                    struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status,
        rc = tern_database_prepare(&store->database, "SELECT since_us, generation, uid FROM hold",
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
                            store->database.path);
    } else {
        rc = tern_database_error(&store->database, error, status);
    }
    sqlite3_finalize(statement);
    return rc;
}

int tern_store_set_hold(struct tern_store *store, const struct tern_sources_hold *hold,
                        struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = tern_database_begin(&store->database, error);

    if (rc != 0)
        return rc;
    rc = tern_database_prepare(&store->database,
                               "UPDATE hold SET since_us = ?, generation = ?, uid = ?", &statement,
                               error);
    if (rc == 0) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)hold->since_us);
        sqlite3_bind_int64(statement, 2, (sqlite3_int64)hold->generation);
        sqlite3_bind_int64(statement, 3, hold->uid);
        rc = tern_database_finish(&store->database, statement, error);
    }
    return tern_database_end(&store->database, rc, error);
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
    int status, rc = tern_database_prepare(
                    &store->database, "SELECT value FROM meta WHERE name = ?", &statement, error);

    if (rc != 0)
        return rc;
    snprintf(key, sizeof key, LOAD_KEY "%s", name);
    tern_database_bind_text(statement, 1, key);
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
        rc = tern_database_error(&store->database, error, status);
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
    int rc = tern_database_begin(&store->database, error);

    if (rc != 0)
        return rc;
    snprintf(key, sizeof key, LOAD_KEY "%s", name);
    memcpy(value.vectors_id, vectors_id, sizeof value.vectors_id);
    memcpy(value.file, load->file, sizeof value.file);
    rc = tern_database_prepare(&store->database, "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                               &statement, error);
    if (rc == 0) {
        tern_database_bind_text(statement, 1, key);
        sqlite3_bind_blob(statement, 2, &value, sizeof value, SQLITE_STATIC);
        rc = tern_database_finish(&store->database, statement, error);
    }
    return tern_database_end(&store->database, rc, error);
}
