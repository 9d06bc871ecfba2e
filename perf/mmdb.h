/* A small writer of MaxMind DB files (format 2.0), so that libmaxminddb can be asked about the very
 * ranges that a prefix table holds: one binary search tree of 128 levels, IPv4 at ::/96 as in the
 * databases MaxMind publishes, one data record {"autonomous_system_number": N} for each number. For
 * measuring only; it aborts when there is no memory.
 *
 * https://maxmind.github.io/MaxMind-DB/ */
#ifndef TERN_PERF_MMDB_H
#define TERN_PERF_MMDB_H

#include "controlplane/build/prefix.h"
#include "shared/error.h"

#define MMDB_NUMBER_KEY "autonomous_system_number"

/* Writes the segments of `builder` (resolved; a value is an index into `numbers`) to `path`.
 * `*bytes` is the file's length. TERN_ELIMIT when tree and data do not fit 24-bit records, the size
 * that MaxMind's own database of autonomous systems has. */
int mmdb_write(const struct tern_prefix_builder *builder, const uint32_t *numbers,
               uint32_t number_count, const char *path, size_t *bytes, struct tern_error *error);

#endif
