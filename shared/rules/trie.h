/* Strings and their prefixes: a radix trie with one cache line a node.
 *
 * A node holds the bytes that lead to it from its parent (at most TERN_TRIE_LABEL; longer ones make
 * a chain), the set of bytes that go on as a bitmap, and its children side by side, indexed by a
 * population count. Each node carries its ancestors' hits already: `class_on` is the class of a
 * value that goes on past the node without reaching another, `class_end` of the value that ends
 * there. */
#ifndef TERN_RULES_TRIE_H
#define TERN_RULES_TRIE_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/layout.h"
#include "shared/limits.h"

#define TERN_TRIE_LABEL 19

struct tern_trie_node {
    uint64_t children[4]; /* bitmap over the next byte */
    uint32_t first_child;
    uint32_t class_on;
    uint32_t class_end;
    uint8_t label_length;
    uint8_t label[TERN_TRIE_LABEL];
} TERN_ALIGNED(64);
TERN_LAYOUT_SIZE(tern_trie_node, 64);
TERN_LAYOUT_FIELD(tern_trie_node, children, 0);
TERN_LAYOUT_FIELD(tern_trie_node, first_child, 32);
TERN_LAYOUT_FIELD(tern_trie_node, class_on, 36);
TERN_LAYOUT_FIELD(tern_trie_node, class_end, 40);
TERN_LAYOUT_FIELD(tern_trie_node, label_length, 44);
TERN_LAYOUT_FIELD(tern_trie_node, label, 45);

struct tern_trie_key {
    const uint8_t *bytes;
    uint32_t length;
};

struct tern_trie { /* a handle; node 0 is the root, with an empty label */
    const struct tern_trie_node *nodes;
    uint32_t count;
    /* as the processor allows: with its population count or without */
    uint32_t (*find)(const struct tern_trie_node *nodes, const uint8_t *bytes, uint32_t length);
    uint32_t (*find_reversed)(const struct tern_trie_node *nodes, const uint8_t *bytes,
                              uint32_t length);
    void (*find_vector)(const struct tern_trie_node *nodes, const struct tern_trie_key *keys,
                        unsigned count, bool reversed, uint32_t *classes);
};

/* Validates `length` bytes of nodes (64-byte aligned): children lie behind their parent, classes
 * are below `class_count`. */
int tern_trie_open(struct tern_trie *trie, const void *data, size_t length, uint32_t class_count,
                   struct tern_error *error);

/* The class of a string. */
static inline uint32_t tern_trie_find(const struct tern_trie *trie, const uint8_t *bytes,
                                      uint32_t length)
{
    return trie->find(trie->nodes, bytes, length);
}

/* The same over the bytes from the last to the first. */
static inline uint32_t tern_trie_find_reversed(const struct tern_trie *trie, const uint8_t *bytes,
                                               uint32_t length)
{
    return trie->find_reversed(trie->nodes, bytes, length);
}

/* The same for `count` strings at once (count ≤ TERN_VECTOR_WIDTH), node by node, so that the
 * memory latency of a level is paid once a vector. */
static inline void tern_trie_find_vector(const struct tern_trie *trie,
                                         const struct tern_trie_key *keys, unsigned count,
                                         bool reversed, uint32_t *classes)
{
    trie->find_vector(trie->nodes, keys, count, reversed, classes);
}

#endif
