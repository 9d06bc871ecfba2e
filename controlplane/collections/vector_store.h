/* STATE_DIR/vectors.db: every vector and its payload, and what was removed.
 *
 * Every write gets a sequence number that only grows, through restarts, removals and whatever fails
 * in between. Per collection and id there is one row: its latest write, or the fact that it was
 * removed (a tombstone), filed by sequence number. An index that has applied everything up to S is
 * made current by the rows past S, in their order; doing so twice changes nothing.
 *
 * SQLite in WAL mode, synchronous FULL: what tern_vector_store_end has committed survives a power
 * failure. The WAL is carried over into the database by a thread of its own, so that no commit
 * waits for it. A handle belongs to one thread at a time; one process at a time opens the file. */
#ifndef TERN_VECTOR_STORE_H
#define TERN_VECTOR_STORE_H

#include "controlplane/build/graph.h"
#include "shared/error.h"

#define TERN_VECTOR_STORE_FILE      "vectors.db"
#define TERN_VECTOR_STORE_LOCK      "vectors.lock"
#define TERN_VECTOR_COLLECTIONS_MAX 256u /* names that have ever been used */
#define TERN_VECTOR_SHAPES_MAX      4096u
#define TERN_VECTOR_PAYLOAD_MAX     (8u + TERN_PAYLOAD_COLUMNS_MAX * (2u + TERN_PAYLOAD_STRING_MAX))

struct tern_vector_store;

/* Opens the store, made when missing. TERN_EBUSY another tern-control or program has it,
 * TERN_ECORRUPT, TERN_EABI a newer tern wrote it, TERN_EACCES, TERN_EIO, each with what to do. */
int tern_vector_store_open(const char *state_dir, struct tern_vector_store **store,
                           struct tern_error *error);
/* Opens what a store of this process has open a second time, for reading alone and as it is at this
 * moment: waits for no commit, and no commit waits for it. Only _find_collection, _find and
 * _columns may be asked, by one thread, and soon: the WAL cannot begin anew while it is open. */
int tern_vector_store_peek(const char *state_dir, struct tern_vector_store **store,
                           struct tern_error *error);
void tern_vector_store_close(struct tern_vector_store *store);
/* How long a call waits for another program's lock before TERN_EBUSY; 2 s at first. */
void tern_vector_store_set_patience(struct tern_vector_store *store, unsigned patience_ms);

/* The 16 random bytes made with the database: an index made from another store is worthless here.
 */
const uint8_t *tern_vector_store_id(const struct tern_vector_store *store);
/* Of the newest write that is committed; 0: none ever was. */
uint64_t tern_vector_store_seq(const struct tern_vector_store *store);

/* The number of the collection of that name, which is made when missing. Not inside a transaction.
 * TERN_ELIMIT. */
int tern_vector_store_collection(struct tern_vector_store *store, const char *name,
                                 uint32_t *number, struct tern_error *error);

/* Likewise, 0 when there is none. */
uint32_t tern_vector_store_find_collection(const struct tern_vector_store *store, const char *name);

/* Their names, by number from 1 on; NULL past the end. */
const char *tern_vector_store_name(const struct tern_vector_store *store, uint32_t collection);

/* Payload columns as rows refer to them: the number stays for ever, so that rows which were written
 * under other columns can be read. Made when missing; not inside a transaction. */
int tern_vector_store_shape(struct tern_vector_store *store,
                            const struct tern_graph_column *columns, unsigned count,
                            uint32_t *shape, struct tern_error *error);
/* TERN_ECORRUPT: a row refers to columns that nobody has described. */
int tern_vector_store_columns(struct tern_vector_store *store, uint32_t shape,
                              const struct tern_graph_column **columns, unsigned *count,
                              struct tern_error *error);

/* One transaction: begin, any number of puts and removes, end. When `rc` is not 0 `end` undoes it
 * all and returns rc, as it does when the commit fails: nothing is stored then, and its sequence
 * numbers are never used again. */
int tern_vector_store_begin(struct tern_vector_store *store, struct tern_error *error);
/* `vector` has `dim` values. `payload` are bytes of payload.h. Sets `*seq`. */
int tern_vector_store_put(struct tern_vector_store *store, uint32_t collection, uint64_t id,
                          const float *vector, uint32_t dim, const uint8_t *payload,
                          size_t payload_length, uint64_t *seq, struct tern_error *error);
/* `*found`: it was there; otherwise nothing is written and `*seq` stays. */
int tern_vector_store_remove(struct tern_vector_store *store, uint32_t collection, uint64_t id,
                             uint64_t *seq, bool *found, struct tern_error *error);
int tern_vector_store_end(struct tern_vector_store *store, int rc, struct tern_error *error);

struct tern_vector_row {
    uint64_t seq, id;
    const float *vector; /* NULL: removed */
    uint32_t dim;
    const uint8_t *payload; /* checked against the row's checksum, not yet decoded */
    size_t payload_length;
};

/* Hands the rows of the collection with sequence numbers above `after`, at most `limit`, to `each`
 * in their order, until it returns false. 0, TERN_ECORRUPT (a row that makes no sense) or another
 * error. `*count` rows were handed over; fewer than `limit` and no refusal: there are no more. Not
 * inside a transaction; `each` must not use the store. */
int tern_vector_store_read(struct tern_vector_store *store, uint32_t collection, uint64_t after,
                           unsigned limit,
                           bool (*each)(void *context, const struct tern_vector_row *row),
                           void *context, unsigned *count, struct tern_error *error);

/* The row of one id; what it points to stays until the next call. TERN_ENOENT: there is none, or
 * the vector was removed. */
int tern_vector_store_find(struct tern_vector_store *store, uint32_t collection, uint64_t id,
                           struct tern_vector_row *row, struct tern_error *error);

/* The highest sequence number among the collection's rows, 0: none. */
int tern_vector_store_last(struct tern_vector_store *store, uint32_t collection, uint64_t *seq,
                           struct tern_error *error);
/* How many vectors there are. Walks an index: some 20 ms a million. */
int tern_vector_store_count(struct tern_vector_store *store, uint32_t collection, uint64_t *count,
                            struct tern_error *error);

/* Drops up to `limit` tombstones up to `seq`: every index that is left has applied them.
 * `*purged`: how many. */
int tern_vector_store_purge(struct tern_vector_store *store, uint32_t collection, uint64_t seq,
                            unsigned limit, unsigned *purged, struct tern_error *error);
/* Drops all rows there are, of whatever kind, in one commit: from here on nothing finds them. No
 * index of before can be brought up to date after it: it counts as a purge of all there is. What
 * they take is given back by sweeping, also after a restart; the collection may be written
 * meanwhile. */
int tern_vector_store_drop(struct tern_vector_store *store, uint32_t collection,
                           struct tern_error *error);
/* Sweeps up to `limit` of the dropped rows away, the oldest first; `*swept`: how many. */
int tern_vector_store_sweep(struct tern_vector_store *store, uint32_t collection, unsigned limit,
                            unsigned *swept, struct tern_error *error);
/* Rows up to it are dropped and wait to be swept; 0: none do. */
uint64_t tern_vector_store_dropped(const struct tern_vector_store *store, uint32_t collection);
/* Tombstones up to it may be gone: an index that has applied less has to be made anew. */
uint64_t tern_vector_store_purged(const struct tern_vector_store *store, uint32_t collection);

#endif
