/* The hash under which keys are kept: seeded XXH3-64, compiled into the caller so that a key of a
 * few bytes costs a few multiplications and no call. Only the .c files of this folder, of
 * shared/rules and of controlplane/build include it. */
#ifndef TERN_TABLES_HASH_H
#define TERN_TABLES_HASH_H

#include "shared/base.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Never 0: that is how a bucket marks an empty slot. */
static inline uint64_t tern_hash_key(uint64_t seed, const void *key, size_t length)
{
    uint64_t hash = XXH3_64bits_withSeed(key, length, seed);

    return hash + (hash == 0);
}

#endif
