/* The blocking operations: one request, one reply, within the call's timeout. */
#include "clients/c/client.h"

int tern_client_decide(struct tern_client *client, const struct tern_request *request,
                       const struct tern_call *call, struct tern_decision *decisions,
                       struct tern_error *error)
{
    uint64_t deadline_ns = tern_client_deadline_ns(client);
    int tries = client->options.retry ? 2 : 1;
    int code = TERN_ECLOSED;

    while (tries-- > 0 && code == TERN_ECLOSED) {
        struct tern_client_slot *slot;

        code = tern_client_start(client, request, call, decisions, deadline_ns, &slot, error);
        if (code == 0)
            code = tern_client_await(client, slot, deadline_ns, error);
    }
    return code;
}

int tern_client_exchange(struct tern_client *client, struct tern_frame frame, const void *body,
                         struct tern_error *error)
{
    uint64_t deadline_ns = tern_client_deadline_ns(client);
    int tries = client->options.retry ? 2 : 1;
    int code = TERN_ECLOSED;

    frame.magic = TERN_WIRE_MAGIC;
    while (tries-- > 0 && code == TERN_ECLOSED) {
        struct tern_client_slot *slot;

        code = tern_client_ensure(client, deadline_ns, error);
        if (code != 0)
            return code;
        slot = tern_client_slot_take(client);
        if (slot == NULL)
            return tern_error_set(error, TERN_EAGAIN,
                                  "%u requests are in flight: collect one first",
                                  client->in_flight);
        frame.request_id = slot->id;
        client->reply.end = 0;
        client->reply_overflow = false;
        client->hit_count = client->payload_columns = 0;
        code = tern_client_put(client, frame, NULL, body, deadline_ns, error);
        if (code == 0)
            code = tern_client_await(client, slot, deadline_ns, error);
        else
            tern_client_slot_free(client, slot);
    }
    if (code == 0 && client->reply_overflow)
        code = tern_error_set(error, TERN_ELIMIT, "the reply is over %zu bytes",
                              client->reply.capacity);
    return code;
}

int tern_client_malformed(struct tern_client *client, const char *what, struct tern_error *error)
{
    return tern_error_set(error, TERN_ECORRUPT, "%s: malformed %s reply", client->address, what);
}

int tern_client_explain(struct tern_client *client, const struct tern_request *request,
                        const char **json, size_t *length, struct tern_error *error)
{
    struct tern_frame frame = {
        .op = TERN_OP_DECIDE, .flags = TERN_REQUEST_EXPLAIN, .body_length = request->length};
    int code = tern_client_ensure(client, tern_client_deadline_ns(client), error);

    if (code == 0)
        code = tern_request_check(request, &client->schema, error);
    if (code == 0)
        code = tern_client_exchange(client, frame, request->data, error);
    if (code != 0)
        return code;
    *json = (const char *)client->reply.data;
    *length = client->reply.end;
    return 0;
}

int tern_client_ping(struct tern_client *client, struct tern_error *error)
{
    return tern_client_exchange(client, (struct tern_frame){.op = TERN_OP_PING}, NULL, error);
}

int tern_client_lookup(struct tern_client *client, int table, const void *key, size_t key_length,
                       struct tern_client_column *columns, unsigned capacity, unsigned *count,
                       struct tern_error *error)
{
    struct tern_frame frame = {.op = TERN_OP_LOOKUP};
    uint8_t body[4 + TERN_STRING_MAX];
    const uint8_t *at, *end;
    unsigned total;
    int code;

    if (table < 1 || table > client->schema.table_count)
        return tern_error_set(error, TERN_ENOENT, "there is no table %d", table);
    if (key_length > TERN_STRING_MAX)
        return tern_error_set(error, TERN_ELIMIT, "a key is at most %u bytes, not %zu",
                              TERN_STRING_MAX, key_length);
    tern_store_u16(body, (uint16_t)table);
    tern_store_u16(body + 2, (uint16_t)key_length);
    if (key_length != 0)
        memcpy(body + 4, key, key_length);
    frame.body_length = (uint32_t)(4 + key_length);
    code = tern_client_exchange(client, frame, body, error);
    if (code != 0)
        return code;

    at = client->reply.data;
    end = at + client->reply.end;
    if (end - at < 4)
        return tern_client_malformed(client, "LOOKUP", error);
    total = tern_load_u16(at);
    at += 4;
    for (unsigned i = 0; i < total; i++) {
        struct tern_client_column column;

        if (end - at < 3)
            return tern_client_malformed(client, "LOOKUP", error);
        column.type = at[0];
        column.length = tern_load_u16(at + 1);
        column.value = at + 3;
        if (end - column.value < column.length)
            return tern_client_malformed(client, "LOOKUP", error);
        at = column.value + column.length;
        if (i < capacity)
            columns[i] = column;
    }
    *count = total;
    return 0;
}

/* What is left of a reply. */
struct rest {
    const uint8_t *at, *end;
};

/* Asks DESCRIBE for what `body` names; the head of the reply is copied out. */
static int describe(struct tern_client *client, const void *body, uint32_t body_length, void *head,
                    size_t head_length, struct rest *rest, struct tern_error *error)
{
    struct tern_frame frame = {.op = TERN_OP_DESCRIBE, .body_length = body_length};
    int code = tern_client_exchange(client, frame, body, error);

    if (code != 0)
        return code;
    if (client->reply.end < head_length)
        return tern_client_malformed(client, "DESCRIBE", error);
    memcpy(head, client->reply.data, head_length);
    rest->at = client->reply.data + head_length;
    rest->end = client->reply.data + client->reply.end;
    return 0;
}

/* The next code and name, terminated in `name`: its length, or TERN_ECORRUPT if there is none that
 * fits. */
static int take_named(struct rest *rest, uint8_t *code, char *name, size_t name_size)
{
    const uint8_t *at = rest->at;
    size_t left = (size_t)(rest->end - at);

    if (left < 2 || left - 2 < at[1] || at[1] >= name_size)
        return TERN_ECORRUPT;
    *code = at[0];
    memcpy(name, at + 2, at[1]);
    name[at[1]] = '\0';
    rest->at = at + 2 + at[1];
    return at[1];
}

int tern_client_describe_collection(struct tern_client *client, int collection,
                                    struct tern_client_collection *out, struct tern_error *error)
{
    struct tern_client_collection found = {0};
    struct tern_describe_collection head;
    uint8_t body[3] = {TERN_DESCRIBE_COLLECTION};
    struct rest rest = {0};
    int code;

    if (collection < 1 || collection > client->schema.collection_count)
        return tern_error_set(error, TERN_ENOENT, "there is no collection %d", collection);
    tern_store_u16(body + 1, (uint16_t)collection);
    code = describe(client, body, sizeof body, &head, sizeof head, &rest, error);
    if (code != 0)
        return code;
    if (head.columns > TERN_COUNT(found.columns))
        return tern_client_malformed(client, "DESCRIBE", error);
    found.id = head.id;
    found.metric = head.metric;
    found.quantize = head.quantize;
    found.dim = head.dim;
    found.capacity = head.capacity;
    found.vectors = head.vectors;
    found.ef = head.ef;
    found.column_count = head.columns;
    for (unsigned i = 0; i < head.columns; i++)
        if (take_named(&rest, &found.columns[i].type, found.columns[i].name,
                       sizeof found.columns[i].name) < 0)
            return tern_client_malformed(client, "DESCRIBE", error);
    *out = found;
    return 0;
}

int tern_client_describe(struct tern_client *client, uint32_t first, struct tern_client_rule *rules,
                         uint32_t capacity, struct tern_client_page *page, struct tern_error *error)
{
    struct tern_describe_reply head;
    struct rest rest = {0};
    uint32_t count;
    int code = describe(client, &first, sizeof first, &head, sizeof head, &rest, error);

    if (code != 0)
        return code;
    count = head.count < capacity ? head.count : capacity;
    for (uint32_t i = 0; i < count; i++) {
        int length = take_named(&rest, &rules[i].action, rules[i].name, sizeof rules[i].name);

        if (length < 0)
            return tern_client_malformed(client, "DESCRIBE", error);
        rules[i].index = head.first + i;
        rules[i].name_length = (uint8_t)length;
    }
    *page = (struct tern_client_page){head.total, client->reply_generation, count};
    return 0;
}
