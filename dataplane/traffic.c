/* What a loop does with its connections: bytes in, replies out, and the time they have. */
#include "dataplane/clock.h"
#include "dataplane/request.h"
#include "dataplane/server.h"
#include "dataplane/worker.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUSY_NS       100000000u /* between two looks whether a client's requests are answered */
#define BATCH_TURN_NS 50000u     /* large batches take this much of a turn, all together */
#define EXPIRE_LOOKS  64u        /* timers of a turn; most only go round again */
#define EXPIRE_ENDS   8u         /* of them such that end a connection: system calls each */

/* ---- the life of a connection ---- */

/* When this connection is to be looked at next, if nothing happens. */
static uint64_t deadline_of(const struct tern_worker *worker,
                            const struct tern_connection *connection)
{
    uint64_t until = connection->until_ns != 0 ? connection->until_ns : UINT64_MAX;
    uint64_t deadline = tern_min_u64(until, connection->active_ns + worker->idle_ns);

    if (connection->state == TERN_CONNECTION_LINGERING && connection->was_shut)
        return connection->active_ns + TERN_LINGER_NS;
    if (connection->stalled_ns != 0)
        return tern_min_u64(until, connection->stalled_ns + worker->half_frame_ns);
    if (connection->partial_ns != 0)
        deadline = tern_min_u64(deadline, connection->partial_ns + worker->half_frame_ns);
    return deadline;
}

void tern_worker_watch(struct tern_worker *worker, struct tern_connection *connection)
{
    tern_wheel_set_sooner(&worker->wheel, &connection->timer, deadline_of(worker, connection));
}

void tern_worker_close(struct tern_worker *worker, struct tern_connection *connection)
{
    if (connection->state == TERN_CONNECTION_CLOSING)
        return;
    tern_worker_decide(worker); /* may close it too */
    if (connection->state == TERN_CONNECTION_CLOSING)
        return;
    connection->state = TERN_CONNECTION_CLOSING;
    connection->waits = TERN_WAIT_NONE;
    tern_park_forget(worker, connection);
    tern_wheel_cancel(&worker->wheel, &connection->timer);
    tern_counter_add(&worker->board->counters.connections_closed, 1);
    /* On the list of the turn's end, which finishes it: nobody up the stack loses it under his
     * feet. */
    tern_worker_touch(worker, connection);
}

void tern_worker_linger(struct tern_worker *worker, struct tern_connection *connection)
{
    if (connection->state == TERN_CONNECTION_CLOSING)
        return;
    connection->refused = true;
    /* A client that has ended its side already needs no waiting for. */
    if (connection->state == TERN_CONNECTION_OPEN)
        connection->state = TERN_CONNECTION_LINGERING;
    connection->partial_ns = 0;
    tern_worker_touch(worker, connection);
}

void tern_worker_released(struct tern_worker *worker, struct tern_connection *connection)
{
    close(connection->fd);
    tern_connection_give(&worker->connections, &worker->pool, connection);
    atomic_fetch_sub_explicit(&worker->server->connections, 1, memory_order_relaxed);
    if (worker->accept_starved) {
        worker->accept_starved = false;
        worker->backend->accept(worker);
    }
}

void tern_worker_accepted(struct tern_worker *worker, int fd)
{
    struct tern_counters *counters = &worker->board->counters;
    struct tern_connection *connection = NULL;
    uint32_t open =
        atomic_fetch_add_explicit(&worker->server->connections, 1, memory_order_relaxed);

    if (open < worker->connection_limit && !worker->draining)
        connection = tern_connection_take(&worker->connections, fd);
    if (connection == NULL) {
        atomic_fetch_sub_explicit(&worker->server->connections, 1, memory_order_relaxed);
        tern_counter_add(&counters->connections_refused, 1);
        close(fd);
        return;
    }
    tern_counter_add(&counters->connections_opened, 1);
    connection->active_ns = worker->now_ns;
    connection->era = worker->era;
    tern_worker_greet(worker, connection);
    tern_worker_watch(worker, connection);
    worker->backend->receive(worker, connection);
}

void tern_worker_accept_failed(struct tern_worker *worker, int error)
{
    (void)error;
    worker->accept_starved = true;
}

/* ---- bytes in and out ---- */

/* Keeps input for later. */
static void keep(struct tern_worker *worker, struct tern_connection *connection,
                 const uint8_t *bytes, size_t length)
{
    if (tern_connection_keep(&worker->pool, connection, bytes, length) < 0) {
        tern_counter_add(&worker->board->counters.overloaded, 1);
        tern_worker_close(worker, connection);
    }
}

static void enqueue(struct tern_worker *worker, struct tern_connection *connection)
{
    if (connection->queued)
        return;
    if (connection->waits == TERN_WAIT_BATCH)
        tern_connection_queue_push(&worker->batches, connection);
    else if (connection->waits == TERN_WAIT_SHARE)
        tern_connection_queue_push(&worker->held, connection);
}

/* What stands in the kept input after a run: a batch, frames that wait, or part of a frame. */
static void after_input(struct tern_worker *worker, struct tern_connection *connection)
{
    enqueue(worker, connection);
    if (connection->waits == TERN_WAIT_BATCH)
        tern_batch_notice(connection);
    if (tern_connection_unread(connection) == 0 || tern_connection_is_blocked(connection)) {
        connection->partial_ns = 0;
    } else if (connection->partial_ns == 0) {
        connection->partial_ns = worker->now_ns;
        tern_worker_watch(worker, connection);
    }
    if (tern_connection_is_blocked(connection) || connection->state != TERN_CONNECTION_OPEN)
        tern_worker_touch(worker, connection);
}

/* Runs what was kept, as far as it goes. */
static void run_kept(struct tern_worker *worker, struct tern_connection *connection)
{
    size_t done;

    if (tern_connection_unread(connection) > 0 && !tern_connection_is_blocked(connection)) {
        done =
            tern_request_run(worker, connection, connection->input.data + connection->input_start,
                             tern_connection_unread(connection));
        tern_worker_decide(worker); /* before the bytes go */
        connection->partial_ns = 0; /* a frame that is still unfinished starts its time anew */
        tern_connection_forget(&worker->pool, connection, done);
    }
    after_input(worker, connection);
}

/* Completes the one unfinished frame that was kept, so that everything behind it is used where it
 * was received. Returns how many of the new bytes it took. */
static size_t complete_frame(struct tern_worker *worker, struct tern_connection *connection,
                             const uint8_t *bytes, size_t length)
{
    size_t had = tern_connection_unread(connection), taken = 0;
    int64_t frame_bytes;

    if (had < TERN_FRAME_HEADER) {
        taken = tern_min_u64(TERN_FRAME_HEADER - had, length);
        keep(worker, connection, bytes, taken);
        if (connection->state == TERN_CONNECTION_CLOSING)
            return length;
    }
    frame_bytes =
        tern_request_measure(worker, connection, connection->input.data + connection->input_start,
                             tern_connection_unread(connection));
    if (frame_bytes > 0 && (uint64_t)frame_bytes > had + taken) {
        size_t more = tern_min_u64((uint64_t)frame_bytes - had - taken, length - taken);

        keep(worker, connection, bytes + taken, more);
        taken += more;
    }
    return taken;
}

void tern_worker_received(struct tern_worker *worker, struct tern_connection *connection,
                          const uint8_t *bytes, int length)
{
    size_t at = 0, size;

    if (connection->state == TERN_CONNECTION_CLOSING)
        return;
    if (length < 0) {
        tern_worker_close(worker, connection);
        return;
    }
    if (length == 0) {
        /* What a refusal left behind is not looked at, but what was answered still goes out. */
        if (connection->state == TERN_CONNECTION_LINGERING)
            tern_connection_forget(&worker->pool, connection, tern_connection_unread(connection));
        connection->state = TERN_CONNECTION_ENDING;
        tern_worker_touch(worker, connection);
        return;
    }
    size = (size_t)length;
    tern_counter_add(&worker->board->counters.bytes_in, size);
    if (connection->state != TERN_CONNECTION_OPEN)
        return; /* discarded */
    connection->active_ns = worker->now_ns;
    if (tern_connection_is_blocked(connection)) {
        keep(worker, connection, bytes, size);
        after_input(worker, connection);
        return;
    }
    if (tern_connection_unread(connection) > 0) {
        struct tern_block first;
        uint32_t start, end;

        at = complete_frame(worker, connection, bytes, size);
        if (connection->state == TERN_CONNECTION_CLOSING)
            return;
        /* The block is set aside while items in the vector may point into it. */
        first = connection->input;
        start = connection->input_start;
        end = connection->input_end;
        start += (uint32_t)tern_request_run(worker, connection, first.data + start, end - start);
        if (start < end || connection->state != TERN_CONNECTION_OPEN) {
            tern_worker_decide(worker);
            connection->input_start = start;
            if (connection->state == TERN_CONNECTION_OPEN)
                keep(worker, connection, bytes + at, size - at);
            else /* refused or given up: what follows is no frame */
                tern_connection_forget(&worker->pool, connection, 0);
            after_input(worker, connection);
            return;
        }
        connection->input = (struct tern_block){0};
        connection->input_start = connection->input_end = 0;
        connection->partial_ns = 0;
        at += tern_request_run(worker, connection, bytes + at, size - at);
        tern_worker_decide(worker);
        tern_pool_give(&worker->pool, &first);
    } else {
        at = tern_request_run(worker, connection, bytes, size);
    }
    if (at < size && connection->state == TERN_CONNECTION_OPEN)
        keep(worker, connection, bytes + at, size - at);
    after_input(worker, connection);
}

void tern_worker_sent(struct tern_worker *worker, struct tern_connection *connection, int length)
{
    if (connection->state == TERN_CONNECTION_CLOSING)
        return;
    if (length <= 0) {
        tern_worker_close(worker, connection);
        return;
    }
    tern_counter_add(&worker->board->counters.bytes_out, (uint64_t)length);
    connection->active_ns = worker->now_ns;
    connection->stalled_ns = worker->now_ns;
    connection->sending_start += (uint32_t)length;
    if (connection->sending_start == connection->sending_end) {
        tern_pool_give(&worker->pool, &connection->sending);
        connection->sending_start = connection->sending_end = 0;
        if (connection->output_end == 0)
            connection->stalled_ns = 0;
    }
    /* Nothing left to do is the usual case. */
    if (connection->sending_end > 0 || connection->output_end > 0 || connection->paused ||
        connection->state != TERN_CONNECTION_OPEN || connection->input_end > 0)
        tern_worker_touch(worker, connection);
}

/* ---- the end of a turn ---- */

static void start_sending(struct tern_worker *worker, struct tern_connection *connection)
{
    if (connection->sending_end == 0) {
        connection->sending = connection->output;
        connection->sending_start = 0;
        connection->sending_end = connection->output_end;
        connection->output = (struct tern_block){0};
        connection->output_end = 0;
    }
    connection->gathers_ns = 0;
    if (connection->stalled_ns == 0) {
        connection->stalled_ns = worker->now_ns;
        tern_worker_watch(worker, connection);
    }
    worker->backend->send(worker, connection);
}

/* Nothing more will be answered and all of it is sent. */
static void end_connection(struct tern_worker *worker, struct tern_connection *connection)
{
    if (connection->state == TERN_CONNECTION_ENDING) {
        tern_worker_close(worker, connection);
    } else if (connection->state == TERN_CONNECTION_LINGERING && !connection->was_shut) {
        connection->was_shut = true;
        connection->active_ns = worker->now_ns;
        shutdown(connection->fd, SHUT_WR);
        tern_worker_watch(worker, connection);
    }
}

/* True when the client should not be read from now; with hysteresis. */
static bool should_pause(const struct tern_connection *connection)
{
    size_t unsent = tern_connection_unsent(connection);
    size_t waiting =
        tern_connection_is_blocked(connection) ? tern_connection_waiting(connection) : 0;

    if (connection->state == TERN_CONNECTION_ENDING)
        return true; /* there is nothing more to read */
    if (connection->paused)
        return unsent > TERN_OUTPUT_LOW_BYTES || waiting > TERN_INPUT_HIGH_BYTES / 2;
    return unsent > TERN_OUTPUT_HIGH_BYTES || waiting > TERN_INPUT_HIGH_BYTES;
}

/* Goes on with what was kept while the client did not read or a batch ran. */
static void resume_input(struct tern_worker *worker, struct tern_connection *connection)
{
    if (connection->state == TERN_CONNECTION_LINGERING) {
        if (connection->waits != TERN_WAIT_BATCH)
            tern_connection_forget(&worker->pool, connection, tern_connection_unread(connection));
    } else if (tern_connection_unsent(connection) <= TERN_OUTPUT_LOW_BYTES && !connection->queued &&
               connection->partial_ns == 0) {
        run_kept(worker, connection);
    }
}

/* Whether what is to be sent waits for the answers that follow it: its client has more requests
 * here, and they have to wait. An answer a turn would make each search dearer by a send. */
static bool gathers(const struct tern_worker *worker, struct tern_connection *connection)
{
    if (connection->state != TERN_CONNECTION_OPEN || connection->sending_now ||
        tern_connection_unsent(connection) == 0)
        return false;
    if (connection->gathers_ns == 0)
        connection->gathers_ns = worker->now_ns;
    return worker->now_ns - connection->gathers_ns < worker->server->gather_ns;
}

/* Everything that became due for one connection: run on, send, pause, read on, end. True when it is
 * to be looked at in the next turn again. */
static bool settle(struct tern_worker *worker, struct tern_connection *connection)
{
    bool pause, later;

    if (connection->state != TERN_CONNECTION_CLOSING && tern_connection_unread(connection) > 0)
        resume_input(worker, connection);
    later = TERN_UNLIKELY(connection->waits == TERN_WAIT_SHARE) && gathers(worker, connection);
    if (connection->state != TERN_CONNECTION_CLOSING && !connection->sending_now &&
        tern_connection_unsent(connection) > 0 && !later)
        start_sending(worker, connection);

    pause = should_pause(connection);
    if (connection->state == TERN_CONNECTION_CLOSING) {
        /* finished below */
    } else if (pause && !connection->paused) {
        connection->paused = true;
        if (connection->state == TERN_CONNECTION_OPEN)
            tern_counter_add(&worker->board->counters.backpressure, 1);
        worker->backend->receive_stop(worker, connection);
    } else if (!pause) {
        connection->paused = false;
        if (!connection->receiving)
            worker->backend->receive(worker, connection);
    }

    if (connection->state != TERN_CONNECTION_OPEN && connection->waits == TERN_WAIT_NONE &&
        connection->parked == NULL && tern_connection_unsent(connection) == 0 &&
        (tern_connection_unread(connection) == 0 || connection->partial_ns != 0))
        end_connection(worker, connection);
    /* While it is in a queue that queue's turn brings it back here. */
    if (connection->state == TERN_CONNECTION_CLOSING && !connection->queued)
        worker->backend->finish(worker, connection);
    return later;
}

void tern_worker_settle(struct tern_worker *worker)
{
    struct tern_connection *next_turn = NULL;

    while (worker->dirty != NULL) {
        struct tern_connection *connection = worker->dirty;

        worker->dirty = connection->next;
        connection->next = NULL;
        if (TERN_UNLIKELY(settle(worker, connection))) {
            connection->next = next_turn; /* dirty as it is; such a loop does not sleep */
            next_turn = connection;
            continue;
        }
        /* Cleared last: what settling touches is settled already. A released slot may be cleared
         * too. */
        connection->dirty = false;
    }
    worker->dirty = next_turn;
}

void tern_worker_run_batches(struct tern_worker *worker)
{
    struct tern_connection *last = worker->batches.last;
    uint64_t until_ns;

    if (worker->batches.first == NULL)
        return;
    until_ns = tern_clock_now_ns() + BATCH_TURN_NS;
    for (bool at_last = false; !at_last;) {
        struct tern_connection *connection = worker->batches.first;

        at_last = connection == last;
        tern_connection_queue_pop(&worker->batches);
        if (connection->state != TERN_CONNECTION_CLOSING &&
            tern_connection_unsent(connection) <= TERN_OUTPUT_HIGH_BYTES &&
            !tern_batch_run(worker, connection, until_ns))
            tern_connection_queue_push(&worker->batches, connection);
        tern_worker_touch(worker, connection);
        if (tern_clock_now_ns() >= until_ns)
            break;
    }
}

void tern_worker_hold(struct tern_worker *worker, struct tern_connection *connection)
{
    connection->waits = TERN_WAIT_SHARE;
    connection->held_ns = worker->now_ns;
    worker->search_left_ns = 0; /* nobody who comes later overtakes it */
    tern_counter_add(&worker->board->counters.searches_held, 1);
}

void tern_worker_run_held(struct tern_worker *worker)
{
    struct tern_connection *last = worker->held.last;

    for (bool at_last = false; !at_last && worker->search_left_ns > 0;) {
        struct tern_connection *connection = worker->held.first;
        size_t unread = tern_connection_unread(connection);

        at_last = connection == last;
        connection->waits = TERN_WAIT_NONE; /* whatever has become of it meanwhile */
        if (connection->state == TERN_CONNECTION_OPEN ||
            connection->state == TERN_CONNECTION_ENDING) {
            tern_histogram_add(&worker->board->stages[TERN_STAGE_search_hold],
                               worker->now_ns - connection->held_ns, 1);
            run_kept(worker, connection);
        }
        if (connection->waits == TERN_WAIT_SHARE && tern_connection_unread(connection) == unread)
            return; /* what is left was too little for it: it stays the first */
        tern_connection_queue_pop(&worker->held);
        enqueue(worker, connection);
        tern_worker_touch(worker, connection);
    }
}

/* ---- time ---- */

/* A number that changes when the client takes output: bytes it acknowledged (TCP), or bytes on
 * their way to it. A send in flight shows progress only when a good part of the socket's buffer is
 * free. */
static uint64_t progress_of(int fd)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    int queued = 0;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
        return info.tcpi_bytes_acked;
    return ioctl(fd, SIOCOUTQ, &queued) == 0 ? (uint64_t)queued : 0;
}

static bool has_progressed(struct tern_worker *worker, struct tern_connection *connection)
{
    uint64_t progress;

    if (connection->stalled_ns == 0)
        return false;
    progress = progress_of(connection->fd);
    if (progress == connection->progress)
        return false;
    connection->progress = progress;
    connection->stalled_ns = worker->now_ns;
    return true;
}

/* It showed no token, or its schema is gone for long enough. */
static void expire_stay(struct tern_worker *worker, struct tern_connection *connection)
{
    if (connection->token == TERN_TOKEN_MISSING) {
        tern_counter_add(&worker->board->counters.timeouts_hello, 1);
        tern_worker_close(worker, connection);
    } else if (tern_connection_is_blocked(connection) || connection->parked != NULL) {
        /* What it has sent is still answered first. */
        connection->until_ns = worker->now_ns + BUSY_NS;
        tern_worker_watch(worker, connection);
    } else {
        connection->until_ns = 0;
        tern_worker_linger(worker, connection);
        tern_worker_watch(worker, connection);
    }
}

void tern_worker_expire(struct tern_worker *worker)
{
    struct tern_counters *counters = &worker->board->counters;
    unsigned looks = EXPIRE_LOOKS, ends = EXPIRE_ENDS;
    struct tern_timer *timer;

    /* Thousands of clients may have fallen silent at the same instant: the others do not wait until
     * all of them are closed. */
    while (ends > 0 &&
           (timer = tern_wheel_expire(&worker->wheel, worker->now_ns, &looks)) != NULL) {
        struct tern_connection *connection =
            (struct tern_connection *)((char *)timer - offsetof(struct tern_connection, timer));
        uint64_t deadline = deadline_of(worker, connection);

        if (connection->until_ns != 0 && worker->now_ns >= connection->until_ns) {
            expire_stay(worker, connection);
            ends--;
            continue;
        }
        if (deadline > worker->now_ns || has_progressed(worker, connection)) {
            deadline = deadline_of(worker, connection);
            tern_wheel_set(&worker->wheel, &connection->timer, deadline);
            continue;
        }
        if (connection->stalled_ns != 0)
            tern_counter_add(&counters->timeouts_stalled, 1);
        else if (connection->partial_ns != 0)
            tern_counter_add(&counters->timeouts_half_frame, 1);
        else if (connection->state == TERN_CONNECTION_OPEN)
            tern_counter_add(&counters->timeouts_idle, 1);
        tern_worker_close(worker, connection);
        ends--;
    }
}
