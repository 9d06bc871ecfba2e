#include "controlplane/collections/vector_database.h"

#include <xxhash.h>

/* Of all that a row holds: SQLite has no checksums of its own, and a flipped bit of a vector would
 * otherwise be searched for years. */
static uint32_t checksum(uint64_t seq, uint64_t id, const void *vector, size_t vector_length,
                         const void *payload, size_t payload_length)
{
    XXH64_hash_t hash = XXH3_64bits_withSeed(vector, vector_length, seq);

    return (uint32_t)XXH3_64bits_withSeed(payload, payload_length, hash ^ id);
}

/* The statement for one collection: `sql` has %u where its number goes. */
#define STATEMENT_MAX 256
static const char *with_number(char text[STATEMENT_MAX], const char *sql,
                               const struct tern_vector_table *table)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, STATEMENT_MAX, sql, (unsigned)table->number);
#pragma GCC diagnostic pop
    return text;
}

/* Makes a statement of one collection when it is first used. */
static int keep(struct tern_vector_store *store, const struct tern_vector_table *table,
                const char *sql, sqlite3_stmt **statement, struct tern_error *error)
{
    char text[STATEMENT_MAX];

    return tern_database_keep(&store->database, with_number(text, sql, table), statement, error);
}

int tern_vector_store_begin(struct tern_vector_store *store, struct tern_error *error)
{
    tern_checkpoint_await_room(store->checkpoint);
    return tern_database_begin(&store->database, error);
}

int tern_vector_store_put(struct tern_vector_store *store, uint32_t collection, uint64_t id,
                          const float *vector, uint32_t dim, const uint8_t *payload,
                          size_t payload_length, uint64_t *seq, struct tern_error *error)
{
    struct tern_vector_table *table = tern_vector_store_table(store, collection);
    uint64_t number = store->next;
    size_t bytes = dim * sizeof *vector;
    int rc = keep(store, table,
                  "INSERT OR REPLACE INTO vectors_%u (seq, id, vector, payload, checksum)"
                  " VALUES (?, ?, ?, ?, ?)",
                  &table->put, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(table->put, 1, (sqlite3_int64)number);
    sqlite3_bind_int64(table->put, 2, (sqlite3_int64)id);
    sqlite3_bind_blob(table->put, 3, vector, (int)bytes, SQLITE_STATIC);
    sqlite3_bind_blob(table->put, 4, payload, (int)payload_length, SQLITE_STATIC);
    sqlite3_bind_int64(table->put, 5, checksum(number, id, vector, bytes, payload, payload_length));
    rc = tern_database_run(&store->database, table->put, error);
    if (rc != 0)
        return rc;
    store->next++;
    *seq = number;
    return 0;
}

int tern_vector_store_remove(struct tern_vector_store *store, uint32_t collection, uint64_t id,
                             uint64_t *seq, bool *found, struct tern_error *error)
{
    struct tern_vector_table *table = tern_vector_store_table(store, collection);
    int rc = keep(store, table,
                  "UPDATE vectors_%u SET seq = ?, vector = NULL, payload = NULL, checksum = NULL"
                  " WHERE id = ? AND vector IS NOT NULL AND seq > ?",
                  &table->remove, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(table->remove, 1, (sqlite3_int64)store->next);
    sqlite3_bind_int64(table->remove, 2, (sqlite3_int64)id);
    sqlite3_bind_int64(table->remove, 3, (sqlite3_int64)table->dropped);
    rc = tern_database_run(&store->database, table->remove, error);
    if (rc != 0)
        return rc;
    *found = sqlite3_changes(store->database.handle) != 0;
    if (*found)
        *seq = store->next++;
    return 0;
}

/* The number of before is part of the condition: whoever else has written takes this one by
 * surprise otherwise. */
static int write_seq(struct tern_vector_store *store, uint64_t seq, struct tern_error *error)
{
    int rc = tern_database_keep(&store->database, "UPDATE store SET seq = ? WHERE seq = ?",
                                &store->set_seq, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(store->set_seq, 1, (sqlite3_int64)seq);
    sqlite3_bind_int64(store->set_seq, 2, (sqlite3_int64)store->committed);
    rc = tern_database_run(&store->database, store->set_seq, error);
    if (rc == 0 && sqlite3_changes(store->database.handle) != 1)
        rc = tern_error_set(error, TERN_ECORRUPT,
                            "another program has written to %s; restart tern-control",
                            store->database.path);
    return rc;
}

int tern_vector_store_end(struct tern_vector_store *store, int rc, struct tern_error *error)
{
    uint64_t seq = store->next - 1;

    if (rc == 0 && seq != store->committed)
        rc = write_seq(store, seq, error);
    rc = tern_database_end(&store->database, rc, error);
    if (rc == 0)
        store->committed = seq;
    return rc;
}

/* What SQLite found in a row, checked. */
static int take_row(struct tern_vector_store *store, sqlite3_stmt *statement, uint32_t collection,
                    uint64_t after, struct tern_vector_row *row, struct tern_error *error)
{
    const char *name = tern_vector_store_table(store, collection)->name;
    const void *vector;
    size_t bytes = (size_t)sqlite3_column_bytes(statement, 2);

    *row = (struct tern_vector_row){
        .seq = (uint64_t)sqlite3_column_int64(statement, 0),
        .id = (uint64_t)sqlite3_column_int64(statement, 1),
    };
    if (row->seq <= after || row->seq > store->committed)
        return tern_database_damaged(
            &store->database, error, "collection %s has a write %llu of %llu", name,
            (unsigned long long)row->seq, (unsigned long long)store->committed);
    if (sqlite3_column_type(statement, 2) == SQLITE_NULL)
        return 0;
    vector = sqlite3_column_blob(statement, 2);
    row->dim = (uint32_t)(bytes / sizeof(float));
    row->payload = sqlite3_column_blob(statement, 3);
    row->payload_length = (size_t)sqlite3_column_bytes(statement, 3);
    if (bytes == 0 || bytes % sizeof(float) != 0 || row->dim > TERN_DIM_MAX ||
        row->payload_length > TERN_VECTOR_PAYLOAD_MAX ||
        sqlite3_column_int64(statement, 4) !=
            checksum(row->seq, row->id, vector, bytes, row->payload, row->payload_length))
        return tern_database_damaged(&store->database, error, "vector %llu of collection %s",
                                     (unsigned long long)row->id, name);
    memcpy(store->vector, vector, bytes);
    row->vector = store->vector;
    return 0;
}

int tern_vector_store_read(struct tern_vector_store *store, uint32_t collection, uint64_t after,
                           unsigned limit,
                           bool (*each)(void *context, const struct tern_vector_row *row),
                           void *context, unsigned *count, struct tern_error *error)
{
    struct tern_vector_table *table = tern_vector_store_table(store, collection);
    struct tern_vector_row row;
    unsigned handed = 0;
    int status, rc = keep(store, table,
                          "SELECT seq, id, vector, payload, checksum FROM vectors_%u"
                          " WHERE seq > ? ORDER BY seq LIMIT ?",
                          &table->read, error);

    if (rc != 0)
        return rc;
    after = tern_max_u64(after, table->dropped);
    sqlite3_bind_int64(table->read, 1, (sqlite3_int64)after);
    sqlite3_bind_int64(table->read, 2, limit);
    while (rc == 0 && (status = sqlite3_step(table->read)) == SQLITE_ROW) {
        rc = take_row(store, table->read, collection, after, &row, error);
        if (rc != 0)
            break;
        after = row.seq;
        handed++;
        if (!each(context, &row))
            break;
    }
    if (rc == 0 && status != SQLITE_DONE && status != SQLITE_ROW)
        rc = tern_database_error(&store->database, error, status);
    sqlite3_reset(table->read);
    *count = handed;
    return rc;
}

int tern_vector_store_find(struct tern_vector_store *store, uint32_t collection, uint64_t id,
                           struct tern_vector_row *out, struct tern_error *error)
{
    struct tern_vector_table *table = tern_vector_store_table(store, collection);
    struct tern_vector_row row = {0};
    int status, rc = keep(store, table,
                          "SELECT seq, id, vector, payload, checksum FROM vectors_%u"
                          " WHERE id = ? AND seq > ?",
                          &table->find, error);

    if (rc != 0)
        return rc;
    sqlite3_reset(table->find); /* the row of before is let go of */
    sqlite3_bind_int64(table->find, 1, (sqlite3_int64)id);
    sqlite3_bind_int64(table->find, 2, (sqlite3_int64)table->dropped);
    status = sqlite3_step(table->find);
    if (status == SQLITE_ROW)
        rc = take_row(store, table->find, collection, 0, &row, error);
    else if (status != SQLITE_DONE)
        rc = tern_database_error(&store->database, error, status);
    if (rc == 0 && row.vector == NULL)
        rc = tern_error_set(error, TERN_ENOENT, "collection %s has no vector %llu", table->name,
                            (unsigned long long)id);
    if (rc == 0)
        *out = row;
    return rc;
}

static int read_number(struct tern_vector_store *store, uint32_t collection, const char *sql,
                       uint64_t *number, struct tern_error *error)
{
    char text[STATEMENT_MAX];
    int64_t value = 0;
    int rc = tern_database_integer(
        &store->database, with_number(text, sql, tern_vector_store_table(store, collection)),
        &value, error);

    if (rc == 0)
        *number = (uint64_t)value;
    return rc;
}

int tern_vector_store_last(struct tern_vector_store *store, uint32_t collection, uint64_t *seq,
                           struct tern_error *error)
{
    uint64_t last = 0;
    int rc = read_number(store, collection, "SELECT max(seq) FROM vectors_%u", &last, error);

    if (rc == 0)
        *seq = last > tern_vector_store_dropped(store, collection) ? last : 0;
    return rc;
}

/* Beside rows that are dropped: of those past them. */
static int count_past(struct tern_vector_store *store, const struct tern_vector_table *table,
                      uint64_t *count, struct tern_error *error)
{
    char sql[STATEMENT_MAX];
    int64_t rows = 0;
    int rc;

    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM vectors_%u WHERE seq > %llu AND vector IS NOT NULL",
             (unsigned)table->number, (unsigned long long)table->dropped);
    rc = tern_database_integer(&store->database, sql, &rows, error);
    if (rc == 0)
        *count = (uint64_t)rows;
    return rc;
}

int tern_vector_store_count(struct tern_vector_store *store, uint32_t collection, uint64_t *count,
                            struct tern_error *error)
{
    const struct tern_vector_table *table = tern_vector_store_table(store, collection);
    uint64_t rows = 0, removed = 0;
    int rc;

    if (table->dropped != 0)
        return count_past(store, table, count, error);
    /* Both from an index alone. */
    rc = read_number(store, collection, "SELECT count(*) FROM vectors_%u", &rows, error);
    if (rc == 0)
        rc = read_number(store, collection, "SELECT count(*) FROM vectors_%u WHERE vector IS NULL",
                         &removed, error);
    if (rc == 0)
        *count = rows - removed;
    return rc;
}

static int mark_purged(struct tern_vector_store *store, const struct tern_vector_table *table,
                       uint64_t seq, struct tern_error *error)
{
    sqlite3_stmt *statement;
    char sql[STATEMENT_MAX];
    int rc = tern_database_prepare(
        &store->database,
        with_number(sql, "UPDATE collections SET purged = max(purged, ?) WHERE number = %u", table),
        &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)seq);
    return tern_database_finish(&store->database, statement, error);
}

static int purge(struct tern_vector_store *store, struct tern_vector_table *table, uint64_t seq,
                 unsigned limit, struct tern_error *error)
{
    sqlite3_stmt *statement;
    char sql[STATEMENT_MAX];
    int rc = mark_purged(store, table, seq, error);

    if (rc != 0)
        return rc;
    snprintf(sql, sizeof sql,
             "DELETE FROM vectors_%u WHERE seq IN (SELECT seq FROM vectors_%u WHERE vector IS NULL"
             " AND seq <= ? ORDER BY seq LIMIT ?)",
             (unsigned)table->number, (unsigned)table->number);
    rc = tern_database_prepare(&store->database, sql, &statement, error);
    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)seq);
    sqlite3_bind_int64(statement, 2, limit);
    return tern_database_finish(&store->database, statement, error);
}

int tern_vector_store_purge(struct tern_vector_store *store, uint32_t collection, uint64_t seq,
                            unsigned limit, unsigned *purged, struct tern_error *error)
{
    struct tern_vector_table *table = tern_vector_store_table(store, collection);
    uint64_t first = 0;
    unsigned changes = 0;
    int rc = read_number(store, collection,
                         "SELECT coalesce(min(seq), 0) FROM vectors_%u WHERE vector IS NULL",
                         &first, error);

    if (rc == 0 && (first == 0 || first > seq)) { /* nothing to do costs no commit */
        *purged = 0;
        return 0;
    }
    if (rc == 0)
        rc = tern_vector_store_begin(store, error);

    if (rc != 0)
        return rc;
    rc = purge(store, table, seq, limit, error);
    if (rc == 0)
        changes = (unsigned)sqlite3_changes(store->database.handle);
    rc = tern_vector_store_end(store, rc, error);
    if (rc == 0) {
        table->purged = tern_max_u64(table->purged, seq);
        *purged = changes;
    }
    return rc;
}

/* Binds two numbers to `sql`, which has %u where the collection's goes, and runs it. */
static int run_once(struct tern_vector_store *store, const struct tern_vector_table *table,
                    const char *sql, uint64_t first, uint64_t second, struct tern_error *error)
{
    sqlite3_stmt *statement;
    char text[STATEMENT_MAX];
    int rc =
        tern_database_prepare(&store->database, with_number(text, sql, table), &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)first);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)second);
    return tern_database_finish(&store->database, statement, error);
}

int tern_vector_store_drop(struct tern_vector_store *store, uint32_t collection,
                           struct tern_error *error)
{
    struct tern_vector_table *table = tern_vector_store_table(store, collection);
    int rc = tern_vector_store_begin(store, error);

    if (rc != 0)
        return rc;
    rc = mark_purged(store, table, store->committed, error);
    if (rc == 0)
        rc = run_once(store, table, "INSERT OR REPLACE INTO dropped (seq, number) VALUES (?, ?)",
                      store->committed, collection, error);
    rc = tern_vector_store_end(store, rc, error);
    if (rc == 0)
        table->purged = table->dropped = store->committed;
    return rc;
}

int tern_vector_store_sweep(struct tern_vector_store *store, uint32_t collection, unsigned limit,
                            unsigned *swept, struct tern_error *error)
{
    struct tern_vector_table *table = tern_vector_store_table(store, collection);
    unsigned changes = 0;
    int rc;

    if (table->dropped == 0) {
        *swept = 0;
        return 0;
    }
    rc = tern_vector_store_begin(store, error);
    if (rc != 0)
        return rc;
    rc = run_once(store, table,
                  "DELETE FROM vectors_%1$u WHERE seq IN"
                  " (SELECT seq FROM vectors_%1$u WHERE seq <= ? ORDER BY seq LIMIT ?)",
                  table->dropped, limit, error);
    if (rc == 0)
        changes = (unsigned)sqlite3_changes(store->database.handle);
    /* The mark goes with the last of them. */
    if (rc == 0 && changes < limit)
        rc = run_once(store, table, "DELETE FROM dropped WHERE number = ? AND seq = ?", collection,
                      table->dropped, error);
    rc = tern_vector_store_end(store, rc, error);
    if (rc == 0) {
        table->dropped = changes < limit ? 0 : table->dropped;
        *swept = changes;
    }
    return rc;
}
