#include "controlplane/neighbours_source.h"

#include "shared/vector/distance.h"

#define SLOTS_TRIED 64u

/* The last search of a collection. The evaluator asks atom by atom: all of one decision are
 * answered from one search, as those of compiled rules are. */
struct found {
    float *query; /* of the collection's dimensions */
    unsigned k;   /* that were asked for; 0: nothing was found yet */
    unsigned count;
    struct tern_search_hit hits[TERN_SEARCH_K_MAX];
};

struct tern_neighbours_source {
    const struct tern_view *view;
    struct tern_reference_vectors vectors;
    struct tern_search_scratch *scratch;
    struct found *found; /* by id */
};

/* NULL: it is not served. */
static const struct tern_collection *collection_of(const struct tern_neighbours_source *source,
                                                   unsigned id)
{
    const struct tern_view *view = source->view;

    return id <= view->collection_count && view->collections[id].header != NULL
               ? &view->collections[id]
               : NULL;
}

static unsigned nearest(void *context, unsigned id, const uint8_t *query, unsigned k,
                        struct tern_reference_neighbour *neighbours)
{
    struct tern_neighbours_source *source = context;
    const struct tern_collection *collection = collection_of(source, id);
    struct found *found = &source->found[id];
    const struct tern_search asked = {.query = found->query, .k = k};
    struct tern_error error;
    unsigned count;

    if (collection == NULL)
        return 0;
    if (found->k < k || memcmp(found->query, query, collection->dim * sizeof *found->query) != 0) {
        memcpy(found->query, query, collection->dim * sizeof *found->query);
        found->k = k;
        found->count = tern_search_check(collection, &asked, &error) != 0
                           ? 0
                           : tern_search_run(collection, source->scratch, &asked, found->hits);
    }
    count = found->count < k ? found->count : k;
    for (unsigned i = 0; i < count; i++)
        neighbours[i] = (struct tern_reference_neighbour){collection->metric == TERN_METRIC_L2
                                                              ? 1.0f / (1.0f + found->hits[i].score)
                                                              : found->hits[i].score,
                                                          found->hits[i].slot};
    return count;
}

static struct tern_payload_value value(void *context, unsigned id,
                                       const struct tern_reference_neighbour *neighbour,
                                       const char *column)
{
    const struct tern_collection *collection = collection_of(context, id);
    int index = tern_collection_find_column(collection, column, strlen(column));

    return index < 0
               ? (struct tern_payload_value){.type = TERN_TYPE_NONE}
               : tern_collection_payload(collection, (uint32_t)neighbour->handle, (unsigned)index);
}

/* One that lives, if a few looks find one. */
static bool sample(void *context, unsigned id, uint64_t random, uint8_t *vector)
{
    const struct tern_collection *collection = collection_of(context, id);
    uint32_t count;

    if (collection == NULL)
        return false;
    count = atomic_load_explicit(&collection->header->slot_count, memory_order_acquire);
    for (uint32_t i = 0; i < SLOTS_TRIED && i < count; i++) {
        uint32_t slot = (uint32_t)((random + i) % count);

        if ((atomic_load_explicit(&collection->meta[slot].state, memory_order_acquire) & 0xff) !=
            TERN_SLOT_LIVE)
            continue;
        memcpy(vector, tern_collection_vector(collection, slot), collection->dim * sizeof(float));
        return true;
    }
    return false;
}

int tern_neighbours_source_new(const struct tern_view *view, struct tern_neighbours_source **source)
{
    struct tern_neighbours_source *made = calloc(1, sizeof *made);
    uint32_t capacity = 1, dim = 1;
    int status = 0;

    if (made == NULL)
        return TERN_ENOMEM;
    made->view = view;
    made->found = calloc((size_t)view->collection_count + 1, sizeof *made->found);
    if (made->found == NULL)
        status = TERN_ENOMEM;
    made->vectors = (struct tern_reference_vectors){made, nearest, value, sample};
    for (unsigned i = 1; i <= view->collection_count && status == 0; i++) {
        const struct tern_collection *collection = collection_of(made, i);

        if (collection == NULL)
            continue;
        made->found[i].query = calloc(collection->dim, sizeof(float));
        status = made->found[i].query == NULL ? TERN_ENOMEM : 0;
        capacity = collection->capacity > capacity ? collection->capacity : capacity;
        dim = collection->dim > dim ? collection->dim : dim;
    }
    if (status != 0 || tern_search_scratch_new(&made->scratch, capacity, dim) != 0) {
        tern_neighbours_source_free(made);
        return TERN_ENOMEM;
    }
    *source = made;
    return 0;
}

void tern_neighbours_source_renew(struct tern_neighbours_source *source)
{
    for (unsigned i = 1; i <= source->view->collection_count; i++)
        source->found[i].k = 0;
}

void tern_neighbours_source_free(struct tern_neighbours_source *source)
{
    if (source == NULL)
        return;
    if (source->scratch != NULL)
        tern_search_scratch_free(source->scratch);
    for (unsigned i = 1; source->found != NULL && i <= source->view->collection_count; i++)
        free(source->found[i].query);
    free(source->found);
    free(source);
}

const struct tern_reference_vectors *
tern_neighbours_source_vectors(const struct tern_neighbours_source *source)
{
    return &source->vectors;
}
