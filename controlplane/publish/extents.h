/* Which parts of the arena are in use: a sorted list of extents, private to tern-control. After a
 * crash it is rebuilt from what roots and pins reach. One thread. */
#ifndef TERN_EXTENTS_H
#define TERN_EXTENTS_H

#include "shared/base.h"
#include "shared/error.h"

enum tern_extent_state {
    TERN_EXTENT_BUILDING, /* no reader knows it: may be freed at once */
    TERN_EXTENT_LIVE,     /* reachable from a root, a pin, the announcement or the settings */
    TERN_EXTENT_RETIRED,  /* unreachable since `epoch`; free after grace */
};

struct tern_extent {
    uint64_t offset;
    uint64_t length; /* a multiple of TERN_PAGE */
    enum tern_extent_state state;
    bool marked;    /* scratch of the reachability walk */
    bool reserved;  /* address space: pages are allocated as they come into use */
    uint64_t epoch; /* of retirement: grace is over when every reader is idle or past it */
};

struct tern_extents {
    struct tern_extent *items; /* by offset, disjoint */
    size_t count;
    size_t capacity;
    uint64_t first; /* allocatable space is [first, end) */
    uint64_t end;
};

void tern_extents_init(struct tern_extents *extents, uint64_t first, uint64_t end);
void tern_extents_free(struct tern_extents *extents);

/* First fit. `length` is rounded up to whole pages; TERN_EXTENT or longer gets TERN_EXTENT
 * alignment, so that huge pages can back it. Returns 0, TERN_ENOSPC (no gap is large enough),
 * TERN_ENOMEM. */
int tern_extents_allocate(struct tern_extents *extents, uint64_t length, uint64_t *offset);

/* The same for address space that is backed by pages later. */
int tern_extents_reserve(struct tern_extents *extents, uint64_t length, uint64_t *offset);

/* Notes that [offset, offset + length) is in use; the same offset again is no error. TERN_ECORRUPT
 * when it overlaps another extent or leaves the arena. */
int tern_extents_insert(struct tern_extents *extents, uint64_t offset, uint64_t length,
                        enum tern_extent_state state);

/* Notes everything below `high_water` that is not in use as retired at `epoch`. */
int tern_extents_retire_gaps(struct tern_extents *extents, uint64_t high_water, uint64_t epoch);

/* The extent that starts at `offset`, or NULL. Valid until the next change. */
struct tern_extent *tern_extents_find(struct tern_extents *extents, uint64_t offset);

/* Forgets the extent: its space may be allocated again. */
void tern_extents_remove(struct tern_extents *extents, uint64_t offset);

/* Address space. Reservations count among the RETIRED only: until then their bytes are those of
 * tern_extents_reserved_bytes. */
uint64_t tern_extents_bytes(const struct tern_extents *extents, enum tern_extent_state state);
uint64_t tern_extents_reserved_bytes(const struct tern_extents *extents);

#endif
