/* Rows into the builder and into the sketch; lines of a text source, which are rows of a set. */
#include "controlplane/build/load_private.h"

#include "controlplane/build/lines.h"

#include <inttypes.h>

#include <xxhash.h>

#define PROGRESS_ROWS (64u << 10)

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

int tern_loading_add_row(struct tern_loading *loading, const union tern_value *key,
                         const struct tern_address_range *range, const union tern_value *cells,
                         uint64_t present)
{
    int result = 0;

    if (!tern_loading_is_lost(loading))
        result = range != NULL
                     ? tern_table_builder_add_range(loading->builder, range, cells, present)
                     : tern_table_builder_add(loading->builder, key, cells, present);
    if (result == 0 && loading->sketch != NULL)
        result =
            tern_sketch_add(loading->sketch, hash_row(loading->table, key, range, cells, present));
    if (result != 0)
        return tern_loading_give_up(loading, loading->table->source.place, result,
                                    "%s after %" PRIu64 " rows", tern_error_text(result),
                                    loading->rows);
    loading->rows++;
    if (loading->rows % PROGRESS_ROWS == 0)
        tern_loading_report(loading,
                            tern_source_permille(&loading->source) * TERN_LOADING_PERMILLE / 1000);
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

int tern_loading_add_set_row(struct tern_loading *loading, uint8_t *text, size_t length,
                             uint64_t line, uint32_t column)
{
    struct tern_address_range range;
    struct tern_error reason;
    union tern_value key;
    int result;

    if (loading->table->kind == TERN_TABLE_PATTERN_SET)
        return tern_loading_add_pattern(loading, text, length, line, column);
    result = parse_set_key(loading->table, text, length, loading->spaces[0], &key, &range, &reason);
    if (TERN_UNLIKELY(result != 0)) {
        tern_loading_add_bad_row(loading, line, column, reason.message);
        return 0;
    }
    return tern_loading_add_row(
        loading, &key, loading->table->kind == TERN_TABLE_PREFIX_SET ? &range : NULL, NULL, 0);
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

int tern_loading_read_lines(struct tern_loading *loading)
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
        result = tern_loading_add_set_row(loading, line.text, line.length, line.number, column);
        if (result != 0)
            return result;
    }
    if (result == TERN_EINVAL)
        return tern_loading_give_up(loading, tern_loading_place(loading, line.number, 0), result,
                                    "%s", reason.message);
    return result == 0 ? 0 : tern_loading_give_up_source(loading, result, &reason);
}
