/* Vectors through the control API: libtern's writer and raw messages over a real socket, the real
 * store and thread behind it, doubles of the graph and the pipeline. */
#include "tests/unit/collections_world.h"

#include "clients/c/control.h"
#include "clients/c/tern_vectors.h"
#include "controlplane/message.h"
#include "shared/proto/tern.pb-c.h"
#include "shared/schema.h"
#include "tests/unit/control_thread.h"

#include <math.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct control_thread control;
static char address[128];
static struct tern_collection_place docs;

static int start_api(void **state)
{
    struct tern_collection_spec spec;

    if (set_up(state) != 0)
        return 1;
    pipeline_double_reset();
    control_thread_open(&control, state_directory, wake_fd);
    start();
    spec = make_spec(DIM, 5000);
    spec.shape.columns[2] = (struct tern_graph_column){"good", TERN_TYPE_BOOL};
    spec.shape.columns[3] = (struct tern_graph_column){"time", TERN_TYPE_U64};
    spec.shape.columns[4] = (struct tern_graph_column){"delta", TERN_TYPE_I64};
    spec.shape.columns[5] = (struct tern_graph_column){"weight", TERN_TYPE_F32};
    spec.shape.column_count = 6;
    docs = serve(&spec);
    control_thread_serve(&control, collections);
    snprintf(address, sizeof address, "unix://%s/%s", state_directory, TERN_CONTROL_SOCKET);
    return 0;
}

static int stop_api(void **state)
{
    graph_double_hold(false);
    control_thread_stop(&control);
    stop();
    return tear_down(state);
}

static struct tern_vectors *open_writer(uint32_t in_flight)
{
    const struct tern_vectors_options options = {.timeout_ms = 20000, .in_flight = in_flight};
    struct tern_vectors *writer = NULL;
    struct tern_error error;

    if (tern_vectors_open(address, "docs", &options, &writer, &error) != 0)
        fail_msg("%s", error.message);
    return writer;
}

static struct tern_vectors_ack collect_from(struct tern_vectors *writer)
{
    struct tern_vectors_ack ack = {0};
    struct tern_error error;

    if (tern_vectors_collect(writer, &ack, &error) != 0)
        fail_msg("%s", error.message);
    return ack;
}

/* --- The writer --- */

static void what_is_acknowledged_is_there(TERN_TEST_STATE)
{
    struct tern_vectors *writer = open_writer(0);
    const struct tern_vectors_collection *shape = tern_vectors_collection(writer);
    const struct tern_vectors_value payload[6] = {{.present = true, .string = {"späm", 5}},
                                                  {.present = true, .u64 = UINT32_MAX},
                                                  {.present = true, .u64 = 1},
                                                  {.present = true, .u64 = UINT64_MAX},
                                                  {.present = true, .i64 = -5},
                                                  {.present = true, .f32 = -0.5f}};
    const struct tern_vectors_value little[6] = {{.present = false}, {.present = true, .u64 = 3}};
    const float values[2][DIM] = {{1, 2, 3, 4}, {-5, 6e10f, 7, 8}};
    const struct tern_vectors_item vectors[3] = {
        {7, values[0], payload}, {UINT64_MAX, values[1], NULL}, {9, values[1], little}};
    const uint64_t ids[] = {7, 8, 9};
    const struct graph_double_entry *entry;
    struct tern_vectors_ack ack;
    struct tern_error error;
    uint64_t ticket = 0, expected_bits = 0;
    float weight = -0.5f;

    assert_int_equal(shape->dim, DIM);
    assert_int_equal(shape->capacity, 5000);
    assert_string_equal(shape->metric, "l2");
    assert_int_equal(shape->column_count, 6);
    assert_string_equal(shape->columns[4].name, "delta");
    assert_int_equal(shape->columns[4].type, TERN_TYPE_I64);
    assert_int_equal(tern_vectors_collect(writer, &ack, &error), TERN_ENOENT);
    assert_false(tern_vectors_waiting(writer));
    assert_int_equal(tern_vectors_upsert(writer, vectors, 3, &ticket, &error), 0);
    assert_int_equal(ticket, 1);
    assert_int_equal(tern_vectors_in_flight(writer), 1);
    ack = collect_from(writer);
    assert_int_equal(ack.rc, 0);
    assert_int_equal(ack.ticket, 1);
    assert_int_equal(ack.written, 3);
    assert_int_equal(ack.seq, 3);
    entry = graph_double_find(docs.object, 7);
    assert_non_null(entry);
    assert_true(entry->first == 1 && entry->last == 4);
    assert_string_equal(entry->values[0].text, "späm");
    assert_int_equal(entry->values[1].number, UINT32_MAX);
    assert_int_equal(entry->values[2].number, 1);
    assert_true(entry->values[3].number == UINT64_MAX);
    assert_true((int64_t)entry->values[4].number == -5);
    memcpy(&expected_bits, &weight, sizeof weight);
    assert_true((uint32_t)entry->values[5].number == expected_bits);
    entry = graph_double_find(docs.object, UINT64_MAX);
    for (unsigned i = 0; i < 6; i++)
        assert_false(entry->values[i].present);
    entry = graph_double_find(docs.object, 9);
    assert_false(entry->values[0].present);
    assert_int_equal(entry->values[1].number, 3);
    assert_int_equal(tern_vectors_delete(writer, ids, 3, &ticket, &error), 0);
    ack = collect_from(writer);
    assert_int_equal(ack.rc, 0);
    assert_int_equal(ack.removed, 2);
    assert_null(graph_double_find(docs.object, 7));
    assert_int_equal(tern_vectors_delete(writer, ids, 3, &ticket, &error), 0);
    ack = collect_from(writer);
    assert_int_equal(ack.removed, 0);
    assert_int_equal(ack.seq, 0); /* nothing to change */
    tern_vectors_close(writer);
}

static void batches_are_in_flight_together(TERN_TEST_STATE)
{
    struct tern_vectors *writer = open_writer(32);
    struct tern_vectors_item vectors[10];
    float values[10][DIM] = {{0}};
    uint64_t ticket = 0, next = 1;
    struct tern_error error;

    for (unsigned batch = 0; batch < 200; batch++) {
        int rc;

        for (unsigned i = 0; i < 10; i++) {
            values[i][0] = (float)(batch * 10 + i);
            vectors[i] = (struct tern_vectors_item){batch * 10 + i, values[i], NULL};
        }
        while ((rc = tern_vectors_upsert(writer, vectors, 10, &ticket, &error)) == TERN_EAGAIN) {
            assert_int_equal(tern_vectors_in_flight(writer), 32);
            assert_true(collect_from(writer).ticket == next++);
        }
        assert_int_equal(rc, 0);
    }
    while (tern_vectors_in_flight(writer) != 0) {
        struct tern_vectors_ack ack = collect_from(writer);

        assert_int_equal(ack.rc, 0);
        assert_true(ack.ticket == next++);
    }
    assert_int_equal(next, 201);
    for (uint64_t id = 0; id < 2000; id++)
        assert_true(graph_double_find(docs.object, id)->first == (float)id);
    tern_vectors_close(writer);
}

static void refusals_name_their_reason(TERN_TEST_STATE)
{
    struct tern_vectors *writer = open_writer(0), *other = NULL;
    float values[2][DIM] = {{1, 2, 3, 4}, {1, INFINITY, 3, 4}};
    struct tern_vectors_item vectors[TERN_VECTORS_BATCH_MAX + 1];
    const struct tern_vectors_value payload[6] = {{.present = false},
                                                  {.present = true, .u64 = 1ull << 32}};
    struct tern_vectors_ack ack;
    struct tern_error error;

    for (unsigned i = 0; i < TERN_COUNT(vectors); i++)
        vectors[i] = (struct tern_vectors_item){i, values[0], NULL};
    vectors[2].values = values[1];
    assert_int_equal(tern_vectors_upsert(writer, vectors, 3, NULL, &error), 0);
    ack = collect_from(writer);
    assert_int_equal(ack.rc, TERN_EINVAL);
    assert_int_equal(ack.refused, 3);
    assert_string_equal(ack.message, "id 2: value 1 is not finite");
    vectors[2].values = values[0];
    vectors[1].payload = payload;
    assert_int_equal(tern_vectors_upsert(writer, vectors, 3, NULL, &error), 0);
    ack = collect_from(writer);
    assert_int_equal(ack.refused, 2);
    assert_string_equal(ack.message, "id 1: payload tenant is a u32, 4294967296 is too large");
    vectors[1].payload = NULL;
    assert_null(graph_double_find(docs.object, 0)); /* nothing of it was written */
    assert_int_equal(tern_vectors_upsert(writer, vectors, 0, NULL, &error), TERN_ELIMIT);
    assert_int_equal(tern_vectors_upsert(writer, vectors, TERN_VECTORS_BATCH_MAX + 1, NULL, &error),
                     TERN_ELIMIT);
    for (unsigned filled = 0; filled < 5000; filled += 1000) {
        for (unsigned i = 0; i < 1000; i++)
            vectors[i].id = filled + i;
        assert_int_equal(tern_vectors_upsert(writer, vectors, 1000, NULL, &error), 0);
        assert_int_equal(collect_from(writer).rc, 0);
    }
    vectors[0].id = 5000;
    assert_int_equal(tern_vectors_upsert(writer, vectors, 1, NULL, &error), 0);
    ack = collect_from(writer);
    assert_int_equal(ack.rc, TERN_ENOSPC);
    assert_non_null(strstr(ack.message, "collection docs is full"));
    assert_int_equal(tern_vectors_open(address, "dogs", NULL, &other, &error), TERN_ENOENT);
    assert_string_equal(error.message, "there is no collection 'dogs'; there are: docs");
    assert_int_equal(tern_vectors_open("tcp://127.0.0.1:1", "docs", NULL, &other, &error),
                     TERN_EINVAL);
    assert_int_equal(
        tern_vectors_open("unix:///nowhere/control.sock", "docs", NULL, &other, &error),
        TERN_EUNREACHABLE);
    tern_vectors_close(writer);
}

/* --- Raw messages --- */

static int dial(void)
{
    struct tern_error error;
    int fd = -1;

    if (tern_directory_connect(state_directory, TERN_CONTROL_SOCKET, &fd, &error) != 0)
        fail_msg("%s", error.message);
    return fd;
}

static void send_request(int fd, const Tern__Control__Request *request)
{
    struct tern_buffer out = {0};

    assert_int_equal(tern_message_append(&out, &request->base), 0);
    for (size_t sent = 0; sent < out.length;) {
        struct pollfd polled = {.fd = fd, .events = POLLOUT};
        ssize_t bytes = send(fd, out.data + sent, out.length - sent, MSG_NOSIGNAL);

        if (bytes > 0)
            sent += (size_t)bytes;
        else
            assert_int_equal(poll(&polled, 1, 10000), 1);
    }
    tern_buffer_free(&out);
}

static void receive_all(int fd, uint8_t *bytes, size_t length)
{
    for (size_t got = 0; got < length;) {
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        ssize_t more = recv(fd, bytes + got, length - got, 0);

        assert_int_not_equal(more, 0);
        if (more > 0)
            got += (size_t)more;
        else
            assert_int_equal(poll(&polled, 1, 10000), 1);
    }
}

static Tern__Control__Reply *hear(int fd)
{
    uint8_t header[4], *body;
    Tern__Control__Reply *reply;
    uint32_t length;

    receive_all(fd, header, sizeof header);
    length = tern_load_u32(header);
    body = malloc(length + 1);
    receive_all(fd, body, length);
    reply = tern__control__reply__unpack(NULL, length, body);
    free(body);
    assert_non_null(reply);
    return reply;
}

static void expect_refusal(int fd, Tern__Control__Upsert *upsert, int code, const char *message)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__Reply *reply;

    upsert->ticket++;
    request.body_case = TERN__CONTROL__REQUEST__BODY_UPSERT;
    request.upsert = upsert;
    send_request(fd, &request);
    reply = hear(fd);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_ACKNOWLEDGEMENT);
    assert_true(reply->acknowledgement->ticket == upsert->ticket);
    assert_string_equal(reply->acknowledgement->message, message);
    assert_int_equal(reply->acknowledgement->code, code);
    tern__control__reply__free_unpacked(reply, NULL);
}

static void malformed_messages_are_refused(TERN_TEST_STATE)
{
    Tern__Control__Upsert upsert = TERN__CONTROL__UPSERT__INIT;
    Tern__Control__PayloadColumn column = TERN__CONTROL__PAYLOAD_COLUMN__INIT,
                                 *columns[2] = {&column, &column};
    uint64_t ids[2] = {1, 2}, numbers[2] = {5, 6};
    float vectors[2 * DIM] = {0}, floats[2] = {1, 2};
    uint8_t present[2] = {3, 0};
    int fd = dial();

    upsert.collection = (char *)(uintptr_t) "docs";
    expect_refusal(fd, &upsert, TERN_ELIMIT, "a batch has 1 to 1024 ids, not 0");
    upsert.ids = ids;
    upsert.n_ids = 2;
    expect_refusal(fd, &upsert, TERN_EINVAL,
                   "collection docs has vectors of 4 values: 2 ids take 32 bytes, not 0");
    upsert.vectors = (ProtobufCBinaryData){31, (uint8_t *)vectors};
    expect_refusal(fd, &upsert, TERN_EINVAL,
                   "collection docs has vectors of 4 values: 2 ids take 32 bytes, not 31");
    upsert.vectors.len = 32;
    upsert.payload = columns;
    upsert.n_payload = 1;
    column.name = (char *)(uintptr_t) "colour";
    expect_refusal(fd, &upsert, TERN_EINVAL, "collection docs has no payload 'colour'");
    column.name = (char *)(uintptr_t) "tenant";
    expect_refusal(fd, &upsert, TERN_EINVAL,
                   "payload tenant has 0 values for 2 ids; `present` says which count");
    column.floats = floats;
    column.n_floats = 2;
    expect_refusal(fd, &upsert, TERN_EINVAL,
                   "payload tenant is a u32: its values belong into `numbers`");
    column.n_floats = 0;
    column.numbers = numbers;
    column.n_numbers = 2;
    column.present = (ProtobufCBinaryData){2, present};
    expect_refusal(fd, &upsert, TERN_EINVAL,
                   "payload tenant: `present` has 2 bytes, a bit for each of 2 ids is 1");
    column.present.len = 1;
    upsert.n_payload = 2;
    expect_refusal(fd, &upsert, TERN_EINVAL, "payload tenant is given twice");
    upsert.n_payload = 1;
    upsert.collection = (char *)(uintptr_t) "dogs";
    expect_refusal(fd, &upsert, TERN_ENOENT, "there is no collection 'dogs'; there are: docs");
    assert_null(graph_double_find(docs.object, 1));
    /* and what is right is still taken */
    upsert.collection = (char *)(uintptr_t) "docs";
    present[0] = 2;
    expect_refusal(fd, &upsert, 0, "");
    assert_false(graph_double_find(docs.object, 1)->values[1].present);
    assert_int_equal(graph_double_find(docs.object, 2)->values[1].number, 6);
    close(fd);
}

/* Someone who sends without reading, and someone who goes, delay nobody. */
static void silent_clients_delay_nobody(TERN_TEST_STATE)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__StatusRequest status = TERN__CONTROL__STATUS_REQUEST__INIT;
    struct tern_vectors *silent = open_writer(32), *gone = open_writer(32), *busy;
    static float values[DIM] = {1};
    struct tern_vectors_item vectors[100];
    struct tern_error error;
    int fd;

    graph_double_hold(true);
    for (unsigned batch = 0; batch < 32; batch++) {
        for (unsigned i = 0; i < 100; i++)
            vectors[i] = (struct tern_vectors_item){i, values, NULL};
        assert_int_equal(tern_vectors_upsert(silent, vectors, 100, NULL, &error), 0);
        for (unsigned i = 0; i < 100; i++)
            vectors[i].id = 1000 + i;
        assert_int_equal(tern_vectors_upsert(gone, vectors, 100, NULL, &error), 0);
    }
    tern_vectors_close(gone);
    fd = dial();
    request.body_case = TERN__CONTROL__REQUEST__BODY_STATUS;
    request.status = &status;
    send_request(fd, &request);
    tern__control__reply__free_unpacked(hear(fd), NULL);
    close(fd);
    graph_double_hold(false);
    busy = open_writer(1);
    for (uint64_t id = 3000; id < 3050; id++) {
        struct tern_vectors_item vector = {id, values, NULL};

        assert_int_equal(tern_vectors_upsert(busy, &vector, 1, NULL, &error), 0);
        assert_int_equal(collect_from(busy).rc, 0);
        assert_non_null(graph_double_find(docs.object, id));
    }
    for (unsigned batch = 0; batch < 32; batch++)
        assert_int_equal(collect_from(silent).rc, 0);
    assert_non_null(graph_double_find(docs.object, 99));
    tern_vectors_close(busy);
    tern_vectors_close(silent);
}

/* --- Messages made by hand --- */

static void messages_by_hand_are_protobuf(TERN_TEST_STATE)
{
    struct tern_vectors_collection shape = {
        .dim = 3,
        .column_count = 4,
        .columns = {{"label", TERN_TYPE_STRING},
                    {"time", TERN_TYPE_U64},
                    {"delta", TERN_TYPE_I64},
                    {"weight", TERN_TYPE_F32}},
    };
    uint64_t seed = 8;

    for (unsigned round = 0; round < 300; round++) {
        unsigned count = 1 + (unsigned)(tern_test_random(&seed) % 50);
        struct tern_control_buffer out = {0};
        struct tern_vectors_value payload[50][4];
        struct tern_vectors_item vectors[50];
        Tern__Control__Request *request;
        float values[50][3];
        char text[200];
        size_t frame = 0;

        memset(text, 'z', sizeof text);
        for (unsigned i = 0; i < count; i++) {
            for (unsigned j = 0; j < 4; j++)
                payload[i][j] = (struct tern_vectors_value){.present = tern_test_random(&seed) & 1,
                                                            .u64 = tern_test_random(&seed)};
            payload[i][0].string.bytes = text;
            payload[i][0].string.length = (uint32_t)(tern_test_random(&seed) % sizeof text);
            payload[i][3].f32 = (float)i;
            values[i][0] = values[i][1] = values[i][2] = (float)tern_test_random(&seed);
            vectors[i] = (struct tern_vectors_item){tern_test_random(&seed), values[i],
                                                    round % 3 == 0 ? NULL : payload[i]};
        }
        assert_int_equal(tern_control_put_upsert(&out, &shape, "docs", round, vectors, count), 0);
        assert_int_equal(tern_control_peek(out.data, out.length, &frame), 0);
        assert_int_equal(frame, out.length);
        request = tern__control__request__unpack(NULL, frame - 4, out.data + 4);
        assert_non_null(request);
        assert_int_equal(request->body_case, TERN__CONTROL__REQUEST__BODY_UPSERT);
        assert_string_equal(request->upsert->collection, "docs");
        assert_int_equal(request->upsert->ticket, round);
        assert_int_equal(request->upsert->n_ids, count);
        assert_int_equal(request->upsert->vectors.len, count * 12);
        assert_memory_equal(request->upsert->vectors.data, values, count * 12);
        for (size_t c = 0; c < request->upsert->n_payload; c++) {
            const Tern__Control__PayloadColumn *column = request->upsert->payload[c];
            unsigned index = 0;

            while (strcmp(shape.columns[index].name, column->name) != 0)
                index++;
            for (unsigned i = 0; i < count; i++) {
                const struct tern_vectors_value *value = &payload[i][index];

                assert_int_equal(column->present.data[i / 8] >> (i % 8) & 1, value->present);
                if (!value->present)
                    continue;
                if (index == 0)
                    assert_int_equal(column->strings[i].len, value->string.length);
                else if (index == 1)
                    assert_true(column->numbers[i] == value->u64);
                else if (index == 2)
                    assert_true(column->integers[i] == value->i64);
                else
                    assert_true(column->floats[i] == value->f32);
            }
        }
        for (unsigned i = 0; i < count; i++)
            assert_true(request->upsert->ids[i] == vectors[i].id);
        tern__control__request__free_unpacked(request, NULL);
        free(out.data);
    }
}

static void replies_by_hand_survive_anything(TERN_TEST_STATE)
{
    uint64_t seed = 77;

    for (unsigned round = 0; round < 20000; round++) {
        Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
        Tern__Control__Acknowledgement ack = TERN__CONTROL__ACKNOWLEDGEMENT__INIT;
        struct tern_control_reply read;
        struct tern_buffer out = {0};

        ack.ticket = tern_test_random(&seed);
        ack.code = -(int)(tern_test_random(&seed) % 20);
        ack.written = (uint32_t)tern_test_random(&seed);
        ack.message = (char *)(uintptr_t) "a message";
        reply.body_case = TERN__CONTROL__REPLY__BODY_ACKNOWLEDGEMENT;
        reply.acknowledgement = &ack;
        assert_int_equal(tern_message_append(&out, &reply.base), 0);
        assert_int_equal(tern_control_read(out.data + 4, out.length - 4, &read), 0);
        assert_int_equal(read.kind, TERN_CONTROL_ACKNOWLEDGEMENT);
        assert_true(read.ack.ticket == ack.ticket && read.ack.rc == ack.code &&
                    read.ack.written == ack.written);
        assert_string_equal(read.ack.message, "a message");
        for (unsigned flip = 0; flip < 4; flip++) {
            size_t at = 4 + tern_test_random(&seed) % (out.length - 4);
            uint8_t *tight;

            out.data[at] ^= (uint8_t)(1u << tern_test_random(&seed) % 8);
            /* a block of its own: a byte too far is noticed by sanitizers */
            tight = malloc(at);
            memcpy(tight, out.data + 4, at - 4);
            (void)tern_control_read(tight, at - 4, &read);
            free(tight);
            (void)tern_control_read(out.data + 4, out.length - 4, &read);
        }
        tern_buffer_free(&out);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_api, stop_api)
    const struct CMUnitTest tests[] = {
        TEST(what_is_acknowledged_is_there),
        TEST(batches_are_in_flight_together),
        TEST(refusals_name_their_reason),
        TEST(malformed_messages_are_refused),
        TEST(silent_clients_delay_nobody),
        cmocka_unit_test(messages_by_hand_are_protobuf),
        cmocka_unit_test(replies_by_hand_survive_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
