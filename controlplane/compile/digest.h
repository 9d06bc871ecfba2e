/* Interning by content: a map from 128-bit digests to small numbers. Two different contents of one
 * digest are not expected to exist (2^-128 odds), so contents are not kept for comparison. */
#ifndef TERN_COMPILE_DIGEST_H
#define TERN_COMPILE_DIGEST_H

#include "shared/base.h"
#include "shared/error.h"

struct tern_digest {
    uint64_t low, high;
};

struct tern_digest_slot {
    struct tern_digest digest;
    uint32_t value;
    bool used;
};

struct tern_digest_map { /* zero-initialise; belongs to one thread */
    struct tern_digest_slot *slots;
    size_t capacity;
    size_t count;
};

struct tern_digest tern_digest_of(const void *data, size_t length);

/* The number of `digest`, which becomes `value` when it is new (`*added`). NULL: out of memory. The
 * pointer is valid until the next put. */
uint32_t *tern_digest_map_put(struct tern_digest_map *map, struct tern_digest digest,
                              uint32_t value, bool *added);
/* The number of `digest`, NULL when it has none. */
const uint32_t *tern_digest_map_find(const struct tern_digest_map *map, struct tern_digest digest);
void tern_digest_map_free(struct tern_digest_map *map);

#endif
