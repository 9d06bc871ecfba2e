/* The ids of rules by generation, for records that know only a number. The publishing thread adds,
 * the drain looks up. */
#ifndef TERN_DECISIONS_NAMES_H
#define TERN_DECISIONS_NAMES_H

#include "shared/error.h"
#include "shared/rules/evaluate.h"

/* A ternd serves the newest generation or the one before it; one that lags, perhaps an older one.
 */
#define TERN_NAMES_GENERATIONS 8u

struct tern_names;

int tern_names_new(struct tern_names **names);
void tern_names_free(struct tern_names *names);

/* Copies the ids of `generation`, which takes the place of the oldest one kept. TERN_ENOMEM: its
 * rules will be shown as numbers. Thread-safe. */
int tern_names_add(struct tern_names *names, uint64_t generation, const struct tern_rules *rules);

/* Between the two, what tern_names_find yields stays as it is. */
void tern_names_lock(struct tern_names *names);
void tern_names_unlock(struct tern_names *names);

/* The id of a rule (1-based), NULL when the generation is not kept or has no such rule. */
const char *tern_names_find(const struct tern_names *names, uint64_t generation, uint32_t rule,
                            size_t *length);

#endif
