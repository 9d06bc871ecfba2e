/* Random rule sets: every operator over every type of the world. */
#ifndef TERN_TESTS_REFERENCE_GENERATE_H
#define TERN_TESTS_REFERENCE_GENERATE_H

#include "controlplane/compile/region.h"
#include "tests/reference/world.h"

/* Whether expressions may ask for patterns: a database takes milliseconds to compile, so that not
 * all rule sets can have some. */
extern bool generate_patterns;

/* Appends a random expression with about `atoms` atoms. */
void generate_expression(uint64_t *random, unsigned atoms, struct tern_buffer *out);

/* A random configuration of `rule_count` rules over the world; all of it lives in `region`. */
struct tern_config generate_config(struct world *world, uint64_t *random, unsigned rule_count,
                                   struct tern_region *region);

/* Random facts that often hit tables; `scratch` has WORLD_FIELDS × 64 bytes. */
void generate_facts(uint64_t *random, uint32_t scale, uint8_t (*scratch)[64],
                    struct tern_facts *facts);

#endif
