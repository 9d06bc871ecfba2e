/* Whether a normalized value can ever be what a literal says: "/Login" is no value of a field that
 * is folded to lower case, so a rule that asks for it would never hold, or, negated, always. */
#ifndef TERN_COMPILE_ATTAINABLE_H
#define TERN_COMPILE_ATTAINABLE_H

#include "controlplane/compile/expression.h"

#define TERN_ATTAINABLE_MESSAGE 512

enum tern_attainability {
    TERN_ATTAINABLE,
    TERN_ATTAINABLE_ENCODED_TWICE, /* by values whose percent signs were encoded, and no others */
    TERN_NEVER_ATTAINABLE,
};

/* Whether some value of the string field passes `test` (EQ, NE, IN: all of it; STARTS_WITH,
 * ENDS_WITH or any other: a part) against `text`. When not, or rarely, `message` says why and what
 * to write instead. */
enum tern_attainability tern_attainable(const struct tern_config_field *field, enum tern_test test,
                                        const uint8_t *text, uint32_t length,
                                        char message[TERN_ATTAINABLE_MESSAGE]);

/* Whether a regular expression over the string field asks for a capital letter where there are
 * none: a guess, by letters that stand outside of escapes and classes, in an expression without
 * options such as (?i). False with `message`. */
bool tern_attainable_expression(const struct tern_config_field *field, const uint8_t *text,
                                size_t length, char message[TERN_ATTAINABLE_MESSAGE]);

#endif
