/* libtern's searches against a real loop: hits, payload, every refusal. */
#include "tests/unit/search_world.h"

#include "clients/c/tern.h"

#include <math.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char path[64], address[80];
static int listener;
static atomic_bool stop;

/* The loop, its helper and who accepts, all in one thread. */
static void *serve(void *unused)
{
    while (!atomic_load(&stop)) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

        if (fd >= 0)
            tern_worker_accepted(world.worker, fd);
        search_turn();
        search_helper_turn();
    }
    return unused;
}

static void start(uint64_t search_turn_ns, pthread_t *thread)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    snprintf(path, sizeof path, "/tmp/tern-search-%d", getpid());
    snprintf(address, sizeof address, "unix://%s", path);
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    unlink(path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 8), 0);
    search_make_server(1, search_turn_ns);
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(thread, NULL, serve, NULL), 0);
}

static void end(pthread_t thread)
{
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 10; i++) { /* the client has closed */
        search_turn();
        search_helper_turn();
    }
    search_end_server();
    close(listener);
    unlink(path);
}

static void check(struct tern_client *client, const float *query, unsigned k, uint16_t flags)
{
    const struct tern_client_search search = {.collection = tern_client_collection(client, "docs"),
                                              .dim = SEARCH_DIM,
                                              .vector = query,
                                              .k = k,
                                              .flags = flags};
    struct tern_client_hit hits[SEARCH_VECTORS];
    struct tern_search_hit expected[SEARCH_VECTORS];
    struct tern_client_column value;
    struct tern_error error = {.message = ""};
    const char *name;
    unsigned count;
    size_t length;

    tern_graph_object_nearest(TERN_METRIC_L2, SEARCH_DIM, world.vectors, SEARCH_VECTORS, query, k,
                              expected);
    if (tern_client_search(client, &search, hits, &count, &error) != 0)
        fail_msg("%s", error.message);
    assert_int_equal(count, k);
    assert_int_equal(tern_client_payload_columns(client), flags & TERN_SEARCH_PAYLOAD ? 3 : 0);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(hits[i].id, 1000 + expected[i].id);
        assert_true(fabsf(hits[i].score - expected[i].score) < 1e-3f);
        if (!(flags & TERN_SEARCH_PAYLOAD))
            continue;
        assert_int_equal(tern_client_payload(client, i, 2, &value), 0);
        assert_int_equal(value.type, 3);
        assert_int_equal(tern_load_u64(value.value), expected[i].id * 1000);
        assert_int_equal(tern_client_payload(client, i, 0, &value), 0);
        assert_int_equal(value.type, expected[i].id % 5 == 0 ? 0 : 2);
        assert_int_equal(tern_client_payload_name(client, 1, &name, &length), 0);
        assert_int_equal(length, 6);
        assert_memory_equal(name, "tenant", 6);
    }
    assert_int_equal(tern_client_payload(client, count, 0, &value), TERN_EINVAL);
    assert_int_equal(tern_client_payload(client, 0, 3, &value), TERN_EINVAL);
    assert_int_equal(tern_client_payload_name(client, 3, &name, &length), TERN_EINVAL);
}

static void hits_and_payload(TERN_TEST_STATE)
{
    for (unsigned parked = 0; parked < 2; parked++) {
        const struct tern_client_options options = {.call_timeout_ms = 20000};
        struct tern_error error = {.message = ""};
        struct tern_client *client;
        pthread_t thread;

        start(parked ? 0 : UINT64_MAX, &thread);
        assert_int_equal(tern_client_open(address, &options, &client, &error), 0);
        assert_int_equal(tern_client_schema(client)->collection_count, 2);
        assert_int_equal(tern_client_schema(client)->collections[0].dim, SEARCH_DIM);
        for (unsigned i = 0; i < 10; i++)
            check(client, search_some_query(i), 1 + i * 5,
                  i % 2 ? TERN_SEARCH_PAYLOAD : TERN_SEARCH_EXACT);
        tern_client_close(client);
        end(thread);
    }
}

static void a_collection_describes_itself(TERN_TEST_STATE)
{
    static const struct {
        uint8_t type;
        const char *name;
    } columns[] = {{TERN_TYPE_STRING, "label"}, {TERN_TYPE_U32, "tenant"}, {TERN_TYPE_U64, "time"}};
    const struct tern_client_options options = {.call_timeout_ms = 20000};
    struct tern_client_collection found = {0};
    struct tern_error error = {.message = ""};
    struct tern_client *client;
    pthread_t thread;

    start(UINT64_MAX, &thread);
    assert_int_equal(tern_client_open(address, &options, &client, &error), 0);
    if (tern_client_describe_collection(client, 1, &found, &error) != 0)
        fail_msg("%s", error.message);
    assert_int_equal(found.id, 1);
    assert_int_equal(found.metric, TERN_METRIC_L2);
    assert_int_equal(found.quantize, world.collections[1].header->quantize);
    assert_int_equal(found.dim, SEARCH_DIM);
    assert_int_equal(found.capacity, world.collections[1].header->vector_capacity);
    assert_int_equal(found.vectors, SEARCH_VECTORS);
    assert_int_equal(found.ef, atomic_load(&world.collections[1].header->ef_search));
    assert_int_equal(found.column_count, TERN_COUNT(columns));
    for (unsigned i = 0; i < TERN_COUNT(columns); i++) {
        assert_int_equal(found.columns[i].type, columns[i].type);
        assert_string_equal(found.columns[i].name, columns[i].name);
    }
    assert_int_equal(tern_client_describe_collection(client, 2, &found, &error), TERN_EAGAIN);
    assert_int_equal(tern_client_describe_collection(client, 3, &found, &error), TERN_ENOENT);
    assert_int_equal(tern_client_describe_collection(client, 0, &found, &error), TERN_ENOENT);
    assert_int_equal(found.id, 1);
    tern_client_close(client);
    end(thread);
}

static void refusals(TERN_TEST_STATE)
{
    const float query[SEARCH_DIM] = {1};
    const struct tern_client_search right = {
        .collection = 1, .dim = SEARCH_DIM, .vector = query, .k = 2};
    static char long_filter[5000];
    struct tern_client_search search;
    struct tern_client_hit hits[2];
    struct tern_error error;
    struct tern_client *client;
    unsigned count = 77;
    pthread_t thread;

    start(UINT64_MAX, &thread);
    assert_int_equal(tern_client_open(address, NULL, &client, &error), 0);
    assert_int_equal(tern_client_collection(client, "docs"), 1);
    assert_int_equal(tern_client_collection(client, "dogs"), TERN_ENOENT);
    search = right;
    search.collection = TERN_ENOENT;
    assert_int_equal(tern_client_search(client, &search, hits, &count, &error), TERN_ENOENT);
    search.collection = 3;
    assert_int_equal(tern_client_search(client, &search, hits, &count, &error), TERN_ENOENT);
    search = right;
    search.k = 0;
    assert_int_equal(tern_client_search(client, &search, hits, &count, &error), TERN_EINVAL);
    search = right;
    search.dim = 7;
    assert_int_equal(tern_client_search(client, &search, hits, &count, &error), TERN_EINVAL);
    assert_non_null(strstr(error.message, "8 dimensions"));
    search = right;
    search.filter = "tenant = 1";
    assert_int_equal(tern_client_search(client, &search, hits, &count, &error), TERN_EINVAL);
    assert_non_null(strstr(error.message, "filter, byte 7"));
    memset(long_filter, ' ', sizeof long_filter - 1);
    search.filter = long_filter;
    assert_int_equal(tern_client_search(client, &search, hits, &count, &error), TERN_EINVAL);
    assert_int_equal(count, 77);
    assert_int_equal(tern_client_search(client, &right, hits, &count, &error), 0);
    assert_int_equal(count, 2);
    tern_client_close(client);
    end(thread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_and_payload),
        cmocka_unit_test(a_collection_describes_itself),
        cmocka_unit_test(refusals),
    };

    return cmocka_run_group_tests(tests, search_make_world, search_free_world);
}
