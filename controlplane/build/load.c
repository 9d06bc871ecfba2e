#include "controlplane/build/load_private.h"

#include <inttypes.h>
#include <stdarg.h>

/* ---- Reporting ---- */

struct tern_place tern_loading_place(const struct tern_loading *loading, uint64_t line,
                                     uint32_t column)
{
    return (struct tern_place){loading->table->source_path,
                               line > UINT32_MAX ? UINT32_MAX : (uint32_t)line, column};
}

int tern_loading_give_up(struct tern_loading *loading, struct tern_place place, int code,
                         const char *format, ...)
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

int tern_loading_give_up_source(struct tern_loading *loading, int code,
                                const struct tern_error *reason)
{
    return tern_loading_give_up(loading, loading->table->source.place, code, "%s", reason->message);
}

void tern_loading_add_bad_row(struct tern_loading *loading, uint64_t line, uint32_t column,
                              const char *message)
{
    if (loading->bad_rows < TERN_BAD_ROWS_KEPT) {
        struct tern_bad_row *bad = &loading->bad[loading->bad_rows];

        bad->line = line;
        bad->column = column;
        snprintf(bad->message, sizeof bad->message, "%s", message);
    }
    loading->bad_rows++;
}

bool tern_loading_is_lost(const struct tern_loading *loading)
{
    return loading->bad_rows > loading->table->max_bad_rows;
}

static int report_bad_rows(struct tern_loading *loading)
{
    uint64_t kept = loading->bad_rows < TERN_BAD_ROWS_KEPT ? loading->bad_rows : TERN_BAD_ROWS_KEPT;
    enum tern_severity severity =
        tern_loading_is_lost(loading) ? TERN_SEVERITY_ERROR : TERN_SEVERITY_WARNING;

    for (uint64_t i = 0; i < kept; i++)
        tern_diagnostics_add(
            loading->diagnostics, severity,
            tern_loading_place(loading, loading->bad[i].line, loading->bad[i].column), "%s%s",
            loading->bad[i].message, tern_loading_is_lost(loading) ? "" : " (the row is left out)");
    if (loading->bad_rows > kept)
        tern_diagnostics_add(loading->diagnostics, severity,
                             tern_loading_place(loading, loading->bad[kept - 1].line + 1, 0),
                             "%" PRIu64 " more bad rows follow", loading->bad_rows - kept);
    if (!tern_loading_is_lost(loading))
        return 0;
    return tern_error_set(loading->error, TERN_EINVAL,
                          "table %s: %s has %" PRIu64 " bad rows, max_bad_rows is %" PRIu64
                          "; the first, at line %" PRIu64 ": %s",
                          loading->table->name.text, loading->table->source.text, loading->bad_rows,
                          loading->table->max_bad_rows, loading->bad[0].line,
                          loading->bad[0].message);
}

void tern_loading_report(const struct tern_loading *loading, unsigned permille)
{
    if (loading->progress != NULL)
        loading->progress(loading->context, permille, loading->rows + loading->bad_rows);
}

/* ---- A table ---- */

static int new_builder(struct tern_loading *loading, uint64_t seed)
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
    return result == 0 ? 0 : tern_loading_give_up_source(loading, result, &reason);
}

static int check_counts(struct tern_loading *loading)
{
    int result = report_bad_rows(loading);

    if (result != 0)
        return result;
    if (loading->rows < loading->table->min_rows)
        return tern_loading_give_up(
            loading, loading->table->source.place, TERN_EINVAL,
            "%s has %" PRIu64 " rows, min_rows is %" PRIu64 "%s", loading->table->source.text,
            loading->rows, loading->table->min_rows,
            loading->table->min_rows == 1 ? " (min_rows: 0 allows an empty table)" : "");
    return 0;
}

static int read_rows(struct tern_loading *loading, uint8_t digest[16])
{
    const struct tern_config_table *table = loading->table;
    bool csv = table->column_count > 0 || table->key.text != NULL;
    struct tern_error reason;
    int result = csv ? tern_loading_read_csv(loading) : tern_loading_read_lines(loading);

    if (result == 0) {
        uint8_t read_digest[16];

        result = tern_source_finish(&loading->source, read_digest, &reason);
        if (result != 0)
            return tern_loading_give_up_source(loading, result, &reason);
        if (digest != NULL)
            memcpy(digest, read_digest, sizeof read_digest);
        if (table->kind == TERN_TABLE_PATTERN_SET)
            result = tern_loading_finish_patterns(loading);
        return result != 0 ? result : check_counts(loading);
    }
    (void)report_bad_rows(loading); /* what was found before the end adds to the picture */
    return result;
}

static void builder_progress(void *context, unsigned permille)
{
    tern_loading_report(context,
                        TERN_LOADING_PERMILLE + permille * (1000 - TERN_LOADING_PERMILLE) / 1000);
}

static int finish(struct tern_loading *loading, struct tern_buffer *out,
                  struct tern_load_report *report)
{
    struct tern_error reason = {.message = "the table cannot be built"};
    struct tern_load_report made = {.bad_rows = loading->bad_rows, .sketch = loading->sketch};
    int result = tern_table_builder_finish(loading->builder, out, &made.build, builder_progress,
                                           loading, &reason);

    if (result != 0)
        return tern_loading_give_up_source(loading, result, &reason);
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
    struct tern_loading *loading = calloc(1, sizeof *loading);
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
        result = tern_loading_give_up_source(loading, result, &reason);
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
