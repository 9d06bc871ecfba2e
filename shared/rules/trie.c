#include "shared/rules/trie.h"

#define INLINE static inline __attribute__((always_inline))

/* Whether a node has a child of `byte`, and how many stand before it. Letters and the signs of
 * paths mix the first two words without pattern, so only bytes past ASCII take a branch. */
INLINE bool has_child(const uint64_t bitmap[4], uint8_t byte, unsigned *before)
{
    unsigned word = byte >> 6;
    uint64_t children = bitmap[word], bit = 1ull << (byte & 63);
    uint64_t first = word > 0 ? bitmap[0] : 0;

    if ((children & bit) == 0)
        return false;
    *before = (unsigned)__builtin_popcountll(children & (bit - 1)) +
              (unsigned)__builtin_popcountll(first);
    if (TERN_UNLIKELY(word > 1)) {
        *before += (unsigned)__builtin_popcountll(bitmap[1]);
        if (word > 2)
            *before += (unsigned)__builtin_popcountll(bitmap[2]);
    }
    return true;
}

/* The same for the leaves of a fan: hashes come from all four words alike, so without a branch. */
INLINE bool has_leaf(const struct tern_trie_fan *fan, unsigned slot, unsigned *before)
{
    uint64_t leaves = fan->slots[slot >> 6], bit = 1ull << (slot & 63);

    *before = fan->ranks[slot >> 6] + (unsigned)__builtin_popcountll(leaves & (bit - 1));
    return leaves & bit;
}

/* One look-up under way. */
struct walk {
    const struct tern_trie_node *node; /* whose label comes next */
    const uint8_t *bytes;
    uint32_t length;
    uint32_t at;    /* bytes read */
    uint64_t small; /* the whole value in reading order, when it is shorter than a word */
};

INLINE uint8_t byte_at(const struct walk *walk, uint32_t at, bool reversed)
{
    return walk->bytes[reversed ? walk->length - 1 - at : at];
}

INLINE void start(struct walk *walk, const struct tern_trie_key *key, bool reversed)
{
    *walk = (struct walk){NULL, key->bytes, key->length, 0, 0};
    if (key->length < 8)
        for (uint32_t i = 0; i < key->length; i++)
            walk->small |= (uint64_t)byte_at(walk, i, reversed) << 8 * i;
}

INLINE uint8_t first_byte(const struct tern_trie_node *node)
{
    return (uint8_t)(tern_trie_head_kind(node->head) == TERN_TRIE_LONG ? node->rest[0]
                                                                       : node->head >> 16);
}

/* The next eight bytes from `at` in reading order; those past the end of the value are 0. Near the
 * end the word that ends with the value is shifted, so nothing outside it is read. */
INLINE uint64_t word_at(const struct walk *walk, uint32_t at, bool reversed)
{
    uint32_t left = walk->length - at;
    const uint8_t *bytes = walk->bytes;

    if (TERN_LIKELY(left >= 8))
        return reversed ? __builtin_bswap64(tern_load_u64(bytes + left - 8))
                        : tern_load_u64(bytes + at);
    if (walk->length < 8)
        return walk->small >> 8 * at;
    return reversed ? __builtin_bswap64(tern_load_u64(bytes) << 8 * (8 - left))
                    : tern_load_u64(bytes + walk->length - 8) >> 8 * (8 - left);
}

/* How many bytes of a short label the value goes along with. What comes behind them in the word is
 * stopped by a bit of its own. */
INLINE unsigned matched_short(const struct walk *walk, unsigned length, bool reversed)
{
    uint64_t differs = walk->node->head >> 16 ^ word_at(walk, walk->at, reversed);
    unsigned same = (unsigned)__builtin_ctzll(differs | 1ull << 8 * length) / 8;
    uint32_t left = walk->length - walk->at;

    return same < left ? same : left;
}

INLINE unsigned matched_long(const struct walk *walk, unsigned length, bool reversed)
{
    const uint64_t *label = walk->node->rest;
    uint32_t left = walk->length - walk->at;
    unsigned most = length < left ? length : left;

    for (unsigned i = 0; i < most; i += 8) { /* a label has room for whole words */
        uint64_t differs = label[i / 8] ^ word_at(walk, walk->at + i, reversed);

        if (differs != 0) {
            unsigned equal = i + (unsigned)__builtin_ctzll(differs) / 8;

            return equal < most ? equal : most;
        }
    }
    return most;
}

/* The class of a value that leaves the trie `same` bytes into the label of the walk's node. */
INLINE uint32_t class_at(const struct walk *walk, const struct tern_trie *trie, uint32_t cuts,
                         unsigned same)
{
    const struct tern_trie_node *node = walk->node;
    unsigned cut = (unsigned)__builtin_popcount(cuts & ((1u << same) - 1));
    const struct tern_trie_pair *pair =
        cut < TERN_TRIE_PAIRS ? &node->pairs[cut]
                              : &trie->pairs[node->more_pairs + cut - TERN_TRIE_PAIRS];

    /* a node's first byte is the one it was chosen by, so `same` is at least 1 */
    return walk->at == walk->length && cuts >> (same - 1) & 1 ? pair->end : pair->on;
}

/* The class of a value at a leaf of `words` words; `on`: when it is another one. The walk stands
 * before the bytes of the leaf. */
INLINE uint32_t leaf_class(const struct walk *walk, const uint64_t *leaf, unsigned words,
                           uint32_t on, bool reversed)
{
    uint64_t last = leaf[words - 1];
    unsigned length = tern_trie_leaf_length(last);
    uint32_t left = walk->length - walk->at;

    if (left < length || (left > length && tern_trie_leaf_is_exact(last)))
        return on;
    for (unsigned i = 0; i < length; i += 8) {
        uint64_t differs = leaf[i / 8] ^ word_at(walk, walk->at + i, reversed);

        if (differs << (length - i < 8 ? 64 - 8 * (length - i) : 0) != 0)
            return on;
    }
    return tern_trie_leaf_class(last);
}

/* The class of a value that stands behind the label of a bunch. */
INLINE uint32_t bunch_class(struct walk *walk, const struct tern_trie_bunch *bunch, bool reversed)
{
    uint8_t byte = byte_at(walk, walk->at, reversed);
    unsigned leaf;

    for (leaf = 0; leaf < TERN_TRIE_BUNCH; leaf++)
        if (bunch->bytes[leaf] == byte)
            break;
    if (leaf == TERN_TRIE_BUNCH)
        return bunch->on;
    walk->at++;
    return leaf_class(walk, bunch->leaves[leaf], 2, bunch->on, reversed);
}

/* The class of a value that stands behind the label of a fan, with more to come. */
INLINE uint32_t fan_class(const struct walk *walk, const struct tern_trie *trie,
                          enum tern_trie_kind kind, uint32_t on, bool reversed)
{
    const struct tern_trie_fan *fan = (const void *)walk->node;
    unsigned slot = tern_trie_fan_slot(fan->hash, word_at(walk, walk->at, reversed));
    unsigned words = tern_trie_fan_words(kind), before;

    return has_leaf(fan, slot, &before)
               ? leaf_class(walk, &trie->leaves[fan->first_leaf + words * before], words, on,
                            reversed)
               : on;
}

INLINE uint32_t find_one(const struct tern_trie *trie, const struct tern_trie_key *key,
                         bool reversed)
{
    struct walk walk;
    uint32_t first;

    start(&walk, key, reversed);
    if (key->length == 0)
        return trie->pairs[0].end;
    first = trie->first[byte_at(&walk, 0, reversed)];
    if (first == 0)
        return trie->pairs[0].on;
    walk.node = &trie->nodes[first - 1];
    for (;;) {
        const struct tern_trie_node *node = walk.node;
        enum tern_trie_kind kind = tern_trie_head_kind(node->head);
        unsigned length = tern_trie_head_length(node->head), same, before;
        uint32_t cuts;

        if (kind == TERN_TRIE_LONG) {
            cuts = (uint32_t)(node->head >> 32);
            same = matched_long(&walk, length, reversed);
            walk.at += same;
            if (same < length || walk.at == walk.length || node->first_child == 0)
                return class_at(&walk, trie, cuts, same);
            walk.node = &trie->nodes[node->first_child];
            /* its one child may still begin with another byte */
            if (first_byte(walk.node) != byte_at(&walk, walk.at, reversed)) {
                walk.node = node;
                return class_at(&walk, trie, cuts, same);
            }
            continue;
        }
        same = matched_short(&walk, length, reversed);
        walk.at += same;
        if (kind == TERN_TRIE_INLINE) {
            const struct tern_trie_bunch *bunch = (const void *)node;

            return same < length || walk.at == walk.length ? bunch->on
                                                           : bunch_class(&walk, bunch, reversed);
        }
        cuts = (uint32_t)(node->head >> 8) & 0xff;
        if (same < length || walk.at == walk.length)
            return class_at(&walk, trie, cuts, same);
        if (tern_trie_kind_is_fan(kind))
            return fan_class(&walk, trie, kind, class_at(&walk, trie, cuts, same), reversed);
        if (!has_child(node->rest, byte_at(&walk, walk.at, reversed), &before))
            return class_at(&walk, trie, cuts, same);
        walk.node = &trie->nodes[node->first_child + before];
    }
}

INLINE void find(const struct tern_trie *trie, const struct tern_trie_key *keys, unsigned count,
                 bool reversed, uint32_t *classes)
{
    for (unsigned i = 0; i < count; i++)
        classes[i] = find_one(trie, &keys[i], reversed);
}

static void find_plain(const struct tern_trie *trie, const struct tern_trie_key *keys,
                       unsigned count, bool reversed, uint32_t *classes)
{
    if (reversed)
        find(trie, keys, count, true, classes);
    else
        find(trie, keys, count, false, classes);
}

#if defined(__x86_64__)
__attribute__((target("popcnt,bmi,bmi2"))) static void
find_popcount(const struct tern_trie *trie, const struct tern_trie_key *keys, unsigned count,
              bool reversed, uint32_t *classes)
{
    if (reversed)
        find(trie, keys, count, true, classes);
    else
        find(trie, keys, count, false, classes);
}
#endif

static bool leaves_are_sound(const uint64_t *leaves, unsigned count, unsigned words,
                             const struct tern_class_bounds *bounds)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t last = leaves[i * words + words - 1];

        if (tern_trie_leaf_length(last) > tern_trie_leaf_room(words) ||
            !tern_class_fits(bounds, tern_trie_leaf_class(last)))
            return false;
    }
    return true;
}

static bool bunch_is_sound(const struct tern_trie_bunch *bunch,
                           const struct tern_class_bounds *bounds)
{
    unsigned length = tern_trie_head_length(bunch->head);

    return length > 0 && length <= TERN_TRIE_SHORT && tern_trie_head_cuts(bunch->head) == 0 &&
           tern_class_fits(bounds, bunch->on) &&
           leaves_are_sound(bunch->leaves[0], TERN_TRIE_BUNCH, 2, bounds);
}

static bool fan_is_sound(const struct tern_trie_header *header, const struct tern_trie_fan *fan,
                         const uint64_t *leaves, const struct tern_class_bounds *bounds)
{
    unsigned words = tern_trie_fan_words(tern_trie_head_kind(fan->head)), count = 0;
    unsigned length = tern_trie_head_length(fan->head);
    uint32_t cuts = tern_trie_head_cuts(fan->head);

    for (unsigned word = 0; word < TERN_COUNT(fan->slots); word++) {
        if (fan->ranks[word] != count)
            return false;
        count += (unsigned)__builtin_popcountll(fan->slots[word]);
    }
    return length > 0 && length <= TERN_TRIE_SHORT && cuts >> length == 0 &&
           (cuts & (cuts - 1)) == 0 && tern_class_fits(bounds, fan->on) &&
           tern_class_fits(bounds, fan->cut.on) && tern_class_fits(bounds, fan->cut.end) &&
           tern_range_inside(fan->first_leaf, (uint64_t)count * words, header->leaf_words) &&
           leaves_are_sound(leaves + fan->first_leaf, count, words, bounds);
}

static bool children_are_sound(const struct tern_trie_header *header,
                               const struct tern_trie_node *nodes, uint32_t index)
{
    const struct tern_trie_node *node = &nodes[index];
    enum tern_trie_kind kind = tern_trie_head_kind(node->head);
    unsigned children = kind == TERN_TRIE_LONG && node->first_child != 0;

    for (unsigned word = 0; word < 4 && kind != TERN_TRIE_LONG; word++)
        children += (unsigned)__builtin_popcountll(node->rest[word]);
    return children == 0 || (node->first_child > index &&
                             tern_range_inside(node->first_child, children, header->node_count));
}

static bool node_is_sound(const struct tern_trie_header *header, const struct tern_trie_node *nodes,
                          const uint64_t *leaves, uint32_t index,
                          const struct tern_class_bounds *bounds)
{
    const struct tern_trie_node *node = &nodes[index];
    enum tern_trie_kind kind = tern_trie_head_kind(node->head);
    unsigned length = tern_trie_head_length(node->head);
    uint32_t cuts = tern_trie_head_cuts(node->head);
    unsigned pairs = 1 + (unsigned)__builtin_popcount(cuts);

    if (kind == TERN_TRIE_INLINE)
        return bunch_is_sound((const void *)node, bounds);
    if (kind == TERN_TRIE_FAN_1 || kind == TERN_TRIE_FAN_2 || kind == TERN_TRIE_FAN_4)
        return fan_is_sound(header, (const void *)node, leaves, bounds);
    for (unsigned i = 0; i < TERN_TRIE_PAIRS; i++)
        if (!tern_class_fits(bounds, node->pairs[i].on) ||
            !tern_class_fits(bounds, node->pairs[i].end))
            return false;
    return kind <= TERN_TRIE_LONG && length > 0 &&
           length <= (kind == TERN_TRIE_LONG ? TERN_TRIE_LABEL : TERN_TRIE_SHORT) &&
           cuts >> length == 0 &&
           (pairs <= TERN_TRIE_PAIRS ||
            tern_range_inside(node->more_pairs, pairs - TERN_TRIE_PAIRS, header->pair_count)) &&
           children_are_sound(header, nodes, index);
}

int tern_trie_open(struct tern_trie *trie, const void *data, size_t length,
                   const struct tern_class_bounds *bounds, struct tern_error *error)
{
    const struct tern_trie_header *header = data;
    const struct tern_trie_node *nodes = (const void *)(header + 1);
    const struct tern_trie_pair *pairs;
    const uint64_t *leaves;

    if (length < sizeof *header || (uintptr_t)data % TERN_CACHE_LINE != 0 ||
        header->pair_count == 0 ||
        length != sizeof *header + header->node_count * sizeof *nodes +
                      header->leaf_words * sizeof *leaves + header->pair_count * sizeof *pairs)
        return tern_error_set(error, TERN_ECORRUPT, "trie: %zu bytes are not what it says", length);
    leaves = (const void *)(nodes + header->node_count);
    pairs = (const void *)(leaves + header->leaf_words);
    for (uint32_t i = 0; i < header->node_count; i++)
        if (!node_is_sound(header, nodes, leaves, i, bounds))
            return tern_error_set(error, TERN_ECORRUPT, "trie: node %u of %u is out of bounds", i,
                                  header->node_count);
    for (unsigned byte = 0; byte < 256; byte++)
        if (header->first[byte] > header->node_count)
            return tern_error_set(error, TERN_ECORRUPT,
                                  "trie: the node of byte %u is out of bounds", byte);
    for (uint32_t i = 0; i < header->pair_count; i++)
        if (!tern_class_fits(bounds, pairs[i].on) || !tern_class_fits(bounds, pairs[i].end))
            return tern_error_set(error, TERN_ECORRUPT, "trie: pair %u of %u is out of bounds", i,
                                  header->pair_count);
    *trie = (struct tern_trie){header->first, nodes, leaves, pairs, find_plain};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2"))
        trie->find = find_popcount;
#endif
    return 0;
}
