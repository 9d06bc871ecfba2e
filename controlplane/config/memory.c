#include "controlplane/config/memory.h"

#define BLOCK_BYTES (64u << 10)

struct tern_memory_block {
    struct tern_memory_block *next;
    size_t used;
    size_t capacity;
    alignas(max_align_t) uint8_t bytes[];
};

void *tern_memory_take(struct tern_memory *memory, size_t bytes)
{
    struct tern_memory_block *block = memory->blocks;
    void *taken;

    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (block == NULL || bytes > block->capacity - block->used) {
        size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;

        block = calloc(1, sizeof *block + capacity);
        if (block == NULL)
            return NULL;
        block->capacity = capacity;
        block->next = memory->blocks;
        memory->blocks = block;
    }
    taken = block->bytes + block->used;
    block->used += bytes;
    return taken;
}

char *tern_memory_copy(struct tern_memory *memory, const char *text, size_t length)
{
    char *copy = tern_memory_take(memory, length + 1);

    if (copy != NULL && length > 0)
        memcpy(copy, text, length);
    return copy;
}

void tern_memory_free(struct tern_memory *memory)
{
    while (memory->blocks != NULL) {
        struct tern_memory_block *block = memory->blocks;

        memory->blocks = block->next;
        free(block);
    }
}
