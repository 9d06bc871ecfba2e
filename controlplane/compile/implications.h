/* Which leaves imply which: what is true of one predicate over a unit whenever another is. */
#ifndef TERN_COMPILE_IMPLICATIONS_H
#define TERN_COMPILE_IMPLICATIONS_H

#include "controlplane/compile/analysis.h"

struct tern_implications {
    uint32_t *starts;       /* per leaf + 1: in `implied` */
    uint32_t *implied;      /* leaves, ascending for each; without the leaf itself */
    uint32_t *class_counts; /* per leaf: in how many classes it holds; UINT32_MAX: not known */
};

/* Finds the leaves among those marked in `wanted` (one byte a leaf) that each leaf implies. Its
 * work is bounded: what would go past that is left out. 0 or TERN_ENOMEM (nothing to free then). */
int tern_implications_find(struct tern_implications *implications,
                           const struct tern_analysis *analysis, const uint8_t *wanted);
void tern_implications_free(struct tern_implications *implications);

/* True when `leaf` implies `other` or is it. */
bool tern_implications_hold(const struct tern_implications *implications, uint32_t leaf,
                            uint32_t other);

#endif
