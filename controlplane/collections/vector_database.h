/* The handle behind struct tern_vector_store, and what its files share: vector_store.c opens it and
 * vector_catalog.c knows collections and shapes, vector_rows.c writes and reads rows, checkpoint.c
 * empties the WAL. */
#ifndef TERN_VECTOR_DATABASE_H
#define TERN_VECTOR_DATABASE_H

#include "controlplane/collections/vector_store.h"
#include "controlplane/database.h"

struct tern_vector_table { /* a collection's rows: table vectors_NUMBER */
    char name[TERN_NAME_MAX + 1];
    uint32_t number;
    uint64_t purged;
    uint64_t
        dropped; /* rows up to it are no more, and are swept away by and by; 0: there are none */
    sqlite3_stmt *put, *remove, *read, *find; /* made when first used */
};

struct tern_vector_columns {
    struct tern_graph_column columns[TERN_PAYLOAD_COLUMNS_MAX];
    unsigned count;
};

struct tern_vector_store {
    struct tern_database database;
    int lock_fd;
    uint8_t id[16];
    uint64_t committed; /* newest committed sequence number, as the database has it */
    uint64_t next;      /* never used before; above `committed` */
    sqlite3_stmt *set_seq;
    struct tern_vector_table *tables[TERN_VECTOR_COLLECTIONS_MAX]; /* by number − 1 */
    uint32_t table_count;
    struct tern_vector_columns *shapes[TERN_VECTOR_SHAPES_MAX]; /* by number − 1 */
    uint32_t shape_count;
    struct tern_checkpoint *checkpoint;
    float vector[TERN_DIM_MAX]; /* of the row that is read: SQLite's own bytes are not aligned */
};

/* The collection; the number is one that the store gave out. */
struct tern_vector_table *tern_vector_store_table(const struct tern_vector_store *store,
                                                  uint32_t number);

/* vector_catalog.c: what the database lists, read once when it is opened. */
int tern_vector_store_read_tables(struct tern_vector_store *store, struct tern_error *error);
int tern_vector_store_read_shapes(struct tern_vector_store *store, struct tern_error *error);

/* checkpoint.c: carries the WAL over whenever it has grown. */
int tern_checkpoint_start(const char *path, sqlite3 *writer, struct tern_checkpoint **checkpoint,
                          struct tern_error *error);
/* Waits while the WAL is far too long: before a transaction. */
void tern_checkpoint_await_room(struct tern_checkpoint *checkpoint);
void tern_checkpoint_stop(struct tern_checkpoint *checkpoint);

#endif
