#include "shared/tables/exact.h"

#include "shared/tables/hash.h"

/* Used slots come first, values are below the limit; returns the number of keys, or −1. */
static int bucket_keys(const uint64_t *hash, unsigned slots, const uint32_t *value,
                       uint32_t value_limit)
{
    unsigned keys = 0;

    while (keys < slots && hash[keys] != 0)
        keys++;
    for (unsigned i = 0; i < slots; i++) {
        if (i >= keys && hash[i] != 0)
            return -1;
        if (value != NULL && (i < keys ? value[i] >= value_limit : value[i] != 0))
            return -1;
    }
    return (int)keys;
}

int tern_exact_open(struct tern_exact *exact, const void *section, size_t length,
                    struct tern_error *error)
{
    const struct tern_exact_header *header = section;
    const struct tern_exact_set_bucket *set;
    const struct tern_exact_map_bucket *map;
    uint64_t keys = 0;

    if ((uintptr_t)section % TERN_CACHE_LINE != 0)
        return tern_error_set(error, TERN_ECORRUPT, "exact index: not aligned to 64 bytes");
    if (length < sizeof *header)
        return tern_error_set(error, TERN_ECORRUPT, "exact index: %zu bytes, no header", length);
    if (header->magic != TERN_EXACT_MAGIC)
        return tern_error_set(error, TERN_ECORRUPT, "exact index: magic is %#x, expected %#x",
                              header->magic, TERN_EXACT_MAGIC);
    if (header->has_values > 1 || header->bucket_count == 0 ||
        length != sizeof *header + 64 * (uint64_t)header->bucket_count)
        return tern_error_set(error, TERN_ECORRUPT, "exact index: %u buckets do not make %zu bytes",
                              header->bucket_count, length);
    if (!header->has_values && header->value_limit != 1)
        return tern_error_set(error, TERN_ECORRUPT, "exact index: value limit is %u",
                              header->value_limit);
    set = (const void *)(header + 1);
    map = (const void *)(header + 1);
    for (uint32_t i = 0; i < header->bucket_count; i++) {
        int found = header->has_values ? bucket_keys(map[i].hash, TERN_EXACT_MAP_SLOTS,
                                                     map[i].value, header->value_limit)
                                       : bucket_keys(set[i].hash, TERN_EXACT_SET_SLOTS, NULL, 0);
        if (found < 0)
            return tern_error_set(error, TERN_ECORRUPT, "exact index: bucket %u is malformed", i);
        keys += (unsigned)found;
    }
    if (keys != header->key_count)
        return tern_error_set(error, TERN_ECORRUPT,
                              "exact index: %llu keys in buckets, the header says %u",
                              (unsigned long long)keys, header->key_count);
    *exact = (struct tern_exact){
        .buckets = (const uint8_t *)(header + 1),
        .seed = header->seed,
        .bucket_count = header->bucket_count,
        .key_count = header->key_count,
        .value_limit = header->value_limit,
        .has_values = header->has_values,
    };
    return 0;
}

uint64_t tern_exact_hash(const struct tern_exact *exact, const void *key, size_t length)
{
    return tern_hash_key(exact->seed, key, length);
}
