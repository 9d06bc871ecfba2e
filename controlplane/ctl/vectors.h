/* How collections of vectors are shown: in the outcome of an apply, and in `status`. */
#ifndef TERN_CTL_VECTORS_H
#define TERN_CTL_VECTORS_H

#include "controlplane/ctl/json.h"
#include "shared/proto/tern.pb-c.h"

/* "collections": […] of an outcome. */
void tern_vectors_outcome_json(struct tern_json *json, const Tern__Control__Published *result);
/* A table; nothing when there are none. */
void tern_vectors_outcome_print(const Tern__Control__Published *result);

/* The same of a status. */
void tern_vectors_status_json(struct tern_json *json, const Tern__Control__Status *status);
void tern_vectors_status_print(const Tern__Control__Status *status);

#endif
