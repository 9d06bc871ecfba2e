/* In-process readers while generations are published as fast as they can be: threads of one hold,
 * which the thread sanitizer can follow, and processes that are killed at any instant. Generations
 * of odd numbers allow, those of even numbers deny, and so does a table: an answer whose number and
 * action do not fit was read from memory of another generation. */
#include "tests/unit/unit.h"

#include "clients/c/tern_local.h"
#include "shared/clock.h"
#include "tests/unit/publisher.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARENA_BYTES (8u << 20)
#define THREADS     3u
#define PROCESSES   3u
#define RUN_NS      2000000000u
#define ITEMS       40u
#define BAD_ANSWER  9 /* exit code of a process that saw one */

static struct publisher publisher;

static void write_config(const char *name, const char *action, const char *users)
{
    char file[16], text[512];

    snprintf(file, sizeof file, "%s.txt", name);
    publisher_write(&publisher, file, users);
    snprintf(text, sizeof text,
             "tern: 1\ninstance: race\nfields: { user: u64 }\n"
             "tables:\n  users: { type: exact_set, of: u64, source: %s.txt }\n"
             "rules:\n  - { id: even-%s, when: 'user in $users', then: %s }\n"
             "default: challenge\n",
             name, name, action);
    snprintf(file, sizeof file, "%s.yaml", name);
    publisher_write(&publisher, file, text);
}

static int setup(TERN_TEST_STATE)
{
    if (publisher_make(&publisher, ARENA_BYTES) != 0)
        return -1;
    /* a table of each: what one holds the other lacks */
    write_config("odd", "allow", "0\n2\n4\n6\n8\n10\n12\n14\n16\n18\n");
    write_config("even", "deny", "1\n3\n5\n7\n9\n11\n13\n15\n17\n19\n");
    return 0;
}

static int teardown(TERN_TEST_STATE)
{
    return publisher_free(&publisher);
}

/* False while there is no space. */
static bool publish_next(uint64_t *generation)
{
    const char *name = *generation % 2 == 0 ? "odd.yaml" : "even.yaml";
    uint64_t next = 0;
    int code = publisher_apply(&publisher, name, &next);

    if (code == 0) {
        assert_int_equal(next, *generation + 1);
        *generation = next;
    }
    tern_pipeline_tick(publisher.pipeline);
    return code == 0;
}

struct reader {
    struct tern_local *local;
    struct tern_local_context *context;
    struct tern_request *request;
    uint64_t seed, decided, last;
    _Atomic uint64_t adopted;
    char problem[160];
};

static bool open_context(struct reader *reader)
{
    if (tern_local_context_open(reader->local, &reader->context, NULL) != 0)
        return false;
    if (tern_request_new_for(tern_local_schema(reader->context), 0, &reader->request) != 0)
        return false;
    for (unsigned i = 0; i < ITEMS; i++) {
        tern_item_add(reader->request);
        tern_item_set_u64(reader->request, tern_local_field(reader->context, "user"), i % 20);
    }
    return true;
}

static bool fails(struct reader *reader, const char *what, unsigned item, uint64_t got)
{
    snprintf(reader->problem, sizeof reader->problem, "%s: item %u got %llu in generation %llu",
             what, item, (unsigned long long)got,
             (unsigned long long)tern_local_generation(reader->context));
    return false;
}

/* One batch; every answer is that of its generation. */
static bool turn(struct reader *reader, bool refresh)
{
    uint64_t chance = tern_test_random(&reader->seed);
    struct tern_decision decisions[ITEMS];
    struct tern_error error;
    uint64_t generation;

    if (refresh && (chance & 3) == 0 && tern_local_refresh(reader->context, &error) < 0) {
        snprintf(reader->problem, sizeof reader->problem, "refresh: %.100s", error.message);
        return false;
    }
    if (tern_local_decide(reader->context, reader->request, decisions, &error) != 0) {
        snprintf(reader->problem, sizeof reader->problem, "decide: %.100s", error.message);
        return false;
    }
    generation = tern_local_generation(reader->context);
    if (generation < reader->last)
        return fails(reader, "back to an older one", 0, reader->last);
    if (generation != reader->last)
        atomic_fetch_add_explicit(&reader->adopted, 1, memory_order_relaxed);
    reader->last = generation;
    for (unsigned i = 0; i < ITEMS; i++) {
        bool odd = generation % 2 == 1, listed = i % 2 == (odd ? 0 : 1);
        unsigned expected = !listed ? TERN_CHALLENGE : odd ? TERN_ALLOW : TERN_DENY;

        if (decisions[i].generation != generation)
            return fails(reader, "generations are mixed", i, decisions[i].generation);
        if (decisions[i].verdict.action != expected)
            return fails(reader, "wrong action", i, decisions[i].verdict.action);
    }
    reader->decided += ITEMS;
    if ((chance & 0xff00) == 0)
        tern_local_rest(reader->context);
    if ((chance & 0xf0000) == 0)
        sched_yield();
    return true;
}

struct thread {
    struct reader reader;
    atomic_bool *stop;
    bool refresh;
    pthread_t id;
};

static void *run_thread(void *argument)
{
    struct thread *thread = argument;

    while (!atomic_load_explicit(thread->stop, memory_order_acquire) &&
           turn(&thread->reader, thread->refresh)) {
    }
    return NULL;
}

/* Long enough to mean something on a machine that does a hundred other things as well. */
static bool goes_on(uint64_t started_ns, bool enough)
{
    uint64_t passed_ns = tern_clock_now_ns() - started_ns;

    return passed_ns < RUN_NS || (!enough && passed_ns < 20 * (uint64_t)RUN_NS);
}

static bool all_adopted(struct thread *threads)
{
    for (unsigned i = 0; i < THREADS; i++)
        if (atomic_load_explicit(&threads[i].reader.adopted, memory_order_relaxed) <= 2)
            return false;
    return true;
}

/* Threads of one hold, some of which look for what is new, or a follower that does it for them. */
static void share_a_hold(bool follow)
{
    const struct tern_local_options options = {.name = "threads", .follow = follow};
    struct thread threads[THREADS];
    struct tern_pipeline_status status;
    struct tern_local *local;
    struct tern_error error;
    atomic_bool stop = false;
    uint64_t generation = 0, started_ns;

    assert_true(publish_next(&generation));
    if (tern_local_open(publisher.run_dir, &options, &local, &error) != 0)
        fail_msg("%s", error.message);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){
            .reader = {.local = local, .seed = i + 1}, .stop = &stop, .refresh = !follow && i != 0};
        assert_true(open_context(&threads[i].reader));
        assert_int_equal(pthread_create(&threads[i].id, NULL, run_thread, &threads[i]), 0);
    }
    started_ns = tern_clock_now_ns();
    while (goes_on(started_ns, all_adopted(threads)))
        publish_next(&generation);
    atomic_store_explicit(&stop, true, memory_order_release);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        print_message("thread %u: %llu decided, %llu generations of %llu\n", i,
                      (unsigned long long)threads[i].reader.decided,
                      (unsigned long long)threads[i].reader.adopted,
                      (unsigned long long)generation);
        assert_string_equal(threads[i].reader.problem, "");
        assert_true(threads[i].reader.adopted > 2);
        tern_request_free(threads[i].reader.request);
        tern_local_context_close(threads[i].reader.context);
    }
    tern_local_close(local);
    /* nothing is held any more */
    assert_true(publish_next(&generation));
    tern_pipeline_tick(publisher.pipeline);
    tern_pipeline_status(publisher.pipeline, &status);
    assert_int_equal(status.quarantined_bytes, 0);
}

static void threads_that_refresh(TERN_TEST_STATE)
{
    share_a_hold(false);
}

static void threads_with_a_follower(TERN_TEST_STATE)
{
    share_a_hold(true);
}

static pid_t start_process(uint64_t seed)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct reader reader = {.seed = seed};

        prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives a failed test */
        if (tern_local_open(publisher.run_dir, NULL, &reader.local, NULL) != 0 ||
            !open_context(&reader))
            _exit(3);
        while (turn(&reader, true)) {
        }
        fprintf(stderr, "process: %s\n", reader.problem);
        _exit(BAD_ANSWER);
    }
    assert_true(pid > 0);
    return pid;
}

static void end_process(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* it had found nothing wrong before */
}

/* They die in the middle of anything; publishing goes on, and nothing of theirs stays. */
static void processes_that_are_killed(TERN_TEST_STATE)
{
    struct tern_pipeline_status status;
    pid_t pids[PROCESSES];
    uint64_t generation = 0, seed = 3, started_ns, killed = 0, published = 0;

    assert_true(publish_next(&generation));
    for (unsigned i = 0; i < PROCESSES; i++)
        pids[i] = start_process(++seed);
    started_ns = tern_clock_now_ns();
    while (goes_on(started_ns, killed > 5 && published > 5)) {
        unsigned chosen = (unsigned)(tern_test_random(&seed) % PROCESSES);

        for (uint64_t n = tern_test_random(&seed) % 4; n > 0; n--)
            published += publish_next(&generation);
        end_process(pids[chosen]);
        pids[chosen] = start_process(++seed);
        killed++;
    }
    for (unsigned i = 0; i < PROCESSES; i++)
        end_process(pids[i]);
    assert_true(publish_next(&generation));
    tern_pipeline_tick(publisher.pipeline);
    tern_pipeline_status(publisher.pipeline, &status);
    print_message("%llu published, %llu killed\n", (unsigned long long)published,
                  (unsigned long long)killed);
    assert_int_equal(status.quarantined_bytes, 0);
    assert_int_equal(status.reader_count, 0);
    assert_true(killed > 5 && published > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(threads_that_refresh, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_with_a_follower, setup, teardown),
        cmocka_unit_test_setup_teardown(processes_that_are_killed, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
