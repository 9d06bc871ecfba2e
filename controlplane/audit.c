/* Who asked for what, in state.db. */
#include "controlplane/store_private.h"
#include "shared/clock.h"

static int insert(struct tern_store *store, uint32_t uid, uint32_t pid, const char *action,
                  const char *outcome, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = tern_database_prepare(
        &store->database,
        "INSERT INTO audit (at_us, uid, pid, action, outcome) VALUES (?, ?, ?, ?, ?)", &statement,
        error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)tern_clock_wall_us());
    sqlite3_bind_int64(statement, 2, uid);
    sqlite3_bind_int64(statement, 3, pid);
    tern_database_bind_text(statement, 4, action);
    tern_database_bind_text(statement, 5, outcome);
    return tern_database_finish(&store->database, statement, error);
}

static int prune(struct tern_store *store, struct tern_error *error)
{
    char sql[96];

    snprintf(sql, sizeof sql, "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - %u",
             TERN_STORE_AUDITS);
    return tern_database_execute(&store->database, sql, error);
}

int tern_store_audit(struct tern_store *store, uint32_t uid, uint32_t pid, const char *action,
                     const char *outcome, struct tern_error *error)
{
    /* Losing the last records to a power failure is no reason to wait for the disk. */
    int rc = tern_database_execute(&store->database, "PRAGMA synchronous = NORMAL", error);

    if (rc != 0)
        return rc;
    rc = tern_database_begin(&store->database, error);
    if (rc == 0) {
        rc = insert(store, uid, pid, action, outcome, error);
        if (rc == 0)
            rc = prune(store, error);
        rc = tern_database_end(&store->database, rc, error);
    }
    /* Whatever became of it: the numbers that must not be lost go through the same handle. */
    if (tern_database_execute(&store->database, "PRAGMA synchronous = FULL",
                              rc == 0 ? error : NULL) != 0 &&
        rc == 0)
        rc = TERN_EIO;
    return rc;
}

void tern_audit_free(struct tern_audit_row *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        free(rows[i].action);
        free(rows[i].outcome);
    }
    free(rows);
}

int tern_store_audits(struct tern_store *store, unsigned limit, struct tern_audit_row **out,
                      unsigned *out_count, struct tern_error *error)
{
    unsigned room = (unsigned)tern_min_u64(limit, TERN_STORE_AUDITS), count = 0;
    struct tern_audit_row *rows = calloc(room + 1u, sizeof *rows);
    sqlite3_stmt *statement = NULL;
    int status = SQLITE_DONE, rc;

    if (rows == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    rc = tern_database_prepare(
        &store->database,
        "SELECT at_us, uid, pid, action, outcome FROM audit ORDER BY id DESC LIMIT ?", &statement,
        error);
    if (rc == 0)
        sqlite3_bind_int64(statement, 1, room);
    while (rc == 0 && count < room && (status = sqlite3_step(statement)) == SQLITE_ROW) {
        struct tern_audit_row *row = &rows[count++];

        row->at_us = (uint64_t)sqlite3_column_int64(statement, 0);
        row->uid = (uint32_t)sqlite3_column_int64(statement, 1);
        row->pid = (uint32_t)sqlite3_column_int64(statement, 2);
        row->action = tern_database_column_text(statement, 3);
        row->outcome = tern_database_column_text(statement, 4);
        if (row->action == NULL || row->outcome == NULL)
            rc = tern_error_set(error, TERN_ENOMEM, "out of memory");
    }
    if (rc == 0 && status != SQLITE_DONE && status != SQLITE_ROW)
        rc = tern_database_error(&store->database, error, status);
    sqlite3_finalize(statement);
    if (rc != 0) {
        tern_audit_free(rows, count);
        return rc;
    }
    *out = rows;
    *out_count = count;
    return 0;
}
