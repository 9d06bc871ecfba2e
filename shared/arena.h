/* The arena as readers see it: a read-only mapping, its envelope, bounds-checked access by offset.
 */
#ifndef TERN_ARENA_H
#define TERN_ARENA_H

#include "shared/base.h"
#include "shared/envelope.h"
#include "shared/error.h"

/* OFD lock bytes on the arena's inode: seat i holds byte i, in-process reader i holds byte
 * TERN_LOCK_READERS + i, a mapper that has no seat yet TERN_LOCK_JOINING, tern-control (write lock)
 * TERN_LOCK_WRITER. */
#define TERN_LOCK_SEATS   0
#define TERN_LOCK_READERS 64
#define TERN_LOCK_JOINING 200
#define TERN_LOCK_WRITER  201

/* Where the arena and the board of `run_dir` live: the run directory itself when it is on tmpfs,
 * else /dev/shm/tern-UID-HASH (made with mode 0700 when missing, refused when somebody else owns
 * it). */
#define TERN_PATH_MAX 512
int tern_shm_directory(const char *run_dir, char directory[TERN_PATH_MAX],
                       struct tern_error *error);
/* Makes RUN_DIR/name a symbolic link into `directory` when that is another one; idempotent. */
int tern_shm_link(const char *run_dir, const char *directory, const char *name,
                  struct tern_error *error);

struct tern_arena {
    const uint8_t *base;
    uint64_t size;
    int fd;
    uint8_t arena_id[16];
    uint64_t inode;
};

static inline const struct tern_envelope *tern_arena_envelope(const struct tern_arena *arena)
{
    return (const struct tern_envelope *)arena->base;
}

/* Opens RUN_DIR/arena, checks that it lies on tmpfs, that magic, ABI, size and roots are ours, and
 * holds the joining lock. TERN_ENOENT when it is not there yet or half built, TERN_EABI with both
 * values. */
int tern_arena_open(const char *run_dir, struct tern_arena *arena, struct tern_error *error);
void tern_arena_close(struct tern_arena *arena);

/* True while RUN_DIR/arena still names the inode that `arena` maps. */
bool tern_arena_is_current(const struct tern_arena *arena, const char *run_dir);

/* Bounds-checked pointer to [offset, offset + length): NULL when any of it lies outside the
 * high-water mark or `offset` is not a multiple of `alignment`. A hole is never touched. */
const void *tern_arena_at(const struct tern_arena *arena, uint64_t offset, uint64_t length,
                          uint64_t alignment);

/* The offset of the root published for this build's snapshot ABI (acquire), 0 when none. Call it
 * within tern_reader_enter. */
uint64_t tern_arena_root(const struct tern_arena *arena);

/* Maps `size` bytes of `fd` at an address aligned to TERN_EXTENT, so that a huge page of the file
 * can be one entry of the page table. MAP_FAILED and errno as mmap. */
void *tern_arena_map(int fd, uint64_t size, int protection);

/* OFD locks, shared by arena and board: `type` is F_RDLCK, F_WRLCK or F_UNLCK; 0, TERN_EBUSY, or
 * the system's error. tern_lock_held tells whether any other open file description holds a lock
 * that would conflict with a write lock. */
int tern_lock_byte(int fd, short type, int64_t byte);
bool tern_lock_held(int fd, int64_t byte);

#endif
