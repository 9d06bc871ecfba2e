/* A snapshot as one process has prepared it: validated, prefaulted, resolved to pointers. What both
 * the request loops and the in-process reader decide with. */
#ifndef TERN_VIEW_H
#define TERN_VIEW_H

#include "shared/arena.h"
#include "shared/manifest.h"
#include "shared/rules/evaluate.h"
#include "shared/schema.h"
#include "shared/settings.h"
#include "shared/tables/table.h"

struct tern_view {
    uint64_t root_offset;
    uint64_t seq; /* root.seq: tells apart two roots at the same offset */
    uint64_t generation;
    uint64_t root_checksum;
    const struct tern_schema *schema;
    const struct tern_settings *settings;
    struct tern_table *tables; /* by id; [0] unused */
    unsigned table_count;
    struct tern_rules *rules;
    uint64_t bytes; /* of all its sections */
};

/* Validates and resolves the root at `root_offset`: bounds, checksums of root, manifest and every
 * section, then each section's own structure; prefaults every section (MADV_POPULATE_READ). Call it
 * while the root is protected (within an epoch, or pinned). The view refers to the arena and stays
 * valid as long as the root is protected. TERN_ECORRUPT, TERN_EABI, TERN_ENOMEM with a reason. */
int tern_view_open(const struct tern_arena *arena, uint64_t root_offset, struct tern_view **view,
                   struct tern_error *error);
void tern_view_close(struct tern_view *view);

#endif
