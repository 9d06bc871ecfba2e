/* All patterns that are asked of one field, matched in one pass by hyperscan, and what a thread
 * needs for it; what neighbours are asked (similar.h) goes the same way. Private to shared/rules.
 */
#ifndef TERN_RULES_SCAN_H
#define TERN_RULES_SCAN_H

#include "shared/error.h"
#include "shared/facts.h"
#include "shared/rules/evaluate.h"
#include "shared/rules/format.h"
#include "shared/rules/similar.h"

struct hs_database;
struct hs_scratch;

struct tern_scan {                /* zero-initialise; the database is the process's own memory */
    struct hs_database *database; /* NULL: there is no pattern, as of an empty set */
    struct tern_similar *similar; /* of SIMILAR units: what is searched in the place of patterns */
    uint32_t unit;                /* its index */
    uint16_t field;               /* whose value is scanned */
    uint32_t atom_count;
    uint32_t expression_count;
    const uint32_t *atoms; /* by expression: which hits with it */
    uint32_t level_count;
    const struct tern_class_row *hits;   /* by atom */
    const struct tern_class_row *levels; /* of the value as long as it is not scanned */
};

/* Validates the patterns section and brings its database to life. TERN_ECORRUPT; TERN_EABI when it
 * was compiled by another hyperscan or for another processor; TERN_ENOMEM. */
int tern_scan_open(struct tern_scan *scan, const void *section, size_t length,
                   const uint8_t hash[16], struct tern_error *error);
void tern_scan_close(struct tern_scan *scan);

struct tern_scan_hits {
    uint32_t count;
    uint32_t *atoms; /* each once, in the order in which they were found; room for all */
    uint32_t *marks; /* by atom: `mark` when it is among them */
    uint32_t mark;   /* of this scan */
    const struct tern_scan *scan;
};

/* Forgets what was found in the item before. */
static inline void tern_scan_begin(struct tern_scan_hits *hits)
{
    hits->count = 0;
    if (TERN_UNLIKELY(++hits->mark == 0)) { /* once in four billion */
        memset(hits->marks, 0, hits->scan->atom_count * sizeof *hits->marks);
        hits->mark = 1;
    }
}

/* An atom hits; it may do so several times. */
static inline void tern_scan_add(struct tern_scan_hits *hits, uint32_t atom)
{
    if (hits->marks[atom] == hits->mark)
        return;
    hits->marks[atom] = hits->mark;
    hits->atoms[hits->count++] = atom;
}

/* What a value was found to hold when it was scanned last: clients send the same user agents over
 * and over. The value stands there whole, so that no other one is ever taken for it. */
#define TERN_MEMO_BYTES 224u
#define TERN_MEMO_ATOMS 5u
#define TERN_MEMO_SLOTS 2048u /* a power of two; 528 KiB a room with `seen` */

struct tern_memo {
    uint64_t hash;
    uint16_t length; /* 0: nothing */
    uint8_t scan;
    uint8_t count;
    uint32_t atoms[TERN_MEMO_ATOMS];
    uint8_t bytes[TERN_MEMO_BYTES];
};
_Static_assert(sizeof(struct tern_memo) == 256, "four lines");

/* What one thread needs to decide by one rule set, beyond its scratch. */
struct tern_room {
    uint64_t serial; /* of the rule set */
    struct hs_scratch *scratch;
    struct tern_cursor *cursors;
    struct tern_memo *memos; /* NULL: nothing is scanned */
    uint64_t *seen; /* by slot: the hash that was there last; a value is kept when it comes again */
    uint64_t seed;  /* of their hashes: whoever knows it can only make them miss */
    struct tern_similar_room *similar; /* NULL: nothing is searched */
    struct tern_scan_hits hits[];      /* by scan: of the item at hand */
};

/* Scans the item's value of the scan `index` into hits[index]; the field is there. Allocates
 * nothing, cannot fail. */
void tern_room_scan(struct tern_room *room, uint32_t index, const struct tern_facts *facts);

#endif
