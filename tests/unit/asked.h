/* A rule set over the reference world, and a scratch that is prepared for it: what a test asks. */
#ifndef TERN_TESTS_ASKED_H
#define TERN_TESTS_ASKED_H

#include "tests/unit/unit.h"

#include "tests/reference/world.h"

struct asked {
    struct world_rules compiled;
    struct tern_scratch *scratch;
};

void asked_make(struct asked *asked, struct world *world, struct tern_config_rule *rules,
                unsigned count);
void asked_free(struct asked *asked);

/* The rule that decides. */
uint32_t asked_rule(struct asked *asked, const union world_facts *facts);

/* Whether the explanation holds the text; prints what it says instead. */
bool asked_explains(struct asked *asked, const union world_facts *facts, const char *wanted);

#endif
