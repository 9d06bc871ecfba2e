/* The writing side of the arena: made or taken over, filled, never reachable half-built. Used by
 * the one thread that publishes. */
#ifndef TERN_WRITER_H
#define TERN_WRITER_H

#include "controlplane/publish/extents.h"
#include "controlplane/publish/pages.h"
#include "shared/arena.h"
#include "shared/board.h"
#include "shared/error.h"
#include "shared/manifest.h"

struct tern_writer {
    uint8_t *base; /* the whole arena, writable */
    struct tern_envelope *envelope;
    uint64_t size;
    int fd;                   /* holds the writer's lock */
    struct tern_arena reader; /* the same arena as everyone else sees it */
    struct tern_board_map board;
    struct tern_pages pages; /* of in-process readers */
    struct tern_extents extents;
    struct tern_reader own; /* the builder, while it searches collections itself */
    uint64_t seq;           /* of the last announcement, ever */
    uint64_t generation;    /* of the last publish, ever */
    uint64_t retired_at_ms; /* monotonic, of the last retirement: tells how long grace is taking */
    bool taken_over;        /* found, not made */
    bool huge_pages;        /* the last large section got them */
    char replaced[256];     /* why the arena found was not taken over; "" */
};

struct tern_writer_numbers { /* lower bounds from before this arena; see tern_pipeline_numbers */
    uint64_t generation, announcement, epoch;
};

/* Takes over RUN_DIR/arena when it is valid, else, or with `replace`, makes one of `arena_bytes`
 * aside and renames it into place. TERN_EBUSY when another process holds the writer's lock. */
int tern_writer_open(const char *run_dir, uint64_t arena_bytes,
                     const struct tern_writer_numbers *numbers, bool replace,
                     struct tern_writer *writer, struct tern_error *error);
void tern_writer_close(struct tern_writer *writer);

/* Allocates `length` bytes (fallocate before any store) that no reader knows yet; zeroed.
 * TERN_ENOSPC says how much was needed and what there is. */
int tern_writer_allocate(struct tern_writer *writer, uint64_t length, uint64_t *offset,
                         struct tern_error *error);

/* Reserves `length` bytes of address space, zeroed and aligned to TERN_EXTENT, that no reader knows
 * yet: tern_writer_back allocates its pages as they come into use. TERN_ENOSPC likewise. */
int tern_writer_reserve(struct tern_writer *writer, uint64_t length, uint64_t *offset,
                        struct tern_error *error);
/* Allocates the pages of [offset, offset + length), which lies in a reservation, before anything is
 * stored there. From any thread. TERN_ENOSPC as for an allocation. */
int tern_writer_back(const struct tern_writer *writer, uint64_t offset, uint64_t length,
                     struct tern_error *error);

/* How much of [offset, offset + length) has memory behind it that something was stored in. Walks
 * the pages: not for every turn. From any thread. */
uint64_t tern_writer_memory_bytes(const struct tern_writer *writer, uint64_t offset,
                                  uint64_t length);

/* Asks for huge pages behind whole 2 MiB units, whatever the system's default for tmpfs: a look-up
 * in a large table, or a step of a search, then misses the cache but not the TLB as well. Where the
 * kernel is older than 6.1 or has none to give, small pages serve: false. From any thread. */
bool tern_writer_gather(const struct tern_writer *writer, uint64_t offset, uint64_t length);

/* Allocates, copies `data`, and fills the section's offset, length and checksum. */
int tern_writer_put(struct tern_writer *writer, const void *data, uint64_t length,
                    struct tern_section *section, struct tern_error *error);

/* Gives back an extent in state BUILDING at once. */
void tern_writer_discard(struct tern_writer *writer, uint64_t offset);

/* Gives the extent's pages back to the system and forgets it. */
void tern_writer_release(struct tern_writer *writer, uint64_t offset);

/* Bytes this process may still put into tmpfs: the file system's free space, less where the memory
 * limit of a control group is nearer. */
uint64_t tern_writer_available(const struct tern_writer *writer);

#endif
