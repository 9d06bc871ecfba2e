/* The collections of a view as the slow evaluator asks for them: by the same search that decisions
 * use, so that verify compares the rules and not the index, whose recall has its own tests. */
#ifndef TERN_NEIGHBOURS_SOURCE_H
#define TERN_NEIGHBOURS_SOURCE_H

#include "controlplane/compile/reference.h"
#include "shared/view.h"

struct tern_neighbours_source;

/* The view outlives it. 0 or TERN_ENOMEM. */
int tern_neighbours_source_new(const struct tern_view *view,
                               struct tern_neighbours_source **source);
/* What it has found is looked for again: the questions that follow are of another decision. */
void tern_neighbours_source_renew(struct tern_neighbours_source *source);
void tern_neighbours_source_free(struct tern_neighbours_source *source);
const struct tern_reference_vectors *
tern_neighbours_source_vectors(const struct tern_neighbours_source *source);

#endif
