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
#include "shared/vector/search.h"
#include "shared/verdict.h"

struct tern_reference; /* the parsed rules; read-only once made, so any thread may decide with it */

/* Parses the rules of `config`, which outlives the reference, as do `tables` (index = table id; [0]
 * unused). TERN_EINVAL (diagnostics), TERN_ENOMEM. */
int tern_reference_new(const struct tern_config *config, const struct tern_table *tables,
                       unsigned table_count, struct tern_diagnostics *diagnostics,
                       struct tern_reference **reference);
void tern_reference_free(struct tern_reference *reference);

/* What the evaluator knows of the collections that rules name: whoever makes one says where the
 * neighbours come from. Verify asks the same search that decisions use, at another moment; the
 * property tests ask a list of vectors, one by one. */
struct tern_reference_neighbour {
    float similarity; /* as rules mean it: 1 / (1 + distance) in l2 collections */
    uint64_t handle;  /* the source's */
};
struct tern_reference_vectors {
    void *context;
    /* The `k` nearest vectors to `query` (f32 of the collection's dimensions, unaligned), the
     * nearest first; returns how many: 0 also when the collection is not served. */
    unsigned (*nearest)(void *context, unsigned collection, const uint8_t *query, unsigned k,
                        struct tern_reference_neighbour *neighbours);
    /* What a neighbour has in a column of the payload; type NONE: nothing. */
    struct tern_payload_value (*value)(void *context, unsigned collection,
                                       const struct tern_reference_neighbour *neighbour,
                                       const char *column);
    /* Writes some vector of the collection; false: there is none. */
    bool (*sample)(void *context, unsigned collection, uint64_t random, uint8_t *vector);
};

/* From now on neighbours come from `vectors`, which outlives the reference; before, there are none.
 */
void tern_reference_set_vectors(struct tern_reference *reference,
                                const struct tern_reference_vectors *vectors);

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
