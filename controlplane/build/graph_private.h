/* What the files of the graph share. Only they include it.
 *
 *     graph.c          shape → object; parameters, look-ups
 *     graph_open.c     an object taken over
 *     graph_slots.c    slots and their pages
 *     graph_payload.c  payload columns, the dictionary
 *     graph_put.c      a vector into a slot and the tail
 *     graph_insert.c   a slot of the tail into the graph
 *     graph_select.c   which neighbours a node keeps
 *     graph_lists.c    lists changed in place
 *     graph_remove.c   a vector out of the results
 *     graph_repair.c   the graph closed around it
 *     graph_sweep.c    the last links to it taken away; its slot given back
 *     graph_recover.c  what an object taken over still needs
 *     graph_census.c   what can be reached
 *     graph_work.c     the order of what waits
 *
 * The anchors form a tree over all linked slots: a node's anchor has it in its lowest list, and
 * the node has its anchor in its own. Neither link is ever evicted, so from every node every other
 * is reached, whatever else is pruned. A node gets its anchor while it has no children; whoever
 * changes one later asks tern_graph_is_below first, or the tree closes to a ring. */
#ifndef TERN_GRAPH_PRIVATE_H
#define TERN_GRAPH_PRIVATE_H

#include "controlplane/build/graph.h"
#include "controlplane/build/key_map.h"
#include "shared/vector/scratch.h"

/* What a crash would leave half done, in the header's `intent`: code | slot << 8. The operation
 * stores the intent (release) before its first change and 0 after its last.
 *
 * A link is completed by linking again, which changes nothing that is right already. Nothing else
 * needs an intent: a slot's state, its anchor and whether the tail has it say how far a put, a
 * removal, a repair and a sweep have come (graph_recover.c). */
enum tern_graph_intent {
    TERN_GRAPH_INTENT_NONE = 0,
    TERN_GRAPH_INTENT_LINK = 1,
};

/* One array of the object, and how much of it has pages. */
struct tern_graph_array {
    uint64_t offset, allocated, limit; /* bytes */
    uint32_t stride;                   /* 0: there is none */
};

enum {
    TERN_GRAPH_LINKS,
    TERN_GRAPH_UPPER,
    TERN_GRAPH_CODE,
    TERN_GRAPH_VECTOR,
    TERN_GRAPH_META,
    TERN_GRAPH_PRESENT,
    TERN_GRAPH_DICTIONARY,
    TERN_GRAPH_DICTIONARY_BYTES,
    TERN_GRAPH_COLUMNS, /* the first of TERN_PAYLOAD_COLUMNS_MAX */
    TERN_GRAPH_ARRAYS = TERN_GRAPH_COLUMNS + TERN_PAYLOAD_COLUMNS_MAX,
};

/* A probe with its memory. */
struct tern_graph_probe {
    struct tern_probe probe;
    int8_t *code;
    uint8_t *magnitude;
};

struct tern_graph_slots { /* a stack */
    uint32_t *slots;
    uint32_t count, limit;
};

/* Slots on their way from a vector to the next one (graph_sweep.c). */
struct tern_graph_mending {
    struct tern_graph_slots tombstones; /* to be repaired */
    struct tern_graph_slots repaired;   /* for the next sweep */
    struct tern_graph_slots sweeping;   /* of the one under way */
    struct tern_graph_slots detached;   /* for the next grace */
    struct tern_graph_slots leaving;    /* free when `grace` is over */
    struct tern_graph_slots strays;     /* found by a census: to be linked again */
    uint64_t *batch;                    /* a bit a slot: is in `sweeping` */
    uint64_t grace;
    uint64_t swept_us; /* when the last sweep ended */
    uint32_t cursor;   /* of the sweep */
    uint32_t checked;  /* since the open: slots before it are anchored */
    uint32_t root;     /* which that check has met */
    bool is_over;      /* `grace` */
    bool is_checked, hurry, turn;
};

struct tern_graph {
    struct tern_collection collection;
    struct tern_collection_header *header;
    uint8_t *base;
    struct tern_vector_meta *meta;
    struct tern_graph_host host;
    struct tern_graph_array arrays[TERN_GRAPH_ARRAYS];
    struct tern_key_map keys;
    struct tern_graph_slots free_slots; /* may be taken */
    struct tern_graph_mending mending;
    uint64_t dictionary_end; /* bytes of strings in use */
    struct tern_search_scratch *scratch;
    const struct tern_kernel *kernel;
    enum tern_space space;
    struct tern_graph_probe query, center, candidate;
    struct tern_candidate *candidates; /* 2 × TERN_GRAPH_CANDIDATES_MAX: of one insertion */
};

#define TERN_GRAPH_CANDIDATES_MAX TERN_SEARCH_EF_MAX

static inline enum tern_slot_state tern_graph_state(const struct tern_graph *graph, uint32_t slot)
{
    /* Relaxed: only this thread writes it. */
    return (enum tern_slot_state)(
        atomic_load_explicit(&graph->meta[slot].state, memory_order_relaxed) & 0xff);
}

/* Linked, and not given up by a repair: it hangs in the tree of anchors. */
static inline bool tern_graph_is_in_tree(const struct tern_graph *graph, uint32_t slot)
{
    enum tern_slot_state state = tern_graph_state(graph, slot);

    return graph->meta[slot].anchor != TERN_SLOT_NONE &&
           (state == TERN_SLOT_LIVE || state == TERN_SLOT_DELETED || state == TERN_SLOT_REPLACED);
}

static inline unsigned tern_graph_level(const struct tern_graph *graph, uint32_t slot)
{
    return atomic_load_explicit(&graph->meta[slot].state, memory_order_relaxed) >> 8 & 0xff;
}

/* Stores a slot's state, its level and use count kept. Release pairs with the acquire of readers:
 * whatever was written before is seen with it. */
static inline void tern_graph_set_state(struct tern_graph *graph, uint32_t slot,
                                        enum tern_slot_state state)
{
    uint32_t word = atomic_load_explicit(&graph->meta[slot].state, memory_order_relaxed);

    atomic_store_explicit(&graph->meta[slot].state, (word & ~0xffu) | (uint32_t)state,
                          memory_order_release);
}

static inline void tern_graph_set_intent(struct tern_graph *graph, enum tern_graph_intent code,
                                         uint32_t slot)
{
    /* Release: after a crash, what was stored before it is complete. */
    atomic_store_explicit(&graph->header->intent, (uint64_t)code | (uint64_t)slot << 8,
                          memory_order_release);
}

/* Stores a slot's anchor after everything before it: only the compiler could swap them, and only a
 * kill between the two would show it. */
static inline void tern_graph_store_anchor(struct tern_graph *graph, uint32_t slot, uint32_t anchor)
{
    atomic_signal_fence(memory_order_seq_cst);
    graph->meta[slot].anchor = anchor;
    atomic_signal_fence(memory_order_seq_cst);
}

static inline uint32_t tern_graph_slot_count(const struct tern_graph *graph)
{
    return atomic_load_explicit(&graph->header->slot_count, memory_order_relaxed);
}

static inline _Atomic uint32_t *tern_graph_list(struct tern_graph *graph, uint32_t slot,
                                                unsigned level)
{
    uint8_t *line =
        level == 0
            ? graph->base + graph->header->links + (uint64_t)slot * graph->header->links_stride
            : graph->base + graph->header->upper +
                  ((uint64_t)graph->meta[slot].upper + level - 1) * graph->header->upper_stride;

    return (_Atomic uint32_t *)(void *)line;
}

static inline unsigned tern_graph_list_length(const struct tern_graph *graph, unsigned level)
{
    return tern_collection_list_length(&graph->collection, level);
}

/* graph_slots.c */
int tern_graph_stack_push(struct tern_graph_slots *stack, uint32_t slot);
/* Backs at least the first `bytes` of an array with pages. */
int tern_graph_array_reserve(struct tern_graph *graph, unsigned array, uint64_t bytes,
                             struct tern_error *error);
/* A FREE slot with pages, a level and empty lists. */
int tern_graph_slot_take(struct tern_graph *graph, uint32_t *slot, struct tern_error *error);
/* Sets live_count or deleted_count off by `change`. */
void tern_graph_count(_Atomic uint32_t *counter, int change);

/* graph_payload.c */
int tern_graph_payload_check(const struct tern_graph *graph, const struct tern_graph_value *payload,
                             struct tern_error *error);
/* Interns the strings of a payload: their indexes into `strings`. */
int tern_graph_payload_intern(struct tern_graph *graph, const struct tern_graph_value *payload,
                              uint32_t strings[TERN_PAYLOAD_COLUMNS_MAX], struct tern_error *error);
void tern_graph_payload_write(struct tern_graph *graph, uint32_t slot,
                              const struct tern_graph_value *payload,
                              const uint32_t strings[TERN_PAYLOAD_COLUMNS_MAX]);
/* Finds the dictionary's end, completes its index; 0 or TERN_ECORRUPT. */
int tern_graph_payload_open(struct tern_graph *graph, struct tern_error *error);

/* graph_put.c: appends a LIVE slot to the tail; there is room. */
void tern_graph_tail_append(struct tern_graph *graph, uint32_t slot);
bool tern_graph_tail_has(const struct tern_graph *graph, uint32_t slot);

/* graph_insert.c: links the tail's first slot and takes it off; false when the tail is empty. */
bool tern_graph_link_first(struct tern_graph *graph);
/* Neighbours of a linked or unlinked slot as an insertion finds them: live ones (or, when there is
 * none, tombstones), ascending by distance from it, `slot` itself left out. At most `ef`. */
unsigned tern_graph_find_candidates(struct tern_graph *graph, uint32_t slot, unsigned level,
                                    uint32_t ef, struct tern_candidate *candidates);
/* Links `from` to `to` on a level, pruning `from`'s list when it is full. `forced`: `to` must be
 * kept. False when it was not linked. */
bool tern_graph_connect(struct tern_graph *graph, uint32_t from, uint32_t to, unsigned level,
                        bool forced);
/* Makes `anchor` the anchor of a slot, both links set; false when the anchor's list cannot take it.
 * The caller knows that the anchor is not below the slot. */
bool tern_graph_set_anchor(struct tern_graph *graph, uint32_t slot, uint32_t anchor);
/* Whether `slot` lies in the tree below `above`, or is it. */
bool tern_graph_is_below(const struct tern_graph *graph, uint32_t slot, uint32_t above);
/* A link that stays whatever a list's owner prefers: to its anchor, or to one it is the anchor of.
 */
bool tern_graph_is_protected(const struct tern_graph *graph, uint32_t owner, uint32_t target);

void tern_graph_set_entry(struct tern_graph *graph, uint32_t slot, unsigned level);
/* How far an insertion looks: ef_construct within its bounds. */
uint32_t tern_graph_clamp_ef(const struct tern_graph *graph, uint32_t ef);

/* graph_remove.c: makes a live slot a tombstone: DELETED or REPLACED. */
void tern_graph_bury(struct tern_graph *graph, uint32_t slot, enum tern_slot_state state);

/* graph_repair.c */
void tern_graph_repair(struct tern_graph *graph, uint32_t slot);
/* A tombstone that is the root hands over to a child, if it has one. */
void tern_graph_give_up_root(struct tern_graph *graph, uint32_t slot);
/* Gives a slot another anchor than `leaving`: one of its neighbours or of near[0..count), the
 * nearest that can take it. False when none can. */
bool tern_graph_anchor_again(struct tern_graph *graph, uint32_t slot, uint32_t leaving,
                             const uint32_t *near, unsigned count);
/* Hangs a slot into the tree at `start`, which is not below it, or where there is room below
 * that, past `avoided`. */
bool tern_graph_anchor_anywhere(struct tern_graph *graph, uint32_t slot, uint32_t start,
                                uint32_t avoided);
/* Takes the link to a tombstone out of a list; the best of near[0..count) come in its place. */
void tern_graph_replace_link(struct tern_graph *graph, uint32_t owner, uint32_t tombstone,
                             unsigned level, const uint32_t *near, unsigned count);

/* graph_sweep.c: steps; false: there is nothing to do now. */
bool tern_graph_mend_step(struct tern_graph *graph); /* repairs or sweeps */
bool tern_graph_grace_step(struct tern_graph *graph);
/* A slot that no link leads to. */
void tern_graph_detach(struct tern_graph *graph, uint32_t slot);
/* Too many tombstones wait, or too few slots are left. */
bool tern_graph_is_behind(const struct tern_graph *graph);
/* Before a put. */
void tern_graph_keep_up(struct tern_graph *graph);
/* When no slot is left: waits a moment for readers if it must. */
void tern_graph_free_slots(struct tern_graph *graph);

/* graph_recover.c */
int tern_graph_recover(struct tern_graph *graph);
void tern_graph_mending_free(struct tern_graph_mending *mending);
bool tern_graph_check_step(struct tern_graph *graph);
/* Gives a slot an anchor that a search from the entry finds. */
void tern_graph_relink(struct tern_graph *graph, uint32_t slot);

/* graph_select.c */
void tern_graph_probe_slot(struct tern_graph *graph, struct tern_graph_probe *probe, uint32_t slot);
/* Distances of slots from the slot that a probe was made of. */
void tern_graph_measure(struct tern_graph *graph, const struct tern_graph_probe *probe,
                        const uint32_t *slots, unsigned count, float *distances);
/* Of candidates in ascending distance from `owner`, moves those that `owner` keeps to the front, at
 * most `limit`; returns how many. */
unsigned tern_graph_select(struct tern_graph *graph, uint32_t owner,
                           struct tern_candidate *candidates, unsigned count, unsigned limit);

/* graph_lists.c: lists of links, changed by single stores; a link stays where it is, so that who
 * reads the list meanwhile meets it. `targets` have no duplicates. */
unsigned tern_graph_list_read(const _Atomic uint32_t *list, unsigned length, uint32_t *targets);
bool tern_graph_list_has(const _Atomic uint32_t *list, unsigned length, uint32_t target);
/* Into the first hole; true when it is there afterwards. */
bool tern_graph_list_add(_Atomic uint32_t *list, unsigned length, uint32_t target);
/* `to`, which is not there, in the place of `from`, which is: one store. */
void tern_graph_list_replace(_Atomic uint32_t *list, unsigned length, uint32_t from, uint32_t to);
void tern_graph_list_remove(_Atomic uint32_t *list, unsigned length, uint32_t target);
/* Makes the list hold exactly `targets`: what stays is not touched. count ≤ length ≤ 2·M_MAX. */
void tern_graph_list_set(_Atomic uint32_t *list, unsigned length, const uint32_t *targets,
                         unsigned count);
/* All holes, before anybody can see it. */
void tern_graph_list_clear_unseen(_Atomic uint32_t *list, unsigned length);

#endif
