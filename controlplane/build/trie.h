/* The nodes of a prefix index (shared/tables/prefix.h), from disjoint segments of the address
 * space. */
#ifndef TERN_BUILD_TRIE_H
#define TERN_BUILD_TRIE_H

#include "controlplane/build/prefix.h"

struct tern_trie { /* zero-initialise */
    struct tern_buffer nodes;
    uint32_t *known; /* open-addressing set of nodes, by content: entries with TERN_PREFIX_NODE */
    size_t known_count, known_capacity;
};

/* Appends the nodes of the block of 2^(128 − depth) addresses that starts at `base` and fills
 * `root`, one entry for each value of the next `bits` bits (0: one entry for the whole block).
 * `segments` are those of the whole family. Returns 0, TERN_ENOMEM, or TERN_ELIMIT past 16 GiB of
 * nodes. */
int tern_trie_pack(struct tern_trie *trie, const struct tern_prefix_segment *segments,
                   size_t segment_count, tern_build_key base, unsigned depth, unsigned bits,
                   uint32_t *root);

void tern_trie_free(struct tern_trie *trie);

#endif
