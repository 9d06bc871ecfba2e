#include "controlplane/compile/costs.h"

/* Deltas of one unit that are looked at before every second class is left out, and again before
 * every second of those: some tens of milliseconds each. */
#define DELTAS_A_STRIDE (1u << 22)

int tern_costs_start(struct tern_costs *costs, size_t leaf_count, size_t bit_count,
                     size_t place_count)
{
    struct tern_costs made = {.stride = 1};

    made.leaf_shares = calloc(leaf_count + 1, sizeof *made.leaf_shares);
    made.place_shares = calloc(place_count + 1, sizeof *made.place_shares);
    made.bit_entered = calloc(bit_count + 1, sizeof *made.bit_entered);
    made.leaf_classes = calloc(leaf_count + 1, sizeof *made.leaf_classes);
    made.leaf_since = calloc(leaf_count + 1, sizeof *made.leaf_since);
    made.leaf_rarity = calloc(leaf_count + 1, sizeof *made.leaf_rarity);
    if (made.leaf_classes == NULL || made.leaf_since == NULL || made.leaf_rarity == NULL ||
        made.leaf_shares == NULL || made.place_shares == NULL || made.bit_entered == NULL) {
        tern_costs_free(&made);
        return TERN_ENOMEM;
    }
    *costs = made;
    return 0;
}

void tern_costs_free(struct tern_costs *costs)
{
    free(costs->leaf_shares);
    free(costs->place_shares);
    free(costs->bit_entered);
    free(costs->leaf_classes);
    free(costs->leaf_since);
    free(costs->leaf_rarity);
    memset(costs, 0, sizeof *costs);
}

void tern_costs_turn(struct tern_costs *costs, uint32_t leaf, bool holds)
{
    if (holds)
        costs->leaf_since[leaf] = costs->classes;
    else
        costs->leaf_classes[leaf] += costs->classes - costs->leaf_since[leaf];
}

void tern_costs_settle(struct tern_costs *costs, uint32_t leaf, bool holds)
{
    uint32_t held;

    if (holds)
        tern_costs_turn(costs, leaf, false);
    held = costs->leaf_classes[leaf];
    costs->leaf_rarity[leaf] = (uint8_t)(31 - __builtin_clz(costs->classes / (held | !held) | 1));
}

bool tern_costs_sampled(struct tern_costs *costs)
{
    costs->classes++;
    if (++costs->skipped < costs->stride)
        return false;
    costs->skipped = 0;
    return true;
}

void tern_costs_spent(struct tern_costs *costs, size_t deltas)
{
    costs->spent += deltas;
    if (costs->spent >= DELTAS_A_STRIDE) {
        costs->spent = 0;
        costs->stride *= 2;
    }
}

void tern_costs_unit_end(struct tern_costs *costs)
{
    costs->spent = 0;
    costs->skipped = 0;
    costs->stride = 1;
    costs->classes = 0;
}
