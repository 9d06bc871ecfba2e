#include "shared/rules/trie.h"

#define INLINE static inline __attribute__((always_inline))

/* How many children stand before the one of `byte`. Letters and the signs of paths mix the first
 * two words without pattern, so only bytes past ASCII take a branch. */
INLINE unsigned rank(const uint64_t bitmap[4], uint8_t byte)
{
    unsigned word = byte >> 6;
    unsigned below = (unsigned)__builtin_popcountll(bitmap[word] & ((1ull << (byte & 63)) - 1)) +
                     ((unsigned)__builtin_popcountll(bitmap[0]) & -(unsigned)(word > 0));

    if (TERN_UNLIKELY(word > 1)) {
        below += (unsigned)__builtin_popcountll(bitmap[1]);
        if (word > 2)
            below += (unsigned)__builtin_popcountll(bitmap[2]);
    }
    return below;
}

/* `width` (8 or 4) bytes of the value, beginning `index` bytes on in reading order. */
INLINE uint64_t word_at(const uint8_t *at, unsigned index, unsigned width, bool reversed)
{
    const uint8_t *from = reversed ? at - index - (width - 1) : at + index;

    if (width == 8)
        return reversed ? __builtin_bswap64(tern_load_u64(from)) : tern_load_u64(from);
    return reversed ? __builtin_bswap32(tern_load_u32(from)) : tern_load_u32(from);
}

/* Compares whole words; the last one overlaps the one before instead of reading past the value. The
 * first byte is known to be equal: it chose the child. */
INLINE bool label_is(const uint8_t *label, unsigned length, const uint8_t *at, bool reversed)
{
    ptrdiff_t step = reversed ? -1 : 1;

    if (length >= 8) {
        for (unsigned i = 0; i + 8 < length; i += 8)
            if (tern_load_u64(label + i) != word_at(at, i, 8, reversed))
                return false;
        return tern_load_u64(label + length - 8) == word_at(at, length - 8, 8, reversed);
    }
    if (length >= 4)
        return tern_load_u32(label) == word_at(at, 0, 4, reversed) &&
               tern_load_u32(label + length - 4) == word_at(at, length - 4, 4, reversed);
    return length < 2 ||
           (label[1] == at[step] && label[length - 1] == at[step * (ptrdiff_t)(length - 1)]);
}

INLINE bool has(const uint64_t bitmap[4], uint8_t byte)
{
    return (bitmap[byte >> 6] >> (byte & 63)) & 1;
}

/* One look-up under way. `node` is where the value may go on; whether it does, its label tells. */
struct walk {
    const struct tern_trie_node *node;
    const uint8_t *at; /* the next byte to read */
    uint32_t left;     /* bytes from there */
    uint32_t class_on; /* of the node before: the answer when the label differs */
};

INLINE void start(struct walk *walk, const struct tern_trie_node *nodes, const uint8_t *bytes,
                  uint32_t length, bool reversed)
{
    *walk = (struct walk){nodes, reversed && length > 0 ? bytes + length - 1 : bytes, length, 0};
}

/* One node further. True with the class when that is known; else the next node is being fetched.
 * The byte that a parent branches on is the first byte of the child's label, so a label is compared
 * whole; every step but the root's consumes at least one byte. */
INLINE bool step(struct walk *walk, const struct tern_trie_node *nodes, bool reversed,
                 uint32_t *class)
{
    const struct tern_trie_node *node = walk->node;
    unsigned length = node->label_length;

    if (length > walk->left || (length > 0 && !label_is(node->label, length, walk->at, reversed))) {
        *class = walk->class_on;
        return true;
    }
    walk->at += reversed ? -(ptrdiff_t)length : (ptrdiff_t)length;
    walk->left -= length;
    if (walk->left == 0 || !has(node->children, *walk->at)) {
        *class = walk->left == 0 ? node->class_end : node->class_on;
        return true;
    }
    walk->class_on = node->class_on;
    walk->node = &nodes[node->first_child + rank(node->children, *walk->at)];
    __builtin_prefetch(walk->node);
    return false;
}

INLINE uint32_t find(const struct tern_trie_node *nodes, const uint8_t *bytes, uint32_t length,
                     bool reversed)
{
    struct walk walk;
    uint32_t class;

    start(&walk, nodes, bytes, length, reversed);
    while (!step(&walk, nodes, reversed, &class)) {
    }
    return class;
}

INLINE void find_vector(const struct tern_trie_node *nodes, const struct tern_trie_key *keys,
                        unsigned count, bool reversed, uint32_t *classes)
{
    struct walk walks[TERN_VECTOR_WIDTH];
    uint8_t active[TERN_VECTOR_WIDTH];

    assert(count <= TERN_VECTOR_WIDTH);
    for (unsigned i = 0; i < count; i++) {
        start(&walks[i], nodes, keys[i].bytes, keys[i].length, reversed);
        active[i] = (uint8_t)i;
    }
    while (count > 0) {
        unsigned still = 0;

        for (unsigned i = 0; i < count; i++) {
            unsigned key = active[i];

            active[still] = (uint8_t)key;
            still += !step(&walks[key], nodes, reversed, &classes[key]);
        }
        count = still;
    }
}

static uint32_t find_plain(const struct tern_trie_node *nodes, const uint8_t *bytes,
                           uint32_t length)
{
    return find(nodes, bytes, length, false);
}

static uint32_t find_plain_reversed(const struct tern_trie_node *nodes, const uint8_t *bytes,
                                    uint32_t length)
{
    return find(nodes, bytes, length, true);
}

static void find_vector_plain(const struct tern_trie_node *nodes, const struct tern_trie_key *keys,
                              unsigned count, bool reversed, uint32_t *classes)
{
    if (reversed)
        find_vector(nodes, keys, count, true, classes);
    else
        find_vector(nodes, keys, count, false, classes);
}

#if defined(__x86_64__)
__attribute__((target("popcnt,bmi"))) static void
find_vector_popcount(const struct tern_trie_node *nodes, const struct tern_trie_key *keys,
                     unsigned count, bool reversed, uint32_t *classes)
{
    if (reversed)
        find_vector(nodes, keys, count, true, classes);
    else
        find_vector(nodes, keys, count, false, classes);
}

__attribute__((target("popcnt,bmi"))) static uint32_t
find_popcount(const struct tern_trie_node *nodes, const uint8_t *bytes, uint32_t length)
{
    return find(nodes, bytes, length, false);
}

__attribute__((target("popcnt,bmi"))) static uint32_t
find_popcount_reversed(const struct tern_trie_node *nodes, const uint8_t *bytes, uint32_t length)
{
    return find(nodes, bytes, length, true);
}
#endif

int tern_trie_open(struct tern_trie *trie, const void *data, size_t length, uint32_t class_count,
                   struct tern_error *error)
{
    const struct tern_trie_node *nodes = data;
    size_t count = length / sizeof *nodes;

    if (count == 0 || length % sizeof *nodes != 0 || count > UINT32_MAX ||
        (uintptr_t)data % sizeof *nodes != 0)
        return tern_error_set(error, TERN_ECORRUPT, "trie: %zu bytes are not whole nodes", length);
    if (nodes[0].label_length != 0)
        return tern_error_set(error, TERN_ECORRUPT, "trie: the root has a label");
    for (size_t i = 0; i < count; i++) {
        const struct tern_trie_node *node = &nodes[i];
        uint64_t children = 0;

        for (unsigned word = 0; word < 4; word++)
            children += (unsigned)__builtin_popcountll(node->children[word]);
        if (node->label_length > TERN_TRIE_LABEL || node->class_on >= class_count ||
            node->class_end >= class_count ||
            (children > 0 && (node->first_child <= i || node->first_child + children > count)))
            return tern_error_set(error, TERN_ECORRUPT, "trie: node %zu of %zu is out of bounds", i,
                                  count);
    }
    *trie = (struct tern_trie){nodes, (uint32_t)count, find_plain, find_plain_reversed,
                               find_vector_plain};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi")) {
        trie->find = find_popcount;
        trie->find_reversed = find_popcount_reversed;
        trie->find_vector = find_vector_popcount;
    }
#endif
    return 0;
}
