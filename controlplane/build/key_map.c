#include "controlplane/build/key_map.h"

#include "shared/error.h"
#include "shared/vector/format.h"

static uint64_t home_of(const struct tern_key_map *map, uint64_t id)
{
    id ^= id >> 32;
    id *= 0x9e3779b97f4a7c15ull;
    return (id ^ id >> 29) & map->mask;
}

/* Where the id is, or the empty place where it would be. */
static struct tern_key_map_entry *place_of(const struct tern_key_map *map, uint64_t id)
{
    uint64_t at = home_of(map, id);

    while (map->entries[at].slot != TERN_SLOT_NONE && map->entries[at].id != id)
        at = (at + 1) & map->mask;
    return &map->entries[at];
}

int tern_key_map_reserve(struct tern_key_map *map)
{
    uint64_t size = map->entries == NULL ? 0 : map->mask + 1;
    struct tern_key_map grown;

    if (map->count + 1 <= size - size / 4)
        return 0;
    grown.mask = (size == 0 ? 1024 : 2 * size) - 1;
    grown.count = map->count;
    grown.entries = malloc((grown.mask + 1) * sizeof *grown.entries);
    if (grown.entries == NULL)
        return TERN_ENOMEM;
    for (uint64_t i = 0; i <= grown.mask; i++)
        grown.entries[i] = (struct tern_key_map_entry){.slot = TERN_SLOT_NONE};
    for (uint64_t i = 0; i < size; i++)
        if (map->entries[i].slot != TERN_SLOT_NONE)
            *place_of(&grown, map->entries[i].id) = map->entries[i];
    free(map->entries);
    *map = grown;
    return 0;
}

uint32_t tern_key_map_find(const struct tern_key_map *map, uint64_t id)
{
    return map->entries == NULL ? TERN_SLOT_NONE : place_of(map, id)->slot;
}

void tern_key_map_put(struct tern_key_map *map, uint64_t id, uint32_t slot)
{
    struct tern_key_map_entry *place = place_of(map, id);

    map->count += place->slot == TERN_SLOT_NONE;
    *place = (struct tern_key_map_entry){.id = id, .slot = slot};
}

void tern_key_map_remove(struct tern_key_map *map, uint64_t id)
{
    struct tern_key_map_entry *hole;

    if (map->entries == NULL || (hole = place_of(map, id))->slot == TERN_SLOT_NONE)
        return;
    map->count--;
    /* Whatever stands behind the hole and would be looked for from before it moves into it. */
    for (uint64_t at = (uint64_t)(hole - map->entries);;) {
        struct tern_key_map_entry *next;

        at = (at + 1) & map->mask;
        next = &map->entries[at];
        if (next->slot == TERN_SLOT_NONE)
            break;
        if (((at - home_of(map, next->id)) & map->mask) >=
            ((at - (uint64_t)(hole - map->entries)) & map->mask)) {
            *hole = *next;
            hole = next;
        }
    }
    *hole = (struct tern_key_map_entry){.slot = TERN_SLOT_NONE};
}

void tern_key_map_free(struct tern_key_map *map)
{
    free(map->entries);
    *map = (struct tern_key_map){.entries = NULL};
}
