/* Builds the records of shared/tables/records.h: cells in, packed rows and sorted strings out.
 *
 * Rows get provisional numbers as they are added; equal rows get the same one, unless the first
 * 65,536 rows show that rows hardly repeat (then looking for equals stops). Pack writes only the
 * records that are still wanted. A builder belongs to one thread; the same calls give the same
 * bytes. */
#ifndef TERN_BUILD_RECORDS_H
#define TERN_BUILD_RECORDS_H

#include "controlplane/build/table.h"

struct tern_record_set { /* open addressing over numbers of stored things; 0 = empty, else number +
                            1 */
    uint32_t *places;
    size_t capacity; /* a power of two */
};

struct tern_records_builder { /* zero-initialise, then init */
    struct tern_column columns[TERN_COLUMNS_MAX];
    unsigned column_count;
    uint32_t row_bytes; /* with the presence bitmap */
    uint32_t presence_offset;
    uint32_t cells_bytes; /* without it */
    uint64_t all_present; /* bit per column */
    bool has_empty_cells;
    struct tern_buffer rows; /* strings by their provisional number */
    uint32_t record_count;
    uint64_t rows_added;
    struct tern_record_set known_rows;
    bool looks_for_equals;
    struct tern_buffer string_bytes;
    struct tern_buffer string_ends; /* u64 each */
    uint32_t string_count;
    struct tern_record_set known_strings;
};

/* Lays the columns out, widest first. Returns 0; TERN_EINVAL for a type that cannot be a column, a
 * bad name or two columns of one name; TERN_ELIMIT for none or too many columns. */
int tern_records_builder_init(struct tern_records_builder *builder,
                              const struct tern_build_column *columns, unsigned column_count);

/* Adds a row and yields its provisional number. Returns 0; TERN_EINVAL for a u32 cell over 2^32 − 1
 * or a NaN; TERN_ELIMIT for too many records or over 4 GiB of distinct strings; TERN_ENOMEM. */
int tern_records_builder_add(struct tern_records_builder *builder, const union tern_value *cells,
                             uint64_t present, uint32_t *number);

/* Appends the records whose `wanted` flag is set, in order, and the strings they use. `renumber[n]`
 * becomes the final number of provisional n (unwanted: unchanged), `*count` their number. Returns 0
 * or TERN_ENOMEM; on failure `out` is as before. */
int tern_records_builder_pack(const struct tern_records_builder *builder, const uint8_t *wanted,
                              uint32_t *renumber, uint32_t *count, struct tern_buffer *out);

void tern_records_builder_free(struct tern_records_builder *builder);

#endif
