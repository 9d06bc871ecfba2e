/* The facts of one request item, decoded: what the rules look at. */
#ifndef TERN_FACTS_H
#define TERN_FACTS_H

#include "shared/address.h"
#include "shared/base.h"
#include "shared/limits.h"

/* One value in canonical form. Strings point into memory that outlives the decision (the received
 * frame, or the loop's normalization scratch). `i64` fields and `f32` fields keep their own type.
 */
union tern_value {
    struct {
        const uint8_t *bytes;
        uint32_t length;
    } string; /* strings, hosts (folded), vectors (f32 × dim, unaligned) */
    uint64_t u64;
    int64_t i64;
    float f32; /* never NaN; -0 is stored as +0 */
    bool boolean;
    struct tern_address address;
};
_Static_assert(sizeof(union tern_value) == 16, "four values a cache line");

struct tern_facts {
    uint64_t decision_key; /* the client's own (field 0); 0 when absent */
    uint64_t present[4];   /* bit per slot */
    uint64_t reserved;
    union tern_value values[]; /* by slot: field ids, then untouched values (shared/schema.h);
                                  values[0] is unused; garbage where not present */
};

static inline bool tern_facts_has(const struct tern_facts *facts, unsigned field)
{
    return (facts->present[field >> 6] >> (field & 63)) & 1;
}

static inline void tern_facts_set_present(struct tern_facts *facts, unsigned field)
{
    facts->present[field >> 6] |= 1ull << (field & 63);
}

static inline void tern_facts_clear(struct tern_facts *facts)
{
    memset(facts, 0, sizeof *facts);
}

/* Bytes of a facts object with slots 1 to `slot_count`. */
static inline size_t tern_facts_bytes(unsigned slot_count)
{
    return sizeof(struct tern_facts) + (slot_count + 1) * sizeof(union tern_value);
}

#endif
