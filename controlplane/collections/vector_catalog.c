/* Which collections the store has rows of, and under which payload columns they were written. */
#include "controlplane/collections/vector_database.h"

/* Rows lie in the order of their sequence numbers: a replay is one scan from its first row, and new
 * rows go to the end. The partial index makes tombstones cheap to find and costs the rest nothing.
 */
static const char table_schema[] =
    "CREATE TABLE vectors_%u (seq INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, vector BLOB,"
    "  payload BLOB, checksum INTEGER);"
    "CREATE INDEX removed_%u ON vectors_%u (seq) WHERE vector IS NULL;";

/* --- Collections --- */

static int add_table(struct tern_vector_store *store, const char *name, uint64_t purged,
                     uint64_t dropped, struct tern_error *error)
{
    struct tern_vector_table *table = calloc(1, sizeof *table);

    if (table == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    snprintf(table->name, sizeof table->name, "%s", name);
    table->number = store->table_count + 1;
    table->purged = purged;
    table->dropped = dropped;
    store->tables[store->table_count++] = table;
    return 0;
}

int tern_vector_store_read_tables(struct tern_vector_store *store, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status,
        rc = tern_database_prepare(&store->database,
                                   "SELECT number, name, purged, (SELECT seq FROM dropped WHERE"
                                   " dropped.number = collections.number)"
                                   " FROM collections ORDER BY number",
                                   &statement, error);

    if (rc != 0)
        return rc;
    while (rc == 0 && (status = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(statement, 1);
        sqlite3_int64 number = sqlite3_column_int64(statement, 0);

        if (number != store->table_count + 1 || number > TERN_VECTOR_COLLECTIONS_MAX ||
            name == NULL || strlen(name) > TERN_NAME_MAX ||
            (uint64_t)sqlite3_column_int64(statement, 3) > store->committed)
            rc = tern_database_damaged(&store->database, error, "its list of collections");
        else
            rc = add_table(store, name, (uint64_t)sqlite3_column_int64(statement, 2),
                           (uint64_t)sqlite3_column_int64(statement, 3), error);
    }
    if (rc == 0 && status != SQLITE_DONE)
        rc = tern_database_error(&store->database, error, status);
    sqlite3_finalize(statement);
    return rc;
}

static int make_table(struct tern_vector_store *store, const char *name, struct tern_error *error)
{
    unsigned number = store->table_count + 1;
    sqlite3_stmt *statement;
    char sql[sizeof table_schema + 32];
    int rc;

    snprintf(sql, sizeof sql, table_schema, number, number, number);
    rc = tern_database_execute(&store->database, sql, error);
    if (rc == 0)
        rc = tern_database_prepare(&store->database,
                                   "INSERT INTO collections (number, name) VALUES (?, ?)",
                                   &statement, error);
    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, number);
    tern_database_bind_text(statement, 2, name);
    return tern_database_finish(&store->database, statement, error);
}

uint32_t tern_vector_store_find_collection(const struct tern_vector_store *store, const char *name)
{
    for (uint32_t i = 0; i < store->table_count; i++)
        if (strcmp(store->tables[i]->name, name) == 0)
            return i + 1;
    return 0;
}

const char *tern_vector_store_name(const struct tern_vector_store *store, uint32_t collection)
{
    return collection >= 1 && collection <= store->table_count ? store->tables[collection - 1]->name
                                                               : NULL;
}

int tern_vector_store_collection(struct tern_vector_store *store, const char *name,
                                 uint32_t *number, struct tern_error *error)
{
    uint32_t found = tern_vector_store_find_collection(store, name);
    int rc;

    if (found != 0) {
        *number = found;
        return 0;
    }
    if (store->table_count == TERN_VECTOR_COLLECTIONS_MAX)
        return tern_error_set(
            error, TERN_ELIMIT,
            "%s holds %u collections by now, those included that no configuration "
            "names any more; '%s' does not fit",
            store->database.path, TERN_VECTOR_COLLECTIONS_MAX, name);
    rc = tern_database_begin(&store->database, error);
    if (rc != 0)
        return rc;
    rc = tern_database_end(&store->database, make_table(store, name, error), error);
    if (rc == 0)
        rc = add_table(store, name, 0, 0, error);
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
        return tern_database_damaged(&store->database, error, "its list of payload columns");
    }
    store->shapes[store->shape_count++] = columns;
    return 0;
}

int tern_vector_store_read_shapes(struct tern_vector_store *store, struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_database_prepare(&store->database,
                                           "SELECT number, columns FROM shapes ORDER BY number",
                                           &statement, error);

    if (rc != 0)
        return rc;
    while (rc == 0 && (status = sqlite3_step(statement)) == SQLITE_ROW) {
        const void *packed = sqlite3_column_blob(statement, 1);

        if (sqlite3_column_int64(statement, 0) != store->shape_count + 1 ||
            store->shape_count == TERN_VECTOR_SHAPES_MAX)
            rc = tern_database_damaged(&store->database, error, "its list of payload columns");
        else
            rc = add_shape(store, packed, (size_t)sqlite3_column_bytes(statement, 1), error);
    }
    if (rc == 0 && status != SQLITE_DONE)
        rc = tern_database_error(&store->database, error, status);
    sqlite3_finalize(statement);
    return rc;
}

static int make_shape(struct tern_vector_store *store, const uint8_t *packed, size_t length,
                      struct tern_error *error)
{
    sqlite3_stmt *statement;
    int rc = tern_database_prepare(
        &store->database, "INSERT INTO shapes (number, columns) VALUES (?, ?)", &statement, error);

    if (rc != 0)
        return rc;
    sqlite3_bind_int64(statement, 1, store->shape_count + 1);
    sqlite3_bind_blob(statement, 2, packed, (int)length, SQLITE_STATIC);
    return tern_database_finish(&store->database, statement, error);
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
                              store->database.path, TERN_VECTOR_SHAPES_MAX);
    length = pack_columns(columns, count, packed);
    rc = tern_database_begin(&store->database, error);
    if (rc != 0)
        return rc;
    rc = tern_database_end(&store->database, make_shape(store, packed, length, error), error);
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
        return tern_database_damaged(&store->database, error, "a row has the payload columns %u",
                                     (unsigned)shape);
    *columns = store->shapes[shape - 1]->columns;
    *count = store->shapes[shape - 1]->count;
    return 0;
}
