/* Literals of an expression in the type of what they are compared with. */
#ifndef TERN_COMPILE_LITERAL_H
#define TERN_COMPILE_LITERAL_H

#include "controlplane/compile/expression.h"
#include "shared/language/lexer.h"

#define TERN_LITERAL_MESSAGE 256

/* Converts one token to the operand's type, for a `test`: hosts are folded whole, except for parts
 * of them, which keep their ends. `prefixes`: a CIDR prefix may stand here and gives a range.
 * TERN_EINVAL with `message` naming what was found and what was expected; TERN_ENOMEM. */
int tern_literal_convert(const struct tern_operand *operand, const struct tern_token *token,
                         enum tern_test test, bool prefixes, struct tern_region *region,
                         struct tern_literal *literal, char message[TERN_LITERAL_MESSAGE]);

/* Order of two values of one numeric, bool or ip type: negative, 0, positive. */
int tern_literal_compare(enum tern_type type, const union tern_value *a, const union tern_value *b);

/* "host" or the type's name. */
const char *tern_operand_type_name(const struct tern_operand *operand);

#endif
