/* What an object that is taken over still has to have done to it, and whether its tree of anchors
 * is whole.
 *
 * There is no journal. A slot's state and anchor say how far it has come:
 *
 *     LIVE, no anchor, not in the tail      a put cut short               graph_open.c
 *     DELETED or REPLACED, with an anchor   repair it, again from the beginning if need be
 *     the same without one                  repaired: sweep
 *     the same, or DETACHED, in the tail    nothing leads to it: it leaves with the tail
 *     DETACHED                              swept: a grace, whatever it has waited already */
#include "controlplane/build/graph_private.h"

#include "shared/clock.h"

#define CHECK_SLOTS 64u /* of one step */

static void mark_tail(struct tern_graph *graph, struct tern_seen *seen)
{
    uint64_t tail = atomic_load_explicit(&graph->header->tail, memory_order_relaxed);

    for (uint32_t at = (uint32_t)tail; at != (uint32_t)(tail >> 32); at++)
        tern_seen_add(seen, atomic_load_explicit(&graph->header->tail_slots[at % TERN_TAIL_MAX],
                                                 memory_order_relaxed));
}

/* A repair that was cut short where the tree had two roots, or the last slot in it no entry. */
static void complete_repair(struct tern_graph *graph, uint32_t slot)
{
    uint64_t entry = atomic_load_explicit(&graph->header->entry, memory_order_relaxed);

    if ((uint32_t)entry == TERN_SLOT_NONE)
        tern_graph_store_anchor(graph, slot, TERN_SLOT_NONE);
    else if (graph->meta[slot].anchor == slot)
        tern_graph_give_up_root(graph, slot);
}

int tern_graph_recover(struct tern_graph *graph)
{
    struct tern_graph_mending *mending = &graph->mending;
    struct tern_seen *seen = &graph->scratch->seen;
    uint32_t slots = tern_graph_slot_count(graph);
    int status = 0;

    mending->batch = calloc(graph->header->capacity / 64 + 1, sizeof *mending->batch);
    if (mending->batch == NULL)
        return TERN_ENOMEM;
    mending->swept_us = tern_clock_now_us();
    mending->root = TERN_SLOT_NONE;
    mark_tail(graph, seen);
    for (uint32_t slot = 0; slot < slots && status == 0; slot++) {
        switch (tern_graph_state(graph, slot)) {
        case TERN_SLOT_DELETED:
        case TERN_SLOT_REPLACED:
            complete_repair(graph, slot);
            if (graph->meta[slot].anchor != TERN_SLOT_NONE)
                status = tern_graph_stack_push(&mending->tombstones, slot);
            else if (!tern_seen_test(seen, slot))
                status = tern_graph_stack_push(&mending->repaired, slot);
            break;
        case TERN_SLOT_DETACHED:
            if (!tern_seen_test(seen, slot))
                status = tern_graph_stack_push(&mending->detached, slot);
            break;
        default:
            break;
        }
    }
    tern_seen_clear(seen);
    return status;
}

void tern_graph_mending_free(struct tern_graph_mending *mending)
{
    free(mending->tombstones.slots);
    free(mending->repaired.slots);
    free(mending->sweeping.slots);
    free(mending->detached.slots);
    free(mending->leaving.slots);
    free(mending->strays.slots);
    free(mending->batch);
}

/* ---- the tree ---- */

static bool is_anchored(struct tern_graph *graph, uint32_t slot)
{
    uint32_t anchor = graph->meta[slot].anchor;
    unsigned length = tern_graph_list_length(graph, 0);

    if (anchor == slot) {
        if (graph->mending.root == TERN_SLOT_NONE)
            graph->mending.root = slot;
        return graph->mending.root == slot ||
               graph->meta[graph->mending.root].anchor != graph->mending.root;
    }
    return tern_graph_is_in_tree(graph, anchor) &&
           tern_graph_list_has(tern_graph_list(graph, anchor, 0), length, slot) &&
           tern_graph_list_has(tern_graph_list(graph, slot, 0), length, anchor);
}

void tern_graph_relink(struct tern_graph *graph, uint32_t slot)
{
    uint32_t entry = (uint32_t)atomic_load_explicit(&graph->header->entry, memory_order_relaxed);
    uint32_t ef = atomic_load_explicit(&graph->header->ef_construct, memory_order_relaxed);
    uint32_t anchor = graph->meta[slot].anchor;
    struct tern_candidate *found = graph->candidates;
    unsigned count;

    /* The one it has, with the link that is missing: of a slot near the root, all others may be
     * below. */
    if (anchor != slot && tern_graph_is_in_tree(graph, anchor) &&
        !tern_graph_is_below(graph, anchor, slot) && tern_graph_set_anchor(graph, slot, anchor))
        return;
    count = tern_graph_find_candidates(graph, slot, 0, tern_graph_clamp_ef(graph, ef), found);
    for (unsigned i = 0; i < count; i++)
        if (tern_graph_is_in_tree(graph, found[i].slot) &&
            !tern_graph_is_below(graph, found[i].slot, slot) &&
            tern_graph_set_anchor(graph, slot, found[i].slot))
            return;
    if (entry != TERN_SLOT_NONE && !tern_graph_is_below(graph, entry, slot))
        (void)tern_graph_anchor_anywhere(graph, slot, entry, TERN_SLOT_NONE);
}

bool tern_graph_check_step(struct tern_graph *graph)
{
    struct tern_graph_mending *mending = &graph->mending;
    uint32_t count = tern_graph_slot_count(graph);

    if (mending->strays.count > 0) {
        uint32_t slot = mending->strays.slots[--mending->strays.count];

        if (tern_graph_is_in_tree(graph, slot))
            tern_graph_relink(graph, slot);
        return true;
    }
    if (mending->is_checked)
        return false;
    for (unsigned i = 0; i < CHECK_SLOTS && mending->checked < count; i++, mending->checked++)
        if (tern_graph_is_in_tree(graph, mending->checked) && !is_anchored(graph, mending->checked))
            tern_graph_relink(graph, mending->checked);
    mending->is_checked = mending->checked >= count;
    return true;
}
