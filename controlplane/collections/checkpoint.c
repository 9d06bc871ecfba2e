/* Carries what the WAL has gathered over into the database, on a thread and a connection of its
 * own: a commit waits for its own fsync and for nobody else's. */
#include "controlplane/collections/vector_database.h"

#include "controlplane/log.h"
#include "shared/background.h"

#include <errno.h>
#include <pthread.h>

#define BEGIN_PAGES 1000  /* some 4 MB: then it is carried over */
#define STOP_PAGES  32768 /* some 128 MB: then writing waits for it */
#define NICE        10
#define LOG_EVERY   64 /* failures in a row that are told again */

struct tern_checkpoint {
    sqlite3 *database, *writer;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards everything below */
    pthread_cond_t changed;
    int pages;    /* in the WAL after the last commit */
    bool running; /* or about to */
    bool stopping;
};

/* Runs in the writer's thread after each of its commits. */
static int note_commit(void *context, sqlite3 *database, const char *schema, int pages)
{
    struct tern_checkpoint *checkpoint = context;

    (void)database;
    (void)schema;
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->pages = pages;
    if (pages >= BEGIN_PAGES && !checkpoint->running) {
        checkpoint->running = true;
        pthread_cond_broadcast(&checkpoint->changed);
    }
    pthread_mutex_unlock(&checkpoint->mutex);
    return SQLITE_OK;
}

static void *checkpoint_main(void *argument)
{
    struct tern_checkpoint *checkpoint = argument;
    unsigned failures = 0;

    pthread_setname_np(pthread_self(), "checkpoint");
    (void)tern_background_begin(NICE);
    pthread_mutex_lock(&checkpoint->mutex);
    while (!checkpoint->stopping) {
        int status;

        if (!checkpoint->running) {
            pthread_cond_wait(&checkpoint->changed, &checkpoint->mutex);
            continue;
        }
        pthread_mutex_unlock(&checkpoint->mutex);
        /* PASSIVE never makes the writer wait. Once all is carried over, its next commit begins the
         * WAL anew. */
        status = sqlite3_wal_checkpoint_v2(checkpoint->database, NULL, SQLITE_CHECKPOINT_PASSIVE,
                                           NULL, NULL);
        if (status != SQLITE_OK && status != SQLITE_BUSY && failures++ % LOG_EVERY == 0)
            tern_control_log(TERN_LOG_ERROR, "the WAL of the vectors cannot be carried over: %s",
                             sqlite3_errmsg(checkpoint->database));
        if (status == SQLITE_OK)
            failures = 0;
        pthread_mutex_lock(&checkpoint->mutex);
        checkpoint->running = false;
        pthread_cond_broadcast(&checkpoint->changed);
    }
    pthread_mutex_unlock(&checkpoint->mutex);
    return NULL;
}

int tern_checkpoint_start(const char *path, sqlite3 *writer, struct tern_checkpoint **out,
                          struct tern_error *error)
{
    struct tern_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    int status;

    if (checkpoint == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    pthread_mutex_init(&checkpoint->mutex, NULL);
    pthread_cond_init(&checkpoint->changed, NULL);
    checkpoint->writer = writer;
    status = sqlite3_open_v2(path, &checkpoint->database,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (status == SQLITE_OK)
        status =
            sqlite3_exec(checkpoint->database,
                         "PRAGMA synchronous = FULL; PRAGMA cache_size = -256", NULL, NULL, NULL);
    if (status != SQLITE_OK) {
        tern_error_set(error, TERN_EIO, "cannot open %s twice: %s", path, sqlite3_errstr(status));
        tern_checkpoint_stop(checkpoint);
        return TERN_EIO;
    }
    status = pthread_create(&checkpoint->thread, NULL, checkpoint_main, checkpoint);
    if (status != 0) {
        tern_error_system(error, status, "cannot start the thread of the vectors' WAL");
        tern_checkpoint_stop(checkpoint);
        return TERN_EIO;
    }
    checkpoint->started = true;
    sqlite3_wal_hook(writer, note_commit, checkpoint);
    *out = checkpoint;
    return 0;
}

void tern_checkpoint_await_room(struct tern_checkpoint *checkpoint)
{
    if (checkpoint == NULL)
        return;
    pthread_mutex_lock(&checkpoint->mutex);
    if (checkpoint->pages >= STOP_PAGES) {
        /* The one that runs began before the last commits; the next one sees them all. */
        while (checkpoint->running)
            pthread_cond_wait(&checkpoint->changed, &checkpoint->mutex);
        checkpoint->running = true;
        pthread_cond_broadcast(&checkpoint->changed);
        while (checkpoint->running)
            pthread_cond_wait(&checkpoint->changed, &checkpoint->mutex);
        checkpoint->pages = 0; /* until the next commit says otherwise */
    }
    pthread_mutex_unlock(&checkpoint->mutex);
}

void tern_checkpoint_stop(struct tern_checkpoint *checkpoint)
{
    if (checkpoint == NULL)
        return;
    if (checkpoint->started) {
        sqlite3_wal_hook(checkpoint->writer, NULL, NULL);
        pthread_mutex_lock(&checkpoint->mutex);
        checkpoint->stopping = true;
        pthread_cond_broadcast(&checkpoint->changed);
        pthread_mutex_unlock(&checkpoint->mutex);
        pthread_join(checkpoint->thread, NULL);
    }
    sqlite3_close_v2(checkpoint->database);
    pthread_cond_destroy(&checkpoint->changed);
    pthread_mutex_destroy(&checkpoint->mutex);
    free(checkpoint);
}
