/* Items to bytes: the body of DECIDE, built in place. */
#include "clients/c/client.h"

#include "shared/schema.h"

#define ITEM_BYTES_MAX    UINT16_MAX /* an item's length is u16 */
#define FIELD_HEAD        3u         /* u8 id, u16 length */
#define REQUEST_BYTES_MIN 64u

int tern_request_new(const struct tern_client *client, uint32_t capacity_bytes,
                     struct tern_request **request)
{
    return tern_request_new_for(&client->schema, capacity_bytes, request);
}

int tern_request_new_for(const struct tern_client_schema *schema, uint32_t capacity_bytes,
                         struct tern_request **request)
{
    struct tern_request *made;

    if (capacity_bytes == 0)
        capacity_bytes = schema->max_frame_bytes;
    if (capacity_bytes < REQUEST_BYTES_MIN)
        capacity_bytes = REQUEST_BYTES_MIN;
    made = malloc(sizeof *made + capacity_bytes);
    if (made == NULL)
        return TERN_ENOMEM;
    made->schema = schema;
    made->capacity = capacity_bytes;
    tern_request_reset(made);
    *request = made;
    return 0;
}

void tern_request_free(struct tern_request *request)
{
    free(request);
}

void tern_request_reset(struct tern_request *request)
{
    request->serial = request->schema->serial;
    request->length = 2; /* the count */
    request->item = 0;
    request->count = 0;
    request->failure = 0;
    tern_store_u16(request->data, 0);
}

int tern_request_check(const struct tern_request *request, const struct tern_client_schema *schema,
                       struct tern_error *error)
{
    if (request->serial != schema->serial)
        return tern_error_set(error, TERN_EABI,
                              "the server's schema has changed: look ids up and reset the request");
    if (request->failure != 0)
        return tern_error_set(error, request->failure, "item %u, field %d: %s",
                              request->failure_item, request->failure_field,
                              tern_error_text(request->failure));
    if (request->count == 0)
        return tern_error_set(error, TERN_EINVAL, "the request has no item");
    return 0;
}

int tern_request_body(const struct tern_request *request, const struct tern_client_schema *schema,
                      const uint8_t **body, size_t *length, struct tern_error *error)
{
    int code = tern_request_check(request, schema, error);

    if (code != 0)
        return code;
    *body = request->data;
    *length = request->length;
    return 0;
}

unsigned tern_request_count(const struct tern_request *request)
{
    return request->count;
}

static int fail(struct tern_request *request, int field, int code)
{
    if (request->failure == 0) {
        request->failure = code;
        request->failure_item = request->count == 0 ? 0 : (uint16_t)(request->count - 1);
        request->failure_field = field;
    }
    return code;
}

int tern_item_add(struct tern_request *request)
{
    if (request->count == TERN_ITEMS_MAX || request->capacity - request->length < 2)
        return fail(request, 0, TERN_ELIMIT);
    request->item = request->length;
    tern_store_u16(request->data + request->item, 0);
    request->length += 2;
    request->count++;
    tern_store_u16(request->data, request->count);
    memset(request->present, 0, sizeof request->present);
    return 0;
}

/* Appends one field of the current item; `field` is in range. */
static int put(struct tern_request *request, unsigned field, const void *value, size_t length)
{
    size_t item_length;
    uint8_t *at;

    if (request->item == 0 || (request->present[field >> 6] >> (field & 63) & 1) != 0)
        return fail(request, (int)field, TERN_EINVAL);
    item_length = request->length - request->item - 2;
    if (length > ITEM_BYTES_MAX - FIELD_HEAD ||
        item_length + FIELD_HEAD + length > ITEM_BYTES_MAX ||
        FIELD_HEAD + length > request->capacity - request->length)
        return fail(request, (int)field, TERN_ELIMIT);
    request->present[field >> 6] |= 1ull << (field & 63);
    at = request->data + request->length;
    at[0] = (uint8_t)field;
    tern_store_u16(at + 1, (uint16_t)length);
    if (length != 0)
        memcpy(at + FIELD_HEAD, value, length);
    request->length += (uint32_t)(FIELD_HEAD + length);
    tern_store_u16(request->data + request->item, (uint16_t)(item_length + FIELD_HEAD + length));
    return 0;
}

static int put_typed(struct tern_request *request, int field, int type, const void *value,
                     size_t length)
{
    const struct tern_client_schema *schema = request->schema;

    if (field < 1 || field > schema->field_count || field > (int)TERN_FIELDS_MAX)
        return fail(request, field, TERN_ENOENT);
    if (schema->fields[field - 1].type != type)
        return fail(request, field, TERN_EINVAL);
    if (type == TERN_TYPE_VECTOR && schema->fields[field - 1].dim * sizeof(float) != length)
        return fail(request, field, TERN_EINVAL);
    return put(request, (unsigned)field, value, length);
}

int tern_item_set_ip(struct tern_request *request, int field, const void *network_order,
                     size_t length)
{
    if (length != 4 && length != 16)
        return fail(request, field, TERN_EINVAL);
    return put_typed(request, field, TERN_TYPE_IP, network_order, length);
}

int tern_item_set_string(struct tern_request *request, int field, const char *text, size_t length)
{
    return put_typed(request, field, TERN_TYPE_STRING, text, length);
}

int tern_item_set_u64(struct tern_request *request, int field, uint64_t value)
{
    return put_typed(request, field, TERN_TYPE_U64, &value, sizeof value);
}

int tern_item_set_i64(struct tern_request *request, int field, int64_t value)
{
    return put_typed(request, field, TERN_TYPE_I64, &value, sizeof value);
}

int tern_item_set_f32(struct tern_request *request, int field, float value)
{
    if (value != value)
        return fail(request, field, TERN_EINVAL);
    return put_typed(request, field, TERN_TYPE_F32, &value, sizeof value);
}

int tern_item_set_bool(struct tern_request *request, int field, bool value)
{
    uint8_t byte = value ? 1 : 0;

    return put_typed(request, field, TERN_TYPE_BOOL, &byte, 1);
}

int tern_item_set_vector(struct tern_request *request, int field, const float *values, uint32_t dim)
{
    return put_typed(request, field, TERN_TYPE_VECTOR, values, dim * sizeof *values);
}

int tern_item_set_key(struct tern_request *request, uint64_t key)
{
    return put(request, 0, &key, sizeof key);
}
