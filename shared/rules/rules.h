/* The opened rules section and the scratch of one thread; private to shared/rules. */
#ifndef TERN_RULES_RULES_H
#define TERN_RULES_RULES_H

#include "shared/rules/evaluate.h"
#include "shared/rules/format.h"
#include "shared/rules/intervals.h"
#include "shared/rules/scan.h"
#include "shared/rules/trie.h"

struct tern_unit_view { /* a unit with everything resolved to pointers */
    uint8_t kind;       /* enum tern_unit_kind */
    uint8_t type;       /* enum tern_type of the field */
    uint8_t id_bytes;   /* MAP */
    uint16_t field;
    uint16_t table_id;
    uint32_t class_count;
    const struct tern_class_row *rows; /* by class */
    const struct tern_table *table;    /* SET, MAP */
    const uint8_t *ids;                /* MAP: class of each record */
    struct tern_intervals narrow;      /* NUMBER, ADDRESS (IPv4) */
    struct tern_intervals wide;        /* ADDRESS (IPv6) */
    struct tern_trie trie;             /* STRING, SUFFIX */
};

/* Units that are classified together: what they look up in tables is on its way for all of them
 * before the first is waited for. Their indexes stand in `order` from `first` on, those of each
 * sort side by side. */
struct tern_group {
    uint32_t first;
    uint32_t sets, maps, strings, values; /* how many of each, in this order */
};

struct tern_mask_words {
    uint64_t words[8];
};

struct tern_rules {
    const struct tern_delta *deltas;
    const struct tern_mask_words *masks;
    const struct tern_block *blocks;
    const uint32_t *always;
    uint32_t always_count;
    const struct tern_bit *bits;
    const uint8_t *kinds;
    const uint32_t *live;
    const struct tern_rule *rules;
    const struct tern_threshold *thresholds;
    uint32_t threshold_count;
    uint32_t rule_count;
    uint32_t bit_count;
    uint32_t unit_count;
    uint8_t default_action;
    void (*decide)(const struct tern_rules *rules, struct tern_scratch *scratch,
                   const struct tern_facts *facts, const uint32_t *classes,
                   struct tern_verdict *verdict);
    const uint32_t *check_lists;
    const struct tern_check_step *check_steps;
    const struct tern_check_atom *check_atoms;
    const struct tern_check_range *check_ranges;
    const struct tern_text_span *check_strings;
    const struct tern_table *tables; /* by id */
    uint64_t serial;                 /* no other rule set of this process ever had it */
    struct tern_scan
        *scans; /* the SCAN and SIMILAR units by place; the first TERN_LAZY_MAX are lazy */
    uint32_t scan_count;
    bool searches; /* some of these are SIMILAR units */
    /* for explain */
    const struct tern_rules_header *header;
    const struct tern_schema *schema;
    const uint32_t *bit_terms;
    const struct tern_term *terms;
    const struct tern_text_span *texts;
    const uint8_t *bytes;
    uint16_t order[TERN_UNITS_MAX]; /* of units, by groups */
    struct tern_group groups[TERN_UNITS_MAX];
    uint32_t group_count;
    const struct tern_class_row *unit_rows[TERN_UNITS_MAX]; /* units[i].rows, side by side */
    struct tern_unit_view units[];
};

/* Conjunction `index`, one of whole blocks. */
static inline __attribute__((always_inline)) struct tern_bit
tern_rules_bit(const struct tern_rules *rules, uint32_t index)
{
    const struct tern_block *block = &rules->blocks[index / TERN_BLOCK_BITS];
    uint32_t within = index % TERN_BLOCK_BITS, word = within / 64;
    struct tern_bit bit;

    if (block->form == TERN_BLOCK_EXPLICIT)
        return rules->bits[block->first_bit + within];
    bit = rules->bits[block->first_bit + rules->kinds[index]];
    bit.rule = block->first_rule + block->ranks[word] +
               (uint32_t)__builtin_popcountll(block->starts[word] & ~0ull >> (63 - within % 64)) -
               1;
    if (block->form == TERN_BLOCK_GAPS)
        bit.rule = rules->live[bit.rule];
    return bit;
}

struct tern_cursor {      /* into the deltas of one unit's row */
    uint32_t place, mask; /* the next one */
    const struct tern_delta *rest;
    const struct tern_delta *end;
};

/* Hashes kept between the two passes over a group of units: room for three domain units and a
 * vector, touched only as far as used. */
#define TERN_HASHES 4096
_Static_assert(TERN_HASHES >= TERN_VECTOR_WIDTH * (1 + TERN_DOMAIN_LABELS_MAX),
               "one unit of any kind fits a group");

struct tern_hits { /* where hits of rules are counted; `counters` NULL: nowhere */
    const uint32_t *slots;
    _Atomic uint64_t *counters;
};

struct tern_scratch {
    struct tern_mask_words counters[TERN_UNITS_MAX + 1] TERN_ALIGNED(64);
    struct tern_cursor cursors[TERN_UNITS_MAX];           /* of rule sets that scan nothing */
    uint32_t classes[TERN_VECTOR_WIDTH * TERN_UNITS_MAX]; /* item by item */
    uint64_t hashes[TERN_HASHES];
    uint32_t records[TERN_VECTOR_WIDTH]; /* of explain: what MAP units found */
    struct tern_hits hits;
    struct tern_room *room; /* of the rules that are decided by; NULL: they scan nothing */
    struct tern_room *own;  /* made by tern_scratch_prepare */
    uint32_t unscanned;     /* of the item decided last: bit per lazy scan that it did without */
};

/* The array of a span in a section of `header->length` bytes, NULL when it leaves it. */
static inline const void *tern_rules_array(const uint8_t *section,
                                           const struct tern_rules_header *header,
                                           const struct tern_span *span, size_t size)
{
    if (span->offset % 64 != 0 || span->count > header->length / size ||
        !tern_range_inside(span->offset, span->count * size, header->length))
        return NULL;
    return section + span->offset;
}

/* Whether units of this kind look something up in a table. */
static inline bool tern_unit_probes(uint8_t kind)
{
    return kind == TERN_UNIT_SET || kind == TERN_UNIT_MAP;
}

/* Groups the units, once all are open. */
void tern_rules_group(struct tern_rules *rules);

/* Writes classes[item × unit_count + unit] of all items. */
void tern_rules_classify(const struct tern_rules *rules, struct tern_scratch *scratch,
                         const struct tern_facts *const facts[], unsigned count);

/* Decides one item from its classes, scanning what it needs scanned: the twins, bit for bit the
 * same.
 */
void tern_rules_walk_scalar(const struct tern_rules *rules, struct tern_scratch *scratch,
                            const struct tern_facts *facts, const uint32_t *classes,
                            struct tern_verdict *verdict);
#if defined(__x86_64__)
void tern_rules_walk_avx2(const struct tern_rules *rules, struct tern_scratch *scratch,
                          const struct tern_facts *facts, const uint32_t *classes,
                          struct tern_verdict *verdict);
#endif

#endif
