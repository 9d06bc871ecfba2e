/* Strings that rules compare with, and what they ask of them. Private to shared/rules and to those
 * who write its sections. */
#ifndef TERN_RULES_TEXT_H
#define TERN_RULES_TEXT_H

#include "shared/base.h"
#include "shared/layout.h"

struct tern_text_span { /* in the bytes that stand behind the spans */
    uint32_t offset;
    uint32_t length;
};
TERN_LAYOUT_SIZE(tern_text_span, 8);
TERN_LAYOUT_FIELD(tern_text_span, offset, 0);
TERN_LAYOUT_FIELD(tern_text_span, length, 4);

/* Bytewise; of two that begin alike the shorter is less. */
static inline int tern_text_compare(const uint8_t *bytes, const struct tern_text_span *span,
                                    const uint8_t *text, uint32_t length)
{
    int order = memcmp(bytes + span->offset, text, span->length < length ? span->length : length);

    return order != 0 ? order : (span->length > length) - (span->length < length);
}

/* `spans` ascend. */
static inline bool tern_text_is_among(const uint8_t *bytes, const struct tern_text_span *spans,
                                      uint32_t count, const uint8_t *text, uint32_t length)
{
    while (count > 0) {
        uint32_t half = count / 2;
        int order = tern_text_compare(bytes, &spans[half], text, length);

        if (order == 0)
            return true;
        if (order < 0) {
            spans += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return false;
}

static inline bool tern_text_starts(const uint8_t *bytes, const struct tern_text_span *span,
                                    const uint8_t *text, uint32_t length)
{
    return length >= span->length && memcmp(bytes + span->offset, text, span->length) == 0;
}

static inline bool tern_text_ends(const uint8_t *bytes, const struct tern_text_span *span,
                                  const uint8_t *text, uint32_t length)
{
    return length >= span->length &&
           memcmp(bytes + span->offset, text + length - span->length, span->length) == 0;
}

#endif
