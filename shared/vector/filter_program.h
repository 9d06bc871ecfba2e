/* What the parser of filters (filter.c) and their evaluation (filter_match.c) share. */
#ifndef TERN_VECTOR_FILTER_PROGRAM_H
#define TERN_VECTOR_FILTER_PROGRAM_H

#include "shared/vector/filter.h"

enum tern_filter_node_kind {
    TERN_FILTER_AND,
    TERN_FILTER_OR,
    TERN_FILTER_NOT,
    TERN_FILTER_EXISTS,
    TERN_FILTER_RANGES, /* the value's key lies in one of the ranges */
    TERN_FILTER_STARTS_WITH,
    TERN_FILTER_ENDS_WITH,
    TERN_FILTER_CONTAINS,
};

/* Keys: values as unsigned numbers in the same order. */

static inline uint64_t tern_filter_key_of_i64(int64_t value)
{
    return (uint64_t)value ^ 1ull << 63;
}

/* −0 is 0; what is not a number lies past both infinities. */
static inline uint64_t tern_filter_key_of_f32(float value)
{
    uint32_t bits;

    value += 0.0f;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | 1u << 31;
}

/* Sorts ranges by their beginnings and joins what overlaps. Returns how many are left. */
unsigned tern_filter_tidy(struct tern_filter_range *ranges, unsigned count);

#endif
