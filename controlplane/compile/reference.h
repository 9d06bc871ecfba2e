/* The slow, obvious evaluator: what a rule set means, without anything that makes it fast.
 *
 * It walks every rule's tree for every item and looks at facts and tables directly; with the
 * compiled form it shares only the parser; regular expressions have a matcher of their own
 * (regex.h). Publishing compares both on a sample (DESIGN 1.3, step 2), and the property tests do
 * so on random rule sets. */
#ifndef TERN_COMPILE_REFERENCE_H
#define TERN_COMPILE_REFERENCE_H

#include "controlplane/config/config.h"
#include "shared/facts.h"
#include "shared/tables/table.h"
#include "shared/verdict.h"

struct tern_reference; /* the parsed rules; read-only once made, so any thread may decide with it */

/* Parses the rules of `config`, which outlives the reference, as do `tables` (index = table id; [0]
 * unused). TERN_EINVAL (diagnostics), TERN_ENOMEM. */
int tern_reference_new(const struct tern_config *config, const struct tern_table *tables,
                       unsigned table_count, struct tern_diagnostics *diagnostics,
                       struct tern_reference **reference);
void tern_reference_free(struct tern_reference *reference);

/* The verdict of one item. False when it depends on a regular expression that the slow matcher does
 * not know; the verdict is then of no use. */
bool tern_reference_decide(const struct tern_reference *reference, const struct tern_facts *facts,
                           struct tern_verdict *verdict);

/* Adds 1 to hits[i] for each rule (i, from 0) that decides the item, adds to it, or would if it
 * were not in shadow. False as above. */
bool tern_reference_count(const struct tern_reference *reference, const struct tern_facts *facts,
                          uint64_t *hits);

/* True when two verdicts say the same in every field that clients see. */
bool tern_verdict_equal(const struct tern_verdict *a, const struct tern_verdict *b);

/* Sample items for comparing: drawn from the literals of the rules and the strings and numbers
 * beside them, keys of tables where they can be had, and missing fields. Deterministic: the same
 * rules, seed and index give the same item. `facts` has room for the configuration's fields
 * (tern_facts_bytes(slot_count)); strings point into the reference or into `scratch`
 * (TERN_REFERENCE_SCRATCH bytes), valid until the next call with it. */
#define TERN_REFERENCE_SCRATCH (256 * 1024)
void tern_reference_sample(const struct tern_reference *reference, uint64_t seed, uint64_t index,
                           uint8_t *scratch, struct tern_facts *facts);

#endif
