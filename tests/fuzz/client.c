/* What a server sends, into libtern: HELLO's schema, then replies to a pipeline of requests.
 *
 * The input is the server's side of a connection, cut in two parts: the reply to HELLO (only its
 * body: the header is right, or every input would end there), and everything after. */
#include "tests/fuzz/fuzz.h"

#include "clients/c/client.h"
#include "shared/schema.h"

#include <sys/socket.h>
#include <unistd.h>

#define REQUESTS 4u
#define ITEMS    3u

/* A client as tern_client_open leaves it before HELLO, with the test as its server. */
static struct tern_client *make_client(int fd)
{
    struct tern_client *client = calloc(1, sizeof *client);

    FUZZ_CHECK(client != NULL);
    client->fd = fd;
    client->options.pipeline = 8;
    client->options.call_timeout_ms = client->options.connect_timeout_ms = 1;
    client->options.backoff_first_ms = client->options.backoff_last_ms = 1;
    client->address = strdup("nowhere"); /* a broken connection stays broken */
    FUZZ_CHECK(tern_client_slots_new(client) == 0 &&
               tern_client_buffer_grow(&client->out, 1 << 16) == 0 &&
               tern_client_buffer_grow(&client->in, 1 << 16) == 0 &&
               tern_client_buffer_grow(&client->reply, 1 << 16) == 0);
    return client;
}

static void send_all(int fd, const void *bytes, size_t size)
{
    FUZZ_CHECK(size == 0 || send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
}

static void check_schema(const struct tern_client *client)
{
    const struct tern_client_schema *schema = tern_client_schema(client);

    for (unsigned i = 0; i < schema->field_count; i++)
        FUZZ_CHECK(strlen(schema->fields[i].name) <= 255);
    tern_client_field(client, "ip");
    tern_client_table(client, "nets");
}

/* Puts a request together from what the schema says there is. */
static void fill_request(struct tern_request *request, const struct tern_client *client)
{
    const struct tern_client_schema *schema = tern_client_schema(client);

    for (unsigned item = 0; item < ITEMS; item++) {
        tern_item_add(request);
        for (int id = 1; id <= (int)schema->field_count && id < 5; id++)
            if (schema->fields[id - 1].type == TERN_TYPE_STRING)
                tern_item_set_string(request, id, "10.0.0.1", 8);
    }
}

/* One search, whose reply is what follows; everything it returns is looked at. */
static void search(struct tern_client *client)
{
    static const float vector[3];
    const struct tern_client_search asked = {.collection = 1,
                                             .dim = TERN_COUNT(vector),
                                             .vector = vector,
                                             .k = 5,
                                             .flags = TERN_SEARCH_PAYLOAD,
                                             .filter = "x == 1"};
    struct tern_client_hit hits[5];
    struct tern_client_column value;
    struct tern_error error;
    unsigned count, sum = 0;
    const char *name;
    size_t length;

    if (tern_client_search(client, &asked, hits, &count, &error) != 0)
        return;
    FUZZ_CHECK(count <= asked.k);
    for (unsigned column = 0; tern_client_payload_name(client, column, &name, &length) == 0;
         column++) {
        FUZZ_CHECK(column < tern_client_payload_columns(client));
        for (size_t i = 0; i < length; i++)
            sum += (uint8_t)name[i];
        for (unsigned hit = 0; hit < count; hit++) {
            FUZZ_CHECK(tern_client_payload(client, hit, column, &value) == 0);
            for (size_t i = 0; i < value.length; i++)
                sum += value.value[i];
        }
    }
    FUZZ_CHECK(sum < UINT32_MAX); /* all of it was read */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    size_t hello_bytes = fuzz_take(&input, 2) & 0x1fff;
    uint8_t flags = (uint8_t)fuzz_take(&input, 1);
    struct tern_decision decisions[REQUESTS][ITEMS];
    struct tern_request *request = NULL;
    struct tern_client *client;
    struct tern_error error;
    struct tern_frame frame = {.magic = TERN_WIRE_MAGIC, .op = TERN_OP_HELLO};
    uint8_t header[TERN_FRAME_HEADER];
    int ends[2];

    hello_bytes = tern_min_u64(hello_bytes, input.left);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    client = make_client(ends[0]);
    frame.body_length = (uint32_t)hello_bytes;
    frame.request_id = 1u << TERN_CLIENT_SLOT_BITS; /* the first slot's first use */
    tern_frame_store(header, frame);
    send_all(ends[1], header, sizeof header);
    send_all(ends[1], input.at, hello_bytes);
    if (tern_client_hello(client, UINT64_MAX, &error) != 0) {
        /* it is no tern, or has nothing to serve */
    } else if (flags & 0x80) {
        send_all(ends[1], input.at + hello_bytes, input.left - hello_bytes);
        shutdown(ends[1], SHUT_WR);
        search(client);
    } else {
        const struct tern_call call = {.flags = flags & TERN_REQUEST_DETAIL};
        uint32_t ids[REQUESTS];
        unsigned sent = 0;

        check_schema(client);
        if (tern_request_new(client, 4096, &request) == 0) {
            fill_request(request, client);
            while (sent < REQUESTS && tern_client_submit(client, request, &call, decisions[sent],
                                                         &ids[sent], &error) == 0)
                sent++;
        }
        send_all(ends[1], input.at + hello_bytes, input.left - hello_bytes);
        shutdown(ends[1], SHUT_WR);
        for (unsigned i = 0; i < sent; i++) {
            int code = flags & 1 ? tern_client_collect(client, ids[i], &error)
                                 : tern_client_collect_any(client, &ids[i], &error);

            for (unsigned k = 0; code == 0 && k < ITEMS; k++)
                FUZZ_CHECK(decisions[i][k].answered || (flags & 1) == 0);
        }
    }
    tern_request_free(request);
    tern_client_close(client);
    close(ends[1]);
    return 0;
}
