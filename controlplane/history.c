/* The rows of the history in state.db. */
#include "controlplane/store_private.h"

#include <xxhash.h>

const char *tern_history_state_name(enum tern_history_state state)
{
    static const char *const names[] = {"publishing", "live", "failed"};

    return (unsigned)state < TERN_COUNT(names) ? names[state] : "?";
}

const char *tern_history_kind_name(enum tern_history_kind kind)
{
    static const char *const names[] = {"start", "apply", "rollback", "restore", "refresh"};

    return (unsigned)kind < TERN_COUNT(names) ? names[kind] : "?";
}

void tern_history_row_clear(struct tern_history_row *row)
{
    free(row->message);
    free(row->reason);
    free(row->config_path);
    free(row->config_text);
    free(row->rules_text);
    free(row->details);
    row->message = row->reason = row->config_path = row->config_text = row->rules_text = NULL;
    row->details = NULL;
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

static int insert_text(struct tern_store *store, const uint8_t hash[16], const char *text,
                       size_t length, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc;

    if (text == NULL)
        return 0;
    rc = tern_database_prepare(&store->database, "INSERT OR IGNORE INTO configs VALUES (?, ?)",
                               &statement, error);
    if (rc != 0)
        return rc;
    sqlite3_bind_blob(statement, 1, hash, 16, SQLITE_STATIC);
    sqlite3_bind_blob64(statement, 2, text, length, SQLITE_STATIC);
    return tern_database_finish(&store->database, statement, error);
}

static bool has_rules_of_its_own(const struct tern_history_row *row)
{
    static const uint8_t none[16];

    return memcmp(row->rules_hash, none, sizeof none) != 0;
}

static void bind_blob(sqlite3_stmt *statement, int index, const void *data, size_t length)
{
    sqlite3_bind_blob64(statement, index, length != 0 ? data : "", length, SQLITE_STATIC);
}

static int insert_row(struct tern_store *store, struct tern_history_row *row,
                      struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = insert_text(store, row->config_hash, row->config_text, row->config_length, error);

    if (rc == 0)
        rc = insert_text(store, row->rules_hash, row->rules_text, row->rules_length, error);
    if (rc == 0)
        rc = tern_database_prepare(
            &store->database,
            "INSERT INTO history (generation, state, kind, at_us, uid, rules, rows, bytes,"
            " duration_ms, restored_from, message, reason, config_path, config_hash,"
            " rules_hash, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    tern_database_bind_text(statement, 11, row->message);
    tern_database_bind_text(statement, 12, row->reason);
    tern_database_bind_text(statement, 13, row->config_path);
    sqlite3_bind_blob(statement, 14, row->config_hash, 16, SQLITE_STATIC);
    bind_blob(statement, 15, row->rules_hash, has_rules_of_its_own(row) ? 16 : 0);
    bind_blob(statement, 16, row->details, row->details_length);
    rc = tern_database_finish(&store->database, statement, error);
    if (rc == 0)
        row->id = sqlite3_last_insert_rowid(store->database.handle);
    return rc;
}

static int update_row(struct tern_store *store, const struct tern_history_row *row,
                      struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = tern_database_prepare(
        &store->database,
        "UPDATE history SET state = ?, reason = ?, rules = ?, rows = ?, bytes = ?,"
        " duration_ms = ?, at_us = ?, details = ?, message = ? WHERE id = ?",
        &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int(statement, 1, (int)row->state);
    tern_database_bind_text(statement, 2, row->reason);
    sqlite3_bind_int64(statement, 3, row->rules);
    sqlite3_bind_int64(statement, 4, (sqlite3_int64)row->rows);
    sqlite3_bind_int64(statement, 5, (sqlite3_int64)row->bytes);
    sqlite3_bind_double(statement, 6, row->duration_ms);
    sqlite3_bind_int64(statement, 7, (sqlite3_int64)row->at_us);
    bind_blob(statement, 8, row->details, row->details_length);
    tern_database_bind_text(statement, 9, row->message);
    sqlite3_bind_int64(statement, 10, row->id);
    return tern_database_finish(&store->database, statement, error);
}

/* Rows and texts are bounded, each kind by itself: neither refreshes nor a loop of failing applies
 * may push out what is served, or what an operator would go back to. */
static int prune(struct tern_store *store, struct tern_error *error)
{
    char sql[1024];

    snprintf(sql, sizeof sql,
             "DELETE FROM history WHERE kind = %d AND id NOT IN (SELECT id FROM history"
             "  WHERE kind = %d ORDER BY id DESC LIMIT %u);"
             "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - %u AND id NOT IN"
             "  (SELECT id FROM history WHERE state = %d ORDER BY id DESC LIMIT %u);"
             "WITH texts AS (SELECT config_hash AS hash, id, state FROM history UNION ALL"
             "  SELECT rules_hash, id, state FROM history WHERE length(rules_hash) = 16)"
             "DELETE FROM configs WHERE hash NOT IN (SELECT hash FROM texts GROUP BY hash"
             "  ORDER BY max(id) DESC LIMIT %u) AND hash NOT IN (SELECT hash FROM texts"
             "  WHERE state = %d GROUP BY hash ORDER BY max(id) DESC LIMIT %u);",
             TERN_HISTORY_REFRESH, TERN_HISTORY_REFRESH, TERN_STORE_REFRESHES, TERN_STORE_ROWS,
             TERN_HISTORY_LIVE, TERN_STORE_LIVE_ROWS, TERN_STORE_TEXTS, TERN_HISTORY_LIVE,
             TERN_STORE_LIVE_TEXTS);
    return tern_database_execute(&store->database, sql, error);
}

static int raise_numbers(struct tern_store *store, const struct tern_pipeline_numbers *numbers,
                         struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = tern_database_prepare(&store->database,
                                   "UPDATE numbers SET generation = max(generation, ?),"
                                   " announcement = max(announcement, ?), epoch = max(epoch, ?)",
                                   &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)numbers->generation);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)numbers->announcement);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)numbers->epoch);
    return tern_database_finish(&store->database, statement, error);
}

int tern_store_begin(struct tern_store *store, const struct tern_pipeline_numbers *numbers,
                     struct tern_history_row *row, struct tern_error *error)
{
    int rc = tern_database_begin(&store->database, error);

    if (rc != 0)
        return rc;
    rc = raise_numbers(store, numbers, error);
    if (rc == 0 && row != NULL)
        rc = insert_row(store, row, error);
    return tern_database_end(&store->database, rc, error);
}

int tern_store_finish(struct tern_store *store, struct tern_history_row *row,
                      struct tern_error *error)
{
    int rc = tern_database_begin(&store->database, error);

    if (rc != 0)
        return rc;
    rc = row->id != 0 ? update_row(store, row, error) : insert_row(store, row, error);
    if (rc == 0)
        rc = prune(store, error);
    return tern_database_end(&store->database, rc, error);
}

int tern_store_settle(struct tern_store *store, uint64_t generation, unsigned *settled,
                      struct tern_error *error)
{
    sqlite3_stmt *statement;
    unsigned count = 0;
    int rc = tern_database_begin(&store->database, error);

    if (rc != 0)
        return rc;
    rc = tern_database_prepare(&store->database,
                               "UPDATE history SET state = 1 WHERE state = 0 AND generation = ?",
                               &statement, error);
    if (rc == 0) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)generation);
        rc = tern_database_finish(&store->database, statement, error);
    }
    if (rc == 0) {
        count = (unsigned)sqlite3_changes(store->database.handle);
        rc = tern_database_execute(
            &store->database,
            "UPDATE history SET state = 2, reason = 'interrupted before the swap'"
            " WHERE state = 0",
            error);
    }
    if (rc == 0)
        count += (unsigned)sqlite3_changes(store->database.handle);
    rc = tern_database_end(&store->database, rc, error);
    if (rc == 0)
        *settled = count;
    return rc;
}

/* A copy with a NUL behind it; NULL where there is none. */
static int column_blob(sqlite3_stmt *statement, int column, char **data, size_t *length)
{
    size_t bytes;

    if (sqlite3_column_type(statement, column) != SQLITE_BLOB)
        return 0;
    bytes = (size_t)sqlite3_column_bytes(statement, column);
    *data = calloc(1, bytes + 1);
    if (*data == NULL)
        return TERN_ENOMEM;
    if (bytes != 0)
        memcpy(*data, sqlite3_column_blob(statement, column), bytes);
    *length = bytes;
    return 0;
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
        .message = tern_database_column_text(statement, 11),
        .reason = tern_database_column_text(statement, 12),
        .config_path = tern_database_column_text(statement, 13),
    };
    if (sqlite3_column_bytes(statement, 14) == 16)
        memcpy(row->config_hash, sqlite3_column_blob(statement, 14), 16);
    if (sqlite3_column_bytes(statement, 15) == 16)
        memcpy(row->rules_hash, sqlite3_column_blob(statement, 15), 16);
    if (row->message == NULL || row->reason == NULL || row->config_path == NULL ||
        column_blob(statement, 16, &row->config_text, &row->config_length) != 0 ||
        column_blob(statement, 17, &row->rules_text, &row->rules_length) != 0)
        return TERN_ENOMEM;
    return column_blob(statement, 18, (char **)&row->details, &row->details_length);
}

int tern_store_history(struct tern_store *store, const struct tern_history_query *query,
                       struct tern_history_row **out, unsigned *out_count, struct tern_error *error)
{
    struct tern_history_row *rows = NULL;
    unsigned count = 0, capacity = 0;
    sqlite3_stmt *statement;
    int status, rc = tern_database_prepare(
                    &store->database,
                    "SELECT id, generation, state, kind, at_us, uid, rules, rows, bytes,"
                    " duration_ms, restored_from, message, reason, config_path,"
                    " history.config_hash, history.rules_hash,"
                    " CASE WHEN ?1 THEN (SELECT text FROM configs WHERE hash = config_hash) END,"
                    " CASE WHEN ?1 THEN (SELECT text FROM configs WHERE hash = rules_hash) END,"
                    " CASE WHEN ?1 THEN details END"
                    " FROM history WHERE (?2 = 0 OR generation = ?2) AND (NOT ?3 OR state = 1)"
                    " AND (NOT ?5 OR kind != 4) ORDER BY id DESC LIMIT ?4",
                    &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int(statement, 1, query->with_text);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)query->generation);
    sqlite3_bind_int(statement, 3, query->live_only);
    sqlite3_bind_int64(statement, 4, (sqlite3_int64)tern_min_u64(query->limit, TERN_STORE_ROWS));
    sqlite3_bind_int(statement, 5, query->no_refreshes);
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
        rc = tern_database_error(&store->database, error, status);
    sqlite3_finalize(statement);
    if (rc != 0) {
        tern_history_free(rows, count);
        return rc;
    }
    *out = rows;
    *out_count = count;
    return 0;
}
