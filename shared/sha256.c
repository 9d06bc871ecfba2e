#include "shared/sha256.h"

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t value, unsigned bits)
{
    return value >> bits | value << (32 - bits);
}

static void compress(uint32_t state[8], const uint8_t block[64])
{
    uint32_t words[64], at[8];

    for (unsigned i = 0; i < 16; i++)
        words[i] = __builtin_bswap32(tern_load_u32(block + i * 4));
    for (unsigned i = 16; i < 64; i++) {
        uint32_t a = words[i - 15], b = words[i - 2];

        words[i] = words[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + words[i - 7] +
                   (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(at, state, sizeof at);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t a = at[0], e = at[4];
        uint32_t choice = (e & at[5]) ^ (~e & at[6]);
        uint32_t majority = (a & at[1]) ^ (a & at[2]) ^ (at[1] & at[2]);
        uint32_t first = at[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + choice +
                         constants[i] + words[i];
        uint32_t second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority;

        memmove(at + 1, at, 7 * sizeof *at);
        at[4] += first;
        at[0] = first + second;
    }
    for (unsigned i = 0; i < 8; i++)
        state[i] += at[i];
}

void tern_sha256_begin(struct tern_sha256 *sha)
{
    *sha = (struct tern_sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void tern_sha256_add(struct tern_sha256 *sha, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length > 0) {
        size_t used = sha->length % sizeof sha->block;
        size_t some = tern_min_u64(sizeof sha->block - used, length);

        memcpy(sha->block + used, at, some);
        sha->length += some;
        at += some;
        length -= some;
        if (used + some == sizeof sha->block)
            compress(sha->state, sha->block);
    }
}

void tern_sha256_end(struct tern_sha256 *sha, uint8_t digest[TERN_SHA256_BYTES])
{
    static const uint8_t padding[64] = {0x80};
    uint64_t bits = __builtin_bswap64(sha->length * 8);
    size_t used = sha->length % sizeof sha->block;

    tern_sha256_add(sha, padding, used < 56 ? 56 - used : 120 - used);
    tern_sha256_add(sha, &bits, sizeof bits);
    for (unsigned i = 0; i < 8; i++)
        tern_store_u32(digest + i * 4, __builtin_bswap32(sha->state[i]));
    explicit_bzero(sha, sizeof *sha);
}

bool tern_sha256_same(const uint8_t a[TERN_SHA256_BYTES], const uint8_t b[TERN_SHA256_BYTES])
{
    unsigned different = 0;

    for (unsigned i = 0; i < TERN_SHA256_BYTES; i++)
        different |= a[i] ^ b[i];
    return different == 0;
}
