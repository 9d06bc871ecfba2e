#include "controlplane/build/exact.h"

#include "shared/tables/exact.h"
#include "shared/tables/hash.h"

/* Buckets are filled to this share of their slots: sets take 9.4 bytes a key. Fuller tables send
 * more keys to their second line; two choices of 5 or 8 slots would still work at 0.95. */
#define LOAD_NUMERATOR   17u
#define LOAD_DENOMINATOR 20u

#define SEEDS_MAX  64u
#define KICKS_MAX  512u
#define RADIX_BITS 11u
#define RADIX_SIZE (1u << RADIX_BITS)

int tern_exact_builder_add(struct tern_exact_builder *builder, const void *key, size_t length,
                           uint32_t value)
{
    uint64_t end = builder->keys.length + length;

    if (builder->row_count >= UINT32_MAX - 1)
        return TERN_ELIMIT;
    if (tern_buffer_reserve(&builder->ends, sizeof end) != 0 ||
        tern_buffer_reserve(&builder->values, sizeof value) != 0 ||
        tern_buffer_append(&builder->keys, key, length) != 0)
        return TERN_ENOMEM;
    tern_buffer_append(&builder->ends, &end, sizeof end);
    tern_buffer_append(&builder->values, &value, sizeof value);
    builder->row_count++;
    return 0;
}

static const uint8_t *row_key(const struct tern_exact_builder *builder, uint64_t row,
                              size_t *length)
{
    const uint64_t *ends = (const uint64_t *)builder->ends.data;
    uint64_t start = row == 0 ? 0 : ends[row - 1];

    *length = ends[row] - start;
    return builder->keys.data + start;
}

/* One stable counting pass over RADIX_BITS of the hash. */
static void radix_pass(const struct tern_exact_entry *from, struct tern_exact_entry *to,
                       uint32_t count, unsigned shift)
{
    uint32_t at[RADIX_SIZE] = {0};
    uint32_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        at[from[i].hash >> shift & (RADIX_SIZE - 1)]++;
    for (unsigned digit = 0; digit < RADIX_SIZE; digit++) {
        uint32_t here = at[digit];
        at[digit] = sum;
        sum += here;
    }
    for (uint32_t i = 0; i < count; i++)
        to[at[from[i].hash >> shift & (RADIX_SIZE - 1)]++] = from[i];
}

/* Sorts by hash, rows with equal hashes in their order. Hashes are uniform: after two passes over
 * the leading 22 bits hardly anything is out of place, and insertion puts it right. */
static void sort_entries(struct tern_exact_entry *entries, struct tern_exact_entry *spare,
                         uint32_t count)
{
    radix_pass(entries, spare, count, 64 - 2 * RADIX_BITS);
    radix_pass(spare, entries, count, 64 - RADIX_BITS);
    for (uint32_t i = 1; i < count; i++) {
        struct tern_exact_entry entry = entries[i];
        uint32_t at = i;

        while (at > 0 && entries[at - 1].hash > entry.hash) {
            entries[at] = entries[at - 1];
            at--;
        }
        entries[at] = entry;
    }
}

/* Keeps the last row of every key. False when two different keys share a hash. */
static bool drop_duplicates(struct tern_exact_builder *builder, struct tern_exact_entry *entries,
                            uint32_t count, uint32_t *kept)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (used > 0 && entries[used - 1].hash == entries[i].hash) {
            size_t a_length, b_length;
            const uint8_t *a = row_key(builder, entries[used - 1].row, &a_length);
            const uint8_t *b = row_key(builder, entries[i].row, &b_length);

            if (a_length != b_length || memcmp(a, b, a_length) != 0)
                return false;
            used--;
        }
        entries[used++] = entries[i];
    }
    *kept = used;
    return true;
}

int tern_exact_builder_resolve(struct tern_exact_builder *builder, uint64_t seed)
{
    uint32_t count = (uint32_t)builder->row_count;
    const uint32_t *values = (const uint32_t *)builder->values.data;
    struct tern_exact_entry *entries = calloc(count + 1ull, sizeof *entries);
    struct tern_exact_entry *spare = calloc(count + 1ull, sizeof *spare);
    bool separated = false;

    assert(builder->entries == NULL);
    if (entries == NULL || spare == NULL) {
        free(entries);
        free(spare);
        return TERN_ENOMEM;
    }
    for (unsigned attempt = 0; attempt < SEEDS_MAX && !separated; attempt++) {
        builder->seed = seed + attempt * 0x9e3779b97f4a7c15ull;
        for (uint32_t i = 0; i < count; i++) {
            size_t length;
            const uint8_t *key = row_key(builder, i, &length);

            entries[i].hash = tern_hash_key(builder->seed, key, length);
            entries[i].row = i;
            entries[i].value = values[i];
        }
        sort_entries(entries, spare, count);
        separated = drop_duplicates(builder, entries, count, &builder->entry_count);
    }
    free(spare);
    if (!separated) {
        free(entries);
        return TERN_EINVAL;
    }
    builder->entries = entries;
    tern_buffer_free(&builder->keys);
    tern_buffer_free(&builder->ends);
    tern_buffer_free(&builder->values);
    return 0;
}

/* Buckets of either kind while they are filled. */
struct packing {
    uint8_t *buckets;
    uint8_t *used; /* slots of each bucket */
    uint32_t bucket_count;
    unsigned slots;
    bool has_values;
    uint64_t random;
};

static void slot_load(const struct packing *packing, uint32_t bucket, unsigned slot,
                      struct tern_exact_entry *entry)
{
    const uint8_t *line = packing->buckets + 64 * (size_t)bucket;

    entry->hash = tern_load_u64(line + 8 * slot);
    entry->value = packing->has_values ? tern_load_u32(line + 8 * packing->slots + 4 * slot) : 0;
}

static void slot_store(const struct packing *packing, uint32_t bucket, unsigned slot,
                       const struct tern_exact_entry *entry)
{
    uint8_t *line = packing->buckets + 64 * (size_t)bucket;

    tern_store_u64(line + 8 * slot, entry->hash);
    if (packing->has_values)
        tern_store_u32(line + 8 * packing->slots + 4 * slot, entry->value);
}

static bool place(struct packing *packing, uint32_t bucket, const struct tern_exact_entry *entry)
{
    if (packing->used[bucket] == packing->slots)
        return false;
    slot_store(packing, bucket, packing->used[bucket]++, entry);
    return true;
}

/* Puts `entry`, whose first bucket is full, into its second one; a random walk moves others to
 * their other bucket where that is full too. A full bucket stays full, which is what lets a reader
 * stop at a first bucket with room. False when the walk finds no room. */
static bool place_second(struct packing *packing, struct tern_exact_entry entry)
{
    uint32_t bucket = tern_exact_second_bucket(entry.hash, packing->bucket_count);

    for (unsigned kick = 0; kick < KICKS_MAX; kick++) {
        struct tern_exact_entry victim;
        uint32_t first;
        unsigned slot;

        if (place(packing, bucket, &entry))
            return true;
        packing->random = packing->random * 6364136223846793005ull + 1442695040888963407ull;
        slot = (unsigned)((packing->random >> 32) * packing->slots >> 32);
        slot_load(packing, bucket, slot, &victim);
        slot_store(packing, bucket, slot, &entry);
        entry = victim;
        first = tern_exact_first_bucket(entry.hash, packing->bucket_count);
        bucket =
            bucket != first ? first : tern_exact_second_bucket(entry.hash, packing->bucket_count);
    }
    return false;
}

#define ELSEWHERE 0x80u /* in `used`, beside the count: a key of the bucket's own is elsewhere */

/* Tells every bucket about keys of its own that are elsewhere (shared/tables/exact.h says how). */
static void mark_elsewhere(struct packing *packing)
{
    for (uint32_t bucket = 0; bucket < packing->bucket_count; bucket++)
        for (unsigned slot = 0; slot < (packing->used[bucket] & ~ELSEWHERE); slot++) {
            struct tern_exact_entry entry;
            uint32_t first;

            slot_load(packing, bucket, slot, &entry);
            first = tern_exact_first_bucket(entry.hash, packing->bucket_count);
            if (first == bucket)
                continue;
            packing->used[first] |= ELSEWHERE;
            if (packing->has_values) {
                uint8_t *elsewhere = packing->buckets + 64 * (size_t)first +
                                     offsetof(struct tern_exact_map_bucket, elsewhere);
                tern_store_u32(elsewhere, tern_load_u32(elsewhere) | 1u << (entry.hash & 31));
            }
        }
    if (packing->has_values)
        return;
    for (uint32_t bucket = 0; bucket < packing->bucket_count; bucket++) {
        uint8_t *line = packing->buckets + 64 * (size_t)bucket;
        uint64_t a = tern_load_u64(line), b = tern_load_u64(line + 8);

        if ((a < b) != ((packing->used[bucket] & ELSEWHERE) != 0)) {
            tern_store_u64(line, b);
            tern_store_u64(line + 8, a);
        }
    }
}

static bool fill(const struct tern_exact_builder *builder, struct packing *packing,
                 struct tern_exact_entry *overflow)
{
    uint32_t overflow_count = 0;

    /* Entries come in order of the hash, so this pass goes through the buckets once. */
    for (uint32_t i = 0; i < builder->entry_count; i++) {
        const struct tern_exact_entry *entry = &builder->entries[i];

        if (!place(packing, tern_exact_first_bucket(entry->hash, packing->bucket_count), entry))
            overflow[overflow_count++] = *entry;
    }
    for (uint32_t i = 0; i < overflow_count; i++)
        if (!place_second(packing, overflow[i]))
            return false;
    mark_elsewhere(packing);
    return true;
}

int tern_exact_builder_pack(const struct tern_exact_builder *builder, bool has_values,
                            uint32_t value_limit, struct tern_buffer *out)
{
    unsigned slots = has_values ? TERN_EXACT_MAP_SLOTS : TERN_EXACT_SET_SLOTS;
    uint64_t per_bucket = slots * LOAD_NUMERATOR;
    uint64_t bucket_count =
        (builder->entry_count * (uint64_t)LOAD_DENOMINATOR + per_bucket - 1) / per_bucket;
    struct tern_exact_entry *overflow = malloc((builder->entry_count + 1ull) * sizeof *overflow);
    size_t start = out->length;
    int status = TERN_ENOMEM;

    assert(builder->entries != NULL);
    if (overflow == NULL)
        return TERN_ENOMEM;
    if (bucket_count == 0)
        bucket_count = 1;
    for (;;) {
        struct tern_exact_header header = {
            .magic = TERN_EXACT_MAGIC,
            .has_values = has_values,
            .seed = builder->seed,
            .bucket_count = (uint32_t)bucket_count,
            .key_count = builder->entry_count,
            .value_limit = has_values ? value_limit : 1,
        };
        struct packing packing = {
            .used = calloc(bucket_count, 1),
            .bucket_count = (uint32_t)bucket_count,
            .slots = slots,
            .has_values = has_values,
            .random = builder->seed,
        };
        bool filled;

        if (packing.used == NULL || tern_buffer_append(out, &header, sizeof header) != 0 ||
            tern_buffer_append_zero(out, 64 * bucket_count) != 0) {
            free(packing.used);
            break;
        }
        packing.buckets = out->data + start + sizeof header;
        filled = fill(builder, &packing, overflow);
        free(packing.used);
        if (filled) {
            status = 0;
            break;
        }
        /* Only small tables come here, where a few keys that share both buckets decide. */
        out->length = start;
        bucket_count += bucket_count / 64 + 1;
    }
    if (status != 0)
        out->length = start;
    free(overflow);
    return status;
}

void tern_exact_builder_free(struct tern_exact_builder *builder)
{
    tern_buffer_free(&builder->keys);
    tern_buffer_free(&builder->ends);
    tern_buffer_free(&builder->values);
    free(builder->entries);
    *builder = (struct tern_exact_builder){0};
}
