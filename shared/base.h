/* The few things every file needs: fixed-width types, assertions, alignment, bit helpers. */
#ifndef TERN_BASE_H
#define TERN_BASE_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TERN_CACHE_LINE 64
#define TERN_PAGE       4096u
#define TERN_EXTENT     (2u << 20)

#define TERN_LIKELY(condition)     __builtin_expect(!!(condition), 1)
#define TERN_UNLIKELY(condition)   __builtin_expect(!!(condition), 0)
#define TERN_ALIGNED(bytes)        __attribute__((aligned(bytes)))
#define TERN_PRINTF(string, first) __attribute__((format(printf, string, first)))
#define TERN_UNUSED                __attribute__((unused))
#define TERN_COUNT(array)          (sizeof(array) / sizeof((array)[0]))

/* Unaligned little-endian loads and stores; the wire format and the packed tables use them. tern
 * runs on little-endian machines only, so each is one move. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tern needs a little-endian machine");

#define TERN_DEFINE_LOAD(type, name)                                                               \
    static inline type tern_load_##name(const void *from)                                          \
    {                                                                                              \
        type value;                                                                                \
        memcpy(&value, from, sizeof value);                                                        \
        return value;                                                                              \
    }                                                                                              \
    static inline void tern_store_##name(void *to, type value)                                     \
    {                                                                                              \
        memcpy(to, &value, sizeof value);                                                          \
    }
TERN_DEFINE_LOAD(uint16_t, u16)
TERN_DEFINE_LOAD(uint32_t, u32)
TERN_DEFINE_LOAD(uint64_t, u64)
TERN_DEFINE_LOAD(float, f32)
#undef TERN_DEFINE_LOAD

/* Rounds `value` up to a multiple of `alignment`, a power of two. The caller bounds `value`. */
static inline uint64_t tern_align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t tern_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t tern_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* True when [offset, offset + length) lies inside [0, size); never overflows. */
static inline bool tern_range_inside(uint64_t offset, uint64_t length, uint64_t size)
{
    return length <= size && offset <= size - length;
}

#endif
