/* HELLO: who we are out, the server's schema in. */
#include "clients/c/client.h"

struct reader {
    const uint8_t *at;
    size_t left;
};

static const uint8_t *take(struct reader *reader, size_t length)
{
    const uint8_t *at = reader->at;

    if (length > reader->left)
        return NULL;
    reader->at += length;
    reader->left -= length;
    return at;
}

#define HELLO_HEAD  24u
#define ENTRY_BYTES 9u

/* Reads one list; with `names` NULL only counts. Ids must run from 1: lookups by id index the
 * array. */
static int read_list(struct reader *reader, struct tern_client_name *names, uint16_t *count)
{
    const uint8_t *bytes = take(reader, 2);

    if (bytes == NULL)
        return TERN_ECORRUPT;
    *count = tern_load_u16(bytes);
    for (unsigned i = 0; i < *count; i++) {
        const uint8_t *entry = take(reader, ENTRY_BYTES);
        const uint8_t *name;

        if (entry == NULL || tern_load_u16(entry) != i + 1)
            return TERN_ECORRUPT;
        name = take(reader, entry[8]);
        if (name == NULL)
            return TERN_ECORRUPT;
        if (names == NULL)
            continue;
        names[i].id = tern_load_u16(entry);
        names[i].type = entry[2];
        names[i].dim = tern_load_u32(entry + 4);
        names[i].name_length = entry[8];
        memcpy(names[i].name, name, entry[8]);
        names[i].name[entry[8]] = '\0';
    }
    return 0;
}

static int read_schema(struct tern_client *client, const uint8_t *body, size_t length,
                       struct tern_error *error)
{
    struct reader start = {body, length};
    const uint8_t *head = take(&start, HELLO_HEAD);
    struct reader reader = start;
    struct tern_client_schema schema = {0};
    struct tern_client_name *names;
    size_t total;

    if (head == NULL || read_list(&reader, NULL, &schema.field_count) != 0 ||
        read_list(&reader, NULL, &schema.table_count) != 0 ||
        read_list(&reader, NULL, &schema.collection_count) != 0)
        return tern_error_set(error, TERN_ECORRUPT, "%s: malformed HELLO reply", client->address);
    if (tern_load_u16(head) != TERN_WIRE_VERSION)
        return tern_error_set(error, TERN_EABI, "%s: the server speaks version %u, we speak %u",
                              client->address, tern_load_u16(head), TERN_WIRE_VERSION);
    schema.max_frame_bytes = tern_load_u32(head + 4);
    schema.generation = tern_load_u64(head + 8);
    schema.hash = tern_load_u64(head + 16);
    if (schema.max_frame_bytes == 0 || schema.max_frame_bytes > TERN_MAX_FRAME_LIMIT)
        return tern_error_set(error, TERN_ECORRUPT, "%s: max_frame %u, expected 1…%u",
                              client->address, schema.max_frame_bytes, TERN_MAX_FRAME_LIMIT);

    total = (size_t)schema.field_count + schema.table_count + schema.collection_count;
    names = calloc(total + 1, sizeof *names);
    if (names == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %zu names", total);
    reader = start;
    read_list(&reader, names, &schema.field_count);
    read_list(&reader, names + schema.field_count, &schema.table_count);
    read_list(&reader, names + schema.field_count + schema.table_count, &schema.collection_count);
    schema.fields = names;
    schema.tables = names + schema.field_count;
    schema.collections = schema.tables + schema.table_count;

    schema.serial = client->schema.serial;
    if (client->names != NULL && !tern_client_schema_extends(&client->schema, &schema))
        schema.serial++;
    free(client->names);
    client->names = names;
    client->schema = schema;
    return 0;
}

static int grow_buffers(struct tern_client *client)
{
    /* Replies may be larger than the requests that caused them. */
    size_t frame = tern_max_u64(client->schema.max_frame_bytes, TERN_MAX_FRAME_DEFAULT);

    if (tern_client_buffer_grow(&client->out, TERN_FRAME_HEADER + frame) != 0 ||
        tern_client_buffer_grow(&client->in, TERN_FRAME_HEADER + frame) != 0 ||
        tern_client_buffer_grow(&client->reply, frame) != 0)
        return TERN_ENOMEM;
    return 0;
}

int tern_client_hello(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error)
{
    struct tern_client_slot *slot = tern_client_slot_take(client);
    uint8_t body[TERN_HELLO_MAX];
    size_t token_length = strlen(client->token), name_length = strlen(client->name);
    struct tern_frame frame = {.magic = TERN_WIRE_MAGIC, .op = TERN_OP_HELLO};
    int code;

    if (slot == NULL)
        return tern_error_set(error, TERN_EAGAIN, "%u results wait: collect one first",
                              client->in_flight);
    tern_store_u16(body, TERN_WIRE_VERSION);
    body[2] = (uint8_t)token_length;
    memcpy(body + 3, client->token, token_length);
    body[3 + token_length] = (uint8_t)name_length;
    memcpy(body + 4 + token_length, client->name, name_length);
    frame.body_length = (uint32_t)(4 + token_length + name_length);
    frame.request_id = slot->id;

    client->schema.max_frame_bytes = TERN_MAX_FRAME_DEFAULT;
    client->reply.end = 0;
    client->reply_overflow = false;
    code = tern_client_put(client, frame, NULL, body, deadline_ns, error);
    if (code == 0)
        code = tern_client_await(client, slot, deadline_ns, error);
    else
        tern_client_slot_free(client, slot);
    if (code != 0)
        return code;
    code = client->reply_overflow
               ? tern_error_set(error, TERN_ECORRUPT, "HELLO reply too large")
               : read_schema(client, client->reply.data, client->reply.end, error);
    if (code == 0 && grow_buffers(client) != 0)
        code = tern_error_set(error, TERN_ENOMEM, "no memory for frames of %u bytes",
                              client->schema.max_frame_bytes);
    return code;
}
