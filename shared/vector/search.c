#include "shared/vector/search.h"

#include "shared/vector/search_private.h"

#define RERANK_MIN 20u
#define LOOKS_MAX  64u /* again at what was put meanwhile */
#define STARTS_MAX 4u

static void prepare(struct tern_search_state *search)
{
    const struct tern_collection *collection = search->collection;
    struct tern_search_scratch *scratch = search->scratch;
    bool quantized = collection->quantize != TERN_QUANTIZE_NONE;

    tern_vector_prepare(collection, search->asked->query, scratch->values);
    if (quantized)
        tern_vector_encode(collection, scratch->values, scratch->line);
    tern_probe_of_code(collection, quantized ? scratch->line : NULL, scratch->values, scratch->code,
                       scratch->magnitude, &search->probe);
    search->walk = (struct tern_walk){.collection = collection,
                                      .space = tern_space_of_graph(collection),
                                      .probe = &search->probe,
                                      .seen = &scratch->seen};
    search->rerank = 2 * search->asked->k;
    if (search->rerank < RERANK_MIN)
        search->rerank = RERANK_MIN;
    search->fresh = (struct tern_pool){.items = scratch->fresh, .limit = search->rerank};
    search->places_mask = 1;
    while (search->places_mask < 2 * search->rerank)
        search->places_mask = 2 * search->places_mask + 1;
}

/* Positions from `first` to the tail's end into `fresh`. False when the writer has come around and
 * overwritten some: the search starts again. */
static bool scan_tail(struct tern_search_state *search, uint32_t first, uint32_t end)
{
    const struct tern_collection_header *header = search->collection->header;
    uint32_t slots[TERN_SEARCH_BATCH];
    unsigned count = 0;

    if (end - first > TERN_TAIL_MAX)
        return false;
    for (; first != end; first++) {
        slots[count] =
            atomic_load_explicit(&header->tail_slots[first % TERN_TAIL_MAX], memory_order_acquire);
        if (slots[count] < search->walk.slot_count) {
            enum tern_slot_state state = tern_search_slot_state(search->collection, slots[count]);

            count += state == TERN_SLOT_LIVE;
            search->has_skipped = search->has_skipped || state == TERN_SLOT_REPLACED;
        }
        if (count == TERN_SEARCH_BATCH) {
            tern_search_measure(search, &search->fresh, slots, count);
            count = 0;
        }
    }
    tern_search_measure(search, &search->fresh, slots, count);
    return true;
}

/* Puts a live candidate among the ranked ones, unless its id is there: while an upsert is under way
 * both values of an id are live for a moment, and the newer one is meant. `places` is open
 * addressing over ids, at most half full: 1 + index into ranked. */
static uint32_t add_ranked(const struct tern_search_state *search, uint32_t count,
                           struct tern_candidate candidate)
{
    const struct tern_vector_meta *meta = search->collection->meta;
    struct tern_candidate *ranked = search->scratch->ranked;
    uint16_t *places = search->scratch->places;
    uint64_t id = meta[candidate.slot].id;
    uint32_t at = (uint32_t)((id * 0x9e3779b97f4a7c15ull) >> 32) & search->places_mask;

    for (; places[at] != 0; at = (at + 1) & search->places_mask) {
        struct tern_candidate *other = &ranked[places[at] - 1];

        if (meta[other->slot].id == id) {
            if (meta[other->slot].seq < meta[candidate.slot].seq)
                *other = candidate;
            return count;
        }
    }
    ranked[count] = candidate;
    places[at] = (uint16_t)(count + 1);
    return count + 1;
}

/* The best live candidates of both pools, at most `rerank`, into scratch->ranked. */
static uint32_t collect_live(const struct tern_search_state *search, bool *replaced)
{
    const struct tern_pool *graph = &search->pool, *fresh = &search->fresh;
    uint32_t of_graph = 0, of_fresh = 0, count = 0;

    *replaced = false;
    memset(search->scratch->places, 0, (search->places_mask + 1) * sizeof *search->scratch->places);
    while (count < search->rerank && (of_graph < graph->count || of_fresh < fresh->count)) {
        struct tern_candidate candidate;
        enum tern_slot_state state;

        if (of_graph == graph->count ||
            (of_fresh < fresh->count &&
             fresh->items[of_fresh].distance < graph->items[of_graph].distance))
            candidate = fresh->items[of_fresh++];
        else
            candidate = graph->items[of_graph++];
        candidate.slot &= ~TERN_CANDIDATE_DONE;
        state = tern_search_slot_state(search->collection, candidate.slot);
        if (state == TERN_SLOT_LIVE)
            count = add_ranked(search, count, candidate);
        else
            *replaced = *replaced || state != TERN_SLOT_DELETED;
    }
    return count;
}

/* Distances of the ranked candidates from their f32 vectors. */
static void measure_exactly(const struct tern_search_state *search, uint32_t count)
{
    struct tern_candidate *ranked = search->scratch->ranked;

    for (uint32_t i = 0; i < count; i += TERN_SEARCH_BATCH) {
        uint32_t slots[TERN_SEARCH_BATCH],
            taken = count - i < TERN_SEARCH_BATCH ? count - i : TERN_SEARCH_BATCH;
        float distances[TERN_SEARCH_BATCH];

        for (uint32_t j = 0; j < taken; j++)
            slots[j] = ranked[i + j].slot;
        search->scratch->kernel->measure(search->collection,
                                         tern_space_of_vectors(search->collection), &search->probe,
                                         slots, taken, distances);
        for (uint32_t j = 0; j < taken; j++)
            ranked[i + j].distance = distances[j];
    }
}

static bool is_before(const struct tern_vector_meta *meta, const struct tern_candidate *a,
                      const struct tern_candidate *b)
{
    return a->distance < b->distance ||
           (a->distance == b->distance && meta[a->slot].id < meta[b->slot].id);
}

/* Shell sort: no memory, and nearly sorted is what it gets. */
static void sort_ranked(const struct tern_search_state *search, uint32_t count)
{
    static const uint32_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    const struct tern_vector_meta *meta = search->collection->meta;
    struct tern_candidate *ranked = search->scratch->ranked;

    for (size_t g = 0; g < TERN_COUNT(gaps); g++) {
        for (uint32_t i = gaps[g]; i < count; i++) {
            struct tern_candidate moved = ranked[i];
            uint32_t at = i;

            for (; at >= gaps[g] && is_before(meta, &moved, &ranked[at - gaps[g]]); at -= gaps[g])
                ranked[at] = ranked[at - gaps[g]];
            ranked[at] = moved;
        }
    }
}

static unsigned give_hits(const struct tern_search_state *search, uint32_t count,
                          struct tern_search_hit *hits)
{
    const struct tern_candidate *ranked = search->scratch->ranked;
    uint32_t given = count < search->asked->k ? count : search->asked->k;

    for (uint32_t i = 0; i < given; i++)
        hits[i] = (struct tern_search_hit){
            .id = search->collection->meta[ranked[i].slot].id,
            .score = tern_vector_score(search->collection, ranked[i].distance),
            .slot = ranked[i].slot};
    return given;
}

/* Never past the arrays, whatever the header says: it changes while it is read, so what is checked
 * is what is used. */
static uint32_t slots_in_use(const struct tern_collection *collection)
{
    uint32_t count = atomic_load_explicit(&collection->header->slot_count, memory_order_acquire);

    return count < collection->capacity ? count : collection->capacity;
}

/* Fills the pools. False: the writer has overtaken this search, which starts again. */
static bool fill_pools(struct tern_search_state *search, bool scan, uint32_t ef)
{
    const struct tern_collection_header *header = search->collection->header;
    uint64_t tail, entry;

    /* Acquire, and in this order. The tail first: what leaves it afterwards is linked and was
     * scanned, what left it before is linked for this search. The slots' count last: it covers the
     * other two. Pairs with the writer's releases in the opposite order. */
    tail = atomic_load_explicit(&header->tail, memory_order_acquire);
    entry = atomic_load_explicit(&header->entry, memory_order_acquire);
    search->walk.slot_count = slots_in_use(search->collection);
    search->tail_end = (uint32_t)(tail >> 32);
    search->fresh.count = 0;
    search->is_complete = scan;
    if (scan) {
        tern_search_scan(search);
        return true;
    }
    if (!scan_tail(search, (uint32_t)tail, search->tail_end))
        return false;
    if (search->asked->filter == NULL)
        tern_search_walk(search, entry, ef);
    else
        tern_search_walk_filtered(search, entry, ef);
    return true;
}

/* What was replaced while this search ran has its new value among the puts since: those are looked
 * at, and what stands then is looked at again, until nothing was put or nobody was replaced.
 * Returns how many are ranked, or −1: overtaken. */
static int64_t rank(struct tern_search_state *search)
{
    const struct tern_collection_header *header = search->collection->header;
    bool replaced;
    uint32_t count = collect_live(search, &replaced);

    for (unsigned look = 0; look == 0 || (replaced && look < LOOKS_MAX); look++) {
        uint32_t end = (uint32_t)(atomic_load_explicit(&header->tail, memory_order_acquire) >> 32);
        uint32_t first = search->tail_end;

        if (end == first)
            break;
        search->walk.slot_count = slots_in_use(search->collection);
        search->tail_end = end;
        search->has_skipped = false;
        /* Once more: what was read counts only if the writer did not come around meanwhile. */
        if (!scan_tail(search, first, end) ||
            (uint32_t)(atomic_load_explicit(&header->tail, memory_order_acquire) >> 32) - first >
                TERN_TAIL_MAX)
            return -1;
        count = collect_live(search, &replaced);
        /* Replaced before it was looked at: the same. */
        replaced = replaced || search->has_skipped;
    }
    return count;
}

unsigned tern_search_run(const struct tern_collection *collection,
                         struct tern_search_scratch *scratch, const struct tern_search *asked,
                         struct tern_search_hit *hits)
{
    const struct tern_collection_header *header = collection->header;
    struct tern_search_state search = {
        .collection = collection, .scratch = scratch, .asked = asked};
    uint32_t live = atomic_load_explicit(&header->live_count, memory_order_relaxed);
    bool scan_exactly =
        asked->exact || live <= atomic_load_explicit(&header->full_scan, memory_order_relaxed);
    uint32_t ef =
        asked->ef != 0 ? asked->ef : atomic_load_explicit(&header->ef_search, memory_order_relaxed);
    int64_t count = 0;
    unsigned overtaken = 0;

    prepare(&search);
    if (scan_exactly)
        search.walk.space = tern_space_of_vectors(collection);
    if (ef < asked->k)
        ef = asked->k;
    if (ef > TERN_SEARCH_EF_MAX)
        ef = TERN_SEARCH_EF_MAX;
    for (;;) {
        bool filled = fill_pools(&search, scan_exactly, ef);

        count = filled ? rank(&search) : -1;
        /* The writer has put TERN_TAIL_MAX vectors meanwhile: again, but not for ever. What can be
         * missed then is an id whose vector was replaced while this search ran. */
        if (count < 0 && overtaken++ < STARTS_MAX)
            continue;
        if (count < 0)
            count = collect_live(&search, &(bool){false});
        /* Tombstones fill a pool like live ones: look farther where they left too few. */
        if (count >= asked->k || search.is_complete || ef == TERN_SEARCH_EF_MAX)
            break;
        ef = ef <= TERN_SEARCH_EF_MAX / 2 ? 2 * ef : TERN_SEARCH_EF_MAX;
    }
    measure_exactly(&search, (uint32_t)count);
    sort_ranked(&search, (uint32_t)count);
    return give_hits(&search, (uint32_t)count, hits);
}

int tern_search_check(const struct tern_collection *collection, const struct tern_search *search,
                      struct tern_error *error)
{
    if (search->k == 0 || search->k > TERN_SEARCH_K_MAX)
        return tern_error_set(error, TERN_EINVAL, "k is %u; it may be 1 to %u", search->k,
                              TERN_SEARCH_K_MAX);
    if (search->ef > TERN_SEARCH_EF_MAX)
        return tern_error_set(error, TERN_EINVAL, "ef is %u; it may be at most %u", search->ef,
                              TERN_SEARCH_EF_MAX);
    return tern_vector_check(search->query, collection->dim, error);
}

uint64_t tern_search_estimate(const struct tern_collection *collection,
                              const struct tern_search *search)
{
    const struct tern_collection_header *header = collection->header;
    uint64_t slots = atomic_load_explicit(&header->slot_count, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
    uint64_t ef = search->ef != 0 ? search->ef
                                  : atomic_load_explicit(&header->ef_search, memory_order_relaxed);

    if (search->exact || search->filter != NULL ||
        atomic_load_explicit(&header->live_count, memory_order_relaxed) <=
            atomic_load_explicit(&header->full_scan, memory_order_relaxed))
        return slots;
    if (ef < search->k)
        ef = search->k;
    /* About m new neighbours for each candidate that is expanded, and those of the way down. */
    return tern_min_u64(slots, (ef + 8) * collection->m) +
           (uint32_t)((uint32_t)(tail >> 32) - (uint32_t)tail) + 2 * search->k;
}

/* A scan reads its lines one after the other; a walk waits for most of its own, and for the lists
 * that name them. With a filter every slot's payload is looked at, and few of their vectors.
 * perf/filters measures all three. */
uint64_t tern_search_cost_ns(const struct tern_collection *collection,
                             const struct tern_search *search)
{
    uint64_t distances = tern_search_estimate(collection, search);
    bool scans =
        distances >= atomic_load_explicit(&collection->header->slot_count, memory_order_relaxed);
    unsigned dim = collection->dim;

    if (search->filter != NULL && !search->exact)
        return distances * (4 + dim / 64);
    if (scans)
        return distances * (4 + dim / 8);
    return distances * (25 + (collection->quantize == TERN_QUANTIZE_INT8 ? dim / 8 : dim / 3));
}
