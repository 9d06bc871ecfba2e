/* The collections of vectors: one thread that writes them all, their durable store, and what the
 * builder (configurations) and the API (upserts, searches by operators) ask of it.
 *
 * A write's way: submitted → checked → committed to the store (one transaction for all that wait) →
 * put into every object of its collection → applied_seq → acknowledged. What was acknowledged is
 * found by the next search and survives a kill of any process and a reboot.
 *
 * An object's way: prepare (the builder has reserved its space; the thread fills it from the store
 * and from then on keeps it current) → commit (a root names it) → released (no root does). */
#ifndef TERN_COLLECTIONS_H
#define TERN_COLLECTIONS_H

#include "controlplane/build/graph.h"

#define TERN_COLLECTION_BATCH_MAX   1024u      /* writes of one batch */
#define TERN_COLLECTION_BATCH_BYTES (8u << 20) /* of its vectors and payloads */
#define TERN_COLLECTION_OWNER_MAX   32u        /* batches of one owner that are not collected yet */
#define TERN_COLLECTION_QUEUE_BYTES (128u << 20) /* of all that waits */

struct tern_collections;

struct tern_collections_options {
    const char *state_dir; /* the store: STATE_DIR/vectors.db */
    /* `allocate` takes offsets within the arena. Called by the thread and, within prepare and
     * attach, by their caller. Copied; its context outlives the collections. */
    const struct tern_graph_host *host;
    int wake_fd; /* an eventfd, written when there are acknowledgements or progress */
};

/* Opens the store (made when missing) and starts the thread. TERN_ECORRUPT, TERN_EBUSY, … with what
 * to do. */
int tern_collections_start(const struct tern_collections_options *options,
                           struct tern_collections **collections, struct tern_error *error);
/* Finishes what was submitted, links nothing more, ends the thread. */
void tern_collections_stop(struct tern_collections *collections);

/* What a configuration says of one collection. */
struct tern_collection_spec {
    char name[TERN_NAME_MAX + 1];
    uint32_t id; /* in the schema */
    struct tern_graph_shape shape;
    struct tern_graph_parameters parameters;
};

/* --- for one thread, the builder's --- */

struct tern_collection_place { /* an object in the arena */
    uint8_t *object;
    uint64_t offset; /* in the arena */
    uint64_t length;
    uint8_t object_id[16];
};

/* Formats an object at `place` (zeroed address space; sets place->object_id) and begins to fill it
 * from the store. With `wait`, returns once it has everything the store has (progress through
 * `report`, NULL or a function that may return false to cancel; called at least once); without, at
 * once. Rows whose vectors have another dimension stay in the store and are passed over.
 * TERN_ENOSPC the store holds more than fits, or there are no pages; TERN_ECANCELLED; on any
 * failure the object is forgotten.
 */
int tern_collections_prepare(struct tern_collections *collections,
                             const struct tern_collection_spec *spec,
                             struct tern_collection_place *place, bool wait,
                             bool (*report)(void *context, uint64_t done, uint64_t total),
                             void *context, struct tern_error *error);
/* Takes over an object found in the arena: recovers it, compares store_id and applied_seq with the
 * store and begins to replay what is past. Reads nothing of the store that the object has applied.
 * TERN_ECORRUPT when it has to be built anew. */
int tern_collections_attach(struct tern_collections *collections,
                            const struct tern_collection_spec *spec,
                            const struct tern_collection_place *place, struct tern_error *error);
/* These, and only these, are what the root names now: sets parameters in place; every other object
 * is let go of before it returns, so that its space can be retired. */
void tern_collections_commit(struct tern_collections *collections,
                             const struct tern_collection_spec *specs,
                             const struct tern_collection_place *places, unsigned count);
/* Forgets what was prepared and not committed. */
void tern_collections_abandon(struct tern_collections *collections);

/* --- for any thread --- */

struct tern_collection_write {
    uint64_t id;
    const float *vector;                    /* NULL: remove */
    const struct tern_graph_value *payload; /* in the collection's column order; NULL with remove */
};

/* What became of a batch. */
struct tern_collection_ack {
    uint64_t owner, ticket;
    /* Of the whole batch: nothing of it was written unless 0. TERN_ENOSPC: capacity. TERN_EBUSY,
     * TERN_EIO, …: the store. TERN_EINVAL: the collection has changed meanwhile. */
    int rc;
    uint32_t written; /* puts */
    uint32_t removed; /* removes that found their id */
    uint64_t seq;     /* of the last write; 0: the batch changed nothing */
    struct tern_error error;
};

/* Submits `count` writes as one batch, all or nothing; copies them. Of two writes of one id the
 * later one counts. The acknowledgement comes through tern_collections_collect; those of one owner
 * come in the order of their submission. Owners take turns: one that submits much delays no other.
 * Refused at once, and nothing is queued: TERN_EAGAIN too much waits, try after the next collect;
 * TERN_ENOENT no such collection; TERN_ELIMIT too large a batch; TERN_EINVAL with the first bad
 * write's reason and `*first_bad` (may be NULL), its index. */
int tern_collections_submit(struct tern_collections *collections, const char *name, uint64_t owner,
                            uint64_t ticket, const struct tern_collection_write *writes,
                            unsigned count, uint32_t *first_bad, struct tern_error *error);
/* The next acknowledgement; false when there is none. */
bool tern_collections_collect(struct tern_collections *collections,
                              struct tern_collection_ack *ack);
/* Acknowledgements of `owner` are wanted no more. */
void tern_collections_forget(struct tern_collections *collections, uint64_t owner);

/* The owner of writes from within this process: their acknowledgements are not for collect. One
 * thread at a time. */
#define TERN_COLLECTIONS_INSIDE UINT64_MAX
/* Waits for the next acknowledgement of that owner. TERN_ENOENT: nothing of it is in flight. */
int tern_collections_await(struct tern_collections *collections, struct tern_collection_ack *ack);

/* For the builder's thread, too: what is left under a name that no configuration uses any more. How
 * many vectors there are: TERN_EBUSY it is in use; TERN_ENOENT there is nothing (with the names
 * under which there is). */
int tern_collections_left_over(struct tern_collections *collections, const char *name,
                               uint64_t *vectors, struct tern_error *error);
/* Drops them: with one commit they are gone for whoever asks. Then their rows are swept away, in
 * transactions between those of writers; `report` hears of them. What a failure or the end of the
 * process leaves of these is swept by and by, from the next start on. */
int tern_collections_drop(struct tern_collections *collections, const char *name,
                          void (*report)(void *context, uint64_t done), void *context,
                          struct tern_error *error);

/* Whether the store has nothing of that name, nor a trace of anything removed. For the builder's
 * thread. */
int tern_collections_is_empty(struct tern_collections *collections, const char *name, bool *empty,
                              struct tern_error *error);
/* Tells this store from one that takes its place. */
const uint8_t *tern_collections_store_id(const struct tern_collections *collections);

/* The shape under which writes of that name are taken now. TERN_ENOENT. */
int tern_collections_describe(struct tern_collections *collections, const char *name,
                              struct tern_collection_spec *spec, struct tern_error *error);

/* A vector as it was written. */
struct tern_collection_vector {
    struct tern_collection_spec spec; /* of the collection, as it is now */
    uint64_t seq;                     /* of the write */
    const float *vector;
    uint32_t dim; /* may not be the collection's: it was written before that changed */
    struct tern_graph_value values[TERN_PAYLOAD_COLUMNS_MAX]; /* of the collection's columns */
    struct tern_vector_store *store;                          /* holds all this */
};
/* Reads it from the store, committed and perhaps not searchable yet. Waits for nothing but the
 * file. TERN_ENOENT no such collection, or id; TERN_ECORRUPT, TERN_EIO. Free it soon. */
int tern_collections_lookup(struct tern_collections *collections, const char *name, uint64_t id,
                            struct tern_collection_vector *vector, struct tern_error *error);
void tern_collection_vector_free(struct tern_collection_vector *vector);

struct tern_collection_status {
    char name[TERN_NAME_MAX + 1];
    uint32_t id;
    bool served;  /* a root names it */
    bool filling; /* from the store: `done` of `total` */
    uint64_t done, total;
    double rate;      /* vectors a second; time left = (total - done) / rate */
    uint64_t skipped; /* rows of another dimension, which it passed over */
    uint64_t live, deleted, tail, capacity;
    uint64_t bytes, payload_bytes; /* of the slots in use */
    uint64_t stored_seq, applied_seq;
    uint64_t writes_waiting;
    uint64_t commit_p99_us, ack_p99_us; /* of the last minute or so; of the whole store */
    char error[256];                    /* why filling stands still; empty: it does not */
};
unsigned tern_collections_status(struct tern_collections *collections,
                                 struct tern_collection_status *statuses, unsigned max);

#endif
