/* A source as rows of comma-separated values (RFC 4180): a cell in double quotes may hold commas,
 * line ends and, doubled, quotes. */
#ifndef TERN_BUILD_CSV_H
#define TERN_BUILD_CSV_H

#include "controlplane/build/source.h"

#define TERN_CSV_CELLS_MAX 1024

struct tern_csv_cell {
    uint8_t *text; /* unquoted; in the source's window, writable */
    uint32_t length;
    uint32_t column; /* 1-based, in bytes, in its line */
    uint32_t lines;  /* between the row's first line and the cell's */
};

struct tern_csv {          /* zero-initialise */
    uint64_t line;         /* 1-based, where the row begins */
    uint64_t error_line;   /* of an error */
    uint32_t error_column; /* 0: the whole line */
    unsigned count;
    struct tern_csv_cell cells[TERN_CSV_CELLS_MAX];
    uint64_t next_line;
};

/* Steps to the next row; blank lines are skipped. Returns 1, 0 at the end, TERN_EREFUSED for a row
 * that is wrong in itself (a stray quote, too many cells: the next call goes on after it), or
 * another error: TERN_EINVAL for a row of more than TERN_LINE_MAX bytes, a quote that never closes,
 * a NUL byte; else as tern_source_more. */
int tern_csv_next(struct tern_source *source, struct tern_csv *csv, struct tern_error *error);

#endif
