#include "shared/tables/prefix.h"

#include "shared/limits.h"

/* ---- look-up --------------------------------------------------------------------------------- */

/* The state of one look-up: where it is, and the address bits that are left, leading bit first. */
struct walk {
    uint32_t entry;
    uint64_t high;
    uint64_t low;
};

static inline void drop_bits(struct walk *walk, unsigned bits)
{
    walk->high = walk->high << bits | walk->low >> (64 - bits);
    walk->low <<= bits;
}

/* The root entry of `address`; `walk` gets the bits past those that it was indexed by. */
static inline const uint32_t *root_entry(const struct tern_prefix *prefix,
                                         struct tern_address address, struct walk *walk)
{
    const uint32_t *entry;

    if (tern_address_is_v4(address)) {
        uint64_t bits = address.low << 32;

        entry = prefix->root4 + (bits >> 1 >> (63 - prefix->root4_bits));
        walk->high = bits << prefix->root4_bits;
        walk->low = 0;
        return entry;
    }
    walk->high = address.high;
    walk->low = address.low;
    if (address.high >> 61 != prefix->root6_top)
        return &prefix->other6;
    drop_bits(walk, 3);
    entry = prefix->root6 + (walk->high >> (64 - prefix->root6_bits));
    drop_bits(walk, prefix->root6_bits);
    return entry;
}

static inline const uint8_t *node_of(const struct tern_prefix *prefix, uint32_t entry)
{
    return prefix->nodes + 8 * (size_t)(entry & ~TERN_PREFIX_NODE);
}

/* One node further. Inlined into callers compiled with and without the popcount instruction. */
static inline __attribute__((always_inline)) void step(const struct tern_prefix *prefix,
                                                       struct walk *walk)
{
    const uint8_t *node = node_of(prefix, walk->entry);
    uint64_t word = tern_load_u64(node);

    if (TERN_LIKELY(word & 1)) {
        unsigned slot = (unsigned)(walk->high >> 58);
        uint64_t until = word << (63 - slot); /* runs that begin at or before the slot */

        walk->entry = tern_load_u32(node + 4 + 4 * (size_t)__builtin_popcountll(until));
        drop_bits(walk, TERN_PREFIX_STRIDE);
    } else {
        unsigned bits = word >> 1 & 127;

        if (walk->high >> (64 - bits) != word >> 8) {
            walk->entry = tern_load_u32(node + 8);
            return;
        }
        walk->entry = tern_load_u32(node + 12);
        drop_bits(walk, bits);
    }
}

static inline uint32_t value_of(uint32_t entry)
{
    return entry == TERN_PREFIX_NONE ? TERN_NOT_FOUND : entry;
}

static inline __attribute__((always_inline)) uint32_t find(const struct tern_prefix *prefix,
                                                           struct tern_address address)
{
    struct walk walk;

    walk.entry = *root_entry(prefix, address, &walk);
    while (walk.entry & TERN_PREFIX_NODE)
        step(prefix, &walk);
    return value_of(walk.entry);
}

static inline __attribute__((always_inline)) void find_vector(const struct tern_prefix *prefix,
                                                              const struct tern_address *addresses,
                                                              unsigned count, uint32_t *values)
{
    struct walk walks[TERN_VECTOR_WIDTH];
    const uint32_t *roots[TERN_VECTOR_WIDTH];
    uint8_t active[TERN_VECTOR_WIDTH];
    unsigned left = 0;

    assert(count <= TERN_VECTOR_WIDTH);
    for (unsigned i = 0; i < count; i++) {
        roots[i] = root_entry(prefix, addresses[i], &walks[i]);
        __builtin_prefetch(roots[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        walks[i].entry = *roots[i];
        values[i] = value_of(walks[i].entry);
        if (walks[i].entry & TERN_PREFIX_NODE) {
            __builtin_prefetch(node_of(prefix, walks[i].entry));
            active[left++] = (uint8_t)i;
        }
    }
    while (left > 0) {
        unsigned still = 0;

        for (unsigned i = 0; i < left; i++) {
            struct walk *walk = &walks[active[i]];

            step(prefix, walk);
            if (walk->entry & TERN_PREFIX_NODE) {
                __builtin_prefetch(node_of(prefix, walk->entry));
                active[still++] = active[i];
            } else {
                values[active[i]] = value_of(walk->entry);
            }
        }
        left = still;
    }
}

#ifdef __x86_64__
#define HAS_POPCOUNT()  __builtin_cpu_supports("popcnt")
#define POPCOUNT_TARGET __attribute__((target("popcnt")))
#else
#define HAS_POPCOUNT() true
#define POPCOUNT_TARGET
#endif

static POPCOUNT_TARGET uint32_t find_popcount(const struct tern_prefix *prefix,
                                              struct tern_address address)
{
    return find(prefix, address);
}

static POPCOUNT_TARGET void find_vector_popcount(const struct tern_prefix *prefix,
                                                 const struct tern_address *addresses,
                                                 unsigned count, uint32_t *values)
{
    find_vector(prefix, addresses, count, values);
}

void tern_prefix_prefetch(const struct tern_prefix *prefix, struct tern_address address)
{
    struct walk walk;

    __builtin_prefetch(root_entry(prefix, address, &walk));
}

uint32_t tern_prefix_find(const struct tern_prefix *prefix, struct tern_address address)
{
    return TERN_LIKELY(prefix->has_popcount) ? find_popcount(prefix, address)
                                             : find(prefix, address);
}

void tern_prefix_find_vector(const struct tern_prefix *prefix, const struct tern_address *addresses,
                             unsigned count, uint32_t *values)
{
    if (TERN_LIKELY(prefix->has_popcount))
        find_vector_popcount(prefix, addresses, count, values);
    else
        find_vector(prefix, addresses, count, values);
}

/* ---- validation ------------------------------------------------------------------------------ */

struct scan {
    const uint8_t *nodes;
    uint64_t bytes;
    uint64_t *starts; /* bit per 8 bytes: a node begins here */
    uint32_t value_limit;
};

static bool value_is_sound(const struct scan *scan, uint32_t entry)
{
    return entry < scan->value_limit || entry == TERN_PREFIX_NONE;
}

/* Only starts already passed are marked, so an entry that is sound refers backwards. */
static bool entry_is_sound(const struct scan *scan, uint32_t entry)
{
    uint32_t unit = entry & ~TERN_PREFIX_NODE;

    if (!(entry & TERN_PREFIX_NODE))
        return value_is_sound(scan, entry);
    return unit < scan->bytes / 8 && scan->starts[unit / 64] >> unit % 64 & 1;
}

static bool entries_are_sound(const struct scan *scan, const uint32_t *entries, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!entry_is_sound(scan, entries[i]))
            return false;
    return true;
}

static bool skip_is_sound(const struct scan *scan, uint64_t word, const uint32_t *entries)
{
    unsigned bits = word >> 1 & 127;

    return bits >= TERN_PREFIX_SKIP_MIN && bits <= TERN_PREFIX_SKIP_MAX &&
           (bits == TERN_PREFIX_SKIP_MAX || word >> (8 + bits) == 0) &&
           value_is_sound(scan, entries[0]) && entry_is_sound(scan, entries[1]);
}

static int scan_nodes(struct scan *scan, struct tern_error *error)
{
    uint64_t at = 0;

    while (at < scan->bytes) {
        uint64_t word = tern_load_u64(scan->nodes + at);
        unsigned count = word & 1 ? (unsigned)__builtin_popcountll(word) : 2;
        uint64_t bytes = 8 + tern_align_up(4 * (uint64_t)count, 8);
        const uint32_t *entries = (const uint32_t *)(scan->nodes + at + 8);

        if (word == 0) {
            at += 8;
            continue;
        }
        if (!tern_range_inside(at, bytes, scan->bytes) ||
            !(word & 1 ? entries_are_sound(scan, entries, count)
                       : skip_is_sound(scan, word, entries)))
            return tern_error_set(error, TERN_ECORRUPT,
                                  "prefix index: the node at byte %llu is malformed",
                                  (unsigned long long)at);
        scan->starts[at / 8 / 64] |= 1ull << at / 8 % 64;
        at += bytes;
    }
    return 0;
}

static bool part_is_inside(uint64_t offset, uint64_t bytes, size_t length)
{
    return offset % TERN_CACHE_LINE == 0 && offset >= sizeof(struct tern_prefix_header) &&
           tern_range_inside(offset, bytes, length);
}

int tern_prefix_open(struct tern_prefix *prefix, const void *section, size_t length,
                     struct tern_error *error)
{
    const struct tern_prefix_header *header = section;
    const uint32_t *root4, *root6;
    uint64_t root4_count, root6_count;
    struct scan scan;
    int status;

    if ((uintptr_t)section % TERN_CACHE_LINE != 0)
        return tern_error_set(error, TERN_ECORRUPT, "prefix index: not aligned to 64 bytes");
    if (length < sizeof *header)
        return tern_error_set(error, TERN_ECORRUPT, "prefix index: %zu bytes, no header", length);
    if (header->magic != TERN_PREFIX_MAGIC)
        return tern_error_set(error, TERN_ECORRUPT, "prefix index: magic is %#x, expected %#x",
                              header->magic, TERN_PREFIX_MAGIC);
    if (header->root4_bits > TERN_PREFIX_ROOT4_BITS ||
        header->root6_bits > TERN_PREFIX_ROOT6_BITS || header->value_limit > TERN_PREFIX_NONE ||
        header->nodes_bytes % 8 != 0)
        return tern_error_set(error, TERN_ECORRUPT, "prefix index: the header is malformed");
    root4_count = 1ull << header->root4_bits;
    root6_count = header->root6_bits == 0 ? 0 : 1ull << header->root6_bits;
    if (!part_is_inside(header->root4_offset, 4 * root4_count, length) ||
        !part_is_inside(header->root6_offset, 4 * root6_count, length) ||
        !part_is_inside(header->nodes_offset, header->nodes_bytes, length))
        return tern_error_set(error, TERN_ECORRUPT, "prefix index: a part lies outside %zu bytes",
                              length);
    root4 = (const uint32_t *)((const uint8_t *)section + header->root4_offset);
    root6 = (const uint32_t *)((const uint8_t *)section + header->root6_offset);
    scan = (struct scan){
        .nodes = (const uint8_t *)section + header->nodes_offset,
        .bytes = header->nodes_bytes,
        .starts = calloc(header->nodes_bytes / 512 + 1, 8),
        .value_limit = header->value_limit,
    };
    if (scan.starts == NULL)
        return tern_error_set(error, TERN_ENOMEM, "prefix index: out of memory");
    status = scan_nodes(&scan, error);
    if (status == 0 &&
        (!entries_are_sound(&scan, root4, root4_count) ||
         !entries_are_sound(&scan, root6, root6_count) || !entry_is_sound(&scan, header->other6)))
        status = tern_error_set(error, TERN_ECORRUPT, "prefix index: a root entry is malformed");
    free(scan.starts);
    if (status != 0)
        return status;
    *prefix = (struct tern_prefix){
        .nodes = scan.nodes,
        .root4 = root4,
        .root6 = root6,
        .other6 = header->other6,
        .value_limit = header->value_limit,
        .range_count = header->range_count,
        .root4_bits = header->root4_bits,
        .root6_bits = header->root6_bits,
        .root6_top = header->root6_bits == 0 ? 8 : 1,
        .has_popcount = HAS_POPCOUNT(),
    };
    return 0;
}
