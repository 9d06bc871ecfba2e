/* Well-formed UTF-8 (RFC 3629; table 3-7 of the Unicode standard): no overlong forms, no
 * surrogates, nothing past U+10FFFF. */
#ifndef TERN_UTF8_H
#define TERN_UTF8_H

#include "shared/base.h"

/* The bytes of the well-formed sequence that `text` begins with, 0 when there is none. `length` is
 * at least 1. */
static inline size_t tern_utf8_length(const uint8_t *text, size_t length)
{
    uint8_t first = text[0], low = 0x80, high = 0xbf;
    size_t need;

    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        need = 2;
    else if (first >= 0xe0 && first <= 0xef)
        need = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        need = 4;
    else
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (length < need || text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if (text[i] < 0x80 || text[i] > 0xbf)
            return 0;
    return need;
}

/* The code point of the well-formed sequence of `length` bytes at `text`. */
static inline uint32_t tern_utf8_point(const uint8_t *text, size_t length)
{
    static const uint8_t first_bits[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = text[0] & first_bits[length];

    for (size_t i = 1; i < length; i++)
        point = point << 6 | (text[i] & 0x3f);
    return point;
}

/* Writes a code point (no surrogate) as 1 to 4 bytes; what follows them. */
static inline uint8_t *tern_utf8_put(uint8_t *to, uint32_t point)
{
    if (point < 0x80) {
        *to++ = (uint8_t)point;
    } else if (point < 0x800) {
        *to++ = (uint8_t)(0xc0 | point >> 6);
        *to++ = (uint8_t)(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
        *to++ = (uint8_t)(0xe0 | point >> 12);
        *to++ = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (point & 0x3f));
    } else {
        *to++ = (uint8_t)(0xf0 | point >> 18);
        *to++ = (uint8_t)(0x80 | (point >> 12 & 0x3f));
        *to++ = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (point & 0x3f));
    }
    return to;
}

#endif
