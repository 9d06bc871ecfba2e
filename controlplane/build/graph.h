/* The writing side of a vector collection: the one thread that changes an object in the arena.
 * shared/vector/format.h says what lies there and which orders make it safe; this file's functions
 * are its only writers. Every function leaves the object legal at each of its stores: a kill at any
 * instant is completed or reverted by the next tern_graph_open. */
#ifndef TERN_GRAPH_H
#define TERN_GRAPH_H

#include "shared/vector/collection.h"

struct tern_graph; /* the writer's handle: pointers, key map (id → slot), free lists, scratch */

struct tern_graph_column {
    char name[TERN_NAME_MAX + 1];
    uint8_t type; /* enum tern_type: string, bool, u32, u64, i64, f32 */
};

struct tern_graph_shape { /* what makes an object; everything else changes in place */
    uint32_t dim;
    enum tern_metric metric;
    enum tern_quantize quantize;
    uint32_t m;
    uint32_t capacity; /* vectors; the object has some more slots, for tombstones */
    struct tern_graph_column columns[TERN_PAYLOAD_COLUMNS_MAX];
    unsigned column_count;
};

struct tern_graph_parameters { /* change in place */
    uint32_t ef_search, ef_construct, full_scan;
};

/* What the arena does for the graph. */
struct tern_graph_host {
    void *context;
    /* Backs [offset, offset + length) of the object with pages before anything is stored there;
     * TERN_ENOSPC with a reason. */
    int (*allocate)(void *context, uint64_t offset, uint64_t length, struct tern_error *error);
    /* Begins a grace period, returns its number (grows); over when every reader that was there when
     * it began has left. */
    uint64_t (*grace_begin)(void *context);
    bool (*grace_over)(void *context, uint64_t number);
};

/* Bytes of address space that an object of this shape reserves. */
uint64_t tern_graph_length(const struct tern_graph_shape *shape);

/* Writes the header of an empty object into zeroed address space at `object`; magic last. */
int tern_graph_format(void *object, uint64_t length, const struct tern_graph_shape *shape,
                      const struct tern_graph_parameters *parameters, const uint8_t store_id[16],
                      const struct tern_graph_host *host, struct tern_error *error);

/* Takes an object over: completes or reverts its intent, rebuilds key map and free lists from the
 * slots' states. TERN_ECORRUPT: rebuild it from the store. */
int tern_graph_open(struct tern_graph **graph, void *object, uint64_t length,
                    const struct tern_graph_host *host, struct tern_error *error);
void tern_graph_close(struct tern_graph *graph);

void tern_graph_set_parameters(struct tern_graph *graph,
                               const struct tern_graph_parameters *parameters);
const struct tern_collection *tern_graph_collection(const struct tern_graph *graph);

struct tern_graph_value { /* of a payload column, in the shape's order */
    bool present;
    union {
        uint64_t u64; /* u64, u32, bool */
        int64_t i64;
        float f32;
        struct {
            const char *bytes;
            uint32_t length;
        } string;
    };
};

/* Makes `vector` the value of `id`: searchable when it returns, linked by a later
 * tern_graph_link. `seq` is the store's; a seq that is not above the slot's own changes nothing
 * (replay is idempotent). When the tail is full it links first. TERN_ENOSPC: capacity or tmpfs. The
 * vector has been checked (tern_graph_check_vector). */
int tern_graph_put(struct tern_graph *graph, uint64_t id, uint64_t seq, const float *vector,
                   const struct tern_graph_value *payload, struct tern_error *error);

/* Removes `id` from all results before it returns. 0, or TERN_ENOENT. */
int tern_graph_remove(struct tern_graph *graph, uint64_t id, uint64_t seq);

/* 0, or TERN_EINVAL and why: NaN, infinity, a value whose square overflows. */
int tern_graph_check_vector(const float *vector, uint32_t dim, struct tern_error *error);

/* Work that waits: linking the tail, repairing around tombstones, sweeping, freeing, re-linking
 * strays. Does about `budget_us` of it, oldest and most urgent first; true while there is more that
 * can be done now. */
bool tern_graph_work(struct tern_graph *graph, uint64_t budget_us);
/* Links everything in the tail. */
void tern_graph_link(struct tern_graph *graph);

/* Does all that waits, however long it takes; what is left then waits for readers. */
void tern_graph_settle(struct tern_graph *graph);

/* Everything up to `seq` is in the index (release). Call it after the puts and removes. */
void tern_graph_set_applied(struct tern_graph *graph, uint64_t seq);
uint64_t tern_graph_applied(const struct tern_graph *graph);

/* Walks the whole graph. For tests, `ternctl status --census` and the background repair. */
struct tern_graph_census {
    uint64_t live, deleted, detached, free, tail;
    uint64_t unreachable; /* live, linked, and not reached from the entry over the lowest lists */
    uint64_t links;       /* on the lowest level */
    uint64_t bad_links;   /* to slots that are free: must be 0 */
    uint64_t bytes;       /* backed by pages, without payload */
};
int tern_graph_census(struct tern_graph *graph, struct tern_graph_census *census);

/* Whether the id is there, and its sequence number. */
bool tern_graph_find(const struct tern_graph *graph, uint64_t id, uint64_t *seq);

#endif
