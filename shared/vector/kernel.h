/* Distances and walks, written once for every instruction set: included by kernel_scalar.c,
 * kernel_avx2.c and kernel_avx512.c, which define KERNEL_FUNCTION and these:
 *
 *     code_dots   four int8 products of a probe's code with code lines
 *     float_sum   the sum of products of a probe's values with a vector line, or of squared
 *                 differences
 *
 * Every set gives the same bits: integers are exact, sums of floats are 32 partial sums (float i
 * goes to sum i modulo 32) added in one fixed order, and no product is fused into its sum
 * (the build says -ffp-contract=off). */

/* Of the pool's best candidates so many are expanded together, and the lists of so many that come
 * next are fetched meanwhile: a search waits for memory, and this has more of it under way. */
#define WIDTH 3
#define AHEAD 4
#define LINES 4 /* scored together: enough to keep loads in flight, few enough for registers */

KERNEL_FUNCTION void prefetch_line(const uint8_t *line, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i += TERN_CACHE_LINE)
        __builtin_prefetch(line + i);
}

KERNEL_FUNCTION void measure_in(const struct tern_collection *collection, enum tern_space space,
                                const struct tern_probe *probe, const uint32_t *slots,
                                unsigned count, float *distances)
{
    bool is_code = space == TERN_SPACE_CODE_DOT || space == TERN_SPACE_CODE_L2;
    const uint8_t *base = is_code ? collection->code : collection->vector;
    uint64_t stride = is_code ? collection->code_stride : collection->vector_stride;

    for (unsigned at = 0; at < count; at += LINES) {
        const uint8_t *lines[LINES];
        int32_t dots[LINES];

        for (unsigned i = 0; i < LINES; i++)
            lines[i] = base + stride * slots[at + i < count ? at + i : count - 1];
        if (is_code) {
            code_dots(probe, lines, collection->code_stride, dots);
            for (unsigned i = 0; i < LINES; i++) {
                const struct tern_vector_code *code =
                    (const struct tern_vector_code *)(const void *)lines[i];
                float product = probe->scale * (code->scale * (float)dots[i]);

                distances[at + i] = space == TERN_SPACE_CODE_L2 ? code->squared + product : product;
            }
        } else {
            bool squares = space == TERN_SPACE_FLOAT_L2;

            for (unsigned i = 0; i < LINES; i++) {
                float sum = float_sum(probe->values, lines[i], collection->vector_stride, squares);

                distances[at + i] = squares ? sum : -sum;
            }
        }
    }
}

/* The neighbours of a list that are within bounds and not seen, with `once` from now on; their
 * lines are on their way when it returns. Links are loaded with acquire (pairs with the writer's
 * release store): what a link leads to was written before it. */
KERNEL_FUNCTION unsigned gather(const struct tern_walk *walk, enum tern_space space, uint32_t slot,
                                unsigned level, bool once, uint32_t *slots)
{
    const struct tern_collection *collection = walk->collection;
    bool is_code = space == TERN_SPACE_CODE_DOT || space == TERN_SPACE_CODE_L2;
    const uint8_t *base = is_code ? collection->code : collection->vector;
    uint32_t stride = is_code ? collection->code_stride : collection->vector_stride;
    const _Atomic uint32_t *list = tern_collection_list(collection, slot, level);
    unsigned length = tern_collection_list_length(collection, level), count = 0;

    /* What the slot says of its upper lines is not believed either. */
    if (level > 0 && (uint64_t)collection->meta[slot].upper + level > collection->upper_capacity)
        return 0;
    for (unsigned i = 0; i < length; i++) {
        uint32_t link = atomic_load_explicit(&list[i], memory_order_acquire);

        if (link >= walk->slot_count ||
            (once ? !tern_seen_add(walk->seen, link) : tern_seen_test(walk->seen, link)))
            continue; /* a hole, one newer than this search, one seen */
        slots[count++] = link;
        prefetch_line(base + (uint64_t)stride * link, stride);
    }
    return count;
}

KERNEL_FUNCTION void descend_in(const struct tern_walk *walk, enum tern_space space, unsigned level,
                                struct tern_candidate *nearest)
{
    uint32_t slots[TERN_BATCH_MAX];
    float distances[TERN_BATCH_MAX];
    uint32_t from;

    do {
        unsigned count = gather(walk, space, nearest->slot, level, false, slots);

        from = nearest->slot;
        measure_in(walk->collection, space, walk->probe, slots, count, distances);
        for (unsigned i = 0; i < count; i++)
            if (distances[i] < nearest->distance)
                *nearest = (struct tern_candidate){distances[i], slots[i]};
    } while (nearest->slot != from);
}

/* Upper lists are few and warm. */
KERNEL_FUNCTION void prefetch_list(const struct tern_collection *collection, uint32_t slot,
                                   unsigned level)
{
    if (level == 0)
        prefetch_line(collection->links +
                          (uint64_t)(slot & ~TERN_CANDIDATE_DONE) * collection->links_stride,
                      collection->links_stride);
}

KERNEL_FUNCTION void explore_in(const struct tern_walk *walk, enum tern_space space, unsigned level,
                                struct tern_pool *pool)
{
    uint32_t slots[WIDTH * TERN_BATCH_MAX], from[WIDTH];
    float distances[WIDTH * TERN_BATCH_MAX];

    for (;;) {
        unsigned taken = 0, count = 0;

        for (; pool->next < pool->count && taken < WIDTH; pool->next++) {
            struct tern_candidate *item = &pool->items[pool->next];

            if ((item->slot & TERN_CANDIDATE_DONE) == 0) {
                from[taken++] = item->slot;
                item->slot |= TERN_CANDIDATE_DONE;
            }
        }
        if (taken == 0)
            return;
        for (unsigned i = 0; i < taken; i++)
            count += gather(walk, space, from[i], level, true, slots + count);
        for (uint32_t i = pool->next; i < pool->count && i < pool->next + AHEAD; i++)
            prefetch_list(walk->collection, pool->items[i].slot, level);
        measure_in(walk->collection, space, walk->probe, slots, count, distances);
        for (unsigned i = 0; i < count; i++)
            if (tern_pool_put(pool, distances[i], slots[i]) < pool->next + AHEAD)
                prefetch_list(walk->collection, slots[i], level);
    }
}

/* The space is a constant in each call below: one loop is made for each. */
#define IN_SPACE(space, function, ...)                                                             \
    switch (space) {                                                                               \
    case TERN_SPACE_CODE_DOT:                                                                      \
        function(__VA_ARGS__(TERN_SPACE_CODE_DOT));                                                \
        break;                                                                                     \
    case TERN_SPACE_CODE_L2:                                                                       \
        function(__VA_ARGS__(TERN_SPACE_CODE_L2));                                                 \
        break;                                                                                     \
    case TERN_SPACE_FLOAT_DOT:                                                                     \
        function(__VA_ARGS__(TERN_SPACE_FLOAT_DOT));                                               \
        break;                                                                                     \
    case TERN_SPACE_FLOAT_L2:                                                                      \
        function(__VA_ARGS__(TERN_SPACE_FLOAT_L2));                                                \
        break;                                                                                     \
    }

KERNEL_TARGET static void measure(const struct tern_collection *collection, enum tern_space space,
                                  const struct tern_probe *probe, const uint32_t *slots,
                                  unsigned count, float *distances){
#define ARGUMENTS(space) collection, space, probe, slots, count, distances
    IN_SPACE(space, measure_in, ARGUMENTS)
#undef ARGUMENTS
}

KERNEL_TARGET static void descend(const struct tern_walk *walk, unsigned level,
                                  struct tern_candidate *nearest){
#define ARGUMENTS(space) walk, space, level, nearest
    IN_SPACE(walk->space, descend_in, ARGUMENTS)
#undef ARGUMENTS
}

KERNEL_TARGET
    static void explore(const struct tern_walk *walk, unsigned level, struct tern_pool *pool)
{
#define ARGUMENTS(space) walk, space, level, pool
    IN_SPACE(walk->space, explore_in, ARGUMENTS)
#undef ARGUMENTS
}

static const struct tern_kernel kernel = {KERNEL_NAME, measure, descend, explore};
