/* How the leaves below a node of a trie fan out: a hash of their first bytes that no two share.
 *
 * The method is the last step of "hash and displace" (Pagh 1999; Fredman, Komlos, Szemeredi 1984):
 * factors are tried in a fixed order until one puts every leaf into a slot of its own. Of 48 leaves
 * in 256 slots one factor in a hundred does. */
#ifndef TERN_COMPILE_FAN_H
#define TERN_COMPILE_FAN_H

#include "shared/rules/trie.h"

struct tern_fan_tail { /* what is left of a literal */
    const uint8_t *bytes;
    uint32_t length; /* at least 1 */
    bool exact;      /* holds of values that end with it; else of those that begin with it */
};

struct tern_fan {
    enum tern_trie_kind kind;
    unsigned words; /* of a leaf */
    uint32_t hash;
    uint8_t slots[TERN_TRIE_FAN]; /* of each tail */
};

/* Chooses how `count` tails (1 to TERN_TRIE_FAN), distinct and in the order of their bytes, fan
 * out. False when they cannot, or when their leaves would be larger than is worth it. The same
 * tails give the same fan. */
bool tern_fan_choose(struct tern_fan *fan, const struct tern_fan_tail *tails, unsigned count);

#endif
