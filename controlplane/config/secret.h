/* Secrets: a configuration names where one is, "${env:NAME}" or "${file:PATH}", and it is read when
 * a generation is built, by tern-control and with its rights. */
#ifndef TERN_CONFIG_SECRET_H
#define TERN_CONFIG_SECRET_H

#include "controlplane/config/config.h"
#include "shared/settings.h"

/* True when `text` is one of the two forms with something in it. */
bool tern_secret_is_reference(const struct tern_text *text);

/* Reads what `reference` names into `value`, NUL-terminated; a file's one trailing newline is not
 * part of it. Relative paths start from the folder of `config_path`. TERN_ENOENT, TERN_EINVAL (too
 * short, too long, a NUL byte), TERN_EACCES and the like, with a message that names the place and
 * never the secret. The caller wipes `value`. */
int tern_secret_read(const struct tern_text *reference, const char *config_path,
                     char value[TERN_TOKEN_MAX + 1], struct tern_error *error);

/* `tokens:` as the data plane gets them, into `settings` (salt, digests and names). The salt comes
 * from the instance's secret, so that equal tokens make equal settings. TERN_EINVAL, with what is
 * wrong in `diagnostics`. */
int tern_secret_digest_tokens(const struct tern_config *config, const uint8_t instance_secret[32],
                              struct tern_settings *settings, struct tern_diagnostics *diagnostics);

#endif
