/* Values of the command line as a request: what `decide` and `explain` send. */
#ifndef TERN_CTL_REQUEST_H
#define TERN_CTL_REQUEST_H

#include "controlplane/ctl/instance.h"
#include "shared/address.h"
#include "shared/limits.h"
#include "shared/schema.h"

/* Splits every argument at its first '=' and sets the field of that name in a new request of one
 * item. TERN_EINVAL names the argument, what was expected, and the nearest field. */
int tern_ctl_request_build(struct tern_client *client, const struct tern_invocation *invocation,
                           struct tern_request **request, struct tern_error *error);

/* Parses `text` as a value of wire type `type` into its wire form: `*bytes` points into `text` or
 * `scratch` (TERN_CTL_SCRATCH bytes). */
#define TERN_CTL_SCRATCH (TERN_DIM_MAX * 4u)
int tern_ctl_value_bytes(enum tern_type type, const char *text, uint8_t *scratch,
                         const uint8_t **bytes, size_t *length, struct tern_error *error);

/* A value of a reply. `key` is NULL inside arrays. */
struct tern_json;
void tern_ctl_value_json(struct tern_json *json, const char *key,
                         const struct tern_client_column *value);

#endif
