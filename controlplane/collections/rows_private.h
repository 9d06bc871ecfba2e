/* What the readers of the formats share: rows.c opens, guesses, and reads raw files and ids;
 * rows_csv.c and rows_json.c the rest. */
#ifndef TERN_ROWS_PRIVATE_H
#define TERN_ROWS_PRIVATE_H

#include "controlplane/build/csv.h"
#include "controlplane/build/lines.h"
#include "controlplane/collections/rows.h"

#define TERN_ROWS_IGNORED (-1)
#define TERN_ROWS_ID      (-2)
#define TERN_ROWS_VECTOR  (-3)
#define TERN_ROWS_VALUE   1000 /* + i: vi, one value of the vector */

struct tern_rows {
    char *path; /* as messages name it */
    enum tern_rows_format format;
    bool ids_only;
    struct tern_graph_shape shape;
    struct tern_source source, ids;
    bool has_ids;
    uint64_t line;
    float *vector; /* dim */
    struct tern_graph_value payload[TERN_PAYLOAD_COLUMNS_MAX];
    char passed_over[256];
    struct tern_lines lines, id_lines;
    struct tern_csv *csv;
    int meaning[TERN_CSV_CELLS_MAX]; /* of a CSV's columns: a payload's index, or as above */
    unsigned columns;
    uint64_t row; /* of raw files */
};

/* Fills `error` with the place and the reason; returns `code`. Column 0: none. */
int tern_rows_fail(const struct tern_rows *rows, uint64_t line, uint32_t column, int code,
                   const char *reason, struct tern_error *error);
/* The reason for a place that is the row's. */
int tern_rows_refuse(const struct tern_rows *rows, uint32_t column, struct tern_error *error,
                     const char *format, ...) TERN_PRINTF(4, 5);
/* Notes a name that the collection does not have, once each. */
void tern_rows_pass_over(struct tern_rows *rows, const char *name, size_t length);
/* The payload column of that name, or −1. */
int tern_rows_find_column(const struct tern_rows *rows, const char *name, size_t length);

/* Numbers between blanks or commas, within [ ] or without, into rows->vector. TERN_EINVAL with the
 * reason alone. */
int tern_rows_parse_vector(struct tern_rows *rows, const char *text, size_t length,
                           struct tern_error *error);
int tern_rows_parse_value(const struct tern_graph_column *column, uint8_t *text, size_t length,
                          struct tern_graph_value *value, struct tern_error *error);

int tern_rows_csv_begin(struct tern_rows *rows, struct tern_error *error);
int tern_rows_csv_next(struct tern_rows *rows, struct tern_rows_row *row, struct tern_error *error);
int tern_rows_json_next(struct tern_rows *rows, struct tern_rows_row *row,
                        struct tern_error *error);

#endif
