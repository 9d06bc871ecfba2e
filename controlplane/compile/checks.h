/* Writes what rows leave open: residual leaves as steps over atoms (shared/rules/format.h, checks).
 */
#ifndef TERN_COMPILE_CHECKS_H
#define TERN_COMPILE_CHECKS_H

#include "controlplane/compile/normal.h"
#include "shared/tables/table.h"

struct tern_checks {          /* zero-initialise; the arrays as they go into the section */
    struct tern_list lists;   /* u32 */
    struct tern_list steps;   /* struct tern_check_step */
    struct tern_list atoms;   /* struct tern_check_atom */
    struct tern_list ranges;  /* struct tern_check_range */
    struct tern_list strings; /* struct tern_text_span */
    uint32_t *leaf_checks;    /* per leaf: 1 + its first step, 0: it is in the rows */
    uint32_t *bit_lists;      /* per bit: 1 + index in lists, 0: none */
};

/* Whether a leaf over this kind of unit can be asked of an item directly. */
bool tern_check_possible(const struct tern_compiled_unit *unit);

/* Makes the checks of all residual leaves; strings are appended to `bytes`. `tables` are the built
 * ones, by id. 0; TERN_ENOMEM; TERN_EINVAL when table and configuration disagree; TERN_ELIMIT past
 * 4 GiB of strings or 2^31 steps. */
int tern_checks_make(struct tern_checks *checks, const struct tern_config *config,
                     const struct tern_normal *normal, const struct tern_table *tables,
                     struct tern_buffer *bytes);
void tern_checks_free(struct tern_checks *checks);

#endif
