#include "shared/decode.h"

#include "shared/error.h"
#include "shared/normalize.h"

#include <stdarg.h>

struct tern_decode_field tern_decode_field_of(enum tern_type type, uint8_t flags, uint32_t dim,
                                              uint32_t max_bytes)
{
    struct tern_decode_field field = {.type = (uint8_t)type, .flags = flags};

    switch (type) {
    case TERN_TYPE_IP:
        field.least_bytes = 4;
        field.spare_bytes = 12;
        break;
    case TERN_TYPE_STRING:
        field.spare_bytes =
            (uint16_t)(max_bytes == 0 ? TERN_STRING_MAX : tern_min_u64(max_bytes, TERN_STRING_MAX));
        break;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        field.least_bytes = 8;
        break;
    case TERN_TYPE_F32:
        field.least_bytes = 4;
        break;
    case TERN_TYPE_BOOL:
        field.least_bytes = 1;
        break;
    case TERN_TYPE_VECTOR:
        field.least_bytes = (uint16_t)(dim * 4);
        break;
    case TERN_TYPE_U32:
    case TERN_TYPE_NONE:
        field.least_bytes = UINT16_MAX; /* longer than any field of an item */
        break;
    }
    return field;
}

void tern_decoder_init(struct tern_decoder *decoder, const struct tern_schema *schema,
                       const uint64_t raw_fields[4], bool ignore_unknown)
{
    const struct tern_schema_field *fields = tern_schema_fields(schema);
    uint8_t slots[TERN_FIELDS_MAX + 1];

    memset(decoder, 0, sizeof *decoder);
    decoder->field_count = schema->field_count;
    decoder->slot_count = tern_schema_raw_slots(schema, slots);
    decoder->ignore_unknown = ignore_unknown;
    for (unsigned id = 0; id < TERN_COUNT(decoder->fields); id++)
        decoder->fields[id] = tern_decode_field_of(TERN_TYPE_NONE, 0, 0, 0);
    for (unsigned i = 0; i < schema->field_count; i++) {
        struct tern_decode_field *field = &decoder->fields[i + 1];

        *field = tern_decode_field_of((enum tern_type)fields[i].type, fields[i].flags,
                                      fields[i].dim, fields[i].max_bytes);
        field->normalize = fields[i].normalize;
        if (raw_fields != NULL && (raw_fields[(i + 1) / 64] >> ((i + 1) % 64) & 1))
            field->raw = slots[i + 1];
    }
}

/* One comparison: what is below the least wraps to something large. */
static inline bool has_length(const struct tern_decode_field *field, size_t length)
{
    return (uint32_t)length - field->least_bytes <= field->spare_bytes;
}

static bool decode_rare_value(const struct tern_decode_field *field, const uint8_t *bytes,
                              size_t length, union tern_value *value)
{
    float number;

    switch ((enum tern_type)field->type) {
    case TERN_TYPE_F32:
        number = tern_load_f32(bytes);
        value->f32 = number + 0.0f; /* -0 becomes +0 */
        return number == number;
    case TERN_TYPE_BOOL:
        value->boolean = bytes[0] != 0;
        return bytes[0] <= 1;
    case TERN_TYPE_VECTOR:
        value->string.bytes = bytes;
        value->string.length = (uint32_t)length;
        return true;
    default:
        return false;
    }
}

/* A text in the form that rules compare. Most arrive in it: then they are used where they lie. */
static inline const uint8_t *canonical(const struct tern_decode_field *field, const uint8_t *bytes,
                                       size_t *length, uint8_t *space, size_t *space_used)
{
    uint8_t *written = space + *space_used;

    if (field->flags & TERN_FIELD_HOST) {
        if (tern_host_is_folded(bytes, *length))
            return bytes;
        tern_host_fold(bytes, *length, written, length);
    } else {
        if (tern_normalize_is_normal(field->normalize, bytes, *length))
            return bytes;
        *length = tern_normalize(field->normalize, bytes, *length, written);
    }
    *space_used += *length;
    return written;
}

/* A value of a right length; false when it is wrong all the same. The types that every request
 * carries are tested one by one: that costs less than a jump through a table. `facts` is for the
 * untouched value of a field that has a slot for it. */
static inline bool decode_value(const struct tern_decode_field *field, const uint8_t *bytes,
                                size_t length, union tern_value *value, struct tern_facts *facts,
                                uint8_t *space, size_t *space_used)
{
    unsigned type = field->type;

    if (type == TERN_TYPE_STRING) {
        if (tern_field_is_changed(field->flags, field->normalize)) {
            if (field->raw != 0) {
                facts->values[field->raw].string.bytes = bytes;
                facts->values[field->raw].string.length = (uint32_t)length;
                tern_facts_set_present(facts, field->raw);
            }
            bytes = canonical(field, bytes, &length, space, space_used);
        }
        value->string.bytes = bytes;
        value->string.length = (uint32_t)length;
    } else if (type == TERN_TYPE_U64 || type == TERN_TYPE_I64) {
        value->u64 = tern_load_u64(bytes);
    } else if (type == TERN_TYPE_IP) {
        if (length == 4)
            value->address = tern_address_from_4(bytes);
        else if (length == 16)
            value->address = tern_address_from_16(bytes);
        else
            return false;
    } else {
        return decode_rare_value(field, bytes, length, value);
    }
    return true;
}

/* What was expected instead of a value that is wrong. */
static const char *expected_of(const struct tern_decode_field *field, size_t length)
{
    switch ((enum tern_type)field->type) {
    case TERN_TYPE_IP:
        return "expected an address of 4 or 16 bytes";
    case TERN_TYPE_STRING:
        return "longer than the field's maximum";
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        return "expected an integer of 8 bytes";
    case TERN_TYPE_F32:
        return length == 4 ? "not a number" : "expected a float of 4 bytes";
    case TERN_TYPE_BOOL:
        return "expected one byte, 0 or 1";
    case TERN_TYPE_VECTOR:
        return "expected four bytes a dimension";
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
    if (has_length(field, length) &&
        decode_value(field, bytes, length, value, NULL, space, space_used))
        return NULL;
    return expected_of(field, length);
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

/* What is no ordinary field of the schema: the decision key, an unknown field, or a mistake. Out of
 * the way of the others. */
struct oddities {
    int ignored;
    bool has_key;
};

static __attribute__((noinline, cold)) int
decode_oddity(const struct tern_decoder *decoder, const uint8_t *bytes, size_t size, unsigned item,
              unsigned id, struct tern_facts *facts, struct oddities *odd,
              struct tern_decode_failure *failure)
{
    const struct tern_decode_field *field = &decoder->fields[id];

    if (id == 0) {
        if (size != 8 || odd->has_key)
            return fail(failure, TERN_STATUS_BAD_FIELD, "item %u: the decision key %s", item,
                        odd->has_key ? "is repeated" : "has 8 bytes");
        facts->decision_key = tern_load_u64(bytes);
        odd->has_key = true;
        return 0;
    }
    if (field->type == TERN_TYPE_NONE) {
        if (!decoder->ignore_unknown)
            return fail(failure, TERN_STATUS_BAD_FIELD, "item %u: there is no field %u (of %u)",
                        item, id, decoder->field_count);
        odd->ignored++;
        return 0;
    }
    if (tern_facts_has(facts, id))
        return fail(failure, TERN_STATUS_BAD_FIELD, "item %u: field %u is repeated", item, id);
    return fail(failure, TERN_STATUS_BAD_FIELD, "item %u: field %u of %zu bytes: %s", item, id,
                size, expected_of(field, size));
}

int tern_decode_item(const struct tern_decoder *decoder, const uint8_t *bytes, size_t length,
                     unsigned item, struct tern_facts *facts, uint8_t *space, size_t *space_used,
                     struct tern_decode_failure *failure)
{
    struct oddities odd = {0};

    tern_facts_clear(facts);
    while (length >= 3) {
        const struct tern_decode_field *field;
        unsigned id = bytes[0];
        size_t size = tern_load_u16(bytes + 1);
        uint64_t *present, bit;

        bytes += 3;
        length -= 3;
        if (TERN_UNLIKELY(size > length))
            return fail(failure, TERN_STATUS_BAD_FRAME, "item %u: field %u reaches past the item",
                        item, id);
        field = &decoder->fields[id];
        present = &facts->present[id / 64];
        bit = 1ull << (id % 64);
        if (TERN_UNLIKELY(
                !has_length(field, size) || (*present & bit) != 0 ||
                !decode_value(field, bytes, size, &facts->values[id], facts, space, space_used))) {
            if (decode_oddity(decoder, bytes, size, item, id, facts, &odd, failure) < 0)
                return TERN_EINVAL;
        } else {
            *present |= bit;
        }
        bytes += size;
        length -= size;
    }
    if (TERN_UNLIKELY(length > 0))
        return fail(failure, TERN_STATUS_BAD_FRAME, "item %u: a field's header is cut off", item);
    return odd.ignored;
}

const uint8_t *tern_encode_value(enum tern_type type, const union tern_value *value,
                                 uint8_t scratch[16], size_t *length)
{
    switch (type) {
    case TERN_TYPE_STRING:
        *length = value->string.length;
        return value->string.bytes;
    case TERN_TYPE_IP:
        *length = tern_address_to_bytes(value->address, scratch);
        return scratch;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        tern_store_u64(scratch, value->u64);
        *length = 8;
        return scratch;
    case TERN_TYPE_U32:
        tern_store_u32(scratch, (uint32_t)value->u64);
        *length = 4;
        return scratch;
    case TERN_TYPE_F32:
        tern_store_f32(scratch, value->f32);
        *length = 4;
        return scratch;
    case TERN_TYPE_BOOL:
        scratch[0] = value->boolean;
        *length = 1;
        return scratch;
    case TERN_TYPE_NONE:
    case TERN_TYPE_VECTOR:
        break;
    }
    *length = 0;
    return scratch;
}
