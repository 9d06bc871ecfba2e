#include "controlplane/collections/rows_private.h"

#include "shared/number.h"

/* 1, 0 at the end, or an error with its place. A row that is wrong in itself is TERN_EINVAL. */
static int next_row(struct tern_rows *rows, struct tern_error *error)
{
    struct tern_csv *csv = rows->csv;
    struct tern_error reason;
    int rc = tern_csv_next(&rows->source, csv, &reason);

    rows->line = csv->line;
    if (rc >= 0)
        return rc;
    rows->line = csv->error_line;
    return tern_rows_fail(rows, csv->error_line, csv->error_column,
                          rc == TERN_EREFUSED ? TERN_EINVAL
                          : rc == TERN_EINVAL ? TERN_ECORRUPT
                                              : rc,
                          reason.message, error);
}

/* vI: one value of the vector. */
static bool is_value(const struct tern_csv_cell *cell, uint32_t dim, int *index)
{
    uint64_t number;

    if (cell->length < 2 || cell->text[0] != 'v' ||
        tern_number_parse_u64((const char *)cell->text + 1, cell->length - 1, &number) != 0 ||
        number >= dim)
        return false;
    *index = (int)number;
    return true;
}

static bool is_named(const struct tern_csv_cell *cell, const char *name)
{
    return cell->length == strlen(name) && memcmp(cell->text, name, cell->length) == 0;
}

static int meaning_of(struct tern_rows *rows, const struct tern_csv_cell *cell)
{
    const char *name = (const char *)cell->text;
    int column = tern_rows_find_column(rows, name, cell->length), index;

    if (is_named(cell, "id"))
        return TERN_ROWS_ID;
    if (rows->ids_only)
        return TERN_ROWS_IGNORED;
    if (is_named(cell, "vector"))
        return TERN_ROWS_VECTOR;
    if (column >= 0)
        return column;
    if (is_value(cell, rows->shape.dim, &index))
        return TERN_ROWS_VALUE + index;
    tern_rows_pass_over(rows, name, cell->length);
    return TERN_ROWS_IGNORED;
}

/* Each name once, an id, and a vector that is whole. */
static int check_header(const struct tern_rows *rows, struct tern_error *error)
{
    unsigned ids = 0, vectors = 0, values = 0;

    for (unsigned i = 0; i < rows->columns; i++) {
        ids += rows->meaning[i] == TERN_ROWS_ID;
        vectors += rows->meaning[i] == TERN_ROWS_VECTOR;
        values += rows->meaning[i] >= TERN_ROWS_VALUE;
        for (unsigned j = 0; j < i; j++)
            if (rows->meaning[i] == rows->meaning[j] && rows->meaning[i] != TERN_ROWS_IGNORED)
                return tern_rows_refuse(rows, rows->csv->cells[i].column, error,
                                        "the header names a column twice");
    }
    if (ids == 0)
        return tern_rows_refuse(rows, 1, error,
                                "the header has no column `id`; the first line names the columns");
    if (rows->ids_only || (vectors == 1 && values == 0) ||
        (vectors == 0 && values == rows->shape.dim))
        return 0;
    if (vectors == 0 && values != 0)
        return tern_rows_refuse(rows, 1, error,
                                "the header has %u of the columns v0 to v%u that a vector of the "
                                "collection has",
                                values, (unsigned)rows->shape.dim - 1);
    return tern_rows_refuse(rows, 1, error, "the header needs one column `vector`, or v0 to v%u",
                            (unsigned)rows->shape.dim - 1);
}

int tern_rows_csv_begin(struct tern_rows *rows, struct tern_error *error)
{
    int rc = next_row(rows, error);

    if (rc < 0)
        return rc;
    if (rc == 0)
        return tern_error_set(error, TERN_EINVAL, "%s is empty: the first line names the columns",
                              rows->path);
    rows->columns = rows->csv->count;
    for (unsigned i = 0; i < rows->columns; i++)
        rows->meaning[i] = meaning_of(rows, &rows->csv->cells[i]);
    return check_header(rows, error);
}

static int take_cell(struct tern_rows *rows, struct tern_rows_row *row, unsigned index,
                     struct tern_error *reason)
{
    struct tern_csv_cell *cell = &rows->csv->cells[index];
    const char *text = (const char *)cell->text;
    int meaning = rows->meaning[index], rc;

    if (meaning == TERN_ROWS_IGNORED)
        return 0;
    if (meaning == TERN_ROWS_VECTOR)
        return tern_rows_parse_vector(rows, text, cell->length, reason);
    if (meaning >= 0 && meaning < (int)rows->shape.column_count)
        return tern_rows_parse_value(&rows->shape.columns[meaning], cell->text, cell->length,
                                     &rows->payload[meaning], reason);
    if (meaning == TERN_ROWS_ID) {
        rc = tern_number_parse_u64(text, cell->length, &row->id);
        if (rc != 0)
            return tern_error_set(reason, TERN_EINVAL,
                                  "expected an id, a whole number up to 2^64 - 1, found '%.*s'",
                                  (int)tern_min_u64(cell->length, 40), text);
        return 0;
    }
    rc = tern_number_parse_f32(text, cell->length, &rows->vector[meaning - TERN_ROWS_VALUE]);
    if (rc != 0)
        return tern_error_set(reason, TERN_EINVAL, "expected a number, found '%.*s'%s",
                              (int)tern_min_u64(cell->length, 40), text,
                              rc == TERN_ELIMIT ? " (too large for a float)" : "");
    return 0;
}

int tern_rows_csv_next(struct tern_rows *rows, struct tern_rows_row *row, struct tern_error *error)
{
    const struct tern_csv *csv = rows->csv;
    int rc = next_row(rows, error);

    if (rc != 1)
        return rc;
    if (csv->count != rows->columns)
        return tern_rows_refuse(
            rows, 0, error, "the row has %u cells, the header has %u%s", csv->count, rows->columns,
            rows->source.ended && rows->source.begin == rows->source.end ? " (is the file cut off?)"
                                                                         : "");
    for (unsigned i = 0; i < csv->count; i++) {
        struct tern_error reason;

        rc = take_cell(rows, row, i, &reason);
        if (rc != 0)
            return tern_rows_fail(rows, csv->line + csv->cells[i].lines, csv->cells[i].column,
                                  TERN_EINVAL, reason.message, error);
    }
    return 1;
}
