/* Layout checks for structures that live in shared memory or in packed sections.
 *
 * Under every such struct stands one TERN_LAYOUT_SIZE and one TERN_LAYOUT_FIELD per member. They
 * compile to static asserts; scripts/layout.c gives the two macros another meaning and prints the
 * same lists as the tables of docs/shared-memory.md, so the document cannot drift from the code. */
#ifndef TERN_LAYOUT_H
#define TERN_LAYOUT_H

#include "shared/base.h"

#ifndef TERN_LAYOUT_SIZE
#define TERN_LAYOUT_SIZE(type, bytes)                                                              \
    _Static_assert(sizeof(struct type) == (bytes), "size of struct " #type)
#define TERN_LAYOUT_FIELD(type, field, at)                                                         \
    _Static_assert(offsetof(struct type, field) == (at), "offset of " #type "." #field)
#endif

#endif
