#include "controlplane/compile/classifier.h"

int tern_classifier_build(struct tern_classifier *classifier, enum tern_unit_kind kind,
                          enum tern_type type, const struct tern_unit_atom *atoms,
                          const uint32_t *indexes, uint32_t count, uint32_t there)
{
    int status = tern_signatures_start(&classifier->signatures, there);
    uint32_t class;

    classifier->kind = (uint8_t)kind;
    classifier->type = (uint8_t)type;
    if (status != 0)
        return status;
    switch (kind) {
    case TERN_UNIT_NUMBER:
    case TERN_UNIT_ADDRESS:
        return tern_classifier_intervals(classifier, atoms, indexes, count);
    case TERN_UNIT_STRING:
    case TERN_UNIT_SUFFIX:
        return tern_classifier_trie(classifier, atoms, indexes, count);
    case TERN_UNIT_SET:
        for (uint32_t i = 0; i < count && status == 0; i++)
            if (atoms[indexes[i]].kind == TERN_ATOM_IN_SET)
                status = tern_signatures_toggle(&classifier->signatures, indexes[i]);
        return status != 0 ? status : tern_signatures_commit(&classifier->signatures, &class);
    default:
        return 0;
    }
}

static void recode_intervals(uint8_t *bytes, const uint32_t *codes)
{
    const struct tern_intervals_header *header = (const void *)bytes;
    uint8_t *first = bytes + sizeof *header +
                     tern_align_up(((uint64_t)header->bucket_count + 1) * sizeof(uint32_t), 8);
    struct tern_interval_short *brief = (void *)first;
    struct tern_interval *narrow = (void *)first;
    struct tern_interval_wide *wide = (void *)first;

    for (uint32_t i = 0; i < header->count; i++) {
        uint32_t *class = header->form == TERN_INTERVALS_SHORT  ? &brief[i].class
                          : header->form == TERN_INTERVALS_LONG ? &narrow[i].class
                                                                : &wide[i].class;

        *class = codes[*class];
    }
}

static void recode_pair(struct tern_trie_pair *pair, const uint32_t *codes)
{
    *pair = (struct tern_trie_pair){codes[pair->on], codes[pair->end]};
}

static void recode_leaves(uint64_t *leaves, unsigned count, unsigned words, const uint32_t *codes)
{
    for (uint64_t *last = leaves + words - 1; count > 0; last += words, count--)
        *last = (uint64_t)codes[tern_trie_leaf_class(*last)] << 32 | (uint32_t)*last;
}

static void recode_node(struct tern_trie_node *node, uint64_t *leaves, const uint32_t *codes)
{
    enum tern_trie_kind kind = tern_trie_head_kind(node->head);
    struct tern_trie_bunch *bunch = (void *)node;
    struct tern_trie_fan *fan = (void *)node;

    if (kind == TERN_TRIE_INLINE) {
        bunch->on = codes[bunch->on];
        recode_leaves(bunch->leaves[0], TERN_TRIE_BUNCH, 2, codes);
    } else if (tern_trie_kind_is_fan(kind)) {
        unsigned count = fan->ranks[3] + (unsigned)__builtin_popcountll(fan->slots[3]);

        fan->on = codes[fan->on];
        recode_pair(&fan->cut, codes);
        recode_leaves(leaves + fan->first_leaf, count, tern_trie_fan_words(kind), codes);
    } else {
        for (unsigned i = 0; i < TERN_TRIE_PAIRS; i++)
            recode_pair(&node->pairs[i], codes);
    }
}

static void recode_trie(uint8_t *bytes, const uint32_t *codes)
{
    const struct tern_trie_header *header = (const void *)bytes;
    struct tern_trie_node *nodes = (void *)(bytes + sizeof *header);
    uint64_t *leaves = (void *)(nodes + header->node_count);
    struct tern_trie_pair *pairs = (void *)(leaves + header->leaf_words);

    for (uint32_t i = 0; i < header->node_count; i++)
        recode_node(&nodes[i], leaves, codes);
    for (uint32_t i = 0; i < header->pair_count; i++)
        recode_pair(&pairs[i], codes);
}

void tern_classifier_recode(enum tern_unit_kind kind, uint8_t *bytes, const uint32_t *codes)
{
    const struct tern_intervals_header *intervals = (const void *)bytes;

    switch (kind) {
    case TERN_UNIT_ADDRESS:
        recode_intervals(bytes + intervals->next, codes);
        recode_intervals(bytes, codes);
        break;
    case TERN_UNIT_NUMBER:
        recode_intervals(bytes, codes);
        break;
    case TERN_UNIT_STRING:
    case TERN_UNIT_SUFFIX:
        recode_trie(bytes, codes);
        break;
    default:
        break;
    }
}

void tern_classifier_free(struct tern_classifier *classifier)
{
    tern_signatures_free(&classifier->signatures);
    tern_buffer_free(&classifier->bytes);
    memset(classifier, 0, sizeof *classifier);
}
