/* Brings an object up to date from the store: after a reboot, beside the one that is served, or
 * after it could not take what was written. */
#include "controlplane/collections/payload.h"
#include "controlplane/collections/state.h"

#include "controlplane/log.h"
#include "shared/clock.h"

#define ROWS_A_STEP 128
#define PROGRESS_US 50000   /* how often whoever waits is told */
#define RETRY_US    1000000 /* after a failure */

static struct tern_collection_header *header_of(const struct tern_collections_object *object)
{
    return (struct tern_collection_header *)(void *)object->place.object;
}

static void show_phase(const struct tern_collections_object *object)
{
    struct tern_collection_header *header = header_of(object);

    atomic_store_explicit(&header->phase_done, object->done, memory_order_relaxed);
    atomic_store_explicit(&header->phase_total, object->total, memory_order_relaxed);
    atomic_store_explicit(&header->phase,
                          object->filling ? TERN_COLLECTION_FILLING : TERN_COLLECTION_READY,
                          memory_order_relaxed);
}

static int match(struct tern_collections *collections, struct tern_collections_object *object,
                 uint32_t shape, struct tern_error *error)
{
    const struct tern_graph_shape *own = &object->spec.shape;
    int rc;

    if (shape == object->matched && shape != 0)
        return 0;
    object->matched = 0;
    rc = tern_vector_store_columns(collections->store, shape, &object->from, &object->from_count,
                                   error);
    if (rc != 0)
        return rc;
    tern_payload_match(object->from, object->from_count, own->columns, own->column_count,
                       object->matches);
    object->matched = shape;
    return 0;
}

int tern_collections_apply(struct tern_collections *collections,
                           struct tern_collections_object *object,
                           const struct tern_vector_row *row, struct tern_error *error)
{
    struct tern_graph_value values[TERN_PAYLOAD_COLUMNS_MAX];
    int rc;

    if (row->vector == NULL) {
        rc = tern_graph_remove(object->graph, row->id, row->seq);
        return rc == TERN_ENOENT ? 0 : rc;
    }
    if (row->dim != object->spec.shape.dim) {
        /* What it may hold of that id is older than this row. */
        (void)tern_graph_remove(object->graph, row->id, row->seq);
        return 0;
    }
    rc = match(collections, object, tern_payload_shape(row->payload, row->payload_length), error);
    if (rc == 0 &&
        tern_payload_decode(row->payload, row->payload_length, object->from, object->from_count,
                            object->matches, object->spec.shape.column_count, values) != 0)
        rc = tern_error_set(error, TERN_ECORRUPT,
                            "the payload of vector %llu of collection %s cannot be read",
                            (unsigned long long)row->id, object->spec.name);
    if (rc == 0)
        rc = tern_graph_put(object->graph, row->id, row->seq, row->vector, values, error);
    return rc;
}

struct filling {
    struct tern_collections *collections;
    struct tern_collections_object *object;
    uint64_t until_us;
    uint64_t done, skipped;
    int rc;
    struct tern_error error;
};

static bool take_row(void *context, const struct tern_vector_row *row)
{
    struct filling *filling = context;

    filling->rc =
        tern_collections_apply(filling->collections, filling->object, row, &filling->error);
    if (filling->rc != 0)
        return false;
    filling->object->cursor = row->seq;
    filling->done += row->vector != NULL;
    filling->skipped += row->vector != NULL && row->dim != filling->object->spec.shape.dim;
    return tern_clock_now_us() < filling->until_us;
}

void tern_collections_fall_behind(struct tern_collections *collections,
                                  struct tern_collections_object *object,
                                  const struct tern_error *why)
{
    uint64_t now_us = tern_clock_now_us();

    if (object->failure.code == 0)
        tern_control_log(TERN_LOG_ERROR, "collection %s: %s", object->spec.name, why->message);
    pthread_mutex_lock(&collections->mutex);
    if (!object->filling) {
        object->filling = true;
        object->cursor = tern_graph_applied(object->graph);
        object->began_us = now_us;
        object->began_done = object->done;
    }
    object->retry_us = now_us + RETRY_US;
    object->failure = *why;
    show_phase(object);
    pthread_cond_broadcast(&collections->changed);
    pthread_mutex_unlock(&collections->mutex);
}

/* What was taken is in the index: says so, there and to whoever waits. */
static void note_progress(struct tern_collections *collections,
                          struct tern_collections_object *object, const struct filling *filling,
                          bool ended)
{
    uint64_t now_us = tern_clock_now_us(),
             applied = ended ? tern_vector_store_seq(collections->store) : object->cursor;
    bool tell = ended || now_us - collections->told_us >= PROGRESS_US;

    tern_graph_set_applied(object->graph, applied);
    pthread_mutex_lock(&collections->mutex);
    object->done += filling->done;
    object->skipped += filling->skipped;
    object->failure.code = 0;
    if (ended) {
        object->filling = false;
        object->cursor = applied;
        object->total = object->done;
    }
    if (tell) {
        collections->told_us = now_us;
        pthread_cond_broadcast(&collections->changed);
    }
    pthread_mutex_unlock(&collections->mutex);
    show_phase(object);
    if (tell)
        tern_collections_wake(collections);
}

bool tern_collections_fill(struct tern_collections *collections,
                           struct tern_collections_object *object, uint64_t budget_us)
{
    uint64_t now_us = tern_clock_now_us();
    struct filling filling = {
        .collections = collections, .object = object, .until_us = now_us + budget_us};
    unsigned count = 0;
    int rc;

    if (now_us < object->retry_us)
        return false;
    rc = tern_vector_store_read(collections->store, object->name->number, object->cursor,
                                ROWS_A_STEP, take_row, &filling, &count, &filling.error);
    if (rc == 0)
        rc = filling.rc;
    if (rc != 0) {
        /* As far as it came. */
        if (filling.done != 0)
            note_progress(collections, object, &filling, false);
        tern_collections_fall_behind(collections, object, &filling.error);
        return false;
    }
    /* Fewer than asked for is the end, unless the last one was one too many for this turn. */
    if (count < ROWS_A_STEP) {
        uint64_t last = object->cursor;

        rc =
            tern_vector_store_last(collections->store, object->name->number, &last, &filling.error);
        if (rc != 0) {
            tern_collections_fall_behind(collections, object, &filling.error);
            return false;
        }
        note_progress(collections, object, &filling, last <= object->cursor);
        return last > object->cursor;
    }
    note_progress(collections, object, &filling, false);
    return true;
}
