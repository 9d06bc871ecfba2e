#include "shared/idna.h"

#include "shared/error.h"
#include "shared/utf8.h"

#include "shared/idna_tables.h" /* mapped_*, combining, pair_*: made by idna_tables.py */

#define POINTS_MAX 1024 /* of a name, decomposed: a name of 253 bytes has fewer */
#define MARKS_MAX  30   /* one after another: the Stream-Safe Text Format of UAX 15 */

struct name { /* a name as code points */
    unsigned count;
    uint32_t points[POINTS_MAX];
};

/* The index of the last element of `list` that is at most `key`, or `count` when none is. */
static size_t find_u32(const uint32_t *list, size_t count, uint32_t key)
{
    size_t first = 0, last = count;

    while (first < last) {
        size_t middle = (first + last) / 2;

        if (list[middle] <= key)
            first = middle + 1;
        else
            last = middle;
    }
    return first > 0 ? first - 1 : count;
}

static unsigned combining_class(uint32_t point)
{
    size_t found;

    if (point < 0x300)
        return 0;
    found = find_u32(combining, TERN_COUNT(combining), point << 8 | 0xff);
    return found < TERN_COUNT(combining) && combining[found] >> 8 == point ? combining[found] & 0xff
                                                                           : 0;
}

/* ---- Hangul by arithmetic (Unicode standard, 3.12) ---- */

#define HANGUL_FIRST    0xac00u
#define HANGUL_COUNT    11172u
#define LEADING_FIRST   0x1100u
#define LEADING_COUNT   19u
#define VOWEL_FIRST     0x1161u
#define VOWEL_COUNT     21u
#define TRAILING_BEFORE 0x11a7u
#define TRAILING_COUNT  28u /* none included */

static unsigned decompose_hangul(uint32_t point, uint32_t parts[3])
{
    uint32_t index = point - HANGUL_FIRST;

    parts[0] = LEADING_FIRST + index / (VOWEL_COUNT * TRAILING_COUNT);
    parts[1] = VOWEL_FIRST + index / TRAILING_COUNT % VOWEL_COUNT;
    parts[2] = TRAILING_BEFORE + index % TRAILING_COUNT;
    return index % TRAILING_COUNT != 0 ? 3 : 2;
}

static uint32_t compose_hangul(uint32_t first, uint32_t second)
{
    if (first - LEADING_FIRST < LEADING_COUNT && second - VOWEL_FIRST < VOWEL_COUNT)
        return HANGUL_FIRST +
               ((first - LEADING_FIRST) * VOWEL_COUNT + (second - VOWEL_FIRST)) * TRAILING_COUNT;
    if (first - HANGUL_FIRST < HANGUL_COUNT && (first - HANGUL_FIRST) % TRAILING_COUNT == 0 &&
        second - TRAILING_BEFORE - 1 < TRAILING_COUNT - 1)
        return first + (second - TRAILING_BEFORE);
    return 0;
}

/* ---- Mapping and composition ---- */

/* Appends what UTS 46 maps the code point to, decomposed. */
static bool append_mapped(struct name *name, uint32_t point)
{
    const uint32_t *parts = &point;
    uint32_t syllable[3];
    size_t count = 1;

    if (point < 0x80) {
        point |= (uint32_t)(point - 'A' < 26) << 5;
    } else if (point - HANGUL_FIRST < HANGUL_COUNT) {
        count = decompose_hangul(point, syllable);
        parts = syllable;
    } else {
        size_t found = find_u32(mapped_points, TERN_COUNT(mapped_points), point);

        if (found < TERN_COUNT(mapped_points) && mapped_points[found] == point) {
            parts = mapped_pool + mapped_starts[found];
            count = (size_t)(mapped_starts[found + 1] - mapped_starts[found]);
        }
    }
    if (count > POINTS_MAX - name->count)
        return false;
    memcpy(name->points + name->count, parts, count * sizeof *parts);
    name->count += (unsigned)count;
    return true;
}

static bool read_points(const uint8_t *in, size_t length, struct name *name)
{
    name->count = 0;
    for (size_t at = 0; at < length;) {
        size_t step = tern_utf8_length(in + at, length - at);

        if (step == 0 || !append_mapped(name, tern_utf8_point(in + at, step)))
            return false;
        at += step;
    }
    return true;
}

/* The code point that two compose to, 0 for none. */
static uint32_t compose_pair(uint32_t first, uint32_t second)
{
    uint64_t key = (uint64_t)first << 32 | second;
    uint32_t syllable = compose_hangul(first, second);
    size_t low = 0, high = TERN_COUNT(pair_keys);

    if (syllable != 0)
        return syllable;
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (pair_keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < TERN_COUNT(pair_keys) && pair_keys[low] == key ? pair_points[low] : 0;
}

/* Canonical order, then canonical composition (UAX 15) in place. False for too many marks. */
static bool compose(struct name *name)
{
    uint8_t classes[POINTS_MAX];
    unsigned kept = 0, starter = POINTS_MAX, marks = 0;

    for (unsigned i = 0; i < name->count; i++) {
        uint32_t point = name->points[i];
        uint8_t class = (uint8_t)combining_class(point);
        unsigned at = i;

        marks = class != 0 ? marks + 1 : 0;
        if (marks > MARKS_MAX)
            return false;
        for (; class != 0 && at > 0 && classes[at - 1] > class; at--) {
            classes[at] = classes[at - 1];
            name->points[at] = name->points[at - 1];
        }
        classes[at] = class;
        name->points[at] = point;
    }
    for (unsigned i = 0; i < name->count; i++) {
        uint32_t point = name->points[i];
        /* Blocked when something of the same or a higher class, or a starter, stands between. */
        bool near =
            starter < POINTS_MAX &&
            (kept == starter + 1 || (classes[kept - 1] != 0 && classes[kept - 1] < classes[i]));
        uint32_t composed = near ? compose_pair(name->points[starter], point) : 0;

        if (composed != 0) {
            name->points[starter] = composed;
            continue;
        }
        if (classes[i] == 0)
            starter = kept;
        classes[kept] = classes[i];
        name->points[kept++] = point;
    }
    name->count = kept;
    return true;
}

/* ---- Punycode (RFC 3492, 6.3) ---- */

#define PUNY_BASE 36u

static uint8_t puny_digit(uint32_t value)
{
    return (uint8_t)(value < 26 ? 'a' + value : '0' + value - 26);
}

static uint32_t puny_adapt(uint32_t delta, uint32_t handled, bool first)
{
    uint32_t steps = 0;

    delta = first ? delta / 700 : delta / 2;
    delta += delta / handled;
    for (; delta > 35 * 26 / 2; steps += PUNY_BASE)
        delta /= 35;
    return steps + 36 * delta / (delta + 38);
}

/* One label in punycode behind "xn--". At most TERN_IDNA_LABEL_MAX code points, which keeps every
 * sum below 2³². Returns its length, 0 when it is longer than a label may be. */
static size_t encode_label(const uint32_t *points, unsigned count, uint8_t *out)
{
    uint32_t next = 0x80, delta = 0, bias = 72;
    unsigned handled = 0, basic;
    size_t end = 4;

    if (count > TERN_IDNA_LABEL_MAX)
        return 0;
    memcpy(out, "xn--", 4);
    for (unsigned i = 0; i < count; i++)
        if (points[i] < 0x80 && end < TERN_IDNA_LABEL_MAX) {
            out[end++] = (uint8_t)points[i];
            handled++;
        }
    basic = handled;
    if (basic > 0 && end < TERN_IDNA_LABEL_MAX)
        out[end++] = '-';
    while (handled < count) {
        uint32_t least = UINT32_MAX;

        for (unsigned i = 0; i < count; i++)
            if (points[i] >= next && points[i] < least)
                least = points[i];
        delta += (least - next) * (handled + 1);
        next = least;
        for (unsigned i = 0; i < count; i++) {
            uint32_t rest = delta;

            delta += points[i] < next;
            if (points[i] != next)
                continue;
            for (uint32_t k = PUNY_BASE;; k += PUNY_BASE) {
                uint32_t limit = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;

                if (end == TERN_IDNA_LABEL_MAX)
                    return 0;
                if (rest < limit)
                    break;
                out[end++] = puny_digit(limit + (rest - limit) % (PUNY_BASE - limit));
                rest = (rest - limit) / (PUNY_BASE - limit);
            }
            out[end++] = puny_digit(rest);
            bias = puny_adapt(delta, handled + 1, handled == basic);
            delta = 0;
            handled++;
        }
        delta++;
        next++;
    }
    return end;
}

/* ---- Labels ---- */

static bool is_ascii(const uint32_t *points, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (points[i] >= 0x80)
            return false;
    return true;
}

/* Appends a label to `out`; false when it, or the name, gets too long. */
static bool append_label(const uint32_t *points, unsigned count, uint8_t *out, size_t *end)
{
    uint8_t label[TERN_IDNA_LABEL_MAX];
    size_t length = count;

    if (is_ascii(points, count)) {
        if (length > TERN_IDNA_BYTES_MAX - *end)
            return false;
        for (unsigned i = 0; i < count; i++)
            out[(*end)++] = (uint8_t)points[i];
        return true;
    }
    length = encode_label(points, count, label);
    if (length == 0 || length > TERN_IDNA_BYTES_MAX - *end)
        return false;
    memcpy(out + *end, label, length);
    *end += length;
    return true;
}

int tern_idna_to_ascii(const uint8_t *in, size_t length, uint8_t *out, size_t *out_length)
{
    struct name name;
    unsigned start = 0;
    size_t end = 0;

    if (length > TERN_IDNA_INPUT_MAX || !read_points(in, length, &name) || !compose(&name))
        return TERN_EINVAL;
    for (unsigned i = 0; i <= name.count; i++) {
        if (i < name.count && name.points[i] != '.')
            continue;
        if (!append_label(name.points + start, i - start, out, &end))
            return TERN_EINVAL;
        if (i < name.count) {
            if (end == TERN_IDNA_BYTES_MAX)
                return TERN_EINVAL;
            out[end++] = '.';
        }
        start = i + 1;
    }
    *out_length = end;
    return 0;
}
