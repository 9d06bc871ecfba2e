/* Byte blocks of one loop, by size class, from free lists that only grow: once traffic has seen its
 * peak, taking and giving back is a list operation. Belongs to one thread. */
#ifndef TERN_DATAPLANE_POOL_H
#define TERN_DATAPLANE_POOL_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/limits.h"

/* Classes are 4 KiB × 4^k: 4 KiB holds the replies to a hundred DECIDEs, the last one the largest
 * frame with its header. */
#define TERN_POOL_SMALLEST 4096u
#define TERN_POOL_CLASSES  9u
#define TERN_POOL_LARGEST  ((size_t)TERN_POOL_SMALLEST << (2 * (TERN_POOL_CLASSES - 1)))
_Static_assert(TERN_POOL_LARGEST >= (size_t)TERN_MAX_FRAME_LIMIT + TERN_FRAME_HEADER,
               "the largest frame fits a block");

/* Past this much memory a loop refuses blocks: clients that trickle large frames cannot eat the
 * machine. Idle blocks over the second bound go back to the heap. */
#define TERN_POOL_LIMIT_BYTES ((size_t)512 << 20)
#define TERN_POOL_KEEP_BYTES  ((size_t)64 << 20)

struct tern_block {
    uint8_t *data; /* NULL: no block */
    size_t capacity;
};

struct tern_pool {
    void *free[TERN_POOL_CLASSES]; /* the first word of a free block is the next one */
    size_t total_bytes;            /* handed out and kept */
    size_t kept_bytes;
    uint64_t allocations; /* times the heap was asked */
};

/* A zeroed pool is ready. Frees what is kept; blocks still handed out leak. */
void tern_pool_clear(struct tern_pool *pool);

/* A block of at least `bytes`. 0; TERN_ELIMIT over the pool's limit or the largest class;
 * TERN_ENOMEM. */
int tern_pool_take(struct tern_pool *pool, size_t bytes, struct tern_block *block);

/* Gives a block back and empties `block`. An empty one is fine. */
void tern_pool_give(struct tern_pool *pool, struct tern_block *block);

/* Moves the first `used` bytes of `block` into one that holds `bytes`. Errors as tern_pool_take;
 * the block then stays as it is. */
int tern_pool_grow(struct tern_pool *pool, struct tern_block *block, size_t used, size_t bytes);

#endif
