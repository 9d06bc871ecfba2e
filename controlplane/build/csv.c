#include "controlplane/build/csv.h"

#include "controlplane/build/lines.h"
#include "shared/limits.h"

/* The line feed that ends the row at `at`, or NULL when it is not within [at, end). `*open` tells
 * the quoted cell that was still open there. */
static uint8_t *scan_row(uint8_t *at, uint8_t *end, uint8_t **open)
{
    *open = NULL;
    for (;;) { /* once a cell */
        if (at < end && *at == '"') {
            *open = at++;
            for (;;) {
                at = at < end ? memchr(at, '"', (size_t)(end - at)) : NULL;
                if (at == NULL)
                    return NULL;
                if (at + 1 < end && at[1] != '"')
                    break;
                if (at + 1 == end) /* perhaps the first half of a doubled one */
                    return NULL;
                at += 2;
            }
            *open = NULL;
        }
        while (at < end && *at != ',' && *at != '\n')
            at++;
        if (at == end)
            return NULL;
        if (*at++ == '\n')
            return at - 1;
    }
}

static int too_long(struct tern_error *error)
{
    return tern_error_set(error, TERN_EINVAL,
                          "the row is longer than %u bytes: is a quote left open?", TERN_LINE_MAX);
}

/* Finds [*start, *end) of the next row, its line end excluded. Returns 1, 0 at the end, or an
 * error. */
static int find_row(struct tern_source *source, uint8_t **start, uint8_t **end,
                    struct tern_error *error)
{
    for (;;) {
        uint8_t *first = source->data + source->begin, *last = source->data + source->end;
        uint8_t *feed = memchr(first, '\n', (size_t)(last - first)), *open = NULL;
        int result;

        if (feed == NULL || memchr(first, '"', (size_t)(feed - first)) != NULL)
            feed = scan_row(first, last, &open);
        if (feed == NULL && !source->ended) {
            if (last - first > (ptrdiff_t)TERN_LINE_MAX)
                return too_long(error);
            result = tern_source_more(source, error);
            if (result != 0)
                return result;
            continue;
        }
        if (feed == NULL && first == last)
            return 0;
        /* At the very end a closing quote looks as if another half could follow. */
        if (feed == NULL && open != NULL && (last - open < 2 || last[-1] != '"'))
            return tern_error_set(error, TERN_EINVAL, "the row has a quote that is never closed");
        *start = first;
        *end = feed == NULL ? last : feed;
        source->begin = feed == NULL ? source->end : (size_t)(feed - source->data) + 1;
        if (*end > *start && (*end)[-1] == '\r')
            (*end)--;
        return *end - *start > (ptrdiff_t)TERN_LINE_MAX ? too_long(error) : 1;
    }
}

static int refuse(struct tern_csv *csv, uint32_t lines, uint32_t column, struct tern_error *error,
                  const char *message)
{
    csv->error_line = csv->line + lines;
    csv->error_column = column;
    return tern_error_set(error, TERN_EREFUSED, "%s", message);
}

static struct tern_csv_cell *add_cell(struct tern_csv *csv, uint8_t *text, uint8_t *end,
                                      uint32_t column, uint32_t lines)
{
    struct tern_csv_cell *cell;

    if (csv->count == TERN_CSV_CELLS_MAX)
        return NULL;
    cell = &csv->cells[csv->count++];
    *cell = (struct tern_csv_cell){text, (uint32_t)(end - text), column, lines};
    return cell;
}

static int too_many(struct tern_error *error)
{
    return tern_error_set(error, TERN_EREFUSED, "the row has more than %d cells",
                          TERN_CSV_CELLS_MAX);
}

static int split_plain(struct tern_csv *csv, uint8_t *start, uint8_t *end, struct tern_error *error)
{
    uint8_t *cell = start;

    for (uint8_t *at = start;; at++) {
        if (at < end && *at != ',')
            continue;
        if (add_cell(csv, cell, at, (uint32_t)(cell - start) + 1, 0) == NULL)
            return too_many(error);
        if (at == end)
            return 1;
        cell = at + 1;
    }
}

/* Unquotes in place: the text only shrinks. */
static int split_quoted(struct tern_csv *csv, uint8_t *start, uint8_t *end,
                        struct tern_error *error)
{
    uint8_t *at = start, *line_start = start;
    uint32_t lines = 0;

    for (;;) {
        uint8_t *cell = at, *out = at;
        uint32_t column = (uint32_t)(at - line_start) + 1, cell_lines = lines;

        if (at < end && *at == '"') {
            for (at++; at < end && (*at != '"' || (at + 1 < end && at[1] == '"')); at++) {
                at += *at == '"'; /* the second of two stays */
                if (*at == '\n') {
                    lines++;
                    line_start = at + 1;
                }
                *out++ = *at;
            }
            if (at == end)
                return refuse(csv, cell_lines, column, error, "a quote is never closed");
            at++;
            if (at < end && *at != ',')
                return refuse(csv, lines, (uint32_t)(at - line_start) + 1, error,
                              "after the closing quote a comma or the end of the row is expected");
        } else {
            for (; at < end && *at != ','; at++)
                if (*at == '"')
                    return refuse(csv, lines, (uint32_t)(at - line_start) + 1, error,
                                  "a quote inside an unquoted cell; quote the whole cell and "
                                  "double the quotes inside");
            out = at;
        }
        if (add_cell(csv, cell, out, column, cell_lines) == NULL)
            return too_many(error);
        if (at == end)
            return 1;
        at++;
    }
}

int tern_csv_next(struct tern_source *source, struct tern_csv *csv, struct tern_error *error)
{
    uint8_t *start = NULL, *end = NULL;
    int result;

    if (csv->next_line == 0) {
        csv->next_line = 1;
        result = tern_source_skip_mark(source, error);
        if (result != 0)
            return result;
    }
    do {
        csv->line = csv->error_line = csv->next_line;
        csv->error_column = 0;
        result = find_row(source, &start, &end, error);
        if (result != 1)
            return result;
        csv->next_line++;
    } while (start == end);
    csv->count = 0;
    if (source->has_nul && memchr(start, 0, (size_t)(end - start)) != NULL)
        return tern_error_set(error, TERN_EINVAL, "the row has a NUL byte: this is no text file");
    if (memchr(start, '"', (size_t)(end - start)) == NULL)
        return split_plain(csv, start, end, error);
    for (const uint8_t *at = start; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        csv->next_line++;
    return split_quoted(csv, start, end, error);
}
