/* Names of an expression resolved to fields, tables and columns. */
#ifndef TERN_COMPILE_OPERAND_H
#define TERN_COMPILE_OPERAND_H

#include "controlplane/compile/expression.h"
#include "shared/language/lexer.h"

#define TERN_OPERAND_MESSAGE 320

/* Writes `message`; TERN_EINVAL. */
int tern_operand_fail(char message[TERN_OPERAND_MESSAGE], const char *format, ...)
    TERN_PRINTF(2, 3);

/* Each returns 0 and fills its result, or TERN_EINVAL with `message` (with the nearest valid name).
 */

/* The 1-based id of the field or table of that name, 0 when there is none. */
unsigned tern_operand_find_field(const struct tern_config *config, const char *name, size_t length);
unsigned tern_operand_find_table(const struct tern_config *config, const char *name, size_t length);

int tern_operand_field(const struct tern_config *config, const struct tern_token *name,
                       struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE]);

/* Turns a field into its untouched value. */
int tern_operand_raw(const struct tern_config *config, struct tern_operand *operand,
                     char message[TERN_OPERAND_MESSAGE]);

/* The record of table `name`, found by field `by` (NULL: the field the table is joined by) or, with
 * `raw`, by its untouched value. */
int tern_operand_record(const struct tern_config *config, const struct tern_token *name,
                        const struct tern_token *by, bool raw, struct tern_operand *operand,
                        char message[TERN_OPERAND_MESSAGE]);

/* Narrows a record to one of its columns. */
int tern_operand_column(const struct tern_config *config, const struct tern_token *name,
                        struct tern_operand *operand, char message[TERN_OPERAND_MESSAGE]);

/* The pattern set `name` (`operand matches $name`): its id. */
int tern_operand_patterns(const struct tern_config *config, const struct tern_token *name,
                          unsigned *table, char message[TERN_OPERAND_MESSAGE]);

/* The table `name` as what `operand` can be looked up in (`operand in $name`): its id. */
int tern_operand_set(const struct tern_config *config, const struct tern_operand *operand,
                     const struct tern_token *name, unsigned *table,
                     char message[TERN_OPERAND_MESSAGE]);

#endif
