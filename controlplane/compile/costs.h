/* What each leaf costs in rows, in bytes: who is left out when they take more than is allowed.
 *
 * Every byte is shared among those that cause it: a mask or delta among the bits set in it, a
 * class's row among the leaves that tell the class from the one before. A place (block and
 * direction) keeps a running total of a bit's share; a leaf pays the difference between the moment
 * its bit enters the place and the moment it leaves. So measuring costs a few steps a flip, however
 * large the masks are. Where rows are so many that even looking at them takes long, every second,
 * fourth … class stands for its neighbours: the sum is then an estimate. */
#ifndef TERN_COMPILE_COSTS_H
#define TERN_COMPILE_COSTS_H

#include "shared/base.h"
#include "shared/error.h"

#define TERN_COSTS_SHIFT                                                                           \
    12 /* shares are kept in 1/4096 byte, so that the order has no rounding                        \
        */

struct tern_costs {
    uint64_t *leaf_shares;  /* per leaf, in 1/4096 byte */
    uint64_t *place_shares; /* per place: what one bit that was in it all the time has to pay */
    uint64_t *bit_entered;  /* per bit: its place's total when it came */
    uint32_t *leaf_classes; /* per leaf: classes it holds in, of the unit at hand */
    uint32_t *leaf_since;   /* per leaf: since which class of the unit it holds */
    uint8_t *leaf_rarity;   /* per leaf: it holds in one of 2^rarity classes, rounded down */
    uint64_t bytes;         /* of all masks and deltas */
    uint32_t classes;       /* of the unit at hand so far */
    uint64_t spent;         /* deltas looked at in this unit */
    uint64_t stride, skipped;
};

/* 0 or TERN_ENOMEM (nothing to free then). */
int tern_costs_start(struct tern_costs *costs, size_t leaf_count, size_t bit_count,
                     size_t place_count);
void tern_costs_free(struct tern_costs *costs);

/* Whether the class at hand is looked at. */
bool tern_costs_sampled(struct tern_costs *costs);
/* So many deltas were looked at in it. */
void tern_costs_spent(struct tern_costs *costs, size_t deltas);
/* A leaf of the unit at hand begins or ceases to hold with the class that comes next. */
void tern_costs_turn(struct tern_costs *costs, uint32_t leaf, bool holds);
/* Called for every leaf of the unit, then tern_costs_unit_end. */
void tern_costs_settle(struct tern_costs *costs, uint32_t leaf, bool holds);
/* The next class is the first of another unit. */
void tern_costs_unit_end(struct tern_costs *costs);

/* `bytes` more are there because of the `bits` bits in a place. */
static inline void tern_costs_place(struct tern_costs *costs, uint32_t place, uint32_t bits,
                                    size_t bytes)
{
    costs->place_shares[place] += ((bytes * costs->stride) << TERN_COSTS_SHIFT) / bits;
    costs->bytes += bytes * costs->stride;
}

/* A bit of the leaf enters or leaves a place. */
static inline void tern_costs_flip(struct tern_costs *costs, uint32_t leaf, uint32_t bit,
                                   uint32_t place, bool enters)
{
    if (enters)
        costs->bit_entered[bit] = costs->place_shares[place];
    else
        costs->leaf_shares[leaf] += costs->place_shares[place] - costs->bit_entered[bit];
}

/* The leaf's share in what is no mask or delta. */
static inline void tern_costs_leaf(struct tern_costs *costs, uint32_t leaf, uint64_t shares)
{
    costs->leaf_shares[leaf] += shares;
}

#endif
