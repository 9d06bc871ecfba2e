#include "controlplane/build/trie.h"

#include "shared/tables/hash.h"
#include "shared/tables/prefix.h"

#define SLOTS      64u
#define NODE_WORDS (2 + SLOTS) /* u32 words of the largest node */

/* ---- storing a node once --------------------------------------------------------------------- */

static size_t node_bytes(const void *node)
{
    uint64_t word = tern_load_u64(node);
    unsigned entries = word & 1 ? (unsigned)__builtin_popcountll(word) : 2;

    return 8 + tern_align_up(4 * (size_t)entries, 8);
}

static const uint8_t *node_at(const struct tern_trie *trie, uint32_t entry)
{
    return trie->nodes.data + 8 * (size_t)(entry & ~TERN_PREFIX_NODE);
}

/* The place in `known` where `node` is, or the empty one where it belongs. */
static size_t known_place(const struct tern_trie *trie, const void *node, size_t bytes)
{
    size_t mask = trie->known_capacity - 1;
    size_t at = tern_hash_key(0, node, bytes) & mask;

    while (trie->known[at] != 0) {
        const uint8_t *other = node_at(trie, trie->known[at]);

        if (node_bytes(other) == bytes && memcmp(other, node, bytes) == 0)
            break;
        at = (at + 1) & mask;
    }
    return at;
}

static int known_grow(struct tern_trie *trie)
{
    uint32_t *before = trie->known;
    size_t before_capacity = trie->known_capacity;
    size_t capacity = before_capacity == 0 ? 1024 : 2 * before_capacity;

    trie->known = calloc(capacity, sizeof *trie->known);
    if (trie->known == NULL) {
        trie->known = before;
        return TERN_ENOMEM;
    }
    trie->known_capacity = capacity;
    for (size_t i = 0; i < before_capacity; i++)
        if (before[i] != 0) {
            const uint8_t *node = node_at(trie, before[i]);
            trie->known[known_place(trie, node, node_bytes(node))] = before[i];
        }
    free(before);
    return 0;
}

/* Stores a node, or finds its equal. A node that fits a cache line does not straddle two. */
static int store(struct tern_trie *trie, const void *node, uint32_t *entry)
{
    size_t bytes = node_bytes(node), place, in_line;

    if (2 * trie->known_count >= trie->known_capacity && known_grow(trie) != 0)
        return TERN_ENOMEM;
    place = known_place(trie, node, bytes);
    if (trie->known[place] != 0) {
        *entry = trie->known[place];
        return 0;
    }
    in_line = trie->nodes.length % TERN_CACHE_LINE;
    if (bytes <= TERN_CACHE_LINE && in_line + bytes > TERN_CACHE_LINE &&
        tern_buffer_align(&trie->nodes, TERN_CACHE_LINE) != 0)
        return TERN_ENOMEM;
    if (trie->nodes.length / 8 >= TERN_PREFIX_NODE)
        return TERN_ELIMIT;
    *entry = TERN_PREFIX_NODE | (uint32_t)(trie->nodes.length / 8);
    if (tern_buffer_append(&trie->nodes, node, bytes) != 0)
        return TERN_ENOMEM;
    trie->known[place] = *entry;
    trie->known_count++;
    return 0;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* A block that is packed but not referred to yet. While all that matters in it lies behind one path
 * of bits, it may still become part of a longer path: then its node is not stored. */
struct pending {
    unsigned bits;      /* of the path; 0: none, `entry` is all there is */
    uint64_t path;      /* right-aligned */
    uint32_t entry;     /* behind the path */
    uint32_t otherwise; /* value elsewhere in the block */
};

struct packer {
    struct tern_trie *trie;
    const struct tern_prefix_segment *segments;
    size_t count;
    size_t at; /* the segment that holds the position */
};

/* Entries of one node in the making: runs of slots. */
struct runs {
    uint64_t bitmap;
    unsigned count;
    uint32_t entries[SLOTS];
};

static void runs_add(struct runs *runs, unsigned slot, uint32_t entry)
{
    if (runs->count > 0 && runs->entries[runs->count - 1] == entry)
        return;
    runs->bitmap |= 1ull << slot;
    runs->entries[runs->count++] = entry;
}

static int store_runs(struct tern_trie *trie, const struct runs *runs, uint32_t *entry)
{
    uint32_t words[NODE_WORDS] = {0};

    /* One value everywhere needs no node. (64 equal nodes do: their 6 bits are still to be passed.)
     */
    if (runs->count == 1 && !(runs->entries[0] & TERN_PREFIX_NODE)) {
        *entry = runs->entries[0];
        return 0;
    }
    tern_store_u64(words, runs->bitmap);
    memcpy(words + 2, runs->entries, runs->count * sizeof *words);
    return store(trie, words, entry);
}

/* A path of up to 6 bits as an ordinary node, a longer one as a skip node. */
static int commit(struct tern_trie *trie, const struct pending *pending, uint32_t *entry)
{
    if (pending->bits == 0) {
        *entry = pending->entry;
        return 0;
    }
    if (pending->bits < TERN_PREFIX_SKIP_MIN) {
        unsigned width = 1u << (TERN_PREFIX_STRIDE - pending->bits); /* slots behind the path */
        unsigned slot = (unsigned)pending->path * width;
        struct runs runs = {0};

        if (slot > 0)
            runs_add(&runs, 0, pending->otherwise);
        runs_add(&runs, slot, pending->entry);
        if (slot + width < SLOTS)
            runs_add(&runs, slot + width, pending->otherwise);
        return store_runs(trie, &runs, entry);
    }
    uint32_t words[4] = {0};
    tern_store_u64(words, pending->path << 8 | pending->bits << 1);
    words[2] = pending->otherwise;
    words[3] = pending->entry;
    return store(trie, words, entry);
}

/* What one slot of a block holds: a value, or a block below. */
struct part {
    unsigned slot;
    struct pending block; /* a value: bits 0 */
};

static bool is_value(const struct part *part)
{
    return part->block.bits == 0 && !(part->block.entry & TERN_PREFIX_NODE);
}

/* Tries to see `parts` as one path: `inner` behind an aligned run of slots, one value elsewhere. */
static bool as_path(const struct part *parts, unsigned count, unsigned inner,
                    struct pending *pending)
{
    unsigned slot = parts[inner].slot;
    unsigned end = inner + 1 < count ? parts[inner + 1].slot : SLOTS;
    unsigned width = end - slot, bits = TERN_PREFIX_STRIDE - (unsigned)__builtin_ctz(width);
    const struct pending *block = &parts[inner].block;
    uint32_t otherwise = parts[inner == 0 ? 1 : 0].block.entry;

    if (count < 2 || (width & (width - 1)) != 0 || slot % width != 0 || bits == 0)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (i != inner && (!is_value(&parts[i]) || parts[i].block.entry != otherwise))
            return false;
    *pending = (struct pending){
        .bits = bits, .path = slot / width, .entry = block->entry, .otherwise = otherwise};
    if (block->bits == 0)
        return true;
    if (width != 1)
        return false;
    if (block->otherwise == otherwise && bits + block->bits <= TERN_PREFIX_SKIP_MAX) {
        pending->path = pending->path << block->bits | block->path;
        pending->bits += block->bits;
        return true;
    }
    return false;
}

/* Which part may lie behind a path: the only block, or a value beside one other value. Of two
 * values the one that is not "none" is the inner one, so that paths to lone ranges grow together.
 */
static bool find_path(const struct part *parts, unsigned count, struct pending *pending)
{
    unsigned blocks = 0, inner = 0;

    if (count < 2 || count > 3)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!is_value(&parts[i])) {
            blocks++;
            inner = i;
        }
    if (blocks > 1)
        return false;
    if (blocks == 1)
        return as_path(parts, count, inner, pending);
    if (count == 3)
        return as_path(parts, count, 1, pending);
    inner = parts[0].block.entry == TERN_PREFIX_NONE ? 1 : 0;
    return as_path(parts, count, inner, pending) || as_path(parts, count, 1 - inner, pending);
}

static int finish_block(struct tern_trie *trie, const struct part *parts, unsigned count,
                        struct pending *pending)
{
    struct runs runs = {0};

    if (find_path(parts, count, pending))
        return 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t entry;
        int status = commit(trie, &parts[i].block, &entry);

        if (status != 0)
            return status;
        runs_add(&runs, parts[i].slot, entry);
    }
    *pending = (struct pending){0};
    return store_runs(trie, &runs, &pending->entry);
}

static void add_value(struct part *parts, unsigned *count, unsigned slot, uint32_t value)
{
    if (*count > 0 && is_value(&parts[*count - 1]) && parts[*count - 1].block.entry == value)
        return;
    parts[(*count)++] = (struct part){.slot = slot, .block = {.entry = value}};
}

/* Packs the block of 2^(128 − depth) addresses at `base`. On entry packer->at is the segment that
 * holds `base`, on return the one that holds the block's last address. Below the last address bit
 * (depth 126 leaves 2) the slots' missing bits are zeros, as a look-up shifts them in. */
static int pack_block(struct packer *packer, tern_build_key base, unsigned depth,
                      struct pending *pending)
{
    const tern_build_key last =
        base | (depth == 0 ? ~(tern_build_key)0 : ((tern_build_key)1 << (128 - depth)) - 1);
    const unsigned below = 128 - depth;
    const unsigned shift = below > TERN_PREFIX_STRIDE ? below - TERN_PREFIX_STRIDE : 0;
    const unsigned scale = below < TERN_PREFIX_STRIDE ? TERN_PREFIX_STRIDE - below : 0;
    const tern_build_key within = ((tern_build_key)1 << shift) - 1;
    struct part parts[SLOTS];
    unsigned count = 0, slot = 0;

    while (slot < SLOTS) {
        size_t next = packer->at + 1;
        tern_build_key start;
        unsigned to;
        int status;

        if (next == packer->count || packer->segments[next].start > last) {
            add_value(parts, &count, slot, packer->segments[packer->at].value);
            break;
        }
        start = packer->segments[next].start;
        to = (unsigned)((start - base) >> shift) << scale;
        if (to > slot) {
            add_value(parts, &count, slot, packer->segments[packer->at].value);
            slot = to;
        }
        if ((start & within) == 0) {
            packer->at = next;
            continue;
        }
        parts[count].slot = slot;
        status = pack_block(packer, base | (tern_build_key)slot << shift,
                            depth + TERN_PREFIX_STRIDE, &parts[count].block);
        if (status != 0)
            return status;
        count++;
        slot++;
    }
    return finish_block(packer->trie, parts, count, pending);
}

int tern_trie_pack(struct tern_trie *trie, const struct tern_prefix_segment *segments,
                   size_t segment_count, tern_build_key base, unsigned depth, unsigned bits,
                   uint32_t *root)
{
    struct packer packer = {.trie = trie, .segments = segments, .count = segment_count};
    const unsigned shift = 128 - depth - bits;

    for (uint64_t i = 0; i < 1ull << bits; i++) {
        struct pending pending;
        tern_build_key at = shift == 128 ? base : base | (tern_build_key)i << shift;
        int status;

        while (packer.at + 1 < packer.count && segments[packer.at + 1].start <= at)
            packer.at++;
        status = pack_block(&packer, at, depth + bits, &pending);
        if (status == 0)
            status = commit(trie, &pending, &root[i]);
        if (status != 0)
            return status;
    }
    return 0;
}

void tern_trie_free(struct tern_trie *trie)
{
    tern_buffer_free(&trie->nodes);
    free(trie->known);
    *trie = (struct tern_trie){0};
}
