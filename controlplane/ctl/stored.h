/* A vector as tern-control has it stored, by its id. */
#ifndef TERN_CTL_STORED_H
#define TERN_CTL_STORED_H

#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"

/* Asks for it. Free the reply, in which reply->vector is what was asked for. TERN_ENOENT there is
 * no such collection or id; otherwise as tern_instance_ask. */
int tern_stored_ask(const struct tern_invocation *invocation, const char *collection, uint64_t id,
                    Tern__Control__Reply **reply, struct tern_error *error);

/* Id, payload, and the number of the write that put it there. */
void tern_stored_json(struct tern_json *json, const char *key, const Tern__Control__Vector *vector);
void tern_stored_print(const Tern__Control__Vector *vector);

#endif
