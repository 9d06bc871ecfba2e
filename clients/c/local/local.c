/* The process's hold on an instance: open, close, and the thread that follows what is published. */
#include "clients/c/local/local.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUND_NS 100000000 /* without a bell; also how soon a replaced arena is noticed */

static void *follow(void *argument)
{
    struct tern_local *local = argument;

    while (!atomic_load_explicit(&local->stopping, memory_order_acquire)) {
        const struct timespec timeout = {.tv_nsec = ROUND_NS};
        const struct tern_envelope *envelope;
        uint32_t bell;

        pthread_mutex_lock(&local->preparing);
        envelope = tern_arena_envelope(&local->join->arena);
        bell = atomic_load_explicit(&envelope->bell, memory_order_acquire);
        /* What cannot be prepared is not served; the next one may be. */
        tern_local_prepare(local, NULL);
        envelope = tern_arena_envelope(&local->join->arena);
        pthread_mutex_unlock(&local->preparing);
        /* Wakes at once when the bell has rung since it was read; the time limit is for the end and
         * for a replaced arena. Should another thread let the arena go meanwhile, the kernel finds
         * no word there, or another, and the next round begins early. */
        syscall(SYS_futex, &envelope->bell, FUTEX_WAIT, bell, &timeout, NULL, 0);
    }
    return NULL;
}

/* The program's signal handlers are not run by a thread it does not know. */
static int start_follower(struct tern_local *local, struct tern_error *error)
{
    sigset_t all, before;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&local->follower, NULL, follow, local);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return tern_error_set(error, TERN_ENOMEM, "cannot start the following thread");
    local->follows = true;
    pthread_setname_np(local->follower, "tern-follow");
    return 0;
}

int tern_local_open(const char *run_dir, const struct tern_local_options *options,
                    struct tern_local **local, struct tern_error *error)
{
    struct tern_local *opened;
    int code;

    if (strlen(run_dir) >= sizeof opened->run_dir)
        return tern_error_set(error, TERN_EINVAL, "run directory %.100s…: the path is too long",
                              run_dir);
    opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for a hold");
    strcpy(opened->run_dir, run_dir);
    if (options != NULL && options->name != NULL)
        snprintf(opened->name, sizeof opened->name, "%s", options->name);
    pthread_mutex_init(&opened->preparing, NULL);
    pthread_mutex_init(&opened->lock, NULL);
    code = tern_local_join_open(run_dir, opened->name, &opened->join, error);
    if (code == 0) {
        code = tern_local_prepare(opened, error);
        if (code > 0)
            code = 0;
    }
    if (code == 0 && options != NULL && options->follow)
        code = start_follower(opened, error);
    if (code != 0) {
        tern_local_close(opened);
        return code;
    }
    *local = opened;
    return 0;
}

void tern_local_close(struct tern_local *local)
{
    struct tern_local_offer *current;

    if (local == NULL)
        return;
    assert(local->contexts == 0);
    if (local->follows) {
        atomic_store_explicit(&local->stopping, true, memory_order_release);
        pthread_join(local->follower, NULL);
    }
    current = atomic_load_explicit(&local->current, memory_order_relaxed);
    if (current != NULL)
        tern_local_offer_release(current);
    if (local->join != NULL)
        tern_local_join_release(local->join);
    pthread_mutex_destroy(&local->preparing);
    pthread_mutex_destroy(&local->lock);
    free(local);
}
