#include "shared/rules/trie.h"

static unsigned rank(const uint64_t bitmap[4], uint8_t byte)
{
    unsigned below = 0, word = byte >> 6;

    for (unsigned i = 0; i < word; i++)
        below += (unsigned)__builtin_popcountll(bitmap[i]);
    return below + (unsigned)__builtin_popcountll(bitmap[word] & ((1ull << (byte & 63)) - 1));
}

static bool has(const uint64_t bitmap[4], uint8_t byte)
{
    return (bitmap[byte >> 6] >> (byte & 63)) & 1;
}

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
    *trie = (struct tern_trie){nodes, (uint32_t)count};
    return 0;
}

/* The byte that a parent branches on is the first byte of the child's label, so a label is compared
 * whole; every step consumes at least one byte except the root's. */
uint32_t tern_trie_find(const struct tern_trie *trie, const uint8_t *bytes, uint32_t length)
{
    const struct tern_trie_node *node = trie->nodes;
    uint32_t at = 0;

    while (at < length && has(node->children, bytes[at])) {
        const struct tern_trie_node *child =
            &trie->nodes[node->first_child + rank(node->children, bytes[at])];

        if (child->label_length > length - at)
            return node->class_on;
        for (unsigned i = 0; i < child->label_length; i++)
            if (child->label[i] != bytes[at + i])
                return node->class_on;
        at += child->label_length;
        node = child;
    }
    return at == length ? node->class_end : node->class_on;
}

uint32_t tern_trie_find_reversed(const struct tern_trie *trie, const uint8_t *bytes,
                                 uint32_t length)
{
    const struct tern_trie_node *node = trie->nodes;
    uint32_t left = length;

    while (left > 0 && has(node->children, bytes[left - 1])) {
        const struct tern_trie_node *child =
            &trie->nodes[node->first_child + rank(node->children, bytes[left - 1])];

        if (child->label_length > left)
            return node->class_on;
        for (unsigned i = 0; i < child->label_length; i++)
            if (child->label[i] != bytes[left - 1 - i])
                return node->class_on;
        left -= child->label_length;
        node = child;
    }
    return left == 0 ? node->class_end : node->class_on;
}
