/* The section of a snapshot that tells the data plane how to run. */
#ifndef TERN_CONFIG_SETTINGS_H
#define TERN_CONFIG_SETTINGS_H

#include "controlplane/config/config.h"

/* Appends a struct tern_settings to `out`; the same configuration gives the same bytes. 0 or
 * TERN_ENOMEM. */
int tern_settings_build(const struct tern_config *config, struct tern_buffer *out);

#endif
