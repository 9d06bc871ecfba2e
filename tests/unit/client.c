/* libtern against a scripted server on a Unix socket: the value of `user` says what the server
 * does. */
#include "tests/unit/unit.h"

#include "clients/c/tern.h"
#include "shared/schema.h"
#include "tests/unit/folder.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum script {
    ANSWER = 0,
    SPLIT,     /* two frames, items in reverse */
    CLOSE,     /* close without an answer */
    REFUSE,    /* BAD_FIELD with a message */
    SILENT,    /* keep it, answer it together with the next one, later first */
    GO_AWAY,   /* GOAWAY, then the answer */
    TWICE,     /* an item twice */
    SHORT,     /* an item too few */
    CLOSE_ONE, /* close the first time, answer the second */
};

struct server {
    int listener;
    pthread_t thread;
    char directory[FOLDER_PATH];
    char address[80];
    _Atomic int hellos;
    _Atomic int decides;
    _Atomic uint16_t schema; /* 0: three fields; 1: one more; 2: other names */
    _Atomic uint8_t hello_status;
    _Atomic int connection; /* −1: none; shut down when a test ends in the middle */
    bool closed_one;
    uint32_t held_id;
    unsigned held_count;
};

static bool read_exactly(int fd, void *into, size_t length)
{
    while (length > 0) {
        ssize_t got = read(fd, into, length);

        if (got <= 0)
            return false;
        into = (uint8_t *)into + got;
        length -= (size_t)got;
    }
    return true;
}

static void write_frame(int fd, struct tern_frame frame, const void *body)
{
    static _Thread_local uint8_t bytes[1 << 17];

    frame.magic = TERN_WIRE_MAGIC;
    tern_frame_store(bytes, frame);
    if (body != NULL)
        memcpy(bytes + TERN_FRAME_HEADER, body, frame.body_length);
    if (send(fd, bytes, TERN_FRAME_HEADER + frame.body_length, MSG_NOSIGNAL) < 0)
        return; /* the client has gone: its own test says whether that was right */
}

static size_t put_name(uint8_t *at, unsigned id, unsigned type, unsigned dim, const char *name)
{
    tern_store_u16(at, (uint16_t)id);
    at[2] = (uint8_t)type;
    at[3] = 0;
    tern_store_u32(at + 4, dim);
    at[8] = (uint8_t)strlen(name);
    memcpy(at + 9, name, strlen(name));
    return 9 + strlen(name);
}

static void answer_hello(struct server *server, int fd, uint32_t id)
{
    unsigned schema = server->schema;
    uint8_t body[512] = {TERN_WIRE_VERSION};
    size_t length = 24;

    if (server->hello_status != 0) {
        write_frame(fd,
                    (struct tern_frame){.op = TERN_OP_HELLO,
                                        .status = server->hello_status,
                                        .request_id = id,
                                        .body_length = 4},
                    "soon");
        return;
    }
    tern_store_u32(body + 4, 1 << 16);
    tern_store_u64(body + 8, 7);
    tern_store_u64(body + 16, 0x1234 + schema);
    tern_store_u16(body + length, schema == 1 ? 5 : 4);
    length += 2;
    length += put_name(body + length, 1, TERN_TYPE_IP, 0, schema == 2 ? "address" : "ip");
    length += put_name(body + length, 2, TERN_TYPE_STRING, 0, "host");
    length += put_name(body + length, 3, TERN_TYPE_U64, 0, "user");
    length += put_name(body + length, 4, TERN_TYPE_VECTOR, 3, "vector");
    if (schema == 1)
        length += put_name(body + length, 5, TERN_TYPE_BOOL, 0, "added");
    tern_store_u16(body + length, 1);
    length += 2;
    length += put_name(body + length, 1, TERN_TYPE_IP, 0, "nets");
    tern_store_u16(body + length, 0);
    length += 2;
    write_frame(
        fd,
        (struct tern_frame){
            .op = TERN_OP_HELLO, .request_id = id, .tail = 7, .body_length = (uint32_t)length},
        body);
}

/* Items from, from + step, …: item i is answered by rule i + 1. */
static void answer_decide(int fd, uint32_t id, int from, int step, unsigned count, bool more,
                          bool detail)
{
    static _Thread_local uint8_t body[8 + 32 * TERN_ITEMS_MAX];
    size_t length = 8;

    tern_store_u16(body, (uint16_t)count);
    for (unsigned i = 0; i < count; i++) {
        int at = from + step * (int)i;
        struct tern_decide_item item = {.item = (uint16_t)at,
                                        .action = TERN_DENY,
                                        .tier = 1,
                                        .max_age_s = 30,
                                        .rule = (uint32_t)at + 1,
                                        .score = 0.5f};
        struct tern_decide_detail rest = {.decision_key = 99, .age_ms = 5, .cause = 2};

        memcpy(body + length, &item, sizeof item);
        length += sizeof item;
        if (detail) {
            memcpy(body + length, &rest, sizeof rest);
            length += sizeof rest;
        }
    }
    write_frame(fd,
                (struct tern_frame){.op = TERN_OP_DECIDE,
                                    .flags = more ? TERN_REPLY_MORE : 0,
                                    .request_id = id,
                                    .tail = 7,
                                    .body_length = (uint32_t)length},
                body);
}

/* The `user` of the first item, 0 when it has none. */
static uint64_t script_of(const uint8_t *body, size_t length)
{
    for (size_t at = 4; at + 3 <= length; at += 3u + tern_load_u16(body + at + 1))
        if (body[at] == 3)
            return tern_load_u64(body + at + 3);
    return 0;
}

/* False: close the connection. */
static bool answer(struct server *server, int fd, struct tern_frame frame, const uint8_t *body)
{
    unsigned count = tern_load_u16(body);
    int last = (int)count - 1;
    bool detail = (frame.flags & TERN_REQUEST_DETAIL) != 0;
    uint32_t id = frame.request_id;

    if (frame.flags & TERN_REQUEST_EXPLAIN) {
        write_frame(fd,
                    (struct tern_frame){.op = 3, .flags = 1, .request_id = id, .body_length = 5},
                    "{\"a\":");
        write_frame(fd, (struct tern_frame){.op = 3, .request_id = id, .body_length = 2}, "1}");
        return true;
    }
    server->decides++;
    switch ((enum script)script_of(body, frame.body_length)) {
    case ANSWER:
        answer_decide(fd, id, 0, 1, count, false, detail);
        if (server->held_id != 0)
            answer_decide(fd, server->held_id, 0, 1, server->held_count, false, false);
        server->held_id = 0;
        break;
    case SPLIT:
        answer_decide(fd, id, last, -1, count / 2, true, detail);
        answer_decide(fd, id, last - (int)(count / 2), -1, count - count / 2, false, detail);
        break;
    case CLOSE:
        return false;
    case CLOSE_ONE:
        server->closed_one = !server->closed_one;
        if (server->closed_one)
            return false;
        answer_decide(fd, id, 0, 1, count, false, detail);
        break;
    case REFUSE:
        write_frame(fd,
                    (struct tern_frame){.op = TERN_OP_DECIDE,
                                        .status = TERN_STATUS_BAD_FIELD,
                                        .request_id = id,
                                        .body_length = 10},
                    "field user");
        break;
    case SILENT:
        server->held_id = id;
        server->held_count = count;
        break;
    case GO_AWAY:
        write_frame(fd, (struct tern_frame){.op = TERN_OP_GOAWAY, .body_length = 8},
                    "\1\0\0\0bye!");
        answer_decide(fd, id, 0, 1, count, false, detail);
        break;
    case TWICE:
        answer_decide(fd, id, 0, 0, count, false, detail);
        break;
    case SHORT:
        answer_decide(fd, id, 0, 1, count - 1, false, detail);
        break;
    }
    return true;
}

static void answer_lookup(int fd, struct tern_frame frame, const uint8_t *body)
{
    bool hit = frame.body_length == 8 && tern_load_u16(body) == 1 && body[4] == 10;

    if (hit)
        write_frame(fd,
                    (struct tern_frame){.op = 4, .request_id = frame.request_id, .body_length = 16},
                    "\2\0\0\0\10\4\0\7\0\0\0\2\2\0de");
    else
        write_frame(fd, (struct tern_frame){.op = 4, .status = 9, .request_id = frame.request_id},
                    NULL);
}

static void answer_describe(int fd, struct tern_frame frame, const uint8_t *body)
{
    struct tern_describe_reply head = {.total = 3, .first = tern_load_u32(body), .count = 2};
    uint8_t reply[16 + 10] = {0};

    memcpy(reply, &head, sizeof head);
    memcpy(reply + 16, "\0\3own\1\3bad", 10);
    write_frame(
        fd,
        (struct tern_frame){.op = 9, .request_id = frame.request_id, .tail = 7, .body_length = 26},
        reply);
}

static void *serve(void *context)
{
    static uint8_t body[1 << 16];
    struct server *server = context;
    int fd;

    while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
        struct tern_frame frame;
        bool open = true;

        server->connection = fd;
        server->held_id = 0;
        while (open && read_exactly(fd, &frame, sizeof frame) && frame.body_length <= sizeof body &&
               read_exactly(fd, body, frame.body_length)) {
            if (frame.op == TERN_OP_HELLO) {
                server->hellos++;
                answer_hello(server, fd, frame.request_id);
            } else if (frame.op == TERN_OP_DECIDE) {
                open = answer(server, fd, frame, body);
            } else if (frame.op == TERN_OP_LOOKUP) {
                answer_lookup(fd, frame, body);
            } else if (frame.op == TERN_OP_DESCRIBE) {
                answer_describe(fd, frame, body);
            } else if (frame.op == TERN_OP_CANCEL && frame.body_length == 4 &&
                       tern_load_u32(body) == server->held_id) {
                write_frame(fd,
                            (struct tern_frame){.op = TERN_OP_DECIDE,
                                                .status = TERN_STATUS_CANCELLED,
                                                .request_id = server->held_id},
                            NULL);
                write_frame(fd, (struct tern_frame){.op = frame.op, .request_id = frame.request_id},
                            NULL);
                server->held_id = 0;
            } else {
                write_frame(fd, (struct tern_frame){.op = frame.op, .request_id = frame.request_id},
                            NULL);
            }
        }
        server->connection = -1;
        close(fd);
    }
    return NULL;
}

static void listen_at(struct server *server)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    snprintf(name.sun_path, sizeof name.sun_path, "%s/s", server->directory);
    unlink(name.sun_path);
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server->listener >= 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(server->listener, 8), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static int start(void **state)
{
    static struct server server;

    server = (struct server){.connection = -1};
    assert_int_equal(folder_make(server.directory), 0);
    snprintf(server.address, sizeof server.address, "unix://%s/s", server.directory);
    listen_at(&server);
    *state = &server;
    return 0;
}

static void hang_up(struct server *server)
{
    shutdown(server->listener, SHUT_RDWR);
    if (server->connection >= 0)
        shutdown(server->connection, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
}

static int stop(void **state)
{
    struct server *server = *state;

    hang_up(server);
    return folder_remove(server->directory);
}

struct pair {
    struct tern_client *client;
    struct tern_request *request;
};

static struct pair open_pair(struct server *server, const struct tern_client_options *options)
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
    assert_int_equal(((struct server *)*state)->hellos, 1);
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
    assert_int_equal(((struct server *)*state)->hellos, 1);
    close_pair(pair);
}

static void a_broken_connection_is_reported_and_made_anew(void **state)
{
    struct server *server = *state;
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
    assert_int_equal(((struct server *)*state)->decides, 2);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, CLOSE, 1), NULL, &decision, NULL),
                     TERN_ECLOSED);
    assert_int_equal(((struct server *)*state)->decides, 4);
    close_pair(pair);
}

static void a_server_that_is_gone_is_waited_for_within_the_timeout(void **state)
{
    struct server *server = *state;
    struct tern_client_options options = {.call_timeout_ms = 5000, .backoff_last_ms = 20};
    struct pair pair = open_pair(server, &options);
    struct tern_decision decision;
    struct tern_error error;

    assert_int_equal(tern_client_decide(pair.client, ask(pair, CLOSE, 1), NULL, &decision, NULL),
                     TERN_ECLOSED);
    hang_up(server);
    tern_client_set_timeout(pair.client, 50);
    assert_int_equal(tern_client_decide(pair.client, ask(pair, ANSWER, 1), NULL, &decision, &error),
                     TERN_EUNREACHABLE);
    tern_client_set_timeout(pair.client, 5000);
    server->hello_status = TERN_STATUS_NOT_READY;
    listen_at(server);
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
    struct server *server = *state;
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
    struct server *server = *state;
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
    assert_int_equal(((struct server *)*state)->hellos, 1);
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
