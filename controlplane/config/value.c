/* Values given as text. */
#include "controlplane/config/config.h"
#include "shared/host.h"
#include "shared/number.h"

static int parse_string(uint8_t flags, const char *text, size_t length, uint8_t *scratch,
                        union tern_value *value, struct tern_error *error)
{
    size_t folded;

    if (length > TERN_STRING_MAX)
        return tern_error_set(error, TERN_EINVAL, "a text has at most %u bytes, not %zu",
                              TERN_STRING_MAX, length);
    if (flags & TERN_FIELD_HOST) {
        tern_host_fold((const uint8_t *)text, length, scratch, &folded);
        value->string.bytes = scratch;
        value->string.length = (uint32_t)folded;
    } else {
        value->string.bytes = (const uint8_t *)text;
        value->string.length = (uint32_t)length;
    }
    return 0;
}

static int parse_bool(const char *text, size_t length, union tern_value *value,
                      struct tern_error *error)
{
    bool yes = (length == 4 && memcmp(text, "true", 4) == 0) || (length == 1 && text[0] == '1');

    if (!yes && !(length == 5 && memcmp(text, "false", 5) == 0) && !(length == 1 && text[0] == '0'))
        return tern_error_set(error, TERN_EINVAL, "expected true or false, not '%.*s'",
                              (int)tern_min_u64(length, 100), text);
    value->boolean = yes;
    return 0;
}

static int parse_vector(const char *text, size_t length, uint8_t *scratch, union tern_value *value,
                        struct tern_error *error)
{
    uint32_t used = 0;

    for (size_t start = 0; start <= length;) {
        const char *comma = memchr(text + start, ',', length - start);
        size_t end = comma == NULL ? length : (size_t)(comma - text);
        size_t first = start, last = end;
        float number;

        while (first < last && text[first] == ' ')
            first++;
        while (last > first && text[last - 1] == ' ')
            last--;
        if (tern_number_parse_f32(text + first, last - first, &number) != 0)
            return tern_error_set(error, TERN_EINVAL,
                                  "expected numbers with commas between, not '%.*s'",
                                  (int)tern_min_u64(end - start, 100), text + start);
        if (used + sizeof number > TERN_STRING_MAX)
            return tern_error_set(error, TERN_EINVAL,
                                  "a vector given as text has at most %zu numbers",
                                  TERN_STRING_MAX / sizeof number);
        memcpy(scratch + used, &number, sizeof number);
        used += sizeof number;
        start = end + 1;
    }
    value->string.bytes = scratch;
    value->string.length = used;
    return 0;
}

static int number_error(int code, const char *expected, const char *text, size_t length,
                        struct tern_error *error)
{
    return tern_error_set(error, TERN_EINVAL, "expected %s, not '%.*s'%s", expected,
                          (int)tern_min_u64(length, 100), text,
                          code == TERN_ELIMIT ? " (out of range)" : "");
}

int tern_config_parse_value(enum tern_type type, uint8_t flags, const char *text, size_t length,
                            uint8_t *scratch, union tern_value *value, struct tern_error *error)
{
    union tern_value parsed = {.u64 = 0};
    int result;

    switch (type) {
    case TERN_TYPE_IP:
        result = tern_address_parse(text, length, &parsed.address);
        if (result != 0)
            return number_error(result, "an address such as 192.0.2.1 or 2001:db8::1", text, length,
                                error);
        break;
    case TERN_TYPE_STRING:
        result = parse_string(flags, text, length, scratch, &parsed, error);
        break;
    case TERN_TYPE_U32:
    case TERN_TYPE_U64:
        result = tern_number_parse_u64(text, length, &parsed.u64);
        if (result == 0 && type == TERN_TYPE_U32 && parsed.u64 > UINT32_MAX)
            result = TERN_ELIMIT;
        if (result != 0)
            return number_error(result, "a whole number from 0 up", text, length, error);
        break;
    case TERN_TYPE_I64:
        result = tern_number_parse_i64(text, length, &parsed.i64);
        if (result != 0)
            return number_error(result, "a whole number", text, length, error);
        break;
    case TERN_TYPE_F32:
        result = tern_number_parse_f32(text, length, &parsed.f32);
        if (result != 0)
            return number_error(result, "a number such as 4 or 0.75", text, length, error);
        break;
    case TERN_TYPE_BOOL:
        result = parse_bool(text, length, &parsed, error);
        break;
    case TERN_TYPE_VECTOR:
        result = parse_vector(text, length, scratch, &parsed, error);
        break;
    default:
        return tern_error_set(error, TERN_EINVAL, "a value of no type");
    }
    if (result == 0)
        *value = parsed;
    return result;
}
