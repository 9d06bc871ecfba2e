/* Prefix and range tables over addresses: the smallest prefix or range that holds the address wins.
 *
 * A compressed multibit trie with popcount-indexed nodes (Asai and Ohara, Poptrie, SIGCOMM 2015; the
 * look-up idea only), one root for IPv4 and one for IPv6. Flat, position independent, deterministic.
 * All functions are thread-safe (read-only). */
#ifndef TERN_TABLES_PREFIX_H
#define TERN_TABLES_PREFIX_H

#include "shared/address.h"
#include "shared/base.h"
#include "shared/error.h"
#include "shared/tables/exact.h" /* TERN_NOT_FOUND */

struct tern_prefix; /* handle: defined below by the implementation, plain values, nothing to free */

/* Validates the whole trie (bounds of every child and leaf index), so that no look-up can leave the
 * section. TERN_ECORRUPT with a reason. */
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
