#include "dataplane/worker.h"

#include "dataplane/clock.h"
#include "dataplane/helper.h"
#include "dataplane/log.h"
#include "dataplane/request.h"
#include "dataplane/server.h"
#include "shared/layout.h"

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SPIN_MOST_NS  50000u /* about what a sleep and a wake-up cost */
#define SPIN_LEAST_NS 2000u
#define SECOND_NS     1000000000u

/* ---- generations ---- */

static void serve(void *context, const struct tern_offer *offer)
{
    struct tern_worker *worker = context;
    const struct tern_settings *settings = offer->view->settings;

    tern_worker_change_tokens(worker, worker->settings, settings);
    worker->settings = settings;
    tern_worker_change_schema(worker);
    worker->max_frame_bytes = settings->max_frame_bytes;
    worker->connection_limit = settings->connections;
    worker->idle_ns = settings->idle_us * 1000;
    worker->half_frame_ns = settings->half_frame_us * 1000;
    worker->now_scratch = offer->scratches[worker->index];
    worker->searches = offer->searches;
    tern_vector_shape(&worker->vector, offer->decoder.slot_count);
    tern_scratch_enter(worker->vector.scratch, offer->rooms[worker->index]);
    tern_scratch_count_hits(
        worker->vector.scratch, offer->slots,
        worker->server->no_hits ? NULL : worker->server->seat->rule_hits[worker->index]);
    tern_counter_add(&worker->board->counters.adoptions, 1);
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
                 !tern_connection_is_blocked(connection) && connection->parked == NULL &&
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
    return atomic_load_explicit(&worker->server->draining, memory_order_relaxed) !=
               worker->draining ||
           tern_park_has_answers(&worker->park) ||
           tern_adopter_has_news(&worker->adopter, worker->server->offers);
}

/* Waits a little without a system call while that is likely to pay: an answer within the time that
 * a sleep and a wake-up take. Success doubles the next wait, failure halves it. */
static bool spin(struct tern_worker *worker)
{
    _Atomic uint64_t *spin_ns = &worker->board->counters.spin_ns;
    uint64_t from_ns, now_ns, until_ns;
    bool work = false, news = false;

    if (!worker->server->spin || worker->spin_ns < SPIN_LEAST_NS)
        return false;
    from_ns = tern_clock_now_ns();
    until_ns = from_ns + worker->spin_ns;
    do {
        for (unsigned i = 0; i < 16 && !work; i++) {
            work = worker->backend->ready(worker);
            if (!work)
                tern_cpu_relax();
        }
        now_ns = tern_clock_now_ns();
        news = has_news(worker);
    } while (!work && !news && now_ns < until_ns);
    tern_counter_add(spin_ns, now_ns - from_ns);
    if (work)
        worker->spin_ns = tern_min_u64(worker->spin_ns * 2, SPIN_MOST_NS);
    else if (!news)
        worker->spin_ns /= 2;
    return work || news;
}

/* How long the loop may sleep now; 0: not at all. The sleep protocol's first half (L1, L2, L3). */
static uint64_t plan_sleep(struct tern_worker *worker)
{
    uint64_t wait_ns;

    if (worker->batches.first != NULL || worker->held.first != NULL ||
        worker->backend->ready(worker) || spin(worker))
        return 0;
    wait_ns = tern_wheel_wait_ns(&worker->wheel, worker->now_ns);
    if (worker->draining)
        wait_ns = tern_min_u64(wait_ns, 5000000);
    if (worker->accept_starved)
        wait_ns = tern_min_u64(wait_ns, 50000000);
    if (worker->park.next_deadline_ns <= worker->now_ns)
        return 0;
    wait_ns = tern_min_u64(wait_ns, worker->park.next_deadline_ns - worker->now_ns);
    if (wait_ns == 0)
        return 0;
    atomic_store_explicit(&worker->sleeping, 1, memory_order_release); /* L1 */
    atomic_thread_fence(memory_order_seq_cst);                         /* L2 pairs with W2 */
    if (has_news(worker) || worker->backend->ready(worker)) {          /* L3 */
        atomic_store_explicit(&worker->sleeping, 0, memory_order_relaxed);
        return 0;
    }
    if (worker->adopter.now != NULL)
        tern_reader_leave(worker->adopter.reader);
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
    if (tern_timing_is_open(&worker->timing)) /* the turn before had replies for this `enter` */
        tern_timing_close(&worker->timing, worker->board->stages, before_ns, worker->now_ns);
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
    /* With io_uring the replies leave with the next `enter`, which follows at once. */
    if (tern_timing_is_open(&worker->timing) &&
        !(worker->backend->sends_late && worker->backend->ready(worker)))
        tern_timing_close(&worker->timing, worker->board->stages, worker->now_ns,
                          tern_worker_clock(worker));
    if (TERN_UNLIKELY(worker->searched_ns > 0)) {
        tern_histogram_add(&worker->board->stages[TERN_STAGE_search_turn], worker->searched_ns, 1);
        worker->searched_ns = 0;
    }
    if (worker->now_ns >= worker->second_ns) {
        worker->second_ns = worker->now_ns + SECOND_NS;
        worker->wall_offset_ns = tern_clock_ns(CLOCK_REALTIME) - tern_clock_now_ns();
    }
    atomic_store_explicit(&worker->adopter.reader->heartbeat_us, worker->now_ns / 1000,
                          memory_order_relaxed);
    if (worker->heap_bytes != NULL)
        atomic_store_explicit(&worker->board->counters.heap_bytes, *worker->heap_bytes,
                              memory_order_relaxed);
    tern_counter_add(&worker->board->counters.iterations, 1);
}

void tern_worker_turn(struct tern_worker *worker)
{
    wait_for_events(worker);
    tern_adopter_look(&worker->adopter, worker->server->offers, serve, worker);
    worker->search_left_ns = worker->server->search_turn_ns;
    if (TERN_UNLIKELY(worker->held.first != NULL))
        tern_worker_run_held(worker);
    if (TERN_UNLIKELY(atomic_load_explicit(&worker->server->draining, memory_order_relaxed) !=
                      worker->draining))
        begin_drain(worker);
    worker->backend->reap(worker);
    tern_worker_decide(worker);
    tern_park_collect(worker);
    tern_park_expire(worker);
    tern_worker_run_batches(worker);
    tern_worker_expire(worker);
    if (TERN_UNLIKELY(worker->accept_starved)) {
        worker->accept_starved = false;
        if (!worker->draining)
            worker->backend->accept(worker);
    }
    tern_worker_settle(worker);
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
    pthread_getcpuclockid(pthread_self(), &worker->cpu_clock);
    atomic_store_explicit(&worker->state, TERN_WORKER_RUNNING, memory_order_release);
    while (!done) {
        tern_worker_turn(worker);
        if (TERN_UNLIKELY(worker->draining)) {
            done = drain(worker);
            tern_worker_settle(worker);
        }
    }
    worker->backend->close(worker);
    tern_adopter_stop(&worker->adopter);
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
    tern_park_close(&worker->park, &worker->pool);
    tern_searching_close(&worker->searching);
    tern_pool_clear(&worker->pool);
    tern_vector_close(&worker->vector);
    if (worker->wake_fd >= 0)
        close(worker->wake_fd);
    worker->wake_fd = -1;
}

int tern_worker_prepare(struct tern_worker *worker, struct tern_server *server, unsigned index,
                        struct tern_error *error)
{
    const struct tern_settings *settings = &server->settings;
    int code;

    worker->server = server;
    worker->index = index;
    worker->backend = server->backend;
    worker->adopter.reader = &server->seat->loops[index];
    worker->board = &server->seat->boards[index];
    worker->timing.off = server->no_stages;
    worker->settings = settings;
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
    if (code == 0)
        code = tern_searching_open(&worker->searching, error);
    if (code == 0)
        code = tern_park_open(&worker->park,
                              server->helper_count == 0
                                  ? NULL
                                  : tern_lane_of(server->lanes, server->helper_count, index, 0),
                              server->helper_count, error);
    return code;
}

int tern_worker_start(struct tern_worker *worker, struct tern_server *server, unsigned index,
                      struct tern_error *error)
{
    int code = tern_worker_prepare(worker, server, index, error);

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
