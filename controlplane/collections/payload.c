#include "controlplane/collections/payload.h"

#include "shared/schema.h"
#include "shared/utf8.h"

#include <math.h>

#define PREFIX_BYTES 6u

static bool is_utf8(const char *text, size_t length)
{
    for (size_t at = 0, step; at < length; at += step)
        if ((step = tern_utf8_length((const uint8_t *)text + at, length - at)) == 0)
            return false;
    return true;
}

static int check_value(const struct tern_graph_column *column, const struct tern_graph_value *value,
                       struct tern_error *error)
{
    switch (column->type) {
    case TERN_TYPE_U32:
        if (value->u64 > UINT32_MAX)
            return tern_error_set(error, TERN_EINVAL, "payload %s is a u32, %llu is too large",
                                  column->name, (unsigned long long)value->u64);
        return 0;
    case TERN_TYPE_BOOL:
        if (value->u64 > 1)
            return tern_error_set(error, TERN_EINVAL, "payload %s is a bool: 0 or 1", column->name);
        return 0;
    case TERN_TYPE_F32:
        if (!isfinite(value->f32))
            return tern_error_set(error, TERN_EINVAL, "payload %s is not a finite number",
                                  column->name);
        return 0;
    case TERN_TYPE_STRING:
        if (value->string.length > TERN_PAYLOAD_STRING_MAX)
            return tern_error_set(error, TERN_EINVAL, "payload %s has %u bytes, at most %u fit",
                                  column->name, (unsigned)value->string.length,
                                  TERN_PAYLOAD_STRING_MAX);
        if (!is_utf8(value->string.bytes, value->string.length))
            return tern_error_set(error, TERN_EINVAL, "payload %s is not valid UTF-8",
                                  column->name);
        return 0;
    default:
        return 0;
    }
}

int tern_payload_check(const struct tern_graph_column *columns, unsigned count,
                       const struct tern_graph_value *values, struct tern_error *error)
{
    int rc = 0;

    for (unsigned i = 0; i < count && rc == 0; i++)
        if (values[i].present)
            rc = check_value(&columns[i], &values[i], error);
    return rc;
}

static size_t value_bytes(uint8_t type)
{
    switch (type) {
    case TERN_TYPE_BOOL:
        return 1;
    case TERN_TYPE_U32:
    case TERN_TYPE_F32:
        return 4;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        return 8;
    default: /* a string's length */
        return 2;
    }
}

int tern_payload_encode(struct tern_buffer *out, uint32_t shape,
                        const struct tern_graph_column *columns, unsigned count,
                        const struct tern_graph_value *values)
{
    size_t bytes = PREFIX_BYTES;
    uint16_t present = 0;
    uint8_t *at;

    for (unsigned i = 0; i < count; i++) {
        if (!values[i].present)
            continue;
        present |= (uint16_t)(1u << i);
        bytes += value_bytes(columns[i].type);
        if (columns[i].type == TERN_TYPE_STRING)
            bytes += values[i].string.length;
    }
    if (tern_buffer_reserve(out, bytes) != 0)
        return TERN_ENOMEM;
    at = out->data + out->length;
    out->length += bytes;
    tern_store_u32(at, shape);
    tern_store_u16(at + 4, present);
    at += PREFIX_BYTES;
    for (unsigned i = 0; i < count; i++) {
        const struct tern_graph_value *value = &values[i];

        if (!value->present)
            continue;
        switch (columns[i].type) {
        case TERN_TYPE_BOOL:
            *at = (uint8_t)value->u64;
            break;
        case TERN_TYPE_U32:
            tern_store_u32(at, (uint32_t)value->u64);
            break;
        case TERN_TYPE_F32:
            tern_store_f32(at, value->f32);
            break;
        case TERN_TYPE_STRING:
            tern_store_u16(at, (uint16_t)value->string.length);
            if (value->string.length != 0)
                memcpy(at + 2, value->string.bytes, value->string.length);
            at += value->string.length;
            break;
        default:
            tern_store_u64(at, value->u64);
        }
        at += value_bytes(columns[i].type);
    }
    return 0;
}

size_t tern_payload_bytes(const uint8_t *bytes, const struct tern_graph_column *columns,
                          unsigned count)
{
    uint16_t present = tern_load_u16(bytes + 4);
    size_t at = PREFIX_BYTES;

    for (unsigned i = 0; i < count; i++)
        if (present & 1u << i) {
            at += columns[i].type == TERN_TYPE_STRING ? tern_load_u16(bytes + at) : 0u;
            at += value_bytes(columns[i].type);
        }
    return at;
}

uint32_t tern_payload_shape(const uint8_t *bytes, size_t length)
{
    return length >= PREFIX_BYTES ? tern_load_u32(bytes) : 0;
}

void tern_payload_match(const struct tern_graph_column *from, unsigned from_count,
                        const struct tern_graph_column *to, unsigned to_count,
                        int8_t matches[TERN_PAYLOAD_COLUMNS_MAX])
{
    for (unsigned i = 0; i < to_count; i++) {
        matches[i] = -1;
        for (unsigned j = 0; j < from_count && matches[i] < 0; j++)
            if (from[j].type == to[i].type && strcmp(from[j].name, to[i].name) == 0)
                matches[i] = (int8_t)j;
    }
}

/* The value at `at`; its length was checked. */
static void load(uint8_t type, const uint8_t *at, struct tern_graph_value *value)
{
    value->present = true;
    switch (type) {
    case TERN_TYPE_BOOL:
        value->u64 = *at;
        break;
    case TERN_TYPE_U32:
        value->u64 = tern_load_u32(at);
        break;
    case TERN_TYPE_F32:
        value->f32 = tern_load_f32(at);
        break;
    case TERN_TYPE_STRING:
        value->string.length = tern_load_u16(at);
        value->string.bytes = (const char *)at + 2;
        break;
    default:
        value->u64 = tern_load_u64(at);
    }
}

int tern_payload_decode(const uint8_t *bytes, size_t length, const struct tern_graph_column *from,
                        unsigned from_count, const int8_t *matches, unsigned to_count,
                        struct tern_graph_value values[TERN_PAYLOAD_COLUMNS_MAX])
{
    struct tern_graph_value read[TERN_PAYLOAD_COLUMNS_MAX] = {0};
    size_t at = PREFIX_BYTES;
    uint16_t present;

    if (length < PREFIX_BYTES)
        return TERN_ECORRUPT;
    present = tern_load_u16(bytes + 4);
    if ((uint32_t)present >> from_count != 0)
        return TERN_ECORRUPT;
    for (unsigned i = 0; i < from_count; i++) {
        size_t fixed = value_bytes(from[i].type), more = 0;

        if ((present & 1u << i) == 0)
            continue;
        if (length - at < fixed)
            return TERN_ECORRUPT;
        if (from[i].type == TERN_TYPE_STRING) {
            more = tern_load_u16(bytes + at);
            if (more > TERN_PAYLOAD_STRING_MAX || length - at - fixed < more)
                return TERN_ECORRUPT;
        }
        load(from[i].type, bytes + at, &read[i]);
        at += fixed + more;
    }
    if (at != length)
        return TERN_ECORRUPT;
    for (unsigned i = 0; i < to_count; i++)
        values[i] = matches[i] >= 0 ? read[matches[i]] : (struct tern_graph_value){0};
    return 0;
}
