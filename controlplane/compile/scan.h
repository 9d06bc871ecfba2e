/* SCAN units: everything that rules ask of one string field by `contains` and `matches`, compiled
 * to one database that finds all of it in one pass. */
#ifndef TERN_COMPILE_SCAN_H
#define TERN_COMPILE_SCAN_H

#include "controlplane/compile/compile.h"
#include "controlplane/compile/program.h"
#include "controlplane/compile/rows.h"
#include "controlplane/compile/section.h"

/* Reports every regular expression in a rule that hyperscan does not take. 0 or TERN_ENOMEM;
 * errors are in `diagnostics`. */
int tern_scan_check(const struct tern_program *program, struct tern_diagnostics *diagnostics);

/* Numbers the atoms of SCAN and SIMILAR units that conjunctions name (`hits`): in the order of
 * their canonical bytes, so that rules that ask the same in another order share a database. Gives
 * these units their places. 0 or TERN_ENOMEM. */
int tern_scan_order(struct tern_normal *normal);

/* The patterns section of the unit, or that a section of that hash is there already. TERN_EINVAL or
 * TERN_ELIMIT with a placed diagnostic, TERN_ENOMEM. */
int tern_scan_build(const struct tern_compile_input *input, uint32_t index,
                    const struct tern_compiled_unit *unit, struct tern_compiled_patterns *compiled,
                    struct tern_diagnostics *diagnostics);

/* Which of its unit's classes says that a leaf's atom hits; 0 of units of other kinds. */
uint32_t tern_scan_class(const struct tern_normal *normal, const struct tern_leaf *leaf);
/* The `lazy` of a conjunction's bit. */
uint8_t tern_scan_lazy(const struct tern_normal *normal,
                       const struct tern_conjunction *conjunction);

/* The unit's rows: of the atoms, then of the levels (shared/rules/format.h). */
int tern_scan_walk(struct tern_rows *rows, uint32_t index, const struct tern_compiled_unit *unit,
                   struct tern_section_unit *described);

#endif
