#include "dataplane/pool.h"

static unsigned class_of(size_t bytes)
{
    unsigned size_class = 0;

    while (((size_t)TERN_POOL_SMALLEST << (2 * size_class)) < bytes)
        size_class++;
    return size_class;
}

int tern_pool_take(struct tern_pool *pool, size_t bytes, struct tern_block *block)
{
    unsigned size_class;
    size_t capacity;
    void *data;

    if (bytes > TERN_POOL_LARGEST)
        return TERN_ELIMIT;
    size_class = class_of(bytes);
    capacity = (size_t)TERN_POOL_SMALLEST << (2 * size_class);
    data = pool->free[size_class];
    if (TERN_LIKELY(data != NULL)) {
        memcpy(&pool->free[size_class], data, sizeof(void *));
        pool->kept_bytes -= capacity;
    } else {
        if (pool->total_bytes + capacity > TERN_POOL_LIMIT_BYTES)
            return TERN_ELIMIT;
        data = malloc(capacity);
        if (data == NULL)
            return TERN_ENOMEM;
        pool->total_bytes += capacity;
        pool->allocations++;
    }
    block->data = data;
    block->capacity = capacity;
    return 0;
}

void tern_pool_give(struct tern_pool *pool, struct tern_block *block)
{
    if (block->data == NULL)
        return;
    if (pool->kept_bytes + block->capacity > TERN_POOL_KEEP_BYTES) {
        pool->total_bytes -= block->capacity;
        free(block->data);
    } else {
        unsigned size_class = class_of(block->capacity);

        memcpy(block->data, &pool->free[size_class], sizeof(void *));
        pool->free[size_class] = block->data;
        pool->kept_bytes += block->capacity;
    }
    *block = (struct tern_block){0};
}

int tern_pool_grow(struct tern_pool *pool, struct tern_block *block, size_t used, size_t bytes)
{
    struct tern_block larger;
    int code;

    if (bytes <= block->capacity)
        return 0;
    code = tern_pool_take(pool, bytes, &larger);
    if (code < 0)
        return code;
    if (used > 0)
        memcpy(larger.data, block->data, used);
    tern_pool_give(pool, block);
    *block = larger;
    return 0;
}

void tern_pool_clear(struct tern_pool *pool)
{
    for (unsigned size_class = 0; size_class < TERN_POOL_CLASSES; size_class++) {
        while (pool->free[size_class] != NULL) {
            void *data = pool->free[size_class];

            memcpy(&pool->free[size_class], data, sizeof(void *));
            free(data);
        }
    }
    *pool = (struct tern_pool){0};
}
