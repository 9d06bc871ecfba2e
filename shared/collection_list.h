/* The vector collections that a root lists, behind its manifest's sections in the same extent. The
 * objects themselves change all the time; which they are is as immutable as the rest of a root. */
#ifndef TERN_COLLECTION_LIST_H
#define TERN_COLLECTION_LIST_H

#include "shared/arena.h"
#include "shared/manifest.h"
#include "shared/vector/format.h"

/* XXH3-64 of what follows the checksum. */
uint64_t tern_collection_list_checksum(const struct tern_collection_list *list);

/* The list of the root at `root_offset`, whose own checksum and manifest have been found good; NULL
 * when it has none. Entries are in ascending order of ids, each range is aligned and inside the
 * arena's high-water mark; what lies there is for tern_collection_open to judge. TERN_ECORRUPT. */
int tern_collection_list_find(const struct tern_arena *arena, uint64_t root_offset,
                              const struct tern_collection_list **list);

#endif
