/* The pages of in-process readers: RUN_DIR/readers/N, one page for each process that decides by
 * itself (clients/c/local.h), made by tern-control beforehand and written by the process that holds
 * it.
 *
 * As with the board's seats, a page is claimed by an OFD write lock on its file and announced alive
 * by an OFD read lock on byte TERN_LOCK_READERS + N of the arena: the kernel releases both when the
 * process dies, however it dies. A page is joined to one arena for as long as it is held; a process
 * that follows a replaced arena claims another.
 *
 * A root's way through a page: pinned in `preparing` within an epoch while it is the root, then in
 * `prepared`, then by each context that decides with it. A pin is copied forward while its source
 * stands, and tern-control reads the pins in this order: it cannot miss one that is handed on. */
#ifndef TERN_READER_PAGE_H
#define TERN_READER_PAGE_H

#include "shared/arena.h"
#include "shared/board.h"

#define TERN_READER_PAGE_ABI     1u
#define TERN_READERS_DIRECTORY   "readers"
#define TERN_READER_CONTEXTS_MAX 30u /* what a page has room for */
#define TERN_READER_NAME_MAX     63u

/* One thread's part: its pin and its counters, lines of its own. */
struct tern_reader_context {
    struct tern_reader reader; /* `epoch` stays idle: the pin alone protects */
    _Atomic uint64_t decisions TERN_ALIGNED(64);
    _Atomic uint64_t actions[4]; /* by enum tern_action */
    _Atomic uint64_t lookups;
    _Atomic uint64_t refused; /* items that were malformed */
    uint64_t reserved;
};
TERN_LAYOUT_SIZE(tern_reader_context, 128);
TERN_LAYOUT_FIELD(tern_reader_context, reader, 0);
TERN_LAYOUT_FIELD(tern_reader_context, decisions, 64);
TERN_LAYOUT_FIELD(tern_reader_context, actions, 72);
TERN_LAYOUT_FIELD(tern_reader_context, lookups, 104);
TERN_LAYOUT_FIELD(tern_reader_context, refused, 112);
TERN_LAYOUT_FIELD(tern_reader_context, reserved, 120);

struct tern_reader_page {
    _Atomic uint64_t ready; /* tern_seat_ready_value of the arena it is joined to, stored last */
    uint32_t abi;           /* TERN_READER_PAGE_ABI, written once by whoever made the file */
    uint32_t pid;
    uint64_t started_at_us;              /* wall clock */
    char name[TERN_READER_NAME_MAX + 1]; /* what the program calls itself */
    char build[32];
    uint64_t reserved;
    struct tern_reader preparing TERN_ALIGNED(64); /* the one that enters epochs */
    struct tern_reader prepared;                   /* what the contexts are offered */
    struct tern_reader_context contexts[TERN_READER_CONTEXTS_MAX];
} TERN_ALIGNED(TERN_PAGE);
TERN_LAYOUT_SIZE(tern_reader_page, 4096);
TERN_LAYOUT_FIELD(tern_reader_page, ready, 0);
TERN_LAYOUT_FIELD(tern_reader_page, abi, 8);
TERN_LAYOUT_FIELD(tern_reader_page, pid, 12);
TERN_LAYOUT_FIELD(tern_reader_page, started_at_us, 16);
TERN_LAYOUT_FIELD(tern_reader_page, name, 24);
TERN_LAYOUT_FIELD(tern_reader_page, build, 88);
TERN_LAYOUT_FIELD(tern_reader_page, reserved, 120);
TERN_LAYOUT_FIELD(tern_reader_page, preparing, 128);
TERN_LAYOUT_FIELD(tern_reader_page, prepared, 192);
TERN_LAYOUT_FIELD(tern_reader_page, contexts, 256);

struct tern_reader_page_map {
    struct tern_reader_page *page; /* writable only after a claim */
    int fd;
    unsigned index;
};

/* Maps page `index` to look at it. TERN_ENOENT when there is none, TERN_ECORRUPT when the file is
 * no page, TERN_EABI when it is another build's. */
int tern_reader_page_open(const char *run_dir, unsigned index, struct tern_reader_page_map *map,
                          struct tern_error *error);

/* Claims a free page for `arena` (opened, with its joining lock): write lock on the page, all of it
 * reset, read lock on the arena's byte, `ready`; then gives the joining lock back. `name` is cut at
 * TERN_READER_NAME_MAX bytes. The locks live as long as the two files are open. TERN_EBUSY when
 * every page is taken, TERN_ENOENT when tern-control has made none, TERN_EABI when it made others,
 * TERN_EACCES when this user may not write to them. */
int tern_reader_page_claim(const char *run_dir, const struct tern_arena *arena, const char *name,
                           struct tern_reader_page_map *map, struct tern_error *error);

/* Unmaps and closes, which releases the claim. */
void tern_reader_page_close(struct tern_reader_page_map *map);

/* Tells whether some live process holds the page (asks the lock on its file). */
bool tern_reader_page_is_live(const struct tern_reader_page_map *map);

#endif
