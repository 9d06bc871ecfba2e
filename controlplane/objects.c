/* The objects of vector collections on their way from a configuration to a root: kept where they
 * are, or reserved, filled and swapped in. The thread that writes them is behind collections.h. */
#include "controlplane/pipeline.h"

#include "controlplane/publish/reclaim.h"
#include "shared/clock.h"
#include "shared/race.h"

#include <poll.h>

#define GATHER_PAUSE_NS 1000000000ull

static int take_array(struct tern_image *image, unsigned count, struct tern_error *error)
{
    assert(image->objects == NULL && count <= TERN_COLLECTIONS_MAX);
    if (count == 0)
        return 0;
    image->specs = calloc(count, sizeof *image->specs);
    image->objects = calloc(count, sizeof *image->objects);
    if (image->specs == NULL || image->objects == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %u collections", count);
    image->object_count = count;
    return 0;
}

int tern_objects_of_config(struct tern_image *image, const struct tern_config *config,
                           struct tern_error *error)
{
    int result = take_array(image, config->collection_count, error);

    for (unsigned i = 0; result == 0 && i < image->object_count; i++) {
        const struct tern_config_collection *from = &config->collections[i];
        struct tern_collection_spec *spec = &image->specs[i];

        snprintf(spec->name, sizeof spec->name, "%s", from->name.text);
        spec->id = i + 1;
        spec->shape = from->shape;
        spec->parameters = from->parameters;
    }
    return result;
}

bool tern_pipeline_has_collection(const struct tern_pipeline *pipeline, const char *name)
{
    const struct tern_image *live = &pipeline->live_image;

    for (unsigned i = 0; i < live->object_count; i++)
        if (strcmp(live->specs[i].name, name) == 0)
            return true;
    return false;
}

int tern_objects_of_specs(struct tern_image *image, const struct tern_collection_spec *specs,
                          unsigned count, struct tern_error *error)
{
    int result = take_array(image, count, error);

    if (result == 0 && count != 0)
        memcpy(image->specs, specs, count * sizeof *specs);
    return result;
}

int tern_objects_of_live(struct tern_image *image, const struct tern_image *live,
                         struct tern_error *error)
{
    int result = take_array(image, live->object_count, error);

    if (result == 0 && image->object_count != 0) {
        memcpy(image->specs, live->specs, image->object_count * sizeof *image->specs);
        memcpy(image->objects, live->objects, image->object_count * sizeof *image->objects);
    }
    return result;
}

/* What a header says of the object that it heads. */
static void read_shape(const struct tern_collection_header *header,
                       struct tern_collection_spec *spec)
{
    struct tern_graph_shape *shape = &spec->shape;

    shape->dim = header->dim;
    shape->metric = (enum tern_metric)header->metric;
    shape->quantize = (enum tern_quantize)header->quantize;
    shape->m = header->m;
    shape->capacity = header->vector_capacity;
    shape->column_count = header->column_count;
    for (uint32_t i = 0; i < header->column_count; i++) {
        const struct tern_payload_column *from = &header->columns[i];

        memcpy(shape->columns[i].name, from->name, from->name_length);
        shape->columns[i].type = from->type;
    }
    spec->parameters = (struct tern_graph_parameters){
        .ef_search = atomic_load_explicit(&header->ef_search, memory_order_relaxed),
        .ef_construct = atomic_load_explicit(&header->ef_construct, memory_order_relaxed),
        .full_scan = atomic_load_explicit(&header->full_scan, memory_order_relaxed),
    };
}

static bool same_shape(const struct tern_graph_shape *a, const struct tern_graph_shape *b)
{
    if (a->dim != b->dim || a->metric != b->metric || a->quantize != b->quantize || a->m != b->m ||
        a->capacity != b->capacity || a->column_count != b->column_count)
        return false;
    for (unsigned i = 0; i < a->column_count; i++)
        if (a->columns[i].type != b->columns[i].type ||
            strcmp(a->columns[i].name, b->columns[i].name) != 0)
            return false;
    return true;
}

int tern_objects_adopt(struct tern_pipeline *pipeline, const struct tern_archive_list *known,
                       struct tern_error *error)
{
    struct tern_image *image = &pipeline->live_image;
    const struct tern_view *live = pipeline->live;
    int result = take_array(image, live->collection_count, error);

    for (unsigned i = 0; result == 0 && i < image->object_count; i++) {
        struct tern_object *object = &image->objects[i];
        struct tern_collection_spec *spec = &image->specs[i];
        const struct tern_collection_header *header = live->collections[i + 1].header;

        snprintf(spec->name, sizeof spec->name, "%s",
                 tern_schema_collections(live->schema)[i].name);
        spec->id = i + 1;
        object->broken = true; /* until the thread has taken it over */
        if (header != NULL) {
            object->place = (struct tern_collection_place){
                .object = (uint8_t *)(uintptr_t)header - pipeline->writer.reader.base +
                          pipeline->writer.base,
                .offset = (uint64_t)((const uint8_t *)header - pipeline->writer.reader.base),
                .length = header->length};
            memcpy(object->place.object_id, header->object_id, sizeof header->object_id);
            read_shape(header, spec);
        }
        /* A crash after the swap may have kept parameters from the header. */
        if (known != NULL && i < known->spec_count &&
            strcmp(known->specs[i].name, spec->name) == 0 &&
            (header == NULL || same_shape(&known->specs[i].shape, &spec->shape)))
            *spec = known->specs[i];
    }
    return result;
}

/* The index of the collection of that name in what is served, or −1. */
static int find_live(const struct tern_image *live, const char *name)
{
    for (unsigned i = 0; i < live->object_count; i++)
        if (strcmp(live->specs[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* Address space for an object; when the arena is full, gives readers a moment to leave what is
 * retired. */
static int reserve(struct tern_pipeline *pipeline, uint64_t length, uint64_t *offset,
                   struct tern_error *error)
{
    uint64_t start = tern_clock_now_ns();
    int result;

    do
        result = tern_writer_reserve(&pipeline->writer, length, offset, error);
    while (result == TERN_ENOSPC && tern_reclaim_await_room(&pipeline->writer, start));
    return result;
}

struct filling { /* progress of one object */
    const struct tern_apply_options *options;
    char step[TERN_NAME_MAX + 16];
    uint64_t done;
};

static bool report(void *context, uint64_t done, uint64_t total)
{
    struct filling *filling = context;

    filling->done = done;
    tern_report_progress(filling->options, filling->step,
                         total == 0 ? 0 : (unsigned)(1000 * tern_min_u64(done, total) / total),
                         done);
    return true;
}

/* Reserves the object and begins to fill it; with `wait`, until it has all that is stored. */
static int make(struct tern_pipeline *pipeline, const struct tern_collection_spec *spec,
                struct tern_object *object, bool wait, const struct tern_apply_options *options,
                struct tern_apply_collection *described, struct tern_error *error)
{
    struct tern_collection_place place = {.length = described->reserved_bytes};
    struct filling filling = {.options = options};
    int result = reserve(pipeline, place.length, &place.offset, error);

    if (result != 0)
        return result;
    if (options->dry_run) {
        tern_writer_discard(&pipeline->writer, place.offset);
        return 0;
    }
    place.object = pipeline->writer.base + place.offset;
    snprintf(filling.step, sizeof filling.step, "collection %s", spec->name);
    tern_report_progress(options, filling.step, 0, 0);
    TERN_RACE_POINT("collection-reserved");
    result = tern_collections_prepare(pipeline->collections, spec, &place, wait, report, &filling,
                                      error);
    if (result != 0) {
        tern_writer_discard(&pipeline->writer, place.offset);
        return result;
    }
    object->place = place;
    described->vectors = filling.done;
    TERN_RACE_POINT("collection-prepared");
    return 0;
}

static int make_or_keep(struct tern_pipeline *pipeline, const struct tern_collection_spec *spec,
                        struct tern_object *object, const struct tern_apply_options *options,
                        struct tern_apply_collection *described, struct tern_error *error)
{
    const struct tern_image *live_image = &pipeline->live_image;
    const int at = find_live(live_image, spec->name);
    const struct tern_object *live = at >= 0 ? &live_image->objects[at] : NULL;
    const bool is_there = live != NULL && live->place.object != NULL;
    uint64_t start = tern_clock_now_ns();
    struct tern_error why = {0};
    int result;

    snprintf(described->name, sizeof described->name, "%s", spec->name);
    described->capacity = spec->shape.capacity;
    described->reserved_bytes = tern_align_up(tern_graph_length(&spec->shape), TERN_EXTENT);
    if (is_there && !(live->broken && pipeline->collections != NULL) &&
        same_shape(&live_image->specs[at].shape, &spec->shape)) {
        const bool same = memcmp(&live_image->specs[at].parameters, &spec->parameters,
                                 sizeof spec->parameters) == 0;

        object->place = live->place;
        described->change = same ? TERN_COLLECTION_SAME : TERN_COLLECTION_ADJUSTED;
        return 0;
    }
    described->change = live == NULL ? TERN_COLLECTION_ADDED : TERN_COLLECTION_REBUILT;
    if (pipeline->collections == NULL && pipeline->collections_error[0] == '\0')
        return 0; /* a pipeline without vectors: a configuration's tests, say */
    if (pipeline->collections == NULL)
        result = tern_error_set(&why, TERN_EIO, "%s", pipeline->collections_error);
    else /* the one that is served answers until this one has all that it has */
        result = make(pipeline, spec, object, is_there, options, described, &why);
    described->build_ms = tern_clock_ms_since(start);
    if (result == 0)
        return 0;
    if (options->collections_may_lack) {
        snprintf(described->error, sizeof described->error, "%.300s", why.message);
        return 0;
    }
    return tern_error_set(error, result, "collection %s: %s", spec->name, why.message);
}

int tern_objects_prepare(struct tern_pipeline *pipeline, struct tern_image *image,
                         const struct tern_apply_options *options, struct tern_apply_result *result,
                         struct tern_error *error)
{
    int failed = 0;

    if (image->object_count == 0)
        return 0;
    result->collections = calloc(image->object_count, sizeof *result->collections);
    if (result->collections == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %u collections",
                              image->object_count);
    result->collection_count = image->object_count;
    for (unsigned i = 0; failed == 0 && i < image->object_count; i++)
        failed = make_or_keep(pipeline, &image->specs[i], &image->objects[i], options,
                              &result->collections[i], error);
    return failed;
}

unsigned tern_objects_list(const struct tern_image *image,
                           struct tern_collection_entry entries[TERN_COLLECTIONS_MAX])
{
    unsigned count = 0;

    for (unsigned i = 0; i < image->object_count; i++) {
        const struct tern_object *object = &image->objects[i];
        struct tern_collection_entry *entry = &entries[count];

        if (object->place.object == NULL)
            continue;
        *entry = (struct tern_collection_entry){.offset = object->place.offset,
                                                .length = object->place.length,
                                                .id = image->specs[i].id};
        memcpy(entry->object_id, object->place.object_id, sizeof entry->object_id);
        count++;
    }
    return count;
}

void tern_objects_commit(struct tern_pipeline *pipeline)
{
    static struct tern_collection_spec specs[TERN_COLLECTIONS_MAX]; /* one thread publishes */
    struct tern_collection_place places[TERN_COLLECTIONS_MAX];
    const struct tern_image *image = &pipeline->live_image;
    unsigned count = 0;

    if (pipeline->collections == NULL)
        return;
    for (unsigned i = 0; i < image->object_count; i++) {
        const struct tern_object *object = &image->objects[i];

        if (object->place.object == NULL || object->broken)
            continue;
        specs[count] = image->specs[i];
        places[count++] = object->place;
    }
    tern_collections_commit(pipeline->collections, specs, places, count);
}

int tern_pipeline_attach(struct tern_pipeline *pipeline, struct tern_collections *collections,
                         const struct tern_error *unusable, struct tern_error *error)
{
    struct tern_image *image = &pipeline->live_image;
    int failed = 0;

    pipeline->collections = collections;
    if (collections == NULL) {
        snprintf(pipeline->collections_error, sizeof pipeline->collections_error, "%.400s",
                 unusable->message);
        return 0;
    }
    for (unsigned i = 0; i < image->object_count; i++) {
        struct tern_object *object = &image->objects[i];
        struct tern_error why = {0};
        int result;

        if (object->place.object == NULL)
            result = tern_error_set(&why, TERN_ENOENT, "it has no place in the arena");
        else
            result = tern_collections_attach(collections, &image->specs[i], &object->place, &why);
        object->broken = result != 0;
        if (result != 0 && failed == 0)
            failed = tern_error_set(error, result, "collection %s: %s", image->specs[i].name,
                                    why.message);
    }
    tern_objects_commit(pipeline);
    return failed;
}

bool tern_pipeline_lacks_objects(const struct tern_pipeline *pipeline)
{
    for (unsigned i = 0; i < pipeline->live_image.object_count; i++)
        if (pipeline->live_image.objects[i].broken ||
            pipeline->live_image.objects[i].place.object == NULL)
            return pipeline->collections != NULL;
    return false;
}

/* ---- What the arena does for a graph ---- */

/* Huge pages for the 2 MiB units that [offset, offset + length) completes. When there are none to
 * have, asking costs the kernel a search for them: not again at once. */
static void gather(struct tern_pipeline *pipeline, uint64_t offset, uint64_t length)
{
    const uint64_t end = (offset + length) / TERN_EXTENT * TERN_EXTENT;
    uint64_t now_ns = tern_clock_now_ns();

    if (now_ns < atomic_load_explicit(&pipeline->gather_ns, memory_order_relaxed))
        return;
    for (uint64_t at = offset / TERN_EXTENT * TERN_EXTENT; at < end; at += TERN_EXTENT)
        if (tern_writer_gather(&pipeline->writer, at, TERN_EXTENT)) {
            atomic_fetch_add_explicit(&pipeline->huge_bytes, TERN_EXTENT, memory_order_relaxed);
        } else {
            atomic_store_explicit(&pipeline->gather_ns, now_ns + GATHER_PAUSE_NS,
                                  memory_order_relaxed);
            return;
        }
}

/* Offsets within the arena; from the thread that writes vectors, and from the builder's. */
static int host_allocate(void *context, uint64_t offset, uint64_t length, struct tern_error *error)
{
    struct tern_pipeline *pipeline = context;
    int result = tern_writer_back(&pipeline->writer, offset, length, error);

    if (result == 0)
        gather(pipeline, offset, length);
    return result;
}

static uint64_t host_grace_begin(void *context)
{
    const struct tern_pipeline *pipeline = context;

    return tern_reclaim_begin_grace(&pipeline->writer);
}

static bool host_grace_over(void *context, uint64_t number)
{
    struct tern_pipeline *pipeline = context;

    return tern_reclaim_grace_is_over(&pipeline->writer, number);
}

struct tern_graph_host tern_pipeline_host(struct tern_pipeline *pipeline)
{
    return (struct tern_graph_host){.context = pipeline,
                                    .allocate = host_allocate,
                                    .grace_begin = host_grace_begin,
                                    .grace_over = host_grace_over};
}
