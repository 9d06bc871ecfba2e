/* Exact-match tables: keys are bytes, found by one or two cache lines.
 *
 * A bucket is one 64-byte line. A set's bucket holds eight 64-bit hashes; a map's holds five hashes
 * and five 32-bit values. Bucketized cuckoo hashing: a key is in one of two buckets, at most two lines
 * are read (Pagh and Rodler 2001; Dietzfelbinger and Weidling 2007). The 64-bit hash stands for the
 * key: the builder re-seeds until no two built keys share one, so there is no false hit among built
 * keys, and 2^-60 odds for others. The seed mixes the section's content hash with an instance secret,
 * so outsiders cannot aim keys at one bucket.
 *
 * Flat, position independent, deterministic. All functions are thread-safe (read-only). */
#ifndef TERN_TABLES_EXACT_H
#define TERN_TABLES_EXACT_H

#include "shared/base.h"
#include "shared/error.h"

#define TERN_NOT_FOUND UINT32_MAX

struct tern_exact { /* a handle private to the process; plain values, nothing to free */
    const uint8_t *buckets;
    uint64_t seed;
    uint32_t bucket_mask_or_count; /* as the implementation needs */
    uint32_t key_count;
    bool has_values;
};

/* Validates header, bounds and alignment of `length` bytes at `section` (64-byte aligned) and fills
 * `exact`. TERN_ECORRUPT with a reason. */
int tern_exact_open(struct tern_exact *exact, const void *section, size_t length,
                    struct tern_error *error);

uint64_t tern_exact_hash(const struct tern_exact *exact, const void *key, size_t length);

/* Starts fetching the line(s) that tern_exact_find will read. */
void tern_exact_prefetch(const struct tern_exact *exact, uint64_t hash);

/* The key's value (sets: 0), or TERN_NOT_FOUND. */
uint32_t tern_exact_find(const struct tern_exact *exact, uint64_t hash);

#endif
