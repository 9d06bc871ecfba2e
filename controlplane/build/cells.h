/* Texts of a source as typed values and keys; the reason when one is wrong. Internal to
 * controlplane/build. Thread-safe. */
#ifndef TERN_BUILD_CELLS_H
#define TERN_BUILD_CELLS_H

#include "controlplane/config/host_name.h"
#include "shared/error.h"
#include "shared/facts.h"
#include "shared/schema.h"

/* A cell or key of `type`. Hosts are folded: in place, or into `space` (TERN_CELL_SPACE bytes that
 * live as long as the value) when they become longer. Strings point into either. TERN_EINVAL with
 * what was expected. */
#define TERN_CELL_SPACE TERN_HOST_NAME_SPACE
int tern_cell_parse(enum tern_type type, uint8_t flags, uint8_t *text, size_t length,
                    uint8_t *space, union tern_value *value, struct tern_error *error);

/* The same for a key: must not be empty. */
int tern_key_parse(enum tern_type type, uint8_t flags, uint8_t *text, size_t length, uint8_t *space,
                   union tern_value *value, struct tern_error *error);

/* An address or a CIDR prefix without bits past its length. */
int tern_key_parse_prefix(const uint8_t *text, size_t length, struct tern_address_range *range,
                          struct tern_error *error);

/* The inclusive range between two addresses of one family. */
int tern_key_parse_range(const uint8_t *first, size_t first_length, const uint8_t *last,
                         size_t last_length, struct tern_address_range *range,
                         struct tern_error *error);

/* The name of a domain set: labels of letters, digits, '-' and '_', after folding as above. */
int tern_key_parse_domain(uint8_t *text, size_t length, uint8_t *space, union tern_value *value,
                          struct tern_error *error);

#endif
