/* Searches parked with a helper whose turns the test takes itself, so that every order of events is
 * chosen. */
#include "tests/unit/search_world.h"

#include <sys/socket.h>
#include <unistd.h>

static int client;

/* A loop that parks every search, its one helper, and a client. */
static int set_up(TERN_TEST_STATE)
{
    search_make_server(1, 0);
    client = search_connect_client();
    return 0;
}

static int tear_down(TERN_TEST_STATE)
{
    search_close_client(client);
    search_end_server();
    return 0;
}

static void others_go_on_meanwhile(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 10, 0, search_some_query(5), NULL);

    search_ask(client, 1, 0, &body);
    search_send_frame(client, TERN_OP_PING, 2, 0, "x", 1);
    search_turn();
    search_read_reply(client, 2, TERN_STATUS_OK, &reply);
    assert_false(search_has_reply(client));
    assert_true(search_helper_turn());
    assert_false(search_helper_turn());
    search_turn();
    search_read_reply(client, 1, TERN_STATUS_OK, &reply);
    search_check_hits(&reply, search_some_query(5), 10);
    assert_int_equal(world.worker->board->counters.searches_offloaded, 1);
}

static void a_client_that_ends_its_side_is_answered(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 10, 0, search_some_query(6), NULL);

    search_ask(client, 1, 0, &body);
    shutdown(client, SHUT_WR);
    search_turn();
    search_turn();
    assert_int_equal(world.worker->connections.open, 1);
    search_helper_turn();
    search_turn();
    search_turn();
    search_read_reply(client, 1, TERN_STATUS_OK, &reply);
    search_check_hits(&reply, search_some_query(6), 10);
    search_turn();
    assert_int_equal(read(client, &reply, 1), 0);
}

static void a_deadline_passes(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 10, 0, search_some_query(1), NULL);

    search_ask(client, 1, 1, &body); /* noticed by the loop: no helper comes */
    search_turn();
    while (!search_has_reply(client))
        search_turn();
    search_read_reply(client, 1, TERN_STATUS_DEADLINE, &reply);
    assert_true(search_helper_turn());
    search_turn();
    assert_false(search_has_reply(client));

    search_ask(client, 2, 1, &body); /* noticed by the helper, which comes before the next turn */
    search_turn();
    while (tern_clock_now_ns() < world.worker->park.next_deadline_ns)
        ;
    assert_true(search_helper_turn());
    search_turn();
    search_read_reply(client, 2, TERN_STATUS_DEADLINE, &reply);
    assert_non_null(strstr((const char *)reply.body, "before its turn came"));
    assert_int_equal(world.worker->board->counters.deadlines, 2);
}

static void a_search_is_cancelled(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 10, 0, search_some_query(1), NULL);
    uint8_t id[4] = {2};

    for (uint32_t i = 1; i <= 3; i++)
        search_ask(client, i, 0, &body);
    search_send_frame(client, TERN_OP_CANCEL, 4, 0, id, 4);
    search_turn();
    search_read_reply(client, 2, TERN_STATUS_CANCELLED, &reply);
    search_read_reply(client, 4, TERN_STATUS_OK, &reply);
    while (search_helper_turn())
        search_turn();
    search_turn();
    search_read_reply(client, 1, TERN_STATUS_OK, &reply);
    search_read_reply(client, 3, TERN_STATUS_OK, &reply);
    assert_false(search_has_reply(client));
    search_send_frame(client, TERN_OP_CANCEL, 5, 0, id, 4); /* there is nothing any more */
    search_turn();
    search_read_reply(client, 5, TERN_STATUS_OK, &reply);
}

/* Whoever gets the slot of a connection that went away gets none of its answers. */
static void a_client_goes_away(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 10, 0, search_some_query(1), NULL);

    for (uint32_t i = 1; i <= 3; i++)
        search_ask(client, i, 0, &body);
    search_turn();
    search_helper_turn(); /* one is done, not collected yet */
    search_close_client(client);
    assert_int_equal(world.worker->connections.open, 0);
    client = search_connect_client();
    assert_int_equal(world.worker->connections.used, 1);
    search_send_frame(client, TERN_OP_PING, 1, 0, NULL, 0);
    while (search_helper_turn())
        search_turn();
    search_turn();
    search_read_reply(client, 1, TERN_STATUS_OK, &reply);
    assert_int_equal(reply.frame.op, TERN_OP_PING);
    assert_false(search_has_reply(client));
}

static void too_many_are_shed(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 1, 0, search_some_query(1), NULL);

    for (uint32_t i = 1; i <= TERN_RING_SLOTS + 1; i++)
        search_ask(client, i, 0, &body);
    search_turn();
    search_read_reply(client, TERN_RING_SLOTS + 1, TERN_STATUS_OVERLOADED, &reply);
    while (search_helper_turn())
        ;
    search_turn();
    for (uint32_t i = 1; i <= TERN_RING_SLOTS; i++)
        search_read_reply(client, i, TERN_STATUS_OK, &reply);
    search_ask(client, 1, 0, &body); /* there is room again */
    search_turn();
    search_helper_turn();
    search_turn();
    search_read_reply(client, 1, TERN_STATUS_OK, &reply);
}

/* What a request asks for may be gone or another when its turn comes. */
static void the_generation_changes_meanwhile(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 10, 0, search_some_query(1), NULL);

    for (uint32_t i = 1; i <= 3; i++) {
        search_ask(client, i, 0, &body);
        search_turn();
        if (i == 1) /* another collection has the id: found by name, it is the second */
            search_describe(1, "other");
        if (i == 2)
            world.view.collections[1].header = NULL;
        if (i == 3)
            atomic_store(&world.server.offers[TERN_OFFER_CURRENT], NULL);
        search_helper_turn();
        search_describe(1, "docs");
        search_describe(2, "later");
        tern_adopter_stop(&world.server.helpers[0].adopter); /* as when it sleeps */
        assert_int_equal(tern_collection_open(&world.collections[1], world.object.memory,
                                              world.object.length, NULL),
                         0);
        search_turn();
        search_read_reply(client, i, i < 3 ? TERN_STATUS_NOT_FOUND : TERN_STATUS_NOT_READY, &reply);
    }
}

/* The share of a turn is for all its searches: what is past it is parked. */
static void a_turn_has_a_share(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 10, 0, search_some_query(1), NULL);
    unsigned in_turn = 0;

    search_make_server(1, 20000); /* a scan of 300 is estimated at some µs */
    client = search_connect_client();
    for (uint32_t i = 1; i <= 40; i++)
        search_ask(client, i, 0, &body);
    search_turn();
    for (; search_has_reply(client); in_turn++)
        search_read_reply(client, in_turn + 1, TERN_STATUS_OK, &reply);
    assert_in_range(in_turn, 1, 39);
    assert_int_equal(world.worker->park.outstanding, 40 - in_turn);
    while (search_helper_turn())
        ;
    search_turn();
    for (unsigned i = in_turn; i < 40; i++)
        search_read_reply(client, i + 1, TERN_STATUS_OK, &reply);
}

/* What fits a share is not shed when the helper has enough: it waits, a share a turn. */
static void what_fits_a_share_waits(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 10, 0, search_some_query(1), NULL);
    unsigned in_loop = 1, waiting = 9;

    search_make_server(1, 2000); /* for one: a scan of 300 is estimated at 1.5 µs */
    client = search_connect_client();
    for (uint32_t i = 1; i <= 1 + TERN_RING_SLOTS + waiting; i++)
        search_ask(client, i, 0, &body);
    search_turn();
    search_read_reply(client, 1, TERN_STATUS_OK, &reply);
    assert_int_equal(world.worker->park.outstanding, TERN_RING_SLOTS);
    for (; waiting > 0; waiting--, in_loop++) {
        assert_false(search_has_reply(client));
        tern_worker_turn(world.worker);
        search_read_reply(client, 1 + TERN_RING_SLOTS + in_loop, TERN_STATUS_OK, &reply);
        search_check_hits(&reply, search_some_query(1), 10);
    }
    assert_int_equal(world.worker->board->counters.searches, 1 + TERN_RING_SLOTS + 9);
    assert_int_equal(world.worker->board->counters.overloaded, 0);
    while (search_helper_turn())
        ;
    search_turn();
    for (uint32_t i = 2; i <= 1 + TERN_RING_SLOTS; i++)
        search_read_reply(client, i, TERN_STATUS_OK, &reply);
}

/* Nor is it overtaken by one that the rest of the share would do for. */
static void a_cheaper_search_does_not_overtake(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct search_body body = search_body_of(1, 10, 0, search_some_query(1), NULL);
    struct search_body cheaper = search_body_of(1, 10, 0, search_some_query(1), "tenant == 1");
    int other;

    search_make_server(1, 2800); /* 1.5 µs by estimate, with the filter 1.2 µs */
    client = search_connect_client();
    other = search_connect_client();
    for (uint32_t i = 1; i <= 2 + TERN_RING_SLOTS; i++)
        search_ask(client, i, 0, &body);
    search_turn();
    search_read_reply(client, 1, TERN_STATUS_OK, &reply);
    search_ask(client, 100, 0, &body);
    search_ask(other, 200, 0, &cheaper);
    search_turn(); /* both come behind the one that waits; what is left would do for the cheaper */
    search_read_reply(client, 2 + TERN_RING_SLOTS, TERN_STATUS_OK, &reply);
    assert_false(search_has_reply(other));
    search_turn();
    search_read_reply(client, 100, TERN_STATUS_OK, &reply);
    search_read_reply(other, 200, TERN_STATUS_OK, &reply);
    while (search_helper_turn())
        ;
    search_turn();
    for (uint32_t i = 2; i <= 1 + TERN_RING_SLOTS; i++)
        search_read_reply(client, i, TERN_STATUS_OK, &reply);
    close(other);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(others_go_on_meanwhile),
        TEST(a_client_that_ends_its_side_is_answered),
        TEST(a_deadline_passes),
        TEST(a_search_is_cancelled),
        TEST(a_client_goes_away),
        TEST(too_many_are_shed),
        TEST(the_generation_changes_meanwhile),
        cmocka_unit_test_teardown(a_turn_has_a_share, tear_down),
        cmocka_unit_test_teardown(what_fits_a_share_waits, tear_down),
        cmocka_unit_test_teardown(a_cheaper_search_does_not_overtake, tear_down),
    };

    return cmocka_run_group_tests(tests, search_make_world, search_free_world);
}
