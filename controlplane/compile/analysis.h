/* What can be known of a rule set without its tables: its normal form, the classes of its literals,
 * rules that never match, `not`s satisfied by absence. */
#ifndef TERN_COMPILE_ANALYSIS_H
#define TERN_COMPILE_ANALYSIS_H

#include "controlplane/compile/classifier.h"
#include "controlplane/compile/rows.h"

struct tern_analysis {
    struct tern_program *program;
    struct tern_normal *normal; /* without contradictions and without terms that always hold */
    struct tern_classifier *classifiers; /* per unit; of MAP and SCAN units empty */
};

/* Reports errors and warnings. 0, TERN_EINVAL or TERN_ENOMEM (nothing to free then). */
int tern_analysis_make(struct tern_analysis *analysis, const struct tern_config *config,
                       struct tern_diagnostics *diagnostics);
void tern_analysis_free(struct tern_analysis *analysis);

/* (Re)builds the classifier of one unit over its atoms that are not idle; of MAP and SCAN units
 * nothing. 0 or TERN_ENOMEM. */
int tern_analysis_classify(struct tern_analysis *analysis, uint32_t unit);

/* The index of the unit's atom of that kind (THERE, RECORD), UINT32_MAX when it has none. */
uint32_t tern_unit_find_atom(const struct tern_compiled_unit *unit, enum tern_atom_kind kind);

/* Walks all classes of a classifier through the rows of its unit. */
int tern_analysis_walk(struct tern_rows *rows, uint32_t unit,
                       const struct tern_signatures *signatures, uint32_t there,
                       uint32_t *first_row);

#endif
