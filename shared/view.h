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
#include "shared/vector/collection.h"

struct tern_view {
    uint64_t root_offset;
    uint64_t seq; /* root.seq: tells apart two roots at the same offset */
    uint64_t generation;
    uint64_t root_checksum;
    const struct tern_schema *schema;
    const struct tern_settings *settings;
    struct tern_table *tables; /* by id; [0] unused */
    unsigned table_count;
    struct tern_collection *collections; /* by id; [0] unused; header NULL: it has no object now */
    unsigned collection_count;
    struct tern_rules *rules;
    uint64_t bytes; /* of all its sections */
    /* a copy of the manifest's list: what the next view need not validate again */
    struct tern_section *sections;
    unsigned section_count;
};

/* Validates and resolves the root at `root_offset`: bounds, checksums of root, manifest and every
 * section, then each section's own structure; prefaults every section (MADV_POPULATE_READ). Of a
 * collection only the header is read: the rest is as old as the collection, and changes.
 *
 * Sections that `base` (an open view of the same arena, or NULL) already holds are not read again:
 * a one-line change validates and prefaults the new sections only. The base's own root may be
 * reclaimed meanwhile (tests/model, SHARING): of it only the private copy of its list is read, and
 * handles of sections that the new root lists as well.
 *
 * Call it while the root is protected (within an epoch, or pinned). The view refers to the arena,
 * not to `base`, and stays valid as long as its root is protected. TERN_ECORRUPT, TERN_EABI,
 * TERN_ENOMEM with a reason. */
int tern_view_open(const struct tern_arena *arena, uint64_t root_offset,
                   const struct tern_view *base, struct tern_view **view, struct tern_error *error);
void tern_view_close(struct tern_view *view);

#endif
