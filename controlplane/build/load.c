#include "controlplane/build/load.h"

#include "controlplane/build/cells.h"
#include "controlplane/build/csv.h"
#include "controlplane/build/lines.h"
#include "controlplane/build/hyperscan.h"
#include "controlplane/config/nearest.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>

#include <xxhash.h>

#define BAD_ROWS_KEPT    20
#define PROGRESS_ROWS    (64u << 10)
#define READING_PERMILLE 600 /* of the whole; the rest is the builder's */
#define COLUMN_MISSING   UINT_MAX

struct bad_row {
    uint64_t line;
    uint32_t column;
    char message[640];
};

struct loading {
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
    struct bad_row bad[BAD_ROWS_KEPT];
    /* Where the header says things are; COLUMN_MISSING when it does not. */
    unsigned key, start, end, cidr;
    unsigned columns[TERN_COLUMNS_MAX];
    unsigned header_count;
    struct tern_csv csv;
    uint8_t spaces[1 + TERN_COLUMNS_MAX][TERN_CELL_SPACE]; /* of the key, of each column */
    /* Of pattern sets: what stands where, until all are checked. */
    struct tern_buffer pattern_bytes;
    struct tern_buffer patterns; /* struct pattern_row */
};

struct pattern_row {
    size_t offset;
    uint32_t length;
    uint32_t line, column;
    bool bad;
};

/* ---- Reporting ---- */

static struct tern_place place_in_source(const struct loading *loading, uint64_t line,
                                         uint32_t column)
{
    return (struct tern_place){loading->table->source_path,
                               line > UINT32_MAX ? UINT32_MAX : (uint32_t)line, column};
}

/* The source is of no use: says so at `place` and in the error. */
static int give_up(struct loading *loading, struct tern_place place, int code, const char *format,
                   ...) TERN_PRINTF(4, 5);

static int give_up(struct loading *loading, struct tern_place place, int code, const char *format,
                   ...)
{
    char message[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    tern_diagnostics_add(loading->diagnostics, TERN_SEVERITY_ERROR, place, "%s", message);
    if (place.file != loading->table->source_path)
        return tern_error_set(loading->error, code, "table %s: %s", loading->table->name.text,
                              message);
    if (place.line == 0)
        return tern_error_set(loading->error, code, "table %s: %s: %s", loading->table->name.text,
                              loading->table->source.text, message);
    return tern_error_set(loading->error, code, "table %s: %s:%u: %s", loading->table->name.text,
                          loading->table->source.text, place.line, message);
}

/* For what went wrong with the file rather than inside it: the place is the configuration's. */
static int give_up_source(struct loading *loading, int code, const struct tern_error *reason)
{
    return give_up(loading, loading->table->source.place, code, "%s", reason->message);
}

static void add_bad_row(struct loading *loading, uint64_t line, uint32_t column,
                        const char *message)
{
    if (loading->bad_rows < BAD_ROWS_KEPT) {
        struct bad_row *bad = &loading->bad[loading->bad_rows];

        bad->line = line;
        bad->column = column;
        snprintf(bad->message, sizeof bad->message, "%s", message);
    }
    loading->bad_rows++;
}

/* Whether rows are still worth building: past max_bad_rows the rest is only checked. */
static bool is_lost(const struct loading *loading)
{
    return loading->bad_rows > loading->table->max_bad_rows;
}

static int report_bad_rows(struct loading *loading)
{
    uint64_t kept = loading->bad_rows < BAD_ROWS_KEPT ? loading->bad_rows : BAD_ROWS_KEPT;
    enum tern_severity severity = is_lost(loading) ? TERN_SEVERITY_ERROR : TERN_SEVERITY_WARNING;

    for (uint64_t i = 0; i < kept; i++)
        tern_diagnostics_add(loading->diagnostics, severity,
                             place_in_source(loading, loading->bad[i].line, loading->bad[i].column),
                             "%s%s", loading->bad[i].message,
                             is_lost(loading) ? "" : " (the row is left out)");
    if (loading->bad_rows > kept)
        tern_diagnostics_add(loading->diagnostics, severity,
                             place_in_source(loading, loading->bad[kept - 1].line + 1, 0),
                             "%" PRIu64 " more bad rows follow", loading->bad_rows - kept);
    if (!is_lost(loading))
        return 0;
    return tern_error_set(loading->error, TERN_EINVAL,
                          "table %s: %s has %" PRIu64 " bad rows, max_bad_rows is %" PRIu64
                          "; the first, at line %" PRIu64 ": %s",
                          loading->table->name.text, loading->table->source.text, loading->bad_rows,
                          loading->table->max_bad_rows, loading->bad[0].line,
                          loading->bad[0].message);
}

static void report_progress(const struct loading *loading, unsigned permille)
{
    if (loading->progress != NULL)
        loading->progress(loading->context, permille, loading->rows + loading->bad_rows);
}

/* ---- Rows ---- */

static uint64_t hash_value(enum tern_type type, const union tern_value *value, uint64_t seed)
{
    switch (type) {
    case TERN_TYPE_STRING:
        return XXH3_64bits_withSeed(value->string.bytes, value->string.length, seed);
    case TERN_TYPE_IP:
        return XXH3_64bits_withSeed(&value->address, sizeof value->address, seed);
    case TERN_TYPE_F32:
        return XXH3_64bits_withSeed(&value->f32, sizeof value->f32, seed);
    case TERN_TYPE_BOOL:
        return XXH3_64bits_withSeed(&value->boolean, sizeof value->boolean, seed);
    default:
        return XXH3_64bits_withSeed(&value->u64, sizeof value->u64, seed);
    }
}

/* What a row says, however it is written: key or range, and the columns that are there. */
static uint64_t hash_row(const struct tern_config_table *table, const union tern_value *key,
                         const struct tern_address_range *range, const union tern_value *cells,
                         uint64_t present)
{
    uint64_t hash =
        range != NULL ? XXH3_64bits(range, sizeof *range) : hash_value(table->key_type, key, 0);

    for (unsigned i = 0; i < table->column_count; i++)
        if (present >> i & 1)
            hash = hash_value(table->columns[i].type, &cells[i], hash + i + 1);
    return hash;
}

static int add_row(struct loading *loading, const union tern_value *key,
                   const struct tern_address_range *range, const union tern_value *cells,
                   uint64_t present)
{
    int result = 0;

    if (!is_lost(loading))
        result = range != NULL
                     ? tern_table_builder_add_range(loading->builder, range, cells, present)
                     : tern_table_builder_add(loading->builder, key, cells, present);
    if (result == 0 && loading->sketch != NULL)
        result =
            tern_sketch_add(loading->sketch, hash_row(loading->table, key, range, cells, present));
    if (result != 0)
        return give_up(loading, loading->table->source.place, result, "%s after %" PRIu64 " rows",
                       tern_error_text(result), loading->rows);
    loading->rows++;
    if (loading->rows % PROGRESS_ROWS == 0)
        report_progress(loading, tern_source_permille(&loading->source) * READING_PERMILLE / 1000);
    return 0;
}

/* The key of a set, from a line or a cell. */
static int parse_set_key(const struct tern_config_table *table, uint8_t *text, size_t length,
                         uint8_t space[TERN_CELL_SPACE], union tern_value *key,
                         struct tern_address_range *range, struct tern_error *reason)
{
    switch (table->kind) {
    case TERN_TABLE_PREFIX_SET:
        return tern_key_parse_prefix(text, length, range, reason);
    case TERN_TABLE_DOMAIN_SET:
        return tern_key_parse_domain(text, length, space, key, reason);
    default:
        return tern_key_parse(table->key_type, table->key_flags, text, length, space, key, reason);
    }
}

static int collect_pattern(struct loading *loading, const uint8_t *text, size_t length,
                           uint64_t line, uint32_t column)
{
    struct pattern_row row = {.offset = loading->pattern_bytes.length,
                              .length = (uint32_t)length,
                              .line = (uint32_t)tern_min_u64(line, UINT32_MAX),
                              .column = column};
    int status = tern_buffer_append(&loading->patterns, &row, sizeof row);

    if (status == 0)
        status = tern_buffer_append(&loading->pattern_bytes, text, length);
    return status == 0 ? 0
                       : give_up(loading, loading->table->source.place, status, "%s",
                                 tern_error_text(status));
}

static void note_bad_pattern(void *context, size_t index, const char *reason)
{
    struct loading *loading = context;
    struct pattern_row *row = (struct pattern_row *)(void *)loading->patterns.data + index;
    char message[TERN_HYPERSCAN_REASON + 160];

    row->bad = true;
    snprintf(message, sizeof message, "hyperscan does not take '%.*s': %s",
             (int)tern_min_u64(row->length, 100), loading->pattern_bytes.data + row->offset,
             reason);
    add_bad_row(loading, row->line, row->column, message);
}

/* All expressions are checked together, then become rows. */
static int add_patterns(struct loading *loading)
{
    const struct pattern_row *rows = (const void *)loading->patterns.data;
    size_t count = loading->patterns.length / sizeof *rows;
    struct tern_expression *expressions = calloc(count + 1, sizeof *expressions);
    struct tern_buffer texts = {0};
    struct tern_error reason;
    int result = expressions == NULL ? TERN_ENOMEM : 0;

    for (size_t i = 0; i < count && result == 0; i++) {
        expressions[i].text = (const char *)texts.length; /* texts may move until all are there */
        result = tern_hyperscan_regex(&texts, loading->pattern_bytes.data + rows[i].offset,
                                      rows[i].length);
    }
    for (size_t i = 0; i < count && result == 0; i++)
        expressions[i].text = (const char *)texts.data + (uintptr_t)expressions[i].text;
    if (result != 0)
        result = tern_error_set(&reason, result, "no memory for %zu patterns", count);
    else
        result = tern_hyperscan_check(expressions, count, note_bad_pattern, loading, &reason);
    if (result != 0)
        result = give_up_source(loading, result, &reason);
    for (size_t i = 0; i < count && result == 0; i++) {
        if (rows[i].bad)
            continue;
        result = tern_table_builder_add_pattern(loading->builder,
                                                loading->pattern_bytes.data + rows[i].offset,
                                                rows[i].length, rows[i].line);
        loading->rows += result == 0;
    }
    tern_buffer_free(&texts);
    free(expressions);
    return result;
}

static int add_set_row(struct loading *loading, uint8_t *text, size_t length, uint64_t line,
                       uint32_t column)
{
    struct tern_address_range range;
    struct tern_error reason;
    union tern_value key;
    int result;

    if (loading->table->kind == TERN_TABLE_PATTERN_SET)
        return collect_pattern(loading, text, length, line, column);
    result = parse_set_key(loading->table, text, length, loading->spaces[0], &key, &range, &reason);
    if (TERN_UNLIKELY(result != 0)) {
        add_bad_row(loading, line, column, reason.message);
        return 0;
    }
    return add_row(loading, &key, loading->table->kind == TERN_TABLE_PREFIX_SET ? &range : NULL,
                   NULL, 0);
}

/* ---- Lines ---- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* Cuts blanks around and a comment that follows a blank. A '#' inside a word is part of it. */
static void trim(struct tern_lines *line, uint32_t *column)
{
    uint8_t *start = line->text, *end = line->text + line->length;
    uint8_t *comment = memchr(start, '#', line->length);

    while (comment != NULL && comment > start && !is_blank(comment[-1]))
        comment = memchr(comment + 1, '#', (size_t)(end - comment) - 1);
    if (comment != NULL)
        end = comment;
    while (start < end && is_blank(*start))
        start++;
    while (end > start && is_blank(end[-1]))
        end--;
    *column = (uint32_t)(start - line->text) + 1;
    line->text = start;
    line->length = (size_t)(end - start);
}

static int load_lines(struct loading *loading)
{
    const struct tern_config_table *table = loading->table;
    /* A string or expression may begin or end with blanks and hold '#': only whole lines are
     * comments. */
    bool verbatim = table->kind == TERN_TABLE_PATTERN_SET ||
                    (table->kind == TERN_TABLE_EXACT_SET && table->key_type == TERN_TYPE_STRING &&
                     !(table->key_flags & TERN_FIELD_HOST));
    struct tern_lines line = {0};
    struct tern_error reason;
    int result;

    while ((result = tern_lines_next(&loading->source, &line, &reason)) == 1) {
        uint32_t column = 1;

        if (line.length == 0 || line.text[0] == '#')
            continue;
        if (!verbatim)
            trim(&line, &column);
        if (line.length == 0)
            continue;
        result = add_set_row(loading, line.text, line.length, line.number, column);
        if (result != 0)
            return result;
    }
    if (result == TERN_EINVAL)
        return give_up(loading, place_in_source(loading, line.number, 0), result, "%s",
                       reason.message);
    return result == 0 ? 0 : give_up_source(loading, result, &reason);
}

/* ---- CSV ---- */

static unsigned find_column(const struct loading *loading, const char *name, size_t length)
{
    for (unsigned i = 0; i < loading->csv.count; i++)
        if (loading->csv.cells[i].length == length &&
            memcmp(loading->csv.cells[i].text, name, length) == 0)
            return i;
    return COLUMN_MISSING;
}

/* The column of that name; a report when there is none or more than one. */
static unsigned need_column(struct loading *loading, const struct tern_text *name)
{
    struct tern_nearest nearest = {.wanted = name->text, .wanted_length = name->length};
    unsigned found = find_column(loading, name->text, name->length);

    for (unsigned i = 0; i < loading->csv.count; i++) {
        const struct tern_csv_cell *cell = &loading->csv.cells[i];

        tern_nearest_offer(&nearest, (const char *)cell->text, cell->length);
        if (found != COLUMN_MISSING && i > found && cell->length == name->length &&
            memcmp(cell->text, name->text, name->length) == 0)
            give_up(loading, place_in_source(loading, loading->csv.line, cell->column), TERN_EINVAL,
                    "the header has column '%s' twice", name->text);
    }
    if (found == COLUMN_MISSING)
        give_up(loading, name->place, TERN_EINVAL, "%s has no column '%s'%s%.*s%s",
                loading->table->source.text, name->text,
                nearest.best != NULL ? "; did you mean '" : "",
                (int)(nearest.best != NULL ? nearest.best_length : 0),
                nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "'?" : "");
    return found;
}

static int read_header(struct loading *loading)
{
    const struct tern_config_table *table = loading->table;
    size_t errors = loading->diagnostics->error_count;

    loading->header_count = loading->csv.count;
    if (table->kind == TERN_TABLE_PREFIX_MAP) {
        loading->start = find_column(loading, "start", 5);
        loading->end = find_column(loading, "end", 3);
        loading->cidr = find_column(loading, "cidr", 4);
        if (loading->cidr == COLUMN_MISSING &&
            (loading->start == COLUMN_MISSING || loading->end == COLUMN_MISSING))
            return give_up(loading, place_in_source(loading, loading->csv.line, 1), TERN_EINVAL,
                           "the header row of a prefix_map names 'start' and 'end', or 'cidr'");
    } else {
        loading->key = need_column(loading, &table->key);
    }
    for (unsigned i = 0; i < table->column_count; i++)
        loading->columns[i] = need_column(loading, &table->columns[i].from);
    return loading->diagnostics->error_count == errors ? 0 : TERN_EINVAL;
}

static void add_bad_cell(struct loading *loading, unsigned index, const char *name,
                         const struct tern_error *reason)
{
    const struct tern_csv_cell *cell = &loading->csv.cells[index];
    char message[640];

    snprintf(message, sizeof message, "column '%.64s': %s", name, reason->message);
    add_bad_row(loading, loading->csv.line + cell->lines, cell->column, message);
}

static int parse_range(struct loading *loading, struct tern_address_range *range)
{
    const struct tern_csv_cell *cells = loading->csv.cells;
    struct tern_error reason;
    int result;

    if (loading->cidr != COLUMN_MISSING) {
        const struct tern_csv_cell *cidr = &cells[loading->cidr];

        result = tern_key_parse_prefix(cidr->text, cidr->length, range, &reason);
        if (result != 0)
            add_bad_cell(loading, loading->cidr, "cidr", &reason);
        return result;
    }
    result =
        tern_key_parse_range(cells[loading->start].text, cells[loading->start].length,
                             cells[loading->end].text, cells[loading->end].length, range, &reason);
    if (result != 0)
        add_bad_row(loading, loading->csv.line + cells[loading->start].lines,
                    cells[loading->start].column, reason.message);
    return result;
}

/* Parses the columns into `values`; false after a bad row. */
static bool parse_columns(struct loading *loading, union tern_value *values, uint64_t *present)
{
    const struct tern_config_table *table = loading->table;
    struct tern_error reason;

    *present = 0;
    for (unsigned i = 0; i < table->column_count; i++) {
        const struct tern_csv_cell *cell = &loading->csv.cells[loading->columns[i]];

        if (cell->length == 0)
            continue; /* missing */
        if (tern_cell_parse(table->columns[i].type, table->columns[i].flags, cell->text,
                            cell->length, loading->spaces[i + 1], &values[i], &reason) != 0) {
            add_bad_cell(loading, loading->columns[i], table->columns[i].from.text, &reason);
            return false;
        }
        *present |= 1ull << i;
    }
    return true;
}

static int add_map_row(struct loading *loading)
{
    const struct tern_config_table *table = loading->table;
    union tern_value values[TERN_COLUMNS_MAX];
    struct tern_address_range range;
    struct tern_error reason;
    union tern_value key;
    uint64_t present;

    if (table->kind == TERN_TABLE_PREFIX_MAP) {
        if (parse_range(loading, &range) != 0)
            return 0;
    } else if (tern_key_parse(table->key_type, table->key_flags,
                              loading->csv.cells[loading->key].text,
                              loading->csv.cells[loading->key].length, loading->spaces[0], &key,
                              &reason) != 0) {
        add_bad_cell(loading, loading->key, table->key.text, &reason);
        return 0;
    }
    if (!parse_columns(loading, values, &present))
        return 0;
    return add_row(loading, &key, table->kind == TERN_TABLE_PREFIX_MAP ? &range : NULL, values,
                   present);
}

static int add_csv_row(struct loading *loading)
{
    const struct tern_csv_cell *cell;

    if (loading->csv.count != loading->header_count) {
        char message[128];

        snprintf(message, sizeof message, "the row has %u cells, the header %u", loading->csv.count,
                 loading->header_count);
        add_bad_row(loading, loading->csv.line, 0, message);
        return 0;
    }
    if (loading->table->column_count > 0)
        return add_map_row(loading);
    cell = &loading->csv.cells[loading->key];
    return add_set_row(loading, cell->text, cell->length, loading->csv.line + cell->lines,
                       cell->column);
}

static int load_csv(struct loading *loading)
{
    struct tern_csv *csv = &loading->csv;
    struct tern_error reason;
    int result = tern_csv_next(&loading->source, csv, &reason);

    if (result == 0)
        return give_up(loading, place_in_source(loading, 0, 0), TERN_EINVAL,
                       "is empty; a CSV source begins with a header row");
    if (result == 1) {
        int header = read_header(loading);

        if (header != 0)
            return header;
    }
    /* The header refused is the end; another row is only left out. */
    while (result == 1 || (result == TERN_EREFUSED && loading->header_count > 0)) {
        result = tern_csv_next(&loading->source, csv, &reason);
        if (result == TERN_EREFUSED)
            add_bad_row(loading, csv->error_line, csv->error_column, reason.message);
        if (result == 1) {
            int added = add_csv_row(loading);

            if (added != 0)
                return added;
        }
    }
    if (result == TERN_EINVAL || result == TERN_EREFUSED)
        return give_up(loading, place_in_source(loading, csv->error_line, csv->error_column),
                       TERN_EINVAL, "%s", reason.message);
    return result == 0 ? 0 : give_up_source(loading, result, &reason);
}

/* ---- A table ---- */

static int new_builder(struct loading *loading, uint64_t seed)
{
    const struct tern_config_table *table = loading->table;
    struct tern_build_column columns[TERN_COLUMNS_MAX];
    struct tern_table_definition definition = {.kind = table->kind,
                                               .key_type = table->key_type,
                                               .key_flags = table->key_flags,
                                               .column_count = table->column_count,
                                               .columns = columns,
                                               .seed = seed};
    struct tern_error reason;
    int result;

    for (unsigned i = 0; i < table->column_count; i++)
        columns[i] = (struct tern_build_column){table->columns[i].name.text, table->columns[i].type,
                                                table->columns[i].flags};
    result = tern_table_builder_new(&loading->builder, &definition, &reason);
    return result == 0 ? 0 : give_up_source(loading, result, &reason);
}

static int check_counts(struct loading *loading)
{
    int result = report_bad_rows(loading);

    if (result != 0)
        return result;
    if (loading->rows < loading->table->min_rows)
        return give_up(loading, loading->table->source.place, TERN_EINVAL,
                       "%s has %" PRIu64 " rows, min_rows is %" PRIu64 "%s",
                       loading->table->source.text, loading->rows, loading->table->min_rows,
                       loading->table->min_rows == 1 ? " (min_rows: 0 allows an empty table)" : "");
    return 0;
}

static int read_rows(struct loading *loading, uint8_t digest[16])
{
    const struct tern_config_table *table = loading->table;
    bool csv = table->column_count > 0 || table->key.text != NULL;
    struct tern_error reason;
    int result = csv ? load_csv(loading) : load_lines(loading);

    if (result == 0) {
        uint8_t read_digest[16];

        result = tern_source_finish(&loading->source, read_digest, &reason);
        if (result != 0)
            return give_up_source(loading, result, &reason);
        if (digest != NULL)
            memcpy(digest, read_digest, sizeof read_digest);
        if (table->kind == TERN_TABLE_PATTERN_SET)
            result = add_patterns(loading);
        return result != 0 ? result : check_counts(loading);
    }
    (void)report_bad_rows(loading); /* what was found before the end adds to the picture */
    return result;
}

static void builder_progress(void *context, unsigned permille)
{
    report_progress(context, READING_PERMILLE + permille * (1000 - READING_PERMILLE) / 1000);
}

static int finish(struct loading *loading, struct tern_buffer *out, struct tern_load_report *report)
{
    struct tern_error reason = {.message = "the table cannot be built"};
    struct tern_load_report made = {.bad_rows = loading->bad_rows, .sketch = loading->sketch};
    int result = tern_table_builder_finish(loading->builder, out, &made.build, builder_progress,
                                           loading, &reason);

    if (result != 0)
        return give_up_source(loading, result, &reason);
    if (made.build.duplicates > 0 && loading->table->kind == TERN_TABLE_EXACT_MAP)
        tern_diagnostics_add(loading->diagnostics, TERN_SEVERITY_WARNING,
                             loading->table->source.place,
                             "%s gives %" PRIu64 " keys again; the later row wins",
                             loading->table->source.text, made.build.duplicates);
    if (made.build.overlaps > 0 && loading->table->kind == TERN_TABLE_PREFIX_MAP)
        tern_diagnostics_add(loading->diagnostics, TERN_SEVERITY_WARNING,
                             loading->table->source.place,
                             "%s gives %" PRIu64 " ranges again; the later row wins",
                             loading->table->source.text, made.build.overlaps);
    if (made.sketch != NULL)
        tern_sketch_finish(made.sketch);
    *report = made;
    return 0;
}

int tern_table_load(const struct tern_config_table *table, uint64_t seed, struct tern_buffer *out,
                    struct tern_load_report *report, uint8_t digest[16],
                    void (*progress)(void *context, unsigned permille, uint64_t rows),
                    void *context, struct tern_diagnostics *diagnostics, struct tern_error *error)
{
    struct loading *loading = calloc(1, sizeof *loading);
    struct tern_error reason;
    int result;

    if (loading == NULL)
        return tern_error_set(error, TERN_ENOMEM, "table %s: out of memory", table->name.text);
    loading->table = table;
    loading->diagnostics = diagnostics;
    loading->error = error;
    loading->progress = progress;
    loading->context = context;
    loading->sketch = report->sketch;
    result = tern_source_open(table->source_path, table->max_bytes, &loading->source, &reason);
    if (result != 0) {
        result = give_up_source(loading, result, &reason);
    } else {
        result = new_builder(loading, seed);
        if (result == 0)
            result = read_rows(loading, digest);
        tern_source_close(&loading->source);
    }
    if (result == 0)
        result = finish(loading, out, report);
    if (loading->builder != NULL)
        tern_table_builder_free(loading->builder);
    tern_buffer_free(&loading->patterns);
    tern_buffer_free(&loading->pattern_bytes);
    free(loading);
    return result;
}
