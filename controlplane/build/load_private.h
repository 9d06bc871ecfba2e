/* What the files that read a table's rows share: load.c opens, reports and ends, load_rows.c knows
 * rows and lines, load_csv.c rows of cells, load_patterns.c those of pattern sets. */
#ifndef TERN_BUILD_LOAD_PRIVATE_H
#define TERN_BUILD_LOAD_PRIVATE_H

#include "controlplane/build/cells.h"
#include "controlplane/build/load.h"
#include "controlplane/build/source.h"

#define TERN_BAD_ROWS_KEPT    20
#define TERN_LOADING_PERMILLE 600 /* that reading is of the whole; the rest is the builder's */

struct tern_bad_row {
    uint64_t line;
    uint32_t column;
    char message[640];
};

struct tern_loading {
    const struct tern_config_table *table;
    struct tern_table_builder *builder;
    struct tern_source source;
    struct tern_diagnostics *diagnostics;
    struct tern_error *error;
    void (*progress)(void *context, unsigned permille, uint64_t rows);
    void *context;
    uint64_t rows; /* good ones */
    uint64_t bad_rows;
    struct tern_sketch *sketch; /* NULL: not wanted */
    struct tern_bad_row bad[TERN_BAD_ROWS_KEPT];
    uint8_t spaces[1 + TERN_COLUMNS_MAX][TERN_CELL_SPACE]; /* of the key, of each column */
    /* Of pattern sets: what stands where, until all are checked. */
    struct tern_buffer pattern_bytes, patterns;
};

/* --- load.c --- */

struct tern_place tern_loading_place(const struct tern_loading *loading, uint64_t line,
                                     uint32_t column);
/* The source is of no use: says so at `place` and in the error. Returns the code. */
int tern_loading_give_up(struct tern_loading *loading, struct tern_place place, int code,
                         const char *format, ...) TERN_PRINTF(4, 5);
/* For what went wrong with the file rather than inside it: the place is the configuration's. */
int tern_loading_give_up_source(struct tern_loading *loading, int code,
                                const struct tern_error *reason);
void tern_loading_add_bad_row(struct tern_loading *loading, uint64_t line, uint32_t column,
                              const char *message);
/* Whether rows are still worth building: past max_bad_rows the rest is only checked. */
bool tern_loading_is_lost(const struct tern_loading *loading);
void tern_loading_report(const struct tern_loading *loading, unsigned permille);

/* --- load_rows.c --- */

/* Takes a row that is good: its key or its range, and the columns that are there. */
int tern_loading_add_row(struct tern_loading *loading, const union tern_value *key,
                         const struct tern_address_range *range, const union tern_value *cells,
                         uint64_t present);
/* Parses and takes a row of a set. */
int tern_loading_add_set_row(struct tern_loading *loading, uint8_t *text, size_t length,
                             uint64_t line, uint32_t column);
/* All lines to the end of the source. */
int tern_loading_read_lines(struct tern_loading *loading);

/* --- load_csv.c --- */

/* All rows of cells, behind a header. */
int tern_loading_read_csv(struct tern_loading *loading);

/* --- load_patterns.c --- */

int tern_loading_add_pattern(struct tern_loading *loading, const uint8_t *text, size_t length,
                             uint64_t line, uint32_t column);
/* All expressions are checked together, then become rows. */
int tern_loading_finish_patterns(struct tern_loading *loading);

#endif
