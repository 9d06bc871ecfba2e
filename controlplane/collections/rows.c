#include "controlplane/collections/rows_private.h"

#include "controlplane/build/cells.h"
#include "controlplane/collections/payload.h"
#include "shared/number.h"

#include <stdarg.h>
#include <unistd.h>

/* --- What the formats share --- */

int tern_rows_fail(const struct tern_rows *rows, uint64_t line, uint32_t column, int code,
                   const char *reason, struct tern_error *error)
{
    if (column != 0)
        return tern_error_set(error, code, "%s:%llu:%u: %s", rows->path, (unsigned long long)line,
                              (unsigned)column, reason);
    return tern_error_set(error, code, "%s:%llu: %s", rows->path, (unsigned long long)line, reason);
}

int tern_rows_refuse(const struct tern_rows *rows, uint32_t column, struct tern_error *error,
                     const char *format, ...)
{
    char reason[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return tern_rows_fail(rows, rows->line, column, TERN_EINVAL, reason, error);
}

void tern_rows_pass_over(struct tern_rows *rows, const char *name, size_t length)
{
    char *list = rows->passed_over, text[TERN_NAME_MAX + 1];
    size_t used = strlen(list);

    length = tern_min_u64(length, TERN_NAME_MAX);
    memcpy(text, name, length);
    text[length] = '\0';
    for (const char *at = list; length != 0 && (at = strstr(at, text)) != NULL; at++)
        if ((at == list || at[-1] == ' ') && (at[length] == '\0' || at[length] == ','))
            return;
    if (used + length + 3 < sizeof rows->passed_over)
        snprintf(list + used, sizeof rows->passed_over - used, "%s%s", used != 0 ? ", " : "", text);
}

int tern_rows_find_column(const struct tern_rows *rows, const char *name, size_t length)
{
    for (unsigned i = 0; i < rows->shape.column_count; i++)
        if (strlen(rows->shape.columns[i].name) == length &&
            memcmp(rows->shape.columns[i].name, name, length) == 0)
            return (int)i;
    return -1;
}

static bool is_between(char letter)
{
    return letter == ' ' || letter == ',' || letter == ';' || letter == '\t';
}

int tern_rows_parse_vector(struct tern_rows *rows, const char *text, size_t length,
                           struct tern_error *error)
{
    const char *at = text, *end = text + length;
    uint32_t count = 0;

    while (at < end && is_between(*at))
        at++;
    while (end > at && is_between(end[-1]))
        end--;
    if (at < end && *at == '[' && end[-1] == ']') {
        at++;
        end--;
    }
    for (;;) {
        const char *number;
        int rc;

        while (at < end && is_between(*at))
            at++;
        if (at == end)
            break;
        for (number = at; at < end && !is_between(*at);)
            at++;
        if (count == rows->shape.dim) {
            count++;
            break;
        }
        rc = tern_number_parse_f32(number, (size_t)(at - number), &rows->vector[count]);
        if (rc != 0)
            return tern_error_set(error, TERN_EINVAL, "value %u of the vector, '%.*s', is %s",
                                  (unsigned)count, (int)tern_min_u64((uint64_t)(at - number), 40),
                                  number,
                                  rc == TERN_ELIMIT ? "too large for a float" : "no number");
        count++;
    }
    if (count == rows->shape.dim)
        return 0;
    return tern_error_set(error, TERN_EINVAL, "the vector has %s%u values, the collection takes %u",
                          count > rows->shape.dim ? "more than " : "",
                          (unsigned)tern_min_u64(count, rows->shape.dim),
                          (unsigned)rows->shape.dim);
}

int tern_rows_parse_value(const struct tern_graph_column *column, uint8_t *text, size_t length,
                          struct tern_graph_value *value, struct tern_error *error)
{
    union tern_value parsed = {0};
    int rc;

    *value = (struct tern_graph_value){.present = length != 0};
    if (length == 0)
        return 0;
    if (column->type == TERN_TYPE_STRING) {
        value->string.bytes = (const char *)text;
        value->string.length = (uint32_t)length;
        return tern_payload_check(column, 1, value, error);
    }
    rc = tern_cell_parse((enum tern_type)column->type, 0, text, length, NULL, &parsed, error);
    if (rc != 0)
        return rc;
    if (column->type == TERN_TYPE_F32)
        value->f32 = parsed.f32;
    else
        value->u64 = column->type == TERN_TYPE_BOOL ? parsed.boolean : parsed.u64;
    return 0;
}

/* --- Ids, and raw files --- */

/* The next id of a list: 1, 0 at the end, or an error. Blank lines are passed over. */
static int next_id(const struct tern_rows *rows, struct tern_source *source,
                   struct tern_lines *lines, uint64_t *id, struct tern_error *error)
{
    struct tern_error reason;
    int rc;

    do {
        rc = tern_lines_next(source, lines, &reason);
        if (rc < 0)
            return tern_rows_fail(rows, lines->number, 0, rc == TERN_EINVAL ? TERN_ECORRUPT : rc,
                                  reason.message, error);
    } while (rc == 1 && lines->length == 0);
    if (rc == 1 && tern_number_parse_u64((const char *)lines->text, lines->length, id) != 0) {
        char text[128];

        snprintf(text, sizeof text, "expected an id, a whole number up to 2^64 - 1, found '%.*s'",
                 (int)tern_min_u64(lines->length, 40), (const char *)lines->text);
        return tern_rows_fail(rows, lines->number, 1, TERN_EINVAL, text, error);
    }
    return rc;
}

static int ids_next(struct tern_rows *rows, struct tern_rows_row *row, struct tern_error *error)
{
    int rc = next_id(rows, &rows->source, &rows->lines, &row->id, error);

    rows->line = rows->lines.number;
    return rc;
}

static int raw_next(struct tern_rows *rows, struct tern_rows_row *row, struct tern_error *error)
{
    struct tern_source *source = &rows->source;
    size_t bytes = rows->shape.dim * sizeof(float), left;
    uint64_t id = rows->row;
    int rc = 0, has_id = 1;

    while (!source->ended && source->end - source->begin < bytes) {
        struct tern_error reason;

        rc = tern_source_more(source, &reason);
        if (rc != 0)
            return tern_rows_fail(rows, rows->row + 1, 0, rc, reason.message, error);
    }
    rows->line = rows->row + 1;
    left = source->end - source->begin;
    if (left != 0 && left < bytes)
        return tern_rows_fail(rows, rows->line, 0, TERN_ECORRUPT,
                              "the file is cut in the middle of a vector, or its vectors have "
                              "another dimension than the collection",
                              error);
    if (rows->has_ids)
        has_id = next_id(rows, &rows->ids, &rows->id_lines, &id, error);
    if (has_id < 0)
        return has_id;
    if (left == 0 && has_id == 1 && rows->has_ids)
        return tern_rows_fail(rows, rows->line, 0, TERN_ECORRUPT, "there are more ids than vectors",
                              error);
    if (left == 0)
        return 0;
    if (has_id == 0)
        return tern_rows_fail(rows, rows->line, 0, TERN_ECORRUPT,
                              "there are fewer ids than vectors", error);
    memcpy(rows->vector, source->data + source->begin, bytes);
    source->begin += bytes;
    rows->row++;
    row->id = id;
    return 1;
}

/* --- Opening --- */

static int open_source(const char *path, uint64_t max_bytes, struct tern_source *source,
                       struct tern_error *error)
{
    if (strcmp(path, "-") == 0)
        return tern_source_open_descriptor(STDIN_FILENO, "standard input", max_bytes, source,
                                           error);
    return tern_source_open(path, max_bytes, source, error);
}

/* By the first byte that is no blank. */
static int guess(struct tern_rows *rows, struct tern_error *error)
{
    struct tern_source *source = &rows->source;
    int rc = tern_source_skip_mark(source, error);
    uint8_t first = 0;

    for (size_t at = source->begin; rc == 0; at++) {
        while (rc == 0 && at == source->end && !source->ended) {
            at -= source->begin; /* what is left moves to the front */
            rc = tern_source_more(source, error);
        }
        if (rc != 0 || at == source->end)
            break;
        first = source->data[at];
        if (first != ' ' && first != '\t' && first != '\r' && first != '\n')
            break;
    }
    if (rc != 0)
        return rc;
    rows->format = first == '{'                                     ? TERN_ROWS_JSON
                   : rows->ids_only && first >= '0' && first <= '9' ? TERN_ROWS_IDS
                                                                    : TERN_ROWS_CSV;
    return 0;
}

static int begin(struct tern_rows *rows, const char *path, const struct tern_rows_options *options,
                 struct tern_error *error)
{
    int rc = open_source(path, options->max_bytes, &rows->source, error);

    if (rc == 0 && options->ids != NULL) {
        rc = open_source(options->ids, options->max_bytes, &rows->ids, error);
        rows->has_ids = rc == 0;
    }
    if (rc == 0 && rows->format == TERN_ROWS_GUESS)
        rc = guess(rows, error);
    if (rc == 0 && rows->format == TERN_ROWS_CSV)
        rc = tern_rows_csv_begin(rows, error);
    return rc;
}

int tern_rows_open(const char *path, const struct tern_rows_options *options,
                   const struct tern_graph_shape *shape, struct tern_rows **out,
                   struct tern_error *error)
{
    struct tern_rows *rows = calloc(1, sizeof *rows);
    int rc = TERN_ENOMEM;

    if (rows == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    rows->format = options->format;
    rows->ids_only = options->ids_only;
    rows->shape = *shape;
    rows->path = strdup(strcmp(path, "-") == 0 ? "standard input" : path);
    rows->vector = calloc(shape->dim, sizeof *rows->vector);
    rows->csv = calloc(1, sizeof *rows->csv);
    if (rows->path == NULL || rows->vector == NULL || rows->csv == NULL)
        tern_error_set(error, TERN_ENOMEM, "out of memory");
    else
        rc = begin(rows, path, options, error);
    if (rc != 0) {
        tern_rows_close(rows);
        return rc;
    }
    *out = rows;
    return 0;
}

void tern_rows_close(struct tern_rows *rows)
{
    if (rows == NULL)
        return;
    tern_source_close(&rows->source);
    tern_source_close(&rows->ids);
    free(rows->path);
    free(rows->vector);
    free(rows->csv);
    free(rows);
}

int tern_rows_next(struct tern_rows *rows, struct tern_rows_row *row, struct tern_error *error)
{
    struct tern_error reason;
    int rc;

    memset(rows->payload, 0, sizeof rows->payload);
    *row = (struct tern_rows_row){.payload = rows->payload};
    switch (rows->format) {
    case TERN_ROWS_JSON:
        rc = tern_rows_json_next(rows, row, error);
        break;
    case TERN_ROWS_RAW:
        rc = raw_next(rows, row, error);
        break;
    case TERN_ROWS_IDS:
        rc = ids_next(rows, row, error);
        break;
    default:
        rc = tern_rows_csv_next(rows, row, error);
    }
    if (rc != 1)
        return rc;
    row->line = rows->line;
    if (rows->ids_only)
        return 1;
    row->vector = rows->vector;
    rc = tern_graph_check_vector(rows->vector, rows->shape.dim, &reason);
    return rc == 0 ? 1 : tern_rows_fail(rows, rows->line, 0, TERN_EINVAL, reason.message, error);
}

unsigned tern_rows_permille(const struct tern_rows *rows)
{
    return tern_source_permille(&rows->source);
}

const char *tern_rows_passed_over(const struct tern_rows *rows)
{
    return rows->passed_over;
}
