/* Strings and their prefixes: a radix trie whose edges carry the literals that end along them.
 *
 * A node is one cache line. Its label is the bytes that lead on from its parent, as far as no
 * literals part ways; `cuts` marks after which bytes of it a literal ends. So a set of literals
 * that are prefixes of one another is one node, and a look-up compares words of eight bytes and
 * visits a node only where literals branch. Where they do, the label is short and a bitmap has the
 * rest of the line; elsewhere the label has it. Longer labels make a chain.
 *
 * Most literals part ways with all others near their end: what is left of such a one is a leaf, an
 * eighth, a quarter or half of a line. Up to three of them stand in the node itself, which then
 * needs no bitmap; up to 48 fan out from one node, which chooses among them by a hash of the next
 * few bytes that is perfect for them. So in tens of thousands of literals the last step, the one
 * that waits for memory, is one line, and there are few nodes before it
 * (docs/decisions/0020-leaves.md, 0025-fans.md).
 *
 * Classes come in pairs: one for the entry of the label, then one for each cut.
 * `on` is the class of a value that goes on, `end` of one that ends right there; both hold what the
 * shorter literals say already. */
#ifndef TERN_RULES_TRIE_H
#define TERN_RULES_TRIE_H

#include "shared/base.h"
#include "shared/error.h"
#include "shared/layout.h"
#include "shared/limits.h"
#include "shared/rules/class.h"

#define TERN_TRIE_SHORT 6  /* bytes of a label beside a bitmap */
#define TERN_TRIE_LABEL 31 /* of one that has the line for itself */
#define TERN_TRIE_PAIRS 2  /* in the node itself; most need no more */
#define TERN_TRIE_BUNCH 3  /* leaves in a node */
#define TERN_TRIE_FAN   48 /* leaves below one */

/* Classifier bytes: this header, `node_count` nodes, `leaf_words` words of leaves, `pair_count`
 * pairs. There is no root node: `first` is its children by their first byte, pair 0 its classes (of
 * a value that no literal begins with, and of the empty one). */
struct tern_trie_header {
    uint32_t node_count;
    uint32_t pair_count; /* at least 1 */
    uint32_t leaf_words;
    uint8_t reserved[52];
    uint32_t first[256]; /* 1 + the node's index, 0: none */
};
TERN_LAYOUT_SIZE(tern_trie_header, 1088);
TERN_LAYOUT_FIELD(tern_trie_header, node_count, 0);
TERN_LAYOUT_FIELD(tern_trie_header, pair_count, 4);
TERN_LAYOUT_FIELD(tern_trie_header, leaf_words, 8);
TERN_LAYOUT_FIELD(tern_trie_header, reserved, 12);
TERN_LAYOUT_FIELD(tern_trie_header, first, 64);

struct tern_trie_pair {
    uint32_t on, end;
};
TERN_LAYOUT_SIZE(tern_trie_pair, 8);
TERN_LAYOUT_FIELD(tern_trie_pair, on, 0);
TERN_LAYOUT_FIELD(tern_trie_pair, end, 4);

enum tern_trie_kind {
    TERN_TRIE_BRANCH = 0, /* a short label, then nodes */
    TERN_TRIE_LONG = 1,   /* a long label, then at most one node */
    TERN_TRIE_INLINE = 2, /* struct tern_trie_bunch */
    TERN_TRIE_FAN_1 = 3,  /* struct tern_trie_fan with leaves of one word, */
    TERN_TRIE_FAN_2 = 4,  /* of two */
    TERN_TRIE_FAN_4 = 5,  /* of four */
};

struct tern_trie_node {
    /* Byte 0: the label's length, at least 1, | enum tern_trie_kind << 5. Of a short label byte 1
     * has the cuts (bit i: a literal ends after byte i of it) and bytes 2… the label itself; of a
     * long one the upper half has the cuts. */
    uint64_t head;
    uint32_t first_child; /* children stand side by side, in the order of their bytes; long: 0: none
                           */
    uint32_t more_pairs;  /* where the rest of its 1 + popcount(cuts) pairs begins */
    struct tern_trie_pair pairs[TERN_TRIE_PAIRS];
    uint64_t rest[4]; /* short: bitmap of children over the byte after the label; long: the label */
};
TERN_LAYOUT_SIZE(tern_trie_node, 64);
TERN_LAYOUT_FIELD(tern_trie_node, head, 0);
TERN_LAYOUT_FIELD(tern_trie_node, first_child, 8);
TERN_LAYOUT_FIELD(tern_trie_node, more_pairs, 12);
TERN_LAYOUT_FIELD(tern_trie_node, pairs, 16);
TERN_LAYOUT_FIELD(tern_trie_node, rest, 32);

/* A node with a short label, cut at most once, whose children are leaves. The bytes behind the
 * label, as many as tell all leaves apart, make a hash of eight bits that no two leaves share; a
 * leaf stands by the rank of its hash. It holds all the bytes behind the label, those included, so
 * that whatever value meets its hash is compared in full. */
struct tern_trie_fan {
    uint64_t head;
    uint32_t first_leaf; /* its first word */
    uint32_t hash;       /* see tern_trie_fan_slot */
    uint32_t on;         /* the class of what belongs to no leaf and to no cut */
    uint8_t ranks[4];    /* how many leaves stand before each word of `slots` */
    struct tern_trie_pair cut;
    uint64_t slots[4]; /* bitmap of the hashes of leaves */
};
TERN_LAYOUT_SIZE(tern_trie_fan, 64);
TERN_LAYOUT_FIELD(tern_trie_fan, head, 0);
TERN_LAYOUT_FIELD(tern_trie_fan, first_leaf, 8);
TERN_LAYOUT_FIELD(tern_trie_fan, hash, 12);
TERN_LAYOUT_FIELD(tern_trie_fan, on, 16);
TERN_LAYOUT_FIELD(tern_trie_fan, ranks, 20);
TERN_LAYOUT_FIELD(tern_trie_fan, cut, 24);
TERN_LAYOUT_FIELD(tern_trie_fan, slots, 32);

/* The hash of the next eight bytes (0 past the end of the value). The low eight bits of `hash` say
 * how far to shift out those that do not count, the rest is an odd factor; it is repeated, as the
 * eight bits on top of the product are to hang on every byte. */
static inline unsigned tern_trie_fan_slot(uint32_t hash, uint64_t next)
{
    uint64_t factor = hash >> 8;

    return (unsigned)((next << (hash & 63)) * (factor << 32 | factor) >> 56);
}

static inline uint32_t tern_trie_fan_hash(uint32_t factor, unsigned bytes)
{
    return factor << 8 | (64 - 8 * bytes);
}

/* A node with a short label without cuts whose one to three children are leaves of two words,
 * chosen by their first byte, which they do not hold. */
struct tern_trie_bunch {
    uint64_t head;
    uint32_t on;                    /* the class of what belongs to none of them */
    uint8_t bytes[TERN_TRIE_BUNCH]; /* the byte before each leaf; where there is no leaf, the first
                                       one again */
    uint8_t reserved;
    uint64_t leaves[TERN_TRIE_BUNCH][2];
};
TERN_LAYOUT_SIZE(tern_trie_bunch, 64);
TERN_LAYOUT_FIELD(tern_trie_bunch, head, 0);
TERN_LAYOUT_FIELD(tern_trie_bunch, on, 8);
TERN_LAYOUT_FIELD(tern_trie_bunch, bytes, 12);
TERN_LAYOUT_FIELD(tern_trie_bunch, reserved, 15);
TERN_LAYOUT_FIELD(tern_trie_bunch, leaves, 16);

static inline bool tern_trie_kind_is_fan(enum tern_trie_kind kind)
{
    return kind >= TERN_TRIE_FAN_1;
}

/* Words of each leaf of a fan. */
static inline unsigned tern_trie_fan_words(enum tern_trie_kind kind)
{
    return 1u << (kind - TERN_TRIE_FAN_1);
}

/* The parts of a head. */
static inline unsigned tern_trie_head_length(uint64_t head)
{
    return (unsigned)head & 31;
}

static inline enum tern_trie_kind tern_trie_head_kind(uint64_t head)
{
    return (enum tern_trie_kind)((unsigned)head >> 5 & 7);
}

static inline uint64_t tern_trie_head_make(enum tern_trie_kind kind, unsigned length)
{
    return (uint64_t)kind << 5 | length;
}

static inline uint32_t tern_trie_head_cuts(uint64_t head)
{
    return tern_trie_head_kind(head) == TERN_TRIE_LONG ? (uint32_t)(head >> 32)
                                                       : (uint32_t)(head >> 8) & 0xff;
}

/* A leaf: the bytes of the one literal that is left. Its last word: the last three bytes, how many
 * it has in all | TERN_TRIE_EXACT, the class; before it no word of bytes, one, or three. The class
 * is that of values that go on like this, EXACT: that end there; of all others it is the parent's.
 */
#define TERN_TRIE_EXACT 0x80u

/* How many bytes fit a leaf. */
static inline unsigned tern_trie_leaf_room(unsigned words)
{
    return words * 8 - 5;
}

static inline uint64_t tern_trie_leaf_last(unsigned length, bool exact, uint32_t class)
{
    return (uint64_t) class << 32 | (uint64_t)(length | (exact ? TERN_TRIE_EXACT : 0)) << 24;
}

static inline unsigned tern_trie_leaf_length(uint64_t last)
{
    return (unsigned)(last >> 24) & (TERN_TRIE_EXACT - 1);
}

static inline bool tern_trie_leaf_is_exact(uint64_t last)
{
    return last >> 24 & TERN_TRIE_EXACT;
}

static inline uint32_t tern_trie_leaf_class(uint64_t last)
{
    return (uint32_t)(last >> 32);
}

struct tern_trie_key {
    const uint8_t *bytes;
    uint32_t length;
};

struct tern_trie { /* a handle; nothing to free */
    const uint32_t *first;
    const struct tern_trie_node *nodes;
    const uint64_t *leaves;
    const struct tern_trie_pair *pairs;
    /* as the processor allows: with its population count or without */
    void (*find)(const struct tern_trie *trie, const struct tern_trie_key *keys, unsigned count,
                 bool reversed, uint32_t *classes);
};

/* Validates `length` bytes at `data` (64-byte aligned): children lie behind their parent, pairs and
 * classes are in bounds. */
int tern_trie_open(struct tern_trie *trie, const void *data, size_t length,
                   const struct tern_class_bounds *bounds, struct tern_error *error);

/* The classes of `count` strings (at most TERN_VECTOR_WIDTH), read from their first byte to the
 * last or `reversed`: node by node for all of them, so that the memory latency of a level is paid
 * once a vector. Reads no byte outside the strings. */
static inline void tern_trie_find(const struct tern_trie *trie, const struct tern_trie_key *keys,
                                  unsigned count, bool reversed, uint32_t *classes)
{
    trie->find(trie, keys, count, reversed, classes);
}

#endif
