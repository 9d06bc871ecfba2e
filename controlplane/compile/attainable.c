#include "controlplane/compile/attainable.h"

#include "shared/normalize.h"

#include <ctype.h>

/* What stands in the text that `step` would have taken away, NULL when nothing does. Parts of a
 * value are told by their inside alone: "/a/." may go on as "/a/.well-known". */
static const char *offence(unsigned step, bool whole, const uint8_t *text, size_t length)
{
    uint8_t copy[TERN_STRING_MAX];
    size_t left;

    if (step == TERN_NORMALIZE_LOWER) {
        tern_normalize(step, text, length, copy);
        return memcmp(copy, text, length) != 0 ? "is in lower case" : NULL;
    }
    if (step == TERN_NORMALIZE_MERGE_SLASHES)
        return memmem(text, length, "//", 2) != NULL ? "has its slashes merged" : NULL;
    if (step == TERN_NORMALIZE_DOT_SEGMENTS) {
        left = tern_normalize(step, text, length, copy);
        if (whole
                ? left != length || memcmp(copy, text, length) != 0
                : memmem(text, length, "/./", 3) != NULL || memmem(text, length, "/../", 4) != NULL)
            return "has its dot segments resolved";
        return NULL;
    }
    return memchr(text, '?', length) != NULL || memchr(text, '#', length) != NULL ? "has no query"
                                                                                  : NULL;
}

/* Bytes that may stand in a message as they are, cut to what fits. */
static void show(const uint8_t *text, size_t length, char shown[100])
{
    size_t end = 0;

    for (size_t i = 0; i < length && end < 92; i++)
        end += (size_t)snprintf(shown + end, 8, isprint(text[i]) ? "%c" : "\\x%02x", text[i]);
    shown[end] = '\0';
}

enum tern_attainability tern_attainable(const struct tern_config_field *field, enum tern_test test,
                                        const uint8_t *text, uint32_t length,
                                        char message[TERN_ATTAINABLE_MESSAGE])
{
    bool whole = test == TERN_TEST_EQ || test == TERN_TEST_NE || test == TERN_TEST_IN;
    bool decoded = field->normalize & TERN_NORMALIZE_PERCENT_DECODE;
    const char *name = field->name.text, *why = NULL;
    uint8_t normal[TERN_STRING_MAX];
    unsigned steps = field->normalize;
    char shown[100];

    /* "%3f" becomes a question mark after the query is gone. */
    if (decoded)
        steps &= ~(unsigned)TERN_NORMALIZE_STRIP_QUERY;
    for (unsigned step = 1; step <= TERN_NORMALIZE_LOWER && why == NULL; step *= 2)
        if (steps & step & ~(unsigned)TERN_NORMALIZE_PERCENT_DECODE)
            why = offence(step, whole, text, length);
    if (why != NULL) {
        show(normal, tern_normalize(steps, text, length, normal), shown);
        snprintf(message, TERN_ATTAINABLE_MESSAGE,
                 "field '%s' %s before rules see it, so it is never this; write \"%s\", or look at "
                 "%s.raw",
                 name, why, shown, name);
        return TERN_NEVER_ATTAINABLE;
    }
    if (decoded && tern_normalize(TERN_NORMALIZE_PERCENT_DECODE, text, length, normal) != length) {
        if (!whole) /* a part keeps its dots and slashes: it may stand among others */
            steps &= TERN_NORMALIZE_PERCENT_DECODE | TERN_NORMALIZE_LOWER;
        show(normal, tern_normalize(steps, text, length, normal), shown);
        snprintf(
            message, TERN_ATTAINABLE_MESSAGE,
            "field '%s' is percent-decoded before rules see it, so only what was encoded twice "
            "is this; write \"%s\" if that is what you mean",
            name, shown);
        return TERN_ATTAINABLE_ENCODED_TWICE;
    }
    return TERN_ATTAINABLE;
}

bool tern_attainable_expression(const struct tern_config_field *field, const uint8_t *text,
                                size_t length, char message[TERN_ATTAINABLE_MESSAGE])
{
    bool in_class = false;

    if (!(field->normalize & TERN_NORMALIZE_LOWER) && !(field->flags & TERN_FIELD_HOST))
        return true;
    if (memmem(text, length, "(?", 2) != NULL)
        return true;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\' && i + 1 < length) /* also "\xHH", "\pL" */
            i += text[i + 1] == 'x' ? 3 : (text[i + 1] | 32) == 'p' ? 2 : 1;
        else if (text[i] == '[' || text[i] == ']')
            in_class = text[i] == '[';
        else if (!in_class && text[i] >= 'A' && text[i] <= 'Z') {
            snprintf(message, TERN_ATTAINABLE_MESSAGE,
                     "field '%s' is in lower case before rules see it, so '%c' matches nothing; "
                     "write it small, or look at %s.raw",
                     field->name.text, text[i], field->name.text);
            return false;
        }
    }
    return true;
}
