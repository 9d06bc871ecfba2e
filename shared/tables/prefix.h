/* Prefix and range tables over addresses: the smallest prefix or range that holds the address wins.
 *
 * A compressed multibit trie with popcount-indexed nodes (Asai and Ohara, Poptrie, SIGCOMM 2015;
 * the look-up idea only), one root for IPv4 and one for IPv6. A node resolves 6 bits of the
 * address: a bitmap of its 64 slots marks where a run of equal entries begins, and the entries of
 * the runs follow the bitmap, so that a node of up to 14 runs is one cache line and a level costs
 * one fetch. An entry is a value or another node. Equal nodes are stored once. Where the address
 * bits leave no choice for more than 6 bits, one skip node compares them all. Large tables index
 * the first bits directly: 18 of IPv4 (so that /24 is one node away), 17 of IPv6's global unicast
 * block 2000::/3 (/32: two nodes).
 *
 * IPv4 (as such or mapped) is looked up under the IPv4 root only; nothing of IPv6 matches it.
 * Flat, position independent, deterministic. All functions are thread-safe (read-only). */
#ifndef TERN_TABLES_PREFIX_H
#define TERN_TABLES_PREFIX_H

#include "shared/address.h"
#include "shared/base.h"
#include "shared/error.h"
#include "shared/layout.h"
#include "shared/tables/exact.h" /* TERN_NOT_FOUND */

#define TERN_PREFIX_MAGIC 0x78667270u /* "prfx" */

/* An entry: with the top bit the offset of a node in units of 8 bytes, without it a value. */
#define TERN_PREFIX_NODE      0x80000000u
#define TERN_PREFIX_NONE      0x7fffffffu /* the value of "no range holds this" */
#define TERN_PREFIX_VALUE_MAX 0x7ffffffeu

#define TERN_PREFIX_STRIDE     6u
#define TERN_PREFIX_ROOT4_BITS 18u
#define TERN_PREFIX_ROOT6_BITS 17u
/* The skip node's word: bit 0 clear, bits 1–7 how many address bits to compare, the bits themselves
 * from bit 8 up. An ordinary node's bitmap has bit 0 set: its first run begins at slot 0. */
#define TERN_PREFIX_SKIP_MIN 7u
#define TERN_PREFIX_SKIP_MAX 56u

/* Section bytes: this header, root4 (u32 entries), root6 (u32 entries), nodes; each part 64-byte
 * aligned. A node: u64 bitmap, then u32 per set bit, padded to 8 bytes. A skip node: u64 word, u32
 * value when the bits differ, u32 entry when they agree. A zero word is padding. A node refers only
 * to nodes before it. */
struct tern_prefix_header {
    uint32_t magic;
    uint32_t range_count; /* distinct ranges it was built from */
    uint32_t value_limit; /* every value is below it */
    uint32_t other6;      /* entry for IPv6 outside 2000::/3; for all of it when root6_bits is 0 */
    uint64_t root4_offset;
    uint64_t root6_offset;
    uint64_t nodes_offset;
    uint64_t nodes_bytes;
    uint8_t root4_bits; /* 2^bits entries, 0…18 */
    uint8_t root6_bits; /* 2^bits entries, 1…17; 0: no root6 */
    uint8_t reserved[14];
};
TERN_LAYOUT_SIZE(tern_prefix_header, 64);
TERN_LAYOUT_FIELD(tern_prefix_header, magic, 0);
TERN_LAYOUT_FIELD(tern_prefix_header, range_count, 4);
TERN_LAYOUT_FIELD(tern_prefix_header, value_limit, 8);
TERN_LAYOUT_FIELD(tern_prefix_header, other6, 12);
TERN_LAYOUT_FIELD(tern_prefix_header, root4_offset, 16);
TERN_LAYOUT_FIELD(tern_prefix_header, root6_offset, 24);
TERN_LAYOUT_FIELD(tern_prefix_header, nodes_offset, 32);
TERN_LAYOUT_FIELD(tern_prefix_header, nodes_bytes, 40);
TERN_LAYOUT_FIELD(tern_prefix_header, root4_bits, 48);
TERN_LAYOUT_FIELD(tern_prefix_header, root6_bits, 49);
TERN_LAYOUT_FIELD(tern_prefix_header, reserved, 50);

struct tern_prefix { /* a handle private to the process; plain values, nothing to free */
    const uint8_t *nodes;
    const uint32_t *root4;
    const uint32_t *root6;
    uint32_t other6;
    uint32_t value_limit;
    uint32_t range_count;
    uint8_t root4_bits;
    uint8_t root6_bits;
    uint8_t root6_top; /* the leading 3 bits of addresses that root6 indexes; 8 (none) without it */
    bool has_popcount; /* the processor counts bits in one instruction */
};

/* Validates the whole trie (bounds of every child, every value), so that no look-up can leave the
 * section or fail to end. TERN_ECORRUPT with a reason, TERN_ENOMEM (it marks node starts in a
 * bitmap of 1/64 of the nodes). */
int tern_prefix_open(struct tern_prefix *prefix, const void *section, size_t length,
                     struct tern_error *error);

/* Starts fetching the first line a look-up of `address` reads. */
void tern_prefix_prefetch(const struct tern_prefix *prefix, struct tern_address address);

/* The value of the smallest range that holds `address`, or TERN_NOT_FOUND. */
uint32_t tern_prefix_find(const struct tern_prefix *prefix, struct tern_address address);

/* The same for `count` addresses at once (count ≤ TERN_VECTOR_WIDTH), level by level, so that the
 * memory latency of a level is paid once a vector. */
void tern_prefix_find_vector(const struct tern_prefix *prefix, const struct tern_address *addresses,
                             unsigned count, uint32_t *values);

#endif
