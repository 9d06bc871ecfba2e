#include "dataplane/decode.h"

#include "shared/error.h"
#include "shared/host.h"

#include <stdarg.h>

void tern_decoder_init(struct tern_decoder *decoder, const struct tern_schema *schema,
                       bool ignore_unknown)
{
    const struct tern_schema_field *fields = tern_schema_fields(schema);

    memset(decoder, 0, sizeof *decoder);
    decoder->field_count = schema->field_count;
    decoder->ignore_unknown = ignore_unknown;
    for (unsigned i = 0; i < schema->field_count; i++) {
        struct tern_decode_field *field = &decoder->fields[fields[i].id];

        field->type = fields[i].type;
        field->flags = fields[i].flags;
        if (field->type == TERN_TYPE_VECTOR)
            field->max_bytes = fields[i].dim * 4;
        else if (fields[i].max_bytes == 0 || fields[i].max_bytes > TERN_STRING_MAX)
            field->max_bytes = TERN_STRING_MAX;
        else
            field->max_bytes = fields[i].max_bytes;
    }
}

#define ONES 0x0101010101010101ull
#define TOPS 0x8080808080808080ull

/* The top bit of each byte that is an ASCII capital or a colon; carries make it inexact only above
 * a byte that really is one, which is enough to tell whether there is any. */
static inline uint64_t needs_folding(uint64_t bytes)
{
    uint64_t low = bytes & ~TOPS;
    uint64_t from_a = low + (0x80 - 'A') * ONES;
    uint64_t past_z = low + (0x80 - 'Z' - 1) * ONES;
    uint64_t colon = bytes ^ ':' * ONES;

    return (((from_a ^ past_z) & ~bytes) | ((colon - ONES) & ~colon)) & TOPS;
}

/* Most hosts arrive folded: then they are used where they lie. */
static bool host_is_folded(const uint8_t *bytes, size_t length)
{
    size_t at = 0;

    if (length > 0 && (bytes[length - 1] == '.' || bytes[0] == '['))
        return false;
    for (; at + 8 <= length; at += 8) {
        if (needs_folding(tern_load_u64(bytes + at)))
            return false;
    }
    for (; at < length; at++) {
        if (bytes[at] == ':' || (bytes[at] >= 'A' && bytes[at] <= 'Z'))
            return false;
    }
    return true;
}

static inline const char *decode_value(const struct tern_decode_field *field, const uint8_t *bytes,
                                       size_t length, union tern_value *value, uint8_t *space,
                                       size_t *space_used)
{
    switch ((enum tern_type)field->type) {
    case TERN_TYPE_IP:
        if (length == 4)
            value->address = tern_address_from_4(bytes);
        else if (length == 16)
            value->address = tern_address_from_16(bytes);
        else
            return "expected an address of 4 or 16 bytes";
        return NULL;
    case TERN_TYPE_STRING:
        if (length > field->max_bytes)
            return "longer than the field's maximum";
        if ((field->flags & TERN_FIELD_HOST) && !host_is_folded(bytes, length)) {
            size_t folded;

            tern_host_fold(bytes, length, space + *space_used, &folded);
            value->string.bytes = space + *space_used;
            value->string.length = (uint32_t)folded;
            *space_used += folded;
        } else {
            value->string.bytes = bytes;
            value->string.length = (uint32_t)length;
        }
        return NULL;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        if (length != 8)
            return "expected an integer of 8 bytes";
        value->u64 = tern_load_u64(bytes);
        return NULL;
    case TERN_TYPE_F32: {
        float number;

        if (length != 4)
            return "expected a float of 4 bytes";
        number = tern_load_f32(bytes);
        if (number != number)
            return "not a number";
        value->f32 = number + 0.0f; /* -0 becomes +0 */
        return NULL;
    }
    case TERN_TYPE_BOOL:
        if (length != 1 || bytes[0] > 1)
            return "expected one byte, 0 or 1";
        value->boolean = bytes[0] != 0;
        return NULL;
    case TERN_TYPE_VECTOR:
        if (length != field->max_bytes)
            return "expected four bytes a dimension";
        value->string.bytes = bytes;
        value->string.length = (uint32_t)length;
        return NULL;
    case TERN_TYPE_U32:
    case TERN_TYPE_NONE:
        break;
    }
    return "not a type that a request carries";
}

const char *tern_decode_value(const struct tern_decode_field *field, const uint8_t *bytes,
                              size_t length, union tern_value *value, uint8_t *space,
                              size_t *space_used)
{
    return decode_value(field, bytes, length, value, space, space_used);
}

static int fail(struct tern_decode_failure *failure, enum tern_status status, const char *format,
                ...) TERN_PRINTF(3, 4);

static int fail(struct tern_decode_failure *failure, enum tern_status status, const char *format,
                ...)
{
    va_list arguments;

    failure->status = status;
    va_start(arguments, format);
    vsnprintf(failure->message, sizeof failure->message, format, arguments);
    va_end(arguments);
    return TERN_EINVAL;
}

int tern_decode_item(const struct tern_decoder *decoder, const uint8_t *bytes, size_t length,
                     unsigned item, struct tern_facts *facts, uint8_t *space, size_t *space_used,
                     struct tern_decode_failure *failure)
{
    size_t at = 0;
    int ignored = 0;
    bool has_key = false;

    tern_facts_clear(facts);
    while (at < length) {
        unsigned id;
        size_t size;
        const char *expected;

        if (length - at < 3)
            return fail(failure, TERN_STATUS_BAD_FRAME, "item %u: a field's header is cut off",
                        item);
        id = bytes[at];
        size = tern_load_u16(bytes + at + 1);
        at += 3;
        if (size > length - at)
            return fail(failure, TERN_STATUS_BAD_FRAME, "item %u: field %u reaches past the item",
                        item, id);
        if (id == 0) {
            if (size != 8 || has_key)
                return fail(failure, TERN_STATUS_BAD_FIELD, "item %u: the decision key %s", item,
                            has_key ? "is repeated" : "has 8 bytes");
            facts->decision_key = tern_load_u64(bytes + at);
            has_key = true;
        } else if (TERN_UNLIKELY(decoder->fields[id].type == TERN_TYPE_NONE)) {
            if (!decoder->ignore_unknown)
                return fail(failure, TERN_STATUS_BAD_FIELD, "item %u: there is no field %u (of %u)",
                            item, id, decoder->field_count);
            ignored++;
        } else if (TERN_UNLIKELY(tern_facts_has(facts, id))) {
            return fail(failure, TERN_STATUS_BAD_FIELD, "item %u: field %u is repeated", item, id);
        } else {
            expected = decode_value(&decoder->fields[id], bytes + at, size, &facts->values[id],
                                    space, space_used);
            if (TERN_UNLIKELY(expected != NULL))
                return fail(failure, TERN_STATUS_BAD_FIELD, "item %u: field %u of %zu bytes: %s",
                            item, id, size, expected);
            tern_facts_set_present(facts, id);
        }
        at += size;
    }
    return ignored;
}
