/* The publication of a snapshot: root and manifest written, announced to the seats, swapped in.
 *
 *     write ──▶ announce ──▶ (all ready or lagging) ──▶ swap ──▶ retire the old (reclaim.h)
 *                  └───────▶ (one rejects) ──▶ withdraw
 *
 * DESIGN 1.3; modelled in tests/model/publish.pml. One thread. */
#ifndef TERN_PUBLISH_H
#define TERN_PUBLISH_H

#include "controlplane/publish/writer.h"
#include "shared/vector/format.h"

/* What a root says besides its sections. */
struct tern_publish_root {
    uint64_t generation;
    uint64_t schema_hash;
    uint64_t published_at_us;                        /* wall clock */
    const struct tern_collection_entry *collections; /* in ascending order of ids */
    unsigned collection_count;
};

/* Writes manifest, list of collections and root for `sections` (offsets filled in) under the next
 * announcement number.
 * The extent is in state BUILDING; `*offset` names the root. */
int tern_publish_write(struct tern_writer *writer, const struct tern_section *sections,
                       unsigned count, const struct tern_publish_root *described, uint64_t *offset,
                       struct tern_error *error);

/* Tells the seats of a candidate: from now on its extents are reachable. */
void tern_publish_announce(struct tern_writer *writer, uint64_t offset);

/* What one live seat said of the announced candidate. */
struct tern_publish_answer {
    unsigned seat;
    uint32_t pid;
    int answer; /* enum tern_answer; NONE: silent */
    char reason[TERN_REASON_BYTES];
};

/* Waits until every live seat has answered, one has rejected, or `timeout_ms` has passed since the
 * call. Fills at most TERN_SEATS_MAX answers; returns how many live seats there are. */
unsigned tern_publish_wait(struct tern_writer *writer, uint64_t offset, uint64_t timeout_ms,
                           struct tern_publish_answer answers[TERN_SEATS_MAX]);

/* Takes the announcement back; the candidate's extents are retired. */
void tern_publish_withdraw(struct tern_writer *writer);

/* Makes the announced candidate the root. */
void tern_publish_swap(struct tern_writer *writer, uint64_t offset);

/* Names the settings a starting ternd reads before there is a root. */
void tern_publish_settings(struct tern_writer *writer, const struct tern_section *section);

#endif
