#include "controlplane/decisions/drain.h"

#include "controlplane/decisions/files.h"
#include "controlplane/decisions/line.h"
#include "controlplane/decisions/names.h"
#include "controlplane/decisions/position.h"
#include "controlplane/log.h"
#include "shared/board.h"
#include "shared/clock.h"
#include "shared/race.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUFFER_BYTES   (256u << 10) /* written at once */
#define READ_RECORDS   2048u        /* copied out of a ring at once, before anything slow */
#define PAUSE_LEAST_US 200u
#define PAUSE_MOST_US  2000u    /* an idle loop's first burst must still fit its ring */
#define FLUSH_US       100000u  /* a line waits no longer than that for the buffer to fill */
#define RETRY_US       1000000u /* after files could not be opened or written */
#define COMPLAIN_US    60000000u
#define NICE           19

/* What the published settings ask for. */
struct wishes {
    uint64_t generation; /* whose settings they are */
    bool on;
    uint8_t always;
    unsigned permille;
    char directory[TERN_LOG_DIRECTORY_BYTES + 256];
    struct tern_log_bounds bounds;
};

struct tern_drain {
    char state_dir[TERN_LOG_DIRECTORY_BYTES + 200];
    struct tern_board_map board;
    struct tern_position *position;
    struct tern_names *names;

    pthread_mutex_t lock; /* guards what follows, up to the thread's own */
    pthread_cond_t changed;
    struct wishes wanted;
    uint64_t wanted_serial;
    bool stopping;
    uint64_t file;
    char error[256];

    /* the thread's own */
    pthread_t thread;
    struct wishes now;
    uint64_t now_serial;
    struct tern_log_files files;
    bool files_open;
    uint64_t retry_us, complained_us, flushed_us;
    struct tern_log_record records[READ_RECORDS];
    char *buffer;
    size_t used;
    uint64_t lines; /* in the buffer */
    /* how far the rings are read; `position` follows when the lines are in a file */
    struct tern_position_seat seats[TERN_SEATS_MAX];
    struct tern_line_writer writers[TERN_SEATS_MAX][TERN_LOOPS_MAX];
};

/* ---- what is kept ---- */

/* The finalizer of splitmix64 (Steele, Lea and Flood, 2014): every bit depends on every bit. */
static uint64_t mix(uint64_t value)
{
    value ^= value >> 30;
    value *= 0xbf58476d1ce4e5b9ull;
    value ^= value >> 27;
    value *= 0x94d049bb133111ebull;
    return value ^ value >> 31;
}

bool tern_drain_samples(const struct tern_log_record *record, uint64_t place, unsigned permille)
{
    uint64_t hash;

    if (permille >= 1000)
        return true;
    hash =
        record->decision_key != 0
            ? mix(record->decision_key)
            : mix(record->at_us ^ place << 56 ^ (uint64_t)record->request_id << 24 ^ record->item);
    return hash / (UINT64_MAX / 1000) < permille;
}

/* ---- out ---- */

static void note_error(struct tern_drain *drain, const char *message)
{
    uint64_t now_us = tern_clock_now_us();

    pthread_mutex_lock(&drain->lock);
    snprintf(drain->error, sizeof drain->error, "%.255s", message);
    pthread_mutex_unlock(&drain->lock);
    if (message[0] == '\0' ||
        (drain->complained_us != 0 && now_us < drain->complained_us + COMPLAIN_US))
        return;
    drain->complained_us = now_us;
    tern_control_log(TERN_LOG_ERROR, "decision log: %s; decisions are counted, not kept", message);
}

/* Forgets the open files, so that the next try makes what is missing, a little later. */
static int give_up(struct tern_drain *drain, int code)
{
    if (drain->files_open)
        tern_log_files_close(&drain->files);
    drain->files_open = false;
    drain->retry_us = tern_clock_now_us() + RETRY_US;
    return code;
}

static int open_files(struct tern_drain *drain, struct tern_error *error)
{
    int code;

    if (drain->files_open)
        return 0;
    if (tern_clock_now_us() < drain->retry_us)
        return tern_error_set(error, TERN_EAGAIN, "%s", drain->error);
    code = tern_log_files_open(&drain->files, drain->now.directory, &drain->now.bounds, error);
    if (code != 0)
        return give_up(drain, code);
    drain->files_open = true;
    return 0;
}

static int append(struct tern_drain *drain, struct tern_error *error)
{
    int code = open_files(drain, error);

    if (code != 0)
        return code;
    code = tern_log_files_append(&drain->files, drain->buffer, drain->used, error);
    return code != 0 ? give_up(drain, code) : 0;
}

static void add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
                          memory_order_release); /* pairs with tern_drain_status */
}

/* The buffer to the file, or away: no disk holds the rings up. */
static void flush(struct tern_drain *drain)
{
    struct tern_error error;
    int code = drain->used > 0 ? append(drain, &error) : 0;

    if (code == 0 && drain->used > 0) {
        if (drain->error[0] != '\0') /* written by this thread alone */
            note_error(drain, "");
        if (drain->file != drain->files.number) {
            pthread_mutex_lock(&drain->lock);
            drain->file = drain->files.number;
            pthread_mutex_unlock(&drain->lock);
        }
    }
    /* Behind what goes with them: who has seen that lines are written sees no error of before. */
    if (code == 0) {
        add(&drain->position->bytes, drain->used);
        add(&drain->position->written, drain->lines);
    } else {
        note_error(drain, error.message);
        add(&drain->position->failed, drain->lines);
    }
    /* Only now: who is killed before reads these records again, and at worst writes lines twice. */
    memcpy(drain->position->seats, drain->seats, sizeof drain->seats);
    drain->used = 0;
    drain->lines = 0;
    drain->flushed_us = tern_clock_now_us();
}

/* ---- in ---- */

static void note_lost(struct tern_drain *drain, struct tern_line_writer *writer, uint64_t lost)
{
    if (drain->used + TERN_LINE_BYTES_MAX > BUFFER_BYTES)
        flush(drain);
    add(&drain->position->lost, lost);
    drain->used +=
        tern_line_write_lost(writer, tern_clock_wall_us(), lost, drain->buffer + drain->used);
    drain->lines++;
}

/* Formats records from `i` on until the buffer is full. Returns the first that was not. */
static unsigned format_records(struct tern_drain *drain, struct tern_line_writer *writer,
                               unsigned i, unsigned count)
{
    const struct wishes *now = &drain->now;
    uint64_t place = (uint64_t)writer->seat << 6 | writer->loop, skipped = 0;

    for (; i < count && drain->used + TERN_LINE_BYTES_MAX <= BUFFER_BYTES; i++) {
        const struct tern_log_record *record = &drain->records[i];
        const struct tern_log_trace *trace = NULL;

        if (record->kind != TERN_LOG_DECISION)
            continue; /* a trace context whose decision was lost */
        if (i + 1 < count && drain->records[i + 1].kind == TERN_LOG_TRACE)
            trace = tern_log_as_trace(&drain->records[++i]);
        if ((now->always >> (record->action & 3) & 1) == 0 &&
            !tern_drain_samples(record, place, now->permille)) {
            skipped++;
            continue;
        }
        drain->used += tern_line_write(writer, record, trace, drain->buffer + drain->used);
        drain->lines++;
    }
    add(&drain->position->skipped, skipped);
    return i;
}

static void take_records(struct tern_drain *drain, struct tern_line_writer *writer, unsigned count)
{
    unsigned done = 0;

    while (done < count) {
        /* Not while a disk is waited for: a publish adds names. */
        tern_names_lock(drain->names);
        done = format_records(drain, writer, done, count);
        tern_names_unlock(drain->names);
        if (done < count)
            flush(drain);
    }
}

/* A ring is read in bites, so that the copying is never far behind the looking. Returns how many
 * records lay there. */
static uint64_t read_ring(struct tern_drain *drain, const struct tern_seat *seat, unsigned index,
                          unsigned loop)
{
    const struct tern_log_ring *ring = &seat->boards[loop].log;
    struct tern_position_seat *known = &drain->seats[index];
    struct tern_line_writer *writer = &drain->writers[index][loop];
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire); /* tern_log_end */
    uint64_t before = known->next[loop];

    writer->names = drain->names;
    writer->seat = index;
    writer->loop = loop;
    while (known->next[loop] < head) {
        uint64_t next = known->next[loop], lost = 0;
        unsigned count = tern_log_read(ring, &next, drain->records, READ_RECORDS, &lost);

        /* Whoever claims the seat wipes it, with `ready` at 0 while he does: pairs with the fence
         * of tern_seat_claim. */
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&seat->ready, memory_order_relaxed) == 0 ||
            seat->started_at_us != known->started_at_us)
            return 0;
        if (lost > 0)
            note_lost(drain, writer, lost);
        take_records(drain, writer, count);
        known->next[loop] = next;
    }
    return head > before ? head - before : 0;
}

/* True when the seat's rings can be read: somebody holds it, or held it when we last looked. An
 * untouched seat is a hole in the file and stays one. */
static bool is_readable(struct tern_drain *drain, unsigned index)
{
    return drain->seats[index].started_at_us != 0 || tern_seat_is_live(&drain->board, index);
}

static unsigned loops_of(const struct tern_seat *seat)
{
    return seat->loop_count <= TERN_LOOPS_MAX ? seat->loop_count : 0;
}

/* Where a seat's rings are read from. Another owner's begin at 0. */
static bool know_seat(struct tern_drain *drain, const struct tern_seat *seat, unsigned index)
{
    struct tern_position_seat *known = &drain->seats[index];

    if (!is_readable(drain, index) || atomic_load_explicit(&seat->ready, memory_order_acquire) == 0)
        return false;
    if (known->started_at_us != seat->started_at_us || known->pid != seat->pid)
        *known =
            (struct tern_position_seat){.started_at_us = seat->started_at_us, .pid = seat->pid};
    return true;
}

/* One look at every ring. Returns how full the fullest one was. */
static uint64_t read_rings(struct tern_drain *drain)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < TERN_SEATS_MAX; i++) {
        const struct tern_seat *seat = &drain->board.board->seats[i];

        if (!know_seat(drain, seat, i))
            continue;
        for (unsigned loop = 0; loop < loops_of(seat); loop++)
            most = tern_max_u64(most, read_ring(drain, seat, i, loop));
    }
    return most;
}

/* Where a ring's records of `generation` and later begin, the head when there are none yet. A loop
 * serves no older generation after a newer one. */
static uint64_t first_of(struct tern_drain *drain, const struct tern_log_ring *ring,
                         uint64_t generation)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire); /* tern_log_end */
    uint64_t position = 0, unwanted = 0;

    while (position < head) {
        unsigned count = tern_log_read(ring, &position, drain->records, READ_RECORDS, &unwanted);

        for (unsigned i = 0; i < count; i++)
            if (drain->records[i].kind == TERN_LOG_DECISION &&
                drain->records[i].generation >= generation)
                return position - count + i;
    }
    return position;
}

/* When it is switched on, what was decided before lies in the rings and is nobody's loss. What the
 * generation that switches it on has decided by now is to be kept. */
static void skip_to_generation(struct tern_drain *drain, uint64_t generation)
{
    for (unsigned i = 0; i < TERN_SEATS_MAX; i++) {
        const struct tern_seat *seat = &drain->board.board->seats[i];

        if (!know_seat(drain, seat, i))
            continue;
        for (unsigned loop = 0; loop < loops_of(seat); loop++)
            drain->seats[i].next[loop] = first_of(drain, &seat->boards[loop].log, generation);
    }
}

/* ---- the thread ---- */

static bool same_files(const struct wishes *a, const struct wishes *b)
{
    return strcmp(a->directory, b->directory) == 0;
}

static void follow_wishes(struct tern_drain *drain, const struct wishes *wanted)
{
    bool begins = wanted->on && !drain->now.on;
    struct tern_error error;

    TERN_RACE_POINT("log-switching");
    if (drain->now.on) {
        read_rings(drain); /* what was decided until now was to be kept */
        flush(drain);
        if (!wanted->on || !same_files(&drain->now, wanted)) {
            if (drain->files_open)
                tern_log_files_close(&drain->files);
            drain->files_open = false;
            drain->retry_us = 0;
        }
    }
    drain->now = *wanted;
    drain->files.bounds = wanted->bounds;
    /* Before the first decision: a directory that cannot be made shows in the status at once. */
    if (wanted->on && open_files(drain, &error) != 0)
        note_error(drain, error.message);
    if (begins && drain->position->draining == 0)
        skip_to_generation(drain, wanted->generation);
    drain->position->draining = wanted->on;
    memcpy(drain->position->seats, drain->seats, sizeof drain->seats);
}

/* Longer while little comes, shorter while much does; and never more than half of the time at work,
 * so that the thread is bounded in what it takes of a CPU. */
static uint64_t next_pause(uint64_t pause_us, uint64_t fullest, uint64_t worked_us)
{
    if (fullest > TERN_LOG_RECORDS / 4)
        pause_us /= 2;
    else if (fullest < TERN_LOG_RECORDS / 16)
        pause_us *= 2;
    pause_us = tern_max_u64(PAUSE_LEAST_US, tern_min_u64(pause_us, PAUSE_MOST_US));
    return tern_max_u64(pause_us, tern_min_u64(worked_us, 10 * PAUSE_MOST_US));
}

/* Sleeps with the lock held on both sides; for ever when `us` is 0. */
static void wait_for_change(struct tern_drain *drain, uint64_t us)
{
    struct timespec until;

    if (us == 0) {
        pthread_cond_wait(&drain->changed, &drain->lock);
        return;
    }
    us += tern_clock_now_us();
    until.tv_sec = (time_t)(us / 1000000);
    until.tv_nsec = (long)(us % 1000000) * 1000;
    pthread_cond_timedwait(&drain->changed, &drain->lock, &until);
}

static void *run(void *argument)
{
    struct tern_drain *drain = argument;
    uint64_t pause_us = PAUSE_MOST_US;

    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    pthread_mutex_lock(&drain->lock);
    while (!drain->stopping) {
        struct wishes wanted = drain->wanted;
        bool changed = drain->wanted_serial != drain->now_serial;
        uint64_t began_us, fullest;

        drain->now_serial = drain->wanted_serial;
        if (!changed && !drain->now.on) {
            wait_for_change(drain, 0);
            continue;
        }
        pthread_mutex_unlock(&drain->lock);
        if (changed)
            follow_wishes(drain, &wanted);
        if (drain->now.on) {
            began_us = tern_clock_now_us();
            fullest = read_rings(drain);
            if (drain->used > 0 && tern_clock_now_us() >= drain->flushed_us + FLUSH_US)
                flush(drain);
            pause_us = next_pause(pause_us, fullest, tern_clock_now_us() - began_us);
        }
        pthread_mutex_lock(&drain->lock);
        if (drain->now.on && !drain->stopping && drain->wanted_serial == drain->now_serial)
            wait_for_change(drain, pause_us);
    }
    pthread_mutex_unlock(&drain->lock);
    if (drain->now.on) {
        read_rings(drain);
        flush(drain);
    }
    return NULL;
}

/* ---- life ---- */

void tern_drain_expect(struct tern_drain *drain, const struct tern_view *view)
{
    const struct tern_settings *settings = view->settings;
    struct wishes wanted = {
        .generation = view->generation,
        .on = settings->log_on != 0,
        .always = settings->log_always,
        .permille = settings->log_sample_permille,
        .bounds = {settings->log_file_bytes, settings->log_file_us, settings->log_files},
    };

    if (settings->log_directory[0] != '\0')
        snprintf(wanted.directory, sizeof wanted.directory, "%s", settings->log_directory);
    else
        snprintf(wanted.directory, sizeof wanted.directory, "%s/decisions", drain->state_dir);
    if (tern_names_add(drain->names, view->generation, view->rules) != 0)
        tern_control_log(TERN_LOG_WARNING, "decision log: no memory for the names of rules");
    pthread_mutex_lock(&drain->lock);
    drain->wanted = wanted;
    drain->wanted_serial++;
    pthread_cond_signal(&drain->changed);
    pthread_mutex_unlock(&drain->lock);
}

void tern_drain_status(struct tern_drain *drain, struct tern_drain_status *status)
{
    const struct tern_position *position = drain->position;

    *status = (struct tern_drain_status){
        .written = atomic_load_explicit(&position->written, memory_order_acquire),
        .skipped = atomic_load_explicit(&position->skipped, memory_order_acquire),
        .lost = atomic_load_explicit(&position->lost, memory_order_acquire),
        .failed = atomic_load_explicit(&position->failed, memory_order_acquire),
        .bytes = atomic_load_explicit(&position->bytes, memory_order_acquire),
    };
    pthread_mutex_lock(&drain->lock);
    status->on = drain->wanted.on;
    status->file = drain->file;
    snprintf(status->directory, sizeof status->directory, "%s", drain->wanted.directory);
    snprintf(status->error, sizeof status->error, "%s", drain->error);
    pthread_mutex_unlock(&drain->lock);
}

static void free_drain(struct tern_drain *drain)
{
    if (drain->files_open)
        tern_log_files_close(&drain->files);
    tern_position_close(drain->position);
    tern_names_free(drain->names);
    if (drain->board.board != NULL)
        tern_board_close(&drain->board);
    pthread_cond_destroy(&drain->changed);
    pthread_mutex_destroy(&drain->lock);
    free(drain->buffer);
    free(drain);
}

static int open_parts(struct tern_drain *drain, const char *run_dir, const char *state_dir,
                      struct tern_error *error)
{
    int code = tern_board_take_over(run_dir, &drain->board, error);

    if (code != 0) {
        drain->board.board = NULL;
        return code;
    }
    code = tern_position_open(state_dir, &drain->position, error);
    if (code != 0)
        return code;
    memcpy(drain->seats, drain->position->seats, sizeof drain->seats);
    drain->buffer = malloc(BUFFER_BYTES);
    if (drain->buffer == NULL || tern_names_new(&drain->names) != 0)
        return tern_error_set(error, TERN_ENOMEM, "no memory for the decision log");
    return 0;
}

int tern_drain_start(const char *run_dir, const char *state_dir, struct tern_drain **drain,
                     struct tern_error *error)
{
    struct tern_drain *started = calloc(1, sizeof *started);
    pthread_condattr_t monotonic;
    int code;

    if (started == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for the decision log");
    pthread_mutex_init(&started->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&started->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    snprintf(started->state_dir, sizeof started->state_dir, "%s", state_dir);
    code = open_parts(started, run_dir, state_dir, error);
    if (code == 0 && pthread_create(&started->thread, NULL, run, started) != 0)
        code = tern_error_set(error, TERN_ENOMEM, "cannot start the decision log's thread");
    if (code != 0) {
        free_drain(started);
        return code;
    }
    *drain = started;
    return 0;
}

void tern_drain_stop(struct tern_drain *drain)
{
    if (drain == NULL)
        return;
    pthread_mutex_lock(&drain->lock);
    drain->stopping = true;
    pthread_cond_signal(&drain->changed);
    pthread_mutex_unlock(&drain->lock);
    pthread_join(drain->thread, NULL);
    free_drain(drain);
}
