/* SEARCH: the nearest vectors, and their payload. */
#include "clients/c/client.h"

#define FILTER_MAX 4096u /* bytes the server takes */

struct tern_search_body {
    size_t length;
    uint8_t bytes[TERN_SEARCH_HEAD + TERN_DIM_MAX * sizeof(float) + 2 + FILTER_MAX];
};

static int build(const struct tern_client_search *search, struct tern_search_body *body,
                 struct tern_error *error)
{
    size_t filter_length = search->filter == NULL ? 0 : strlen(search->filter);
    uint8_t *at = body->bytes + TERN_SEARCH_HEAD;

    if (search->dim > TERN_DIM_MAX)
        return tern_error_set(error, TERN_EINVAL, "a vector has at most %u dimensions, not %u",
                              TERN_DIM_MAX, search->dim);
    if (search->k < 1 || search->k > UINT16_MAX || search->ef > UINT16_MAX)
        return tern_error_set(error, TERN_EINVAL, "k is 1 to 1000, ef at most 4096");
    if (filter_length > FILTER_MAX)
        return tern_error_set(error, TERN_EINVAL, "a filter is at most %u bytes, not %zu",
                              FILTER_MAX, filter_length);
    tern_store_u16(body->bytes, (uint16_t)search->collection);
    tern_store_u16(body->bytes + 2, (uint16_t)search->k);
    tern_store_u16(body->bytes + 4, (uint16_t)search->ef);
    tern_store_u16(body->bytes + 6, search->flags);
    if (search->dim > 0)
        memcpy(at, search->vector, search->dim * sizeof(float));
    at += search->dim * sizeof(float);
    if (search->filter != NULL) {
        tern_store_u16(at, (uint16_t)filter_length);
        memcpy(at + 2, search->filter, filter_length);
        at += 2 + filter_length;
    }
    body->length = (size_t)(at - body->bytes);
    return 0;
}

/* Walks what follows the hits, which has to be whole. */
static bool check_payload(struct tern_client *client, unsigned count, unsigned columns, size_t at)
{
    const uint8_t *data = client->reply.data;
    size_t end = client->reply.end;

    client->payload_names = (uint32_t)at;
    for (unsigned c = 0; c < columns; c++) {
        if (end - at < 2 || end - at - 2 < data[at + 1])
            return false;
        at += 2 + (size_t)data[at + 1];
    }
    client->payload_values = (uint32_t)at;
    for (uint64_t i = 0; i < (uint64_t)count * columns; i++) {
        if (end - at < 3 || end - at - 3 < tern_load_u16(data + at + 1))
            return false;
        at += 3 + (size_t)tern_load_u16(data + at + 1);
    }
    return true;
}

int tern_client_search(struct tern_client *client, const struct tern_client_search *search,
                       struct tern_client_hit *hits, unsigned *count, struct tern_error *error)
{
    struct tern_frame frame = {.op = TERN_OP_SEARCH, .tail = search->deadline_us};
    struct tern_search_body body;
    struct tern_search_reply head;
    size_t at = sizeof head;
    int code;

    if (search->collection < 1 || search->collection > client->schema.collection_count)
        return tern_error_set(error, TERN_ENOENT, "there is no collection %d", search->collection);
    code = build(search, &body, error);
    if (code != 0)
        return code;
    frame.body_length = (uint32_t)body.length;
    code = tern_client_exchange(client, frame, body.bytes, error);
    if (code != 0)
        return code;
    if (client->reply.end < sizeof head)
        return tern_client_malformed(client, "SEARCH", error);
    memcpy(&head, client->reply.data, sizeof head);
    if (head.count > search->k ||
        client->reply.end - at < head.count * sizeof(struct tern_search_reply_hit))
        return tern_client_malformed(client, "SEARCH", error);
    if (!check_payload(client, head.count, head.columns,
                       at + head.count * sizeof(struct tern_search_reply_hit)))
        return tern_client_malformed(client, "SEARCH", error);
    for (unsigned i = 0; i < head.count; i++, at += sizeof(struct tern_search_reply_hit)) {
        struct tern_search_reply_hit hit;

        memcpy(&hit, client->reply.data + at, sizeof hit);
        hits[i] = (struct tern_client_hit){.id = hit.id, .score = hit.score};
    }
    client->hit_count = head.count;
    client->payload_columns = head.columns;
    *count = head.count;
    return 0;
}

unsigned tern_client_payload_columns(const struct tern_client *client)
{
    return client->payload_columns;
}

int tern_client_payload_name(const struct tern_client *client, unsigned column, const char **name,
                             size_t *length)
{
    const uint8_t *at = client->reply.data + client->payload_names;

    if (column >= client->payload_columns)
        return TERN_EINVAL;
    for (; column > 0; column--)
        at += 2 + (size_t)at[1];
    *name = (const char *)at + 2;
    *length = at[1];
    return 0;
}

int tern_client_payload(const struct tern_client *client, unsigned hit, unsigned column,
                        struct tern_client_column *value)
{
    const uint8_t *at = client->reply.data + client->payload_values;

    if (hit >= client->hit_count || column >= client->payload_columns)
        return TERN_EINVAL;
    for (uint64_t i = (uint64_t)hit * client->payload_columns + column; i > 0; i--)
        at += 3 + (size_t)tern_load_u16(at + 1);
    *value = (struct tern_client_column){
        .type = at[0], .length = tern_load_u16(at + 1), .value = at + 3};
    return 0;
}
