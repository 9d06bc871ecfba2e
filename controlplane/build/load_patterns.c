/* Rows of pattern sets: collected, checked by hyperscan all together, then added. */
#include "controlplane/build/load_private.h"

#include "controlplane/build/hyperscan.h"

struct pattern_row { /* in `patterns` */
    size_t offset;   /* in `pattern_bytes` */
    uint32_t length;
    uint32_t line, column;
    bool bad;
};

int tern_loading_add_pattern(struct tern_loading *loading, const uint8_t *text, size_t length,
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
                       : tern_loading_give_up(loading, loading->table->source.place, status, "%s",
                                              tern_error_text(status));
}

static void note_bad_pattern(void *context, size_t index, const char *reason)
{
    struct tern_loading *loading = context;
    struct pattern_row *row = (struct pattern_row *)(void *)loading->patterns.data + index;
    char message[TERN_HYPERSCAN_REASON + 160];

    row->bad = true;
    snprintf(message, sizeof message, "hyperscan does not take '%.*s': %s",
             (int)tern_min_u64(row->length, 100), loading->pattern_bytes.data + row->offset,
             reason);
    tern_loading_add_bad_row(loading, row->line, row->column, message);
}

int tern_loading_finish_patterns(struct tern_loading *loading)
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
        result = tern_loading_give_up_source(loading, result, &reason);
    for (size_t i = 0; i < count && result == 0; i++) {
        if (rows[i].bad)
            continue;
        result = tern_table_builder_add_pattern(loading->builder,
                                                loading->pattern_bytes.data + rows[i].offset,
                                                rows[i].length, rows[i].line);
        if (result != 0)
            result = tern_loading_give_up(loading, loading->table->source.place, result, "%s",
                                          tern_error_text(result));
        else
            loading->rows++;
    }
    tern_buffer_free(&texts);
    free(expressions);
    return result;
}
