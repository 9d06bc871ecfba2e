/* A whole data plane in this process, so that the thread sanitizer sees it: loops and housekeeping
 * against a control plane that publishes as fast as it can, and clients that look at every answer.
 * Odd generations allow, even ones deny: an answer that mixes two generations shows. */
#include "tests/race/race.h"

#include "clients/c/tern.h"
#include "controlplane/apply.h"
#include "dataplane/housekeeping.h"
#include "dataplane/log.h"
#include "shared/verdict.h"

#include <pthread.h>

#define LOOPS   2u
#define CLIENTS 3u
#define ITEMS   40u /* more than a vector: some requests are batches */

static char address[128];
static atomic_bool stop;

/* ---- the control plane's side ---- */

static struct tern_config *read_config(bool allows)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    char path[96];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s.yaml", run_dir, allows ? "odd" : "even");
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "tern: 1\nlisten: [ \"unix://%s/socket\" ]\nworkers: %u\narena: 8MiB\n"
            "fields: { number: u64, path: string }\n"
            "rules:\n  - { id: r, when: 'number > 10 or path == \"/\"', then: %s }\ndefault: %s\n",
            run_dir, LOOPS, allows ? "allow" : "deny", allows ? "allow" : "deny");
    fclose(file);
    assert_int_equal(tern_config_read(path, &config, &diagnostics), 0);
    tern_diagnostics_free(&diagnostics);
    return config;
}

static uint64_t apply(struct tern_pipeline *pipeline, const struct tern_config *config)
{
    struct tern_diagnostics diagnostics = {0};
    const struct tern_apply_options options = {0};
    struct tern_apply_result result;
    struct tern_error error = {.message = ""};
    uint64_t generation;

    if (tern_pipeline_apply(pipeline, config, &options, &result, &diagnostics, &error) != 0)
        fail_msg("apply: %s", error.message);
    generation = result.generation;
    assert_int_equal(result.seat_count == 0 || result.acknowledged, 1);
    tern_apply_result_free(&result);
    tern_diagnostics_free(&diagnostics);
    return generation;
}

/* ---- the data plane, as main.c puts it together ---- */

static struct tern_server server;
static struct tern_housekeeping housekeeping;

static void start_server(const struct tern_settings *settings)
{
    struct tern_arena *arena = malloc(sizeof *arena);
    struct tern_error error = {.message = ""};

    assert_non_null(arena);
    server.run_dir = run_dir;
    server.settings = *settings;
    server.worker_count = LOOPS;
    server.backend = &tern_backend_epoll; /* the sanitizer does not see what a kernel ring orders */
    assert_int_equal(tern_arena_open(run_dir, arena, &error), 0);
    assert_int_equal(tern_board_open(run_dir, true, &server.board, &error), 0);
    assert_int_equal(tern_seat_claim(&server.board, arena, LOOPS, &server.seat_index, &error), 0);
    server.seat = &server.board.board->seats[server.seat_index];
    server.workers = aligned_alloc(TERN_CACHE_LINE, LOOPS * sizeof *server.workers);
    assert_non_null(server.workers);
    memset(server.workers, 0, LOOPS * sizeof *server.workers);
    assert_int_equal(tern_housekeeping_start(&housekeeping, &server, arena, &error), 0);
    assert_int_equal(tern_listeners_open(&server.listeners, &server.settings, LOOPS, true,
                                         &server.board, server.seat_index, &error),
                     0);
    for (unsigned i = 0; i < LOOPS; i++)
        assert_int_equal(tern_worker_start(&server.workers[i], &server, i, &error), 0);
}

static void stop_server(void)
{
    atomic_store_explicit(&server.draining, true, memory_order_release);
    for (unsigned i = 0; i < LOOPS; i++)
        tern_worker_wake(&server.workers[i]);
    for (unsigned i = 0; i < LOOPS; i++)
        tern_worker_join(&server.workers[i]);
    tern_listeners_unlink(&server.listeners);
    tern_listeners_close(&server.listeners);
    tern_housekeeping_stop(&housekeeping);
    for (unsigned i = 0; i < LOOPS; i++)
        tern_worker_free(&server.workers[i]);
    free(server.workers);
    tern_board_close(&server.board);
}

/* ---- clients ---- */

struct client_thread {
    pthread_t id;
    uint64_t seed;
    uint64_t answers, generations;
    char problem[160];
};

static bool check(struct client_thread *thread, const struct tern_decision *decisions,
                  unsigned count, uint32_t *last)
{
    for (unsigned i = 0; i < count; i++) {
        bool allowed = decisions[i].verdict.action == TERN_ALLOW;

        if (allowed != (decisions[i].generation % 2 == 1) || decisions[i].generation < *last) {
            snprintf(thread->problem, sizeof thread->problem,
                     "item %u of %u: action %u of generation %u after %u", i, count,
                     decisions[i].verdict.action, decisions[i].generation, *last);
            return false;
        }
        thread->generations += decisions[i].generation != *last;
        *last = decisions[i].generation;
    }
    thread->answers += count;
    return true;
}

static void *ask_until_stopped(void *argument)
{
    struct client_thread *thread = argument;
    const struct tern_client_options options = {.call_timeout_ms = 10000};
    struct tern_decision decisions[ITEMS];
    struct tern_request *request = NULL;
    struct tern_client *client = NULL;
    struct tern_error error = {.message = "no memory"};
    uint32_t last = 0;
    int code = tern_client_open(address, &options, &client, &error);

    if (code == 0)
        code = tern_request_new(client, 0, &request);
    while (code == 0 && !atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t chance = tern_test_random(&thread->seed);
        unsigned count = chance % 8 == 0 ? ITEMS : 1 + (unsigned)(chance >> 8) % 3;

        tern_request_reset(request);
        for (unsigned i = 0; i < count; i++) {
            tern_item_add(request);
            tern_item_set_u64(request, 1, chance >> (i % 60));
            tern_item_set_string(request, 2, "/", 1);
        }
        code = tern_client_decide(client, request, NULL, decisions, &error);
        if (code == 0 && !check(thread, decisions, count, &last))
            break;
        if (chance % 64 == 1)
            race_pause(&thread->seed, 200); /* the loops go to sleep */
    }
    if (code != 0)
        snprintf(thread->problem, sizeof thread->problem, "%.150s", error.message);
    tern_request_free(request);
    tern_client_close(client);
    return NULL;
}

static void every_answer_is_of_one_generation(TERN_TEST_STATE)
{
    struct tern_pipeline_options options = {
        .run_dir = run_dir, .state_dir = run_dir, .arena_bytes = 8u << 20};
    struct client_thread clients[CLIENTS];
    struct tern_config *configs[2];
    struct tern_pipeline *pipeline;
    struct tern_arena arena;
    struct tern_view *view;
    uint64_t until_ns, generation;

    tern_log_setup_form(false);
    configs[0] = read_config(true);
    configs[1] = read_config(false);
    snprintf(address, sizeof address, "unix://%s/socket", run_dir);
    assert_int_equal(tern_pipeline_open(&options, &pipeline, NULL), 0);
    generation = apply(pipeline, configs[0]);
    assert_int_equal(generation, 1);
    assert_int_equal(tern_arena_open(run_dir, &arena, NULL), 0);
    assert_int_equal(tern_view_open(&arena, tern_arena_root(&arena), NULL, &view, NULL), 0);
    start_server(view->settings);
    tern_view_close(view);
    tern_arena_close(&arena);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client_thread){.seed = i + 1};
        assert_int_equal(pthread_create(&clients[i].id, NULL, ask_until_stopped, &clients[i]), 0);
    }
    until_ns = tern_clock_now_ns() + race_ns();
    while (tern_clock_now_ns() < until_ns) {
        generation = apply(pipeline, configs[generation % 2]);
        tern_pipeline_tick(pipeline);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].id, NULL);
    stop_server();
    print_message("%llu generations\n", (unsigned long long)generation);
    for (unsigned i = 0; i < CLIENTS; i++) {
        print_message("client %u: %llu answers of %llu generations\n", i,
                      (unsigned long long)clients[i].answers,
                      (unsigned long long)clients[i].generations);
        assert_string_equal(clients[i].problem, "");
        assert_true(clients[i].generations > 2);
    }
    tern_pipeline_close(pipeline);
    tern_config_free(configs[0]);
    tern_config_free(configs[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_answer_is_of_one_generation, race_make_run_dir,
                                        race_remove_run_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
