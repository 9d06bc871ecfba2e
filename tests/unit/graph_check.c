#include "tests/unit/unit.h"

#include "tests/unit/graph_check.h"

static bool is_in_tree(const struct tern_graph *graph, uint32_t slot)
{
    enum tern_slot_state state = tern_graph_state(graph, slot);

    return graph->meta[slot].anchor != TERN_SLOT_NONE &&
           (state == TERN_SLOT_LIVE || state == TERN_SLOT_DELETED || state == TERN_SLOT_REPLACED);
}

static void check_links(struct tern_graph *graph, uint32_t slot, const char *where)
{
    uint32_t slots = tern_graph_slot_count(graph);

    for (unsigned level = 0; level <= tern_graph_level(graph, slot); level++) {
        _Atomic uint32_t *list = tern_graph_list(graph, slot, level);

        for (unsigned i = 0; i < tern_graph_list_length(graph, level); i++) {
            uint32_t link = atomic_load(&list[i]);
            enum tern_slot_state state;

            if (link == TERN_SLOT_NONE)
                continue;
            if (link >= slots || tern_graph_level(graph, link) < level)
                fail_msg("%s: slot %u links to %u on level %u", where, slot, link, level);
            state = tern_graph_state(graph, link);
            if (state == TERN_SLOT_FREE || state == TERN_SLOT_DETACHED)
                fail_msg("%s: slot %u (state %d) links to %u in state %d", where, slot,
                         tern_graph_state(graph, slot), link, state);
        }
    }
}

static void check_anchor(struct tern_graph *graph, uint32_t slot, uint32_t *root, const char *where)
{
    uint32_t anchor = graph->meta[slot].anchor, steps = 0, above = slot;
    unsigned length = tern_graph_list_length(graph, 0);

    if (anchor == slot) {
        if (*root != TERN_SLOT_NONE)
            fail_msg("%s: slots %u and %u are both the root", where, *root, slot);
        *root = slot;
        return;
    }
    if (!is_in_tree(graph, anchor))
        fail_msg("%s: slot %u is anchored at %u, which is not in the tree", where, slot, anchor);
    if (!tern_graph_list_has(tern_graph_list(graph, anchor, 0), length, slot) ||
        !tern_graph_list_has(tern_graph_list(graph, slot, 0), length, anchor))
        fail_msg("%s: a link between slot %u and its anchor %u is missing", where, slot, anchor);
    for (; graph->meta[above].anchor != above; above = graph->meta[above].anchor)
        if (graph->meta[above].anchor == TERN_SLOT_NONE || steps++ > tern_graph_slot_count(graph))
            fail_msg("%s: the way from slot %u ends nowhere", where, slot);
}

void tern_graph_check(struct tern_graph *graph, const char *where)
{
    uint32_t slots = tern_graph_slot_count(graph), root = TERN_SLOT_NONE, entry;
    uint64_t live = 0, in_tree = 0;
    struct tern_graph_census census;

    for (uint32_t slot = 0; slot < slots; slot++) {
        if (tern_graph_state(graph, slot) != TERN_SLOT_FREE)
            check_links(graph, slot, where);
        if (is_in_tree(graph, slot)) {
            check_anchor(graph, slot, &root, where);
            in_tree++;
        }
        live += tern_graph_state(graph, slot) == TERN_SLOT_LIVE;
    }
    entry = (uint32_t)atomic_load(&graph->header->entry);
    if (in_tree > 0 && root == TERN_SLOT_NONE)
        fail_msg("%s: there is no root", where);
    if (in_tree == 0 ? entry != TERN_SLOT_NONE : entry >= slots || !is_in_tree(graph, entry))
        fail_msg("%s: the entry is slot %u", where, entry);
    assert_int_equal(tern_graph_census(graph, &census), 0);
    if (census.unreachable != 0 || census.bad_links != 0)
        fail_msg("%s: %llu unreachable, %llu bad links", where,
                 (unsigned long long)census.unreachable, (unsigned long long)census.bad_links);
    if (census.live != live || census.live != atomic_load(&graph->header->live_count) ||
        census.deleted + census.detached != atomic_load(&graph->header->deleted_count) ||
        census.live + census.deleted + census.detached + census.free != slots)
        fail_msg("%s: of %u slots %llu are live (counted: %u), %llu deleted, %llu detached "
                 "(counted: %u), %llu free",
                 where, slots, (unsigned long long)census.live,
                 atomic_load(&graph->header->live_count), (unsigned long long)census.deleted,
                 (unsigned long long)census.detached, atomic_load(&graph->header->deleted_count),
                 (unsigned long long)census.free);
}
