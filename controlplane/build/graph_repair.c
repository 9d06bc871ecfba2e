/* The graph around a tombstone is closed again: whoever leads to it leads to what lies behind it.
 *
 * After the in-place deletion of IP-DiskANN (Xu et al., arXiv 2502.13826): those that lead to the
 * tombstone are looked for with one search around it and among its own neighbours, not by a scan of
 * the graph; each link found is replaced where it stands. What this misses the sweep finds
 * (graph_sweep.c). In this order, each step safe to be cut short and done again:
 *
 *     1. the entry moves away          one store
 *     2. the root moves away           two stores, see tern_graph_give_up_root
 *     3. children get another anchor   each has the old one until it has the new one
 *     4. its anchor is TERN_SLOT_NONE  it is out of the tree: repaired, nobody links to it again
 *     5. links to it are replaced      a store each
 *     6. what it led to is led to      likewise
 *
 * Without the last, vectors that replace others are found by fewer links than those they replaced:
 * a graph whose every vector is replaced once then loses half a point of recall.
 *
 * So the state and the anchor of a tombstone say what is left to do, and there is no intent. */
#include "controlplane/build/graph_private.h"

#define WALK_MAX       256u /* slots that are looked at on a level for a new entry */
#define REPLACE_MAX    3u   /* links that stand in for one, */
#define REPLACE_TRIES  8u   /* of so many candidates */
#define ADOPTERS_MAX   2u   /* of those that may lead to what a tombstone led to, the nearest */
#define NEIGHBOURS_MAX (2 * TERN_BATCH_MAX)

/* Among what a link to a tombstone may be replaced with, and what may be a child's anchor. */
static bool is_live(const struct tern_graph *graph, uint32_t slot)
{
    return tern_graph_is_in_tree(graph, slot) && tern_graph_state(graph, slot) == TERN_SLOT_LIVE;
}

/* ---- the entry ---- */

/* A slot near `from` over the lists of a level, or TERN_SLOT_NONE. */
static uint32_t walk_to_entry(struct tern_graph *graph, uint32_t from, unsigned level, bool live)
{
    struct tern_seen *seen = &graph->scratch->seen;
    uint32_t queue[WALK_MAX], found = TERN_SLOT_NONE;
    unsigned first = 0, end = 0;

    queue[end++] = from;
    tern_seen_add(seen, from);
    while (first < end && found == TERN_SLOT_NONE) {
        uint32_t links[TERN_BATCH_MAX];
        unsigned count = tern_graph_list_read(tern_graph_list(graph, queue[first++], level),
                                              tern_graph_list_length(graph, level), links);

        for (unsigned i = 0; i < count && found == TERN_SLOT_NONE; i++) {
            if (tern_graph_level(graph, links[i]) < level || !tern_seen_add(seen, links[i]))
                continue;
            if (live ? is_live(graph, links[i]) : tern_graph_is_in_tree(graph, links[i]))
                found = links[i];
            else if (end < WALK_MAX)
                queue[end++] = links[i];
        }
    }
    tern_seen_clear(seen);
    return found;
}

/* Searches start elsewhere: as high as possible, at a live slot if there is one near. */
static void give_up_entry(struct tern_graph *graph, uint32_t slot)
{
    uint64_t entry = atomic_load_explicit(&graph->header->entry, memory_order_relaxed);
    uint32_t found = TERN_SLOT_NONE;

    if ((uint32_t)entry != slot)
        return;
    for (unsigned pass = 0; pass < 2 && found == TERN_SLOT_NONE; pass++)
        for (unsigned above = tern_graph_level(graph, slot) + 1;
             above > 0 && found == TERN_SLOT_NONE; above--)
            found = walk_to_entry(graph, slot, above - 1, pass == 0);
    /* Nothing: the slot is all that is linked, for the tree's links are in the lowest lists. */
    tern_graph_set_entry(graph, found,
                         found == TERN_SLOT_NONE ? 0 : tern_graph_level(graph, found));
}

/* ---- the tree of anchors ---- */

static unsigned read_children(const struct tern_graph *graph, uint32_t slot, uint32_t *children)
{
    uint32_t links[TERN_BATCH_MAX];
    unsigned count, kept = 0;

    count = tern_graph_list_read(tern_collection_list(&graph->collection, slot, 0),
                                 tern_graph_list_length(graph, 0), links);
    for (unsigned i = 0; i < count; i++)
        if (graph->meta[links[i]].anchor == slot && links[i] != slot)
            children[kept++] = links[i];
    return kept;
}

/* The root hands over to a child: the child names itself, then the old root names the child. A kill
 * between the two leaves a child that names itself, which the next attempt finds. */
void tern_graph_give_up_root(struct tern_graph *graph, uint32_t slot)
{
    uint32_t links[TERN_BATCH_MAX], heir = TERN_SLOT_NONE;
    unsigned count;

    if (graph->meta[slot].anchor != slot)
        return;
    count = tern_graph_list_read(tern_graph_list(graph, slot, 0), tern_graph_list_length(graph, 0),
                                 links);
    for (unsigned i = 0; i < count; i++) {
        uint32_t anchor = graph->meta[links[i]].anchor;

        if (anchor == links[i]) {
            heir = links[i];
            break;
        }
        if (anchor == slot && (heir == TERN_SLOT_NONE || is_live(graph, links[i])))
            heir = links[i];
    }
    if (heir == TERN_SLOT_NONE)
        return; /* it is alone */
    tern_graph_store_anchor(graph, heir, heir);
    tern_graph_store_anchor(graph, slot, heir);
}

bool tern_graph_anchor_anywhere(struct tern_graph *graph, uint32_t slot, uint32_t start,
                                uint32_t avoided)
{
    uint32_t steps = tern_graph_slot_count(graph), at = start;

    /* Down the tree, past the slot and the avoided one: a leaf has room, if nothing before it has.
     */
    while (steps-- > 0 && !tern_graph_set_anchor(graph, slot, at)) {
        uint32_t children[TERN_BATCH_MAX], next = TERN_SLOT_NONE;
        unsigned count = read_children(graph, at, children);

        for (unsigned i = 0; i < count; i++)
            if (children[i] != slot && children[i] != avoided)
                next = children[i];
        if (next == TERN_SLOT_NONE)
            return false;
        at = next;
    }
    return graph->meta[slot].anchor == at;
}

static void sort(struct tern_candidate *items, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        struct tern_candidate item = items[i];
        unsigned at = i;

        for (; at > 0 && item.distance < items[at - 1].distance; at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

/* Those of slots[0..count) by distance from `center`, which graph->center is made of. */
static void sort_by_distance(struct tern_graph *graph, const uint32_t *slots, unsigned count,
                             struct tern_candidate *sorted)
{
    float distances[NEIGHBOURS_MAX + 4];

    tern_graph_measure(graph, &graph->center, slots, count, distances);
    for (unsigned i = 0; i < count; i++)
        sorted[i] = (struct tern_candidate){distances[i], slots[i]};
    sort(sorted, count);
}

/* Adds what is not there yet. */
static unsigned add_distinct(uint32_t *slots, unsigned count, uint32_t slot)
{
    for (unsigned i = 0; i < count; i++)
        if (slots[i] == slot)
            return count;
    if (count < NEIGHBOURS_MAX)
        slots[count++] = slot;
    return count;
}

bool tern_graph_anchor_again(struct tern_graph *graph, uint32_t slot, uint32_t leaving,
                             const uint32_t *near, unsigned near_count)
{
    uint32_t slots[NEIGHBOURS_MAX], links[TERN_BATCH_MAX];
    struct tern_candidate sorted[NEIGHBOURS_MAX];
    unsigned count = 0, length;

    length = tern_graph_list_read(tern_graph_list(graph, slot, 0), tern_graph_list_length(graph, 0),
                                  links);
    for (unsigned i = 0; i < length; i++)
        count = add_distinct(slots, count, links[i]);
    for (unsigned i = 0; i < near_count; i++)
        count = add_distinct(slots, count, near[i]);
    tern_graph_probe_slot(graph, &graph->center, slot);
    sort_by_distance(graph, slots, count, sorted);
    for (unsigned i = 0; i < count; i++) {
        uint32_t anchor = sorted[i].slot;

        /* set_anchor measures from others' centers: nothing here is read after it has changed. */
        if (anchor != slot && anchor != leaving && is_live(graph, anchor) &&
            !tern_graph_is_below(graph, anchor, slot) && tern_graph_set_anchor(graph, slot, anchor))
            return true;
    }
    return false;
}

static void move_children(struct tern_graph *graph, uint32_t slot, const uint32_t *near,
                          unsigned near_count)
{
    uint32_t children[TERN_BATCH_MAX];
    unsigned count = read_children(graph, slot, children);

    for (unsigned i = 0; i < count; i++)
        if (!tern_graph_anchor_again(graph, children[i], slot, near, near_count))
            (void)tern_graph_anchor_anywhere(graph, children[i], graph->meta[slot].anchor, slot);
}

/* ---- links ---- */

/* Whether `owner` would keep `candidate` beside its links: none of those that are nearer to it than
 * the candidate is nearer to the candidate than it is itself. */
static bool is_diverse(struct tern_graph *graph, const struct tern_candidate *candidate,
                       const struct tern_candidate *links, unsigned count)
{
    uint32_t slots[TERN_BATCH_MAX];
    float distances[TERN_BATCH_MAX + 4];
    unsigned nearer = 0;

    while (nearer < count && links[nearer].distance < candidate->distance) {
        slots[nearer] = links[nearer].slot;
        nearer++;
    }
    if (nearer == 0)
        return true;
    tern_graph_probe_slot(graph, &graph->candidate, candidate->slot);
    tern_graph_measure(graph, &graph->candidate, slots, nearer, distances);
    for (unsigned i = 0; i < nearer; i++)
        if (distances[i] < candidate->distance)
            return false;
    return true;
}

/* Whether the first may be given a link to the second: both may be linked to, and it has none. */
static bool lacks_link(struct tern_graph *graph, uint32_t from, uint32_t to, unsigned level)
{
    return from != to && is_live(graph, from) && is_live(graph, to) &&
           tern_graph_level(graph, from) >= level && tern_graph_level(graph, to) >= level &&
           !tern_graph_list_has(tern_graph_list(graph, from, level),
                                tern_graph_list_length(graph, level), to);
}

void tern_graph_replace_link(struct tern_graph *graph, uint32_t owner, uint32_t tombstone,
                             unsigned level, const uint32_t *near, unsigned near_count)
{
    _Atomic uint32_t *list = tern_graph_list(graph, owner, level);
    unsigned length = tern_graph_list_length(graph, level), count, kept = 0, usable = 0, added = 0;
    uint32_t links[TERN_BATCH_MAX], slots[NEIGHBOURS_MAX];
    struct tern_candidate present[TERN_BATCH_MAX], fresh[NEIGHBOURS_MAX];

    count = tern_graph_list_read(list, length, links);
    for (unsigned i = 0; i < count; i++)
        if (links[i] != tombstone)
            links[kept++] = links[i];
    for (unsigned i = 0; i < near_count && usable < NEIGHBOURS_MAX; i++)
        if (lacks_link(graph, owner, near[i], level))
            slots[usable++] = near[i];
    if (usable == 0) {
        tern_graph_list_remove(list, length, tombstone);
        return;
    }
    tern_graph_probe_slot(graph, &graph->center, owner);
    sort_by_distance(graph, links, kept, present);
    sort_by_distance(graph, slots, usable, fresh);
    for (unsigned i = 0; i < usable && i < REPLACE_TRIES && added < REPLACE_MAX; i++) {
        unsigned at = kept;

        if (!is_diverse(graph, &fresh[i], present, kept))
            continue;
        if (added == 0)
            tern_graph_list_replace(list, length, tombstone, fresh[i].slot);
        else if (!tern_graph_list_add(list, length, fresh[i].slot))
            break;
        added++;
        for (; at > 0 && fresh[i].distance < present[at - 1].distance; at--)
            present[at] = present[at - 1];
        present[at] = fresh[i];
        kept++;
    }
    if (added == 0)
        tern_graph_list_remove(list, length, tombstone);
}

/* One of near[0..count) leads to `target`, which has lost the link of a tombstone. */
static void adopt(struct tern_graph *graph, uint32_t target, unsigned level, const uint32_t *near,
                  unsigned count)
{
    uint32_t slots[NEIGHBOURS_MAX];
    struct tern_candidate sorted[NEIGHBOURS_MAX];
    unsigned usable = 0;

    for (unsigned i = 0; i < count; i++)
        if (lacks_link(graph, near[i], target, level))
            slots[usable++] = near[i];
    if (usable == 0)
        return;
    tern_graph_probe_slot(graph, &graph->center, target);
    sort_by_distance(graph, slots, usable, sorted);
    for (unsigned i = 0; i < usable && i < ADOPTERS_MAX; i++)
        if (tern_graph_connect(graph, sorted[i].slot, target, level, false))
            return;
}

/* Closes one level: `around` are those found by a search. */
static void repair_level(struct tern_graph *graph, uint32_t slot, unsigned level,
                         const struct tern_candidate *around, unsigned found)
{
    uint32_t near[NEIGHBOURS_MAX], links[TERN_BATCH_MAX];
    unsigned length = tern_graph_list_length(graph, level), count, near_count = 0;

    count = tern_graph_list_read(tern_graph_list(graph, slot, level), length, links);
    for (unsigned i = 0; i < count; i++)
        near_count = add_distinct(near, near_count, links[i]);
    for (unsigned i = 0; i < found && i < graph->header->m; i++)
        near_count = add_distinct(near, near_count, around[i].slot);
    for (unsigned i = 0; i < count; i++)
        if (tern_graph_level(graph, links[i]) >= level &&
            tern_graph_list_has(tern_graph_list(graph, links[i], level), length, slot))
            tern_graph_replace_link(graph, links[i], slot, level, near, near_count);
    for (unsigned i = 0; i < found; i++)
        if (tern_graph_list_has(tern_graph_list(graph, around[i].slot, level), length, slot))
            tern_graph_replace_link(graph, around[i].slot, slot, level, near, near_count);
    for (unsigned i = 0; i < count; i++)
        adopt(graph, links[i], level, near, near_count);
}

void tern_graph_repair(struct tern_graph *graph, uint32_t slot)
{
    uint32_t ef = atomic_load_explicit(&graph->header->ef_construct, memory_order_relaxed);
    struct tern_candidate *around = graph->candidates;
    uint32_t near[NEIGHBOURS_MAX];
    unsigned found, near_count = 0;

    give_up_entry(graph, slot);
    tern_graph_give_up_root(graph, slot);
    found = tern_graph_find_candidates(graph, slot, 0, tern_graph_clamp_ef(graph, ef), around);
    for (unsigned i = 0; i < found && i < graph->header->m; i++)
        near_count = add_distinct(near, near_count, around[i].slot);
    move_children(graph, slot, near, near_count);
    tern_graph_store_anchor(graph, slot, TERN_SLOT_NONE);
    repair_level(graph, slot, 0, around, found);
    for (unsigned level = tern_graph_level(graph, slot); level > 0; level--) {
        found = tern_graph_find_candidates(graph, slot, level, 2 * graph->header->m, around);
        repair_level(graph, slot, level, around, found);
    }
}
