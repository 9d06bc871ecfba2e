/* Rules that are never reached: whatever they match, an earlier terminal rule has matched and
 * decided.
 *
 * A conjunction covers a later one when each of its leaves is implied by a leaf of the later one on
 * the same unit. Over values with classes a leaf implies another when it holds in no class in which
 * the other does not: exact. Over maps (and whatever else has no classes before the tables are
 * read) it does when the atoms alone say so, however they are true. A rule is never reached when
 * each of its conjunctions is covered by one of an earlier rule; that several cover one together is
 * not looked for. What is reported is true; with very many rules that overlap a lot, not everything
 * that is true is reported: the work is bounded. */
#ifndef TERN_COMPILE_COVER_H
#define TERN_COMPILE_COVER_H

#include "controlplane/compile/analysis.h"

/* Warns of them, with the rules that come first. 0 or TERN_ENOMEM. */
int tern_cover_warn(const struct tern_analysis *analysis, struct tern_diagnostics *diagnostics);

#endif
