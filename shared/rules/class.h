/* What a classifier answers: a class, by number or, where its row is a single delta, as that delta.
 *
 * With tens of thousands of literals the rows are the larger part of what a look-up waits for, and
 * nearly all of them are one mask in one block. Such a class needs no line of its own. */
#ifndef TERN_RULES_CLASS_H
#define TERN_RULES_CLASS_H

#include "shared/rules/format.h"

#define TERN_CLASS_MASK_BITS 19

static inline bool tern_class_is_direct(uint32_t class)
{
    return class & TERN_CLASS_DIRECT;
}

/* The delta of a direct class. */
static inline struct tern_delta tern_class_delta(uint32_t class)
{
    return (struct tern_delta){(class & ~TERN_CLASS_DIRECT) >> TERN_CLASS_MASK_BITS,
                               class & ((1u << TERN_CLASS_MASK_BITS) - 1)};
}

/* The direct class of a delta, when it can be written as one. */
static inline bool tern_class_of_delta(const struct tern_delta *delta, uint32_t *class)
{
    if (delta->mask >> TERN_CLASS_MASK_BITS != 0 ||
        delta->place >> (31 - TERN_CLASS_MASK_BITS) != 0)
        return false;
    *class = TERN_CLASS_DIRECT | delta->place << TERN_CLASS_MASK_BITS | delta->mask;
    return true;
}

_Static_assert(2 * TERN_BLOCKS_MAX <= 1u << (31 - TERN_CLASS_MASK_BITS), "every place fits");

struct tern_class_bounds { /* of what is in a section */
    uint32_t class_count;
    uint32_t place_count;
    uint64_t mask_count;
};

static inline bool tern_class_fits(const struct tern_class_bounds *bounds, uint32_t class)
{
    struct tern_delta delta = tern_class_delta(class);

    return tern_class_is_direct(class)
               ? delta.place < bounds->place_count && delta.mask < bounds->mask_count
               : class < bounds->class_count;
}

#endif
