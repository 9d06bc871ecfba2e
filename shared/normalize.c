#include "shared/normalize.h"

/* Sixteen bytes at a time; the compiler has an instruction for each operation. */
typedef uint8_t lanes __attribute__((vector_size(16)));

static inline lanes load(const uint8_t *from)
{
    lanes loaded;

    memcpy(&loaded, from, sizeof loaded);
    return loaded;
}

static inline bool any(lanes found)
{
    uint64_t words[2];

    memcpy(words, &found, sizeof words);
    return (words[0] | words[1]) != 0;
}

/* The step that a byte alone calls for. */
static const uint8_t step_of[256] = {
    ['%'] = TERN_NORMALIZE_PERCENT_DECODE,
    ['?'] = TERN_NORMALIZE_STRIP_QUERY,
    ['#'] = TERN_NORMALIZE_STRIP_QUERY,
    ['A' ... 'Z'] = TERN_NORMALIZE_LOWER,
};

/* The step that a byte behind a slash calls for. */
static inline unsigned step_behind_slash(uint8_t byte)
{
    return byte == '/'   ? TERN_NORMALIZE_MERGE_SLASHES
           : byte == '.' ? TERN_NORMALIZE_DOT_SEGMENTS
                         : 0;
}

bool tern_normalize_is_normal(unsigned steps, const uint8_t *in, size_t length)
{
    lanes percents = {0}, ends = {0}, slashes = {0}, dots = {0}, capitals = {0};
    unsigned wanted;

    if (length == 0)
        return true;
    wanted = step_of[in[length - 1]] | (in[0] == '.' ? TERN_NORMALIZE_DOT_SEGMENTS : 0);
    if (length <= 16) {
        for (size_t i = 1; i < length; i++)
            wanted |= step_of[in[i - 1]] | (in[i - 1] == '/' ? step_behind_slash(in[i]) : 0);
        return (wanted & steps) == 0;
    }
    for (size_t at = 0;;) {
        lanes here = load(in + at), next = load(in + at + 1);
        lanes slash = (lanes)(here == '/');

        percents |= (lanes)(here == '%');
        ends |= (lanes)((here == '?') | (here == '#'));
        slashes |= slash & (lanes)(next == '/');
        dots |= slash & (lanes)(next == '.');
        capitals |= (lanes)(here - 'A' < 26);
        if (at + 17 == length)
            break;
        /* The last ones overlap: that is cheaper than to look at their bytes one by one. */
        at = at + 33 <= length ? at + 16 : length - 17;
    }
    wanted |= (any(percents) ? TERN_NORMALIZE_PERCENT_DECODE : 0) |
              (any(ends) ? TERN_NORMALIZE_STRIP_QUERY : 0) |
              (any(slashes) ? TERN_NORMALIZE_MERGE_SLASHES : 0) |
              (any(dots) ? TERN_NORMALIZE_DOT_SEGMENTS : 0) |
              (any(capitals) ? TERN_NORMALIZE_LOWER : 0);
    return (wanted & steps) == 0;
}

static size_t query_start(const uint8_t *in, size_t length)
{
    size_t at = 0;

    while (at < length && in[at] != '?' && in[at] != '#')
        at++;
    return at;
}

/* The value of a hexadecimal digit, 16 of anything else. */
static unsigned hex_value(uint8_t digit)
{
    unsigned letter = (digit | 0x20u) - 'a';

    return digit - 48u < 10 ? digit - 48u : letter < 6 ? letter + 10 : 16;
}

static size_t percent_decode(const uint8_t *in, size_t length, uint8_t *out)
{
    size_t end = 0;

    for (size_t at = 0; at < length; end++) {
        if (in[at] == '%' && length - at > 2) {
            unsigned high = hex_value(in[at + 1]), low = hex_value(in[at + 2]);

            if ((high | low) < 16) {
                out[end] = (uint8_t)(high << 4 | low);
                at += 3;
                continue;
            }
        }
        out[end] = in[at++];
    }
    return end;
}

static size_t merge_slashes(uint8_t *text, size_t length)
{
    size_t end = 0;

    for (size_t at = 0; at < length; at++)
        if (text[at] != '/' || end == 0 || text[end - 1] != '/')
            text[end++] = text[at];
    return end;
}

/* Whether `text` is `count` dots. */
static inline bool is_dots(const uint8_t *text, size_t length, size_t count)
{
    return length == count && text[0] == '.' && text[count - 1] == '.';
}

/* Where the segment that begins at `at` ends: at a slash or at the end of the text. */
static inline size_t segment_end(const uint8_t *text, size_t length, size_t at)
{
    while (at < length && text[at] != '/')
        at++;
    return at;
}

/* RFC 3986, 5.2.4, in place: what is kept never overtakes what is read. */
static size_t resolve_dots(uint8_t *text, size_t length)
{
    size_t at = 0, end = 0;

    /* Dots that a relative path begins with lead nowhere. */
    while (at < length) {
        size_t stop = segment_end(text, length, at);

        if (!is_dots(text + at, stop - at, 1) && !is_dots(text + at, stop - at, 2))
            break;
        at = stop + (stop < length);
    }
    while (at < length) {
        size_t name = at + (text[at] == '/'), stop = segment_end(text, length, name);
        bool up = name > at && is_dots(text + name, stop - name, 2);

        if (!up && !(name > at && is_dots(text + name, stop - name, 1))) {
            memmove(text + end, text + at, stop - at);
            end += stop - at;
        } else {
            if (up) { /* the last segment goes, and the slash before it */
                while (end > 0 && text[end - 1] != '/')
                    end--;
                end -= end > 0;
            }
            if (stop == length)
                text[end++] = '/';
        }
        at = stop;
    }
    return end;
}

static void lower(uint8_t *text, size_t length)
{
    for (size_t i = 0; i < length; i++) /* no branch inside: the compiler makes vectors of it */
        text[i] = (uint8_t)(text[i] | (((uint8_t)(text[i] - 'A') < 26) << 5));
}

size_t tern_normalize(unsigned steps, const uint8_t *in, size_t length, uint8_t *out)
{
    if (steps & TERN_NORMALIZE_STRIP_QUERY)
        length = query_start(in, length);
    if (steps & TERN_NORMALIZE_PERCENT_DECODE)
        length = percent_decode(in, length, out);
    else
        memmove(out, in, length);
    if (steps & TERN_NORMALIZE_MERGE_SLASHES)
        length = merge_slashes(out, length);
    if (steps & TERN_NORMALIZE_DOT_SEGMENTS)
        length = resolve_dots(out, length);
    if (steps & TERN_NORMALIZE_LOWER)
        lower(out, length);
    return length;
}
