#include "controlplane/config/quantity.h"

#include "shared/error.h"
#include "shared/number.h"

#include <inttypes.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest last: formatting takes the largest that divides. */
static const struct unit size_units[] = {
    {"B", 1}, {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40},
};
static const struct unit count_units[] = {
    {"k", 1000},
    {"M", 1000000},
    {"G", 1000000000},
};
static const struct unit duration_units[] = {
    {"us", 1},           {"ms", 1000},         {"s", 1000000},
    {"m", 60 * 1000000}, {"h", 3600000000ull}, {"d", 86400000000ull},
};

static int parse(const char *text, size_t length, const struct unit *units, size_t unit_count,
                 bool bare, uint64_t *value)
{
    size_t digits = 0;
    uint64_t number;
    int result;

    while (digits < length && text[digits] >= '0' && text[digits] <= '9')
        digits++;
    result = tern_number_parse_u64(text, digits, &number);
    if (result != 0)
        return result;
    if (digits == length) {
        if (!bare && number != 0)
            return TERN_EINVAL;
        *value = number;
        return 0;
    }
    for (size_t i = 0; i < unit_count; i++)
        if (strlen(units[i].name) == length - digits &&
            memcmp(units[i].name, text + digits, length - digits) == 0) {
            if (__builtin_mul_overflow(number, units[i].factor, &number))
                return TERN_ELIMIT;
            *value = number;
            return 0;
        }
    return TERN_EINVAL;
}

int tern_quantity_size(const char *text, size_t length, uint64_t *bytes)
{
    return parse(text, length, size_units, TERN_COUNT(size_units), true, bytes);
}

int tern_quantity_count(const char *text, size_t length, uint64_t *count)
{
    return parse(text, length, count_units, TERN_COUNT(count_units), true, count);
}

int tern_quantity_duration(const char *text, size_t length, uint64_t *duration_us)
{
    return parse(text, length, duration_units, TERN_COUNT(duration_units), false, duration_us);
}

int tern_quantity_share(const char *text, size_t length, uint64_t *permille)
{
    uint64_t whole;
    size_t digits = length > 0 ? length - 1 : 0;
    bool tenth = digits >= 2 && text[digits - 2] == '.';
    int result;

    if (length < 2 || text[length - 1] != '%' ||
        (tenth && (text[digits - 1] < '0' || text[digits - 1] > '9')))
        return TERN_EINVAL;
    result = tern_number_parse_u64(text, tenth ? digits - 2 : digits, &whole);
    if (result != 0)
        return result;
    if (whole > UINT32_MAX)
        return TERN_ELIMIT;
    *permille = whole * 10 + (tenth ? (uint64_t)(text[digits - 1] - '0') : 0);
    return 0;
}

static void format(uint64_t value, const struct unit *units, size_t unit_count,
                   char text[TERN_QUANTITY_TEXT])
{
    size_t i = unit_count - 1;

    while (i > 0 && (value == 0 || value % units[i].factor != 0))
        i--;
    snprintf(text, TERN_QUANTITY_TEXT, "%" PRIu64 "%s", value / units[i].factor,
             value == 0 ? "" : units[i].name);
}

void tern_quantity_format_size(uint64_t bytes, char text[TERN_QUANTITY_TEXT])
{
    format(bytes, size_units, TERN_COUNT(size_units), text);
}

void tern_quantity_format_duration(uint64_t duration_us, char text[TERN_QUANTITY_TEXT])
{
    format(duration_us, duration_units, TERN_COUNT(duration_units), text);
}
