/* The handle behind struct tern_store, and what its files (store.c, history.c, audit.c) do with it.
 */
#ifndef TERN_DATABASE_H
#define TERN_DATABASE_H

#include "controlplane/store.h"

#include <sqlite3.h>
#include <sys/types.h>

struct tern_store {
    sqlite3 *database;
    char *path;
    dev_t device; /* of the file as it was opened */
    ino_t inode;
    unsigned patience_ms;
};

/* Says what went wrong, with the file's name; returns the code that `status` means. */
int tern_store_error(const struct tern_store *store, struct tern_error *error, int status);
int tern_store_execute(struct tern_store *store, const char *sql, struct tern_error *error);
int tern_store_prepare(struct tern_store *store, const char *sql, sqlite3_stmt **statement,
                       struct tern_error *error);
/* Runs a statement that yields no row, and finalizes it. */
int tern_store_finish_statement(struct tern_store *store, sqlite3_stmt *statement,
                                struct tern_error *error);
/* Takes the writer's lock; TERN_ENOENT or TERN_ECORRUPT when the file has lost its place. */
int tern_store_begin_transaction(struct tern_store *store, struct tern_error *error);
/* Commits when `rc` is 0, else rolls back and hands the first failure on. */
int tern_store_end_transaction(struct tern_store *store, int rc, struct tern_error *error);
int tern_store_raise_numbers(struct tern_store *store, const struct tern_pipeline_numbers *numbers,
                             struct tern_error *error);
/* NULL is the empty text; not copied. */
void tern_store_bind_text(sqlite3_stmt *statement, int index, const char *text);
/* A copy; NULL when out of memory. */
char *tern_store_column_text(sqlite3_stmt *statement, int column);

#endif
