/* Host names as people write them in configurations and sources: folded like those of requests, in
 * punycode where they are not ASCII, and refused where they are no names (IDNA 2008, by libidn2).
 */
#ifndef TERN_CONFIG_HOST_NAME_H
#define TERN_CONFIG_HOST_NAME_H

#include "shared/error.h"
#include "shared/host.h"
#include "shared/idna.h"

/* Room for any name that is not refused and is not ASCII. */
#define TERN_HOST_NAME_SPACE (TERN_IDNA_INPUT_MAX + TERN_HOST_GROWTH)

/* Whether all of it is ASCII, so that folding it in place is all there is to do. */
bool tern_host_name_is_ascii(const uint8_t *text, size_t length);

/* Folds a name that is not ASCII into `out` (TERN_HOST_NAME_SPACE bytes). TERN_EINVAL with what is
 * wrong. Thread-safe. */
int tern_host_name_convert(const uint8_t *text, size_t length, uint8_t *out, size_t *out_length,
                           struct tern_error *error);

#endif
