/* A client's life: open, stay connected, close. */
#include "clients/c/client.h"
#include "shared/clock.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull
/* After this long without a byte, a look at the socket comes first: a server that closed an idle
 * connection, or was replaced, costs a reconnect then and not a failed call. */
#define STALE_NS (100 * NS_PER_MS)

uint64_t tern_client_deadline_ns(const struct tern_client *client)
{
    return tern_clock_now_ns() + client->options.call_timeout_ms * NS_PER_MS;
}

static uint64_t next_random(struct tern_client *client)
{
    /* xorshift64 (Marsaglia 2003): only spreads reconnects of many clients. */
    client->random ^= client->random << 13;
    client->random ^= client->random >> 7;
    client->random ^= client->random << 17;
    return client->random;
}

static int connect_now(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error)
{
    uint64_t limit = tern_clock_now_ns() + client->options.connect_timeout_ms * NS_PER_MS;
    int code;

    limit = tern_min_u64(limit, deadline_ns);
    code = tern_client_dial(client->address, limit, &client->fd, error);
    if (code != 0)
        return code;
    client->going_away = false;
    client->active_ns = tern_clock_now_ns();
    code = tern_client_hello(client, limit, error);
    if (code != 0)
        tern_client_break(client, code, "could not introduce itself");
    return code;
}

static void pause_until(uint64_t at_ns)
{
    struct timespec at = {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* Doubles the pause and takes a random part of it between half and whole. */
static void back_off(struct tern_client *client)
{
    uint64_t last = client->options.backoff_last_ms * NS_PER_MS;
    uint64_t pause = client->backoff_ns;

    client->attempt_ns = tern_clock_now_ns() + pause / 2 + next_random(client) % (pause / 2 + 1);
    client->backoff_ns = tern_min_u64(pause * 2, last);
}

static int reconnect(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error)
{
    struct tern_error last = {.message = "the pause after a failed attempt"};
    struct tern_error failure = {0};
    bool has_tried = false;

    for (;;) {
        int code;

        if (client->attempt_ns >= deadline_ns) {
            pause_until(deadline_ns);
            return tern_error_set(error, TERN_EUNREACHABLE,
                                  "%s: not reachable within the call's timeout: %s",
                                  client->address, last.message);
        }
        pause_until(client->attempt_ns);
        code = connect_now(client, deadline_ns, &failure);
        if (code == 0) {
            client->attempt_ns = 0;
            client->backoff_ns = client->options.backoff_first_ms * NS_PER_MS;
            return 0;
        }
        back_off(client);
        /* An attempt that the call's own end cuts off says less than the one before it. */
        if (code != TERN_ETIMEDOUT || !has_tried)
            last = failure;
        has_tried = true;
        /* Waiting does not help against these. */
        if (code == TERN_EINVAL || code == TERN_EACCES || code == TERN_EABI ||
            code == TERN_ECORRUPT || code == TERN_ENOMEM)
            return tern_error_set(error, code, "%s", last.message);
    }
}

int tern_client_ensure(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error)
{
    if (client->fd >= 0 && client->in_flight == 0 && client->out.end == 0 &&
        tern_clock_now_ns() - client->active_ns > STALE_NS)
        tern_client_poll(client, NULL); /* breaks it when it is closed */
    if (client->fd >= 0 && !client->going_away)
        return 0;
    if (client->fd >= 0) {
        if (client->in_flight != 0)
            return tern_error_set(error, TERN_EAGAIN,
                                  "the server is going away: collect the %u in flight first",
                                  client->in_flight);
        tern_client_break(client, TERN_ECLOSED, "the server went away");
    }
    return reconnect(client, deadline_ns, error);
}

static void set_default(uint32_t *value, uint32_t normal)
{
    if (*value == 0)
        *value = normal;
}

static int take_options(struct tern_client *client, const struct tern_client_options *options,
                        struct tern_error *error)
{
    if (options != NULL)
        client->options = *options;
    if (client->options.pipeline > TERN_CLIENT_SLOTS_MAX)
        return tern_error_set(error, TERN_EINVAL, "pipeline %u: expected 1…%u",
                              client->options.pipeline, TERN_CLIENT_SLOTS_MAX);
    for (int i = 0; i < 2; i++) {
        const char *text = i == 0 ? client->options.token : client->options.name;
        char *copy = i == 0 ? client->token : client->name;
        size_t length = text == NULL ? 0 : strlen(text);
        size_t most = i == 0 ? TERN_CLIENT_TOKEN_MAX : TERN_CLIENT_NAME_MAX;

        if (length > most)
            return tern_error_set(error, TERN_EINVAL, "%s: at most %zu bytes, not %zu",
                                  i == 0 ? "token" : "name", most, length);
        memcpy(copy, length == 0 ? "" : text, length + 1);
    }
    client->options.token = client->options.name = NULL; /* the caller's memory */
    set_default(&client->options.connect_timeout_ms, 1000);
    set_default(&client->options.call_timeout_ms, 1000);
    set_default(&client->options.backoff_first_ms, 10);
    set_default(&client->options.backoff_last_ms, 1000);
    set_default(&client->options.pipeline, 256);
    client->backoff_ns = client->options.backoff_first_ms * NS_PER_MS;
    return 0;
}

int tern_client_open(const char *address, const struct tern_client_options *options,
                     struct tern_client **client, struct tern_error *error)
{
    struct tern_client *opened = calloc(1, sizeof *opened);
    int code;

    if (opened == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for a client");
    opened->fd = -1;
    opened->random = tern_clock_now_ns() ^ ((uint64_t)getpid() << 32) ^ (uintptr_t)opened;
    opened->random |= 1; /* xorshift's one forbidden state is 0 */
    code = take_options(opened, options, error);
    if (code == 0) {
        opened->address = strdup(address);
        if (opened->address == NULL || tern_client_slots_new(opened) != 0 ||
            tern_client_buffer_grow(&opened->out, TERN_FRAME_HEADER + TERN_HELLO_MAX) != 0 ||
            tern_client_buffer_grow(&opened->in, TERN_FRAME_HEADER + TERN_MAX_FRAME_DEFAULT) != 0 ||
            tern_client_buffer_grow(&opened->reply, TERN_MAX_FRAME_DEFAULT) != 0)
            code = tern_error_set(error, TERN_ENOMEM, "no memory for a client's buffers");
    }
    if (code == 0)
        code = connect_now(
            opened, tern_clock_now_ns() + opened->options.connect_timeout_ms * NS_PER_MS, error);
    if (code != 0) {
        tern_client_close(opened);
        return code;
    }
    *client = opened;
    return 0;
}

void tern_client_close(struct tern_client *client)
{
    if (client == NULL)
        return;
    if (client->fd >= 0)
        close(client->fd);
    free(client->out.data);
    free(client->in.data);
    free(client->reply.data);
    free(client->slots);
    free(client->names);
    free(client->address);
    free(client);
}

void tern_client_set_timeout(struct tern_client *client, uint32_t call_timeout_ms)
{
    client->options.call_timeout_ms = call_timeout_ms;
}

int tern_client_fd(const struct tern_client *client)
{
    return client->fd;
}

unsigned tern_client_status(const struct tern_client *client)
{
    return client->status;
}

const struct tern_client_schema *tern_client_schema(const struct tern_client *client)
{
    return &client->schema;
}

int tern_client_field(const struct tern_client *client, const char *name)
{
    return tern_client_names_find(client->schema.fields, client->schema.field_count, name);
}

int tern_client_table(const struct tern_client *client, const char *name)
{
    return tern_client_names_find(client->schema.tables, client->schema.table_count, name);
}

int tern_client_collection(const struct tern_client *client, const char *name)
{
    return tern_client_names_find(client->schema.collections, client->schema.collection_count,
                                  name);
}
