/* The order of what waits, and how much of it is done in one go. */
#include "controlplane/build/graph_private.h"

#include "shared/clock.h"

/* Searches scan the tail, so it goes first; while the repair is behind, it takes turns with it. */
static bool step(struct tern_graph *graph)
{
    bool turn = graph->mending.turn = !graph->mending.turn;

    if (tern_graph_grace_step(graph))
        return true;
    if (turn && tern_graph_is_behind(graph) && tern_graph_mend_step(graph))
        return true;
    return tern_graph_link_first(graph) || tern_graph_mend_step(graph) ||
           tern_graph_check_step(graph);
}

static bool has_more(const struct tern_graph *graph)
{
    const struct tern_graph_mending *mending = &graph->mending;
    uint64_t tail = atomic_load_explicit(&graph->header->tail, memory_order_relaxed);

    return (uint32_t)tail != (uint32_t)(tail >> 32) || mending->tombstones.count > 0 ||
           mending->sweeping.count > 0 || mending->strays.count > 0 || !mending->is_checked ||
           (mending->leaving.count == 0 && mending->detached.count > 0);
}

bool tern_graph_work(struct tern_graph *graph, uint64_t budget_us)
{
    uint64_t end_us = tern_clock_now_us() + budget_us;

    do {
        if (!step(graph))
            return false;
    } while (tern_clock_now_us() < end_us);
    return has_more(graph);
}

void tern_graph_settle(struct tern_graph *graph)
{
    graph->mending.hurry = true;
    while (step(graph))
        continue;
    graph->mending.hurry = false;
}
