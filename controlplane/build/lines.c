#include "controlplane/build/lines.h"

#include "shared/limits.h"

int tern_source_skip_mark(struct tern_source *source, struct tern_error *error)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};

    while (!source->ended && source->end - source->begin < sizeof mark) {
        int result = tern_source_more(source, error);

        if (result != 0)
            return result;
    }
    if (source->end - source->begin >= sizeof mark &&
        memcmp(source->data + source->begin, mark, sizeof mark) == 0)
        source->begin += sizeof mark;
    return 0;
}

/* The end of the line that begins at the window's begin; NULL at the end of the source. */
static int find_end(struct tern_source *source, uint8_t **found, struct tern_error *error)
{
    size_t seen = 0; /* bytes of the line that hold no end */

    for (;;) {
        uint8_t *start = source->data + source->begin;
        size_t length = source->end - source->begin;
        uint8_t *end = length > seen ? memchr(start + seen, '\n', length - seen) : NULL;
        int result;

        if (end != NULL) {
            *found = end;
            return 0;
        }
        if (source->ended) {
            *found = NULL;
            return 0;
        }
        if (length > TERN_LINE_MAX)
            return tern_error_set(error, TERN_EINVAL,
                                  "the line is longer than %u bytes: is this a text file?",
                                  TERN_LINE_MAX);
        seen = length;
        result = tern_source_more(source, error);
        if (result != 0)
            return result;
    }
}

int tern_lines_next(struct tern_source *source, struct tern_lines *line, struct tern_error *error)
{
    uint8_t *start, *end = NULL;
    int result;

    if (line->number == 0) {
        result = tern_source_skip_mark(source, error);
        if (result != 0)
            return result;
    }
    line->number++;
    result = find_end(source, &end, error);
    if (result != 0)
        return result;
    start = source->data + source->begin;
    if (end == NULL) {
        end = source->data + source->end;
        if (start == end)
            return 0;
        source->begin = source->end;
    } else {
        source->begin = (size_t)(end - source->data) + 1;
        end -= end > start && end[-1] == '\r';
    }
    line->text = start;
    line->length = (size_t)(end - start);
    if (line->length > TERN_LINE_MAX)
        return tern_error_set(error, TERN_EINVAL,
                              "the line is longer than %u bytes: is this a text file?",
                              TERN_LINE_MAX);
    if (source->has_nul && memchr(start, 0, line->length) != NULL)
        return tern_error_set(error, TERN_EINVAL, "the line has a NUL byte: this is no text file");
    return 1;
}
