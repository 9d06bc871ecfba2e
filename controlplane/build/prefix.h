/* Builds the index of shared/tables/prefix.h: ranges in, trie out.
 *
 * Three steps, so that the owner of the values can renumber them once it is known which ranges
 * show: add ranges → resolve (sort, sweep into disjoint segments: the smallest range wins
 * everywhere) → pack. A builder belongs to one thread; the same ranges in the same order give the
 * same bytes. */
#ifndef TERN_BUILD_PREFIX_H
#define TERN_BUILD_PREFIX_H

#include "shared/address.h"
#include "shared/buffer.h"
#include "shared/error.h"

/* Addresses as 128-bit numbers, most significant bit first; IPv4 in the top 32 bits, zeros below.
 */
typedef unsigned __int128 tern_build_key;

struct tern_prefix_row {
    tern_build_key first;
    tern_build_key last; /* of IPv4: all ones below the top 32 bits */
    uint32_t value;
};

/* From `start` to the next segment's start, or the end of the family. Neighbours differ in value.
 */
struct tern_prefix_segment {
    tern_build_key start;
    uint32_t value; /* TERN_PREFIX_NONE: no range holds these */
};

struct tern_prefix_family {
    struct tern_prefix_row *rows;
    size_t row_count, row_capacity;
    struct tern_prefix_segment *segments; /* after resolve; the first one starts at 0 */
    size_t segment_count, segment_capacity;
};

struct tern_prefix_builder { /* zero-initialise */
    struct tern_prefix_family v4, v6;
    uint64_t overlaps; /* after resolve: equal ranges given again; the later row won */
};

/* Adds an inclusive range. A range is IPv4's when it begins there (then it must end there), else
 * IPv6's, and matches no IPv4 address even where it spans ::ffff:0:0/96. Values are at most
 * TERN_PREFIX_VALUE_MAX. Returns 0; TERN_EINVAL when first > last, the families differ or the value
 * is too large; TERN_ENOMEM; TERN_ELIMIT past 2^32 − 2 rows. */
int tern_prefix_builder_add(struct tern_prefix_builder *builder,
                            const struct tern_address_range *range, uint32_t value);

/* Fills the families' segments and frees the rows. Where ranges of equal size overlap, the later
 * row wins. Returns 0 or TERN_ENOMEM. */
int tern_prefix_builder_resolve(struct tern_prefix_builder *builder);

/* Appends the index. `range_count` goes into the header for display; every value is below
 * `value_limit`. Returns 0, TERN_ENOMEM, or TERN_ELIMIT past 16 GiB of nodes. On failure `out` is
 * as before. */
int tern_prefix_builder_pack(const struct tern_prefix_builder *builder, uint32_t range_count,
                             uint32_t value_limit, struct tern_buffer *out);

void tern_prefix_builder_free(struct tern_prefix_builder *builder);

#endif
