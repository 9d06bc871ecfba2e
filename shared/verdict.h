/* The answer to one item. */
#ifndef TERN_VERDICT_H
#define TERN_VERDICT_H

#include "shared/base.h"

enum tern_action {
    TERN_ALLOW = 0,
    TERN_DENY = 1,
    TERN_CHALLENGE = 2,
    TERN_UNDECIDED = 3,
};

enum tern_verdict_flags {
    TERN_VERDICT_STALE = 1,
    TERN_VERDICT_DEGRADED = 2, /* a fallback: the deeper look was not available */
    TERN_VERDICT_PENDING = 4,
    TERN_VERDICT_CANARY = 8,
    TERN_VERDICT_CACHED = 16,
    TERN_VERDICT_SHED = 32,
};

enum tern_cause { /* why this action; u16 on the wire with DETAIL */
                  TERN_CAUSE_DEFAULT = 0,
                  TERN_CAUSE_RULE = 1,
                  TERN_CAUSE_THRESHOLD = 2,
                  TERN_CAUSE_ESCALATION_UNAVAILABLE = 3,
};

struct tern_verdict {
    uint8_t action; /* enum tern_action */
    uint8_t tier;   /* 0 default, 1, 2 */
    uint16_t flags; /* enum tern_verdict_flags */
    uint16_t max_age_s;
    uint16_t cause; /* enum tern_cause */
    uint32_t rule;  /* 1-based index of the deciding rule, 0 = none */
    float score;
};

/* "allow", "deny", "challenge", "undecided". */
const char *tern_action_name(enum tern_action action);

#endif
