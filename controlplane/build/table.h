/* Builders of the packed tables: rows in, section bytes out. Off the request path; a builder
 * belongs to one thread. The same rows in the same order with the same seed give the same bytes. */
#ifndef TERN_BUILD_TABLE_H
#define TERN_BUILD_TABLE_H

#include "shared/buffer.h"
#include "shared/error.h"
#include "shared/facts.h"
#include "shared/schema.h"
#include "shared/tables/table.h"

struct tern_table_builder;

struct tern_build_column {
    const char *name;
    enum tern_type type;
    uint8_t flags; /* TERN_FIELD_HOST */
};

struct tern_table_definition {
    enum tern_table_kind kind;
    enum tern_type
        key_type; /* exact tables: string (with TERN_FIELD_HOST in key_flags), u64, i64, ip */
    uint8_t key_flags;
    unsigned column_count;
    const struct tern_build_column *columns;
    uint64_t seed; /* from the content hash and the instance secret */
};

/* What finishing reports besides the bytes. */
struct tern_build_report {
    uint64_t rows;       /* given */
    uint64_t keys;       /* distinct */
    uint64_t duplicates; /* equal keys: the later row won */
    uint64_t overlaps;   /* prefix tables: equal ranges given twice, the later row won */
};

/* `*builder` is freed by tern_table_builder_free, also after finish. 0, TERN_EINVAL, TERN_ENOMEM.
 */
int tern_table_builder_new(struct tern_table_builder **builder,
                           const struct tern_table_definition *definition,
                           struct tern_error *error);

/* Adds a row: exact tables and domain sets by `key` (canonical: hosts folded), prefix tables by an
 * inclusive range. `cells[i]` is the value of column i; bit i of `present` says it is there.
 * Strings are copied. */
int tern_table_builder_add(struct tern_table_builder *builder, const union tern_value *key,
                           const union tern_value *cells, uint64_t present);
int tern_table_builder_add_range(struct tern_table_builder *builder,
                                 const struct tern_address_range *range,
                                 const union tern_value *cells, uint64_t present);

/* Adds an expression to a pattern set; `line` is its place in the source, for messages. */
int tern_table_builder_add_pattern(struct tern_table_builder *builder, const void *bytes,
                                   size_t length, uint32_t line);

/* Appends the section's bytes to `out` (its data pointer is page- or 64-byte aligned only once
 * copied into the arena; readers in tests copy into aligned memory). `progress` (may be NULL) is
 * called with permille done. */
int tern_table_builder_finish(struct tern_table_builder *builder, struct tern_buffer *out,
                              struct tern_build_report *report,
                              void (*progress)(void *context, unsigned permille), void *context,
                              struct tern_error *error);

void tern_table_builder_free(struct tern_table_builder *builder);

#endif
