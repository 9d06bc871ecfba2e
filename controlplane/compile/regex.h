/* The slow, obvious matcher of regular expressions, for the reference evaluator: it shares nothing
 * with hyperscan, so that the two can be compared.
 *
 * A simulation of all states at once (Thompson 1968), one byte after the other, over what most
 * expressions are written with; of what it does not know it says so. Values are bytes. */
#ifndef TERN_COMPILE_REGEX_H
#define TERN_COMPILE_REGEX_H

#include "shared/base.h"
#include "shared/error.h"

struct tern_regex;

/* 0; TERN_ENOTSUP for what this matcher does not know; TERN_EINVAL for what is no expression;
 * TERN_ENOMEM. */
int tern_regex_new(struct tern_regex **regex, const void *pattern, size_t length);
void tern_regex_free(struct tern_regex *regex);

/* Whether the expression matches anywhere in the value. Any number of threads. */
bool tern_regex_matches(const struct tern_regex *regex, const void *value, size_t length);

/* Writes a value of at most `room` bytes that the expression most likely matches; `random` is the
 * state of a generator. Returns its length. */
size_t tern_regex_sample(const struct tern_regex *regex, uint64_t *random, uint8_t *out,
                         size_t room);

#endif
