#include "controlplane/build/cells.h"

#include "controlplane/config/host_name.h"
#include "shared/number.h"
#include "shared/tables/domain.h"

#define DOMAIN_BYTES_MAX 253 /* RFC 1035, without the trailing dot */
#define LABEL_BYTES_MAX  63

/* Cuts what goes into a message. */
static int shown(size_t length)
{
    return (int)(length < 80 ? length : 80);
}

static int expected(struct tern_error *error, const char *what, int code, const uint8_t *text,
                    size_t length)
{
    if (length == 0)
        return tern_error_set(error, TERN_EINVAL, "expected %s, found nothing", what);
    return tern_error_set(error, TERN_EINVAL, "expected %s, found '%.*s'%s", what, shown(length),
                          (const char *)text, code == TERN_ELIMIT ? " (out of range)" : "");
}

/* Folds `*text`: ASCII in place, what becomes longer into `space`. */
static int fold_host(uint8_t **text, size_t *length, uint8_t *space, struct tern_error *error)
{
    int result;

    if (TERN_LIKELY(tern_host_name_is_ascii(*text, *length))) {
        tern_host_fold(*text, *length, *text, length);
        return 0;
    }
    result = tern_host_name_convert(*text, *length, space, length, error);
    *text = space;
    return result;
}

static int parse_string(uint8_t flags, uint8_t *text, size_t length, uint8_t *space,
                        union tern_value *value, struct tern_error *error)
{
    int result = 0;

    if (length > TERN_STRING_MAX)
        return tern_error_set(error, TERN_EINVAL, "a string has at most %u bytes, not %zu",
                              TERN_STRING_MAX, length);
    if (flags & TERN_FIELD_HOST)
        result = fold_host(&text, &length, space, error);
    value->string.bytes = text;
    value->string.length = (uint32_t)length;
    return result;
}

static int parse_bool(const uint8_t *text, size_t length, bool *value)
{
    if (length == 1 && (text[0] == '0' || text[0] == '1'))
        *value = text[0] == '1';
    else if (length == 4 && memcmp(text, "true", 4) == 0)
        *value = true;
    else if (length == 5 && memcmp(text, "false", 5) == 0)
        *value = false;
    else
        return TERN_EINVAL;
    return 0;
}

int tern_cell_parse(enum tern_type type, uint8_t flags, uint8_t *text, size_t length,
                    uint8_t *space, union tern_value *value, struct tern_error *error)
{
    const char *characters = (const char *)text;
    int result;

    switch (type) {
    case TERN_TYPE_STRING:
        return parse_string(flags, text, length, space, value, error);
    case TERN_TYPE_U32:
        result = tern_number_parse_u64(characters, length, &value->u64);
        if (result == 0 && value->u64 > UINT32_MAX)
            result = TERN_ELIMIT;
        return result == 0 ? 0 : expected(error, "a u32 number", result, text, length);
    case TERN_TYPE_U64:
        result = tern_number_parse_u64(characters, length, &value->u64);
        return result == 0 ? 0 : expected(error, "a u64 number", result, text, length);
    case TERN_TYPE_I64:
        result = tern_number_parse_i64(characters, length, &value->i64);
        return result == 0 ? 0 : expected(error, "an i64 number", result, text, length);
    case TERN_TYPE_F32:
        result = tern_number_parse_f32(characters, length, &value->f32);
        return result == 0 ? 0 : expected(error, "a number", result, text, length);
    case TERN_TYPE_BOOL:
        result = parse_bool(text, length, &value->boolean);
        return result == 0 ? 0 : expected(error, "true, false, 1 or 0", result, text, length);
    case TERN_TYPE_IP:
        result = tern_address_parse(characters, length, &value->address);
        return result == 0 ? 0 : expected(error, "an address", result, text, length);
    default:
        return tern_error_set(error, TERN_EINVAL, "a column of type %s", tern_type_name(type));
    }
}

int tern_key_parse(enum tern_type type, uint8_t flags, uint8_t *text, size_t length, uint8_t *space,
                   union tern_value *value, struct tern_error *error)
{
    int result = tern_cell_parse(type, flags, text, length, space, value, error);

    if (result == 0 && type == TERN_TYPE_STRING && value->string.length == 0)
        return tern_error_set(error, TERN_EINVAL, "the key is empty");
    return result;
}

int tern_key_parse_prefix(const uint8_t *text, size_t length, struct tern_address_range *range,
                          struct tern_error *error)
{
    char network[TERN_ADDRESS_TEXT];
    const uint8_t *slash;
    int result = tern_address_parse_prefix((const char *)text, length, range);

    if (TERN_LIKELY(result == 0))
        return 0;
    if (result != TERN_EREFUSED)
        return expected(error, "an address or a prefix such as 192.0.2.0/24", result, text, length);
    slash = memchr(text, '/', length);
    tern_address_format(range->first, network);
    return tern_error_set(error, TERN_EINVAL,
                          "'%.*s' has bits set past its prefix length; the network is %s%.*s",
                          shown(length), (const char *)text, network,
                          shown(length - (size_t)(slash - text)), (const char *)slash);
}

int tern_key_parse_range(const uint8_t *first, size_t first_length, const uint8_t *last,
                         size_t last_length, struct tern_address_range *range,
                         struct tern_error *error)
{
    struct tern_address_range parsed;

    if (tern_address_parse((const char *)first, first_length, &parsed.first) != 0)
        return expected(error, "an address", TERN_EINVAL, first, first_length);
    if (tern_address_parse((const char *)last, last_length, &parsed.last) != 0)
        return expected(error, "an address", TERN_EINVAL, last, last_length);
    if (tern_address_is_v4(parsed.first) != tern_address_is_v4(parsed.last))
        return tern_error_set(
            error, TERN_EINVAL, "a range from '%.*s' to '%.*s' mixes IPv4 and IPv6",
            shown(first_length), (const char *)first, shown(last_length), (const char *)last);
    if (tern_address_compare(parsed.first, parsed.last) > 0)
        return tern_error_set(error, TERN_EINVAL, "the range ends before it begins: '%.*s', '%.*s'",
                              shown(first_length), (const char *)first, shown(last_length),
                              (const char *)last);
    *range = parsed;
    return 0;
}

/* Which bytes a label may have, after folding. */
static const uint8_t label_bytes[256] = {
    ['a' ... 'z'] = 1, ['0' ... '9'] = 1, ['-'] = 1, ['_'] = 1};

int tern_key_parse_domain(uint8_t *text, size_t length, uint8_t *space, union tern_value *value,
                          struct tern_error *error)
{
    size_t label = 0; /* where the label begins */
    unsigned labels = 1;
    int result = fold_host(&text, &length, space, error);

    if (TERN_UNLIKELY(result != 0))
        return result;
    if (length == 0)
        return tern_error_set(error, TERN_EINVAL, "expected a domain name, found nothing");
    if (length > DOMAIN_BYTES_MAX)
        return tern_error_set(error, TERN_EINVAL, "a domain name has at most %d bytes, not %zu",
                              DOMAIN_BYTES_MAX, length);
    for (size_t i = 0; i <= length; i++) {
        if (i < length && TERN_LIKELY(label_bytes[text[i]]))
            continue;
        if (i < length && text[i] != '.')
            return tern_error_set(error, TERN_EINVAL,
                                  "expected a domain name (it and all below it is meant), found "
                                  "'%.*s'",
                                  shown(length), (const char *)text);
        if (i == label)
            return tern_error_set(error, TERN_EINVAL, "'%.*s' has an empty label", shown(length),
                                  (const char *)text);
        if (i - label > LABEL_BYTES_MAX)
            return tern_error_set(error, TERN_EINVAL, "'%.*s' has a label of more than %d bytes",
                                  shown(length), (const char *)text, LABEL_BYTES_MAX);
        label = i + 1;
        labels += i < length;
    }
    if (labels > TERN_DOMAIN_LABELS_MAX)
        return tern_error_set(error, TERN_EINVAL, "a domain name has at most %d labels, not %u",
                              TERN_DOMAIN_LABELS_MAX, labels);
    value->string.bytes = text;
    value->string.length = (uint32_t)length;
    return 0;
}
