#include "controlplane/builder.h"

#include "controlplane/job.h"
#include "controlplane/log.h"
#include "shared/background.h"
#include "shared/clock.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define TICK_US     100000 /* how often freed memory is looked for */
#define PROGRESS_US 20000  /* how often the main thread is told, at most */
#define NICE        10     /* of the builder once something is served */

struct tern_builder {
    struct tern_builder_options options;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards everything below */
    pthread_cond_t changed;
    bool stopping;
    bool ended;
    struct tern_job *waiting; /* oldest first */
    struct tern_job *finished;
    struct tern_builder_state state;
    uint64_t told_at_us;
    bool history_open; /* of the thread; see tern_job_context */
};

void tern_job_free(struct tern_job *job)
{
    if (job == NULL)
        return;
    tern_diagnostics_free(&job->diagnostics);
    tern_apply_result_free(&job->result);
    tern_config_free(job->config);
    free(job->path);
    free(job->message);
    free(job->collection);
    free(job);
}

static void wake_main(struct tern_builder *builder)
{
    uint64_t one = 1;

    /* A full counter means that the main thread has been woken already. */
    if (write(builder->options.wake_fd, &one, sizeof one) < 0)
        return;
}

static void append(struct tern_job **list, struct tern_job *job)
{
    while (*list != NULL)
        list = &(*list)->next;
    job->next = NULL;
    *list = job;
}

static void note_progress(void *context, const struct tern_progress *progress)
{
    struct tern_builder *builder = context;
    uint64_t now_us = tern_clock_now_us();
    bool tell;

    pthread_mutex_lock(&builder->mutex);
    tell = strncmp(builder->state.step, progress->step, sizeof builder->state.step - 1) != 0 ||
           now_us - builder->told_at_us >= PROGRESS_US;
    snprintf(builder->state.step, sizeof builder->state.step, "%s", progress->step);
    builder->state.permille = progress->permille;
    builder->state.rows = progress->rows;
    if (tell) {
        builder->state.sequence++;
        builder->told_at_us = now_us;
    }
    pthread_mutex_unlock(&builder->mutex);
    if (tell)
        wake_main(builder);
}

/* Only the first build has nobody to yield to. Failing to be nice is no reason to fail. */
static void lower_priority(void)
{
    int status = tern_background_begin(NICE);

    if (status != 0)
        tern_control_log(TERN_LOG_WARNING, "the builder cannot lower its priority: %s",
                         strerror(status));
}

static void run(struct tern_builder *builder, struct tern_job *job)
{
    const struct tern_job_context context = {
        .pipeline = builder->options.pipeline,
        .store = builder->options.store,
        .sources = builder->options.sources,
        .collections = builder->options.collections,
        .history_open = &builder->history_open,
        .progress = note_progress,
        .progress_context = builder,
    };

    tern_job_run(&context, job);
}

/* Called with the mutex held; gives it up while the job runs. */
static void run_job(struct tern_builder *builder, struct tern_job *job)
{
    struct tern_builder_state *state = &builder->state;

    state->running = true;
    state->owner = job->owner;
    state->sequence++;
    state->permille = 0;
    state->rows = 0;
    state->started_at_us = tern_clock_wall_us();
    snprintf(state->step, sizeof state->step, "reading");
    snprintf(state->path, sizeof state->path, "%s", job->path != NULL ? job->path : "");
    pthread_mutex_unlock(&builder->mutex);
    run(builder, job);
    if (job->kind == TERN_JOB_START)
        lower_priority();
    pthread_mutex_lock(&builder->mutex);
    if (job->kind == TERN_JOB_START)
        state->starting = false;
    state->running = false;
    state->owner = 0;
    state->sequence++;
}

static void run_next(struct tern_builder *builder)
{
    struct tern_job *job = builder->waiting;

    builder->waiting = job->next;
    builder->state.waiting--;
    run_job(builder, job);
    append(&builder->finished, job);
    wake_main(builder);
}

/* Nobody waits for it: what there is to say is in the log, the history and the status. */
static void run_refresh(struct tern_builder *builder)
{
    struct tern_job job = {
        .kind = TERN_JOB_REFRESH, .uid = (uint32_t)geteuid(), .pid = (uint32_t)getpid()};

    run_job(builder, &job);
    tern_diagnostics_free(&job.diagnostics);
    tern_apply_result_free(&job.result);
}

/* Waits for a job until the given time of the monotonic clock. */
static void wait_until(struct tern_builder *builder, uint64_t until_us)
{
    const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                                   .tv_nsec = (long)(until_us % 1000000) * 1000};

    pthread_cond_timedwait(&builder->changed, &builder->mutex, &until);
}

static void *builder_main(void *argument)
{
    struct tern_builder *builder = argument;
    struct tern_sources *sources = builder->options.sources;
    uint64_t tick_us = tern_clock_now_us() + TICK_US;

    pthread_setname_np(pthread_self(), "builder");
    pthread_mutex_lock(&builder->mutex);
    while (!builder->stopping) {
        uint64_t now_us = tern_clock_now_us(), due_us;

        if (builder->waiting != NULL) {
            run_next(builder);
            continue;
        }
        if (now_us >= tick_us) {
            pthread_mutex_unlock(&builder->mutex);
            tern_pipeline_tick(builder->options.pipeline);
            pthread_mutex_lock(&builder->mutex);
            tick_us = tern_clock_now_us() + TICK_US;
            continue;
        }
        due_us = tern_sources_next(sources);
        if (due_us <= now_us)
            run_refresh(builder);
        else
            wait_until(builder, tern_min_u64(due_us, tick_us));
    }
    builder->ended = true;
    pthread_cond_broadcast(&builder->changed);
    pthread_mutex_unlock(&builder->mutex);
    return NULL;
}

int tern_builder_start(const struct tern_builder_options *options, struct tern_builder **out,
                       struct tern_error *error)
{
    struct tern_builder *builder = calloc(1, sizeof *builder);
    pthread_condattr_t attributes;
    int status;

    if (builder == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    builder->options = *options;
    pthread_mutex_init(&builder->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&builder->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    status = pthread_create(&builder->thread, NULL, builder_main, builder);
    if (status != 0) {
        pthread_cond_destroy(&builder->changed);
        pthread_mutex_destroy(&builder->mutex);
        free(builder);
        return tern_error_system(error, status, "cannot start the builder's thread");
    }
    *out = builder;
    return 0;
}

int tern_builder_submit(struct tern_builder *builder, struct tern_job *job)
{
    int rc = 0;

    pthread_mutex_lock(&builder->mutex);
    if (builder->state.waiting >= TERN_JOBS_WAITING_MAX) {
        rc = TERN_EBUSY;
    } else {
        append(&builder->waiting, job);
        builder->state.waiting++;
        builder->state.sequence++;
        builder->state.starting |= job->kind == TERN_JOB_START;
        pthread_cond_broadcast(&builder->changed);
    }
    pthread_mutex_unlock(&builder->mutex);
    if (rc == 0)
        wake_main(builder); /* whoever asked hears that it waits */
    return rc;
}

void tern_builder_cancel(struct tern_builder *builder, uint64_t owner)
{
    struct tern_job **link = &builder->waiting, *dropped = NULL;

    pthread_mutex_lock(&builder->mutex);
    while (*link != NULL) {
        struct tern_job *job = *link;

        if (job->owner == owner) {
            *link = job->next;
            builder->state.waiting--;
            job->next = dropped;
            dropped = job;
        } else {
            link = &job->next;
        }
    }
    pthread_mutex_unlock(&builder->mutex);
    while (dropped != NULL) {
        struct tern_job *job = dropped;

        dropped = job->next;
        tern_job_free(job);
    }
}

struct tern_job *tern_builder_collect(struct tern_builder *builder)
{
    struct tern_job *job;

    pthread_mutex_lock(&builder->mutex);
    job = builder->finished;
    if (job != NULL)
        builder->finished = job->next;
    pthread_mutex_unlock(&builder->mutex);
    return job;
}

void tern_builder_state(struct tern_builder *builder, struct tern_builder_state *state)
{
    pthread_mutex_lock(&builder->mutex);
    *state = builder->state;
    pthread_mutex_unlock(&builder->mutex);
}

static void free_list(struct tern_job *job)
{
    while (job != NULL) {
        struct tern_job *next = job->next;

        tern_job_free(job);
        job = next;
    }
}

bool tern_builder_stop(struct tern_builder *builder, uint64_t timeout_us)
{
    struct timespec until;
    bool ended;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(timeout_us / 1000000);
    until.tv_nsec += (long)(timeout_us % 1000000) * 1000;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&builder->mutex);
    builder->stopping = true;
    pthread_cond_broadcast(&builder->changed);
    while (!builder->ended)
        if (pthread_cond_timedwait(&builder->changed, &builder->mutex, &until) == ETIMEDOUT)
            break;
    ended = builder->ended;
    pthread_mutex_unlock(&builder->mutex);
    if (!ended)
        return false;
    pthread_join(builder->thread, NULL);
    free_list(builder->waiting);
    free_list(builder->finished);
    pthread_cond_destroy(&builder->changed);
    pthread_mutex_destroy(&builder->mutex);
    free(builder);
    return true;
}
