#include "dataplane/worker.h"

#include "dataplane/clock.h"
#include "dataplane/log.h"
#include "dataplane/request.h"
#include "dataplane/server.h"
#include "shared/layout.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SPIN_MOST_NS  50000u /* about what a sleep and a wake-up cost */
#define SPIN_LEAST_NS 2000u
#define BATCH_TURN_NS 50000u /* large batches take this much of a turn, all together */
#define SECOND_NS     1000000000u

/* ---- generations ---- */

static void serve(struct tern_worker *worker, const struct tern_offer *offer)
{
    const struct tern_settings *settings = offer->view->settings;

    /* The pin comes first: from here on the root is protected by it and no longer by the epoch
     * only. */
    atomic_store_explicit(&worker->reader->pin, offer->view->root_offset, memory_order_release);
    atomic_store_explicit(&worker->reader->generation, offer->view->generation,
                          memory_order_release);
    worker->now = offer;
    atomic_store_explicit(&worker->serving, offer, memory_order_release);
    worker->max_frame_bytes = settings->max_frame_bytes;
    worker->connection_limit = settings->connections;
    worker->idle_ns = settings->idle_us * 1000;
    worker->half_frame_ns = settings->half_frame_us * 1000;
    tern_vector_shape(&worker->vector, offer->decoder.field_count);
    tern_counter_add(&worker->board->counters.adoptions, 1);
}

/* Serves the offer in `slot` if the root names it. */
static void consider(struct tern_worker *worker, enum tern_offer_slot slot)
{
    _Atomic(const struct tern_offer *) *source = &worker->server->offers[slot];
    const struct tern_offer *offer;

    /* Hazard pointer (Michael, 2004): either housekeeping's scan sees `looking`, or the second load
     * sees that the offer was withdrawn. Pairs with the fence in housekeeping.c. */
    do {
        offer = atomic_load_explicit(source, memory_order_acquire);
        atomic_store_explicit(&worker->looking, offer, memory_order_seq_cst);
    } while (offer != atomic_load_explicit(source, memory_order_seq_cst));
    worker->considered[slot] = offer;

    if (offer != NULL && offer != worker->now) {
        const struct tern_root *root;
        uint64_t root_offset;

        if (worker->now != NULL && worker->now->arena != offer->arena) {
            /* Another arena took this one's place; nobody reclaims the old one any more. */
            tern_reader_leave(worker->reader);
            atomic_store_explicit(&worker->reader->pin, 0, memory_order_release);
        }
        tern_reader_enter(worker->reader, tern_arena_envelope(offer->arena));
        root_offset = tern_arena_root(offer->arena);
        if (root_offset == offer->view->root_offset) {
            root = tern_arena_at(offer->arena, root_offset, sizeof *root, 8);
            if (root != NULL && root->seq == offer->view->seq)
                serve(worker, offer);
        }
    }
    atomic_store_explicit(&worker->looking, NULL, memory_order_release);
}

/* Once a turn: be in the current epoch, serve the newest root that this process has prepared. */
static inline void adopt(struct tern_worker *worker)
{
    struct tern_server *server = worker->server;

    if (TERN_LIKELY(worker->now != NULL))
        tern_reader_enter(worker->reader, tern_arena_envelope(worker->now->arena));
    if (TERN_UNLIKELY(atomic_load_explicit(&server->offers[TERN_OFFER_CURRENT],
                                           memory_order_acquire) != worker->now))
        consider(worker, TERN_OFFER_CURRENT);
    if (TERN_UNLIKELY(atomic_load_explicit(&server->offers[TERN_OFFER_CANDIDATE],
                                           memory_order_acquire) != NULL))
        consider(worker, TERN_OFFER_CANDIDATE);
}

/* ---- connections ---- */

/* When this connection is to be looked at next, if nothing happens. */
static uint64_t deadline_of(const struct tern_worker *worker,
                            const struct tern_connection *connection)
{
    uint64_t deadline = connection->active_ns + worker->idle_ns;

    if (connection->state == TERN_CONNECTION_LINGERING && connection->was_shut)
        return connection->active_ns + TERN_LINGER_NS;
    if (connection->stalled_ns != 0)
        return connection->stalled_ns + worker->half_frame_ns;
    if (connection->partial_ns != 0)
        deadline = tern_min_u64(deadline, connection->partial_ns + worker->half_frame_ns);
    return deadline;
}

static void watch(struct tern_worker *worker, struct tern_connection *connection)
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
    connection->batch.active = false;
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
    watch(worker, connection);
    worker->backend->receive(worker, connection);
}

void tern_worker_accept_failed(struct tern_worker *worker, int error)
{
    (void)error;
    worker->accept_starved = true;
}

/* Keeps input for later. */
static void keep(struct tern_worker *worker, struct tern_connection *connection,
                 const uint8_t *bytes, size_t length)
{
    if (tern_connection_keep(&worker->pool, connection, bytes, length) < 0) {
        tern_counter_add(&worker->board->counters.overloaded, 1);
        tern_worker_close(worker, connection);
    }
}

/* What stands in the kept input after a run: a batch, frames that wait, or part of a frame. */
static void after_input(struct tern_worker *worker, struct tern_connection *connection)
{
    if (connection->batch.active && !connection->continuing) {
        connection->continuing = true;
        connection->next_batch = NULL;
        if (worker->batches == NULL)
            worker->batches = connection;
        else
            worker->batches_last->next_batch = connection;
        worker->batches_last = connection;
    }
    if (tern_connection_unread(connection) == 0 || tern_connection_is_blocked(connection)) {
        connection->partial_ns = 0;
    } else if (connection->partial_ns == 0) {
        connection->partial_ns = worker->now_ns;
        watch(worker, connection);
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
    frame_bytes = tern_request_measure(worker, connection->input.data + connection->input_start,
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
    if (length <= 0) {
        if (length < 0 || connection->state == TERN_CONNECTION_LINGERING)
            tern_worker_close(worker, connection);
        else
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
        if (start < end || connection->state == TERN_CONNECTION_CLOSING) {
            tern_worker_decide(worker);
            connection->input_start = start;
            keep(worker, connection, bytes + at, size - at);
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
    if (connection->stalled_ns == 0) {
        connection->stalled_ns = worker->now_ns;
        watch(worker, connection);
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
        watch(worker, connection);
    }
}

/* True when the client should not be read from now; with hysteresis. */
static bool should_pause(const struct tern_connection *connection)
{
    size_t unsent = tern_connection_unsent(connection);
    size_t waiting =
        tern_connection_is_blocked(connection) ? tern_connection_unread(connection) : 0;

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
        if (!connection->batch.active)
            tern_connection_forget(&worker->pool, connection, tern_connection_unread(connection));
    } else if (tern_connection_unsent(connection) <= TERN_OUTPUT_LOW_BYTES &&
               !connection->continuing && connection->partial_ns == 0) {
        run_kept(worker, connection);
    }
}

/* Everything that became due for one connection: run on, send, pause, read on, end. */
static void settle(struct tern_worker *worker, struct tern_connection *connection)
{
    bool pause;

    if (connection->state != TERN_CONNECTION_CLOSING && tern_connection_unread(connection) > 0)
        resume_input(worker, connection);
    if (connection->state != TERN_CONNECTION_CLOSING && !connection->sending_now &&
        tern_connection_unsent(connection) > 0)
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

    if (connection->state != TERN_CONNECTION_OPEN && !connection->batch.active &&
        tern_connection_unsent(connection) == 0 &&
        (tern_connection_unread(connection) == 0 || connection->partial_ns != 0))
        end_connection(worker, connection);
    /* While it is on the list of batches that list's turn brings it back here. */
    if (connection->state == TERN_CONNECTION_CLOSING && !connection->continuing)
        worker->backend->finish(worker, connection);
}

static void settle_all(struct tern_worker *worker)
{
    while (worker->dirty != NULL) {
        struct tern_connection *connection = worker->dirty;

        worker->dirty = connection->next;
        connection->next = NULL;
        settle(worker, connection);
        /* Cleared last: what settling touches is settled already. A released slot may be cleared
         * too. */
        connection->dirty = false;
    }
}

/* Gives the large batches their share of the turn, in turn. */
static void run_batches(struct tern_worker *worker)
{
    struct tern_connection *last = worker->batches_last;
    uint64_t until_ns;

    if (worker->batches == NULL)
        return;
    until_ns = tern_clock_now_ns() + BATCH_TURN_NS;
    for (bool at_last = false; !at_last;) {
        struct tern_connection *connection = worker->batches;

        at_last = connection == last;
        worker->batches = connection->next_batch;
        connection->next_batch = NULL;
        connection->continuing = false;
        if (connection->state != TERN_CONNECTION_CLOSING &&
            tern_connection_unsent(connection) <= TERN_OUTPUT_HIGH_BYTES &&
            !tern_batch_run(worker, connection, until_ns)) {
            connection->continuing = true;
            if (worker->batches == NULL)
                worker->batches = connection;
            else
                worker->batches_last->next_batch = connection;
            worker->batches_last = connection;
        }
        tern_worker_touch(worker, connection);
        if (tern_clock_now_ns() >= until_ns)
            break;
    }
}

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

static void expire_timers(struct tern_worker *worker)
{
    struct tern_counters *counters = &worker->board->counters;
    struct tern_timer *timer;

    while ((timer = tern_wheel_expire(&worker->wheel, worker->now_ns)) != NULL) {
        struct tern_connection *connection =
            (struct tern_connection *)((char *)timer - offsetof(struct tern_connection, timer));
        uint64_t deadline = deadline_of(worker, connection);

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
    }
}

/* ---- the end of a loop ---- */

static void begin_drain(struct tern_worker *worker)
{
    static const char reason[] = "the server is stopping";
    uint8_t body[4 + sizeof reason - 1];
    struct tern_frame goaway = {.op = TERN_OP_GOAWAY};

    worker->draining = true;
    worker->drain_deadline_ns = worker->now_ns + TERN_DRAIN_NS;
    worker->drain_quiet_ns = worker->now_ns;
    worker->backend->accept_stop(worker);
    tern_store_u32(body, (uint32_t)(TERN_DRAIN_NS / 1000000));
    memcpy(body + 4, reason, sizeof reason - 1);
    for (uint32_t i = 0; i < worker->connections.used; i++) {
        struct tern_connection *connection = &worker->connections.all[i];
        uint8_t *out;

        if (connection->state != TERN_CONNECTION_OPEN)
            continue;
        out = tern_reply_begin(worker, connection, &goaway, TERN_STATUS_OK, sizeof body);
        if (out != NULL)
            memcpy(out, body, sizeof body);
    }
}

/* Ends the connections whose client has had its say; at half time those that go on regardless, with
 * all that was received answered; when time is up, all. Returns true when none is left. */
static bool drain(struct tern_worker *worker)
{
    bool over = worker->now_ns >= worker->drain_deadline_ns;
    bool late = worker->now_ns >= worker->drain_deadline_ns - TERN_DRAIN_NS / 2;

    for (uint32_t i = 0; i < worker->connections.used; i++) {
        struct tern_connection *connection = &worker->connections.all[i];
        uint64_t quiet_ns = tern_max_u64(connection->active_ns, worker->drain_quiet_ns);

        if (connection->state == TERN_CONNECTION_FREE)
            continue;
        if (over)
            tern_worker_close(worker, connection);
        else if (connection->state == TERN_CONNECTION_OPEN &&
                 !tern_connection_is_blocked(connection) &&
                 (late || (connection->partial_ns == 0 &&
                           worker->now_ns >= quiet_ns + TERN_DRAIN_QUIET_NS)))
            tern_worker_linger(worker, connection);
    }
    /* The kernel lets go of a broken connection at once; a second more is for the machine that is
     * not well. */
    return worker->connections.open == 0 || worker->now_ns >= worker->drain_deadline_ns + SECOND_NS;
}

/* ---- the turn ---- */

static bool has_news(const struct tern_worker *worker)
{
    if (atomic_load_explicit(&worker->server->draining, memory_order_relaxed) != worker->draining)
        return true;
    /* What was considered and is still not the root is no news; housekeeping wakes us for the swap.
     */
    for (unsigned slot = 0; slot < TERN_OFFERS; slot++) {
        const struct tern_offer *offer =
            atomic_load_explicit(&worker->server->offers[slot], memory_order_acquire);

        if (offer != NULL && offer != worker->now && offer != worker->considered[slot])
            return true;
    }
    return false;
}

/* Waits a little without a system call while that is likely to pay: an answer within the time that
 * a sleep and a wake-up take. Success doubles the next wait, failure halves it. */
static bool spin(struct tern_worker *worker)
{
    uint64_t until_ns;

    if (!worker->server->spin || worker->spin_ns < SPIN_LEAST_NS)
        return false;
    until_ns = tern_clock_now_ns() + worker->spin_ns;
    do {
        for (unsigned i = 0; i < 16; i++) {
            if (worker->backend->ready(worker)) {
                worker->spin_ns = tern_min_u64(worker->spin_ns * 2, SPIN_MOST_NS);
                return true;
            }
            tern_cpu_relax();
        }
        if (has_news(worker))
            return true;
    } while (tern_clock_now_ns() < until_ns);
    worker->spin_ns /= 2;
    return false;
}

/* How long the loop may sleep now; 0: not at all. The sleep protocol's first half (L1, L2, L3). */
static uint64_t plan_sleep(struct tern_worker *worker)
{
    uint64_t wait_ns;

    if (worker->batches != NULL || worker->backend->ready(worker) || spin(worker))
        return 0;
    wait_ns = tern_wheel_wait_ns(&worker->wheel, worker->now_ns);
    if (worker->draining)
        wait_ns = tern_min_u64(wait_ns, 5000000);
    if (worker->accept_starved)
        wait_ns = tern_min_u64(wait_ns, 50000000);
    if (wait_ns == 0)
        return 0;
    atomic_store_explicit(&worker->sleeping, 1, memory_order_release); /* L1 */
    atomic_thread_fence(memory_order_seq_cst);                         /* L2 pairs with W2 */
    if (has_news(worker) || worker->backend->ready(worker)) {          /* L3 */
        atomic_store_explicit(&worker->sleeping, 0, memory_order_relaxed);
        return 0;
    }
    if (worker->now != NULL)
        tern_reader_leave(worker->reader);
    tern_counter_add(&worker->board->counters.sleeps, 1);
    return wait_ns;
}

void tern_worker_wake(struct tern_worker *worker)
{
    uint64_t one = 1;

    atomic_thread_fence(memory_order_seq_cst); /* W2 pairs with L2 */
    if (atomic_load_explicit(&worker->sleeping, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&worker->sleeping, 0, memory_order_acquire) != 0) { /* W3 */
        /* The acquire sees wake_fd as it was before L1. The counter cannot overflow within the age
         * of the machine. */
        if (write(worker->wake_fd, &one, sizeof one) < 0)
            return;
    }
}

static void wait_for_events(struct tern_worker *worker)
{
    uint64_t wait_ns = plan_sleep(worker), before_ns = worker->now_ns;

    worker->backend->enter(worker, wait_ns);
    worker->now_ns = tern_clock_now_ns();
    if (wait_ns > 0) {
        atomic_store_explicit(&worker->sleeping, 0, memory_order_relaxed);
        if (worker->now_ns - before_ns < 2 * SPIN_MOST_NS)
            worker->spin_ns = SPIN_MOST_NS;
    }
}

/* jemalloc's control interface; absent in sanitizer builds, which bring their own allocator. */
extern int mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length)
    __attribute__((weak));

/* Where the allocator counts what this thread takes: the proof that requests take nothing. */
static const uint64_t *find_heap_bytes(void)
{
    uint64_t *counter;
    size_t length = sizeof counter;

    if (mallctl == NULL || mallctl("thread.allocatedp", &counter, &length, NULL, 0) != 0)
        return NULL;
    return counter;
}

static void keep_time(struct tern_worker *worker)
{
    struct tern_histogram *stages = worker->board->stages;

    if (worker->turn_requests > 0) {
        uint64_t end_ns = tern_clock_now_ns();

        tern_histogram_add(&stages[TERN_STAGE_total], end_ns - worker->now_ns,
                           worker->turn_requests);
        if (worker->turn_decided > 0)
            tern_histogram_add(&stages[TERN_STAGE_reply], end_ns - worker->turn_encoded_ns,
                               worker->turn_decided);
        worker->turn_requests = worker->turn_decided = 0;
    }
    if (worker->now_ns >= worker->second_ns) {
        worker->second_ns = worker->now_ns + SECOND_NS;
        worker->wall_offset_ns = tern_clock_ns(CLOCK_REALTIME) - tern_clock_now_ns();
    }
    atomic_store_explicit(&worker->reader->heartbeat_us, worker->now_ns / 1000,
                          memory_order_relaxed);
    if (worker->heap_bytes != NULL)
        atomic_store_explicit(&worker->board->counters.heap_bytes, *worker->heap_bytes,
                              memory_order_relaxed);
    tern_counter_add(&worker->board->counters.iterations, 1);
}

static void turn(struct tern_worker *worker)
{
    wait_for_events(worker);
    adopt(worker);
    if (TERN_UNLIKELY(atomic_load_explicit(&worker->server->draining, memory_order_relaxed) !=
                      worker->draining))
        begin_drain(worker);
    worker->backend->reap(worker);
    tern_worker_decide(worker);
    run_batches(worker);
    expire_timers(worker);
    if (TERN_UNLIKELY(worker->accept_starved)) {
        worker->accept_starved = false;
        if (!worker->draining)
            worker->backend->accept(worker);
    }
    settle_all(worker);
    keep_time(worker);
}

static void *run(void *argument)
{
    struct tern_worker *worker = argument;
    bool done = false;

    if (worker->backend->open(worker, &worker->error) < 0) {
        atomic_store_explicit(&worker->state, TERN_WORKER_FAILED, memory_order_release);
        return NULL;
    }
    worker->heap_bytes = find_heap_bytes();
    worker->backend->accept(worker);
    atomic_store_explicit(&worker->state, TERN_WORKER_RUNNING, memory_order_release);
    while (!done) {
        turn(worker);
        if (TERN_UNLIKELY(worker->draining)) {
            done = drain(worker);
            settle_all(worker);
        }
    }
    worker->backend->close(worker);
    atomic_store_explicit(&worker->serving, NULL, memory_order_release);
    atomic_store_explicit(&worker->reader->pin, 0, memory_order_release);
    tern_reader_leave(worker->reader);
    atomic_store_explicit(&worker->state, TERN_WORKER_ENDED, memory_order_release);
    return NULL;
}

/* ---- life ---- */

void tern_worker_free(struct tern_worker *worker)
{
    if (worker->server == NULL)
        return; /* was never started */
    for (uint32_t i = 0; i < worker->connections.used; i++) {
        struct tern_connection *connection = &worker->connections.all[i];

        if (connection->state != TERN_CONNECTION_FREE) {
            close(connection->fd);
            tern_connection_give(&worker->connections, &worker->pool, connection);
        }
    }
    tern_connection_table_close(&worker->connections);
    tern_pool_clear(&worker->pool);
    tern_vector_close(&worker->vector);
    if (worker->wake_fd >= 0)
        close(worker->wake_fd);
    worker->wake_fd = -1;
}

int tern_worker_start(struct tern_worker *worker, struct tern_server *server, unsigned index,
                      struct tern_error *error)
{
    const struct tern_settings *settings = &server->settings;
    int code;

    worker->server = server;
    worker->index = index;
    worker->backend = server->backend;
    worker->reader = &server->seat->loops[index];
    worker->board = &server->seat->boards[index];
    worker->max_frame_bytes = settings->max_frame_bytes;
    worker->connection_limit = settings->connections;
    worker->idle_ns = settings->idle_us * 1000;
    worker->half_frame_ns = settings->half_frame_us * 1000;
    worker->spin_ns = SPIN_MOST_NS;
    worker->now_ns = tern_clock_now_ns();
    worker->listener_count = server->listeners.count;
    for (unsigned i = 0; i < worker->listener_count; i++) {
        const struct tern_listener *listener = &server->listeners.all[i];

        worker->listeners[i] = listener->fds[listener->is_unix ? 0 : index];
    }
    tern_wheel_init(&worker->wheel, worker->now_ns);
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->wake_fd < 0)
        return tern_error_system(error, errno, "cannot make an eventfd");
    code = tern_connection_table_open(&worker->connections, settings->connections, error);
    if (code == 0)
        code = tern_vector_open(&worker->vector, error);
    if (code == 0 && pthread_create(&worker->thread, NULL, run, worker) != 0)
        code = tern_error_set(error, TERN_ENOMEM, "cannot start the thread of loop %u", index);
    worker->started = code == 0;
    return code;
}

void tern_worker_join(struct tern_worker *worker)
{
    if (!worker->started)
        return;
    pthread_join(worker->thread, NULL);
    worker->started = false;
}
