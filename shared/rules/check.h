/* Residual predicates, asked of one item directly: what the rows of a candidate bit leave open
 * (shared/rules/format.h says how they are written down). Private to shared/rules.
 *
 * Atoms are total here as everywhere: one that looks at something missing is false. */
#ifndef TERN_RULES_CHECK_H
#define TERN_RULES_CHECK_H

#include "shared/rules/rules.h"

struct tern_candidate { /* the item whose bits are asked; the record found last is remembered */
    const struct tern_facts *facts;
    const uint32_t *classes; /* of the item, by unit */
    uint32_t unit;           /* whose record is at hand, UINT32_MAX: none */
    uint32_t record;
};

static inline struct tern_candidate tern_candidate_of(const struct tern_facts *facts,
                                                      const uint32_t *classes)
{
    return (struct tern_candidate){facts, classes, UINT32_MAX, 0};
}

/* Whether the check that begins at `step` holds. */
bool tern_check_holds(const struct tern_rules *rules, struct tern_candidate *candidate,
                      uint32_t step);

/* Whether all checks of a list (a bit's `residual` - 1) hold. */
bool tern_checks_hold(const struct tern_rules *rules, struct tern_candidate *candidate,
                      uint32_t list);

/* Validates the arrays that the header names, once units, bits and terms are known to be inside the
 * section, and what bits and terms say of them. `section` holds `header->length` bytes; `tables` is
 * by id up to `table_count`. TERN_ECORRUPT with a reason. */
int tern_checks_open(struct tern_rules *rules, const uint8_t *section,
                     const struct tern_table *tables, unsigned table_count,
                     struct tern_error *error);

#endif
