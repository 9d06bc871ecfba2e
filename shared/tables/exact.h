/* Exact-match tables: keys are bytes, found by one or two cache lines.
 *
 * A bucket is one 64-byte line. A set's bucket holds eight 64-bit hashes; a map's holds five hashes
 * and five 32-bit values. Bucketized cuckoo hashing: a key is in one of two buckets, at most two
 * lines are read (Pagh and Rodler 2001; Dietzfelbinger and Weidling 2007). The 64-bit hash stands
 * for the key: the builder re-seeds until no two built keys share one, so there is no false hit
 * among built keys; any other key hits with odds of keys / 2^64 (2^-44 for a million). The seed
 * mixes the section's content hash with an instance secret, so outsiders cannot aim keys at one
 * bucket.
 *
 * Flat, position independent, deterministic. All functions are thread-safe (read-only). */
#ifndef TERN_TABLES_EXACT_H
#define TERN_TABLES_EXACT_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/layout.h"

#define TERN_NOT_FOUND UINT32_MAX

#define TERN_EXACT_MAGIC     0x74637865u /* "exct" */
#define TERN_EXACT_SET_SLOTS 8u
#define TERN_EXACT_MAP_SLOTS 5u

/* Section bytes: this header, then `bucket_count` buckets. */
struct tern_exact_header {
    uint32_t magic;
    uint32_t has_values;   /* 0: set buckets, 1: map buckets */
    uint64_t seed;         /* of tern_exact_hash */
    uint32_t bucket_count; /* at least 1 */
    uint32_t key_count;
    uint32_t value_limit; /* every value of a map is below it; sets: 1 */
    uint8_t reserved[36];
};
TERN_LAYOUT_SIZE(tern_exact_header, 64);
TERN_LAYOUT_FIELD(tern_exact_header, magic, 0);
TERN_LAYOUT_FIELD(tern_exact_header, has_values, 4);
TERN_LAYOUT_FIELD(tern_exact_header, seed, 8);
TERN_LAYOUT_FIELD(tern_exact_header, bucket_count, 16);
TERN_LAYOUT_FIELD(tern_exact_header, key_count, 20);
TERN_LAYOUT_FIELD(tern_exact_header, value_limit, 24);
TERN_LAYOUT_FIELD(tern_exact_header, reserved, 28);

/* Hashes in use come first and none is 0; the rest are 0. A key is in its second bucket only when
 * its first one is full, and then the first one says so, which spares most look-ups of absent keys
 * the second line. A set's bucket says it by the order of its first two slots: ascending when some
 * key of its own is elsewhere, descending otherwise. */
struct tern_exact_set_bucket {
    uint64_t hash[TERN_EXACT_SET_SLOTS];
};
TERN_LAYOUT_SIZE(tern_exact_set_bucket, 64);
TERN_LAYOUT_FIELD(tern_exact_set_bucket, hash, 0);

struct tern_exact_map_bucket {
    uint64_t hash[TERN_EXACT_MAP_SLOTS];
    uint32_t value[TERN_EXACT_MAP_SLOTS];
    uint32_t elsewhere; /* bit (hash & 31) for each key of its own that is elsewhere */
};
TERN_LAYOUT_SIZE(tern_exact_map_bucket, 64);
TERN_LAYOUT_FIELD(tern_exact_map_bucket, hash, 0);
TERN_LAYOUT_FIELD(tern_exact_map_bucket, value, 40);
TERN_LAYOUT_FIELD(tern_exact_map_bucket, elsewhere, 60);

struct tern_exact { /* a handle private to the process; plain values, nothing to free */
    const uint8_t *buckets;
    uint64_t seed;
    uint32_t bucket_count;
    uint32_t key_count;
    uint32_t value_limit;
    bool has_values;
};

/* Validates header, bounds, alignment and every bucket of `length` bytes at `section` (64-byte
 * aligned) and fills `exact`. TERN_ECORRUPT with a reason. */
int tern_exact_open(struct tern_exact *exact, const void *section, size_t length,
                    struct tern_error *error);

uint64_t tern_exact_hash(const struct tern_exact *exact, const void *key, size_t length);

/* The two buckets of a hash: its halves, scaled to the count by a multiplication. The first one
 * grows with the hash, so the builder fills buckets in order of a sort. */
static inline uint32_t tern_exact_first_bucket(uint64_t hash, uint32_t bucket_count)
{
    return (uint32_t)((hash >> 32) * bucket_count >> 32);
}

static inline uint32_t tern_exact_second_bucket(uint64_t hash, uint32_t bucket_count)
{
    return (uint32_t)((hash & UINT32_MAX) * bucket_count >> 32);
}

/* Starts fetching the line that tern_exact_find reads first, and mostly alone. (Fetching both costs
 * more than it saves: what limits a vector of look-ups is the number of lines.) */
static inline void tern_exact_prefetch(const struct tern_exact *exact, uint64_t hash)
{
    __builtin_prefetch(exact->buckets +
                       64 * (size_t)tern_exact_first_bucket(hash, exact->bucket_count));
}

/* Compared without a branch per slot: which slot hits cannot be predicted. */
static inline bool tern_exact_set_bucket_has(const struct tern_exact_set_bucket *bucket,
                                             uint64_t hash)
{
    const uint64_t *have = bucket->hash;

    _Static_assert(TERN_EXACT_SET_SLOTS == 8, "one comparison a slot");
    return (have[0] == hash) | (have[1] == hash) | (have[2] == hash) | (have[3] == hash) |
           (have[4] == hash) | (have[5] == hash) | (have[6] == hash) | (have[7] == hash);
}

/* The slot of the hash, or a number past the last one. */
static inline unsigned tern_exact_map_bucket_slot(const struct tern_exact_map_bucket *bucket,
                                                  uint64_t hash)
{
    const uint64_t *have = bucket->hash;

    _Static_assert(TERN_EXACT_MAP_SLOTS == 5, "one comparison a slot");
    return (unsigned)__builtin_ctz((unsigned)(have[0] == hash) | (have[1] == hash) << 1 |
                                   (have[2] == hash) << 2 | (have[3] == hash) << 3 |
                                   (have[4] == hash) << 4 | 1u << 5);
}

/* The value of the key with that hash (sets: 0), or TERN_NOT_FOUND. */
static inline uint32_t tern_exact_find(const struct tern_exact *exact, uint64_t hash)
{
    uint32_t first = tern_exact_first_bucket(hash, exact->bucket_count);
    uint32_t second = tern_exact_second_bucket(hash, exact->bucket_count);

    if (exact->has_values) {
        const struct tern_exact_map_bucket *buckets = (const void *)exact->buckets;
        unsigned slot = tern_exact_map_bucket_slot(&buckets[first], hash);

        if (slot < TERN_EXACT_MAP_SLOTS)
            return buckets[first].value[slot];
        if (!(buckets[first].elsewhere >> (hash & 31) & 1))
            return TERN_NOT_FOUND;
        slot = tern_exact_map_bucket_slot(&buckets[second], hash);
        return slot < TERN_EXACT_MAP_SLOTS ? buckets[second].value[slot] : TERN_NOT_FOUND;
    } else {
        const struct tern_exact_set_bucket *buckets = (const void *)exact->buckets;

        if (tern_exact_set_bucket_has(&buckets[first], hash))
            return 0;
        if (buckets[first].hash[0] >= buckets[first].hash[1])
            return TERN_NOT_FOUND;
        return tern_exact_set_bucket_has(&buckets[second], hash) ? 0 : TERN_NOT_FOUND;
    }
}

#endif
