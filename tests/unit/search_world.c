#include "tests/unit/search_world.h"

#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a server without its process ---- */

struct search_world world;

static const char *const labels[] = {"fraud", "spam", "ok"};

static void fill_collection(void)
{
    struct tern_graph_shape shape = {.dim = SEARCH_DIM,
                                     .metric = TERN_METRIC_L2,
                                     .quantize = TERN_QUANTIZE_INT8,
                                     .m = 8,
                                     .capacity = 2 * SEARCH_VECTORS,
                                     .columns = {{"label", TERN_TYPE_STRING},
                                                 {"tenant", TERN_TYPE_U32},
                                                 {"time", TERN_TYPE_U64}},
                                     .column_count = 3};
    struct tern_graph_parameters parameters = {
        .ef_search = 64, .ef_construct = 64, .full_scan = 10000};
    uint64_t random = 3;

    tern_graph_object_make(&world.object, &shape, &parameters);
    for (unsigned i = 0; i < SEARCH_VECTORS; i++) {
        float *vector = &world.vectors[(size_t)i * SEARCH_DIM];
        const char *label = labels[i % 3];
        struct tern_graph_value payload[3] = {
            {.present = i % 5 != 0, .string = {label, (uint32_t)strlen(label)}},
            {.present = true, .u64 = i % 7},
            {.present = true, .u64 = i * 1000ull}};

        tern_graph_object_vector(&random, SEARCH_DIM, 4, vector);
        assert_int_equal(tern_graph_put(world.object.graph, 1000 + i, i + 1, vector, payload, NULL),
                         0);
    }
    tern_graph_link(world.object.graph);
}

/* An envelope and one root, of which only what adoption reads is true. */
static void make_arena(void)
{
    struct tern_envelope *envelope;
    struct tern_root *root;

    world.arena_bytes =
        mmap(NULL, 2 * TERN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(world.arena_bytes, MAP_FAILED);
    envelope = (struct tern_envelope *)(void *)world.arena_bytes;
    root = (struct tern_root *)(void *)(world.arena_bytes + TERN_PAGE);
    envelope->size = 2 * TERN_PAGE;
    envelope->high_water = 2 * TERN_PAGE;
    envelope->epoch = 1;
    envelope->roots[0].abi = TERN_SNAPSHOT_ABI;
    envelope->roots[0].offset = TERN_PAGE;
    root->seq = 1;
    world.arena = (struct tern_arena){.base = world.arena_bytes, .size = 2 * TERN_PAGE, .fd = -1};
}

void search_describe(unsigned id, const char *name)
{
    struct tern_schema_collection *collection = &world.schema.collections[id - 1];

    *collection = (struct tern_schema_collection){.id = (uint16_t)id,
                                                  .metric = TERN_METRIC_L2,
                                                  .dim = SEARCH_DIM,
                                                  .name_length = (uint8_t)strlen(name)};
    memcpy(collection->name, name, strlen(name));
    world.schema.schema.collection_count = (uint16_t)id;
}

static void make_offer(void)
{
    search_describe(1, "docs");
    search_describe(2, "later"); /* which has no object yet */
    world.settings = (struct tern_settings){.workers = 1,
                                            .idle_us = 60000000,
                                            .half_frame_us = 60000000,
                                            .deadline_us = 60000000,
                                            .max_frame_bytes = 1 << 16,
                                            .connections = 100};
    assert_int_equal(
        tern_collection_open(&world.collections[1], world.object.memory, world.object.length, NULL),
        0);
    world.view = (struct tern_view){.root_offset = TERN_PAGE,
                                    .seq = 1,
                                    .generation = 7,
                                    .schema = &world.schema.schema,
                                    .settings = &world.settings,
                                    .collections = world.collections,
                                    .collection_count = 2};
    world.offer = (struct tern_offer){
        .arena = &world.arena, .view = &world.view, .era = 1, .rooms = world.rooms};
    world.offer.scratches = calloc(SEARCH_SCRATCHES + 1, sizeof *world.offer.scratches);
    assert_non_null(world.offer.scratches);
    for (unsigned i = 0; i < SEARCH_SCRATCHES; i++)
        assert_int_equal(tern_search_scratch_new(&world.offer.scratches[i],
                                                 world.collections[1].capacity, SEARCH_DIM),
                         0);
}

void search_make_server(unsigned helper_count, uint64_t search_turn_ns)
{
    struct tern_server *server = &world.server;
    struct tern_error error = {.message = ""};

    *server = (struct tern_server){.settings = world.settings,
                                   .backend = &tern_backend_epoll,
                                   .worker_count = 1,
                                   .helper_count = helper_count,
                                   .search_turn_ns = search_turn_ns};
    server->seat = mmap(NULL, sizeof *server->seat, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(server->seat, MAP_FAILED);
    server->workers = aligned_alloc(TERN_CACHE_LINE, sizeof *server->workers);
    assert_non_null(server->workers);
    memset(server->workers, 0, sizeof *server->workers);
    atomic_store(&server->offers[TERN_OFFER_CURRENT], &world.offer);
    assert_int_equal(tern_helpers_prepare(server, &error), 0);
    world.worker = server->workers;
    assert_int_equal(tern_worker_prepare(world.worker, server, 0, &error), 0);
    assert_int_equal(server->backend->open(world.worker, &error), 0);
}

void search_turn(void)
{
    uint64_t one = 1;

    assert_int_equal(write(world.worker->wake_fd, &one, sizeof one), sizeof one);
    tern_worker_turn(world.worker);
}

bool search_helper_turn(void)
{
    return tern_helper_turn(&world.server.helpers[0]);
}

void search_end_server(void)
{
    struct tern_server *server = &world.server;

    assert_int_equal(world.worker->park.outstanding, 0);
    assert_int_equal(world.worker->pool.total_bytes, world.worker->pool.kept_bytes);
    assert_int_equal(world.worker->connections.open, 0);
    server->backend->close(world.worker);
    tern_worker_free(world.worker);
    tern_helpers_free(server);
    free(server->workers);
    munmap(server->seat, sizeof *server->seat);
}

int search_make_world(TERN_TEST_STATE)
{
    fill_collection();
    make_arena();
    make_offer();
    return 0;
}

int search_free_world(TERN_TEST_STATE)
{
    for (unsigned i = 0; i < SEARCH_SCRATCHES; i++)
        tern_search_scratch_free(world.offer.scratches[i]);
    free(world.offer.scratches);
    tern_graph_object_free(&world.object);
    munmap(world.arena_bytes, 2 * TERN_PAGE);
    return 0;
}

/* ---- a client ---- */

int search_connect_client(void)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    tern_worker_accepted(world.worker, ends[1]);
    return ends[0];
}

void search_close_client(int client)
{
    close(client);
    for (unsigned i = 0; i < 10 && world.worker->connections.open > 0; i++)
        search_turn();
}

struct search_body search_body_of(unsigned collection, unsigned k, unsigned flags,
                                  const float *vector, const char *filter)
{
    struct search_body body;
    size_t length = filter == NULL ? 0 : strlen(filter);

    memset(&body, 0, sizeof body);
    tern_store_u16(body.bytes, (uint16_t)collection);
    tern_store_u16(body.bytes + 2, (uint16_t)k);
    tern_store_u16(body.bytes + 6, (uint16_t)flags);
    memcpy(body.bytes + 8, vector, 4 * SEARCH_DIM);
    body.length = 8 + 4 * SEARCH_DIM;
    if (filter != NULL) {
        tern_store_u16(body.bytes + body.length, (uint16_t)length);
        memcpy(body.bytes + body.length + 2, filter, length);
        body.length += 2 + length;
    }
    return body;
}

void search_send_frame(int client, enum tern_op op, uint32_t id, uint32_t deadline_us,
                       const void *body, size_t length)
{
    struct tern_frame frame = {.magic = TERN_WIRE_MAGIC,
                               .op = (uint8_t)op,
                               .body_length = (uint32_t)length,
                               .request_id = id,
                               .tail = deadline_us};
    uint8_t bytes[sizeof frame + sizeof(struct search_body)];

    memcpy(bytes, &frame, sizeof frame);
    if (length > 0)
        memcpy(bytes + sizeof frame, body, length);
    assert_int_equal(write(client, bytes, sizeof frame + length), sizeof frame + length);
}

void search_ask(int client, uint32_t id, uint32_t deadline_us, const struct search_body *body)
{
    search_send_frame(client, TERN_OP_SEARCH, id, deadline_us, body->bytes, body->length);
}

bool search_has_reply(int client)
{
    uint8_t byte;

    return recv(client, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

void search_read_reply(int client, uint32_t id, enum tern_status status, struct search_reply *reply)
{
    assert_int_equal(read(client, &reply->frame, sizeof reply->frame), sizeof reply->frame);
    assert_in_range(reply->frame.body_length, 0, sizeof reply->body - 1);
    if (reply->frame.body_length > 0)
        assert_int_equal(read(client, reply->body, reply->frame.body_length),
                         reply->frame.body_length);
    reply->body[reply->frame.body_length] = '\0';
    if (reply->frame.status != status)
        fail_msg("request %u: status %u, not %u: %s", reply->frame.request_id, reply->frame.status,
                 status, reply->frame.status != 0 ? (const char *)reply->body : "");
    assert_int_equal(reply->frame.request_id, id);
}

/* ---- what is right ---- */

void search_check_hits(const struct search_reply *reply, const float *query, unsigned k)
{
    struct tern_search_hit expected[SEARCH_VECTORS];
    struct tern_search_reply head;

    tern_graph_object_nearest(TERN_METRIC_L2, SEARCH_DIM, world.vectors, SEARCH_VECTORS, query, k,
                              expected);
    memcpy(&head, reply->body, sizeof head);
    assert_int_equal(head.count, k < SEARCH_VECTORS ? k : SEARCH_VECTORS);
    assert_int_equal(head.columns, 0);
    assert_int_equal(reply->frame.body_length,
                     sizeof head + head.count * sizeof(struct tern_search_reply_hit));
    for (unsigned i = 0; i < head.count; i++) {
        struct tern_search_reply_hit hit;

        memcpy(&hit, reply->body + sizeof head + i * sizeof hit, sizeof hit);
        assert_int_equal(hit.id, 1000 + expected[i].id);
        assert_true(fabsf(hit.score - expected[i].score) < 1e-3f);
    }
    assert_int_equal(reply->frame.tail, 7);
}

const float *search_some_query(unsigned number)
{
    static float query[SEARCH_DIM];

    for (unsigned i = 0; i < SEARCH_DIM; i++)
        query[i] = world.vectors[(number * 7 % SEARCH_VECTORS) * SEARCH_DIM + i] + 0.01f * (float)i;
    return query;
}
