/* SIMILAR units: everything that rules ask of one field's neighbours in one collection, as the
 * bytes of the unit (shared/rules/similar_format.h). */
#ifndef TERN_COMPILE_SIMILAR_H
#define TERN_COMPILE_SIMILAR_H

#include "controlplane/compile/normal.h"
#include "shared/buffer.h"

/* Appends the bytes of the unit, whose hits are in their order (tern_scan_order), to `out`, which
 * is 8-byte aligned there. 0 or TERN_ENOMEM. */
int tern_similar_write(const struct tern_config *config, const struct tern_compiled_unit *unit,
                       struct tern_buffer *out);

#endif
