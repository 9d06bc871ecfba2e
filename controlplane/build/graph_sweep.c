/* From a repaired tombstone to a slot that is used again.
 *
 *     repaired ──▶ sweep over all lists ──▶ DETACHED ──▶ grace ──▶ FREE
 *
 * A repair does not find every link to its tombstone. One pass over all lists takes the rest away,
 * for all tombstones that were repaired when it began; nobody links to a repaired one again, so
 * what the pass has behind it stays clean. Then no link leads there, and when every reader that may
 * have followed an earlier one has left, the slot is free. All of it is cut into steps of about as
 * long as the distances of one search. A sweep that a crash interrupts begins anew. */
#include "controlplane/build/graph_private.h"

#include "shared/clock.h"

#define SWEEP_SLOTS      64u      /* slots of one step */
#define SWEEP_SHARE      64u      /* a sweep begins for a 64th of the slots, */
#define SWEEP_WAIT       1000000u /* µs: or that long after the last one, */
#define SPARE_LEFT       2u       /* or when less than half of the spare slots are left */
#define TOMBSTONES_SHARE 16u      /* unrepaired ones for so many live vectors, */
#define TOMBSTONES_MIN   64u      /* and that many more, are too many */
#define FREE_STEP        1024u    /* slots given back in one step */
#define GRACE_WAIT       50u      /* µs between looks at a grace that a put waits for */
#define GRACE_LOOKS      400u

static bool is_in_batch(const struct tern_graph_mending *mending, uint32_t slot)
{
    return (mending->batch[slot / 64] >> slot % 64 & 1) != 0;
}

static void mark_batch(struct tern_graph_mending *mending, bool in)
{
    for (uint32_t i = 0; i < mending->sweeping.count; i++) {
        uint32_t slot = mending->sweeping.slots[i];
        uint64_t bit = 1ull << slot % 64;

        mending->batch[slot / 64] =
            in ? mending->batch[slot / 64] | bit : mending->batch[slot / 64] & ~bit;
    }
}

static void swap_stacks(struct tern_graph_slots *a, struct tern_graph_slots *b)
{
    struct tern_graph_slots kept = *a;

    *a = *b;
    *b = kept;
}

/* Slots that a put may still take. */
static uint32_t slots_left(const struct tern_graph *graph)
{
    return graph->free_slots.count + graph->header->capacity - tern_graph_slot_count(graph);
}

static bool is_short_of_slots(const struct tern_graph *graph)
{
    uint32_t spare = graph->header->capacity - graph->header->vector_capacity;

    return slots_left(graph) < spare / SPARE_LEFT;
}

bool tern_graph_is_behind(const struct tern_graph *graph)
{
    uint32_t live = atomic_load_explicit(&graph->header->live_count, memory_order_relaxed);

    return graph->mending.tombstones.count > live / TOMBSTONES_SHARE + TOMBSTONES_MIN ||
           is_short_of_slots(graph);
}

static void sweep_list(struct tern_graph *graph, uint32_t owner, unsigned level)
{
    _Atomic uint32_t *list = tern_graph_list(graph, owner, level);
    unsigned length = tern_graph_list_length(graph, level), count;
    uint32_t links[TERN_BATCH_MAX], near[TERN_BATCH_MAX];

    /* Of a copy: what is replaced changes the list. */
    count = tern_graph_list_read(list, length, links);
    for (unsigned i = 0; i < count; i++) {
        if (is_in_batch(&graph->mending, links[i]))
            tern_graph_replace_link(
                graph, owner, links[i], level, near,
                tern_graph_list_read(tern_graph_list(graph, links[i], level), length, near));
    }
}

static void finish_sweep(struct tern_graph *graph)
{
    struct tern_graph_mending *mending = &graph->mending;

    mark_batch(mending, false);
    for (uint32_t i = 0; i < mending->sweeping.count; i++)
        tern_graph_detach(graph, mending->sweeping.slots[i]);
    mending->sweeping.count = 0;
    mending->swept_us = tern_clock_now_us();
}

static void sweep(struct tern_graph *graph, uint32_t slots)
{
    struct tern_graph_mending *mending = &graph->mending;
    uint32_t count = tern_graph_slot_count(graph);

    for (; slots > 0 && mending->cursor < count; slots--, mending->cursor++) {
        if (tern_graph_state(graph, mending->cursor) == TERN_SLOT_FREE)
            continue; /* its lists are cleared when it is taken */
        for (unsigned level = 0; level <= tern_graph_level(graph, mending->cursor); level++)
            sweep_list(graph, mending->cursor, level);
    }
    if (mending->cursor >= count)
        finish_sweep(graph);
}

static bool is_sweep_worth_it(const struct tern_graph *graph)
{
    return (uint64_t)graph->mending.repaired.count * SWEEP_SHARE >= tern_graph_slot_count(graph);
}

/* Few sweeps: each reads all lists. */
static bool is_sweep_due(const struct tern_graph *graph)
{
    const struct tern_graph_mending *mending = &graph->mending;

    return mending->repaired.count > 0 &&
           (mending->hurry || is_short_of_slots(graph) || is_sweep_worth_it(graph) ||
            tern_clock_now_us() - mending->swept_us >= SWEEP_WAIT);
}

static bool sweep_step(struct tern_graph *graph)
{
    struct tern_graph_mending *mending = &graph->mending;

    if (mending->sweeping.count == 0) {
        if (!is_sweep_due(graph))
            return false;
        swap_stacks(&mending->sweeping, &mending->repaired);
        mark_batch(mending, true);
        mending->cursor = 0;
    }
    sweep(graph, SWEEP_SLOTS);
    return true;
}

void tern_graph_detach(struct tern_graph *graph, uint32_t slot)
{
    tern_graph_set_state(graph, slot, TERN_SLOT_DETACHED);
    /* Without memory for the stack it stays detached until the next open. */
    (void)tern_graph_stack_push(&graph->mending.detached, slot);
}

static void give_back(struct tern_graph *graph, uint32_t slot)
{
    uint32_t word = atomic_load_explicit(&graph->meta[slot].state, memory_order_relaxed);

    /* Nobody is there: release only keeps it behind what was written before. */
    atomic_store_explicit(&graph->meta[slot].state,
                          (word & 0xffffff00u) + (1u << 16) + TERN_SLOT_FREE, memory_order_release);
    tern_graph_count(&graph->header->deleted_count, -1);
    (void)tern_graph_stack_push(&graph->free_slots, slot);
}

bool tern_graph_grace_step(struct tern_graph *graph)
{
    struct tern_graph_mending *mending = &graph->mending;
    const struct tern_graph_host *host = &graph->host;

    if (mending->leaving.count > 0) {
        if (!mending->is_over)
            mending->is_over = host->grace_over(host->context, mending->grace);
        if (!mending->is_over)
            return false;
        for (uint32_t i = 0; i < FREE_STEP && mending->leaving.count > 0; i++)
            give_back(graph, mending->leaving.slots[--mending->leaving.count]);
        return true;
    }
    if (mending->detached.count == 0)
        return false;
    swap_stacks(&mending->leaving, &mending->detached);
    mending->is_over = false;
    mending->grace = host->grace_begin(host->context);
    return true;
}

static bool repair_step(struct tern_graph *graph)
{
    struct tern_graph_mending *mending = &graph->mending;
    uint32_t slot;

    if (mending->tombstones.count == 0)
        return false;
    slot = mending->tombstones.slots[--mending->tombstones.count];
    tern_graph_repair(graph, slot);
    (void)tern_graph_stack_push(&mending->repaired, slot);
    return true;
}

/* While slots are short, a few that come back soon are worth more than many later: a writer that is
 * killed again and again before it has repaired everything would never give one back. */
static bool is_sweep_first(const struct tern_graph *graph)
{
    return is_short_of_slots(graph) &&
           (graph->mending.sweeping.count > 0 || is_sweep_worth_it(graph));
}

bool tern_graph_mend_step(struct tern_graph *graph)
{
    return (is_sweep_first(graph) && sweep_step(graph)) || repair_step(graph) || sweep_step(graph);
}

/* A put does its share of the repair once that is behind: tombstones take places among what an
 * insertion finds, and slots from those that come. */
void tern_graph_keep_up(struct tern_graph *graph)
{
    if (!tern_graph_is_behind(graph))
        return;
    while (tern_graph_grace_step(graph))
        continue;
    if (is_sweep_first(graph) || !repair_step(graph)) {
        uint32_t steps = tern_graph_slot_count(graph) / SWEEP_SLOTS / (slots_left(graph) / 2 + 1);

        while (sweep_step(graph) && steps-- > 0)
            continue;
    }
}

void tern_graph_free_slots(struct tern_graph *graph)
{
    struct tern_graph_mending *mending = &graph->mending;

    for (unsigned looks = 0; graph->free_slots.count == 0 && looks < GRACE_LOOKS;) {
        const struct timespec pause = {.tv_nsec = GRACE_WAIT * 1000};

        if (tern_graph_grace_step(graph) || tern_graph_mend_step(graph))
            continue;
        if (mending->leaving.count == 0)
            return; /* there is nothing to wait for */
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        looks++;
    }
}
