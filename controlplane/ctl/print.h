/* How ternctl writes numbers and tables for people. */
#ifndef TERN_CTL_PRINT_H
#define TERN_CTL_PRINT_H

#include "shared/base.h"

#define TERN_PRINT_TEXT 48
/* "512 B", "1.4 MiB". */
const char *tern_print_bytes(char text[TERN_PRINT_TEXT], uint64_t bytes);
/* "1,048,576". */
const char *tern_print_count(char text[TERN_PRINT_TEXT], uint64_t count);
/* "850 ns", "12.5 µs", "3.1 ms", "2.0 s". */
const char *tern_print_ns(char text[TERN_PRINT_TEXT], uint64_t ns);
/* "3 s", "5 min", "2 h", "4 d" from `at_us` (1970) until now. */
const char *tern_print_age(char text[TERN_PRINT_TEXT], uint64_t at_us);

/* "0.31 %", "12.3 %", "100 %"; a share of 1. */
const char *tern_print_share(char text[TERN_PRINT_TEXT], double share);
/* "0.25", "12.3", "1,234": a rate. */
const char *tern_print_rate(char text[TERN_PRINT_TEXT], double rate);

/* On a terminal's line of standard error: erases it; draws how far something is in place of what
 * was there, "[###...]  42% ". */
void tern_print_erase_line(void);
void tern_print_bar(unsigned permille);

/* A table of aligned columns, printed when complete. Cells are copied; a heading that starts with
 * '>' is right-aligned. */
#define TERN_PRINT_COLUMNS 12
struct tern_print_table {
    unsigned columns;
    unsigned rows;
    unsigned capacity;
    unsigned width[TERN_PRINT_COLUMNS];
    bool right[TERN_PRINT_COLUMNS];
    FILE *to;     /* standard output, unless changed before the end */
    char **cells; /* row after row, the headings first */
};

/* Starts with `columns` headings. */
void tern_print_table_begin(struct tern_print_table *table, unsigned columns,
                            const char *const *headings);
/* Adds one row of as many texts. */
void tern_print_table_row(struct tern_print_table *table, const char *const *cells);
/* Prints (nothing when there are no rows) and frees. */
void tern_print_table_end(struct tern_print_table *table);

#endif
