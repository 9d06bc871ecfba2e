/* The set of objects that the thread keeps current, as the builder changes it. */
#include "controlplane/collections/state.h"

#include "shared/clock.h"

#define REPORT_US 100000 /* how often whoever waits for a filling is told */

void tern_collections_free_object(struct tern_collections_object *object)
{
    tern_graph_close(object->graph);
    free(object);
}

/* --- Names --- */

static struct tern_collections_name *name_of(struct tern_collections *collections,
                                             const struct tern_collection_spec *spec,
                                             struct tern_error *error)
{
    struct tern_collections_name *name = tern_collections_find(collections, spec->name);
    uint32_t number = 0;
    int rc;

    if (name != NULL)
        return name;
    rc = tern_vector_store_collection(collections->store, spec->name, &number, error);
    if (rc != 0)
        return NULL;
    name = calloc(1, sizeof *name);
    if (name == NULL) {
        tern_error_set(error, TERN_ENOMEM, "out of memory");
        return NULL;
    }
    name->spec = *spec;
    name->number = number;
    pthread_mutex_lock(&collections->mutex);
    name->next = collections->names;
    collections->names = name;
    pthread_mutex_unlock(&collections->mutex);
    return name;
}

/* Writes are checked against the object that is served, or, as long as none is, one that will be.
 */
static void choose_specs(struct tern_collections *collections)
{
    pthread_mutex_lock(&collections->mutex);
    for (struct tern_collections_name *name = collections->names; name != NULL; name = name->next) {
        const struct tern_collections_object *chosen = NULL;

        for (const struct tern_collections_object *object = collections->objects; object != NULL;
             object = object->next)
            if (object->name == name && (chosen == NULL || object->served))
                chosen = object;
        name->open = chosen != NULL;
        if (chosen != NULL) {
            name->spec = chosen->spec;
            name->shape = chosen->shape;
        }
    }
    pthread_mutex_unlock(&collections->mutex);
}

/* --- An object comes --- */

static int allocate(void *context, uint64_t offset, uint64_t length, struct tern_error *error)
{
    const struct tern_collections_object *object = context;

    return object->arena.allocate(object->arena.context, object->place.offset + offset, length,
                                  error);
}

static uint64_t grace_begin(void *context)
{
    const struct tern_collections_object *object = context;

    return object->arena.grace_begin(object->arena.context);
}

static bool grace_over(void *context, uint64_t number)
{
    const struct tern_collections_object *object = context;

    return object->arena.grace_over(object->arena.context, number);
}

static struct tern_collections_object *new_object(struct tern_collections *collections,
                                                  const struct tern_collection_spec *spec,
                                                  const struct tern_collection_place *place)
{
    struct tern_collections_object *object = calloc(1, sizeof *object);

    if (object == NULL)
        return NULL;
    object->spec = *spec;
    object->place = *place;
    object->arena = collections->arena;
    object->host = (struct tern_graph_host){
        .context = object,
        .allocate = allocate,
        .grace_begin = grace_begin,
        .grace_over = grace_over,
    };
    return object;
}

/* On the thread: from here on the object is kept current. */
static int add_object(struct tern_collections *collections, void *argument,
                      struct tern_error *error)
{
    struct tern_collections_object *object = argument, **end = &collections->objects;
    const struct tern_collection_spec *spec = &object->spec;
    uint64_t count = 0, last = 0, applied = tern_graph_applied(object->graph);
    int rc;

    object->name = name_of(collections, spec, error);
    if (object->name == NULL)
        return error->code;
    rc = tern_vector_store_shape(collections->store, spec->shape.columns, spec->shape.column_count,
                                 &object->shape, error);
    if (rc == 0)
        rc = tern_vector_store_last(collections->store, object->name->number, &last, error);
    if (rc != 0)
        return rc;
    if (applied != 0 &&
        applied < tern_vector_store_purged(collections->store, object->name->number))
        return tern_error_set(error, TERN_ECORRUPT,
                              "collection %s has missed removals that the store has forgotten; it "
                              "has to be made anew",
                              spec->name);
    object->cursor = applied;
    object->filling = last > applied;
    object->began_us = tern_clock_now_us();
    if (object->filling) {
        rc = tern_vector_store_count(collections->store, object->name->number, &count, error);
        if (rc != 0)
            return rc;
        object->done = object->began_done = atomic_load_explicit(
            &tern_graph_collection(object->graph)->header->live_count, memory_order_relaxed);
        object->total = tern_max_u64(count, object->done);
    } else {
        tern_graph_set_applied(object->graph, tern_vector_store_seq(collections->store));
    }
    pthread_mutex_lock(&collections->mutex);
    while (*end != NULL)
        end = &(*end)->next;
    *end = object;
    pthread_mutex_unlock(&collections->mutex);
    choose_specs(collections);
    return 0;
}

/* Makes the graph's handle, on the caller's thread (it may take a while), and hands it over. */
static int adopt(struct tern_collections *collections, struct tern_collections_object *object,
                 struct tern_error *error)
{
    int rc = tern_graph_open(&object->graph, object->place.object, object->place.length,
                             &object->host, error);

    if (rc != 0) {
        free(object);
        return rc;
    }
    rc = tern_collections_run(collections, add_object, object, error);
    if (rc != 0)
        tern_collections_free_object(object);
    return rc;
}

/* On the thread: lets go of one object. */
static int drop_object(struct tern_collections *collections, void *argument,
                       struct tern_error *error)
{
    struct tern_collections_object *object = argument, **link = &collections->objects;

    (void)error;
    pthread_mutex_lock(&collections->mutex);
    while (*link != object)
        link = &(*link)->next;
    *link = object->next;
    pthread_mutex_unlock(&collections->mutex);
    tern_collections_free_object(object);
    choose_specs(collections);
    return 0;
}

/* Waits until the object has what the store has; tells how far it is. */
static int await_filled(struct tern_collections *collections,
                        struct tern_collections_object *object,
                        bool (*report)(void *context, uint64_t done, uint64_t total), void *context,
                        struct tern_error *error)
{
    uint64_t done, total;
    int rc = 0;

    pthread_mutex_lock(&collections->mutex);
    while (object->filling && rc == 0) {
        uint64_t until_us = tern_clock_now_us() + REPORT_US;
        const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                                       .tv_nsec = (long)(until_us % 1000000) * 1000};

        if (object->failure.code != 0) {
            rc = tern_error_set(error, object->failure.code, "collection %s: %.400s",
                                object->spec.name, object->failure.message);
            break;
        }
        done = object->done;
        total = tern_max_u64(object->total, done);
        if (report != NULL) {
            pthread_mutex_unlock(&collections->mutex);
            if (!report(context, done, total))
                rc = tern_error_set(error, TERN_ECANCELLED, "collection %s: cancelled",
                                    object->spec.name);
            pthread_mutex_lock(&collections->mutex);
        }
        if (rc == 0 && object->filling)
            pthread_cond_timedwait(&collections->changed, &collections->mutex, &until);
    }
    done = object->done;
    pthread_mutex_unlock(&collections->mutex);
    if (rc == 0 && report != NULL)
        (void)report(context, done, done); /* too late to cancel */
    return rc;
}

static int check_room(struct tern_collections *collections,
                      const struct tern_collections_object *object, struct tern_error *error)
{
    uint64_t total;

    pthread_mutex_lock(&collections->mutex);
    total = object->total;
    pthread_mutex_unlock(&collections->mutex);
    if (total <= object->spec.shape.capacity)
        return 0;
    return tern_error_set(
        error, TERN_ENOSPC, "collection %s: the store holds %llu vectors, its `capacity` is %u",
        object->spec.name, (unsigned long long)total, (unsigned)object->spec.shape.capacity);
}

int tern_collections_prepare(struct tern_collections *collections,
                             const struct tern_collection_spec *spec,
                             struct tern_collection_place *place, bool wait,
                             bool (*report)(void *context, uint64_t done, uint64_t total),
                             void *context, struct tern_error *error)
{
    struct tern_collections_object *object = new_object(collections, spec, place);
    int rc;

    if (object == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    rc = tern_graph_format(place->object, place->length, &spec->shape, &spec->parameters,
                           tern_vector_store_id(collections->store), &object->host, error);
    if (rc != 0) {
        free(object);
        return rc;
    }
    memcpy(object->place.object_id,
           ((const struct tern_collection_header *)(const void *)place->object)->object_id, 16);
    rc = adopt(collections, object, error);
    if (rc != 0)
        return rc;
    rc = check_room(collections, object, error);
    if (rc == 0 && wait)
        rc = await_filled(collections, object, report, context, error);
    if (rc != 0) {
        tern_collections_run(collections, drop_object, object, NULL);
        return rc;
    }
    memcpy(place->object_id, object->place.object_id, 16);
    return 0;
}

static bool has_columns(const struct tern_collection_header *header,
                        const struct tern_graph_shape *shape)
{
    bool same = header->column_count == shape->column_count;

    for (unsigned i = 0; i < shape->column_count && same; i++)
        same = header->columns[i].type == shape->columns[i].type &&
               strcmp(header->columns[i].name, shape->columns[i].name) == 0;
    return same;
}

/* The parts of the shape that writing depends on; capacity and m are the object's own. */
static int check_object(struct tern_collections *collections,
                        const struct tern_collections_object *object, struct tern_error *error)
{
    const struct tern_collection_header *header = tern_graph_collection(object->graph)->header;
    uint64_t applied = tern_graph_applied(object->graph), stored;

    pthread_mutex_lock(&collections->mutex);
    stored = collections->stored_seq;
    pthread_mutex_unlock(&collections->mutex);
    if (header->dim != object->spec.shape.dim || header->metric != object->spec.shape.metric ||
        !has_columns(header, &object->spec.shape))
        return tern_error_set(error, TERN_ECORRUPT,
                              "collection %s in the arena has another shape than the configuration "
                              "gives it",
                              object->spec.name);
    if (memcmp(header->store_id, tern_vector_store_id(collections->store), 16) != 0)
        return tern_error_set(error, TERN_ECORRUPT,
                              "collection %s in the arena was made from another store of vectors",
                              object->spec.name);
    if (applied > stored)
        return tern_error_set(error, TERN_ECORRUPT,
                              "collection %s in the arena has write %llu, the store ends at %llu: "
                              "was it restored from a copy?",
                              object->spec.name, (unsigned long long)applied,
                              (unsigned long long)stored);
    return 0;
}

int tern_collections_attach(struct tern_collections *collections,
                            const struct tern_collection_spec *spec,
                            const struct tern_collection_place *place, struct tern_error *error)
{
    struct tern_collections_object *object = new_object(collections, spec, place);
    int rc;

    if (object == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    rc = tern_graph_open(&object->graph, place->object, place->length, &object->host, error);
    if (rc != 0) {
        free(object);
        return rc;
    }
    rc = check_object(collections, object, error);
    if (rc == 0)
        rc = tern_collections_run(collections, add_object, object, error);
    if (rc != 0)
        tern_collections_free_object(object);
    return rc;
}

/* --- Objects go --- */

struct wanted {
    const struct tern_collection_spec *specs;
    const struct tern_collection_place *places;
    unsigned count;
};

static int find_place(const struct wanted *wanted, const struct tern_collections_object *object)
{
    for (unsigned i = 0; i < wanted->count; i++)
        if (wanted->places[i].offset == object->place.offset &&
            memcmp(wanted->places[i].object_id, object->place.object_id, 16) == 0)
            return (int)i;
    return -1;
}

/* On the thread: keeps what is wanted. */
static int keep(struct tern_collections *collections, void *argument, struct tern_error *error)
{
    const struct wanted *wanted = argument;
    struct tern_collections_object **link = &collections->objects, *object;

    (void)error;
    pthread_mutex_lock(&collections->mutex);
    while ((object = *link) != NULL) {
        int index = find_place(wanted, object);

        if (index < 0) {
            *link = object->next;
            tern_collections_free_object(object);
            continue;
        }
        object->served = true;
        /* The shape is the object's own; the rest is the configuration's. */
        object->spec.id = wanted->specs[index].id;
        object->spec.parameters = wanted->specs[index].parameters;
        tern_graph_set_parameters(object->graph, &object->spec.parameters);
        link = &object->next;
    }
    pthread_mutex_unlock(&collections->mutex);
    choose_specs(collections);
    return 0;
}

void tern_collections_commit(struct tern_collections *collections,
                             const struct tern_collection_spec *specs,
                             const struct tern_collection_place *places, unsigned count)
{
    struct wanted wanted = {specs, places, count};

    tern_collections_run(collections, keep, &wanted, NULL);
}

static int drop_prepared(struct tern_collections *collections, void *argument,
                         struct tern_error *error)
{
    struct tern_collections_object **link = &collections->objects, *object;

    (void)argument;
    (void)error;
    pthread_mutex_lock(&collections->mutex);
    while ((object = *link) != NULL) {
        if (object->served) {
            link = &object->next;
            continue;
        }
        *link = object->next;
        tern_collections_free_object(object);
    }
    pthread_mutex_unlock(&collections->mutex);
    choose_specs(collections);
    return 0;
}

void tern_collections_abandon(struct tern_collections *collections)
{
    tern_collections_run(collections, drop_prepared, NULL, NULL);
}
