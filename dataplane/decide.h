/* Tier 1: request items that arrived together, decided together and answered in their frames. */
#ifndef TERN_DATAPLANE_DECIDE_H
#define TERN_DATAPLANE_DECIDE_H

#include "shared/decode.h"
#include "shared/error.h"
#include "shared/facts.h"
#include "shared/limits.h"
#include "shared/rules/evaluate.h"
#include "shared/verdict.h"

struct tern_connection;
struct tern_worker;

#define TERN_FORMER_ITEM_BYTES 65536u /* an item's length is a u16 */

/* The items of one request frame in a vector. */
struct tern_group {
    struct tern_connection *connection;
    const uint8_t *trace; /* TERN_TRACE_BYTES of context, NULL: not traced */
    uint32_t request_id;
    uint8_t flags; /* of the request */
    uint8_t first;
    uint8_t count;
};

/* Items wait here between decoding and deciding: never longer than one reap. */
struct tern_vector {
    unsigned count;
    unsigned group_count;
    unsigned width; /* decided with so many: 0 once their searches fill the share of the turn */
    uint64_t started_ns, decoded_ns, decided_ns; /* clock readings of the vector decided last */
    uint64_t search_ns;                          /* what the items' searches may take */
    size_t space_used;
    size_t facts_bytes; /* of one item under the served schema */
    uint8_t *facts;     /* TERN_VECTOR_WIDTH of the largest size */
    uint8_t
        *space; /* folded values: TERN_VECTOR_WIDTH × TERN_DECODE_ITEM_BYTES, touched as needed */
    /* of connections under a former schema: items in present ids, one facts to check them by */
    uint8_t *former_space; /* TERN_VECTOR_WIDTH × TERN_FORMER_ITEM_BYTES, touched as needed */
    struct tern_facts *former_facts;
    struct tern_scratch *scratch;
    const struct tern_facts *items[TERN_VECTOR_WIDTH];
    struct tern_verdict verdicts[TERN_VECTOR_WIDTH];
    struct tern_group groups[TERN_VECTOR_WIDTH];
};

int tern_vector_open(struct tern_vector *vector, struct tern_error *error);
void tern_vector_close(struct tern_vector *vector);

/* Lays the items out for facts of `slot_count` slots; the vector is empty. */
void tern_vector_shape(struct tern_vector *vector, unsigned slot_count);

static inline struct tern_facts *tern_vector_slot(struct tern_vector *vector, unsigned index)
{
    return (struct tern_facts *)(vector->facts + index * vector->facts_bytes);
}

/* Decides all that waits and writes the replies into their connections' output. */
void tern_worker_decide(struct tern_worker *worker);

/* Decides `count` items that lie in the vector's slots from 0 (no groups) and writes `count` reply
 * items with numbers from `first_item` to `out` (16 bytes each, 32 with DETAIL). `trace` as in a
 * group. */
void tern_worker_decide_slots(struct tern_worker *worker, unsigned count, unsigned first_item,
                              uint32_t request_id, uint8_t flags, const uint8_t *trace,
                              uint8_t *out);

/* Takes what the vector's scratch has searched since `before` out of this turn's share. */
void tern_worker_charge(struct tern_worker *worker, struct tern_searched before);

#endif
