/* What programs that measure need beside what they measure. */
#ifndef TERN_PERF_PROGRAM_H
#define TERN_PERF_PROGRAM_H

#include "shared/base.h"

/* "PROGRAM: what: why" to standard error, and the end. (An attribute, as cppcheck does not know
 * _Noreturn.) */
__attribute__((noreturn)) void program_fail(const char *what, const char *why);

/* Of whole pages, for free(). Ends the program when there is none. */
void *program_memory(size_t bytes);

/* splitmix64 (Steele, Lea, Flood 2014): its last step, as the i-th key of a table; its next number.
 */
uint64_t program_mix(uint64_t z);
uint64_t program_random(uint64_t *seed);

/* Sorts. */
double program_quantile(float *values, size_t count, double fraction);
/* Of at most 64. */
double program_median(const double *values, unsigned count);

#endif
