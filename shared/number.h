/* Numbers as people write them, parsed strictly: the whole text, no blanks, no sign where none
 * makes sense, no locale. Configuration, sources and command lines share these. Thread-safe. */
#ifndef TERN_NUMBER_H
#define TERN_NUMBER_H

#include "shared/base.h"

/* Decimal digits only. TERN_EINVAL malformed, TERN_ELIMIT out of range. */
int tern_number_parse_u64(const char *text, size_t length, uint64_t *value);
/* Decimal digits after an optional '-' or '+'. The same errors. */
int tern_number_parse_i64(const char *text, size_t length, int64_t *value);
/* [+-]digits[.digits][e[+-]digits], at least one digit before the exponent; rounded to the nearest
 * double, then to the nearest float; -0 becomes 0. TERN_EINVAL malformed (also "nan", "inf" and
 * hexadecimal), TERN_ELIMIT when it is too large for a float. */
int tern_number_parse_f32(const char *text, size_t length, float *value);

#endif
