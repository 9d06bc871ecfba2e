/* SHA-256 (FIPS 180-4), for secrets only: what must not be guessed from what is stored. Everything
 * else is hashed by xxHash. Thread-safe. */
#ifndef TERN_SHA256_H
#define TERN_SHA256_H

#include "shared/base.h"

#define TERN_SHA256_BYTES 32u

struct tern_sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    uint8_t block[64];
};

void tern_sha256_begin(struct tern_sha256 *sha);
void tern_sha256_add(struct tern_sha256 *sha, const void *bytes, size_t length);
/* Yields the digest and wipes `sha`. */
void tern_sha256_end(struct tern_sha256 *sha, uint8_t digest[TERN_SHA256_BYTES]);

/* True when the two are equal, in a time that says nothing about where they differ. */
bool tern_sha256_same(const uint8_t a[TERN_SHA256_BYTES], const uint8_t b[TERN_SHA256_BYTES]);

#endif
