/* similar(COLLECTION, FIELD, k: …, min: …): the vectors of a collection that a request's vector
 * resembles, and what they say by majority. Names and numbers resolved and checked.
 *
 * Similarity is the cosine (cosine), the dot product (dot) or 1 / (1 + distance) (l2). */
#ifndef TERN_COMPILE_NEIGHBOURS_H
#define TERN_COMPILE_NEIGHBOURS_H

#include "controlplane/compile/operand.h"

/* Each fills its part of `operand`, in this order, or returns TERN_EINVAL with `message` (with the
 * nearest valid name). */
int tern_neighbours_collection(const struct tern_config *config, const struct tern_token *name,
                               struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE]);
/* The field whose vector is compared. */
int tern_neighbours_field(const struct tern_config *config, const struct tern_token *name,
                          struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE]);
/* "k" or "min" with its number. */
int tern_neighbours_option(const struct tern_config *config, const struct tern_token *name,
                           const struct tern_token *number, struct tern_operand *operand,
                           char message[TERN_OPERAND_MESSAGE]);
/* A column of the payload, or "score". */
int tern_neighbours_column(const struct tern_config *config, const struct tern_token *name,
                           struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE]);

/* As it is written, without a column. */
#define TERN_NEIGHBOURS_TEXT 224
void tern_neighbours_text(const struct tern_config *config, const struct tern_operand *operand,
                          char text[TERN_NEIGHBOURS_TEXT]);

#endif
