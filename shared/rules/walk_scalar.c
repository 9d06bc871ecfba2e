#include "shared/rules/check.h"

typedef struct tern_mask_words block_t;

static inline block_t block_zero(void)
{
    return (block_t){{0}};
}

static inline block_t block_load(const struct tern_mask_words *from)
{
    return *from;
}

static inline void block_store(struct tern_mask_words *to, block_t block)
{
    *to = block;
}

static inline block_t block_or(block_t a, block_t b)
{
    for (unsigned i = 0; i < 8; i++)
        a.words[i] |= b.words[i];
    return a;
}

static inline block_t block_and(block_t a, block_t b)
{
    for (unsigned i = 0; i < 8; i++)
        a.words[i] &= b.words[i];
    return a;
}

static inline block_t block_not(block_t a)
{
    for (unsigned i = 0; i < 8; i++)
        a.words[i] = ~a.words[i];
    return a;
}

static inline unsigned block_filled_words(block_t a)
{
    unsigned filled = 0;

    for (unsigned i = 0; i < 8; i++)
        filled |= (unsigned)(a.words[i] != 0) << i;
    return filled;
}

static inline void block_to_words(block_t a, uint64_t words[8])
{
    memcpy(words, a.words, sizeof a.words);
}

#define WALK_TARGET
#define WALK_NAME tern_rules_walk_scalar
#include "shared/rules/walk.h"
