/* A SQLite database in the state directory, as state.db and vectors.db are: WAL, synchronous FULL,
 * readable by its owner only, every failure told with the file's name and what to do about it.
 *
 * A handle belongs to one thread at a time. Functions that fail return TERN_EBUSY (another program
 * has locked it), TERN_ECORRUPT, TERN_ENOSPC, TERN_ENOMEM, TERN_EACCES or TERN_EIO. */
#ifndef TERN_DATABASE_H
#define TERN_DATABASE_H

#include "shared/base.h"
#include "shared/error.h"

#include <sqlite3.h>
#include <sys/types.h>

/* How failures end, in the words that suit the file: what an operator is to do. */
struct tern_database_advice {
    const char *locked;  /* behind "PATH is locked by another program" */
    const char *full;    /* behind "PATH: "; NULL: SQLite's own words */
    const char *damaged; /* behind "PATH is damaged (…); " */
    const char *gone;    /* behind "PATH was taken away while in use; " */
};

struct tern_database {
    sqlite3 *handle;
    char *path;
    const struct tern_database_advice *advice;
    dev_t device; /* of the file as it was opened */
    ino_t inode;
    unsigned patience_ms;
};

/* Opens or creates DIRECTORY/FILE; `advice` stays the caller's. A failure leaves nothing open. */
int tern_database_open(struct tern_database *database, const char *directory, const char *file,
                       const struct tern_database_advice *advice, struct tern_error *error);
/* Opens one that this process has open already a second time, for reading alone; hardly waits. */
int tern_database_peek(struct tern_database *database, const char *directory, const char *file,
                       const struct tern_database_advice *advice, struct tern_error *error);
/* Zeros are closed already. Statements are finalized before. */
void tern_database_close(struct tern_database *database);
/* How long a call waits for another program's lock before it fails with TERN_EBUSY; 2 s at first.
 */
void tern_database_set_patience(struct tern_database *database, unsigned patience_ms);

/* Says what went wrong; returns the code that SQLite's `status` means. */
int tern_database_error(const struct tern_database *database, struct tern_error *error, int status);
/* TERN_ECORRUPT: what the format says is wrong with it. */
int tern_database_damaged(const struct tern_database *database, struct tern_error *error,
                          const char *format, ...) TERN_PRINTF(3, 4);

/* Takes the writer's lock. TERN_ENOENT or TERN_ECORRUPT when the file has lost its place: SQLite
 * would go on writing into it. */
int tern_database_begin(struct tern_database *database, struct tern_error *error);
/* Commits when `rc` is 0, else rolls back and hands the first failure on. */
int tern_database_end(struct tern_database *database, int rc, struct tern_error *error);

int tern_database_execute(struct tern_database *database, const char *sql,
                          struct tern_error *error);
int tern_database_prepare(struct tern_database *database, const char *sql, sqlite3_stmt **statement,
                          struct tern_error *error);
/* Likewise for a statement that is kept: made unless `*statement` has been made already. */
int tern_database_keep(struct tern_database *database, const char *sql, sqlite3_stmt **statement,
                       struct tern_error *error);
/* Runs a statement that yields no row, and makes it ready for the next time … */
int tern_database_run(struct tern_database *database, sqlite3_stmt *statement,
                      struct tern_error *error);
/* … or finalizes it. */
int tern_database_finish(struct tern_database *database, sqlite3_stmt *statement,
                         struct tern_error *error);
/* The one number that `sql` yields. */
int tern_database_integer(struct tern_database *database, const char *sql, int64_t *value,
                          struct tern_error *error);

/* NULL is the empty text; not copied. */
void tern_database_bind_text(sqlite3_stmt *statement, int index, const char *text);
/* A copy; NULL when out of memory. */
char *tern_database_column_text(sqlite3_stmt *statement, int column);

#endif
