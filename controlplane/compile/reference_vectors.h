/* The slow evaluator's part that looks at what vectors resemble: neighbours one atom at a time,
 * votes by adding up. */
#ifndef TERN_COMPILE_REFERENCE_VECTORS_H
#define TERN_COMPILE_REFERENCE_VECTORS_H

#include "controlplane/compile/expression.h"
#include "controlplane/compile/reference.h"

/* The value that `operand`, one of neighbours, names for a request with the vector `query`; without
 * a column: whether there are neighbours. False when it is missing. */
bool tern_reference_neighbours(const struct tern_reference_vectors *vectors,
                               const struct tern_config *config, const struct tern_operand *operand,
                               const union tern_value *query, union tern_value *value);

/* A vector for field `id` of a sample: often one of a collection of that many dimensions, or like
 * one. It goes to `scratch`, which has room. */
void tern_reference_sample_vector(const struct tern_reference_vectors *vectors,
                                  const struct tern_config *config, unsigned id, uint64_t *random,
                                  uint8_t *scratch, union tern_value *value);

/* Of samples. */
uint64_t tern_reference_random(uint64_t *state);

#endif
