#include "controlplane/build/graph_private.h"

/* Of a lowest list, at most this many places are links to children: the rest leads elsewhere. */
static unsigned children_max(const struct tern_graph *graph)
{
    unsigned length = tern_graph_list_length(graph, 0);

    return length - length / 4;
}

bool tern_graph_is_protected(const struct tern_graph *graph, uint32_t owner, uint32_t target)
{
    return graph->meta[owner].anchor == target || graph->meta[target].anchor == owner;
}

bool tern_graph_is_below(const struct tern_graph *graph, uint32_t slot, uint32_t above)
{
    uint32_t steps = tern_graph_slot_count(graph);

    while (slot != above && steps-- > 0) {
        uint32_t anchor = graph->meta[slot].anchor;

        if (anchor == TERN_SLOT_NONE || anchor == slot)
            return false;
        slot = anchor;
    }
    return true; /* also when there is a ring already: nothing must be hung into it */
}

/* An insertion's walk from the entry down to `level`, and what it found there. */
static unsigned find(struct tern_graph *graph, uint32_t slot, unsigned level, uint32_t ef,
                     struct tern_candidate *nearest, unsigned nearest_level,
                     struct tern_candidate *candidates)
{
    struct tern_search_scratch *scratch = graph->scratch;
    struct tern_pool pool = {.items = scratch->pool, .limit = ef};
    struct tern_walk walk = {.collection = &graph->collection,
                             .space = graph->space,
                             .probe = &graph->query.probe,
                             .slot_count = tern_graph_slot_count(graph),
                             .seen = &scratch->seen};
    unsigned live = 0;

    tern_seen_add(walk.seen, slot); /* never led to: others may link to it already */
    for (; nearest_level > level; nearest_level--)
        graph->kernel->descend(&walk, nearest_level, nearest);
    tern_seen_add(walk.seen, nearest->slot);
    tern_pool_put(&pool, nearest->distance, nearest->slot);
    graph->kernel->explore(&walk, level, &pool);
    tern_seen_clear(walk.seen);
    for (unsigned pass = 0; pass < 2 && live == 0; pass++) {
        for (uint32_t i = 0; i < pool.count; i++) {
            struct tern_candidate found = pool.items[i];
            enum tern_slot_state state;

            found.slot &= ~TERN_CANDIDATE_DONE;
            state = tern_graph_state(graph, found.slot);
            /* A tombstone without an anchor is repaired: nobody links to it again. */
            if (found.slot != slot && graph->meta[found.slot].anchor != TERN_SLOT_NONE &&
                (state == TERN_SLOT_LIVE ||
                 (pass == 1 && (state == TERN_SLOT_DELETED || state == TERN_SLOT_REPLACED))))
                candidates[live++] = found;
        }
    }
    if (pool.count > 0)
        *nearest = (struct tern_candidate){pool.items[0].distance,
                                           pool.items[0].slot & ~TERN_CANDIDATE_DONE};
    return live;
}

uint32_t tern_graph_clamp_ef(const struct tern_graph *graph, uint32_t ef)
{
    if (ef < graph->header->m)
        return graph->header->m;
    return ef < TERN_GRAPH_CANDIDATES_MAX ? ef : TERN_GRAPH_CANDIDATES_MAX;
}

static struct tern_candidate start_at(struct tern_graph *graph, uint32_t slot)
{
    float distances[4];

    tern_graph_measure(graph, &graph->query, &slot, 1, distances);
    return (struct tern_candidate){distances[0], slot};
}

static uint64_t entry_of(const struct tern_graph *graph)
{
    return atomic_load_explicit(&graph->header->entry, memory_order_relaxed);
}

unsigned tern_graph_find_candidates(struct tern_graph *graph, uint32_t slot, unsigned level,
                                    uint32_t ef, struct tern_candidate *candidates)
{
    uint64_t entry = entry_of(graph);
    struct tern_candidate nearest;

    if ((uint32_t)entry == TERN_SLOT_NONE || level > (entry >> 32 & 0xff))
        return 0;
    tern_graph_probe_slot(graph, &graph->query, slot);
    nearest = start_at(graph, (uint32_t)entry);
    return find(graph, slot, level, ef, &nearest, entry >> 32 & 0xff, candidates);
}

static void put_sorted(struct tern_candidate *items, unsigned count, struct tern_candidate item)
{
    for (; count > 0 && item.distance < items[count - 1].distance; count--)
        items[count] = items[count - 1];
    items[count] = item;
}

/* `to` into the full list of `from`, which keeps what it would choose among all of them, what is
 * protected, and with `forced` `to`. */
static bool prune(struct tern_graph *graph, uint32_t from, uint32_t to, unsigned level, bool forced)
{
    _Atomic uint32_t *list = tern_graph_list(graph, from, level);
    unsigned length = tern_graph_list_length(graph, level), count, kept, stays = 0;
    uint32_t slots[TERN_BATCH_MAX + 4], targets[TERN_BATCH_MAX];
    float distances[TERN_BATCH_MAX + 4];
    struct tern_candidate candidates[TERN_BATCH_MAX + 1];
    bool taken = false;

    count = tern_graph_list_read(list, length, slots);
    slots[count++] = to;
    tern_graph_probe_slot(graph, &graph->center, from);
    tern_graph_measure(graph, &graph->center, slots, count, distances);
    for (unsigned i = 0; i < count; i++)
        put_sorted(candidates, i, (struct tern_candidate){distances[i], slots[i]});
    kept = tern_graph_select(graph, from, candidates, count, length);
    /* What must stay goes first, the rest of the choice behind it. */
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < count; i++) {
            bool must = (forced && candidates[i].slot == to) ||
                        (level == 0 && tern_graph_is_protected(graph, from, candidates[i].slot));

            if (stays == length) {
                if (pass == 0 && must)
                    return false; /* all are protected */
            } else if (pass == 0 ? must : !must && i < kept) {
                targets[stays++] = candidates[i].slot;
                taken = taken || candidates[i].slot == to;
            }
        }
    }
    if (forced && !taken)
        return false;
    tern_graph_list_set(list, length, targets, stays);
    return taken;
}

bool tern_graph_connect(struct tern_graph *graph, uint32_t from, uint32_t to, unsigned level,
                        bool forced)
{
    return tern_graph_list_add(tern_graph_list(graph, from, level),
                               tern_graph_list_length(graph, level), to) ||
           prune(graph, from, to, level, forced);
}

bool tern_graph_set_anchor(struct tern_graph *graph, uint32_t slot, uint32_t anchor)
{
    _Atomic uint32_t *list = tern_graph_list(graph, anchor, 0);
    unsigned length = tern_graph_list_length(graph, 0), children = 0, count;
    uint32_t targets[TERN_BATCH_MAX];

    count = tern_graph_list_read(list, length, targets);
    for (unsigned i = 0; i < count; i++)
        children += graph->meta[targets[i]].anchor == anchor && targets[i] != slot;
    if (children >= children_max(graph) || !tern_graph_connect(graph, anchor, slot, 0, true) ||
        !tern_graph_connect(graph, slot, anchor, 0, true))
        return false;
    /* After both links: an anchor that is named is there. */
    tern_graph_store_anchor(graph, slot, anchor);
    return true;
}

/* The nearest that can take the slot as a child. */
static void anchor_slot(struct tern_graph *graph, uint32_t slot,
                        const struct tern_candidate *candidates, unsigned count)
{
    if (graph->meta[slot].anchor != TERN_SLOT_NONE)
        return; /* a link that a crash has cut short, taken up again */
    for (unsigned i = 0; i < count; i++)
        if (tern_graph_set_anchor(graph, slot, candidates[i].slot))
            return;
    (void)tern_graph_anchor_anywhere(graph, slot, (uint32_t)entry_of(graph), TERN_SLOT_NONE);
}

/* A slot's own list on a level. */
static void fill_list(struct tern_graph *graph, uint32_t slot, unsigned level,
                      struct tern_candidate *candidates, unsigned count)
{
    _Atomic uint32_t *list = tern_graph_list(graph, slot, level);
    struct tern_candidate *by_distance = graph->candidates + TERN_GRAPH_CANDIDATES_MAX;
    unsigned kept;

    memcpy(by_distance, candidates, count * sizeof *candidates);
    kept = tern_graph_select(graph, slot, candidates, count, graph->header->m);
    for (unsigned i = 0; i < kept; i++)
        tern_graph_list_add(list, tern_graph_list_length(graph, level), candidates[i].slot);
    if (level == 0)
        anchor_slot(graph, slot, by_distance, count);
}

/* The links back. Once the first is there searches come by: the slot's lists are full on all levels
 * before, or one that descends to it finds no way on. */
static void link_back(struct tern_graph *graph, uint32_t slot, unsigned level)
{
    uint32_t targets[TERN_BATCH_MAX];
    unsigned count = tern_graph_list_read(tern_graph_list(graph, slot, level),
                                          tern_graph_list_length(graph, level), targets);

    for (unsigned i = 0; i < count; i++)
        tern_graph_connect(graph, targets[i], slot, level, false);
}

void tern_graph_set_entry(struct tern_graph *graph, uint32_t slot, unsigned level)
{
    uint64_t changes = (entry_of(graph) >> 40) + 1;

    /* Release: a search that starts there finds its lists. */
    atomic_store_explicit(&graph->header->entry, slot | (uint64_t)level << 32 | changes << 40,
                          memory_order_release);
}

static void link_slot(struct tern_graph *graph, uint32_t slot)
{
    uint64_t entry = entry_of(graph);
    unsigned level = tern_graph_level(graph, slot), top = entry >> 32 & 0xff, reached;
    uint32_t ef = atomic_load_explicit(&graph->header->ef_construct, memory_order_relaxed);
    struct tern_candidate nearest;

    if ((uint32_t)entry == TERN_SLOT_NONE) {
        tern_graph_store_anchor(graph, slot, slot);
        tern_graph_set_entry(graph, slot, level);
        return;
    }
    ef = tern_graph_clamp_ef(graph, ef);
    tern_graph_probe_slot(graph, &graph->query, slot);
    nearest = start_at(graph, (uint32_t)entry);
    reached = top;
    for (unsigned at = level < top ? level : top;; at--) {
        unsigned count = find(graph, slot, at, ef, &nearest, reached, graph->candidates);

        reached = at == 0 ? 0 : at - 1;
        fill_list(graph, slot, at, graph->candidates, count);
        if (at == 0)
            break;
    }
    for (unsigned at = 0; at <= level && at <= top; at++)
        link_back(graph, slot, at);
    if (level > top)
        tern_graph_set_entry(graph, slot, level);
}

bool tern_graph_link_first(struct tern_graph *graph)
{
    struct tern_collection_header *header = graph->header;
    uint64_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
    uint32_t first = (uint32_t)tail, slot;

    if (first == (uint32_t)(tail >> 32))
        return false;
    slot = atomic_load_explicit(&header->tail_slots[first % TERN_TAIL_MAX], memory_order_relaxed);
    /* One that was removed or replaced before anything led to it needs no repair: it can wait for
     * its readers at once. */
    if (tern_graph_state(graph, slot) == TERN_SLOT_LIVE) {
        tern_graph_set_intent(graph, TERN_GRAPH_INTENT_LINK, slot);
        link_slot(graph, slot);
    } else if (graph->meta[slot].anchor == TERN_SLOT_NONE) {
        tern_graph_detach(graph, slot);
    }
    /* Release: a search that does not find it in the tail finds it linked. */
    atomic_store_explicit(&header->tail, (tail & ~0xffffffffull) | (uint32_t)(first + 1),
                          memory_order_release);
    tern_graph_set_intent(graph, TERN_GRAPH_INTENT_NONE, 0);
    return true;
}

void tern_graph_link(struct tern_graph *graph)
{
    while (tern_graph_link_first(graph))
        continue;
}
