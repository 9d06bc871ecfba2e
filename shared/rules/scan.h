/* All patterns that are asked of one field, matched in one pass by vectorscan, and what a thread
 * needs for it. Private to shared/rules. */
#ifndef TERN_RULES_SCAN_H
#define TERN_RULES_SCAN_H

#include "shared/error.h"
#include "shared/facts.h"
#include "shared/rules/evaluate.h"
#include "shared/rules/format.h"

struct hs_database;
struct hs_scratch;

struct tern_scan {                /* zero-initialise; the database is the process's own memory */
    struct hs_database *database; /* NULL: there is no pattern, as of an empty set */
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
 * was compiled by another vectorscan or for another processor; TERN_ENOMEM. */
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

/* What one thread needs to decide by one rule set, beyond its scratch. */
struct tern_room {
    uint64_t serial; /* of the rule set */
    struct hs_scratch *scratch;
    struct tern_cursor *cursors;
    struct tern_scan_hits hits[]; /* by scan: of the item at hand */
};

/* Scans the item's value of the scan `index` into hits[index]; the field is there. Allocates
 * nothing, cannot fail. */
void tern_room_scan(struct tern_room *room, uint32_t index, const struct tern_facts *facts);

#endif
