/* The measuring loop: one thread, one epoll, sends and receives in bulk. */
#include "perf/load/run.h"

#include "perf/load/connection.h"
#include "perf/load/socket.h"

#include <errno.h>
#include <math.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX       256
#define OPEN_SLOTS_TOTAL 65536u /* open loop: requests in flight before sending must wait */
#define OPEN_SLOTS_MIN   64u
#define OUT_BYTES_MIN    (64u << 10)
#define OUT_BYTES_MAX    (4u << 20)
#define IN_BYTES         (1u << 20)
#define DRAIN_NS         10000000000ull
#define SILENCE_NS       20000000000ull /* --count: so long without an answer ends it */
#define REOPEN_NS        1000000ull     /* between two looks at connections that are down */
#define LOOK_NS          100000000ull   /* the longest sleep: a signal must be seen */
#define DIRECT_MAX       2u /* spinning on so few sockets, epoll would only be in the way */

struct schedule { /* of the open loop */
    uint64_t next_ns;
    double mean_ns;
    uint64_t spike_from_ns, spike_until_ns;
    double fraction_ns; /* what rounding to ns has left over */
    uint64_t seed;
    unsigned connection; /* next in turn */
    bool blocked;        /* the next request could already have been sent but for the server */
};

static int prepare(struct load_run *run, struct tern_error *error)
{
    const struct load_options *options = run->options;
    uint64_t out;

    run->slots_each = options->depth;
    if (options->rate > 0)
        run->slots_each =
            (uint32_t)tern_max_u64(OPEN_SLOTS_TOTAL / options->connections, OPEN_SLOTS_MIN);
    out = (uint64_t)run->slots_each * run->source->longest;
    out = tern_min_u64(tern_max_u64(out, OUT_BYTES_MIN), OUT_BYTES_MAX);
    run->out_capacity = tern_max_u64(out, run->source->longest);
    run->in_capacity = tern_max_u64(IN_BYTES, 4ull * run->source->longest);
    if (options->per_second) {
        run->meter.second_count = (unsigned)ceil(options->duration_s);
        run->meter.second_count += run->meter.second_count == 0;
        run->meter.seconds = calloc(run->meter.second_count, sizeof *run->meter.seconds);
        if (run->meter.seconds == NULL)
            return tern_error_set(error, TERN_ENOMEM, "no memory for the seconds");
    }
    run->connections = calloc(options->connections, sizeof *run->connections);
    if (options->check_same)
        run->first_answers = calloc(run->source->count, sizeof *run->first_answers);
    if (run->connections == NULL || (options->check_same && run->first_answers == NULL))
        return tern_error_set(error, TERN_ENOMEM, "no memory for the connections");
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (run->epoll < 0)
        return tern_error_system(error, errno, "epoll");
    run->down = options->connections;
    for (unsigned i = 0; i < options->connections; i++)
        run->connections[i].fd = -1;
    for (unsigned i = 0; i < options->connections; i++) {
        if (load_connection_new(run, &run->connections[i]) != 0)
            return tern_error_set(error, TERN_ENOMEM, "no memory for the connections");
        if (load_connection_open(run, &run->connections[i], error) != 0)
            return TERN_EUNREACHABLE;
    }
    return load_idle_open(&run->idle, options, error);
}

static void clean_up(struct load_run *run)
{
    for (unsigned i = 0; run->connections != NULL && i < run->options->connections; i++)
        load_connection_free(&run->connections[i]);
    free(run->connections);
    load_idle_close(&run->idle);
    free(run->first_answers);
    free(run->meter.seconds);
    if (run->epoll >= 0)
        close(run->epoll);
}

static bool may_send(const struct load_run *run)
{
    return !run->draining && (run->options->count == 0 || run->meter.sent < run->options->count);
}

/* Closed loop: brings a connection back to its depth. */
static void refill(struct load_run *run, struct load_connection *connection, uint64_t now_ns)
{
    while (may_send(run) && load_connection_append(run, connection, now_ns))
        ;
    if (connection->out_start < connection->out_end && !connection->wants_out)
        load_connection_send(run, connection);
}

/* Open loop: appends everything that is due, in turn over the connections. */
static void append_due(struct load_run *run, struct schedule *schedule, uint64_t now_ns)
{
    unsigned count = run->options->connections;

    while (schedule->next_ns <= now_ns && may_send(run)) {
        struct load_connection *connection = NULL;
        bool spike = schedule->next_ns >= schedule->spike_from_ns &&
                     schedule->next_ns < schedule->spike_until_ns;
        double mean_ns = spike ? schedule->mean_ns / run->options->spike : schedule->mean_ns;
        double pause = mean_ns;

        for (unsigned tries = 0; tries < count; tries++) {
            struct load_connection *each = &run->connections[schedule->connection];

            schedule->connection = schedule->connection + 1 == count ? 0 : schedule->connection + 1;
            if (each->fd >= 0 && load_connection_append(run, each, schedule->next_ns)) {
                connection = each;
                break;
            }
        }
        if (connection == NULL) {
            run->meter.blocked += !schedule->blocked && run->measuring;
            schedule->blocked = true;
            return;
        }
        connection->dirty = true;
        if (run->measuring && !schedule->blocked)
            load_histogram_add(&run->meter.lag, now_ns - schedule->next_ns);
        if (run->options->poisson) {
            /* Exponential pauses by inversion; 1 − u keeps log away from 0. */
            double u = (double)(load_random(&schedule->seed) >> 11) * 0x1p-53;

            pause = -log(1 - u) * mean_ns;
        }
        pause += schedule->fraction_ns;
        schedule->next_ns += (uint64_t)pause;
        schedule->fraction_ns = pause - floor(pause);
        /* Requests due while it was blocked waited for the server, not for us. */
        if (schedule->blocked && schedule->next_ns > now_ns)
            schedule->blocked = false;
    }
}

static void send_dirty(struct load_run *run)
{
    for (unsigned i = 0; i < run->options->connections; i++) {
        struct load_connection *connection = &run->connections[i];

        if (connection->dirty && connection->fd >= 0 && !connection->wants_out)
            load_connection_send(run, connection);
        connection->dirty = false;
    }
}

static void reopen_lost(struct load_run *run, uint64_t now_ns)
{
    for (unsigned i = 0; i < run->options->connections; i++) {
        struct load_connection *connection = &run->connections[i];

        if (connection->fd >= 0 || run->draining || connection->retry_ns > now_ns)
            continue;
        if (load_connection_open(run, connection, NULL) != 0)
            continue;
        run->meter.reconnects++;
        if (run->options->rate == 0)
            refill(run, connection, now_ns);
    }
}

static void serve(struct load_run *run, struct load_connection *connection, unsigned events)
{
    uint64_t now_ns = 0;

    if ((events & EPOLLOUT) != 0 && !load_connection_send(run, connection))
        return;
    if (!load_connection_receive(run, connection, &now_ns))
        return;
    if (now_ns != 0 && run->options->rate == 0)
        refill(run, connection, now_ns);
}

/* Waits until `until_ns` at most, or not at all, and serves what is ready. */
static void turn(struct load_run *run, uint64_t now_ns, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX];
    struct timespec pause = {0};
    int count;

    if (run->options->spin && run->options->connections <= DIRECT_MAX) {
        for (unsigned i = 0; i < run->options->connections; i++) {
            struct load_connection *connection = &run->connections[i];

            if (connection->fd >= 0)
                serve(run, connection, connection->wants_out ? EPOLLOUT : 0);
        }
        return;
    }
    if (!run->options->spin && until_ns > now_ns) {
        pause.tv_sec = (time_t)((until_ns - now_ns) / 1000000000u);
        pause.tv_nsec = (long)((until_ns - now_ns) % 1000000000u);
    }
    count = epoll_pwait2(run->epoll, events, EVENTS_MAX, &pause, NULL);
    for (int i = 0; i < count; i++) {
        struct load_connection *connection = events[i].data.ptr;

        if (connection->fd >= 0)
            serve(run, connection, events[i].events);
    }
}

static void start_measuring(struct load_run *run, uint64_t now_ns)
{
    struct load_meter *meter = &run->meter;
    double cpu = run->options->server_pid > 0 ? load_process_cpu_s(run->options->server_pid) : -1;

    run->measuring = true;
    meter->started_ns = now_ns;
    meter->server_cpu_known = cpu >= 0;
    meter->server_cpu_s = -cpu;
    meter->client_cpu_s = -load_own_cpu_s();
    run->last_good_ns = now_ns;
}

static void stop_measuring(struct load_run *run, uint64_t now_ns)
{
    struct load_meter *meter = &run->meter;

    run->draining = true;
    meter->ended_ns = now_ns;
    meter->client_cpu_s += load_own_cpu_s();
    if (meter->server_cpu_known) {
        double cpu = load_process_cpu_s(run->options->server_pid);

        meter->server_cpu_known = cpu >= 0;
        meter->server_cpu_s += cpu;
    }
    /* A silence that still lasts counts like one that ended. */
    if (now_ns - run->last_good_ns > meter->gap_ns)
        meter->gap_ns = now_ns - run->last_good_ns;
}

/* Whether nothing more is to be sent. */
static bool is_over(const struct load_run *run, uint64_t now_ns, uint64_t end_ns)
{
    uint64_t count = run->options->count;

    if (now_ns >= end_ns || load_stopped())
        return true;
    if (count == 0)
        return false;
    return (run->meter.sent >= count && run->in_flight == 0) ||
           now_ns - run->last_good_ns > SILENCE_NS;
}

static void measure(struct load_run *run)
{
    const struct load_options *options = run->options;
    bool by_count = options->count > 0;
    uint64_t begin_ns = load_now_ns();
    uint64_t warm_ns = begin_ns + (by_count ? 0 : (uint64_t)(options->warmup_s * 1e9));
    uint64_t end_ns = by_count ? UINT64_MAX : warm_ns + (uint64_t)(options->duration_s * 1e9);
    struct schedule schedule = {.next_ns = begin_ns, .seed = options->seed};
    uint64_t now_ns = begin_ns, drained_ns = UINT64_MAX;

    run->last_good_ns = begin_ns;
    if (warm_ns == begin_ns)
        start_measuring(run, begin_ns);
    schedule.spike_from_ns = warm_ns + (uint64_t)(options->spike_at_s * 1e9);
    schedule.spike_until_ns = schedule.spike_from_ns + (uint64_t)(options->spike_for_s * 1e9);
    if (options->rate > 0)
        schedule.mean_ns = 1e9 / options->rate;
    else
        for (unsigned i = 0; i < options->connections; i++)
            refill(run, &run->connections[i], now_ns);
    for (;;) {
        uint64_t until_ns = run->draining ? drained_ns : run->measuring ? end_ns : warm_ns;

        if (!run->measuring && now_ns >= warm_ns)
            start_measuring(run, now_ns);
        if (!run->draining && is_over(run, now_ns, end_ns)) {
            if (!run->measuring)
                start_measuring(run, now_ns);
            stop_measuring(run, now_ns);
            drained_ns = now_ns + DRAIN_NS;
        }
        if (run->draining && (run->in_flight == 0 || now_ns >= drained_ns))
            break;
        if (options->rate > 0 && !run->draining) {
            append_due(run, &schedule, now_ns);
            send_dirty(run);
            if (!schedule.blocked && schedule.next_ns < until_ns)
                until_ns = schedule.next_ns;
        }
        if (run->down > 0) {
            reopen_lost(run, now_ns);
            until_ns = tern_min_u64(until_ns, now_ns + REOPEN_NS);
        }
        until_ns = tern_min_u64(until_ns, now_ns + LOOK_NS);
        turn(run, now_ns, until_ns);
        now_ns = load_now_ns();
    }
    run->meter.failed += run->in_flight;
}

int load_run(const struct load_options *options)
{
    struct load_source source = {0};
    struct load_run run = {.options = options, .source = &source, .epoll = -1};
    struct tern_error error = {0};
    int code = load_pin(options->cpu, &error);

    prctl(PR_SET_TIMERSLACK, 1);
    load_descriptors_raise();
    if (code == 0)
        code = load_source_open(options, &source, &error);
    if (code == 0)
        code = prepare(&run, &error);
    if (code == 0) {
        load_stop_on_signals();
        measure(&run);
        load_meter_print(&run.meter, options);
    } else {
        fprintf(stderr, "tern-load: %s\n", error.message);
    }
    clean_up(&run);
    load_source_free(&source);
    if (code != 0)
        return 2;
    return run.meter.failed > 0 || run.meter.wrong > 0 || run.meter.replies == 0 ? 1 : 0;
}
