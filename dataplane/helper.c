#include "dataplane/helper.h"

#include "dataplane/clock.h"
#include "dataplane/park.h"
#include "dataplane/server.h"
#include "shared/race.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static void futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void serve(void *context, const struct tern_offer *offer)
{
    (void)context;
    (void)offer;
}

static void answer(struct tern_helper *helper, struct tern_parked *parked)
{
    TERN_RACE_POINT("helper-asked");
    parked->begun_ns = helper->now_ns;
    parked->generation =
        helper->adopter.now != NULL ? (uint32_t)helper->adopter.now->view->generation : 0;
    if (atomic_load_explicit(&parked->abandoned, memory_order_relaxed))
        tern_parked_fail(parked, TERN_STATUS_CANCELLED, "cancelled");
    else if (helper->now_ns >= parked->deadline_ns)
        tern_parked_fail(parked, TERN_STATUS_DEADLINE, "the deadline passed before its turn came");
    else if (helper->adopter.now == NULL)
        tern_parked_fail(parked, TERN_STATUS_NOT_READY, "no generation is published yet");
    else
        parked->run(helper, parked);
    helper->now_ns = tern_clock_now_ns();
    parked->ended_ns = helper->now_ns;
}

bool tern_helper_turn(struct tern_helper *helper)
{
    struct tern_server *server = helper->server;
    bool any = false;

    /* One request of each loop a round: none waits for the queue of another. */
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct tern_lane *lane =
            tern_lane_of(server->lanes, server->helper_count, i, helper->index);
        struct tern_parked *parked = tern_ring_pop(&lane->asked);

        if (parked == NULL)
            continue;
        any = true;
        /* In the present epoch for this request alone: graces go on between two. */
        tern_adopter_look(&helper->adopter, server->offers, serve, helper);
        helper->now_ns = tern_clock_now_ns();
        answer(helper, parked);
        /* The loop keeps outstanding ≤ the ring's size, so there is room. */
        tern_ring_push(&lane->answered, parked);
        tern_worker_wake(&server->workers[i]);
    }
    return any;
}

static bool has_work(struct tern_helper *helper)
{
    struct tern_server *server = helper->server;

    for (unsigned i = 0; i < server->worker_count; i++)
        if (!tern_ring_is_empty(
                &tern_lane_of(server->lanes, server->helper_count, i, helper->index)->asked))
            return true;
    return atomic_load_explicit(&helper->stopping, memory_order_acquire) != 0;
}

static void sleep_until_asked(struct tern_helper *helper)
{
    tern_adopter_stop(&helper->adopter);
    atomic_store_explicit(&helper->asleep, 1, memory_order_release); /* H1 */
    atomic_thread_fence(memory_order_seq_cst);                       /* H2 pairs with P2 */
    TERN_RACE_POINT("helper-sleep");
    while (!has_work(helper) && /* H3 */
           atomic_load_explicit(&helper->asleep, memory_order_acquire) != 0)
        futex(&helper->asleep, FUTEX_WAIT_PRIVATE, 1); /* H4 */
    atomic_store_explicit(&helper->asleep, 0, memory_order_relaxed);
}

void tern_helper_wake(struct tern_helper *helper)
{
    atomic_thread_fence(memory_order_seq_cst); /* P2 pairs with H2 */
    if (atomic_load_explicit(&helper->asleep, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&helper->asleep, 0, memory_order_acq_rel) != 0)
        futex(&helper->asleep, FUTEX_WAKE_PRIVATE, 1); /* P3 */
}

static void *run(void *argument)
{
    struct tern_helper *helper = argument;

    while (atomic_load_explicit(&helper->stopping, memory_order_relaxed) == 0)
        if (!tern_helper_turn(helper))
            sleep_until_asked(helper);
    tern_adopter_stop(&helper->adopter);
    return NULL;
}

/* Zeroed memory on lines of its own. */
static void *take(size_t count, size_t bytes)
{
    void *taken = aligned_alloc(TERN_CACHE_LINE, tern_align_up(count * bytes, TERN_CACHE_LINE));

    if (taken != NULL)
        memset(taken, 0, count * bytes);
    return taken;
}

int tern_helpers_prepare(struct tern_server *server, struct tern_error *error)
{
    unsigned count = server->helper_count;

    if (count == 0)
        return 0;
    server->lanes = take((size_t)server->worker_count * count, sizeof *server->lanes);
    server->helpers = take(count, sizeof *server->helpers);
    if (server->lanes == NULL || server->helpers == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %u helpers", count);
    for (unsigned i = 0; i < count; i++) {
        struct tern_helper *helper = &server->helpers[i];
        int code = tern_searching_open(&helper->searching, error);

        if (code < 0)
            return code;
        helper->server = server;
        helper->index = i;
        helper->adopter.reader = &server->seat->helpers[i];
    }
    return 0;
}

void tern_helpers_free(struct tern_server *server)
{
    for (unsigned i = 0; server->helpers != NULL && i < server->helper_count; i++)
        tern_searching_close(&server->helpers[i].searching);
    free(server->helpers);
    free(server->lanes);
    server->helpers = NULL;
    server->lanes = NULL;
}

int tern_helpers_start(struct tern_server *server, struct tern_error *error)
{
    for (unsigned i = 0; i < server->helper_count; i++) {
        struct tern_helper *helper = &server->helpers[i];

        if (pthread_create(&helper->thread, NULL, run, helper) != 0)
            return tern_error_set(error, TERN_ENOMEM, "cannot start helper %u", i);
        helper->started = true;
    }
    return 0;
}

void tern_helpers_stop(struct tern_server *server)
{
    for (unsigned i = 0; i < server->helper_count; i++) {
        struct tern_helper *helper = &server->helpers[i];

        if (!helper->started)
            continue;
        atomic_store_explicit(&helper->stopping, 1, memory_order_release);
        tern_helper_wake(helper);
        pthread_join(helper->thread, NULL);
        helper->started = false;
    }
}
