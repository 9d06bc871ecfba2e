/* id → slot of a vector collection: the writer's own, in its memory. Open addressing with linear
 * probing; a removal moves later ones back, so there are no tombstones to clean up. */
#ifndef TERN_KEY_MAP_H
#define TERN_KEY_MAP_H

#include "shared/base.h"

struct tern_key_map_entry {
    uint64_t id;
    uint32_t slot; /* TERN_SLOT_NONE: empty */
    uint32_t reserved;
};

struct tern_key_map {
    struct tern_key_map_entry *entries;
    uint64_t mask, count;
};

/* All zero is an empty map. Room for one more; 0 or TERN_ENOMEM. */
int tern_key_map_reserve(struct tern_key_map *map);
/* The slot of an id, or TERN_SLOT_NONE. */
uint32_t tern_key_map_find(const struct tern_key_map *map, uint64_t id);
/* Sets the slot of an id. There is room (tern_key_map_reserve). */
void tern_key_map_put(struct tern_key_map *map, uint64_t id, uint32_t slot);
void tern_key_map_remove(struct tern_key_map *map, uint64_t id);
void tern_key_map_free(struct tern_key_map *map);

#endif
