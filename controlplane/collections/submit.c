/* The queue before the thread: batches are checked and copied by whoever submits, wait in the order
 * of their owner, and owners take turns. */
#include "controlplane/collections/payload.h"
#include "controlplane/collections/state.h"

#include "shared/clock.h"

#define OWNER_BYTES (16u << 20) /* that one owner may have waiting */
#define GROUP_ITEMS 256u        /* writes of one transaction: bounds how long the next one waits */
#define GROUP_BYTES (2u << 20)  /* likewise */

struct tern_collections_name *tern_collections_find(struct tern_collections *collections,
                                                    const char *name)
{
    struct tern_collections_name *known = collections->names;

    while (known != NULL && strcmp(known->spec.name, name) != 0)
        known = known->next;
    return known;
}

static int no_such_collection(struct tern_collections *collections, const char *name,
                              struct tern_error *error)
{
    char names[256] = "";

    for (const struct tern_collections_name *known = collections->names; known != NULL;
         known = known->next) {
        size_t used = strlen(names);

        if (known->open)
            snprintf(names + used, sizeof names - used, "%s%s", used != 0 ? ", " : "",
                     known->spec.name);
    }
    if (names[0] == '\0')
        return tern_error_set(
            error, TERN_ENOENT,
            "there is no collection '%.63s': the configuration that is served has "
            "none",
            name);
    return tern_error_set(error, TERN_ENOENT, "there is no collection '%.63s'; there are: %s", name,
                          names);
}

/* A copy of what a collection takes. */
struct target {
    struct tern_collection_spec spec;
    struct tern_collections_name *name;
    uint32_t shape;
};

static int find_target(struct tern_collections *collections, const char *name,
                       struct target *target, struct tern_error *error)
{
    struct tern_collections_name *known;
    int rc = 0;

    pthread_mutex_lock(&collections->mutex);
    known = tern_collections_find(collections, name);
    if (known == NULL || !known->open)
        rc = no_such_collection(collections, name, error);
    else
        *target = (struct target){known->spec, known, known->shape};
    pthread_mutex_unlock(&collections->mutex);
    return rc;
}

/* --- A batch --- */

static int check(const struct target *target, const struct tern_collection_write *write,
                 struct tern_error *error)
{
    const struct tern_graph_shape *shape = &target->spec.shape;
    int rc;

    if (write->vector == NULL)
        return 0;
    rc = tern_graph_check_vector(write->vector, shape->dim, error);
    if (rc == 0 && write->payload != NULL)
        rc = tern_payload_check(shape->columns, shape->column_count, write->payload, error);
    return rc;
}

static int make_batch(const struct target *target, const struct tern_collection_write *writes,
                      unsigned count, struct tern_collections_batch **out, struct tern_error *error)
{
    static const struct tern_graph_value nothing[TERN_PAYLOAD_COLUMNS_MAX];
    const struct tern_graph_shape *shape = &target->spec.shape;
    size_t vector_bytes = shape->dim * sizeof(float), bytes, vectors = 0;
    struct tern_collections_batch *batch;
    struct tern_buffer payloads = {0};
    uint8_t *at;
    int rc = 0;

    for (unsigned i = 0; i < count && rc == 0; i++) {
        if (writes[i].vector == NULL)
            continue;
        vectors += vector_bytes;
        rc = tern_payload_encode(&payloads, target->shape, shape->columns, shape->column_count,
                                 writes[i].payload != NULL ? writes[i].payload : nothing);
        if (rc == 0 && vectors + payloads.length > TERN_COLLECTION_BATCH_BYTES) {
            tern_buffer_free(&payloads);
            return tern_error_set(error, TERN_ELIMIT,
                                  "a batch holds more than %u MiB; send fewer vectors at once",
                                  TERN_COLLECTION_BATCH_BYTES >> 20);
        }
    }
    bytes = sizeof *batch + count * sizeof batch->items[0] + vectors + payloads.length;
    batch = rc == 0 ? malloc(bytes) : NULL;
    if (batch == NULL) {
        tern_buffer_free(&payloads);
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    }
    *batch = (struct tern_collections_batch){
        .name = target->name, .dim = shape->dim, .bytes = bytes, .count = count};
    at = (uint8_t *)&batch->items[count];
    if (payloads.length != 0)
        memcpy(at + vectors, payloads.data, payloads.length);
    tern_buffer_free(&payloads);
    for (unsigned i = 0; i < count; i++) {
        batch->items[i] = (struct tern_collections_item){.id = writes[i].id};
        if (writes[i].vector == NULL)
            continue;
        memcpy(at, writes[i].vector, vector_bytes);
        batch->items[i].vector = (const float *)(const void *)at;
        at += vector_bytes;
    }
    *out = batch;
    return 0;
}

/* Where each payload begins: they lie behind the vectors, in order. */
static void find_payloads(struct tern_collections_batch *batch,
                          const struct tern_graph_shape *shape)
{
    const uint8_t *at = (const uint8_t *)&batch->items[batch->count];

    for (unsigned i = 0; i < batch->count; i++)
        at += batch->items[i].vector != NULL ? shape->dim * sizeof(float) : 0;
    for (unsigned i = 0; i < batch->count; i++) {
        struct tern_collections_item *item = &batch->items[i];

        if (item->vector == NULL)
            continue;
        item->payload = at;
        item->payload_length =
            (uint32_t)tern_payload_bytes(at, shape->columns, shape->column_count);
        at += item->payload_length;
    }
}

/* --- Owners --- */

static struct tern_collections_owner *owner_of(struct tern_collections *collections, uint64_t id)
{
    struct tern_collections_owner **link = &collections->owners, *owner;

    for (; *link != NULL; link = &(*link)->next)
        if ((*link)->id == id && !(*link)->forgotten)
            return *link;
    owner = calloc(1, sizeof *owner);
    if (owner != NULL) {
        owner->id = id;
        owner->end = &owner->first;
        *link = owner;
    }
    return owner;
}

static void free_owner_if_idle(struct tern_collections *collections,
                               struct tern_collections_owner *owner)
{
    if (owner->uncollected != 0)
        return;
    for (struct tern_collections_owner **link = &collections->owners; *link != NULL;
         link = &(*link)->next)
        if (*link == owner) {
            *link = owner->next;
            free(owner);
            return;
        }
}

static int queue(struct tern_collections *collections, struct tern_collections_batch *batch,
                 uint64_t owner_id, struct tern_error *error)
{
    struct tern_collections_owner *owner = owner_of(collections, owner_id);

    if (owner == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    if (owner->uncollected >= TERN_COLLECTION_OWNER_MAX ||
        (owner->bytes != 0 && owner->bytes + batch->bytes > OWNER_BYTES) ||
        (collections->queued_bytes != 0 &&
         collections->queued_bytes + batch->bytes > TERN_COLLECTION_QUEUE_BYTES)) {
        free_owner_if_idle(collections, owner);
        return tern_error_set(error, TERN_EAGAIN, "too many writes are waiting");
    }
    batch->owner = owner;
    batch->submitted_ns = tern_clock_now_ns();
    *owner->end = batch;
    owner->end = &batch->next;
    owner->uncollected++;
    owner->bytes += batch->bytes;
    collections->queued_bytes += batch->bytes;
    batch->name->waiting += batch->count;
    atomic_store_explicit(&collections->urgent, true, memory_order_relaxed);
    pthread_cond_broadcast(&collections->changed);
    return 0;
}

int tern_collections_submit(struct tern_collections *collections, const char *name, uint64_t owner,
                            uint64_t ticket, const struct tern_collection_write *writes,
                            unsigned count, uint32_t *first_bad, struct tern_error *error)
{
    struct tern_collections_batch *batch = NULL;
    struct target target;
    int rc = find_target(collections, name, &target, error);

    if (rc != 0)
        return rc;
    if (count == 0 || count > TERN_COLLECTION_BATCH_MAX)
        return tern_error_set(error, TERN_ELIMIT, "a batch has 1 to %u writes, not %u",
                              TERN_COLLECTION_BATCH_MAX, count);
    for (unsigned i = 0; i < count; i++) {
        rc = check(&target, &writes[i], error);
        if (rc != 0) {
            if (first_bad != NULL)
                *first_bad = i;
            return rc;
        }
    }
    rc = make_batch(&target, writes, count, &batch, error);
    if (rc != 0)
        return rc;
    find_payloads(batch, &target.spec.shape);
    batch->ack.owner = owner;
    batch->ack.ticket = ticket;
    pthread_mutex_lock(&collections->mutex);
    rc = queue(collections, batch, owner, error);
    pthread_mutex_unlock(&collections->mutex);
    if (rc != 0)
        free(batch);
    return rc;
}

unsigned tern_collections_take(struct tern_collections *collections,
                               struct tern_collections_batch **batches, unsigned max)
{
    unsigned taken = 0, items = 0;
    size_t bytes = 0;
    bool any = true;

    while (any) { /* once around the owners */
        any = false;
        for (struct tern_collections_owner *owner = collections->owners; owner != NULL;
             owner = owner->next) {
            struct tern_collections_batch *batch = owner->first;

            if (batch == NULL)
                continue;
            if (taken == max || (taken != 0 && (items + batch->count > GROUP_ITEMS ||
                                                bytes + batch->bytes > GROUP_BYTES))) {
                /* Whoever did not fit goes first next time. */
                struct tern_collections_owner **end = &owner->next, *before = collections->owners;

                if (owner != before) {
                    while (*end != NULL)
                        end = &(*end)->next;
                    *end = before;
                    while (before->next != owner)
                        before = before->next;
                    before->next = NULL;
                    collections->owners = owner;
                }
                return taken;
            }
            owner->first = batch->next;
            if (owner->first == NULL)
                owner->end = &owner->first;
            batch->next = NULL;
            batches[taken++] = batch;
            items += batch->count;
            bytes += batch->bytes;
            any = true;
        }
    }
    atomic_store_explicit(&collections->urgent, false, memory_order_relaxed);
    return taken;
}

void tern_collections_acknowledge(struct tern_collections *collections,
                                  struct tern_collections_batch *batch)
{
    struct tern_collections_owner *owner = batch->owner;

    owner->bytes -= batch->bytes;
    collections->queued_bytes -= batch->bytes;
    batch->name->waiting -= batch->count;
    if (owner->forgotten) {
        owner->uncollected--;
        free(batch);
        free_owner_if_idle(collections, owner);
        return;
    }
    *collections->acks_end = batch;
    collections->acks_end = &batch->next;
    if (owner->id == TERN_COLLECTIONS_INSIDE)
        pthread_cond_broadcast(&collections->changed);
}

/* The oldest acknowledgement for this process itself, or for anybody else. */
static struct tern_collections_batch *take_ack(struct tern_collections *collections, bool inside)
{
    struct tern_collections_batch **link = &collections->acks, *batch;

    while (*link != NULL && ((*link)->owner->id == TERN_COLLECTIONS_INSIDE) != inside)
        link = &(*link)->next;
    batch = *link;
    if (batch == NULL)
        return NULL;
    *link = batch->next;
    if (*link == NULL)
        collections->acks_end = link;
    batch->owner->uncollected--;
    free_owner_if_idle(collections, batch->owner);
    return batch;
}

bool tern_collections_collect(struct tern_collections *collections, struct tern_collection_ack *ack)
{
    struct tern_collections_batch *batch;

    pthread_mutex_lock(&collections->mutex);
    batch = take_ack(collections, false);
    pthread_mutex_unlock(&collections->mutex);
    if (batch == NULL)
        return false;
    *ack = batch->ack;
    free(batch);
    return true;
}

static bool waits_inside(const struct tern_collections *collections)
{
    for (const struct tern_collections_owner *owner = collections->owners; owner != NULL;
         owner = owner->next)
        if (owner->id == TERN_COLLECTIONS_INSIDE && owner->uncollected != 0)
            return true;
    return false;
}

int tern_collections_await(struct tern_collections *collections, struct tern_collection_ack *ack)
{
    struct tern_collections_batch *batch;

    pthread_mutex_lock(&collections->mutex);
    while ((batch = take_ack(collections, true)) == NULL && waits_inside(collections))
        pthread_cond_wait(&collections->changed, &collections->mutex);
    pthread_mutex_unlock(&collections->mutex);
    if (batch == NULL)
        return TERN_ENOENT;
    *ack = batch->ack;
    free(batch);
    return 0;
}

void tern_collections_forget(struct tern_collections *collections, uint64_t id)
{
    struct tern_collections_batch **link = &collections->acks, *batch;
    struct tern_collections_owner *owner;

    pthread_mutex_lock(&collections->mutex);
    for (owner = collections->owners; owner != NULL; owner = owner->next)
        if (owner->id == id && !owner->forgotten)
            break;
    if (owner != NULL) {
        owner->forgotten = true;
        while ((batch = *link) != NULL) {
            if (batch->owner != owner) {
                link = &batch->next;
                continue;
            }
            *link = batch->next;
            owner->uncollected--;
            free(batch);
        }
        collections->acks_end = link;
        free_owner_if_idle(collections, owner);
    }
    pthread_mutex_unlock(&collections->mutex);
}

int tern_collections_describe(struct tern_collections *collections, const char *name,
                              struct tern_collection_spec *spec, struct tern_error *error)
{
    struct target target;
    int rc = find_target(collections, name, &target, error);

    if (rc == 0)
        *spec = target.spec;
    return rc;
}

void tern_collections_free_queue(struct tern_collections *collections)
{
    struct tern_collections_batch *batch;

    while ((batch = take_ack(collections, false)) != NULL ||
           (batch = take_ack(collections, true)) != NULL)
        free(batch);
    assert(collections->owners == NULL);
}
