#include "shared/collection_list.h"

#include "shared/limits.h"

#include <xxhash.h>

uint64_t tern_collection_list_checksum(const struct tern_collection_list *list)
{
    const size_t skipped = sizeof list->checksum;

    return XXH3_64bits((const uint8_t *)list + skipped,
                       sizeof *list - skipped + list->count * sizeof *list->entries);
}

int tern_collection_list_find(const struct tern_arena *arena, uint64_t root_offset,
                              const struct tern_collection_list **list)
{
    const struct tern_root *root = (const struct tern_root *)(arena->base + root_offset);
    const struct tern_manifest *manifest =
        (const struct tern_manifest *)(arena->base + root->stable);
    uint64_t behind =
        root->stable + sizeof *manifest + manifest->count * sizeof(struct tern_section);
    const struct tern_collection_list *found;
    uint32_t id = 0;

    if (root->collections == 0) {
        *list = NULL;
        return 0;
    }
    if (root->collections != behind)
        return TERN_ECORRUPT;
    found = tern_arena_at(arena, behind, sizeof *found, alignof(struct tern_collection_list));
    if (found == NULL || found->count == 0 || found->count > TERN_COLLECTIONS_MAX ||
        found->reserved != 0 ||
        tern_arena_at(arena, behind, sizeof *found + found->count * sizeof *found->entries,
                      alignof(struct tern_collection_list)) == NULL ||
        tern_collection_list_checksum(found) != found->checksum)
        return TERN_ECORRUPT;
    for (uint32_t i = 0; i < found->count; i++) {
        const struct tern_collection_entry *entry = &found->entries[i];

        if (entry->id <= id || entry->id > TERN_COLLECTIONS_MAX || entry->reserved != 0 ||
            tern_arena_at(arena, entry->offset, entry->length, TERN_EXTENT) == NULL)
            return TERN_ECORRUPT;
        id = entry->id;
    }
    *list = found;
    return 0;
}
