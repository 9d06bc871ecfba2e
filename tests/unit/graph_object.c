#include "tests/unit/unit.h"

#include "tests/unit/graph_object.h"

#include <math.h>
#include <sys/mman.h>

static int allocate(void *context, uint64_t offset, uint64_t length, struct tern_error *error)
{
    struct tern_graph_object *object = context;
    uint64_t first = offset & ~(uint64_t)(TERN_PAGE - 1);

    assert_true(tern_range_inside(offset, length, object->length));
    if (object->allocate_at_most != 0 && object->allocated + length > object->allocate_at_most)
        return tern_error_set(error, TERN_ENOSPC, "the test has no more pages");
    object->allocated += length;
    assert_int_equal(mprotect((uint8_t *)object->memory + first,
                              tern_align_up(offset + length, TERN_PAGE) - first,
                              PROT_READ | PROT_WRITE),
                     0);
    return 0;
}

static uint64_t grace_begin(void *context)
{
    struct tern_graph_object *object = context;

    return ++object->graces;
}

static bool grace_over(void *context, uint64_t number)
{
    const struct tern_graph_object *object = context;

    return object->graces_over >= number;
}

static void open_graph(struct tern_graph_object *object)
{
    struct tern_error error = {0};
    int status =
        tern_graph_open(&object->graph, object->memory, object->length, &object->host, &error);

    if (status != 0)
        fail_msg("open: %d %s", status, error.message);
}

void tern_graph_object_make(struct tern_graph_object *object, const struct tern_graph_shape *shape,
                            const struct tern_graph_parameters *parameters)
{
    static const uint8_t store_id[16] = "the test's own";
    struct tern_error error = {0};

    *object = (struct tern_graph_object){
        .length = tern_graph_length(shape),
        .host = {.allocate = allocate, .grace_begin = grace_begin, .grace_over = grace_over}};
    object->host.context = object;
    object->memory =
        mmap(NULL, object->length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(object->memory, MAP_FAILED);
    if (tern_graph_format(object->memory, object->length, shape, parameters, store_id,
                          &object->host, &error) != 0)
        fail_msg("format: %s", error.message);
    open_graph(object);
    assert_int_equal(tern_search_scratch_new(&object->scratch,
                                             tern_graph_collection(object->graph)->capacity,
                                             shape->dim),
                     0);
}

void tern_graph_object_reopen(struct tern_graph_object *object)
{
    tern_graph_close(object->graph);
    open_graph(object);
}

void tern_graph_object_free(struct tern_graph_object *object)
{
    tern_graph_close(object->graph);
    tern_search_scratch_free(object->scratch);
    munmap(object->memory, object->length);
}

static unsigned state_of(const struct tern_collection *collection, uint32_t slot)
{
    return atomic_load(&collection->meta[slot].state) & 0xff;
}

static void follow(const struct tern_collection *collection, uint32_t entry, uint32_t slots,
                   uint8_t *reached)
{
    uint32_t *queue = malloc((slots + 1) * sizeof *queue), first = 0, end = 0;

    assert_non_null(queue);
    reached[entry] = 1;
    queue[end++] = entry;
    while (first != end) {
        const _Atomic uint32_t *list =
            (const _Atomic uint32_t *)(const void *)(collection->links +
                                                     (uint64_t)queue[first++] *
                                                         collection->links_stride);

        for (unsigned i = 0; i < 2 * collection->m; i++) {
            uint32_t link = atomic_load(&list[i]);

            if (link == TERN_SLOT_NONE)
                continue;
            assert_true(link < slots);
            assert_int_not_equal(state_of(collection, link), TERN_SLOT_FREE);
            if (!reached[link])
                queue[end++] = link;
            reached[link] = 1;
        }
    }
    free(queue);
}

uint32_t tern_graph_object_unreached(const struct tern_graph_object *object)
{
    const struct tern_collection *collection = tern_graph_collection(object->graph);
    uint32_t slots = atomic_load(&collection->header->slot_count), unreached = 0;
    uint64_t tail = atomic_load(&collection->header->tail);
    uint32_t entry = (uint32_t)atomic_load(&collection->header->entry);
    uint8_t *reached = calloc(slots + 1, 1);

    assert_non_null(reached);
    if (entry != TERN_SLOT_NONE)
        follow(collection, entry, slots, reached);
    for (uint32_t at = (uint32_t)tail; at != (uint32_t)(tail >> 32); at++)
        reached[atomic_load(&collection->header->tail_slots[at % TERN_TAIL_MAX])] = 1;
    for (uint32_t slot = 0; slot < slots; slot++)
        unreached += state_of(collection, slot) == TERN_SLOT_LIVE && !reached[slot];
    free(reached);
    return unreached;
}

void tern_graph_object_put(struct tern_graph_object *object, uint64_t id, uint64_t seq,
                           const float *vector)
{
    struct tern_error error = {0};

    if (tern_graph_put(object->graph, id, seq, vector, NULL, &error) != 0)
        fail_msg("put: %s", error.message);
}

unsigned tern_graph_object_search(struct tern_graph_object *object, const float *query, unsigned k,
                                  unsigned ef, bool exact, struct tern_search_hit *hits)
{
    struct tern_search asked = {.query = query, .k = k, .ef = ef, .exact = exact};

    assert_int_equal(tern_search_check(tern_graph_collection(object->graph), &asked, NULL), 0);
    return tern_search_run(tern_graph_collection(object->graph), object->scratch, &asked, hits);
}

float tern_graph_object_normal(uint64_t *seed)
{
    double u = ((double)(tern_test_random(seed) >> 11) + 1) / 9007199254740993.0;
    double v = (double)(tern_test_random(seed) >> 11) / 9007199254740992.0;

    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

void tern_graph_object_vector(uint64_t *seed, uint32_t dim, unsigned centers, float *vector)
{
    uint64_t center = 77 + tern_test_random(seed) % centers;

    for (uint32_t i = 0; i < dim; i++)
        vector[i] = tern_graph_object_normal(&center) + tern_graph_object_normal(seed);
}

static double score_of(enum tern_metric metric, uint32_t dim, const float *a, const float *b)
{
    double dot = 0, squared = 0, of_a = 0, of_b = 0;

    for (uint32_t i = 0; i < dim; i++) {
        double difference = (double)a[i] - (double)b[i];

        dot += (double)a[i] * (double)b[i];
        squared += difference * difference;
        of_a += (double)a[i] * (double)a[i];
        of_b += (double)b[i] * (double)b[i];
    }
    if (metric == TERN_METRIC_L2)
        return sqrt(squared);
    if (metric == TERN_METRIC_DOT)
        return dot;
    return of_a > 0 && of_b > 0 ? dot / sqrt(of_a * of_b) : 0;
}

void tern_graph_object_nearest(enum tern_metric metric, uint32_t dim, const float *vectors,
                               uint32_t count, const float *query, unsigned k,
                               struct tern_search_hit *hits)
{
    unsigned found = 0;

    for (uint32_t i = 0; i < count; i++) {
        float score = (float)score_of(metric, dim, query, vectors + (size_t)i * dim);
        unsigned at = found;

        if (found == k &&
            !(metric == TERN_METRIC_L2 ? score < hits[k - 1].score : score > hits[k - 1].score))
            continue;
        if (found == k)
            at--;
        else
            found++;
        for (; at > 0 &&
               (metric == TERN_METRIC_L2 ? score < hits[at - 1].score : score > hits[at - 1].score);
             at--)
            hits[at] = hits[at - 1];
        hits[at] = (struct tern_search_hit){.id = i, .score = score};
    }
}
