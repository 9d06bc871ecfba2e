/* What readers may still hold, and giving back the rest.
 *
 * Extents that no root, announcement or settings reach are *retired* under the epoch of that
 * moment; they are free once every live reader is idle or in a newer epoch (grace) and no pin
 * reaches them. A stuck reader therefore quarantines memory and stops nothing else. */
#ifndef TERN_RECLAIM_H
#define TERN_RECLAIM_H

#include "controlplane/publish/writer.h"

/* After taking over an arena: withdraws the announcement, rebuilds the list of extents from roots,
 * settings and pins, and retires everything else. TERN_ECORRUPT when the root itself is damaged. */
int tern_reclaim_take_over(struct tern_writer *writer, struct tern_error *error);

/* Moves what roots, announcement and settings reach from BUILDING to LIVE. */
void tern_reclaim_publish_extents(struct tern_writer *writer);

/* Retires the LIVE extents that roots, announcement and settings no longer reach, and begins their
 * grace with a new epoch (C2, C3). */
void tern_reclaim_retire(struct tern_writer *writer);

/* A grace of its own, for memory that stays reachable and is used again: the slots of collections.
 * Begins a new epoch and returns the one before; over when no reader is left in that or an older
 * one. From any thread of this process (tests/model/slots.pml). */
uint64_t tern_reclaim_begin_grace(const struct tern_writer *writer);
bool tern_reclaim_grace_is_over(struct tern_writer *writer, uint64_t epoch);

/* Frees what grace and pins release (C4, C5). Never waits. Returns the bytes freed. */
uint64_t tern_reclaim_collect(struct tern_writer *writer);

/* The memory of what is retired: of a collection's address space what it uses. */
uint64_t tern_reclaim_retired_bytes(const struct tern_writer *writer);

/* When the arena is full: frees what it can, or gives readers a millisecond to leave what is
 * retired. Whether it is worth trying again: not when nothing is retired, nor half a second past
 * `start_ns`. */
bool tern_reclaim_await_room(struct tern_writer *writer, uint64_t start_ns);

/* One live process that reads, as reclaim sees it. */
struct tern_reclaim_holder {
    unsigned holder; /* its lock byte: TERN_LOCK_SEATS + seat or TERN_LOCK_READERS + page */
    bool behind;     /* holds an epoch or pin that keeps retired memory */
    uint64_t bytes;  /* retired memory reachable from its pins */
};
#define TERN_RECLAIM_HOLDERS_MAX (TERN_SEATS_MAX + TERN_READERS_MAX)

/* Returns the number of live ones. */
unsigned tern_reclaim_holders(struct tern_writer *writer,
                              struct tern_reclaim_holder holders[TERN_RECLAIM_HOLDERS_MAX]);

#endif
