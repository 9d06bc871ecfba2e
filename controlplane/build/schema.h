/* The schema section (shared/schema.h) of a configuration: the ids that clients see. */
#ifndef TERN_BUILD_SCHEMA_H
#define TERN_BUILD_SCHEMA_H

#include "controlplane/config/config.h"
#include "shared/buffer.h"

/* Appends the section to `out`: fields and tables in the order of the configuration, ids from 1.
 * The header's hash is the XXH3-64 (seed 0) of every byte of the section after the hash itself, so
 * two configurations have equal hashes exactly when clients cannot tell their schemas apart. The
 * configuration has passed tern_config_read (counts, name lengths and types are in bounds). Returns
 * 0; TERN_ELIMIT when it has not; TERN_ENOMEM. On failure `out` is as before. */
int tern_schema_build(const struct tern_config *config, struct tern_buffer *out);

#endif
