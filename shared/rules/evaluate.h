/* Tier 1: the verdict of a vector of request items under one compiled rule set (DESIGN 5.1).
 *
 * The rules section holds units (classifiers of a value), rows (which conjunctions a class leaves
 * alive) and rule metadata; shared/rules/format.h describes its bytes. Everything here is read-only
 * and allocation-free; a scratch belongs to one thread. */
#ifndef TERN_RULES_EVALUATE_H
#define TERN_RULES_EVALUATE_H

#include "shared/buffer.h"
#include "shared/error.h"
#include "shared/facts.h"
#include "shared/tables/table.h"
#include "shared/verdict.h"

struct tern_rules;   /* handle, private to the process; built by tern_rules_open, freed by _close */
struct tern_scratch; /* per thread: class ids, block bitmaps; sized by the limits, allocated once */
struct tern_room;    /* per thread and rule set: what its patterns need; made before it is served */

/* A unit over a map table keeps the class of every record in a section of its own, so that a change
 * of rules that leaves its atoms alone shares it between generations. */
struct tern_classes_section {
    const void *data;
    size_t length;
    uint32_t unit; /* the index of its unit in the rules section */
};

/* The patterns that are asked of one field, compiled; shared likewise. */
struct tern_patterns_section {
    const void *data;
    size_t length;
    uint32_t unit; /* the index of its unit in the rules section */
};

struct tern_collection; /* shared/vector/collection.h */

struct tern_rules_parts { /* what a rules section goes with; it outlives the rules */
    const struct tern_schema *schema;
    const struct tern_table
        *tables; /* index = table id, [0] unused, up to `table_count` inclusive */
    unsigned table_count;
    const struct tern_classes_section *classes;
    unsigned classes_count;
    const struct tern_patterns_section *patterns;
    unsigned patterns_count;
    const struct tern_collection
        *collections; /* index = id, up to `collection_count` inclusive; no header: not served */
    unsigned collection_count;
};

/* Validates the rules section against its parts and prepares a handle that refers to them; pattern
 * databases become memory of this process. Allocates. TERN_ECORRUPT with a reason, TERN_EABI
 * (patterns compiled for another processor, among others), TERN_ENOMEM. */
int tern_rules_open(struct tern_rules **rules, const void *section, size_t length,
                    const struct tern_rules_parts *parts, struct tern_error *error);
void tern_rules_close(struct tern_rules *rules);

int tern_scratch_new(struct tern_scratch **scratch);
void tern_scratch_free(struct tern_scratch *scratch);

/* What a thread needs to decide by `rules`, made off the request path (it allocates): by whoever
 * prepares the rules, for each thread that will. Then the thread enters it, which is an assignment.
 * It is freed once no thread is in it. 0 or TERN_ENOMEM. */
int tern_room_new(struct tern_room **room, const struct tern_rules *rules);
void tern_room_free(struct tern_room *room);
void tern_scratch_enter(struct tern_scratch *scratch, struct tern_room *room);

/* Both for threads that may allocate: makes a room for `rules`, which belongs to the scratch,
 * unless it is in one. Needed before the scratch meets other rules. 0 or TERN_ENOMEM. */
int tern_scratch_prepare(struct tern_scratch *scratch, const struct tern_rules *rules);

/* From now on every decision adds 1 to counters[slots[i]] for each rule (i, from 0) that decides,
 * adds or would do so if it were not in shadow. A shadow rule counts when it is reached in the
 * order of the rules and holds; nothing behind the rule that decides is reached. `slots` has one
 * entry a rule of the rules that are decided by (it changes with them), both outlive their use; the
 * scratch's thread is the only writer of the counters. NULL counters: nothing is counted. */
void tern_scratch_count_hits(struct tern_scratch *scratch, const uint32_t *slots,
                             _Atomic uint64_t *counters);

/* Decides `count` items (1…TERN_VECTOR_WIDTH) together: hashes and prefetches every table line
 * first, then classifies, then ANDs rows. Writes verdicts[i] for facts[i]. */
void tern_rules_decide(const struct tern_rules *rules, struct tern_scratch *scratch,
                       const struct tern_facts *const facts[], unsigned count,
                       struct tern_verdict verdicts[]);

/* A bit per field id whose untouched value (FIELD.raw) some rule looks at: decoding keeps those. */
const uint64_t *tern_rules_raw_fields(const struct tern_rules *rules);

/* Whether decisions may search collections of vectors: each is then made within a reader's epoch,
 * as is an explanation (shared/vector/search.h). */
bool tern_rules_search(const struct tern_rules *rules);
/* What the searches of this item may take at most, by estimate: 0 when it has no vector of those
 * that rules ask of. A rule that decides without them spares some or all. */
uint64_t tern_rules_search_cost_ns(const struct tern_rules *rules, const struct tern_facts *facts);

/* Searches that decisions by the rules that the scratch is in have made, ever, and their time. */
struct tern_searched {
    uint64_t count;
    uint64_t spent_ns;
};
struct tern_searched tern_scratch_searched(const struct tern_scratch *scratch);

/* For DESCRIBE and messages. Index is 1-based; NULL past the end. The action of a rule that adds is
 * undecided. */
uint32_t tern_rules_count(const struct tern_rules *rules);
const char *tern_rules_name(const struct tern_rules *rules, uint32_t index, size_t *length);
enum tern_action tern_rules_action(const struct tern_rules *rules, uint32_t index);

/* What a rule does here; NONE: it is off, or holds for no request. */
enum tern_rule_role {
    TERN_RULE_ROLE_NONE = 0,
    TERN_RULE_ROLE_LIVE,
    TERN_RULE_ROLE_SHADOW,
};
/* Writes the enum tern_rule_role of every rule, from the first; as many as tern_rules_count. */
void tern_rules_roles(const struct tern_rules *rules, uint8_t *roles);

/* Appends a JSON object to `out` that says how one item is decided by the very same look-ups: the
 * verdict; "lookups" (unit, field, table, class, record), "rules" (for each rule that matched, and
 * the first ones that did not: its conjunctions with each atom's text and truth), "stages" in ns.
 * Not for the request path of ordinary traffic: it allocates through `out`. */
int tern_rules_explain(const struct tern_rules *rules, struct tern_scratch *scratch,
                       const struct tern_facts *facts, struct tern_buffer *out);

#endif
