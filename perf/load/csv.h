/* Comma-separated rows as RFC 4180 has them: quoted fields may hold commas, quotes and line ends.
 */
#ifndef TERN_LOAD_CSV_H
#define TERN_LOAD_CSV_H

#include "shared/error.h"

#define LOAD_CSV_COLUMNS 256u

struct load_csv {
    char *text; /* the whole file; cells are unquoted in place */
    size_t length;
    size_t at;
    unsigned line;
    unsigned count;
    const char *cells[LOAD_CSV_COLUMNS];
    size_t lengths[LOAD_CSV_COLUMNS];
};

/* Reads `path` ("-": standard input). */
int load_csv_open(const char *path, struct load_csv *csv, struct tern_error *error);
/* The next row into cells: 1, or 0 at the end, or TERN_EINVAL with the line. Empty lines are
 * skipped. */
int load_csv_next(struct load_csv *csv, struct tern_error *error);
void load_csv_free(struct load_csv *csv);

#endif
