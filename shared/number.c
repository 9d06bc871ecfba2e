#include "shared/number.h"

#include "shared/error.h"

#include <float.h>

int tern_number_parse_u64(const char *text, size_t length, uint64_t *value)
{
    uint64_t number = 0;

    if (length == 0)
        return TERN_EINVAL;
    for (size_t i = 0; i < length; i++)
        if ((uint8_t)(text[i] - '0') > 9)
            return TERN_EINVAL;
    for (size_t i = 0; i < length; i++) {
        if (i >= 19 && (__builtin_mul_overflow(number, 10, &number) ||
                        __builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number)))
            return TERN_ELIMIT;
        if (i < 19)
            number = number * 10 + (uint64_t)(text[i] - '0');
    }
    *value = number;
    return 0;
}

int tern_number_parse_i64(const char *text, size_t length, int64_t *value)
{
    bool negative = length > 0 && text[0] == '-';
    size_t sign = length > 0 && (text[0] == '-' || text[0] == '+');
    uint64_t magnitude;
    int result = tern_number_parse_u64(text + sign, length - sign, &magnitude);

    if (result != 0)
        return result;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return TERN_ELIMIT;
    *value = (int64_t)(negative ? 0 - magnitude : magnitude);
    return 0;
}

/* A decimal as its parts: digits × 10^exponent. */
struct decimal {
    uint64_t digits;
    int exponent;
    bool negative;
    bool exact; /* all digits are in `digits` */
};

static int scan_exponent(const char *text, size_t length, int *exponent)
{
    bool negative = length > 0 && text[0] == '-';
    size_t i = length > 0 && (text[0] == '-' || text[0] == '+');
    int number = 0;

    if (i == length)
        return TERN_EINVAL;
    for (; i < length; i++) {
        if ((uint8_t)(text[i] - '0') > 9)
            return TERN_EINVAL;
        if (number < 100000) /* further off than any float either way */
            number = number * 10 + (text[i] - '0');
    }
    *exponent += negative ? -number : number;
    return 0;
}

static int scan_decimal(const char *text, size_t length, struct decimal *decimal)
{
    size_t i = length > 0 && (text[0] == '-' || text[0] == '+');
    bool point = false, any = false;

    *decimal = (struct decimal){.negative = i == 1 && text[0] == '-', .exact = true};
    for (; i < length; i++) {
        uint8_t digit = (uint8_t)(text[i] - '0');

        if (digit <= 9) {
            any = true;
            if (decimal->digits < UINT64_MAX / 100) {
                decimal->digits = decimal->digits * 10 + digit;
                decimal->exponent -= point;
            } else {
                decimal->exact = false;
                decimal->exponent += !point;
            }
        } else if (text[i] == '.' && !point) {
            point = true;
        } else {
            break;
        }
    }
    if (!any)
        return TERN_EINVAL;
    if (i == length)
        return 0;
    if (text[i] != 'e' && text[i] != 'E')
        return TERN_EINVAL;
    return scan_exponent(text + i + 1, length - i - 1, &decimal->exponent);
}

/* The rare long way: more digits or a larger exponent than doubles hold exactly. strtod needs a
 * terminated copy; the programs never leave the C locale, so '.' is its point too. */
static int parse_slowly(const char *text, size_t length, double *value)
{
    char copy[512];

    if (length >= sizeof copy)
        return TERN_EINVAL;
    memcpy(copy, text, length);
    copy[length] = 0;
    *value = strtod(copy, NULL);
    return 0;
}

int tern_number_parse_f32(const char *text, size_t length, float *value)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct decimal decimal;
    double number;
    int result = scan_decimal(text, length, &decimal);

    if (result != 0)
        return result;
    /* Both operands are exact doubles, so one rounding is the right one (Clinger, PLDI 1990). */
    if (decimal.exact && decimal.digits <= 1ull << 53 && decimal.exponent >= -22 &&
        decimal.exponent <= 22) {
        number = (double)decimal.digits;
        number = decimal.exponent < 0 ? number / powers[-decimal.exponent]
                                      : number * powers[decimal.exponent];
        number = decimal.negative ? -number : number;
    } else {
        result = parse_slowly(text, length, &number);
        if (result != 0)
            return result;
    }
    if (!((float)number >= -FLT_MAX && (float)number <= FLT_MAX))
        return TERN_ELIMIT;
    *value = (float)number + 0.0f; /* −0 + 0 is 0 */
    return 0;
}
