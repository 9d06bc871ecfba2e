#include "controlplane/collections/state.h"

#include "controlplane/log.h"
#include "shared/background.h"
#include "shared/clock.h"
#include "shared/race.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define GROUP_BATCHES   64
#define WORK_US         500   /* of background work at a time, while nothing waits */
#define FILL_WRITING_US 2000  /* between two transactions, of an object that is filled */
#define TAIL_LONG       128   /* every search scans it: beyond that, whoever writes waits, */
#define TAIL_US         1000  /* at most so long for a vector that it has written */
#define TICK_US         10000 /* how often work that waits for readers is looked for */
#define PURGE_US        1000000
#define PURGE_LATE_US   60000000 /* when there is never nothing else to do */
#define PURGE_ROWS      1000
#define SLOTS_US        1000000 /* how long a write waits for one */
#define SLOTS_LEAST     16      /* free before a batch is stored */
#define HALF_US         (30 * 1000000ull)
#define NICE            5 /* request loops come first; acknowledgements before builds */

void tern_collections_wake(struct tern_collections *collections)
{
    uint64_t one = 1;

    /* A full counter means that whoever collects has been woken already. */
    if (write(collections->wake_fd, &one, sizeof one) < 0)
        return;
}

/* --- Times --- */

void tern_collections_times_add(struct tern_collections_times *times, uint64_t ns)
{
    uint64_t now_us = tern_clock_now_us();

    if (now_us - times->turned_us >= HALF_US) {
        times->current ^= 1;
        memset(&times->halves[times->current], 0, sizeof times->halves[0]);
        times->turned_us = now_us;
    }
    tern_histogram_add(&times->halves[times->current], ns, 1);
}

uint64_t tern_collections_times_p99_us(const struct tern_collections_times *times)
{
    struct tern_histogram_sum sum = {0};

    tern_histogram_collect(&sum, &times->halves[0]);
    tern_histogram_collect(&sum, &times->halves[1]);
    return (tern_histogram_quantile(&sum, 0.99) + 999) / 1000;
}

/* --- A transaction --- */

struct group {
    struct tern_collections_batch *batches[GROUP_BATCHES];
    unsigned count;
};

static void refuse(struct tern_collections_batch *batch, const struct tern_error *error)
{
    batch->ack.rc = error->code;
    batch->ack.error = *error;
    batch->ack.written = batch->ack.removed = 0;
    batch->ack.seq = 0;
}

/* Whether writes that were checked against the name's shape belong into the object. */
static bool concerns(const struct tern_collections_object *object,
                     const struct tern_collections_batch *batch)
{
    return object->name == batch->name && object->spec.shape.dim == batch->dim;
}

/* Whether searches use it: what it cannot take is refused. One that is prepared beside it fails by
 * itself. */
static bool counts(const struct tern_collections *collections,
                   const struct tern_collections_object *object)
{
    const struct tern_collections_object *other = collections->objects;

    if (object->served)
        return true;
    while (other != NULL && (other->name != object->name || !other->served))
        other = other->next;
    return other == NULL;
}

static int compare_ids(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

static uint64_t slots_left(const struct tern_collections_object *object)
{
    const struct tern_collection_header *header = tern_graph_collection(object->graph)->header;
    uint64_t used = (uint64_t)atomic_load_explicit(&header->live_count, memory_order_relaxed) +
                    atomic_load_explicit(&header->deleted_count, memory_order_relaxed);

    return used < header->capacity ? header->capacity - used : 0;
}

/* A put needs a slot, and those of replaced vectors come back only when their links are mended and
 * no reader can see them. Waits for that, as whoever writes faster has to; not for ever, because a
 * reader that is stuck holds them all. */
static bool await_slots(const struct tern_collections_object *object, uint64_t needed)
{
    uint64_t until_us = tern_clock_now_us() + SLOTS_US;

    while (slots_left(object) < needed) {
        const struct timespec pause = {.tv_nsec = 200000};

        if (tern_clock_now_us() > until_us)
            return false;
        if (!tern_graph_work(object->graph, WORK_US))
            nanosleep(&pause, NULL);
    }
    return true;
}

/* How many ids of the group's batches up to `last` the object does not have. Counts one that comes
 * twice only once. TERN_ENOMEM is told as all of them. */
static uint64_t count_new(const struct tern_collections_object *object, const struct group *group,
                          unsigned last)
{
    uint64_t *ids, count = 0, distinct = 0, all = 0;

    for (unsigned b = 0; b <= last; b++)
        all += group->batches[b]->count;
    ids = malloc(all * sizeof *ids);
    if (ids == NULL)
        return all;
    for (unsigned b = 0; b <= last; b++) {
        const struct tern_collections_batch *batch = group->batches[b];

        if (batch->ack.rc != 0 || !concerns(object, batch))
            continue;
        for (unsigned i = 0; i < batch->count; i++) {
            uint64_t seq;

            if (batch->items[i].vector != NULL &&
                !tern_graph_find(object->graph, batch->items[i].id, &seq))
                ids[count++] = batch->items[i].id;
        }
    }
    qsort(ids, count, sizeof *ids, compare_ids);
    for (uint64_t i = 0; i < count; i++)
        distinct += i == 0 || ids[i] != ids[i - 1];
    free(ids);
    return distinct;
}

static unsigned count_puts(const struct tern_collections_batch *batch)
{
    unsigned count = 0;

    for (unsigned i = 0; i < batch->count; i++)
        count += batch->items[i].vector != NULL;
    return count;
}

static int check_capacity(const struct tern_collections_object *object, const struct group *group,
                          unsigned index, struct tern_error *error)
{
    uint64_t live = atomic_load_explicit(&tern_graph_collection(object->graph)->header->live_count,
                                         memory_order_relaxed),
             capacity = object->spec.shape.capacity, most = 0;

    if (object->filling) /* it will hold what the store holds */
        live = tern_max_u64(live, object->total);

    /* Removals go on whatever readers hold. */
    if (!await_slots(object, tern_min_u64(count_puts(group->batches[index]), SLOTS_LEAST)))
        return tern_error_set(error, TERN_ENOSPC,
                              "collection %s has no slot left: %u vectors that were replaced or "
                              "removed wait until no reader can see them (`ternctl readers` names "
                              "the oldest); try again",
                              object->spec.name,
                              (unsigned)atomic_load_explicit(
                                  &tern_graph_collection(object->graph)->header->deleted_count,
                                  memory_order_relaxed));
    /* The exact answer costs a sort: only near the end. */
    for (unsigned b = 0; b <= index; b++)
        most += concerns(object, group->batches[b]) ? group->batches[b]->count : 0;
    if (live + most <= capacity || live + count_new(object, group, index) <= capacity)
        return 0;
    return tern_error_set(error, TERN_ENOSPC,
                          "collection %s is full: it holds %llu of %llu vectors, and this batch is "
                          "too much; raise its `capacity`",
                          object->spec.name, (unsigned long long)live,
                          (unsigned long long)capacity);
}

/* Refuses what cannot be taken, before anything of it is stored. */
static void check_batch(struct tern_collections *collections, struct group *group, unsigned index)
{
    struct tern_collections_batch *batch = group->batches[index];
    struct tern_error error;
    bool taken = false;
    int rc = 0;

    for (struct tern_collections_object *object = collections->objects; object != NULL && rc == 0;
         object = object->next) {
        if (!concerns(object, batch) || !counts(collections, object))
            continue;
        taken = true;
        if (object->filling && object->failure.code == TERN_ENOSPC)
            rc = tern_error_set(&error, TERN_ENOSPC, "collection %s takes no writes: %.400s",
                                object->spec.name, object->failure.message);
        else
            rc = check_capacity(object, group, index, &error);
    }
    if (rc == 0 && !taken)
        rc = tern_error_set(&error, TERN_EINVAL,
                            "collection %s has changed meanwhile; look at it and send this again",
                            batch->name->spec.name);
    if (rc != 0)
        refuse(batch, &error);
}

static int store_batch(struct tern_collections *collections, struct tern_collections_batch *batch,
                       struct tern_error *error)
{
    struct tern_vector_store *store = collections->store;
    uint32_t number = batch->name->number;
    int rc = 0;

    for (unsigned i = 0; i < batch->count && rc == 0; i++) {
        struct tern_collections_item *item = &batch->items[i];

        if (item->vector == NULL) {
            rc = tern_vector_store_remove(store, number, item->id, &item->seq, &item->found, error);
            batch->ack.removed += item->found;
        } else {
            rc = tern_vector_store_put(store, number, item->id, item->vector, batch->dim,
                                       item->payload, item->payload_length, &item->seq, error);
            batch->ack.written++;
        }
        batch->ack.seq = tern_max_u64(batch->ack.seq, item->seq);
    }
    return rc;
}

static int store_group(struct tern_collections *collections, struct group *group,
                       struct tern_error *error)
{
    uint64_t began_ns = tern_clock_now_ns();
    int rc = tern_vector_store_begin(collections->store, error);

    if (rc != 0)
        return rc;
    for (unsigned b = 0; b < group->count && rc == 0; b++)
        if (group->batches[b]->ack.rc == 0)
            rc = store_batch(collections, group->batches[b], error);
    rc = tern_vector_store_end(collections->store, rc, error);
    if (rc == 0) {
        uint64_t took_ns = tern_clock_now_ns() - began_ns;

        pthread_mutex_lock(&collections->mutex);
        tern_collections_times_add(&collections->commits, took_ns);
        collections->stored_seq = tern_vector_store_seq(collections->store);
        pthread_mutex_unlock(&collections->mutex);
    }
    return rc;
}

/* Durable by now: the index takes it, or catches up from the store. */
static int index_batch(struct tern_collections *collections, struct tern_collections_object *object,
                       const struct tern_collections_batch *batch, struct tern_error *error)
{
    int rc = 0;

    for (unsigned i = 0; i < batch->count && rc == 0; i++) {
        const struct tern_collections_item *item = &batch->items[i];
        const struct tern_vector_row row = {
            .seq = item->seq,
            .id = item->id,
            .vector = item->vector,
            .dim = batch->dim,
            .payload = item->payload,
            .payload_length = item->payload_length,
        };

        /* A batch may be larger than the slots to spare: what is missing is refused by the put. */
        if (item->vector != NULL)
            (void)await_slots(object, 1);
        if (item->vector != NULL || item->found)
            rc = tern_collections_apply(collections, object, &row, error);
    }
    return rc;
}

static void index_group(struct tern_collections *collections, struct group *group,
                        struct tern_collections_object *object)
{
    struct tern_error error = {0};
    int rc = 0;

    for (unsigned b = 0; b < group->count; b++) {
        struct tern_collections_batch *batch = group->batches[b];

        if (batch->ack.rc != 0 || object->name != batch->name)
            continue;
        if (rc == 0)
            rc = index_batch(collections, object, batch, &error);
        /* Whoever searches it must not be told that it is there. */
        if (rc != 0 && concerns(object, batch) && counts(collections, object)) {
            struct tern_error why;

            tern_error_set(&why, rc,
                           "stored, but not searchable until there is room for it (then without "
                           "further ado): %.300s",
                           error.message);
            batch->ack.rc = rc;
            batch->ack.error = why;
        }
    }
    if (rc != 0)
        tern_collections_fall_behind(collections, object, &error);
    else if (!object->filling)
        tern_graph_set_applied(object->graph, tern_vector_store_seq(collections->store));
}

static void write_group(struct tern_collections *collections, struct group *group)
{
    struct tern_error error = {0};
    bool any = false;
    int rc = 0;

    for (unsigned b = 0; b < group->count; b++) {
        check_batch(collections, group, b);
        any |= group->batches[b]->ack.rc == 0;
    }
    if (!any)
        return;
    rc = store_group(collections, group, &error);
    TERN_RACE_POINT("vectors-committed");
    for (unsigned b = 0; b < group->count && rc != 0; b++)
        if (group->batches[b]->ack.rc == 0)
            refuse(group->batches[b], &error);
    if (rc != 0)
        return;
    for (struct tern_collections_object *object = collections->objects; object != NULL;
         object = object->next) {
        index_group(collections, group, object);
        TERN_RACE_POINT("vectors-applied");
    }
}

static void acknowledge(struct tern_collections *collections, struct group *group)
{
    uint64_t now_ns = tern_clock_now_ns();

    for (unsigned b = 0; b < group->count; b++) {
        tern_collections_times_add(&collections->acknowledgements,
                                   now_ns - group->batches[b]->submitted_ns);
        tern_collections_acknowledge(collections, group->batches[b]);
    }
    tern_collections_wake(collections);
}

/* --- Between transactions --- */

/* Tombstones that every object of the name has applied. */
static void purge(struct tern_collections *collections, struct tern_collections_name *name)
{
    uint64_t applied = UINT64_MAX;
    struct tern_error error;
    unsigned purged = 0;

    for (const struct tern_collections_object *object = collections->objects; object != NULL;
         object = object->next)
        if (object->name == name)
            applied = tern_min_u64(applied, tern_graph_applied(object->graph));
    if (applied == UINT64_MAX ||
        applied <= tern_vector_store_purged(collections->store, name->number))
        return;
    if (tern_vector_store_purge(collections->store, name->number, applied, PURGE_ROWS, &purged,
                                &error) != 0)
        tern_control_log(TERN_LOG_WARNING, "%s", error.message);
}

static uint32_t tail_length(const struct tern_collections_object *object)
{
    uint64_t tail = atomic_load_explicit(&tern_graph_collection(object->graph)->header->tail,
                                         memory_order_relaxed);

    return (uint32_t)(tail >> 32) - (uint32_t)tail;
}

static bool is_urgent(const struct tern_collections *collections)
{
    return atomic_load_explicit(&collections->urgent, memory_order_relaxed);
}

/* How long writes that wait go on waiting for the graph's work. Whoever writes faster than vectors
 * are linked waits for that sooner or later. Later, with a full tail, means that every search
 * measures two thousand vectors more, which is 40 % of its time. What was written has been
 * acknowledged: it is the next transaction that waits. */
static uint64_t writes_wait_us(const struct tern_collections_object *object, unsigned written)
{
    return tail_length(object) > TAIL_LONG ? (uint64_t)written * TAIL_US : 0;
}

/* Unit by unit (a link, a repair: some tenths of a millisecond), so that a write that comes waits
 * for the rest of one. One is done in any case, or writes that never stop would leave tombstones
 * for ever. */
static bool work_on_graph(const struct tern_collections *collections,
                          const struct tern_collections_object *object, unsigned written)
{
    uint64_t began_us = tern_clock_now_us();
    bool more, wanted;

    do {
        more = tern_graph_work(object->graph, 0);
        wanted = tern_clock_now_us() - began_us <
                 (is_urgent(collections) ? writes_wait_us(object, written) : WORK_US);
    } while (more && wanted);
    return more;
}

/* Slices for one object. One that is filled gets more: writes that wait for each other would keep
 * it from ever being current. */
static bool work_on(struct tern_collections *collections, struct tern_collections_object *object,
                    unsigned written)
{
    bool more = false;

    if (object->filling)
        more = tern_collections_fill(collections, object, written != 0 ? FILL_WRITING_US : WORK_US);
    more |= work_on_graph(collections, object, written);
    return more;
}

/* `written`: vectors of the transaction before. Objects take turns: one at a time while writes
 * come. True when there is more to do at once. */
static bool work(struct tern_collections *collections, unsigned written)
{
    struct tern_collections_object *object = collections->objects;
    uint64_t now_us = tern_clock_now_us();
    bool more = false, urgent = written != 0;
    unsigned count = 0;

    for (; object != NULL; object = object->next)
        count++;
    for (unsigned worked = 0; worked < count && (worked == 0 || !urgent); worked++) {
        object = collections->objects;
        for (unsigned skip = collections->turn++ % count; skip != 0; skip--)
            object = object->next;
        more |= work_on(collections, object, written);
        urgent |= is_urgent(collections);
    }
    if (now_us >= collections->purge_us + (more || urgent ? PURGE_LATE_US : 0)) {
        collections->purge_us = now_us + PURGE_US;
        for (struct tern_collections_name *name = collections->names; name != NULL;
             name = name->next)
            purge(collections, name);
    }
    collections->sweeps = tern_collections_sweep(collections, urgent);
    return more || urgent || (collections->sweeps && tern_clock_now_us() >= collections->sweep_us);
}

/* Whether time alone may bring work: readers leave, a failure is tried again, tombstones age. */
static bool is_waiting(const struct tern_collections *collections)
{
    if (collections->sweeps)
        return true;
    for (const struct tern_collections_object *object = collections->objects; object != NULL;
         object = object->next)
        if (object->filling ||
            atomic_load_explicit(&tern_graph_collection(object->graph)->header->deleted_count,
                                 memory_order_relaxed) != 0)
            return true;
    return false;
}

static void rest(struct tern_collections *collections)
{
    uint64_t until_us = tern_clock_now_us() + TICK_US;
    const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                                   .tv_nsec = (long)(until_us % 1000000) * 1000};

    if (is_waiting(collections))
        pthread_cond_timedwait(&collections->changed, &collections->mutex, &until);
    else
        pthread_cond_wait(&collections->changed, &collections->mutex);
}

void *tern_collections_main(void *argument)
{
    struct tern_collections *collections = argument;

    pthread_setname_np(pthread_self(), "vectors");
    (void)tern_background_begin(NICE);
    pthread_mutex_lock(&collections->mutex);
    for (;;) {
        struct group group = {0};
        unsigned written = 0;
        bool more;

        if (collections->call != NULL) {
            pthread_mutex_unlock(&collections->mutex);
            collections->call_rc =
                collections->call(collections, collections->call_argument, collections->call_error);
            pthread_mutex_lock(&collections->mutex);
            collections->call = NULL;
            pthread_cond_broadcast(&collections->changed);
        }
        group.count = tern_collections_take(collections, group.batches, GROUP_BATCHES);
        if (group.count == 0 && collections->stopping)
            break;
        pthread_mutex_unlock(&collections->mutex);
        if (group.count != 0) {
            for (unsigned b = 0; b < group.count; b++)
                written += group.batches[b]->count;
            write_group(collections, &group);
            pthread_mutex_lock(&collections->mutex);
            acknowledge(collections, &group);
            pthread_mutex_unlock(&collections->mutex);
        }
        more = work(collections, written);
        pthread_mutex_lock(&collections->mutex);
        if (!more && !is_urgent(collections) && collections->call == NULL && !collections->stopping)
            rest(collections);
    }
    pthread_mutex_unlock(&collections->mutex);
    return NULL;
}
