/* libtern against a scripted server (scripted_server.h). */
#include "tests/unit/unit.h"

#include "clients/c/tern.h"
#include "shared/schema.h"
#include "tests/unit/scripted_server.h"

#include <poll.h>

static int start(void **state)
{
    static struct scripted_server server;

    server = (struct scripted_server){.connection = -1};
    assert_int_equal(folder_make(server.directory), 0);
    snprintf(server.address, sizeof server.address, "unix://%s/s", server.directory);
    scripted_server_listen(&server);
    *state = &server;
    return 0;
}

static int stop(void **state)
{
    struct scripted_server *server = *state;

    scripted_server_hang_up(server);
    return folder_remove(server->directory);
}

struct pair {
    struct tern_client *client;
    struct tern_request *request;
};

static struct pair open_pair(struct scripted_server *server,
                             const struct tern_client_options *options)
{
    struct pair pair = {0};
    struct tern_error error = {0};

    if (tern_client_open(server->address, options, &pair.client, &error) != 0)
        fail_msg("%s", error.message);
    assert_int_equal(tern_request_new(pair.client, 0, &pair.request), 0);
    return pair;
}

static void close_pair(struct pair pair)
{
    tern_request_free(pair.request);
    tern_client_close(pair.client);
}

static struct tern_request *ask(struct pair pair, enum script script, unsigned items)
{
    tern_request_reset(pair.request);
    for (unsigned i = 0; i < items; i++) {
        tern_item_add(pair.request);
        tern_item_set_u64(pair.request, 3, script);
    }
    return pair.request;
}

static void the_schema_comes_with_the_connection(void **state)
{
    struct pair pair = open_pair(*state, NULL);
    const struct tern_client_schema *schema = tern_client_schema(pair.client);

    assert_int_equal(schema->generation, 7);
    assert_int_equal(schema->field_count, 4);
    assert_int_equal(schema->max_frame_bytes, 1 << 16);
    assert_string_equal(schema->fields[3].name, "vector");
    assert_int_equal(schema->fields[3].dim, 3);
    assert_int_equal(tern_client_field(pair.client, "host"), 2);
    assert_int_equal(tern_client_field(pair.client, "nobody"), TERN_ENOENT);
    assert_int_equal(tern_client_table(pair.client, "nets"), 1);
    assert_int_equal(tern_client_ping(pair.client, NULL), 0);
    close_pair(pair);
}

static void one_and_many_are_decided(void **state)
{
    static struct tern_decision decisions[4096];
    struct pair pair = open_pair(*state, NULL);
    struct tern_call detailed = {.flags = TERN_REQUEST_DETAIL};

    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, decisions, NULL),
                     0);
    assert_int_equal(decisions[0].verdict.action, TERN_DENY);
    assert_int_equal(decisions[0].verdict.rule, 1);
    assert_int_equal(decisions[0].verdict.max_age_s, 30);
    assert_int_equal(decisions[0].generation, 7);
    assert_int_equal(decisions[0].decision_key, 0);

    for (unsigned items = 1; items <= 4096; items = items * 2 + 1) {
        assert_int_equal(
            tern_client_decide(pair.client, ask(pair, SPLIT, items), &detailed, decisions, NULL),
            0);
        for (unsigned i = 0; i < items; i++) {
            assert_true(decisions[i].answered);
            assert_int_equal(decisions[i].verdict.rule, i + 1);
            assert_int_equal(decisions[i].verdict.cause, 2);
            assert_int_equal(decisions[i].decision_key, 99);
        }
    }
    close_pair(pair);
}

static void many_in_flight_are_told_apart(void **state)
{
    struct tern_client_options options = {.pipeline = 8};
    struct pair pair = open_pair(*state, &options);
    struct tern_decision decisions[9][3];
    struct pollfd polled = {.events = POLLIN};
    uint32_t ids[9], id;
    struct tern_error error;

    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(tern_client_submit(pair.client, ask(pair, i % 2 ? SPLIT : ANSWER, 3),
                                                NULL, decisions[i], &ids[i], NULL),
                             0);
        assert_int_equal(tern_client_in_flight(pair.client), 8);
        assert_int_equal(tern_client_submit(pair.client, ask(pair, ANSWER, 3), NULL, decisions[8],
                                            &ids[8], &error),
                         TERN_EAGAIN);
        assert_int_equal(tern_request_count(pair.request), 3);
        assert_int_equal(tern_client_flush(pair.client, NULL), 0);
        polled.fd = tern_client_fd(pair.client);
        assert_int_equal(poll(&polled, 1, 20000), 1); /* what was flushed is answered */
        assert_int_equal(tern_client_collect(pair.client, ids[5], NULL), 0);
        assert_true(decisions[5][2].answered);
        assert_int_equal(tern_client_collect(pair.client, ids[5], NULL), TERN_ENOENT);
        for (unsigned i = 0; i < 7; i++) {
            assert_int_equal(tern_client_collect_any(pair.client, &id, NULL), 0);
            assert_int_equal(id, ids[i < 5 ? i : i + 1]);
        }
        assert_int_equal(tern_client_collect_any(pair.client, &id, NULL), TERN_ENOENT);
    }
    close_pair(pair);
}

static void replies_out_of_order_and_late_ones(void **state)
{
    struct tern_client_options options = {.call_timeout_ms = 2000};
    struct pair pair = open_pair(*state, &options);
    struct tern_decision late, first, second;
    uint32_t id;

    assert_int_equal(tern_client_submit(pair.client, ask(pair, SILENT, 1), NULL, &first, &id, NULL),
                     0);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, &second, NULL), 0);
    assert_int_equal(tern_client_collect(pair.client, id, NULL), 0);
    assert_true(first.answered);

    tern_client_set_timeout(pair.client, 20);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, SILENT, 1), NULL, &late, NULL),
                     TERN_ETIMEDOUT);
    tern_client_set_timeout(pair.client, 2000);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, &second, NULL),
                         0);
    assert_false(late.answered);
    assert_int_equal(((struct scripted_server *)*state)->hellos, 1);
    close_pair(pair);
}

static void a_cancelled_request_is_collected_as_such(void **state)
{
    struct pair pair = open_pair(*state, NULL);
    struct tern_decision held, other;
    struct tern_error error;
    uint32_t id;

    assert_int_equal(tern_client_submit(pair.client, ask(pair, SILENT, 1), NULL, &held, &id, NULL),
                     0);
    assert_int_equal(tern_client_cancel(pair.client, id, &error), 0);
    assert_int_equal(tern_client_collect(pair.client, id, &error), TERN_ECANCELLED);
    assert_int_equal(tern_client_status(pair.client), TERN_STATUS_CANCELLED);
    assert_false(held.answered);
    assert_int_equal(tern_client_cancel(pair.client, id, &error), TERN_ENOENT);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, &other, NULL), 0);
    assert_int_equal(((struct scripted_server *)*state)->hellos, 1);
    close_pair(pair);
}

static void a_broken_connection_is_reported_and_made_anew(void **state)
{
    struct scripted_server *server = *state;
    struct pair pair = open_pair(server, NULL);
    struct tern_decision decisions[3];
    uint32_t ids[3], id;
    struct tern_error error;

    assert_int_equal(tern_client_decide(pair.client, ask(pair, CLOSE, 1), NULL, decisions, &error),
                     TERN_ECLOSED);
    assert_int_equal(server->decides, 1);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, decisions, NULL),
                     0);
    assert_int_equal(server->hellos, 2);

    /* All that was in flight is reported, each id once; what was answered before is a success. */
    assert_int_equal(
        tern_client_submit(pair.client, ask(pair, ANSWER, 1), NULL, &decisions[0], &ids[0], NULL),
        0);
    assert_int_equal(
        tern_client_submit(pair.client, ask(pair, CLOSE, 1), NULL, &decisions[1], &ids[1], NULL),
        0);
    assert_int_equal(
        tern_client_submit(pair.client, ask(pair, ANSWER, 1), NULL, &decisions[2], &ids[2], NULL),
        0);
    assert_int_equal(tern_client_collect_any(pair.client, &id, NULL), 0);
    assert_int_equal(id, ids[0]);
    assert_int_equal(tern_client_collect(pair.client, ids[2], NULL), TERN_ECLOSED);
    assert_int_equal(tern_client_collect(pair.client, ids[1], NULL), TERN_ECLOSED);
    assert_int_equal(tern_client_in_flight(pair.client), 0);
    close_pair(pair);
}

static void retry_is_only_for_those_who_ask(void **state)
{
    struct tern_client_options options = {.retry = true};
    struct pair pair = open_pair(*state, &options);
    struct tern_decision decision;

    assert_int_equal(
        tern_client_decide(pair.client, ask(pair, CLOSE_ONE, 1), NULL, &decision, NULL), 0);
    assert_int_equal(((struct scripted_server *)*state)->decides, 2);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, CLOSE, 1), NULL, &decision, NULL),
                     TERN_ECLOSED);
    assert_int_equal(((struct scripted_server *)*state)->decides, 4);
    close_pair(pair);
}

static void a_server_that_is_gone_is_waited_for_within_the_timeout(void **state)
{
    struct scripted_server *server = *state;
    struct tern_client_options options = {.call_timeout_ms = 5000, .backoff_last_ms = 20};
    struct pair pair = open_pair(server, &options);
    struct tern_decision decision;
    struct tern_error error;

    assert_int_equal(tern_client_decide(pair.client, ask(pair, CLOSE, 1), NULL, &decision, NULL),
                     TERN_ECLOSED);
    scripted_server_hang_up(server);
    tern_client_set_timeout(pair.client, 50);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, &decision, &error),
                     TERN_EUNREACHABLE);
    tern_client_set_timeout(pair.client, 5000);
    server->hello_status = TERN_STATUS_NOT_READY;
    scripted_server_listen(server);
    /* Long enough for one refusal to come in, whatever else the machine does. */
    for (unsigned ms = 250; strstr(error.message, "not ready: soon") == NULL; ms *= 2) {
        assert_true(ms < 10000);
        tern_client_set_timeout(pair.client, ms);
        assert_int_equal(
            tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, &decision, &error),
            TERN_EUNREACHABLE);
    }
    server->hello_status = 0;
    tern_client_set_timeout(pair.client, 5000);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, &decision, &error),
                     0);
    close_pair(pair);
}

static void goaway_moves_on_after_what_is_in_flight(void **state)
{
    struct scripted_server *server = *state;
    struct pair pair = open_pair(server, NULL);
    struct tern_decision decisions[2];
    uint32_t id;

    assert_int_equal(
        tern_client_submit(pair.client, ask(pair, GO_AWAY, 1), NULL, &decisions[0], &id, NULL), 0);
    assert_int_equal(tern_client_collect(pair.client, id, NULL), 0);
    assert_int_equal(server->hellos, 1);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, decisions, NULL),
                     0);
    assert_int_equal(server->hellos, 2);
    close_pair(pair);
}

static void ids_that_changed_are_not_sent(void **state)
{
    struct scripted_server *server = *state;
    struct pair pair = open_pair(server, NULL);
    struct tern_decision decision;

    server->schema = 1; /* appended: old ids keep their meaning */
    tern_client_decide(pair.client, ask(pair, CLOSE, 1), NULL, &decision, NULL);
    ask(pair, ANSWER, 1);
    assert_int_equal(tern_client_decide(pair.client, pair.request, NULL, &decision, NULL), 0);
    assert_int_equal(tern_client_field(pair.client, "added"), 5);

    server->schema = 2;
    tern_client_decide(pair.client, ask(pair, CLOSE, 1), NULL, &decision, NULL);
    ask(pair, ANSWER, 1);
    assert_int_equal(tern_client_decide(pair.client, pair.request, NULL, &decision, NULL),
                     TERN_EABI);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, &decision, NULL),
                     0);
    close_pair(pair);
}

static void refusals_and_nonsense(void **state)
{
    struct pair pair = open_pair(*state, NULL);
    struct tern_decision decisions[3];
    struct tern_error error;

    assert_int_equal(tern_client_decide(pair.client, ask(pair, REFUSE, 1), NULL, decisions, &error),
                     TERN_EINVAL);
    assert_string_equal(error.message, "bad field: field user");
    assert_int_equal(tern_client_status(pair.client), TERN_STATUS_BAD_FIELD);
    assert_int_equal(((struct scripted_server *)*state)->hellos, 1);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, TWICE, 2), NULL, decisions, NULL),
                     TERN_ECORRUPT);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, SHORT, 2), NULL, decisions, NULL),
                     TERN_ECORRUPT);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 2), NULL, decisions, NULL),
                     0);
    close_pair(pair);
}

static void the_builder_refuses_what_the_server_would(void **state)
{
    struct pair pair = open_pair(*state, NULL);
    struct tern_request *request = pair.request;
    struct tern_decision decision;
    struct tern_error error;
    static char long_text[70000];
    float vector[3] = {1, 2, 3};

    tern_request_reset(request);
    assert_int_equal(tern_client_decide(pair.client, request, NULL, &decision, &error),
                     TERN_EINVAL);
    assert_int_equal(tern_item_set_u64(request, 3, 1), TERN_EINVAL); /* no item begun */
    tern_request_reset(request);
    tern_item_add(request);
    assert_int_equal(tern_item_set_u64(request, TERN_ENOENT, 1), TERN_ENOENT);
    assert_int_equal(tern_item_set_u64(request, 5, 1), TERN_ENOENT);
    assert_int_equal(tern_item_set_u64(request, 2, 1), TERN_EINVAL);
    assert_int_equal(tern_item_set_ip(request, 1, "12345", 5), TERN_EINVAL);
    assert_int_equal(tern_item_set_ip(request, 1, "1234", 4), 0);
    assert_int_equal(tern_item_set_ip(request, 1, "1234", 4), TERN_EINVAL); /* twice */
    assert_int_equal(tern_item_set_vector(request, 4, vector, 2), TERN_EINVAL);
    assert_int_equal(tern_item_set_vector(request, 4, vector, 3), 0);
    assert_int_equal(tern_item_set_f32(request, 4, 0.0f / 0.0f), TERN_EINVAL);
    assert_int_equal(tern_item_set_string(request, 2, long_text, sizeof long_text), TERN_ELIMIT);
    assert_int_equal(tern_client_decide(pair.client, request, NULL, &decision, &error),
                     TERN_ENOENT);
    assert_string_equal(error.message, "item 0, field -4: not found");

    tern_request_reset(request);
    for (unsigned i = 0; i < 4096; i++)
        assert_int_equal(tern_item_add(request), 0);
    assert_int_equal(tern_item_add(request), TERN_ELIMIT);
    close_pair(pair);
}

static void lookup_describe_explain(void **state)
{
    struct pair pair = open_pair(*state, NULL);
    struct tern_client_column columns[2];
    struct tern_client_rule rules[8];
    struct tern_client_page page;
    const char *json;
    size_t length;
    unsigned count;

    assert_int_equal(tern_client_lookup(pair.client, 1, "\x0a\1\2\3", 4, columns, 2, &count, NULL),
                     0);
    assert_int_equal(count, 2);
    assert_int_equal(columns[0].type, TERN_TYPE_U32);
    assert_int_equal(tern_load_u32(columns[0].value), 7);
    assert_memory_equal(columns[1].value, "de", 2);
    assert_int_equal(tern_client_lookup(pair.client, 1, "\x0b\1\2\3", 4, columns, 2, &count, NULL),
                     TERN_ENOENT);
    assert_int_equal(tern_client_lookup(pair.client, 2, "", 0, columns, 2, &count, NULL),
                     TERN_ENOENT);

    assert_int_equal(tern_client_describe(pair.client, 1, rules, 8, &page, NULL), 0);
    assert_int_equal(page.total, 3);
    assert_int_equal(page.count, 2);
    assert_int_equal(page.generation, 7);
    assert_int_equal(rules[1].index, 2);
    assert_int_equal(rules[1].action, TERN_DENY);
    assert_string_equal(rules[1].name, "bad");

    assert_int_equal(tern_client_explain(pair.client, ask(pair, ANSWER, 1), &json, &length, NULL),
                     0);
    assert_int_equal(length, 7);
    assert_memory_equal(json, "{\"a\":1}", 7);
    close_pair(pair);
}

static void addresses_are_checked(TERN_TEST_STATE)
{
    static const char *const bad[] = {
        "",          "host:1",        "tcp://",     "tcp://h",     "tcp://h:",
        "tcp://h:0", "tcp://h:70000", "tcp://h:1x", "tcp://::1:5", "tcp://:5",
        "unix://",   "http://h:1"};
    struct tern_client *client = NULL;
    struct tern_error error;

    for (size_t i = 0; i < TERN_COUNT(bad); i++)
        assert_int_equal(tern_client_open(bad[i], NULL, &client, &error), TERN_EINVAL);
    assert_int_equal(tern_client_open("unix:///nonexistent/socket", NULL, &client, &error),
                     TERN_EUNREACHABLE);
    assert_null(client);
}

/* A sanitizer brings its own allocator: gcc says so by macros, clang by features. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(SANITIZED) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 0
static _Thread_local unsigned allocations;
static _Thread_local bool counting;
#else
#define COUNTS_ALLOCATIONS 1
static _Thread_local unsigned allocations;
static _Thread_local bool counting;

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
void *malloc(size_t bytes)
{
    allocations += counting;
    return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t bytes)
{
    allocations += counting;
    return __libc_calloc(count, bytes);
}
void *realloc(void *old, size_t bytes)
{
    allocations += counting;
    return __libc_realloc(old, bytes);
}
#endif

static void calls_do_not_allocate(void **state)
{
    struct pair pair;
    struct tern_decision decisions[64];
    struct tern_client_column columns[2];
    unsigned count;
    uint32_t id;
    void *probe;

    if (!COUNTS_ALLOCATIONS)
        skip();
    pair = open_pair(*state, NULL);
    allocations = 0;
    counting = true;
    probe = malloc(1);
    __asm__ volatile("" : : "r"(probe) : "memory"); /* or the pair would be optimised away */
    free(probe);
    assert_int_equal(allocations, 1);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(
            tern_client_decide(pair.client, ask(pair, SPLIT, 64), NULL, decisions, NULL), 0);
        assert_int_equal(
            tern_client_submit(pair.client, ask(pair, ANSWER, 1), NULL, decisions, &id, NULL), 0);
        assert_int_equal(
            tern_client_lookup(pair.client, 1, "\x0a\1\2\3", 4, columns, 2, &count, NULL), 0);
        assert_int_equal(tern_client_collect_any(pair.client, &id, NULL), 0);
    }
    counting = false;
    assert_int_equal(allocations, 1);
    close_pair(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
        TEST(the_schema_comes_with_the_connection),
        TEST(one_and_many_are_decided),
        TEST(many_in_flight_are_told_apart),
        TEST(replies_out_of_order_and_late_ones),
        TEST(a_broken_connection_is_reported_and_made_anew),
        TEST(retry_is_only_for_those_who_ask),
        TEST(a_server_that_is_gone_is_waited_for_within_the_timeout),
        TEST(a_cancelled_request_is_collected_as_such),
        TEST(goaway_moves_on_after_what_is_in_flight),
        TEST(ids_that_changed_are_not_sent),
        TEST(refusals_and_nonsense),
        TEST(the_builder_refuses_what_the_server_would),
        TEST(lookup_describe_explain),
        TEST(calls_do_not_allocate),
        cmocka_unit_test(addresses_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
