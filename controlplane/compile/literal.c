#include "controlplane/compile/literal.h"

#include <stdarg.h>

#include "controlplane/config/host_name.h"
#include "shared/number.h"

const char *tern_operand_type_name(const struct tern_operand *operand)
{
    return operand->flags & TERN_FIELD_HOST ? "host" : tern_type_name(operand->type);
}

static const char *token_name(const struct tern_token *token)
{
    switch (token->kind) {
    case TERN_TOKEN_STRING:
        return "a string";
    case TERN_TOKEN_NUMBER:
        return "a number";
    case TERN_TOKEN_ADDRESS:
        return "an ip";
    case TERN_TOKEN_PATTERN:
        return "a regular expression";
    case TERN_TOKEN_END:
        return "the end of the expression";
    case TERN_TOKEN_NAME:
        return tern_token_is(token, "true") || tern_token_is(token, "false") ? "a bool" : "a name";
    case TERN_TOKEN_TABLE:
        return "a table";
    default:
        return "no literal";
    }
}

static int fail(char *message, const char *format, ...) TERN_PRINTF(2, 3);
static int fail(char *message, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, TERN_LITERAL_MESSAGE, format, arguments);
    va_end(arguments);
    return TERN_EINVAL;
}

static int mismatch(const struct tern_operand *operand, const struct tern_token *token,
                    const char *wanted, char *message)
{
    return fail(message, "expected %s because the left side is of type %s, found %s", wanted,
                tern_operand_type_name(operand), token_name(token));
}

static int convert_integer(const struct tern_operand *operand, const struct tern_token *token,
                           union tern_value *value, char *message)
{
    const char *text = token->text;
    size_t length = token->length, sign = length > 0 && (text[0] == '-' || text[0] == '+');
    int code;

    if (token->kind != TERN_TOKEN_NUMBER)
        return mismatch(operand, token, "a whole number", message);
    if (operand->type == TERN_TYPE_I64)
        code = tern_number_parse_i64(text, length, &value->i64);
    else
        code = tern_number_parse_u64(text + sign, length - sign, &value->u64);
    if (code == TERN_EINVAL)
        return fail(message, "expected a whole number because the left side is of type %s",
                    tern_operand_type_name(operand));
    if (operand->type != TERN_TYPE_I64 && text[0] == '-' && (code != 0 || value->u64 != 0))
        return fail(message, "%s is never negative", tern_operand_type_name(operand));
    if (code != 0 || (operand->type == TERN_TYPE_U32 && value->u64 > UINT32_MAX))
        return fail(message, "number does not fit the left side's type %s",
                    tern_operand_type_name(operand));
    return 0;
}

static int convert_float(const struct tern_operand *operand, const struct tern_token *token,
                         union tern_value *value, char *message)
{
    if (token->kind != TERN_TOKEN_NUMBER)
        return mismatch(operand, token, "a number", message);
    if (tern_number_parse_f32(token->text, token->length, &value->f32) != 0)
        return fail(message, "number does not fit the left side's type f32");
    return 0;
}

static void lower_ascii(const uint8_t *in, size_t length, uint8_t *out)
{
    for (size_t i = 0; i < length; i++)
        out[i] = (uint8_t)(in[i] | (((uint8_t)(in[i] - 'A') < 26) << 5));
}

/* Folds a host. Its beginning or middle has no trailing dot or port to lose, and a part that is not
 * ASCII has to be whole labels: punycode keeps nothing of the order that letters had within one. */
static int convert_host(const uint8_t *text, size_t length, enum tern_test test, uint8_t *out,
                        size_t *out_length, char *message)
{
    bool begins = test != TERN_TEST_ENDS_WITH || (length > 0 && text[0] == '.');
    bool ends = test != TERN_TEST_STARTS_WITH || (length > 0 && text[length - 1] == '.');
    bool to_end = test == TERN_TEST_EQ || test == TERN_TEST_NE || test == TERN_TEST_IN ||
                  test == TERN_TEST_ENDS_WITH;
    struct tern_error error;

    if (tern_host_name_is_ascii(text, length)) {
        if (!to_end) {
            lower_ascii(text, length, out);
            *out_length = length;
            return 0;
        }
        tern_host_fold(text, length, out, out_length);
        if (test == TERN_TEST_ENDS_WITH && length > 0 && *out_length == 0)
            return fail(message,
                        "hosts are compared without port and trailing dot: nothing is left "
                        "of this");
        return 0;
    }
    if ((!to_end && test != TERN_TEST_STARTS_WITH) || !begins || !ends)
        return fail(message,
                    "hosts compare in punycode, which has no parts of a label: write whole labels, "
                    "from a dot or to a dot, or xn--…");
    if (test == TERN_TEST_ENDS_WITH)
        *out++ = '.';
    if (tern_host_name_convert(text + (test == TERN_TEST_ENDS_WITH),
                               length - (test == TERN_TEST_ENDS_WITH), out, out_length,
                               &error) != 0)
        return fail(message, "%s", error.message);
    if (test == TERN_TEST_STARTS_WITH)
        out[(*out_length)++] = '.';
    *out_length += test == TERN_TEST_ENDS_WITH;
    return 0;
}

static int convert_string(const struct tern_operand *operand, const struct tern_token *token,
                          enum tern_test test, struct tern_region *region, union tern_value *value,
                          char *message)
{
    uint8_t *bytes;
    size_t length = token->length;
    int status;

    if (token->kind != TERN_TOKEN_STRING) {
        if (token->kind == TERN_TOKEN_NAME)
            return fail(message, "expected a string, quote it: \"%.*s\"",
                        (int)tern_min_u64(token->length, 64), token->text);
        return mismatch(operand, token, "a string in quotes", message);
    }
    if (length > TERN_STRING_MAX)
        return fail(message, "string of %zu bytes is over the limit of %u", length,
                    TERN_STRING_MAX);
    bytes = tern_region_take(
        region, length + (operand->flags & TERN_FIELD_HOST ? TERN_HOST_GROWTH + 2 : 0));
    if (bytes == NULL)
        return TERN_ENOMEM;
    if (operand->flags & TERN_FIELD_HOST) {
        status = convert_host((const uint8_t *)token->text, length, test, bytes, &length, message);
        if (status != 0)
            return status;
    } else {
        memcpy(bytes, token->text, length);
    }
    value->string.bytes = bytes;
    value->string.length = (uint32_t)length;
    return 0;
}

static int convert_address(const struct tern_operand *operand, const struct tern_token *token,
                           bool prefixes, struct tern_literal *literal, char *message)
{
    struct tern_address_range range;
    int status;

    if (token->kind != TERN_TOKEN_ADDRESS && token->kind != TERN_TOKEN_STRING)
        return mismatch(operand, token, "an ip", message);
    status = tern_address_parse_prefix(token->text, token->length, &range);
    if (status == TERN_EREFUSED)
        return fail(message, "'%.*s' has bits set past its prefix length",
                    (int)tern_min_u64(token->length, 64), token->text);
    if (status != 0)
        return fail(message, "'%.*s' is not an ip address%s", (int)tern_min_u64(token->length, 64),
                    token->text, prefixes ? " or CIDR prefix" : "");
    if (!prefixes && memchr(token->text, '/', token->length) != NULL)
        return fail(message, "a prefix stands in braces: in {%.*s}",
                    (int)tern_min_u64(token->length, 64), token->text);
    literal->first.address = range.first;
    literal->last.address = range.last;
    return 0;
}

int tern_literal_convert(const struct tern_operand *operand, const struct tern_token *token,
                         enum tern_test test, bool prefixes, struct tern_region *region,
                         struct tern_literal *literal, char message[TERN_LITERAL_MESSAGE])
{
    struct tern_literal converted;
    int status;

    memset(&converted, 0, sizeof converted);
    switch ((enum tern_type)operand->type) {
    case TERN_TYPE_IP:
        status = convert_address(operand, token, prefixes, &converted, message);
        if (status == 0)
            *literal = converted;
        return status;
    case TERN_TYPE_STRING:
        status = convert_string(operand, token, test, region, &converted.first, message);
        break;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
    case TERN_TYPE_U32:
        status = convert_integer(operand, token, &converted.first, message);
        break;
    case TERN_TYPE_F32:
        status = convert_float(operand, token, &converted.first, message);
        break;
    case TERN_TYPE_BOOL:
        if (token->kind != TERN_TOKEN_NAME ||
            (!tern_token_is(token, "true") && !tern_token_is(token, "false")))
            return mismatch(operand, token, "true or false", message);
        converted.first.boolean = tern_token_is(token, "true");
        status = 0;
        break;
    default:
        return fail(message, "values of type %s cannot be compared",
                    tern_operand_type_name(operand));
    }
    if (status != 0)
        return status;
    converted.last = converted.first;
    *literal = converted;
    return 0;
}

int tern_literal_compare(enum tern_type type, const union tern_value *a, const union tern_value *b)
{
    switch (type) {
    case TERN_TYPE_IP:
        return tern_address_compare(a->address, b->address);
    case TERN_TYPE_I64:
        return (a->i64 > b->i64) - (a->i64 < b->i64);
    case TERN_TYPE_F32:
        return (a->f32 > b->f32) - (a->f32 < b->f32);
    case TERN_TYPE_BOOL:
        return (int)a->boolean - (int)b->boolean;
    default:
        return (a->u64 > b->u64) - (a->u64 < b->u64);
    }
}
