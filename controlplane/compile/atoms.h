/* Atoms of expressions as atoms of units: which unit, which ranges or strings, each only once. */
#ifndef TERN_COMPILE_ATOMS_H
#define TERN_COMPILE_ATOMS_H

#include "controlplane/compile/digest.h"
#include "controlplane/compile/normal.h"

struct tern_atoms {
    const struct tern_config *config;
    struct tern_region *region;
    struct tern_list *units; /* struct tern_compiled_unit */
    struct tern_digest_map unit_map;
    struct tern_digest_map atom_map;
    uint32_t field_units[TERN_FIELDS_MAX + 1]; /* a unit of each field + 1, 0: none yet */
};

/* The unit that classifies what the atom looks at, made when it is new. THERE atoms of a field go
 * to any unit of that field, so every other atom is to be offered first. 0, TERN_ELIMIT (too many
 * units), TERN_ENOMEM. */
int tern_atoms_unit(struct tern_atoms *atoms, const struct tern_atom *atom, uint32_t *unit);

/* The unit's atom for an expression's atom, made when it is new; for != the one for ==. `text` is
 * its source text. 0 or TERN_ENOMEM. */
int tern_atoms_intern(struct tern_atoms *atoms, uint32_t unit, const struct tern_atom *atom,
                      const char *text, size_t text_length, uint32_t *index);

/* The atom of a SCAN or SIMILAR unit that holds when one of `count` others does. */
int tern_atoms_any(struct tern_atoms *atoms, uint32_t unit, const uint32_t *members, uint32_t count,
                   uint32_t *index);

/* The atom "the field (kind THERE), the record (RECORD) or the cell (CELL) is there". */
int tern_atoms_there(struct tern_atoms *atoms, uint32_t unit, enum tern_atom_kind kind,
                     int16_t column, uint32_t *index);

/* The atom "there are such neighbours" (kind NEIGHBOURS) or "they say something" (VOTED). */
int tern_atoms_neighbours(struct tern_atoms *atoms, uint32_t unit, enum tern_atom_kind kind,
                          const struct tern_operand *operand, uint32_t *index);

/* The order-preserving key of a number or address. */
struct tern_address tern_atom_key(enum tern_type type, const union tern_value *value);

void tern_atoms_free(struct tern_atoms *atoms);

#endif
