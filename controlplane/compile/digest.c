#include "controlplane/compile/digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct tern_digest tern_digest_of(const void *data, size_t length)
{
    XXH128_hash_t hash = XXH3_128bits(data, length);

    return (struct tern_digest){hash.low64, hash.high64};
}

static struct tern_digest_slot *slot_of(struct tern_digest_slot *slots, size_t capacity,
                                        struct tern_digest digest)
{
    size_t at = digest.low & (capacity - 1);

    while (slots[at].used &&
           (slots[at].digest.low != digest.low || slots[at].digest.high != digest.high))
        at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static int grow(struct tern_digest_map *map)
{
    size_t capacity = map->capacity == 0 ? 64 : map->capacity * 2;
    struct tern_digest_slot *slots = calloc(capacity, sizeof *slots);

    if (slots == NULL)
        return TERN_ENOMEM;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].used)
            *slot_of(slots, capacity, map->slots[i].digest) = map->slots[i];
    free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    return 0;
}

uint32_t *tern_digest_map_put(struct tern_digest_map *map, struct tern_digest digest,
                              uint32_t value, bool *added)
{
    struct tern_digest_slot *slot;

    if (map->count * 2 >= map->capacity && grow(map) != 0)
        return NULL;
    slot = slot_of(map->slots, map->capacity, digest);
    *added = !slot->used;
    if (!slot->used) {
        *slot = (struct tern_digest_slot){digest, value, true};
        map->count++;
    }
    return &slot->value;
}

const uint32_t *tern_digest_map_find(const struct tern_digest_map *map, struct tern_digest digest)
{
    const struct tern_digest_slot *slot =
        map->capacity != 0 ? slot_of(map->slots, map->capacity, digest) : NULL;

    return slot != NULL && slot->used ? &slot->value : NULL;
}

void tern_digest_map_free(struct tern_digest_map *map)
{
    free(map->slots);
    memset(map, 0, sizeof *map);
}
