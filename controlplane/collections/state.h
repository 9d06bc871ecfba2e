/* What the files of the collections share: the thread's queue, its objects, the names. submit.c
 * fills the queue, thread.c empties it, objects.c changes the set of objects, fill.c brings one up
 * to date, status.c tells. */
#ifndef TERN_COLLECTIONS_STATE_H
#define TERN_COLLECTIONS_STATE_H

#include "controlplane/collections/collections.h"
#include "controlplane/collections/vector_store.h"
#include "shared/histogram.h"

#include <pthread.h>

/* A name that writes may use. Kept until the end: a batch that waits refers to it. */
struct tern_collections_name {
    struct tern_collections_name *next;
    struct tern_collection_spec spec; /* writes are checked against it */
    uint32_t number, shape;           /* in the store: the collection, its payload columns */
    bool open;                        /* it has an object */
    uint64_t waiting;                 /* writes that are queued */
};

struct tern_collections_object {
    struct tern_collections_object *next;
    struct tern_collection_spec spec;
    struct tern_collection_place place;
    struct tern_graph_host host, arena; /* the graph's; the arena's that it is made of */
    struct tern_graph *graph;
    struct tern_collections_name *name;
    uint32_t shape; /* of the store: its payload columns */
    bool served;

    /* While it is filled, `applied` of the object is the last row taken from the store; what is
     * written meanwhile is put as well, and met again (without effect) when its row comes. */
    bool filling;
    uint64_t cursor, done, total, skipped;
    uint64_t began_us, began_done;
    uint64_t retry_us; /* after a failure: not before */
    struct tern_error failure;

    /* How payloads that were written under other columns are read. */
    uint32_t matched; /* shape of the store, 0: none */
    const struct tern_graph_column *from;
    unsigned from_count;
    int8_t matches[TERN_PAYLOAD_COLUMNS_MAX];
};

struct tern_collections_item { /* one write of a batch */
    uint64_t id, seq;
    const float *vector; /* NULL: remove */
    const uint8_t *payload;
    uint32_t payload_length;
    bool found; /* a removal that had something to remove */
};

struct tern_collections_batch {
    struct tern_collections_batch *next;
    struct tern_collections_owner *owner;
    struct tern_collections_name *name;
    struct tern_collection_ack ack;
    uint32_t dim;
    uint64_t submitted_ns;
    size_t bytes;
    unsigned count;
    struct tern_collections_item items[]; /* followed by vectors and payloads */
};

struct tern_collections_owner {
    struct tern_collections_owner *next;
    uint64_t id;
    struct tern_collections_batch *first, **end; /* queued */
    unsigned uncollected;
    size_t bytes;
    bool forgotten;
};

/* Two halves of about 30 s each, so that a percentile forgets. */
struct tern_collections_times {
    struct tern_histogram halves[2];
    unsigned current;
    uint64_t turned_us;
};

struct tern_collections {
    struct tern_vector_store *store; /* the thread's */
    char *state_dir;
    struct tern_graph_host arena;
    int wake_fd;
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* guards everything below, but see `objects` */
    pthread_cond_t changed;
    bool stopping;
    /* The builder's wish, run by the thread; NULL: none. */
    int (*call)(struct tern_collections *collections, void *argument, struct tern_error *error);
    void *call_argument;
    struct tern_error *call_error;
    int call_rc;
    struct tern_collections_owner *owners; /* the one whose turn it is first */
    size_t queued_bytes;
    struct tern_collections_batch *acks, **acks_end;
    struct tern_collections_name *names;
    /* Changed by the thread alone, with the mutex held; it reads them without. */
    struct tern_collections_object *objects;
    struct tern_collections_times commits, acknowledgements;
    uint64_t stored_seq;
    _Atomic bool urgent; /* something waits for the thread: no more background work */
    unsigned turn;       /* which object background work is for next */
    uint64_t told_us;    /* of progress */
    uint64_t purge_us;   /* when tombstones are looked for next */
    uint64_t sweep_us;   /* when rows that were dropped are swept next */
    bool sweeps;         /* there are some */
    bool sweeps_for_job; /* the job that dropped them sweeps, and tells how far it is */
};

/* Wakes whoever collects. */
void tern_collections_wake(struct tern_collections *collections);

/* Runs `function` on the thread and waits for it. */
int tern_collections_run(struct tern_collections *collections,
                         int (*function)(struct tern_collections *collections, void *argument,
                                         struct tern_error *error),
                         void *argument, struct tern_error *error);

/* The name, or NULL. With the mutex held. */
struct tern_collections_name *tern_collections_find(struct tern_collections *collections,
                                                    const char *name);

/* --- objects.c --- */

void tern_collections_free_object(struct tern_collections_object *object);

/* --- thread.c --- */

void *tern_collections_main(void *collections);
void tern_collections_times_add(struct tern_collections_times *times, uint64_t ns);
uint64_t tern_collections_times_p99_us(const struct tern_collections_times *times);

/* --- drop.c, for the thread --- */

/* Sweeps a slice of what was dropped, seldom while writes come (`urgent`). True when there is more,
 * at once or in a while. */
bool tern_collections_sweep(struct tern_collections *collections, bool urgent);

/* --- fill.c, for the thread --- */

/* Puts or removes one row; a vector of another dimension is passed over. */
int tern_collections_apply(struct tern_collections *collections,
                           struct tern_collections_object *object,
                           const struct tern_vector_row *row, struct tern_error *error);
/* Takes rows from the store for about `budget_us`. True when there may be more at once. */
bool tern_collections_fill(struct tern_collections *collections,
                           struct tern_collections_object *object, uint64_t budget_us);
/* The object lacks something that the store has: it is filled from where it was. */
void tern_collections_fall_behind(struct tern_collections *collections,
                                  struct tern_collections_object *object,
                                  const struct tern_error *why);

/* --- submit.c --- */

/* Takes the batches of the next transaction from the queue. With the mutex held. */
unsigned tern_collections_take(struct tern_collections *collections,
                               struct tern_collections_batch **batches, unsigned max);
/* Files the acknowledgement of a batch that was taken. With the mutex held. */
void tern_collections_acknowledge(struct tern_collections *collections,
                                  struct tern_collections_batch *batch);
void tern_collections_free_queue(struct tern_collections *collections);

#endif
