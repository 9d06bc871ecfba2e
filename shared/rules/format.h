/* The bytes of a rules section and of a classes section. Flat, position independent, deterministic;
 * offsets are relative to the start of the section and 64-byte aligned unless said otherwise.
 *
 * A rule set is a list of conjunctions ("bits"), in the order of the rules. Each unit classifies
 * one value; class 0 is "missing", class 1 "there, but nothing holds" (maps: no record), and its
 * row is the unit's base row. For every bit k, need(k) is the number of units whose base row is 0
 * at k. A class stores only how its row differs from the base row: an "up" mask (0 becomes 1) and a
 * "down" mask (1 becomes 0) per 512-bit block that is not empty. Then bit k survives the AND of all
 * units' rows exactly when no unit's down mask holds k and need(k) up masks do. Base rows
 * themselves are never read (docs/decisions/0006-rows.md). */
#ifndef TERN_RULES_FORMAT_H
#define TERN_RULES_FORMAT_H

#include "shared/address.h"
#include "shared/base.h"
#include "shared/layout.h"
#include "shared/limits.h"
#include "shared/rules/text.h"

#define TERN_RULES_MAGIC    0x73656c75726e7265ull
#define TERN_RULES_VERSION  11u
#define TERN_CLASSES_MAGIC  0x7373616c636e7265ull
#define TERN_PATTERNS_MAGIC 0x6e72657474617066ull

enum tern_unit_kind {
    TERN_UNIT_PRESENCE = 1, /* a field is there or not */
    TERN_UNIT_NUMBER = 2,   /* u64, i64, f32, bool: struct tern_intervals */
    TERN_UNIT_ADDRESS = 3,  /* ip: struct tern_intervals, twice: IPv4 and IPv6 */
    TERN_UNIT_STRING = 4,   /* equality and starts_with: struct tern_trie */
    TERN_UNIT_SUFFIX = 5,   /* ends_with: struct tern_trie over reversed bytes */
    TERN_UNIT_SET = 6,      /* a field in a set table: 1 not in it, 2 in it */
    TERN_UNIT_MAP = 7, /* the record of a map table: 1 none, 2 + its class in the classes section */
    TERN_UNIT_SCAN = 8, /* a string through all patterns asked of it, in one pass */
    TERN_UNIT_SIMILAR =
        9, /* a vector's neighbours in a collection: shared/rules/similar_format.h */
};

/* {offset, count} of an array; counts are in elements. */
struct tern_span {
    uint64_t offset;
    uint64_t count;
};

struct tern_rules_header {
    uint64_t magic;
    uint32_t version;
    uint32_t reserved0;
    uint64_t length;
    uint32_t rule_count;
    uint32_t bit_count;
    uint32_t block_count;
    uint32_t level_max; /* highest need(k) */
    uint8_t default_action;
    uint8_t reserved1[7];
    /* read by decisions */
    struct tern_span units;      /* struct tern_unit */
    struct tern_span class_rows; /* struct tern_class_row, unit by unit, class by class */
    struct tern_span deltas;     /* struct tern_delta */
    struct tern_span masks;      /* 64 bytes each: the pool of up, down and need masks */
    struct tern_span blocks;     /* struct tern_block */
    struct tern_span always;     /* u32: blocks that hold a bit with need 0, ascending */
    struct tern_span bits;       /* struct tern_bit: see struct tern_block */
    struct tern_span rules;      /* struct tern_rule */
    struct tern_span thresholds; /* struct tern_threshold, highest first */
    /* read by decisions where rows leave something open */
    struct tern_span check_lists;   /* u32: first step of a check, | TERN_CHECK_LAST */
    struct tern_span check_steps;   /* struct tern_check_step */
    struct tern_span check_atoms;   /* struct tern_check_atom */
    struct tern_span check_ranges;  /* struct tern_check_range */
    struct tern_span check_strings; /* struct tern_text_span */
    /* read by explain and describe */
    struct tern_span bit_terms; /* u32 per bit + 1: its first term */
    struct tern_span terms;     /* struct tern_term */
    struct tern_span texts;     /* struct tern_text_span: source texts of terms */
    struct tern_span bytes;     /* names, source texts, strings of checks */
    uint64_t raw_fields[4];     /* bit per field id whose untouched value some rule looks at */
    struct tern_span kinds;     /* u8 per bit of all blocks; read by decisions */
    struct tern_span live;      /* u32: the rules that have a bit, ascending; read by decisions */
    uint8_t reserved2[48];
};
TERN_LAYOUT_SIZE(tern_rules_header, 448);
TERN_LAYOUT_FIELD(tern_rules_header, magic, 0);
TERN_LAYOUT_FIELD(tern_rules_header, version, 8);
TERN_LAYOUT_FIELD(tern_rules_header, reserved0, 12);
TERN_LAYOUT_FIELD(tern_rules_header, length, 16);
TERN_LAYOUT_FIELD(tern_rules_header, rule_count, 24);
TERN_LAYOUT_FIELD(tern_rules_header, bit_count, 28);
TERN_LAYOUT_FIELD(tern_rules_header, block_count, 32);
TERN_LAYOUT_FIELD(tern_rules_header, level_max, 36);
TERN_LAYOUT_FIELD(tern_rules_header, default_action, 40);
TERN_LAYOUT_FIELD(tern_rules_header, reserved1, 41);
TERN_LAYOUT_FIELD(tern_rules_header, units, 48);
TERN_LAYOUT_FIELD(tern_rules_header, class_rows, 64);
TERN_LAYOUT_FIELD(tern_rules_header, deltas, 80);
TERN_LAYOUT_FIELD(tern_rules_header, masks, 96);
TERN_LAYOUT_FIELD(tern_rules_header, blocks, 112);
TERN_LAYOUT_FIELD(tern_rules_header, always, 128);
TERN_LAYOUT_FIELD(tern_rules_header, bits, 144);
TERN_LAYOUT_FIELD(tern_rules_header, rules, 160);
TERN_LAYOUT_FIELD(tern_rules_header, thresholds, 176);
TERN_LAYOUT_FIELD(tern_rules_header, check_lists, 192);
TERN_LAYOUT_FIELD(tern_rules_header, check_steps, 208);
TERN_LAYOUT_FIELD(tern_rules_header, check_atoms, 224);
TERN_LAYOUT_FIELD(tern_rules_header, check_ranges, 240);
TERN_LAYOUT_FIELD(tern_rules_header, check_strings, 256);
TERN_LAYOUT_FIELD(tern_rules_header, bit_terms, 272);
TERN_LAYOUT_FIELD(tern_rules_header, terms, 288);
TERN_LAYOUT_FIELD(tern_rules_header, texts, 304);
TERN_LAYOUT_FIELD(tern_rules_header, bytes, 320);
TERN_LAYOUT_FIELD(tern_rules_header, raw_fields, 336);
TERN_LAYOUT_FIELD(tern_rules_header, kinds, 368);
TERN_LAYOUT_FIELD(tern_rules_header, live, 384);
TERN_LAYOUT_FIELD(tern_rules_header, reserved2, 400);

/* The value of a SCAN or SIMILAR unit has any number of hits at once. Its classes 0 and 1 have
 * empty rows; class 2 + i is "atom i hits" and contributes its row beside those of the other hits,
 * so that a conjunction that asks for three atoms needs three ups of this unit. Behind the atoms
 * stand `level_count` rows, taken together as long as the value has not been scanned: row j holds
 * the bits that ask for more than j atoms, so that they bring all ups and no downs. `place` orders
 * these units, cheap ones first. The first TERN_LAZY_MAX are lazy: bit s of a conjunction's `lazy`
 * says that it depends on the one in place s; further ones are scanned at once. */
struct tern_unit {
    uint8_t kind;   /* enum tern_unit_kind */
    uint8_t type;   /* enum tern_type of the field */
    uint16_t field; /* a slot of facts: a field's id, or the slot of its untouched value */
    uint16_t table; /* SET, MAP; SIMILAR: the collection; else 0 */
    uint16_t reserved;
    uint32_t class_count;
    uint32_t first_row; /* index of class 0 in class_rows */
    uint64_t offset;    /* of its classifier, 0: none */
    uint64_t length;
    uint8_t section_hash[16]; /* MAP, SCAN: of the classes or patterns section it goes with */
    uint32_t atom_count;      /* SCAN, SIMILAR */
    uint32_t level_count;     /* SCAN, SIMILAR */
    uint32_t place;           /* SCAN, SIMILAR */
    uint8_t reserved1[4];
};
TERN_LAYOUT_SIZE(tern_unit, 64);
TERN_LAYOUT_FIELD(tern_unit, kind, 0);
TERN_LAYOUT_FIELD(tern_unit, type, 1);
TERN_LAYOUT_FIELD(tern_unit, field, 2);
TERN_LAYOUT_FIELD(tern_unit, table, 4);
TERN_LAYOUT_FIELD(tern_unit, reserved, 6);
TERN_LAYOUT_FIELD(tern_unit, class_count, 8);
TERN_LAYOUT_FIELD(tern_unit, first_row, 12);
TERN_LAYOUT_FIELD(tern_unit, offset, 16);
TERN_LAYOUT_FIELD(tern_unit, length, 24);
TERN_LAYOUT_FIELD(tern_unit, section_hash, 32);
TERN_LAYOUT_FIELD(tern_unit, atom_count, 48);
TERN_LAYOUT_FIELD(tern_unit, level_count, 52);
TERN_LAYOUT_FIELD(tern_unit, place, 56);
TERN_LAYOUT_FIELD(tern_unit, reserved1, 60);

/* How the row of one class differs from its unit's base row. The first delta is repeated here, so
 * that a row with one block costs one line less; where a classifier can say it itself (class.h),
 * the class has no row at all. */
struct tern_class_row {
    uint32_t first_delta; /* index in deltas */
    uint32_t delta_count;
    uint32_t first_place; /* deltas[first_delta], 0 when there is none */
    uint32_t first_mask;
};
TERN_LAYOUT_SIZE(tern_class_row, 16);
TERN_LAYOUT_FIELD(tern_class_row, first_delta, 0);
TERN_LAYOUT_FIELD(tern_class_row, delta_count, 4);
TERN_LAYOUT_FIELD(tern_class_row, first_place, 8);
TERN_LAYOUT_FIELD(tern_class_row, first_mask, 12);

struct tern_delta {
    uint32_t place; /* block × 2 + 1 when the mask is a down mask; ascending within a row */
    uint32_t mask;  /* index in masks */
};
TERN_LAYOUT_SIZE(tern_delta, 8);
TERN_LAYOUT_FIELD(tern_delta, place, 0);
TERN_LAYOUT_FIELD(tern_delta, mask, 4);

/* 512 conjunctions. need(k): masks[first_need + i] holds the bits whose need is above i.
 *
 * What conjunction k does is bits[first_bit + kinds[k]], and its rule is `first_rule` plus the
 * number of rules that start behind bit 0 and up to k: with many rules nearly all do one of a few
 * things, so that this is a byte of each instead of a quarter of a line. Where rules are left out
 * in between (off, or without a conjunction), that sum is an index in `live`. Where too many
 * different things are done, the block is explicit: bits[first_bit + k] has it all. */
enum tern_block_form {
    TERN_BLOCK_COUNTED = 0,
    TERN_BLOCK_GAPS = 1,
    TERN_BLOCK_EXPLICIT = 2,
};

struct tern_block {
    uint32_t first_need;
    uint32_t level_count;
    uint32_t first_bit;
    uint32_t first_rule;
    uint8_t form; /* enum tern_block_form */
    uint8_t reserved[31];
    uint16_t ranks[8];  /* how many bits are set in `starts` before this word */
    uint64_t starts[8]; /* bit k: k is the first of another rule than k - 1; bit 0 is set */
};
TERN_LAYOUT_SIZE(tern_block, 128);
TERN_LAYOUT_FIELD(tern_block, first_need, 0);
TERN_LAYOUT_FIELD(tern_block, level_count, 4);
TERN_LAYOUT_FIELD(tern_block, first_bit, 8);
TERN_LAYOUT_FIELD(tern_block, first_rule, 12);
TERN_LAYOUT_FIELD(tern_block, form, 16);
TERN_LAYOUT_FIELD(tern_block, reserved, 17);
TERN_LAYOUT_FIELD(tern_block, ranks, 48);
TERN_LAYOUT_FIELD(tern_block, starts, 64);

/* What a conjunction that is alive does. In shadow it is counted and nothing else. */
enum tern_effect {
    TERN_EFFECT_ADD = 0,       /* adds its score and goes on */
    TERN_EFFECT_DECIDE = 1,    /* terminal */
    TERN_EFFECT_ESCALATE = 2,  /* terminal: what it answers in the meantime */
    TERN_EFFECT_SHADOW = 0x80, /* | one of the above: what it would do */
};

/* What a conjunction does, and of which rule it is. */
struct tern_bit {
    uint32_t rule; /* index, from 0; what blocks that are not explicit share: 0 */
    float score;
    uint32_t residual; /* 1 + index in check_lists of what its rows leave open; 0: nothing */
    uint8_t effect;    /* enum tern_effect */
    uint8_t action;    /* enum tern_action; of rules that add: undecided */
    uint8_t flags;     /* enum tern_verdict_flags */
    uint8_t lazy;      /* bit per lazy unit that it names */
};
TERN_LAYOUT_SIZE(tern_bit, 16);
TERN_LAYOUT_FIELD(tern_bit, rule, 0);
TERN_LAYOUT_FIELD(tern_bit, score, 4);
TERN_LAYOUT_FIELD(tern_bit, residual, 8);
TERN_LAYOUT_FIELD(tern_bit, effect, 12);
TERN_LAYOUT_FIELD(tern_bit, action, 13);
TERN_LAYOUT_FIELD(tern_bit, flags, 14);
TERN_LAYOUT_FIELD(tern_bit, lazy, 15);

struct tern_rule { /* for messages; also of rules that are off */
    uint32_t name; /* offset in bytes */
    uint16_t name_length;
    uint8_t action; /* as in the bits */
    uint8_t reserved;
};
TERN_LAYOUT_SIZE(tern_rule, 8);
TERN_LAYOUT_FIELD(tern_rule, name, 0);
TERN_LAYOUT_FIELD(tern_rule, name_length, 4);
TERN_LAYOUT_FIELD(tern_rule, action, 6);
TERN_LAYOUT_FIELD(tern_rule, reserved, 7);

struct tern_threshold {
    float at;
    uint32_t action;
};
TERN_LAYOUT_SIZE(tern_threshold, 8);
TERN_LAYOUT_FIELD(tern_threshold, at, 0);
TERN_LAYOUT_FIELD(tern_threshold, action, 4);

/* One unit's part of a conjunction. */
struct tern_term {
    uint32_t unit;
    uint32_t text;  /* index in texts */
    uint32_t based; /* 1: true in the unit's base row */
    uint32_t check; /* 1 + its first step when it is in no row (residual), else 0 */
    uint32_t class; /* SCAN, SIMILAR: the class of its one atom */
};
TERN_LAYOUT_SIZE(tern_term, 20);
TERN_LAYOUT_FIELD(tern_term, unit, 0);
TERN_LAYOUT_FIELD(tern_term, text, 4);
TERN_LAYOUT_FIELD(tern_term, based, 8);
TERN_LAYOUT_FIELD(tern_term, check, 12);
TERN_LAYOUT_FIELD(tern_term, class, 16);

/* Residual predicates: rows over limits.rules_bytes leave the costliest out, as if they always
 * held, and a bit that survives is asked directly (shared/rules/check.h). A check is a run of
 * steps, each of which asks one atom and says where to go on: only forwards, or to an end. A bit's
 * checks are the entries of check_lists from its own up to the first marked as the last; all must
 * hold. */
#define TERN_CHECK_LAST  0x80000000u
#define TERN_CHECK_HOLDS UINT32_MAX
#define TERN_CHECK_FAILS (UINT32_MAX - 1)

struct tern_check_step {
    uint32_t atom;
    uint32_t when_true; /* a later step, or TERN_CHECK_HOLDS or _FAILS */
    uint32_t when_false;
};
TERN_LAYOUT_SIZE(tern_check_step, 12);
TERN_LAYOUT_FIELD(tern_check_step, atom, 0);
TERN_LAYOUT_FIELD(tern_check_step, when_true, 4);
TERN_LAYOUT_FIELD(tern_check_step, when_false, 8);

enum tern_check_kind {
    TERN_CHECK_THERE = 1,  /* the field is there */
    TERN_CHECK_RECORD = 2, /* a map's record is there */
    TERN_CHECK_CELL = 3,   /* the column of its record is there */
    TERN_CHECK_NUMBER = 4, /* a number in one of the ranges */
    TERN_CHECK_ADDRESS = 5,
    TERN_CHECK_EQUALS = 6, /* a string among the strings */
    TERN_CHECK_STARTS = 7, /* with the string */
    TERN_CHECK_ENDS = 8,
    TERN_CHECK_IN_SET = 9,  /* a key of the table `set` */
    TERN_CHECK_LISTED = 10, /* of set units: the class already says it */
};

#define TERN_CHECK_FIELD UINT16_MAX /* no column: the unit's field itself */

struct tern_check_atom {
    uint32_t unit;
    uint8_t kind;    /* enum tern_check_kind */
    uint8_t type;    /* enum tern_type of the value asked */
    uint16_t column; /* of the unit's records, or TERN_CHECK_FIELD */
    uint16_t set;
    uint16_t reserved;
    uint32_t first; /* range or string; ascending from there on */
    uint32_t count;
    uint32_t reserved1;
};
TERN_LAYOUT_SIZE(tern_check_atom, 24);
TERN_LAYOUT_FIELD(tern_check_atom, unit, 0);
TERN_LAYOUT_FIELD(tern_check_atom, kind, 4);
TERN_LAYOUT_FIELD(tern_check_atom, type, 5);
TERN_LAYOUT_FIELD(tern_check_atom, column, 6);
TERN_LAYOUT_FIELD(tern_check_atom, set, 8);
TERN_LAYOUT_FIELD(tern_check_atom, reserved, 10);
TERN_LAYOUT_FIELD(tern_check_atom, first, 12);
TERN_LAYOUT_FIELD(tern_check_atom, count, 16);
TERN_LAYOUT_FIELD(tern_check_atom, reserved1, 20);

struct tern_check_range { /* inclusive; numbers as order-preserving keys in `low` */
    struct tern_address first;
    struct tern_address last;
};
TERN_LAYOUT_SIZE(tern_check_range, 32);
TERN_LAYOUT_FIELD(tern_check_range, first, 0);
TERN_LAYOUT_FIELD(tern_check_range, last, 16);

/* A classes section: this header, `class_count` u32 (a record of each class, for the compiler),
 * then at `ids_offset` the class of every record, `id_bytes` (2 or 4) each. */
struct tern_classes_header {
    uint64_t magic;
    uint8_t content_hash[16];
    uint64_t length;
    uint32_t record_count;
    uint32_t class_count;
    uint32_t id_bytes;
    uint32_t reserved;
    uint64_t ids_offset;
    uint64_t reserved1;
};
TERN_LAYOUT_SIZE(tern_classes_header, 64);
TERN_LAYOUT_FIELD(tern_classes_header, magic, 0);
TERN_LAYOUT_FIELD(tern_classes_header, content_hash, 8);
TERN_LAYOUT_FIELD(tern_classes_header, length, 24);
TERN_LAYOUT_FIELD(tern_classes_header, record_count, 32);
TERN_LAYOUT_FIELD(tern_classes_header, class_count, 36);
TERN_LAYOUT_FIELD(tern_classes_header, id_bytes, 40);
TERN_LAYOUT_FIELD(tern_classes_header, reserved, 44);
TERN_LAYOUT_FIELD(tern_classes_header, ids_offset, 48);
TERN_LAYOUT_FIELD(tern_classes_header, reserved1, 56);

/* A patterns section: this header, for each expression (match ids are their indexes) the atom that
 * hits with it, u32, and at `database_offset` to the end the database of one SCAN unit as
 * hyperscan serializes it, compiled for the processor it is to run on; nothing when there is no
 * expression. */
struct tern_patterns_header {
    uint64_t magic;
    uint8_t content_hash[16]; /* of expressions, flags, hyperscan's version, the processor */
    uint64_t length;
    uint64_t database_offset;
    uint32_t atom_count;
    uint32_t expression_count;
    uint8_t reserved[8];
    uint64_t checksum; /* tern_patterns_checksum */
};
TERN_LAYOUT_SIZE(tern_patterns_header, 64);
TERN_LAYOUT_FIELD(tern_patterns_header, magic, 0);
TERN_LAYOUT_FIELD(tern_patterns_header, content_hash, 8);
TERN_LAYOUT_FIELD(tern_patterns_header, length, 24);
TERN_LAYOUT_FIELD(tern_patterns_header, database_offset, 32);
TERN_LAYOUT_FIELD(tern_patterns_header, atom_count, 40);
TERN_LAYOUT_FIELD(tern_patterns_header, expression_count, 44);
TERN_LAYOUT_FIELD(tern_patterns_header, reserved, 48);
TERN_LAYOUT_FIELD(tern_patterns_header, checksum, 56);

/* Over all of a patterns section of `length` bytes but the checksum itself: hyperscan trusts what
 * it is given, so every byte must be what its compiler wrote. */
uint64_t tern_patterns_checksum(const struct tern_patterns_header *header, size_t length);

#define TERN_LAZY_MAX 8u /* bits of tern_bit.lazy */

#define TERN_CLASS_MISSING 0u
#define TERN_CLASS_BASE    1u
#define TERN_CLASS_FIRST   2u
#define TERN_CLASS_DIRECT  0x80000000u /* | its row's only delta: shared/rules/class.h */

#endif
