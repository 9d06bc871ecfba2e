/* protobuf by hand: a key (field number and wire type), then a varint, eight bytes, four bytes, or
 * a length and so many bytes. Lengths of what is not known beforehand are written in four bytes,
 * which every reader takes. */
#include "clients/c/control.h"
#include "shared/schema.h"

#define FRAME_HEADER 4u
#define FRAME_MAX    (16u << 20)

enum wire { VARINT = 0, EIGHT = 1, BYTES = 2, FOUR = 5 };

/* Numbers of shared/proto/tern.proto. */
enum request { REQUEST_UPSERT = 20, REQUEST_DELETE = 21, REQUEST_COLLECTION = 22 };
enum upsert { UPSERT_COLLECTION = 1, UPSERT_TICKET, UPSERT_IDS, UPSERT_VECTORS, UPSERT_PAYLOAD };
enum column {
    COLUMN_NAME = 1,
    COLUMN_PRESENT,
    COLUMN_STRINGS,
    COLUMN_NUMBERS,
    COLUMN_INTEGERS,
    COLUMN_FLOATS
};
enum reply { REPLY_FAILURE = 3, REPLY_ACKNOWLEDGEMENT = 20, REPLY_COLLECTION = 21 };

/* --- Writing --- */

static int reserve(struct tern_control_buffer *out, size_t more)
{
    size_t capacity = out->capacity < 4096 ? 4096 : out->capacity;
    uint8_t *data;

    if (out->capacity - out->length >= more)
        return 0;
    while (capacity - out->length < more)
        capacity *= 2;
    data = realloc(out->data, capacity);
    if (data == NULL)
        return TERN_ENOMEM;
    out->data = data;
    out->capacity = capacity;
    return 0;
}

/* What follows writes into memory that was reserved. */
static void put_varint(struct tern_control_buffer *out, uint64_t value)
{
    while (value >= 0x80) {
        out->data[out->length++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out->data[out->length++] = (uint8_t)value;
}

static void put_key(struct tern_control_buffer *out, unsigned field, enum wire wire)
{
    put_varint(out, (uint64_t)field << 3 | wire);
}

static void put_raw(struct tern_control_buffer *out, const void *data, size_t length)
{
    if (length != 0)
        memcpy(out->data + out->length, data, length);
    out->length += length;
}

static void put_bytes(struct tern_control_buffer *out, unsigned field, const void *data,
                      size_t length)
{
    put_key(out, field, BYTES);
    put_varint(out, length);
    put_raw(out, data, length);
}

/* Begins something whose length is written by `end`. */
static size_t begin(struct tern_control_buffer *out, unsigned field)
{
    put_key(out, field, BYTES);
    out->length += 4;
    return out->length;
}

static void end(struct tern_control_buffer *out, size_t start)
{
    size_t length = out->length - start;

    for (unsigned i = 0; i < 4; i++)
        out->data[start - 4 + i] = (uint8_t)((length >> (7 * i) & 0x7f) | (i < 3 ? 0x80u : 0u));
}

static size_t begin_frame(struct tern_control_buffer *out)
{
    out->length += FRAME_HEADER;
    return out->length;
}

static int end_frame(struct tern_control_buffer *out, size_t start)
{
    size_t length = out->length - start;

    if (length > FRAME_MAX) {
        out->length = start - FRAME_HEADER;
        return TERN_ELIMIT;
    }
    tern_store_u32(out->data + start - FRAME_HEADER, (uint32_t)length);
    return 0;
}

static uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

static const struct tern_vectors_value *value_of(const struct tern_vectors_item *vector,
                                                 unsigned column)
{
    static const struct tern_vectors_value nothing;

    return vector->payload != NULL ? &vector->payload[column] : &nothing;
}

/* The list of one column; what is missing has a value that nobody looks at. */
static void put_values(struct tern_control_buffer *out, uint8_t type, unsigned column,
                       const struct tern_vectors_item *vectors, unsigned count)
{
    unsigned field = type == TERN_TYPE_I64   ? COLUMN_INTEGERS
                     : type == TERN_TYPE_F32 ? COLUMN_FLOATS
                                             : COLUMN_NUMBERS;
    size_t start;

    if (type == TERN_TYPE_STRING) {
        for (unsigned i = 0; i < count; i++) {
            const struct tern_vectors_value *value = value_of(&vectors[i], column);

            put_bytes(out, COLUMN_STRINGS, value->present ? value->string.bytes : NULL,
                      value->present ? value->string.length : 0);
        }
        return;
    }
    start = begin(out, field);
    for (unsigned i = 0; i < count; i++) {
        const struct tern_vectors_value *value = value_of(&vectors[i], column);

        if (type == TERN_TYPE_F32) {
            tern_store_f32(out->data + out->length, value->present ? value->f32 : 0);
            out->length += 4;
        } else if (type == TERN_TYPE_I64) {
            put_varint(out, value->present ? zigzag(value->i64) : 0);
        } else {
            put_varint(out, value->present ? value->u64 : 0);
        }
    }
    end(out, start);
}

static int put_column(struct tern_control_buffer *out, const struct tern_vectors_column *column,
                      unsigned index, const struct tern_vectors_item *vectors, unsigned count)
{
    size_t bytes = 64 + sizeof column->name + (count + 7) / 8, start;
    bool any = false;

    for (unsigned i = 0; i < count; i++) {
        const struct tern_vectors_value *value = value_of(&vectors[i], index);

        any |= value->present;
        bytes += 16;
        if (value->present && column->type == TERN_TYPE_STRING)
            bytes += value->string.length;
    }
    if (!any)
        return 0;
    if (reserve(out, bytes) != 0)
        return TERN_ENOMEM;
    start = begin(out, UPSERT_PAYLOAD);
    put_bytes(out, COLUMN_NAME, column->name, strlen(column->name));
    put_key(out, COLUMN_PRESENT, BYTES);
    put_varint(out, (count + 7) / 8);
    memset(out->data + out->length, 0, (count + 7) / 8);
    for (unsigned i = 0; i < count; i++)
        if (value_of(&vectors[i], index)->present)
            out->data[out->length + i / 8] |= (uint8_t)(1u << (i % 8));
    out->length += (count + 7) / 8;
    put_values(out, column->type, index, vectors, count);
    end(out, start);
    return 0;
}

int tern_control_put_upsert(struct tern_control_buffer *out,
                            const struct tern_vectors_collection *shape, const char *name,
                            uint64_t ticket, const struct tern_vectors_item *vectors,
                            unsigned count)
{
    size_t vector_bytes = shape->dim * sizeof(float), frame, request, before = out->length;
    int rc = 0;

    if (reserve(out, 128 + strlen(name) + count * (8 + vector_bytes)) != 0)
        return TERN_ENOMEM;
    frame = begin_frame(out);
    request = begin(out, REQUEST_UPSERT);
    put_bytes(out, UPSERT_COLLECTION, name, strlen(name));
    put_key(out, UPSERT_TICKET, VARINT);
    put_varint(out, ticket);
    put_key(out, UPSERT_IDS, BYTES);
    put_varint(out, count * 8ull);
    for (unsigned i = 0; i < count; i++) {
        tern_store_u64(out->data + out->length, vectors[i].id);
        out->length += 8;
    }
    put_key(out, UPSERT_VECTORS, BYTES);
    put_varint(out, count * vector_bytes);
    for (unsigned i = 0; i < count; i++)
        put_raw(out, vectors[i].values, vector_bytes);
    for (unsigned i = 0; i < shape->column_count && rc == 0; i++)
        rc = put_column(out, &shape->columns[i], i, vectors, count);
    if (rc == 0 &&
        out->length - request > TERN_VECTORS_BATCH_BYTES + (TERN_VECTORS_BATCH_BYTES >> 1))
        rc = TERN_ELIMIT;
    if (rc != 0) {
        out->length = before;
        return rc;
    }
    end(out, request);
    return end_frame(out, frame);
}

int tern_control_put_delete(struct tern_control_buffer *out, const char *name, uint64_t ticket,
                            const uint64_t *ids, unsigned count)
{
    size_t frame, request;

    if (reserve(out, 64 + strlen(name) + count * 8ull) != 0)
        return TERN_ENOMEM;
    frame = begin_frame(out);
    request = begin(out, REQUEST_DELETE);
    put_bytes(out, UPSERT_COLLECTION, name, strlen(name));
    put_key(out, UPSERT_TICKET, VARINT);
    put_varint(out, ticket);
    put_bytes(out, UPSERT_IDS, ids, count * 8ull);
    end(out, request);
    return end_frame(out, frame);
}

int tern_control_put_question(struct tern_control_buffer *out, const char *name)
{
    size_t frame, request;

    if (reserve(out, 64 + strlen(name)) != 0)
        return TERN_ENOMEM;
    frame = begin_frame(out);
    request = begin(out, REQUEST_COLLECTION);
    put_bytes(out, 1, name, strlen(name));
    end(out, request);
    return end_frame(out, frame);
}

/* --- Reading --- */

int tern_control_peek(const uint8_t *data, size_t length, size_t *frame)
{
    uint32_t bytes;

    if (length < FRAME_HEADER)
        return TERN_EAGAIN;
    bytes = tern_load_u32(data);
    if (bytes > FRAME_MAX)
        return TERN_ECORRUPT;
    if (length - FRAME_HEADER < bytes)
        return TERN_EAGAIN;
    *frame = FRAME_HEADER + (size_t)bytes;
    return 0;
}

struct reader {
    const uint8_t *at, *end;
};

struct field {
    unsigned number;
    enum wire wire;
    uint64_t value;      /* a varint */
    struct reader bytes; /* or what it holds */
};

static bool get_varint(struct reader *in, uint64_t *value)
{
    uint64_t read = 0;

    for (unsigned shift = 0; shift < 70 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;

        if (shift < 64)
            read |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *value = read;
            return true;
        }
    }
    return false;
}

static bool get_span(struct reader *in, uint64_t length, struct reader *span)
{
    if (length > (uint64_t)(in->end - in->at))
        return false;
    *span = (struct reader){in->at, in->at + length};
    in->at += length;
    return true;
}

/* 1 a field, 0 the end, TERN_ECORRUPT. */
static int get_field(struct reader *in, struct field *field)
{
    uint64_t key, length = 0;

    if (in->at == in->end)
        return 0;
    if (!get_varint(in, &key) || key >> 3 == 0 || key >> 3 > INT32_MAX)
        return TERN_ECORRUPT;
    field->number = (unsigned)(key >> 3);
    field->wire = (enum wire)(key & 7);
    switch (key & 7) {
    case VARINT:
        return get_varint(in, &field->value) ? 1 : TERN_ECORRUPT;
    case EIGHT:
        return get_span(in, 8, &field->bytes) ? 1 : TERN_ECORRUPT;
    case FOUR:
        return get_span(in, 4, &field->bytes) ? 1 : TERN_ECORRUPT;
    case BYTES:
        return get_varint(in, &length) && get_span(in, length, &field->bytes) ? 1 : TERN_ECORRUPT;
    default:
        return TERN_ECORRUPT;
    }
}

static void copy_text(char *to, size_t size, const struct reader *bytes)
{
    size_t length = tern_min_u64((uint64_t)(bytes->end - bytes->at), size - 1);

    memcpy(to, bytes->at, length);
    to[length] = '\0';
}

static int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static int read_acknowledgement(struct reader in, struct tern_vectors_ack *ack)
{
    struct field field;
    int rc;

    while ((rc = get_field(&in, &field)) == 1) {
        if (field.wire == BYTES && field.number == 6)
            copy_text(ack->message, sizeof ack->message, &field.bytes);
        if (field.wire != VARINT)
            continue;
        switch (field.number) {
        case 1:
            ack->ticket = field.value;
            break;
        case 2:
            ack->seq = field.value;
            break;
        case 3:
            ack->written = (uint32_t)field.value;
            break;
        case 4:
            ack->removed = (uint32_t)field.value;
            break;
        case 5:
            ack->rc = (int)unzigzag(field.value);
            break;
        case 7:
            ack->refused = (uint32_t)field.value;
            break;
        default:
            break;
        }
    }
    return rc;
}

static int read_failure(struct reader in, struct tern_vectors_ack *ack)
{
    struct field field;
    int rc;

    while ((rc = get_field(&in, &field)) == 1) {
        if (field.wire == VARINT && field.number == 1)
            ack->rc = (int)unzigzag(field.value);
        else if (field.wire == BYTES && field.number == 2)
            copy_text(ack->message, sizeof ack->message, &field.bytes);
    }
    return rc;
}

static uint8_t type_of(const char *name)
{
    static const struct {
        const char *name;
        uint8_t type;
    } types[] = {{"string", TERN_TYPE_STRING}, {"bool", TERN_TYPE_BOOL}, {"u32", TERN_TYPE_U32},
                 {"u64", TERN_TYPE_U64},       {"i64", TERN_TYPE_I64},   {"f32", TERN_TYPE_F32}};

    for (unsigned i = 0; i < TERN_COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    return TERN_TYPE_NONE;
}

static int read_column(struct reader in, struct tern_vectors_column *column)
{
    struct field field;
    char type[16] = "";
    int rc;

    while ((rc = get_field(&in, &field)) == 1) {
        if (field.wire == BYTES && field.number == 1)
            copy_text(column->name, sizeof column->name, &field.bytes);
        else if (field.wire == BYTES && field.number == 2)
            copy_text(type, sizeof type, &field.bytes);
    }
    column->type = type_of(type);
    return rc == 0 && column->type == TERN_TYPE_NONE ? TERN_ECORRUPT : rc;
}

static int read_collection(struct reader in, struct tern_vectors_collection *collection)
{
    struct field field;
    int rc;

    while ((rc = get_field(&in, &field)) == 1) {
        if (field.wire == VARINT && field.number == 2)
            collection->id = (uint32_t)field.value;
        else if (field.wire == VARINT && field.number == 3)
            collection->dim = (uint32_t)field.value;
        else if (field.wire == VARINT && field.number == 5)
            collection->capacity = field.value;
        else if (field.wire == BYTES && field.number == 4)
            copy_text(collection->metric, sizeof collection->metric, &field.bytes);
        else if (field.wire == BYTES && field.number == 6) {
            if (collection->column_count == TERN_VECTORS_COLUMNS_MAX ||
                read_column(field.bytes, &collection->columns[collection->column_count++]) != 0)
                return TERN_ECORRUPT;
        }
    }
    return rc == 0 && (collection->dim == 0 || collection->dim > TERN_DIM_MAX) ? TERN_ECORRUPT : rc;
}

int tern_control_read(const uint8_t *message, size_t length, struct tern_control_reply *reply)
{
    struct reader in = {message, message + length};
    struct field field;
    int rc;

    *reply = (struct tern_control_reply){.kind = TERN_CONTROL_OTHER};
    while ((rc = get_field(&in, &field)) == 1) {
        if (field.wire != BYTES)
            continue;
        switch (field.number) {
        case REPLY_FAILURE:
            reply->kind = TERN_CONTROL_FAILURE;
            rc = read_failure(field.bytes, &reply->ack);
            break;
        case REPLY_ACKNOWLEDGEMENT:
            reply->kind = TERN_CONTROL_ACKNOWLEDGEMENT;
            rc = read_acknowledgement(field.bytes, &reply->ack);
            break;
        case REPLY_COLLECTION:
            reply->kind = TERN_CONTROL_COLLECTION;
            rc = read_collection(field.bytes, &reply->collection);
            break;
        default:
            rc = 0;
        }
        if (rc != 0)
            return rc;
    }
    return rc;
}
