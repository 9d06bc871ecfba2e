/* SEARCH through a loop over real sockets: what is found, every refusal. */
#include "tests/unit/search_world.h"

#include <math.h>

static void the_nearest_are_found(TERN_TEST_STATE)
{
    static struct search_reply reply;
    int client;

    search_make_server(1, UINT64_MAX);
    client = search_connect_client();
    for (unsigned i = 0; i < 20; i++) {
        unsigned k = i == 19 ? TERN_SEARCH_K_MAX : 1 + i * 3;
        struct search_body body =
            search_body_of(1, k, i % 2 ? TERN_SEARCH_EXACT : 0, search_some_query(i), NULL);

        search_ask(client, i + 1, 0, &body);
        search_turn();
        search_read_reply(client, i + 1, TERN_STATUS_OK, &reply);
        search_check_hits(&reply, search_some_query(i), k);
    }
    assert_int_equal(world.worker->board->counters.searches, 20);
    assert_int_equal(world.worker->board->counters.searches_offloaded, 0);
    search_close_client(client);
    search_end_server();
}

/* Every hit with its payload, every one that passes the filter. */
static void payload_and_filter(TERN_TEST_STATE)
{
    static const char wanted[] = "\x02\5label\x08\6tenant\3\4time";
    static struct search_reply reply;
    struct tern_search_reply head;
    const uint8_t *at;
    int client;

    search_make_server(1, UINT64_MAX);
    client = search_connect_client();
    for (unsigned round = 0; round < 2; round++) {
        struct search_body body = search_body_of(
            1, 500, TERN_SEARCH_PAYLOAD, search_some_query(round),
            round == 0 ? "label == \"fraud\" and tenant in {1, 2}" : "not exists(label)");
        unsigned expected = 0;

        for (unsigned i = 0; i < SEARCH_VECTORS; i++)
            expected +=
                round == 0 ? i % 5 != 0 && i % 3 == 0 && (i % 7 == 1 || i % 7 == 2) : i % 5 == 0;
        search_ask(client, 1, 0, &body);
        search_turn();
        search_read_reply(client, 1, TERN_STATUS_OK, &reply);
        memcpy(&head, reply.body, sizeof head);
        assert_int_equal(head.count, expected);
        assert_int_equal(head.columns, 3);
        at = reply.body + sizeof head + head.count * sizeof(struct tern_search_reply_hit);
        assert_memory_equal(at, wanted, sizeof wanted - 1);
        at += sizeof wanted - 1;
        for (unsigned i = 0; i < head.count; i++) {
            struct tern_search_reply_hit hit;
            unsigned number;

            memcpy(&hit, reply.body + sizeof head + i * sizeof hit, sizeof hit);
            number = (unsigned)hit.id - 1000;
            if (round == 0) {
                assert_memory_equal(at, "\2\5\0fraud", 8);
                at += 8;
            } else {
                assert_memory_equal(at, "\0\0\0", 3);
                at += 3;
            }
            assert_memory_equal(at, "\x08\4\0", 3);
            assert_int_equal(tern_load_u32(at + 3), number % 7);
            assert_memory_equal(at + 7, "\3\x08\0", 3);
            assert_int_equal(tern_load_u64(at + 10), number * 1000);
            at += 18;
        }
        assert_ptr_equal(at, reply.body + reply.frame.body_length);
    }
    search_close_client(client);
    search_end_server();
}

static void refuse(int client, const struct search_body *body, enum tern_status status,
                   const char *message)
{
    static struct search_reply reply;

    search_ask(client, 9, 0, body);
    search_turn();
    search_read_reply(client, 9, status, &reply);
    if (strstr((const char *)reply.body, message) == NULL)
        fail_msg("%s", (const char *)reply.body);
}

static void refusals(TERN_TEST_STATE)
{
    float query[SEARCH_DIM] = {1};
    struct search_body body;
    int client;

    for (unsigned helpers = 0; helpers < 2; helpers++) { /* with one all could be parked: none is */
        search_make_server(helpers, helpers == 0 ? UINT64_MAX : 0);
        client = search_connect_client();
        for (size_t length = 0; length < 8; length++) {
            body = search_body_of(1, 10, 0, query, NULL);
            body.length = length;
            refuse(client, &body, TERN_STATUS_BAD_FRAME, "a SEARCH has a collection");
        }
        body = search_body_of(0, 10, 0, query, NULL);
        refuse(client, &body, TERN_STATUS_NOT_FOUND, "no such collection");
        body = search_body_of(3, 10, 0, query, NULL);
        refuse(client, &body, TERN_STATUS_NOT_FOUND, "no such collection");
        body = search_body_of(2, 10, 0, query, NULL);
        refuse(client, &body, TERN_STATUS_NOT_READY, "not there yet");
        body = search_body_of(1, 10, 4, query, NULL);
        refuse(client, &body, TERN_STATUS_UNSUPPORTED, "unknown flag");
        body = search_body_of(1, 10, 0, query, NULL);
        body.length -= 4;
        refuse(client, &body, TERN_STATUS_BAD_FRAME, "8 dimensions, 32 bytes; there are 28");
        body.length += 5;
        refuse(client, &body, TERN_STATUS_BAD_FRAME, "behind the vector");
        body = search_body_of(1, 10, 0, query, "tenant == 1");
        body.length--;
        refuse(client, &body, TERN_STATUS_BAD_FRAME, "behind the vector");
        body = search_body_of(1, 0, 0, query, NULL);
        refuse(client, &body, TERN_STATUS_BAD_FIELD, "k");
        body = search_body_of(1, TERN_SEARCH_K_MAX + 1, 0, query, NULL);
        refuse(client, &body, TERN_STATUS_BAD_FIELD, "k");
        body = search_body_of(1, 10, 0, query, NULL);
        tern_store_u16(body.bytes + 4, TERN_SEARCH_EF_MAX + 1);
        refuse(client, &body, TERN_STATUS_BAD_FIELD, "ef");
        query[3] = NAN;
        body = search_body_of(1, 10, 0, query, NULL);
        refuse(client, &body, TERN_STATUS_BAD_FIELD, "finite");
        query[3] = -INFINITY;
        body = search_body_of(1, 10, 0, query, NULL);
        refuse(client, &body, TERN_STATUS_BAD_FIELD, "finite");
        query[3] = 0;
        body = search_body_of(1, 10, 0, query, "");
        refuse(client, &body, TERN_STATUS_BAD_FIELD, "filter, byte 0: expected an expression");
        body = search_body_of(1, 10, 0, query, "tenant == 1 and labl == \"x\"");
        refuse(client, &body, TERN_STATUS_BAD_FIELD, "filter, byte 16: unknown column 'labl'");
        search_close_client(client);
        search_end_server();
    }
}

static void a_reply_too_large_for_a_frame(TERN_TEST_STATE)
{
    static struct search_reply reply;

    for (unsigned parked = 0; parked < 2; parked++) {
        struct search_body body =
            search_body_of(1, SEARCH_VECTORS, TERN_SEARCH_PAYLOAD, search_some_query(1), NULL);
        int client;

        search_make_server(1, parked ? 0 : UINT64_MAX);
        client = search_connect_client();
        search_turn();
        world.worker->max_frame_bytes = 8192;
        search_ask(client, 4, 0, &body);
        search_turn();
        if (parked) {
            assert_true(search_helper_turn());
            search_turn();
        }
        search_read_reply(client, 4, TERN_STATUS_TOO_LARGE, &reply);
        search_close_client(client);
        search_end_server();
    }
}

static void hello_lists_collections(TERN_TEST_STATE)
{
    static const uint8_t hello[] = {1, 0, 0, 0};
    static const uint8_t list[] = "\0\0\0\0\2\0\1\0\7\0\x08\0\0\0\4docs\2\0\7\0\x08\0\0\0\5later";
    static struct search_reply reply;
    int client;

    search_make_server(0, UINT64_MAX);
    client = search_connect_client();
    search_send_frame(client, TERN_OP_HELLO, 1, 0, hello, sizeof hello);
    search_turn();
    search_read_reply(client, 1, TERN_STATUS_OK, &reply);
    assert_int_equal(reply.frame.body_length, 24 + sizeof list - 1);
    assert_memory_equal(reply.body + 24, list, sizeof list - 1);
    search_close_client(client);
    search_end_server();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_are_found),
        cmocka_unit_test(payload_and_filter),
        cmocka_unit_test(refusals),
        cmocka_unit_test(a_reply_too_large_for_a_frame),
        cmocka_unit_test(hello_lists_collections),
    };

    return cmocka_run_group_tests(tests, search_make_world, search_free_world);
}
