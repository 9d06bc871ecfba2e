/* Normal form: every rule as a few conjunctions of unit predicates (DESIGN 5.1, step 1).
 *
 * An atom belongs to the unit that classifies the value it looks at. Atoms of one unit under one
 * connective are merged to a predicate over that unit's classes ("leaf") before anything is
 * expanded, so `ip in $a or ip in {…} or …` stays one leaf however long it is. */
#ifndef TERN_COMPILE_NORMAL_H
#define TERN_COMPILE_NORMAL_H

#include "controlplane/compile/program.h"
#include "shared/rules/format.h"

/* What a unit's atom asks of the value (or, in map units, of the record). */
enum tern_atom_kind {
    TERN_ATOM_THERE,  /* the field is there */
    TERN_ATOM_RECORD, /* the record is there */
    TERN_ATOM_CELL,   /* the cell is there */
    TERN_ATOM_RANGES, /* a number or address in one of the ranges */
    TERN_ATOM_EQUALS, /* a string among the strings */
    TERN_ATOM_STARTS, /* a string that starts with strings[0] */
    TERN_ATOM_ENDS,
    TERN_ATOM_IN_SET, /* a key of the table `set` */
    /* of SCAN units */
    TERN_ATOM_CONTAINS,    /* strings[0] somewhere in it */
    TERN_ATOM_MATCHES,     /* the expression strings[0] */
    TERN_ATOM_MATCHES_SET, /* one of the expressions of the table `set` */
    /* of SIMILAR units; also RANGES, EQUALS, STARTS and ENDS of what the neighbours say */
    TERN_ATOM_NEIGHBOURS, /* there are some */
    TERN_ATOM_VOTED,      /* they say something */
    /* of both */
    TERN_ATOM_ANY, /* one of its members, which are none of these */
};

struct tern_key_range { /* order-preserving keys: numbers in `low`, addresses whole; inclusive */
    struct tern_address first;
    struct tern_address last;
};

struct tern_string {
    const uint8_t *bytes;
    uint32_t length;
};

struct tern_unit_atom {
    uint8_t kind; /* enum tern_atom_kind */
    bool idle;    /* only residual leaves name it: classes need not tell it apart */
    int16_t
        column; /* of map and SIMILAR units, index in the configuration; TERN_COLUMN_NONE, _SCORE
                 */
    uint16_t set;
    uint32_t count; /* of ranges, strings or members */
    struct tern_key_range *ranges;
    struct tern_string *strings;
    uint16_t k;        /* of SIMILAR units: the neighbours asked, */
    float min;         /* of this similarity at least */
    uint32_t *members; /* ANY: other atoms of the unit, in the order of their canonical bytes */
    struct tern_place place; /* of SCAN units: where it stands first */
    struct tern_string
        canonical;           /* its bytes, for interning and hashing: equal atoms, equal bytes */
    struct tern_string text; /* as the source says it, for explain */
};

struct tern_compiled_unit {
    uint8_t kind; /* enum tern_unit_kind */
    uint8_t type; /* enum tern_type of the field */
    uint16_t field;
    uint16_t table;         /* SIMILAR: the collection */
    struct tern_list atoms; /* struct tern_unit_atom */
    struct tern_list hits; /* SCAN, SIMILAR: u32, the atoms that matter, in the order of their match
                              ids */
    uint32_t place;        /* likewise: among all of these, cheap ones first (tern_scan_order) */
};

/* Whether a value has any number of its atoms' hits at once, found when a rule needs them. */
static inline bool tern_unit_has_hits(const struct tern_compiled_unit *unit)
{
    return unit->kind == TERN_UNIT_SCAN || unit->kind == TERN_UNIT_SIMILAR;
}

/* A predicate over one unit's atoms in postfix: operands are atoms, operators take what precedes.
 */
#define TERN_POSTFIX_NOT 0x40000000u
#define TERN_POSTFIX_AND 0x80000000u /* | number of operands */
#define TERN_POSTFIX_OR  0xc0000000u
#define TERN_POSTFIX_OP  0xc0000000u

/* A leaf of a SCAN or SIMILAR unit is one atom or its opposite: a value has many hits, so that
 * there are no classes over which a predicate could be told; what is joined by "and" stays apart.
 */
struct tern_leaf {
    uint32_t unit;
    uint32_t length;
    const uint32_t *postfix;
    bool residual; /* left to a check on the candidate bit; in the rows it always holds */
};

struct tern_conjunction {
    uint32_t rule;       /* index in the configuration */
    uint32_t first_term; /* index in terms */
    uint32_t term_count;
};

struct tern_normal {
    struct tern_region region;
    struct tern_list units;        /* struct tern_compiled_unit */
    struct tern_list leaves;       /* struct tern_leaf */
    struct tern_list conjunctions; /* struct tern_conjunction, in rule order */
    struct tern_list terms;        /* u32 leaf indexes, by unit within a conjunction */
};

/* Rules that are off have no conjunctions. TERN_EINVAL with placed errors when a rule
 * needs more than TERN_CONJUNCTIONS_MAX conjunctions or all together too many; TERN_ENOMEM. */
int tern_normal_new(const struct tern_program *program, struct tern_diagnostics *diagnostics,
                    struct tern_normal **normal);
void tern_normal_free(struct tern_normal *normal);

/* Forgets leaves that no conjunction has (any more): parts of merged ones, dropped terms. Leaves
 * are renumbered in their order. 0 or TERN_ENOMEM. */
int tern_normal_compact(struct tern_normal *normal);

/* The leaf's truth when exactly the atoms with truth[i] hold. `stack` has `length` entries. */
bool tern_leaf_truth(const struct tern_leaf *leaf, const uint8_t *truth, uint8_t *stack);

/* Appends the leaf as an expression, cut after about `limit` bytes. 0 or TERN_ENOMEM. */
int tern_leaf_text(const struct tern_normal *normal, const struct tern_leaf *leaf, size_t limit,
                   struct tern_buffer *out);

#endif
