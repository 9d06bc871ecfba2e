/* Start and stop of the thread, and the way onto it for whoever wants something of its store.
 */
#include "controlplane/collections/state.h"

int tern_collections_start(const struct tern_collections_options *options,
                           struct tern_collections **out, struct tern_error *error)
{
    struct tern_collections *collections = calloc(1, sizeof *collections);
    pthread_condattr_t attributes;
    int status, rc;

    if (collections == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    collections->arena = *options->host;
    collections->wake_fd = options->wake_fd;
    collections->acks_end = &collections->acks;
    pthread_mutex_init(&collections->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&collections->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    collections->state_dir = strdup(options->state_dir);
    if (collections->state_dir == NULL)
        rc = tern_error_set(error, TERN_ENOMEM, "out of memory");
    else
        rc = tern_vector_store_open(options->state_dir, &collections->store, error);
    if (rc == 0) {
        collections->stored_seq = tern_vector_store_seq(collections->store);
        status = pthread_create(&collections->thread, NULL, tern_collections_main, collections);
        if (status != 0)
            rc = tern_error_system(error, status, "cannot start the thread of the vectors");
        else
            collections->started = true;
    }
    if (rc != 0) {
        tern_collections_stop(collections);
        return rc;
    }
    *out = collections;
    return 0;
}

void tern_collections_stop(struct tern_collections *collections)
{
    struct tern_collections_object *object;
    struct tern_collections_name *name;

    if (collections == NULL)
        return;
    if (collections->started) {
        pthread_mutex_lock(&collections->mutex);
        collections->stopping = true;
        pthread_cond_broadcast(&collections->changed);
        pthread_mutex_unlock(&collections->mutex);
        pthread_join(collections->thread, NULL);
    }
    tern_collections_free_queue(collections);
    while ((object = collections->objects) != NULL) {
        collections->objects = object->next;
        tern_collections_free_object(object);
    }
    while ((name = collections->names) != NULL) {
        collections->names = name->next;
        free(name);
    }
    tern_vector_store_close(collections->store);
    free(collections->state_dir);
    pthread_cond_destroy(&collections->changed);
    pthread_mutex_destroy(&collections->mutex);
    free(collections);
}

int tern_collections_run(struct tern_collections *collections,
                         int (*function)(struct tern_collections *collections, void *argument,
                                         struct tern_error *error),
                         void *argument, struct tern_error *error)
{
    int rc;

    pthread_mutex_lock(&collections->mutex);
    collections->call = function;
    collections->call_argument = argument;
    collections->call_error = error;
    atomic_store_explicit(&collections->urgent, true, memory_order_relaxed);
    pthread_cond_broadcast(&collections->changed);
    while (collections->call != NULL)
        pthread_cond_wait(&collections->changed, &collections->mutex);
    rc = collections->call_rc;
    pthread_mutex_unlock(&collections->mutex);
    return rc;
}

/* --- What the store has --- */

struct look {
    const char *name;
    bool empty;
};

/* On the thread. */
static int look_for_rows(struct tern_collections *collections, void *argument,
                         struct tern_error *error)
{
    struct look *look = argument;
    uint32_t number = 0;
    uint64_t seq = 0;
    int rc = tern_vector_store_collection(collections->store, look->name, &number, error);

    if (rc == 0)
        rc = tern_vector_store_last(collections->store, number, &seq, error);
    look->empty = seq == 0;
    return rc;
}

int tern_collections_is_empty(struct tern_collections *collections, const char *name, bool *empty,
                              struct tern_error *error)
{
    struct look look = {.name = name};
    int rc = tern_collections_run(collections, look_for_rows, &look, error);

    if (rc == 0)
        *empty = look.empty;
    return rc;
}

const uint8_t *tern_collections_store_id(const struct tern_collections *collections)
{
    return tern_vector_store_id(collections->store);
}
