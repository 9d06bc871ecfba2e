/* Builds the index of shared/tables/exact.h: keys in, buckets out.
 *
 * Three steps, so that the owner of the values can renumber them once it is known which rows won:
 * add rows → resolve (hash, sort, drop duplicates) → pack. A builder belongs to one thread; the
 * same rows in the same order with the same seed give the same bytes. */
#ifndef TERN_BUILD_EXACT_H
#define TERN_BUILD_EXACT_H

#include "shared/buffer.h"
#include "shared/error.h"

struct tern_exact_entry {
    uint64_t hash;
    uint32_t row;
    uint32_t value;
};

struct tern_exact_builder {    /* zero-initialise */
    struct tern_buffer keys;   /* the bytes of all keys, one after the other; freed by resolve */
    struct tern_buffer ends;   /* u64 per row: where its key ends in `keys`; freed by resolve */
    struct tern_buffer values; /* u32 per row; freed by resolve */
    uint64_t row_count;
    /* after resolve: distinct keys in order of their hash */
    struct tern_exact_entry *entries;
    uint32_t entry_count;
    uint64_t seed; /* the one under which no two keys share a hash */
};

/* Adds a row. Returns 0, TERN_ENOMEM, or TERN_ELIMIT past 2^32 − 2 rows. */
int tern_exact_builder_add(struct tern_exact_builder *builder, const void *key, size_t length,
                           uint32_t value);

/* Fills `entries`; of rows with equal keys the last one stays. Returns 0, TERN_ENOMEM, or
 * TERN_EINVAL when none of many seeds separates the keys (odds of 2^-1000 even for a thousand
 * million keys). */
int tern_exact_builder_resolve(struct tern_exact_builder *builder, uint64_t seed);

/* Appends the index. `has_values`: a map, whose values are all below `value_limit`. Leaves the
 * builder resolved. Returns 0 or TERN_ENOMEM. */
int tern_exact_builder_pack(const struct tern_exact_builder *builder, bool has_values,
                            uint32_t value_limit, struct tern_buffer *out);

void tern_exact_builder_free(struct tern_exact_builder *builder);

#endif
