/* Which leaves leave the rows when these would take more than limits.rules_bytes (DESIGN 5.1, step
 * 6). They are residual from then on: true in every row, asked of the candidate bit directly. The
 * verdict stays what it was.
 *
 * Chosen by what they cost, as measured (costs.h), for each candidate that they no longer keep
 * away: of `user < 900000 and path == "/x"` the first goes, as the second leaves few to be asked.
 * Greedy, with scores brought up to date when their turn comes (Minoux 1978: they only fall). */
#ifndef TERN_COMPILE_RESIDUAL_H
#define TERN_COMPILE_RESIDUAL_H

#include "controlplane/compile/analysis.h"
#include "controlplane/compile/costs.h"

struct tern_residual {     /* zero-initialise; what has become residual so far */
    uint64_t *leaf_bytes;  /* per leaf: what it was found to cost when it was chosen */
    uint64_t needed_bytes; /* what all rows would take; an estimate where they are many */
    uint32_t leaf_count;   /* residual leaves */
    unsigned rounds;
};

/* Marks the leaves that leave the measured `rows` for them to fit, marks atoms that only residual
 * leaves name as idle, and rebuilds their classifiers. What goes leaves others a larger share, so
 * rows are built again and the caller comes back while they do not fit. 0; TERN_ELIMIT when there
 * is no leaf left to choose; TERN_ENOMEM. */
int tern_residual_choose(struct tern_residual *residual, struct tern_analysis *analysis,
                         const struct tern_rows *rows);

/* How many rules have a residual leaf. */
uint32_t tern_residual_rule_count(const struct tern_analysis *analysis);

/* Warns of what is residual: the costliest leaves one by one, then all together. `rows_bytes` is
 * what the rows take without them; `estimated`: the tables' part was not looked at. 0 or
 * TERN_ENOMEM. */
int tern_residual_report(const struct tern_residual *residual, const struct tern_analysis *analysis,
                         uint64_t rows_bytes, bool estimated, struct tern_diagnostics *diagnostics);
void tern_residual_free(struct tern_residual *residual);

#endif
