/* What is left in the store under names that no configuration uses any more, and its end: dropped
 * with one commit, then swept away in slices, by the job that dropped it or after a restart. */
#include "controlplane/collections/state.h"

#include "controlplane/log.h"
#include "shared/clock.h"
#include "shared/race.h"

#define SLICE_ROWS 1000u   /* of one transaction: bounds how long a write waits for it */
#define URGENT_US  50000   /* between two of them while writes come */
#define RETRY_US   1000000 /* after a failure */

struct left_over {
    const char *name;
    uint32_t number; /* in the store */
    uint64_t vectors;
    unsigned swept; /* rows of the last slice */
};

static bool is_open(struct tern_collections *collections, const char *name)
{
    const struct tern_collections_name *known;
    bool open;

    pthread_mutex_lock(&collections->mutex);
    known = tern_collections_find(collections, name);
    open = known != NULL && known->open;
    pthread_mutex_unlock(&collections->mutex);
    return open;
}

/* TERN_ENOENT, with what could have been meant. */
static int nothing_there(struct tern_collections *collections, const char *name,
                         struct tern_error *error)
{
    char names[300] = "";
    const char *other;

    for (uint32_t i = 1; (other = tern_vector_store_name(collections->store, i)) != NULL; i++) {
        size_t used = strlen(names);
        uint64_t last = 0;

        if (!is_open(collections, other) &&
            tern_vector_store_last(collections->store, i, &last, NULL) == 0 && last != 0)
            snprintf(names + used, sizeof names - used, "%s%s", used != 0 ? ", " : "", other);
    }
    return tern_error_set(error, TERN_ENOENT,
                          "nothing is stored of a collection '%.63s'; of those that are not "
                          "configured there %s%s",
                          name, names[0] != '\0' ? "are: " : "is none", names);
}

/* On the thread, as what follows. */
static int find(struct tern_collections *collections, struct left_over *left,
                struct tern_error *error)
{
    uint64_t last = 0;
    int rc = 0;

    if (is_open(collections, left->name))
        return tern_error_set(error, TERN_EBUSY, "collection %.63s is in use", left->name);
    left->number = tern_vector_store_find_collection(collections->store, left->name);
    if (left->number != 0)
        rc = tern_vector_store_last(collections->store, left->number, &last, error);
    if (rc == 0 && last == 0)
        rc = nothing_there(collections, left->name, error);
    return rc;
}

static int count(struct tern_collections *collections, void *argument, struct tern_error *error)
{
    struct left_over *left = argument;
    int rc = find(collections, left, error);

    if (rc == 0)
        rc = tern_vector_store_count(collections->store, left->number, &left->vectors, error);
    return rc;
}

static int drop_all(struct tern_collections *collections, void *argument, struct tern_error *error)
{
    struct left_over *left = argument;
    int rc = tern_vector_store_drop(collections->store, left->number, error);

    collections->sweeps_for_job = rc == 0;
    TERN_RACE_POINT("vectors-dropped");
    return rc;
}

static int sweep_slice(struct tern_collections *collections, void *argument,
                       struct tern_error *error)
{
    struct left_over *left = argument;
    int rc =
        tern_vector_store_sweep(collections->store, left->number, SLICE_ROWS, &left->swept, error);

    TERN_RACE_POINT("vectors-swept");
    return rc;
}

static int end_job(struct tern_collections *collections, void *argument, struct tern_error *error)
{
    (void)argument;
    (void)error;
    collections->sweeps_for_job = false;
    return 0;
}

bool tern_collections_sweep(struct tern_collections *collections, bool urgent)
{
    uint64_t now_us = tern_clock_now_us();
    struct left_over left = {0};
    struct tern_error error;

    if (collections->sweeps_for_job)
        return false;
    for (uint32_t i = 1; left.number == 0 && tern_vector_store_name(collections->store, i); i++)
        if (tern_vector_store_dropped(collections->store, i) != 0)
            left.number = i;
    if (left.number == 0)
        return false;
    if (now_us < collections->sweep_us)
        return true;
    collections->sweep_us = urgent ? now_us + URGENT_US : 0;
    if (sweep_slice(collections, &left, &error) != 0) {
        tern_control_log(TERN_LOG_WARNING, "cannot sweep what was dropped: %s", error.message);
        collections->sweep_us = now_us + RETRY_US;
    }
    return true;
}

int tern_collections_left_over(struct tern_collections *collections, const char *name,
                               uint64_t *vectors, struct tern_error *error)
{
    struct left_over left = {.name = name};
    int rc = tern_collections_run(collections, count, &left, error);

    if (rc == 0)
        *vectors = left.vectors;
    return rc;
}

int tern_collections_drop(struct tern_collections *collections, const char *name,
                          void (*report)(void *context, uint64_t done), void *context,
                          struct tern_error *error)
{
    struct left_over left = {.name = name, .swept = SLICE_ROWS};
    struct tern_error failure;
    uint64_t done = 0;
    int rc = tern_collections_run(collections, count, &left, error);

    /* Only this thread takes names into use: none comes between. */
    if (rc == 0)
        rc = tern_collections_run(collections, drop_all, &left, error);
    if (rc != 0)
        return rc;
    while (rc == 0 && left.swept == SLICE_ROWS) {
        rc = tern_collections_run(collections, sweep_slice, &left, &failure);
        done += rc == 0 ? left.swept : 0;
        report(context, done);
    }
    /* They are gone for whoever asks; what a failure has left is swept like after a restart. */
    return tern_collections_run(collections, end_job, NULL, error);
}
