#include "tests/unit/graph_double.h"

#include "shared/schema.h"

#include <math.h>
#include <pthread.h>

struct tern_graph {
    struct graph_double_object *object;
    struct tern_collection collection;
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool held;
    int left;
    unsigned units, units_given, units_left, units_before_put;
    void (*during)(void);
} control = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .left = -1};

void graph_double_fail_after(int puts)
{
    pthread_mutex_lock(&control.mutex);
    control.left = puts;
    pthread_mutex_unlock(&control.mutex);
}

void graph_double_hold(bool held)
{
    pthread_mutex_lock(&control.mutex);
    control.held = held;
    pthread_cond_broadcast(&control.changed);
    pthread_mutex_unlock(&control.mutex);
}

static unsigned read_count(const unsigned *count)
{
    unsigned value;

    pthread_mutex_lock(&control.mutex);
    value = *count;
    pthread_mutex_unlock(&control.mutex);
    return value;
}

void graph_double_give_work(unsigned units, void (*during)(void))
{
    pthread_mutex_lock(&control.mutex);
    control.units_left = 0;
    control.units_given = units;
    control.during = during;
    pthread_mutex_unlock(&control.mutex);
}

unsigned graph_double_units_before_put(void)
{
    return read_count(&control.units_before_put);
}

static int pass(bool is_put)
{
    int rc = 0;

    pthread_mutex_lock(&control.mutex);
    while (control.held)
        pthread_cond_wait(&control.changed, &control.mutex);
    if (is_put && control.left == 0)
        rc = TERN_ENOSPC;
    else if (is_put && control.left > 0)
        control.left--;
    if (is_put)
        control.units_before_put = control.units;
    if (is_put && control.units_given != 0) {
        control.units = 0;
        control.units_left = control.units_given;
        control.units_given = 0;
    }
    pthread_mutex_unlock(&control.mutex);
    return rc;
}

static struct graph_double_entry *find(struct graph_double_object *object, uint64_t id)
{
    for (uint32_t i = 0; i < object->count; i++)
        if (object->entries[i].id == id)
            return &object->entries[i];
    return NULL;
}

const struct graph_double_entry *graph_double_find(const void *object, uint64_t id)
{
    struct graph_double_entry *entry = find((struct graph_double_object *)(uintptr_t)object, id);

    return entry != NULL && entry->live ? entry : NULL;
}

uint64_t tern_graph_length(const struct tern_graph_shape *shape)
{
    /* ids that came and went keep their entries */
    return tern_align_up(sizeof(struct graph_double_object) +
                             (shape->capacity * 4ull + 64) * sizeof(struct graph_double_entry),
                         TERN_PAGE);
}

int tern_graph_format(void *memory, uint64_t length, const struct tern_graph_shape *shape,
                      const struct tern_graph_parameters *parameters, const uint8_t store_id[16],
                      const struct tern_graph_host *host, struct tern_error *error)
{
    struct graph_double_object *object = memory;
    static uint8_t objects;
    int rc = host->allocate(host->context, 0, length, error);

    if (rc != 0)
        return rc;
    object->header.dim = shape->dim;
    object->header.metric = (uint8_t)shape->metric;
    object->header.length = length;
    object->header.capacity = shape->capacity * 4 + 64;
    object->header.object_id[0] = ++objects;
    object->header.column_count = shape->column_count;
    for (unsigned i = 0; i < shape->column_count; i++) {
        object->header.columns[i].type = shape->columns[i].type;
        memcpy(object->header.columns[i].name, shape->columns[i].name, TERN_NAME_MAX + 1);
    }
    object->header.ef_search = parameters->ef_search;
    memcpy(object->header.store_id, store_id, 16);
    object->header.magic = TERN_COLLECTION_MAGIC;
    return 0;
}

int tern_graph_open(struct tern_graph **out, void *memory, TERN_UNUSED uint64_t length,
                    TERN_UNUSED const struct tern_graph_host *host, struct tern_error *error)
{
    struct graph_double_object *object = memory;
    struct tern_graph *graph;

    if (object->header.magic != TERN_COLLECTION_MAGIC)
        return tern_error_set(error, TERN_ECORRUPT, "there is no collection");
    graph = calloc(1, sizeof *graph);
    assert(graph != NULL);
    graph->object = object;
    graph->collection.header = &object->header;
    *out = graph;
    return 0;
}

void tern_graph_close(struct tern_graph *graph)
{
    free(graph);
}

void tern_graph_set_parameters(struct tern_graph *graph,
                               const struct tern_graph_parameters *parameters)
{
    graph->object->header.ef_search = parameters->ef_search;
}

const struct tern_collection *tern_graph_collection(const struct tern_graph *graph)
{
    return &graph->collection;
}

static void set_value(const struct tern_payload_column *column,
                      const struct tern_graph_value *value, struct graph_double_entry *entry,
                      unsigned index)
{
    entry->values[index].present = value->present;
    entry->values[index].number = 0;
    memset(entry->values[index].text, 0, GRAPH_DOUBLE_STRING);
    if (!value->present)
        return;
    if (column->type == TERN_TYPE_STRING)
        memcpy(entry->values[index].text, value->string.bytes,
               tern_min_u64(value->string.length, GRAPH_DOUBLE_STRING - 1));
    else
        entry->values[index].number = value->u64;
}

int tern_graph_put(struct tern_graph *graph, uint64_t id, uint64_t seq, const float *vector,
                   const struct tern_graph_value *payload, struct tern_error *error)
{
    struct graph_double_object *object = graph->object;
    struct graph_double_entry *entry = find(object, id);

    if (entry != NULL && seq <= entry->seq)
        return 0;
    if (pass(true) != 0)
        return tern_error_set(error, TERN_ENOSPC, "the double has no room");
    if (entry == NULL)
        entry = &object->entries[object->count++];
    object->header.live_count += !entry->live;
    entry->id = id;
    entry->seq = seq;
    entry->live = true;
    entry->first = vector[0];
    entry->last = vector[object->header.dim - 1];
    for (unsigned i = 0; i < object->header.column_count; i++)
        set_value(&object->header.columns[i], &payload[i], entry, i);
    return 0;
}

int tern_graph_remove(struct tern_graph *graph, uint64_t id, uint64_t seq)
{
    struct graph_double_entry *entry = find(graph->object, id);

    pass(false);
    if (entry == NULL || !entry->live || seq <= entry->seq)
        return TERN_ENOENT;
    entry->live = false;
    entry->seq = seq;
    graph->object->header.live_count--;
    return 0;
}

int tern_graph_check_vector(const float *vector, uint32_t dim, struct tern_error *error)
{
    for (uint32_t i = 0; i < dim; i++)
        if (!isfinite(vector[i]))
            return tern_error_set(error, TERN_EINVAL, "value %u is not finite", i);
    return 0;
}

/* True: there was a unit to do. */
static bool do_unit(void)
{
    void (*during)(void) = NULL;
    bool done;

    pthread_mutex_lock(&control.mutex);
    done = control.units_left != 0;
    if (done) {
        control.units_left--;
        control.units++;
        during = control.during;
        control.during = NULL;
    }
    pthread_mutex_unlock(&control.mutex);
    if (during != NULL)
        during();
    return done;
}

bool tern_graph_work(TERN_UNUSED struct tern_graph *graph, uint64_t budget_us)
{
    uint64_t spent_us = 0;

    do {
        if (!do_unit())
            return false;
        spent_us += GRAPH_DOUBLE_UNIT_US;
    } while (spent_us < budget_us);
    return true;
}

void tern_graph_link(TERN_UNUSED struct tern_graph *graph)
{
}

void tern_graph_set_applied(struct tern_graph *graph, uint64_t seq)
{
    assert(seq >= graph->object->header.applied_seq);
    graph->object->header.applied_seq = seq;
}

uint64_t tern_graph_applied(const struct tern_graph *graph)
{
    return graph->object->header.applied_seq;
}

int tern_graph_census(TERN_UNUSED struct tern_graph *graph, struct tern_graph_census *census)
{
    *census = (struct tern_graph_census){.live = graph->object->header.live_count};
    return 0;
}

bool tern_graph_find(const struct tern_graph *graph, uint64_t id, uint64_t *seq)
{
    const struct graph_double_entry *entry = graph_double_find(graph->object, id);

    if (entry != NULL)
        *seq = entry->seq;
    return entry != NULL;
}
