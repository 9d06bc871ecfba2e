/* Requests that arrive together and all need a search: the loop gives searches a share of each
 * turn, and whoever comes after it is spent waits for another one. The test takes the turns. */
#include "tests/unit/asked.h"
#include "tests/unit/search_world.h"

#include <sys/socket.h>
#include <unistd.h>

static struct world reference;
static struct asked asked;
static int client, other;

/* ---- rules that search, served by the loop ---- */

/* +1s are near the fraud, -1s near the fine. */
static void put(unsigned index, float sign, const char *label)
{
    struct world_vector vector = {.is_live = true};

    for (unsigned i = 0; i < WORLD_DIM; i++)
        vector.values[i] = sign;
    vector.payload[0] = (struct tern_payload_value){
        .type = TERN_TYPE_STRING, .string = {(const uint8_t *)label, (uint32_t)strlen(label)}};
    world_vector_put(&reference, WORLD_DOCS, index, &vector);
}

static int make(void **state)
{
    struct tern_config_rule rules[2];

    search_make_world(state);
    world_make(&reference, 16);
    for (unsigned i = 0; i < WORLD_VECTORS; i++)
        world_vector_remove(&reference, WORLD_DOCS, i);
    put(0, 1, "fraud");
    put(1, -1, "fine");
    rules[0] = world_rule("known", "user == 1");
    rules[1] = world_rule("fraud", "similar(docs, shape, k: 1).label == \"fraud\"");
    asked_make(&asked, &reference, rules, 2);
    world.view.rules = asked.compiled.rules;
    world.view.schema = reference.schema;
    world.view.collections = reference.served;
    world.view.collection_count = WORLD_COLLECTIONS;
    world.offer.searches = tern_rules_search(asked.compiled.rules);
    world.offer.slots = calloc(2, sizeof *world.offer.slots);
    assert_non_null(world.offer.slots);
    assert_int_equal(tern_room_new(&world.rooms[0], asked.compiled.rules), 0);
    tern_decoder_init(&world.offer.decoder, reference.schema,
                      tern_rules_raw_fields(asked.compiled.rules), false);
    return 0;
}

static int unmake(void **state)
{
    tern_room_free(world.rooms[0]);
    free(world.offer.slots);
    asked_free(&asked);
    world_free(&reference);
    return search_free_world(state);
}

/* A share that one search spends. */
static int set_up(TERN_TEST_STATE)
{
    search_make_server(0, 1);
    client = search_connect_client();
    other = search_connect_client();
    return 0;
}

static int tear_down(TERN_TEST_STATE)
{
    close(other);
    search_close_client(client);
    search_end_server();
    return 0;
}

/* ---- requests ---- */

struct request {
    uint8_t bytes[1024];
    size_t length;
};

static void put_field(struct request *request, unsigned id, const void *value, uint16_t length)
{
    request->bytes[request->length] = (uint8_t)id;
    tern_store_u16(request->bytes + request->length + 1, length);
    memcpy(request->bytes + request->length + 3, value, length);
    request->length += 3u + length;
}

/* An item that resembles what the number says: even the fraud, odd the fine. */
static void put_item(struct request *request, unsigned number, uint64_t user)
{
    size_t at = request->length;
    float values[WORLD_DIM];

    for (unsigned i = 0; i < WORLD_DIM; i++)
        values[i] = number % 2 == 0 ? 1 : -1;
    request->length += 2;
    put_field(request, WORLD_USER, &user, sizeof user);
    put_field(request, WORLD_SHAPE, values, sizeof values);
    tern_store_u16(request->bytes + at, (uint16_t)(request->length - at - 2));
}

static void ask(int from, unsigned number, uint64_t user, uint8_t flags)
{
    struct request request = {.bytes = {1}, .length = 2};
    struct tern_frame frame = {
        .magic = TERN_WIRE_MAGIC, .op = TERN_OP_DECIDE, .flags = flags, .request_id = number};
    uint8_t bytes[sizeof frame + sizeof request.bytes];

    put_item(&request, number, user);
    frame.body_length = (uint32_t)request.length;
    memcpy(bytes, &frame, sizeof frame);
    memcpy(bytes + sizeof frame, request.bytes, request.length);
    assert_int_equal(write(from, bytes, sizeof frame + request.length),
                     sizeof frame + request.length);
}

static void ask_plainly(int from, uint32_t number)
{
    static const uint8_t body[] = {1, 0, 0, 0}; /* one item without fields */

    search_send_frame(from, TERN_OP_DECIDE, number, 0, body, sizeof body);
}

static void check_item(const uint8_t *item, unsigned index, unsigned number)
{
    assert_int_equal(tern_load_u16(item), index);
    assert_int_equal(tern_load_u32(item + 8), number % 2 == 0 ? 2 : 0); /* the rule */
}

/* The next reply is to the request `number`, with its verdict. */
static void check_reply(int from, unsigned number)
{
    static struct search_reply reply;

    search_read_reply(from, number, TERN_STATUS_OK, &reply);
    assert_int_equal(reply.frame.flags, 0);
    assert_int_equal(tern_load_u16(reply.body), 1);
    check_item(reply.body + 8, 0, number);
}

static uint64_t searched(void)
{
    return atomic_load(&world.worker->board->counters.searches_similar);
}

static uint64_t held(void)
{
    return atomic_load(&world.worker->board->counters.searches_held);
}

/* ---- the tests ---- */

static void one_connection_takes_its_share_of_each_turn(TERN_TEST_STATE)
{
    static struct search_reply reply;

    for (unsigned i = 1; i <= 10; i++)
        ask(client, i, 0, 0);
    search_send_frame(client, TERN_OP_PING, 11, 0, NULL, 0);
    for (unsigned i = 1; i <= 10; i++) {
        ask_plainly(other, 100 + i);
        tern_worker_turn(world.worker); /* nobody wakes it: it does not sleep */
        check_reply(client, i);
        assert_int_equal(searched(), i);
        if (i < 10)
            assert_false(search_has_reply(client));
        search_read_reply(other, 100 + i, TERN_STATUS_OK, &reply);
        assert_false(search_has_reply(other));
    }
    search_read_reply(client, 11, TERN_STATUS_OK, &reply); /* what stood behind them, in order */
    assert_int_equal(held(), 9);
    assert_int_equal(world.worker->board->counters.requests, 21);
    assert_int_equal(world.worker->board->counters.decisions, 20);
}

static void connections_take_turns(TERN_TEST_STATE)
{
    unsigned of_client = 0, of_other = 0;

    for (unsigned i = 1; i <= 8; i++) {
        ask(client, i, 0, 0);
        ask(other, i, 0, 0);
    }
    for (unsigned turn = 1; turn <= 16; turn++) {
        tern_worker_turn(world.worker);
        assert_int_equal(searched(), turn);
        if (search_has_reply(client))
            check_reply(client, ++of_client);
        else
            check_reply(other, ++of_other);
        assert_in_range(of_client, of_other, of_other + 2);
    }
    assert_int_equal(of_client, 8);
}

/* Whoever comes while others wait does not overtake them. */
static void nobody_overtakes(TERN_TEST_STATE)
{
    for (unsigned i = 1; i <= 3; i++)
        ask(client, i, 0, 0);
    search_turn();
    check_reply(client, 1);
    ask(other, 1, 0, 0);
    search_turn();
    check_reply(client, 2);
    assert_false(search_has_reply(other));
    search_turn(); /* by now both wait; the client was first */
    search_turn();
    check_reply(client, 3);
    check_reply(other, 1);
}

/* A vector that no rule needs costs no share. */
static void what_is_not_searched_is_not_held(TERN_TEST_STATE)
{
    static struct search_reply reply;

    for (unsigned i = 1; i <= 40; i++)
        ask(client, i, 1, 0);
    search_turn();
    for (unsigned i = 1; i <= 40; i++) {
        search_read_reply(client, i, TERN_STATUS_OK, &reply);
        assert_int_equal(tern_load_u32(reply.body + 8 + 8), 1);
    }
    assert_int_equal(searched(), 0);
    assert_int_equal(held(), 0);
}

/* With share enough they are decided together as ever. */
static void a_share_is_for_many(TERN_TEST_STATE)
{
    world.server.search_turn_ns = UINT64_MAX;
    for (unsigned i = 1; i <= 40; i++)
        ask(client, i, 0, 0);
    search_turn();
    for (unsigned i = 1; i <= 40; i++)
        check_reply(client, i);
    assert_int_equal(searched(), 40);
    assert_int_equal(held(), 0);
}

/* The searches of one frame may be more than a share, too: it is answered in several frames. */
static void items_of_a_frame_are_spread(TERN_TEST_STATE)
{
    static struct search_reply reply;
    struct request request = {.bytes = {8}, .length = 2};
    unsigned items = 0;

    for (unsigned i = 0; i < 8; i++)
        put_item(&request, i, 0);
    search_send_frame(client, TERN_OP_DECIDE, 1, 0, request.bytes, request.length);
    ask(client, 2, 0, 0); /* behind it */
    while (items < 8) {
        unsigned count;

        while (!search_has_reply(client))
            tern_worker_turn(world.worker);
        search_read_reply(client, 1, TERN_STATUS_OK, &reply);
        count = tern_load_u16(reply.body);
        assert_in_range(count, 1, 8 - items);
        for (unsigned i = 0; i < count; i++, items++)
            check_item(reply.body + 8 + 16 * i, items, items);
        assert_int_equal(reply.frame.flags, items < 8 ? TERN_REPLY_MORE : 0);
    }
    while (!search_has_reply(client))
        tern_worker_turn(world.worker);
    check_reply(client, 2);
    assert_int_equal(searched(), 9);
}

static void explanations_wait_too(TERN_TEST_STATE)
{
    static struct search_reply reply;

    ask(client, 1, 0, 0);
    ask(client, 2, 0, TERN_REQUEST_EXPLAIN);
    ask(client, 3, 0, TERN_REQUEST_EXPLAIN);
    for (unsigned i = 1; i <= 3; i++) {
        tern_worker_turn(world.worker);
        search_read_reply(client, i, TERN_STATUS_OK, &reply);
        assert_false(search_has_reply(client));
        assert_int_equal(searched(), i);
    }
}

static void a_client_that_ends_its_side_is_answered(TERN_TEST_STATE)
{
    uint8_t byte;

    for (unsigned i = 1; i <= 4; i++)
        ask(client, i, 0, 0);
    shutdown(client, SHUT_WR);
    for (unsigned i = 1; i <= 4; i++) {
        tern_worker_turn(world.worker);
        check_reply(client, i);
    }
    for (unsigned i = 0; i < 3; i++)
        search_turn();
    assert_int_equal(read(client, &byte, 1), 0);
}

static void a_client_goes_away_while_it_waits(TERN_TEST_STATE)
{
    for (unsigned i = 1; i <= 4; i++)
        ask(client, i, 0, 0);
    ask(other, 7, 0, 0);
    search_turn();
    check_reply(client, 1);
    close(client);
    while (!search_has_reply(other))
        tern_worker_turn(world.worker);
    check_reply(other, 7);
    for (unsigned i = 0; i < 4; i++)
        search_turn();
    assert_int_equal(world.worker->connections.open, 1);
    assert_null(world.worker->held.first);
    client = search_connect_client(); /* its slot has forgotten it all */
    ask_plainly(client, 9);
    search_turn();
    check_reply(client, 9);
}

/* Answers leave together, when none of the connection's requests waits any more or it is time. */
static void answers_are_gathered(TERN_TEST_STATE)
{
    static struct search_reply reply;

    world.server.gather_ns = UINT64_MAX;
    for (unsigned i = 1; i <= 5; i++)
        ask(client, i, 0, 0);
    for (unsigned turn = 1; turn <= 5; turn++) {
        assert_false(search_has_reply(client));
        ask_plainly(other, 100 + turn);
        tern_worker_turn(world.worker);
        search_read_reply(other, 100 + turn, TERN_STATUS_OK, &reply);
    }
    for (unsigned i = 1; i <= 5; i++)
        check_reply(client, i);
    assert_null(world.worker->dirty);

    world.server.gather_ns = 1; /* over with the next turn */
    for (unsigned i = 6; i <= 8; i++)
        ask(client, i, 0, 0);
    tern_worker_turn(world.worker);
    assert_false(search_has_reply(client));
    tern_worker_turn(world.worker);
    check_reply(client, 6);
    check_reply(client, 7);
    tern_worker_turn(world.worker);
    check_reply(client, 8);

    world.server.gather_ns = UINT64_MAX; /* nor do they keep one that goes */
    for (unsigned i = 1; i <= 5; i++)
        ask(client, i, 0, 0);
    tern_worker_turn(world.worker);
    close(client);
    for (unsigned i = 0; i < 10; i++)
        search_turn();
    assert_int_equal(world.worker->connections.open, 1);
    assert_null(world.worker->dirty);
    client = search_connect_client();
}

/* The schema that they were opened under is gone while they wait: both end, the queue goes on. */
static void a_schema_goes_while_they_wait(TERN_TEST_STATE)
{
    static struct tern_offer next; /* the loop holds on to it for another turn */
    uint8_t byte;
    int later;

    next = world.offer;
    for (unsigned i = 1; i <= 4; i++)
        ask(client, i, 0, 0);
    ask(other, 1, 0, 0);
    ask(other, 2, 0, 0);
    shutdown(other, SHUT_WR);
    search_turn();
    search_turn();
    check_reply(client, 1);
    check_reply(client, 2);
    assert_non_null(world.worker->held.first);
    next.era = 2;
    atomic_store(&world.server.offers[TERN_OFFER_CURRENT], &next);
    search_turn();
    later = search_connect_client();
    ask(later, 9, 0, 0);
    for (unsigned i = 0; i < 5; i++)
        search_turn();
    assert_null(world.worker->held.first);
    check_reply(later, 9);
    assert_int_equal(read(client, &byte, 1), 0);
    close(later);
    close(client);
    for (unsigned i = 0; i < 5; i++)
        search_turn();
    assert_int_equal(world.worker->connections.open, 0);
    atomic_store(&world.server.offers[TERN_OFFER_CURRENT], &world.offer);
    client = search_connect_client();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_connection_takes_its_share_of_each_turn),
        TEST(connections_take_turns),
        TEST(nobody_overtakes),
        TEST(what_is_not_searched_is_not_held),
        TEST(a_share_is_for_many),
        TEST(items_of_a_frame_are_spread),
        TEST(explanations_wait_too),
        TEST(a_client_that_ends_its_side_is_answered),
        TEST(a_client_goes_away_while_it_waits),
        TEST(answers_are_gathered),
        TEST(a_schema_goes_while_they_wait),
    };

    return cmocka_run_group_tests(tests, make, unmake);
}
