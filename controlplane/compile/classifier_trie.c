#include "controlplane/compile/classifier.h"
#include "controlplane/compile/fan.h"

struct entry { /* a string that some atom names */
    const uint8_t *bytes;
    uint32_t length;
    uint32_t atom;
    bool equals; /* else a prefix */
};

struct group { /* a distinct string with the classes of its node */
    const uint8_t *bytes;
    uint32_t length;
    uint32_t class_on, class_end;
};

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    int order = memcmp(a->bytes, b->bytes, tern_min_u64(a->length, b->length));

    if (order != 0)
        return order;
    if (a->length != b->length)
        return a->length < b->length ? -1 : 1;
    if (a->equals != b->equals)
        return a->equals ? 1 : -1;
    return (a->atom > b->atom) - (a->atom < b->atom);
}

/* Suffixes are kept by their reversed bytes. */
static const uint8_t *oriented(struct tern_region *region, bool reversed,
                               const struct tern_string *string)
{
    uint8_t *bytes;

    if (!reversed)
        return string->bytes;
    bytes = tern_region_take(region, string->length);
    for (uint32_t i = 0; i < string->length && bytes != NULL; i++)
        bytes[i] = string->bytes[string->length - 1 - i];
    return bytes;
}

static int collect(struct tern_classifier *classifier, const struct tern_unit_atom *atoms,
                   const uint32_t *indexes, uint32_t count, struct tern_region *region,
                   struct tern_list *entries)
{
    bool reversed = classifier->kind == TERN_UNIT_SUFFIX;

    for (uint32_t i = 0; i < count; i++) {
        const struct tern_unit_atom *atom = &atoms[indexes[i]];

        if (reversed ? atom->kind != TERN_ATOM_ENDS
                     : atom->kind != TERN_ATOM_EQUALS && atom->kind != TERN_ATOM_STARTS)
            continue;
        for (uint32_t j = 0; j < atom->count; j++) {
            struct entry *entry = tern_list_push(entries, sizeof *entry);
            const uint8_t *bytes = oriented(region, reversed, &atom->strings[j]);

            if (entry == NULL || bytes == NULL)
                return TERN_ENOMEM;
            *entry = (struct entry){bytes, atom->strings[j].length, indexes[i],
                                    atom->kind == TERN_ATOM_EQUALS};
        }
    }
    if (entries->count > 0)
        qsort(entries->data, entries->count, sizeof(struct entry), compare_entries);
    return 0;
}

static bool is_prefix(const struct group *prefix, const struct entry *entry)
{
    return prefix->length <= entry->length &&
           memcmp(prefix->bytes, entry->bytes, prefix->length) == 0;
}

static bool same_string(const struct entry *a, const struct entry *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

/* Walks the distinct strings in order, which is a walk of the tree of prefixes from parents to
 * children; the current state holds the prefixes of the string at hand. */
static int classify(struct tern_classifier *classifier, const struct tern_list *entries,
                    struct tern_list *groups)
{
    struct open { /* a string on the path from the root, and its entries that are prefixes */
        size_t group, first, last;
    } * open;
    struct tern_list stack = {0};
    const struct entry *entry = entries->data;
    struct tern_signatures *signatures = &classifier->signatures;
    struct group *group;
    int status = 0;

    group = tern_list_push(groups, sizeof *group); /* the root */
    if (group == NULL)
        return TERN_ENOMEM;
    *group = (struct group){(const uint8_t *)"", 0, TERN_CLASS_BASE, TERN_CLASS_BASE};
    for (size_t i = 0; i < entries->count && status == 0;) {
        size_t prefixes = i, end;

        while (stack.count > 0 && status == 0) {
            open = (struct open *)stack.data + stack.count - 1;
            if (is_prefix((const struct group *)groups->data + open->group, &entry[i]))
                break;
            for (size_t j = open->first; j < open->last && status == 0; j++)
                status = tern_signatures_toggle(signatures, entry[j].atom);
            stack.count--;
        }
        while (prefixes < entries->count && !entry[prefixes].equals &&
               same_string(&entry[prefixes], &entry[i]) && status == 0)
            status = tern_signatures_toggle(signatures, entry[prefixes++].atom);
        for (end = prefixes; end < entries->count && same_string(&entry[end], &entry[i]);)
            end++;
        if (status == 0 && entry[i].length > 0) {
            group = tern_list_push(groups, sizeof *group);
            status = group == NULL ? TERN_ENOMEM : 0;
        } else {
            group = groups->data;
        }
        if (status != 0)
            break;
        *group = (struct group){entry[i].bytes, entry[i].length, 0, 0};
        status = tern_signatures_commit(signatures, &group->class_on);
        group->class_end = group->class_on;
        for (size_t j = prefixes; j < end && status == 0; j++)
            status = tern_signatures_toggle(signatures, entry[j].atom);
        if (status == 0)
            status = tern_signatures_commit(signatures, &group->class_end);
        for (size_t j = prefixes; j < end && status == 0; j++)
            status = tern_signatures_toggle(signatures, entry[j].atom);
        open = tern_list_push(&stack, sizeof *open);
        if (open == NULL)
            status = TERN_ENOMEM;
        else
            *open = (struct open){(size_t)(group - (struct group *)groups->data), i, prefixes};
        i = end;
    }
    tern_list_free(&stack);
    return status;
}

struct pending { /* a node whose children are still to be made */
    uint32_t node;
    uint32_t first, last; /* the groups below it */
    uint32_t depth;       /* bytes up to the end of its label */
    uint32_t inherited;   /* the class of a value that goes on from there */
};

struct packing {
    const struct group *groups;
    struct tern_list nodes, leaves, pairs, queue;
};

static uint32_t common_length(const struct group *a, const struct group *b, uint32_t from)
{
    uint32_t length = a->length < b->length ? a->length : b->length, at = from;

    while (at < length && a->bytes[at] == b->bytes[at])
        at++;
    return at - from;
}

static int push_pair(struct packing *packing, uint32_t on, uint32_t end)
{
    struct tern_trie_pair *pair = tern_list_push(&packing->pairs, sizeof *pair);

    if (pair == NULL)
        return TERN_ENOMEM;
    *pair = (struct tern_trie_pair){on, end};
    return 0;
}

/* The first pairs of a node stand in it, the rest together elsewhere. */
static int add_pair(struct packing *packing, struct tern_trie_node *node, unsigned index,
                    uint32_t on, uint32_t end)
{
    if (index >= TERN_TRIE_PAIRS)
        return push_pair(packing, on, end);
    node->pairs[index] = (struct tern_trie_pair){on, end};
    return 0;
}

/* The bytes of the label of the node over groups [first, last) at `depth`: as far as they go on
 * alike, past those that end along the way. Where the rest then parts ways there must be room for a
 * bitmap, so the end of a long label is left to a node of its own. */
static uint32_t label_length(const struct group *groups, uint32_t first, uint32_t last,
                             uint32_t depth)
{
    uint32_t at = depth, length;

    while (first < last && at - depth <= TERN_TRIE_LABEL) {
        length = common_length(&groups[first], &groups[last - 1], at);
        at += length;
        if (groups[first].length == at)
            first++;
        else if (length == 0)
            break;
    }
    length = at - depth;
    if (length > TERN_TRIE_LABEL)
        return TERN_TRIE_LABEL;
    return first < last && length > TERN_TRIE_SHORT ? length - TERN_TRIE_SHORT : length;
}

/* Makes the node over groups [first, last), which go on alike from `depth`. */
static int pack_node(struct packing *packing, uint32_t first, uint32_t last, uint32_t depth,
                     uint32_t inherited)
{
    const struct group *groups = packing->groups;
    struct tern_trie_node node = {.more_pairs = (uint32_t)packing->pairs.count}, *packed;
    struct pending *pending;
    uint32_t length = label_length(groups, first, last, depth), cuts = 0;
    const uint8_t *label = groups[last - 1].bytes + depth;
    unsigned pairs = 0;
    int status = add_pair(packing, &node, pairs++, inherited, inherited);

    for (; status == 0 && first < last && groups[first].length <= depth + length; first++) {
        cuts |= 1u << (groups[first].length - depth - 1);
        status = add_pair(packing, &node, pairs++, groups[first].class_on, groups[first].class_end);
        inherited = groups[first].class_on;
    }
    if (status != 0)
        return status;
    if (length > TERN_TRIE_SHORT) {
        node.head = tern_trie_head_make(TERN_TRIE_LONG, length) | (uint64_t)cuts << 32;
        memcpy(node.rest, label, length);
    } else {
        node.head = tern_trie_head_make(TERN_TRIE_BRANCH, length) | (uint64_t)cuts << 8;
        for (uint32_t i = 0; i < length; i++)
            node.head |= (uint64_t)label[i] << (16 + 8 * i);
    }
    pending = tern_list_push(&packing->queue, sizeof *pending);
    packed = tern_list_push(&packing->nodes, sizeof *packed);
    if (pending == NULL || packed == NULL || packing->nodes.count > UINT32_MAX)
        return TERN_ENOMEM;
    *pending = (struct pending){(uint32_t)packing->nodes.count - 1, first, last, depth + length,
                                inherited};
    *packed = node;
    return 0;
}

/* Makes the nodes over groups [first, last) that part ways at `depth`, side by side, and notes
 * the byte of each. */
static int pack_side_by_side(struct packing *packing, uint32_t first, uint32_t end, uint32_t depth,
                             uint32_t inherited, uint64_t children[4])
{
    const struct group *groups = packing->groups;
    int status = 0;

    while (first < end && status == 0) {
        uint8_t byte = groups[first].bytes[depth];
        uint32_t last = first + 1;

        while (last < end && groups[last].bytes[depth] == byte)
            last++;
        children[byte >> 6] |= 1ull << (byte & 63);
        status = pack_node(packing, first, last, depth, inherited);
        first = last;
    }
    return status;
}

/* What is left of a literal behind the label of its parent. */
static uint32_t tail_length(const struct group *group, const struct pending *parent)
{
    return group->length - parent->depth;
}

/* Whether the literal holds only of values that end with it: nothing changes for those that go on.
 */
static bool is_exact(const struct group *group, const struct pending *parent)
{
    return group->class_on == parent->inherited;
}

/* Whether one class says all of a literal. */
static bool is_leaf(const struct group *group, const struct pending *parent)
{
    return is_exact(group, parent) || group->class_on == group->class_end;
}

/* Whether the groups below a node are so few and short that they fit it, each with a first byte of
 * its own. */
static bool are_bunch(const struct group *groups, const struct pending *parent)
{
    if (parent->last - parent->first > TERN_TRIE_BUNCH)
        return false;
    for (uint32_t i = parent->first; i < parent->last; i++)
        if (!is_leaf(&groups[i], parent) ||
            tail_length(&groups[i], parent) > 1 + tern_trie_leaf_room(2) ||
            (i + 1 < parent->last &&
             groups[i].bytes[parent->depth] == groups[i + 1].bytes[parent->depth]))
            return false;
    return parent->first < parent->last;
}

/* Writes the leaf of a literal without the first `skip` bytes of what is left of it. */
static void write_leaf(uint64_t *leaf, unsigned words, const struct group *group,
                       const struct pending *parent, unsigned skip)
{
    uint32_t length = tail_length(group, parent) - skip;

    memset(leaf, 0, words * sizeof *leaf);
    memcpy(leaf, group->bytes + parent->depth + skip, length);
    leaf[words - 1] |= tern_trie_leaf_last(length, is_exact(group, parent), group->class_end);
}

/* Leaves in the place of the node's bitmap. */
static void pack_bunch(const struct packing *packing, const struct pending *parent)
{
    struct tern_trie_node *node = (struct tern_trie_node *)packing->nodes.data + parent->node;
    struct tern_trie_bunch bunch = {
        .head = (node->head & ~0xffull) |
                tern_trie_head_make(TERN_TRIE_INLINE, tern_trie_head_length(node->head)),
        .on = parent->inherited};

    for (uint32_t i = 0; i < TERN_TRIE_BUNCH; i++) {
        uint32_t child = parent->first + i < parent->last ? i : 0;
        const struct group *group = &packing->groups[parent->first + child];

        bunch.bytes[i] = group->bytes[parent->depth];
        if (child == i)
            write_leaf(bunch.leaves[i], 2, group, parent, 1);
    }
    memcpy(node, &bunch, sizeof bunch);
}

/* Whether the groups below a node can be the leaves of a fan, and how. */
static bool are_fan(const struct group *groups, const struct pending *parent, struct tern_fan *fan)
{
    struct tern_fan_tail tails[TERN_TRIE_FAN];
    uint32_t count = parent->last - parent->first;

    if (count == 0 || count > TERN_TRIE_FAN)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct group *group = &groups[parent->first + i];

        if (!is_leaf(group, parent))
            return false;
        tails[i] = (struct tern_fan_tail){group->bytes + parent->depth, tail_length(group, parent),
                                          is_exact(group, parent)};
    }
    return tern_fan_choose(fan, tails, count);
}

static int pack_fan(struct packing *packing, const struct pending *parent,
                    const struct tern_fan *chosen)
{
    struct tern_trie_node *node = (struct tern_trie_node *)packing->nodes.data + parent->node;
    struct tern_list *leaves = &packing->leaves;
    uint32_t count = parent->last - parent->first;
    struct tern_trie_fan fan = {.hash = chosen->hash};
    uint64_t *first;

    while (leaves->count % chosen->words != 0) /* so that no leaf lies on two lines */
        if (tern_list_push(leaves, sizeof(uint64_t)) == NULL)
            return TERN_ENOMEM;
    if (tern_list_reserve(leaves, count * chosen->words, sizeof(uint64_t)) != 0 ||
        leaves->count > UINT32_MAX)
        return TERN_ENOMEM;
    fan.head = (node->head & ~0xffull) |
               tern_trie_head_make(chosen->kind, tern_trie_head_length(node->head));
    fan.first_leaf = (uint32_t)leaves->count;
    fan.on = node->pairs[0].on;
    fan.cut = node->pairs[1];
    for (uint32_t i = 0; i < count; i++)
        fan.slots[chosen->slots[i] >> 6] |= 1ull << (chosen->slots[i] & 63);
    for (unsigned word = 1; word < TERN_COUNT(fan.slots); word++)
        fan.ranks[word] =
            (uint8_t)(fan.ranks[word - 1] + (unsigned)__builtin_popcountll(fan.slots[word - 1]));
    first = (uint64_t *)leaves->data + leaves->count;
    for (uint32_t i = 0; i < count; i++) {
        unsigned word = chosen->slots[i] >> 6, bit = chosen->slots[i] & 63;
        unsigned rank =
            fan.ranks[word] + (unsigned)__builtin_popcountll(fan.slots[word] & ((1ull << bit) - 1));

        write_leaf(first + (size_t)rank * chosen->words, chosen->words,
                   &packing->groups[parent->first + i], parent, 0);
    }
    leaves->count += (size_t)count * chosen->words;
    memcpy(node, &fan, sizeof fan);
    return 0;
}

static int pack_children(struct packing *packing, const struct pending *parent)
{
    uint32_t first_child = (uint32_t)packing->nodes.count;
    struct tern_trie_node *node = (struct tern_trie_node *)packing->nodes.data + parent->node;
    uint64_t children[4] = {0};
    int status;

    if (tern_trie_head_kind(node->head) == TERN_TRIE_BRANCH) {
        uint32_t cuts = tern_trie_head_cuts(node->head);
        struct tern_fan fan;

        if (cuts == 0 && are_bunch(packing->groups, parent)) {
            pack_bunch(packing, parent);
            return 0;
        }
        if ((cuts & (cuts - 1)) == 0 && are_fan(packing->groups, parent, &fan))
            return pack_fan(packing, parent, &fan);
    }
    status = pack_side_by_side(packing, parent->first, parent->last, parent->depth,
                               parent->inherited, children);
    node = (struct tern_trie_node *)packing->nodes.data + parent->node;
    if (tern_trie_head_kind(node->head) == TERN_TRIE_BRANCH) /* else it has one, or none */
        memcpy(node->rest, children, sizeof children);
    node->first_child = packing->nodes.count > first_child ? first_child : 0;
    return status;
}

/* Group 0 is the empty string: pair 0, and the nodes that the header leads to. */
static int pack_first(struct packing *packing, uint32_t count, struct tern_trie_header *header)
{
    const struct group *root = packing->groups;
    uint64_t children[4] = {0};
    uint32_t node = 0;
    int status = push_pair(packing, root->class_on, root->class_end);

    if (status == 0)
        status = pack_side_by_side(packing, 1, count, 0, root->class_on, children);
    for (unsigned byte = 0; byte < 256; byte++)
        if (children[byte >> 6] >> (byte & 63) & 1)
            header->first[byte] = ++node;
    return status;
}

static int write_out(const struct packing *packing, const struct tern_trie_header *header,
                     struct tern_buffer *out)
{
    int status = tern_buffer_append(out, header, sizeof *header);

    if (status == 0)
        status = tern_buffer_append(out, packing->nodes.data,
                                    packing->nodes.count * sizeof(struct tern_trie_node));
    if (status == 0)
        status =
            tern_buffer_append(out, packing->leaves.data, packing->leaves.count * sizeof(uint64_t));
    if (status == 0)
        status = tern_buffer_append(out, packing->pairs.data,
                                    packing->pairs.count * sizeof(struct tern_trie_pair));
    return status;
}

int tern_classifier_trie(struct tern_classifier *classifier, const struct tern_unit_atom *atoms,
                         const uint32_t *indexes, uint32_t count)
{
    struct tern_list entries = {0}, groups = {0};
    struct tern_region region = {0};
    struct tern_trie_header header = {0};
    struct packing packing = {0};
    int status = collect(classifier, atoms, indexes, count, &region, &entries);

    if (status == 0)
        status = classify(classifier, &entries, &groups);
    packing.groups = groups.data;
    if (status == 0)
        status = pack_first(&packing, (uint32_t)groups.count, &header);
    for (size_t i = 0; i < packing.queue.count && status == 0; i++) { /* breadth first */
        struct pending parent = ((const struct pending *)packing.queue.data)[i];

        status = pack_children(&packing, &parent);
    }
    header.node_count = (uint32_t)packing.nodes.count;
    header.leaf_words = (uint32_t)packing.leaves.count;
    header.pair_count = (uint32_t)packing.pairs.count;
    if (status == 0)
        status = write_out(&packing, &header, &classifier->bytes);
    tern_list_free(&packing.nodes);
    tern_list_free(&packing.leaves);
    tern_list_free(&packing.pairs);
    tern_list_free(&packing.queue);
    tern_list_free(&entries);
    tern_list_free(&groups);
    tern_region_free(&region);
    return status;
}
