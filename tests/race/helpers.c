/* A loop, two helpers and what they share, as threads that the sanitizer sees: clients search with
 * deadlines that sometimes pass and go away in the middle, while generations follow each other as
 * fast as they are let go of. An offer that nobody holds is overwritten: who still reads it, or an
 * answer under a generation that never was, shows. */
#include "tests/race/race.h"

#include "clients/c/tern.h"
#include "tests/unit/search_world.h"

#include <math.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CLIENTS 3u
#define HELPERS 2u

static char address[80];
static int listener;
static atomic_bool stop, loop_stop;

/* ---- the loop ---- */

static void *run_loop(void *unused)
{
    world.worker->listeners[0] = listener;
    world.worker->listener_count = 1;
    world.server.backend->accept(world.worker);
    while (!atomic_load(&loop_stop) || world.worker->connections.open > 0)
        tern_worker_turn(world.worker);
    tern_adopter_stop(&world.worker->adopter);
    return unused;
}

/* ---- generations ---- */

struct generation {
    struct tern_view view;
    struct tern_offer offer;
};

static bool is_held(const struct tern_offer *offer)
{
    const struct tern_adopter *adopters[] = {
        &world.worker->adopter, &world.server.helpers[0].adopter, &world.server.helpers[1].adopter};

    atomic_thread_fence(memory_order_seq_cst); /* as in housekeeping.c */
    for (unsigned i = 0; i < TERN_COUNT(adopters); i++)
        if (atomic_load_explicit(&adopters[i]->looking, memory_order_acquire) == offer ||
            atomic_load_explicit(&adopters[i]->serving, memory_order_acquire) == offer)
            return true;
    return false;
}

static void offer_next(struct generation *next, uint64_t number)
{
    struct tern_envelope *envelope = (struct tern_envelope *)(void *)world.arena_bytes;

    next->view = world.view;
    next->view.generation = number;
    next->offer = world.offer;
    next->offer.view = &next->view;
    atomic_store_explicit(&world.server.offers[TERN_OFFER_CURRENT], &next->offer,
                          memory_order_seq_cst);
    atomic_fetch_add(&envelope->epoch, 1);
    tern_worker_wake(world.worker);
}

/* Returns how many there were. */
static uint64_t follow_each_other(uint64_t until_ns)
{
    static struct generation pair[2];
    uint64_t number = 8, seed = 5;

    offer_next(&pair[0], number);
    while (tern_clock_now_ns() < until_ns) {
        struct generation *old = &pair[number % 2];

        number++;
        offer_next(&pair[number % 2], number);
        while (is_held(&old->offer)) {
            tern_worker_wake(world.worker);
            race_pause(&seed, 50);
        }
        memset(old, 0xee, sizeof *old);
    }
    return number;
}

/* ---- clients ---- */

struct client_thread {
    pthread_t id;
    uint64_t seed, answers, late;
    char problem[160];
};

static bool check(struct client_thread *thread, const float *query, unsigned k,
                  const struct tern_client_hit *hits, unsigned count)
{
    struct tern_search_hit expected[16];

    tern_graph_object_nearest(TERN_METRIC_L2, SEARCH_DIM, world.vectors, SEARCH_VECTORS, query, k,
                              expected);
    for (unsigned i = 0; i < k; i++)
        if (count != k || hits[i].id != 1000 + expected[i].id) {
            snprintf(thread->problem, sizeof thread->problem, "hit %u of %u is %llu", i, count,
                     (unsigned long long)hits[i].id);
            return false;
        }
    return true;
}

static int search_once(struct client_thread *thread, struct tern_client *client,
                       struct tern_error *error)
{
    uint64_t chance = tern_test_random(&thread->seed);
    float query[SEARCH_DIM];
    struct tern_client_search search = {.collection = 1,
                                        .dim = SEARCH_DIM,
                                        .vector = query,
                                        .k = 1 + (unsigned)(chance % 16),
                                        .deadline_us = chance % 5 == 0 ? 1 + chance % 100 : 0,
                                        .filter = chance % 3 == 0 ? "time >= 0" : NULL};
    struct tern_client_hit hits[16];
    unsigned count = 0;
    int code;

    tern_graph_object_vector(&thread->seed, SEARCH_DIM, 4, query);
    code = tern_client_search(client, &search, hits, &count, error);
    if (code == TERN_ETIMEDOUT && search.deadline_us != 0) {
        thread->late++;
        return 0;
    }
    if (code == 0 && check(thread, query, search.k, hits, count))
        thread->answers++;
    return code;
}

static void *ask_until_stopped(void *argument)
{
    struct client_thread *thread = argument;
    const struct tern_client_options options = {.call_timeout_ms = 20000,
                                                .connect_timeout_ms = 20000};
    struct tern_error error = {.message = ""};
    struct tern_client *client = NULL;
    int code = 0;

    while (code == 0 && thread->problem[0] == '\0' && !atomic_load(&stop)) {
        uint64_t chance = tern_test_random(&thread->seed);

        if (client == NULL)
            code = tern_client_open(address, &options, &client, &error);
        if (code == 0)
            code = search_once(thread, client, &error);
        if (chance % 32 == 0) { /* goes away, perhaps with a search in a helper's hands */
            struct sockaddr_un name = {.sun_family = AF_UNIX};
            struct search_body body = search_body_of(1, 5, 0, world.vectors, NULL);
            int fd = socket(AF_UNIX, SOCK_STREAM, 0);

            snprintf(name.sun_path, sizeof name.sun_path, "%s", address + strlen("unix://"));
            if (connect(fd, (const struct sockaddr *)&name, sizeof name) == 0)
                search_ask(fd, 1, 0, &body);
            close(fd);
        }
        if (chance % 64 == 1) {
            tern_client_close(client);
            client = NULL;
        }
        if (chance % 16 == 2)
            race_pause(&thread->seed, 200); /* the others go to sleep */
    }
    if (code != 0)
        snprintf(thread->problem, sizeof thread->problem, "%d %.140s", code, error.message);
    tern_client_close(client);
    return NULL;
}

static void searches_under_way_while_generations_change(TERN_TEST_STATE)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct client_thread clients[CLIENTS];
    struct tern_error error;
    uint64_t generations;
    pthread_t loop;

    snprintf(address, sizeof address, "unix://%s/socket", run_dir);
    snprintf(name.sun_path, sizeof name.sun_path, "%s/socket", run_dir);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 64), 0);
    search_make_server(HELPERS, 2000); /* some searches in the loop, some with a helper */
    assert_int_equal(tern_helpers_start(&world.server, &error), 0);
    assert_int_equal(pthread_create(&loop, NULL, run_loop, NULL), 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client_thread){.seed = i + 1};
        assert_int_equal(pthread_create(&clients[i].id, NULL, ask_until_stopped, &clients[i]), 0);
    }
    generations = follow_each_other(tern_clock_now_ns() + race_ns());
    atomic_store(&stop, true);
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].id, NULL);
        if (clients[i].problem[0] != '\0')
            fail_msg("client %u: %s", i, clients[i].problem);
        print_message("client %u: %llu answers, %llu late\n", i,
                      (unsigned long long)clients[i].answers, (unsigned long long)clients[i].late);
        assert_true(clients[i].answers > 10);
    }
    atomic_store(&loop_stop, true);
    tern_worker_wake(world.worker);
    pthread_join(loop, NULL);
    tern_helpers_stop(&world.server);
    tern_park_collect(world.worker);
    print_message("%llu generations, %llu searches, %llu by helpers\n",
                  (unsigned long long)generations,
                  (unsigned long long)world.worker->board->counters.searches,
                  (unsigned long long)world.worker->board->counters.searches_offloaded);
    assert_true(world.worker->board->counters.searches_offloaded > 10);
    assert_true(world.worker->board->counters.searches >
                world.worker->board->counters.searches_offloaded);
    search_end_server();
    close(listener);
}

static int set_up(void **state)
{
    return race_make_run_dir(state) | search_make_world(state);
}

static int tear_down(void **state)
{
    return search_free_world(state) | race_remove_run_dir(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(searches_under_way_while_generations_change),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
