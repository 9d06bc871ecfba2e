/* Elementary intervals: a number or an address to its class, by a search without branches.
 *
 * Bytes: header, u32 index[bucket_count + 1] padded to 8 bytes, `count` intervals with their class
 * right beside their start, as a look-up in thousands pays for every line. Starts are relative to
 * `base`, the last key of the first interval, so that they fit 32 bits unless the literals lie
 * further apart than that. index[b] is how many starts are at most b << shift, so it narrows the
 * search to the starts in the key's bucket; the last bucket holds all keys from its start on. An IP
 * unit holds intervals for IPv4 and, at `next`, wide ones for the others.
 */
#ifndef TERN_RULES_INTERVALS_H
#define TERN_RULES_INTERVALS_H

#include "shared/address.h"
#include "shared/base.h"
#include "shared/error.h"
#include "shared/facts.h"
#include "shared/layout.h"
#include "shared/rules/class.h"
#include "shared/schema.h"

enum tern_intervals_form {
    TERN_INTERVALS_SHORT = 1, /* struct tern_interval_short */
    TERN_INTERVALS_LONG = 2,  /* struct tern_interval */
    TERN_INTERVALS_WIDE = 3,  /* struct tern_interval_wide */
};

struct tern_intervals_header {
    uint32_t count; /* at least 1: starts[0] is 0 */
    uint32_t form;  /* enum tern_intervals_form */
    uint32_t shift; /* bucket = (key - base) >> shift, at most the last one */
    uint32_t bucket_count;
    uint64_t next; /* offset of the wide intervals from this header, 0: none */
    uint64_t base; /* wide: 0 */
};
TERN_LAYOUT_SIZE(tern_intervals_header, 32);
TERN_LAYOUT_FIELD(tern_intervals_header, count, 0);
TERN_LAYOUT_FIELD(tern_intervals_header, form, 4);
TERN_LAYOUT_FIELD(tern_intervals_header, shift, 8);
TERN_LAYOUT_FIELD(tern_intervals_header, bucket_count, 12);
TERN_LAYOUT_FIELD(tern_intervals_header, next, 16);
TERN_LAYOUT_FIELD(tern_intervals_header, base, 24);

struct tern_interval_short { /* from its start to the next one's */
    uint32_t start;          /* - base */
    uint32_t class;
};
TERN_LAYOUT_SIZE(tern_interval_short, 8);
TERN_LAYOUT_FIELD(tern_interval_short, start, 0);
TERN_LAYOUT_FIELD(tern_interval_short, class, 4);

struct tern_interval {
    uint64_t start;
    uint32_t class;
    uint32_t reserved;
};
TERN_LAYOUT_SIZE(tern_interval, 16);
TERN_LAYOUT_FIELD(tern_interval, start, 0);
TERN_LAYOUT_FIELD(tern_interval, class, 8);
TERN_LAYOUT_FIELD(tern_interval, reserved, 12);

struct tern_interval_wide {
    struct tern_address start;
    uint32_t class;
    uint32_t reserved;
};
TERN_LAYOUT_SIZE(tern_interval_wide, 24);
TERN_LAYOUT_FIELD(tern_interval_wide, start, 0);
TERN_LAYOUT_FIELD(tern_interval_wide, class, 16);
TERN_LAYOUT_FIELD(tern_interval_wide, reserved, 20);

struct tern_intervals {                      /* a handle; nothing to free */
    const struct tern_interval_short *brief; /* NULL: another form */
    const struct tern_interval *narrow;
    const struct tern_interval_wide *wide;
    const uint32_t *index;
    uint64_t base;
    uint32_t count;
    uint32_t shift;
    uint32_t last_bucket;
};

/* Validates `length` bytes at `data` (8-byte aligned) with every class inside `bounds`. `wide` says
 * whether wide ones are expected. */
int tern_intervals_open(struct tern_intervals *intervals, const void *data, size_t length,
                        bool wide, const struct tern_class_bounds *bounds,
                        struct tern_error *error);

/* Order-preserving keys of the numeric types. */
static inline uint64_t tern_interval_key_i64(int64_t value)
{
    return (uint64_t)value ^ (1ull << 63);
}

static inline uint64_t tern_interval_key_f32(float value)
{
    uint32_t bits;

    value += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? (uint32_t)~bits : bits | 0x80000000u;
}

/* The key of a number or bool. */
static inline uint64_t tern_interval_key(enum tern_type type, const union tern_value *value)
{
    switch (type) {
    case TERN_TYPE_I64:
        return tern_interval_key_i64(value->i64);
    case TERN_TYPE_F32:
        return tern_interval_key_f32(value->f32);
    case TERN_TYPE_BOOL:
        return value->boolean;
    default:
        return value->u64;
    }
}

/* The class of `key`: a number's, or an IPv4 address as a number. */
static inline uint32_t tern_intervals_find(const struct tern_intervals *intervals, uint64_t key)
{
    uint64_t along = key > intervals->base ? key - intervals->base : 0;
    uint64_t bucket = tern_min_u64(along >> intervals->shift, intervals->last_bucket);
    uint32_t low = intervals->index[bucket] - 1;
    uint32_t count = intervals->index[bucket + 1] - low;

    /* the last start that is not above the key */
    if (intervals->brief != NULL) {
        const struct tern_interval_short *base = intervals->brief + low;
        uint32_t near = (uint32_t)tern_min_u64(along, UINT32_MAX);

        while (count > 1) {
            uint32_t half = count / 2;

            base += base[half].start <= near ? half : 0;
            count -= half;
        }
        return base->class;
    } else {
        const struct tern_interval *base = intervals->narrow + low;

        while (count > 1) {
            uint32_t half = count / 2;

            base += base[half].start <= along ? half : 0;
            count -= half;
        }
        return base->class;
    }
}

static inline uint32_t tern_intervals_find_wide(const struct tern_intervals *intervals,
                                                struct tern_address key)
{
    const struct tern_interval_wide *base = intervals->wide;
    uint32_t count = intervals->count;

    while (count > 1) {
        uint32_t half = count / 2;

        base += tern_address_compare(base[half].start, key) <= 0 ? half : 0;
        count -= half;
    }
    return base->class;
}

#endif
