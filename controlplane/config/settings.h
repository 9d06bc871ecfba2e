/* The section of a snapshot that tells the data plane how to run. */
#ifndef TERN_CONFIG_SETTINGS_H
#define TERN_CONFIG_SETTINGS_H

#include "controlplane/config/config.h"

/* Appends a struct tern_settings to `out`; the same configuration gives the same bytes, as long as
 * its secrets stay what they are: they are read here. `instance_secret` keys what is stored of
 * them. 0, TERN_ENOMEM, or TERN_EINVAL with what is wrong in `diagnostics`. */
int tern_settings_build(const struct tern_config *config, const uint8_t instance_secret[32],
                        struct tern_buffer *out, struct tern_diagnostics *diagnostics);

#endif
