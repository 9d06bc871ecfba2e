#include "controlplane/database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS   2000 /* longer than any transaction of ours by two orders */
#define IMPATIENCE_MS 20   /* with a lock that was waited for in vain, and when peeking */

int tern_database_damaged(const struct tern_database *database, struct tern_error *error,
                          const char *format, ...)
{
    char what[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return tern_error_set(error, TERN_ECORRUPT, "%s is damaged (%s); %s", database->path, what,
                          database->advice->damaged);
}

/* Every failure names the file: the operator must know which one to look at. */
int tern_database_error(const struct tern_database *database, struct tern_error *error, int status)
{
    const char *text =
        database->handle != NULL ? sqlite3_errmsg(database->handle) : sqlite3_errstr(status);
    int code;

    switch (status & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return tern_error_set(error, TERN_EBUSY, "%s is locked by another program%s",
                              database->path, database->advice->locked);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return tern_database_damaged(database, error, "%s", text);
    case SQLITE_FULL:
        code = TERN_ENOSPC;
        if (database->advice->full != NULL)
            text = database->advice->full;
        break;
    case SQLITE_NOMEM:
        code = TERN_ENOMEM;
        break;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        code = TERN_EACCES;
        break;
    default:
        code = TERN_EIO;
    }
    return tern_error_set(error, code, "%s: %s", database->path, text);
}

/* --- Statements --- */

int tern_database_execute(struct tern_database *database, const char *sql, struct tern_error *error)
{
    int status = sqlite3_exec(database->handle, sql, NULL, NULL, NULL);

    return status == SQLITE_OK ? 0 : tern_database_error(database, error, status);
}

static int prepare(struct tern_database *database, const char *sql, unsigned flags,
                   sqlite3_stmt **statement, struct tern_error *error)
{
    int status = sqlite3_prepare_v3(database->handle, sql, -1, flags, statement, NULL);

    return status == SQLITE_OK ? 0 : tern_database_error(database, error, status);
}

int tern_database_prepare(struct tern_database *database, const char *sql, sqlite3_stmt **statement,
                          struct tern_error *error)
{
    return prepare(database, sql, 0, statement, error);
}

int tern_database_keep(struct tern_database *database, const char *sql, sqlite3_stmt **statement,
                       struct tern_error *error)
{
    return *statement != NULL ? 0
                              : prepare(database, sql, SQLITE_PREPARE_PERSISTENT, statement, error);
}

int tern_database_run(struct tern_database *database, sqlite3_stmt *statement,
                      struct tern_error *error)
{
    int status = sqlite3_step(statement);
    int rc = status == SQLITE_DONE ? 0 : tern_database_error(database, error, status);

    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

int tern_database_finish(struct tern_database *database, sqlite3_stmt *statement,
                         struct tern_error *error)
{
    int rc = tern_database_run(database, statement, error);

    sqlite3_finalize(statement);
    return rc;
}

int tern_database_integer(struct tern_database *database, const char *sql, int64_t *value,
                          struct tern_error *error)
{
    sqlite3_stmt *statement;
    int status, rc = tern_database_prepare(database, sql, &statement, error);

    if (rc != 0)
        return rc;
    status = sqlite3_step(statement);
    if (status == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    else
        rc = tern_database_error(database, error, status);
    sqlite3_finalize(statement);
    return rc;
}

void tern_database_bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    sqlite3_bind_text(statement, index, text != NULL ? text : "", -1, SQLITE_STATIC);
}

char *tern_database_column_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);

    return strdup(text != NULL ? (const char *)text : "");
}

/* --- Transactions --- */

/* SQLite goes on writing into a file that has lost its name: what it says is then lost as well. */
static int check_place(const struct tern_database *database, struct tern_error *error)
{
    struct stat status;

    if (stat(database->path, &status) != 0)
        return tern_error_system(error, errno, "%s was taken away while in use; %s", database->path,
                                 database->advice->gone);
    if (status.st_dev != database->device || status.st_ino != database->inode)
        return tern_error_set(error, TERN_ECORRUPT,
                              "%s was replaced while in use; restart tern-control", database->path);
    return 0;
}

int tern_database_begin(struct tern_database *database, struct tern_error *error)
{
    int rc = check_place(database, error);

    if (rc == 0)
        rc = tern_database_execute(database, "BEGIN IMMEDIATE", error);
    /* Whoever holds the lock for so long will not let go for the next write: waiting once is
     * enough. */
    sqlite3_busy_timeout(database->handle,
                         rc == TERN_EBUSY ? IMPATIENCE_MS : (int)database->patience_ms);
    return rc;
}

int tern_database_end(struct tern_database *database, int rc, struct tern_error *error)
{
    if (rc == 0)
        rc = tern_database_execute(database, "COMMIT", error);
    if (rc != 0)
        sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* --- Opening --- */

/* SQLite would create the file with the umask's rights; its -wal and -shm take the file's. */
static int make_private(struct tern_database *database, struct tern_error *error)
{
    int fd = open(database->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat status;
    int rc = 0;

    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %s", database->path);
    if (fchmod(fd, 0600) != 0 || fstat(fd, &status) != 0) {
        rc = tern_error_system(error, errno, "cannot make %s private", database->path);
    } else {
        database->device = status.st_dev;
        database->inode = status.st_ino;
    }
    close(fd);
    return rc;
}

static int open_handle(struct tern_database *database, int flags, unsigned patience_ms,
                       struct tern_error *error)
{
    int status =
        sqlite3_open_v2(database->path, &database->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);

    if (status != SQLITE_OK)
        return tern_database_error(database, error, status);
    tern_database_set_patience(database, patience_ms);
    /* A row of a file that was tampered with must not reach anything but our checks. */
    sqlite3_db_config(database->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return tern_database_execute(database,
                                 "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON", error);
}

int tern_database_open(struct tern_database *database, const char *directory, const char *file,
                       const struct tern_database_advice *advice, struct tern_error *error)
{
    struct tern_database opened = {.advice = advice};
    int rc;

    if (asprintf(&opened.path, "%s/%s", directory, file) < 0)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    rc = make_private(&opened, error);
    if (rc == 0)
        rc = open_handle(&opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, PATIENCE_MS, error);
    /* FULL: what is committed survives a power failure; no generation's number and no sequence
     * number is given out twice. */
    if (rc == 0)
        rc = tern_database_execute(&opened, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
                                   error);
    if (rc != 0)
        tern_database_close(&opened);
    else
        *database = opened;
    return rc;
}

int tern_database_peek(struct tern_database *database, const char *directory, const char *file,
                       const struct tern_database_advice *advice, struct tern_error *error)
{
    struct tern_database opened = {.advice = advice};
    int rc;

    if (asprintf(&opened.path, "%s/%s", directory, file) < 0)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    rc = open_handle(&opened, SQLITE_OPEN_READONLY, IMPATIENCE_MS, error);
    if (rc != 0)
        tern_database_close(&opened);
    else
        *database = opened;
    return rc;
}

void tern_database_set_patience(struct tern_database *database, unsigned patience_ms)
{
    database->patience_ms = patience_ms;
    sqlite3_busy_timeout(database->handle, (int)patience_ms);
}

void tern_database_close(struct tern_database *database)
{
    sqlite3_close_v2(database->handle);
    free(database->path);
    *database = (struct tern_database){0};
}
