#include "controlplane/build/table.h"

#include "controlplane/build/domain.h"
#include "controlplane/build/exact.h"
#include "controlplane/build/prefix.h"
#include "controlplane/build/records.h"

struct tern_table_builder {
    enum tern_table_kind kind;
    enum tern_type key_type;
    uint8_t key_flags;
    uint64_t seed;
    bool is_map;
    bool finished;
    uint64_t rows;
    struct tern_records_builder records; /* maps */
    union {
        struct tern_exact_builder exact;
        struct tern_prefix_builder prefix;
        struct tern_domain_builder domain;
        struct {
            struct tern_buffer entries; /* struct tern_pattern_entry */
            struct tern_buffer bytes;
        } patterns;
    };
};

static int check_definition(const struct tern_table_definition *definition,
                            struct tern_error *error)
{
    bool is_map =
        definition->kind == TERN_TABLE_EXACT_MAP || definition->kind == TERN_TABLE_PREFIX_MAP;

    switch (definition->kind) {
    case TERN_TABLE_EXACT_SET:
    case TERN_TABLE_EXACT_MAP:
        if (definition->key_type != TERN_TYPE_STRING && definition->key_type != TERN_TYPE_IP &&
            definition->key_type != TERN_TYPE_U64 && definition->key_type != TERN_TYPE_I64)
            return tern_error_set(
                error, TERN_EINVAL,
                "an exact table cannot be keyed by %s; expected string, host, ip, "
                "u64 or i64",
                tern_type_name(definition->key_type));
        break;
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
    case TERN_TABLE_DOMAIN_SET:
    case TERN_TABLE_PATTERN_SET:
        break;
    default:
        return tern_error_set(error, TERN_ENOTSUP, "this build has no packed form of a %s",
                              tern_table_kind_name(definition->kind));
    }
    if (is_map != (definition->column_count > 0))
        return tern_error_set(error, TERN_EINVAL,
                              is_map ? "a map needs at least one column" : "a set has no columns");
    return 0;
}

int tern_table_builder_new(struct tern_table_builder **builder,
                           const struct tern_table_definition *definition, struct tern_error *error)
{
    struct tern_table_builder *made;
    int status = check_definition(definition, error);

    if (status != 0)
        return status;
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    made->kind = definition->kind;
    made->key_type = definition->key_type;
    made->key_flags = definition->key_flags & TERN_FIELD_HOST;
    made->seed = definition->seed;
    made->is_map = definition->column_count > 0;
    if (made->kind == TERN_TABLE_PREFIX_SET || made->kind == TERN_TABLE_PREFIX_MAP) {
        made->key_type = TERN_TYPE_IP;
        made->key_flags = 0;
    } else if (made->kind == TERN_TABLE_DOMAIN_SET) {
        made->key_type = TERN_TYPE_STRING;
        made->key_flags = TERN_FIELD_HOST;
    } else if (made->kind == TERN_TABLE_PATTERN_SET) {
        made->key_type = TERN_TYPE_STRING;
        made->key_flags = 0;
    } else if (made->key_type != TERN_TYPE_STRING) {
        made->key_flags = 0;
    }
    if (made->is_map) {
        status = tern_records_builder_init(&made->records, definition->columns,
                                           definition->column_count);
        if (status != 0) {
            free(made);
            return tern_error_set(error, status,
                                  "the columns are not 1 to %u of distinct names of 1 to %u bytes "
                                  "and type string, host, u32, u64, i64, f32, bool or ip",
                                  TERN_COLUMNS_MAX, TERN_NAME_MAX);
        }
    }
    *builder = made;
    return 0;
}

/* The value that goes into the index for a row: sets 0, maps the provisional record number. */
static int add_cells(struct tern_table_builder *builder, const union tern_value *cells,
                     uint64_t present, uint32_t *value)
{
    *value = 0;
    return builder->is_map ? tern_records_builder_add(&builder->records, cells, present, value) : 0;
}

int tern_table_builder_add(struct tern_table_builder *builder, const union tern_value *key,
                           const union tern_value *cells, uint64_t present)
{
    uint8_t scratch[16];
    const void *bytes;
    size_t length;
    uint32_t value;
    int status;

    if (builder->finished)
        return TERN_EINVAL;
    bytes = tern_table_key_bytes(builder->key_type, key, scratch, &length);
    switch (builder->kind) {
    case TERN_TABLE_EXACT_SET:
    case TERN_TABLE_EXACT_MAP:
        status = add_cells(builder, cells, present, &value);
        if (status == 0)
            status = tern_exact_builder_add(&builder->exact, bytes, length, value);
        break;
    case TERN_TABLE_DOMAIN_SET:
        status = tern_domain_builder_add(&builder->domain, bytes, length, 0);
        break;
    default:
        return TERN_EINVAL;
    }
    builder->rows += status == 0;
    return status;
}

int tern_table_builder_add_range(struct tern_table_builder *builder,
                                 const struct tern_address_range *range,
                                 const union tern_value *cells, uint64_t present)
{
    uint32_t value;
    int status;

    if (builder->finished ||
        (builder->kind != TERN_TABLE_PREFIX_SET && builder->kind != TERN_TABLE_PREFIX_MAP))
        return TERN_EINVAL;
    status = add_cells(builder, cells, present, &value);
    if (status == 0)
        status = tern_prefix_builder_add(&builder->prefix, range, value);
    builder->rows += status == 0;
    return status;
}

int tern_table_builder_add_pattern(struct tern_table_builder *builder, const void *bytes,
                                   size_t length, uint32_t line)
{
    struct tern_pattern_entry entry = {builder->patterns.bytes.length, (uint32_t)length, line};
    int status;

    if (builder->finished || builder->kind != TERN_TABLE_PATTERN_SET || length > UINT32_MAX)
        return TERN_EINVAL;
    status = tern_buffer_append(&builder->patterns.entries, &entry, sizeof entry);
    if (status == 0)
        status = tern_buffer_append(&builder->patterns.bytes, bytes, length);
    builder->rows += status == 0;
    return status;
}

/* ---- finish ---------------------------------------------------------------------------------- */

static int resolve(struct tern_table_builder *builder, struct tern_build_report *report)
{
    int status;

    switch (builder->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        status = tern_prefix_builder_resolve(&builder->prefix);
        report->overlaps = builder->prefix.overlaps;
        report->keys = builder->rows - report->overlaps;
        return status;
    case TERN_TABLE_DOMAIN_SET:
        status = tern_domain_builder_resolve(&builder->domain, builder->seed);
        report->keys = builder->domain.exact.entry_count;
        break;
    case TERN_TABLE_PATTERN_SET: /* the same one twice costs nothing that matters */
        report->keys = builder->rows;
        return builder->rows > TERN_PATTERNS_MAX ? TERN_ELIMIT : 0;
    default:
        status = tern_exact_builder_resolve(&builder->exact, builder->seed);
        report->keys = builder->exact.entry_count;
        break;
    }
    report->duplicates = builder->rows - report->keys;
    return status;
}

/* Calls for every value of the resolved index of a map. */
static void each_value(struct tern_table_builder *builder,
                       void (*call)(void *context, uint32_t *value), void *context)
{
    if (builder->kind == TERN_TABLE_EXACT_MAP) {
        for (uint32_t i = 0; i < builder->exact.entry_count; i++)
            call(context, &builder->exact.entries[i].value);
        return;
    }
    for (unsigned v6 = 0; v6 < 2; v6++) {
        struct tern_prefix_family *family = v6 ? &builder->prefix.v6 : &builder->prefix.v4;

        for (size_t i = 0; i < family->segment_count; i++)
            if (family->segments[i].value != TERN_PREFIX_NONE)
                call(context, &family->segments[i].value);
    }
}

static void mark_wanted(void *context, uint32_t *value)
{
    ((uint8_t *)context)[*value] = 1;
}

static void take_number(void *context, uint32_t *value)
{
    *value = ((const uint32_t *)context)[*value];
}

/* Packs the records that the index still refers to and gives the index their final numbers. */
static int pack_records(struct tern_table_builder *builder, uint32_t *record_count,
                        struct tern_buffer *out)
{
    uint8_t *wanted = calloc(builder->records.record_count + 1ull, 1);
    uint32_t *renumber = malloc((builder->records.record_count + 1ull) * sizeof *renumber);
    int status = TERN_ENOMEM;

    if (wanted != NULL && renumber != NULL) {
        each_value(builder, mark_wanted, wanted);
        status = tern_records_builder_pack(&builder->records, wanted, renumber, record_count, out);
        if (status == 0)
            each_value(builder, take_number, renumber);
    }
    free(renumber);
    free(wanted);
    return status;
}

static int pack_patterns(const struct tern_table_builder *builder, struct tern_buffer *out)
{
    struct tern_patterns_index header = {.count = (uint32_t)builder->rows,
                                         .bytes = builder->patterns.bytes.length};
    int status = tern_buffer_append(out, &header, sizeof header);

    if (status == 0)
        status = tern_buffer_append(out, builder->patterns.entries.data,
                                    builder->patterns.entries.length);
    if (status == 0)
        status =
            tern_buffer_append(out, builder->patterns.bytes.data, builder->patterns.bytes.length);
    return status;
}

static int pack_index(const struct tern_table_builder *builder, uint64_t keys, uint32_t value_limit,
                      struct tern_buffer *out)
{
    switch (builder->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        return tern_prefix_builder_pack(&builder->prefix, (uint32_t)tern_min_u64(keys, UINT32_MAX),
                                        value_limit, out);
    case TERN_TABLE_DOMAIN_SET:
        return tern_domain_builder_pack(&builder->domain, false, value_limit, out);
    case TERN_TABLE_PATTERN_SET:
        return pack_patterns(builder, out);
    default:
        return tern_exact_builder_pack(&builder->exact, builder->is_map, value_limit, out);
    }
}

/* Pads the section that begins at `start` to a whole line. */
static int align(struct tern_buffer *out, size_t start)
{
    return tern_buffer_append_zero(out, -(out->length - start) % TERN_CACHE_LINE);
}

static int append_section(struct tern_table_builder *builder, uint64_t keys,
                          struct tern_buffer *records, struct tern_buffer *out)
{
    struct tern_table_header header = {
        .magic = TERN_TABLE_MAGIC,
        .kind = (uint8_t)builder->kind,
        .key_type = (uint8_t)builder->key_type,
        .key_flags = builder->key_flags,
        .key_count = keys,
        .index_offset = sizeof header,
        .records_bytes = records->length,
    };
    size_t start = out->length;
    uint32_t value_limit = 1;

    if (builder->is_map)
        value_limit = ((const struct tern_records_header *)records->data)->record_count;
    if (tern_buffer_append_zero(out, sizeof header) != 0)
        return TERN_ENOMEM;
    int status = pack_index(builder, keys, value_limit, out);
    if (status != 0)
        return status;
    header.index_bytes = out->length - start - sizeof header;
    if (align(out, start) != 0)
        return TERN_ENOMEM;
    header.records_offset = out->length - start;
    if (tern_buffer_append(out, records->data, records->length) != 0 || align(out, start) != 0)
        return TERN_ENOMEM;
    memcpy(out->data + start, &header, sizeof header);
    return 0;
}

int tern_table_builder_finish(struct tern_table_builder *builder, struct tern_buffer *out,
                              struct tern_build_report *report,
                              void (*progress)(void *context, unsigned permille), void *context,
                              struct tern_error *error)
{
    struct tern_build_report counts = {.rows = builder->rows};
    struct tern_buffer records = {0};
    uint32_t record_count = 0;
    size_t start = out->length;
    int status;

    if (builder->finished)
        return tern_error_set(error, TERN_EINVAL, "the table is finished already");
    builder->finished = true;
    status = resolve(builder, &counts);
    if (progress != NULL)
        progress(context, 500);
    if (status == 0 && builder->is_map) {
        status = pack_records(builder, &record_count, &records);
        if (progress != NULL)
            progress(context, 600);
    }
    if (status == 0)
        status = append_section(builder, counts.keys, &records, out);
    tern_buffer_free(&records);
    if (status != 0) {
        out->length = start;
        return tern_error_set(error, status, "cannot build the %s: %s",
                              tern_table_kind_name(builder->kind), tern_error_text(status));
    }
    if (progress != NULL)
        progress(context, 1000);
    if (report != NULL)
        *report = counts;
    return 0;
}

void tern_table_builder_free(struct tern_table_builder *builder)
{
    if (builder == NULL)
        return;
    tern_records_builder_free(&builder->records);
    switch (builder->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        tern_prefix_builder_free(&builder->prefix);
        break;
    case TERN_TABLE_DOMAIN_SET:
        tern_domain_builder_free(&builder->domain);
        break;
    case TERN_TABLE_PATTERN_SET:
        tern_buffer_free(&builder->patterns.entries);
        tern_buffer_free(&builder->patterns.bytes);
        break;
    default:
        tern_exact_builder_free(&builder->exact);
        break;
    }
    free(builder);
}
