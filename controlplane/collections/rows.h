/* Files of vectors, row by row: what `ternctl ingest` sends and what a collection's `source:`
 * holds.
 *
 *   CSV         a header names the columns: id; the vector as `vector` (numbers between blanks or
 *               commas, with or without [ ]) or as v0, v1, …; payload by its columns' names
 *   JSON lines  {"id": 7, "vector": [0.1, …], "label": "spam"}, one object a line
 *   raw         f32, little-endian, nothing between; ids one a line in a file of their own, or
 *               counted from 0
 *   ids         one a line: for removals
 *
 * An empty cell, null, and a column that is not there are no value. What the collection does not
 * have is passed over, and said so (tern_rows_passed_over). Gzip is recognised by content. A reader
 * belongs to one thread. */
#ifndef TERN_ROWS_H
#define TERN_ROWS_H

#include "controlplane/build/graph.h"

enum tern_rows_format {
    TERN_ROWS_GUESS, /* `{` begins JSON lines, a number ids, else CSV */
    TERN_ROWS_CSV,
    TERN_ROWS_JSON,
    TERN_ROWS_RAW,
    TERN_ROWS_IDS,
};

struct tern_rows;

struct tern_rows_options {
    enum tern_rows_format format;
    const char *ids; /* raw: the file of ids, NULL: none */
    bool ids_only;   /* vectors and payloads are not looked for; a list of ids will do */
    uint64_t max_bytes;
};

struct tern_rows_row { /* until the next call */
    uint64_t line;     /* 1-based, where it begins; of raw files, the row */
    uint64_t id;
    const float *vector;                    /* NULL with ids_only */
    const struct tern_graph_value *payload; /* in the shape's order */
};

/* Opens `path`, "-" for standard input. `shape` is copied. TERN_EINVAL with the header's place when
 * it does not fit the shape; else as tern_source_open. */
int tern_rows_open(const char *path, const struct tern_rows_options *options,
                   const struct tern_graph_shape *shape, struct tern_rows **rows,
                   struct tern_error *error);
void tern_rows_close(struct tern_rows *rows);

/* 1 with the next row, 0 at the end, or an error that begins with its place: "FILE:LINE:COLUMN: ".
 * TERN_EINVAL: the row is wrong (and the next call goes on after it); anything else is the end. */
int tern_rows_next(struct tern_rows *rows, struct tern_rows_row *row, struct tern_error *error);

/* How far it is, in thousandths; 0 when that cannot be known. */
unsigned tern_rows_permille(const struct tern_rows *rows);
/* Columns that the collection does not have, "" for none: "text, when". */
const char *tern_rows_passed_over(const struct tern_rows *rows);

#endif
