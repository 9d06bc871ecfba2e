#include "controlplane/compile/region.h"

#define CHUNK_BYTES ((size_t)256 << 10)

struct tern_region_chunk {
    struct tern_region_chunk *next;
    size_t bytes; /* behind this header */
};

void *tern_region_take(struct tern_region *region, size_t bytes)
{
    uint8_t *taken;

    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = tern_align_up(bytes + (bytes == 0), 16);
    if (bytes > region->left) {
        size_t room = bytes > CHUNK_BYTES / 4 ? bytes : CHUNK_BYTES;
        struct tern_region_chunk *chunk = calloc(1, sizeof *chunk + room);

        if (chunk == NULL)
            return NULL;
        chunk->next = region->chunks;
        chunk->bytes = room;
        region->chunks = chunk;
        if (room == bytes) /* a piece of its own: the chunk in use keeps what it has left */
            return chunk + 1;
        region->next = (uint8_t *)(chunk + 1);
        region->left = room;
    }
    taken = region->next;
    region->next += bytes;
    region->left -= bytes;
    return taken;
}

void tern_region_free(struct tern_region *region)
{
    while (region->chunks != NULL) {
        struct tern_region_chunk *next = region->chunks->next;

        free(region->chunks);
        region->chunks = next;
    }
    memset(region, 0, sizeof *region);
}

void tern_region_reset(struct tern_region *region)
{
    struct tern_region_chunk *kept = region->chunks;

    if (kept == NULL || kept->next != NULL || kept->bytes != CHUNK_BYTES) {
        tern_region_free(region);
        return;
    }
    memset(kept + 1, 0, CHUNK_BYTES - region->left);
    region->next = (uint8_t *)(kept + 1);
    region->left = CHUNK_BYTES;
}

int tern_list_reserve(struct tern_list *list, size_t more, size_t size)
{
    size_t capacity = list->capacity;
    void *data;

    if (more > SIZE_MAX / 4 / size || list->count > SIZE_MAX / 4 / size)
        return TERN_ENOMEM;
    if (list->count + more <= capacity)
        return 0;
    while (capacity < list->count + more)
        capacity = capacity == 0 ? 16 : capacity * 2;
    data = realloc(list->data, capacity * size);
    if (data == NULL)
        return TERN_ENOMEM;
    list->data = data;
    list->capacity = capacity;
    return 0;
}

void *tern_list_push(struct tern_list *list, size_t size)
{
    if (tern_list_reserve(list, 1, size) != 0)
        return NULL;
    return (uint8_t *)list->data + size * list->count++;
}

void tern_list_free(struct tern_list *list)
{
    free(list->data);
    memset(list, 0, sizeof *list);
}
