#include "shared/vector/search_private.h"

/* What a filtered search is expected to cost decides how it is done. In units of about 2 ns: a slot
 * filtered in a scan, in order; one filtered on a walk, anywhere; a distance. */
#define COST_SCANNED  1u
#define COST_FILTERED 6u
#define COST_MEASURED 8u
#define SAMPLE        512u /* slots, to learn which share passes */
#define SEEDS         32u  /* nearest vectors, passing or not, from which a filtered walk starts */
#define PASSING_MANY  0.4  /* a share from which a plain walk with a larger pool is best */

unsigned tern_search_keep_passing(const struct tern_search_state *search, uint32_t *slots,
                                  unsigned count)
{
    const struct tern_search_filter *filter = search->asked->filter;
    uint8_t matches[TERN_SEARCH_BATCH];
    unsigned kept = 0;

    if (filter == NULL || count == 0)
        return count;
    filter->match(filter->context, search->collection, slots, count, matches);
    for (unsigned i = 0; i < count; i++)
        if (matches[i] != 0)
            slots[kept++] = slots[i];
    return kept;
}

void tern_search_measure(const struct tern_search_state *search, struct tern_pool *pool,
                         uint32_t *slots, unsigned count)
{
    float distances[TERN_SEARCH_BATCH];

    count = tern_search_keep_passing(search, slots, count);
    search->scratch->kernel->measure(search->collection, search->walk.space, &search->probe, slots,
                                     count, distances);
    for (unsigned i = 0; i < count; i++)
        tern_pool_put(pool, distances[i], slots[i]);
}

void tern_search_scan(struct tern_search_state *search)
{
    uint32_t slots[TERN_SEARCH_BATCH];
    unsigned count = 0;

    search->pool = (struct tern_pool){.items = search->scratch->pool, .limit = search->rerank};
    search->is_complete = true;
    for (uint32_t slot = 0; slot < search->walk.slot_count; slot++) {
        if (tern_search_slot_state(search->collection, slot) != TERN_SLOT_LIVE)
            continue;
        slots[count++] = slot;
        if (count == TERN_SEARCH_BATCH) {
            tern_search_measure(search, &search->pool, slots, count);
            count = 0;
        }
    }
    tern_search_measure(search, &search->pool, slots, count);
}

/* Down from the entry to the lowest level, and there with a pool of `ef`; what was seen stays. */
static void walk_down(struct tern_search_state *search, uint64_t entry, uint32_t ef)
{
    const struct tern_kernel *kernel = search->scratch->kernel;
    uint32_t slot = (uint32_t)entry;
    unsigned level = entry >> 32 & 0xff;
    struct tern_candidate nearest = {.slot = slot};
    float distances[4];

    search->pool = (struct tern_pool){.items = search->scratch->pool, .limit = ef};
    if (slot >= search->walk.slot_count)
        return; /* nothing is linked yet */
    kernel->measure(search->collection, search->walk.space, &search->probe, &slot, 1, distances);
    nearest.distance = distances[0];
    for (; level > 0; level--)
        kernel->descend(&search->walk, level, &nearest);
    tern_seen_add(search->walk.seen, nearest.slot);
    tern_pool_put(&search->pool, nearest.distance, nearest.slot);
    kernel->explore(&search->walk, 0, &search->pool);
}

void tern_search_walk(struct tern_search_state *search, uint64_t entry, uint32_t ef)
{
    walk_down(search, entry, ef);
    tern_seen_clear(search->walk.seen);
    search->is_complete = search->pool.count < ef;
}

/* The share of live vectors that pass, from a sample. */
static double share_passing(const struct tern_search_state *search)
{
    uint32_t slots[TERN_SEARCH_BATCH], live = 0, passing = 0;
    uint64_t seed = search->walk.slot_count;

    for (unsigned taken = 0; taken < SAMPLE; taken += TERN_SEARCH_BATCH) {
        unsigned count = 0;

        for (unsigned i = 0; i < TERN_SEARCH_BATCH; i++) {
            uint32_t slot;

            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            slot = (uint32_t)((seed >> 32) * search->walk.slot_count >> 32);
            if (tern_search_slot_state(search->collection, slot) == TERN_SLOT_LIVE)
                slots[count++] = slot;
        }
        live += count;
        passing += tern_search_keep_passing(search, slots, count);
    }
    return live == 0 ? 0 : (double)passing / live;
}

/* A plain walk with a pool that holds as many passing ones as it otherwise holds of all. */
static void walk_and_filter(struct tern_search_state *search, uint64_t entry, uint32_t ef,
                            double share)
{
    double wanted = (double)ef / share;
    uint32_t limit = wanted < TERN_SEARCH_EF_MAX ? (uint32_t)wanted : TERN_SEARCH_EF_MAX;
    struct tern_candidate *items;
    uint32_t kept = 0;

    tern_search_walk(search, entry, limit);
    items = search->pool.items;
    for (uint32_t at = 0; at < search->pool.count; at += TERN_SEARCH_BATCH) {
        uint32_t slots[TERN_SEARCH_BATCH], count = search->pool.count - at, passing;

        if (count > TERN_SEARCH_BATCH)
            count = TERN_SEARCH_BATCH;
        for (uint32_t i = 0; i < count; i++)
            slots[i] = items[at + i].slot & ~TERN_CANDIDATE_DONE;
        passing = tern_search_keep_passing(search, slots, count);
        for (uint32_t i = 0, next = 0; i < count && next < passing; i++) {
            if ((items[at + i].slot & ~TERN_CANDIDATE_DONE) != slots[next])
                continue;
            items[kept++] = items[at + i];
            next++;
        }
    }
    search->pool.count = kept;
}

/* A walk that leads over passing vectors only, and finds them two steps away where those one step
 * away fail (ACORN-1, arXiv 2403.04871). */
struct filtered_walk {
    struct tern_search_state *search;
    struct tern_pool *pool;
    uint32_t slots[TERN_SEARCH_BATCH]; /* seen now, not filtered yet */
    unsigned count;
    uint64_t cost;
};

static unsigned flush(struct filtered_walk *walk)
{
    struct tern_search_state *search = walk->search;
    float distances[TERN_SEARCH_BATCH];
    unsigned passing = tern_search_keep_passing(search, walk->slots, walk->count);

    search->scratch->kernel->measure(search->collection, search->walk.space, &search->probe,
                                     walk->slots, passing, distances);
    for (unsigned i = 0; i < passing; i++)
        tern_pool_put(walk->pool, distances[i], walk->slots[i]);
    walk->cost += COST_FILTERED * walk->count + COST_MEASURED * passing;
    walk->count = 0;
    return passing;
}

/* The links of a slot that were not seen, flushed whenever a batch is full. Acquire pairs with the
 * writer's release: what a link leads to was written before it. */
static unsigned add_links(struct filtered_walk *walk, uint32_t slot)
{
    const struct tern_collection *collection = walk->search->collection;
    const _Atomic uint32_t *list = tern_collection_list(collection, slot, 0);
    unsigned length = tern_collection_list_length(collection, 0), passing = 0;

    for (unsigned i = 0; i < length; i++) {
        uint32_t link = atomic_load_explicit(&list[i], memory_order_acquire);

        if (link >= walk->search->walk.slot_count || !tern_seen_add(walk->search->walk.seen, link))
            continue;
        walk->slots[walk->count++] = link;
        if (walk->count == TERN_SEARCH_BATCH)
            passing += flush(walk);
    }
    return passing;
}

/* Two steps from a slot, until as many pass as a list holds. */
static void expand(struct filtered_walk *walk, uint32_t slot)
{
    const struct tern_collection *collection = walk->search->collection;
    const _Atomic uint32_t *list = tern_collection_list(collection, slot, 0);
    unsigned length = tern_collection_list_length(collection, 0);
    unsigned passing = add_links(walk, slot);

    passing += flush(walk);
    for (unsigned i = 0; i < length && passing < length; i++) {
        uint32_t link = atomic_load_explicit(&list[i], memory_order_acquire);

        if (link < walk->search->walk.slot_count)
            passing += add_links(walk, link);
    }
    flush(walk);
}

/* False when it costs more than a scan of everything, or leaves too few. */
static bool walk_passing(struct tern_search_state *search, uint64_t entry, uint32_t ef,
                         uint64_t budget)
{
    struct tern_pool pool = {.items = search->scratch->passing, .limit = ef};
    struct filtered_walk walk = {.search = search, .pool = &pool};

    walk_down(search, entry, SEEDS);
    /* The nearest of all, filtered; those that fail lead on, the nearest first, until some pass. */
    for (uint32_t i = 0; i < search->pool.count; i++)
        walk.slots[walk.count++] = search->pool.items[i].slot & ~TERN_CANDIDATE_DONE;
    flush(&walk);
    for (uint32_t i = 0; i < search->pool.count && pool.count < ef; i++)
        expand(&walk, search->pool.items[i].slot & ~TERN_CANDIDATE_DONE);
    for (pool.next = 0; pool.next < pool.count && walk.cost <= budget;) {
        struct tern_candidate *item = &pool.items[pool.next++];

        if ((item->slot & TERN_CANDIDATE_DONE) != 0)
            continue;
        item->slot |= TERN_CANDIDATE_DONE;
        expand(&walk, item->slot & ~TERN_CANDIDATE_DONE);
    }
    tern_seen_clear(search->walk.seen);
    search->pool = pool;
    search->is_complete = false;
    return walk.cost <= budget && pool.count >= ef;
}

void tern_search_walk_filtered(struct tern_search_state *search, uint64_t entry, uint32_t ef)
{
    double slots = search->walk.slot_count, share, length = 2 * search->collection->m, filtered;
    double scan, walk;

    if (search->walk.slot_count <= 2 * SAMPLE) {
        tern_search_scan(search);
        return;
    }
    share = share_passing(search);
    scan = slots * (COST_SCANNED + share * COST_MEASURED);
    if (share >= PASSING_MANY) {
        walk_and_filter(search, entry, ef, share);
        return;
    }
    /* For each that is expanded: as many are filtered as it takes for a list of passing ones. */
    filtered = share * length * length > length ? length / share : length * length;
    walk = ((double)ef + SEEDS) * (filtered * COST_FILTERED + length * COST_MEASURED);
    if (walk >= scan || !walk_passing(search, entry, ef, (uint64_t)scan))
        tern_search_scan(search);
}
