#include "tests/unit/scripted_server.h"

#include "shared/schema.h"
#include "shared/verdict.h"
#include "shared/wire.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

static void answer_hello(struct scripted_server *server, int fd, uint32_t id)
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
static bool answer(struct scripted_server *server, int fd, struct tern_frame frame,
                   const uint8_t *body)
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
    struct scripted_server *server = context;
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

void scripted_server_listen(struct scripted_server *server)
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

void scripted_server_hang_up(struct scripted_server *server)
{
    shutdown(server->listener, SHUT_RDWR);
    if (server->connection >= 0)
        shutdown(server->connection, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
}
