/* What a new configuration changes in the rules of an old one, by rule id: for `apply --dry-run`
 * and the history. */
#ifndef TERN_CONFIG_DIFFERENCE_H
#define TERN_CONFIG_DIFFERENCE_H

#include "controlplane/config/config.h"

enum tern_rule_change {
    TERN_RULE_ADDED,
    TERN_RULE_REMOVED,
    TERN_RULE_CHANGED, /* the same id says something else */
    TERN_RULE_MOVED,   /* the same id has another place among those that stayed */
};
/* "added", … */
const char *tern_rule_change_name(enum tern_rule_change change);

struct tern_rule_difference {
    enum tern_rule_change change;
    const char *id;      /* lives as long as the configurations */
    unsigned old_number; /* 1-based place, 0: not there */
    unsigned new_number;
};

struct tern_rule_differences {
    struct tern_rule_difference *items;
    unsigned count;
};

/* Compares; a rule may be both changed and moved. Inserting or removing one rule moves no other:
 * moved are the fewest rules that explain the new order (all but a longest increasing subsequence).
 * O(n log n). TERN_ENOMEM. */
int tern_rules_compare(const struct tern_config *old, const struct tern_config *new,
                       struct tern_rule_differences *differences);
void tern_rule_differences_free(struct tern_rule_differences *differences);

#endif
