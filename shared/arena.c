#include "shared/arena.h"

#include "shared/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <xxhash.h>

int tern_shm_directory(const char *run_dir, char directory[TERN_PATH_MAX], struct tern_error *error)
{
    struct statfs filesystem;
    struct stat status;
    char resolved[4096];
    char path[TERN_PATH_MAX];

    if (strlen(run_dir) + sizeof "/control.sock" > TERN_PATH_MAX)
        return tern_error_set(error, TERN_ELIMIT, "run directory %.100s…: the path is too long",
                              run_dir);
    if (statfs(run_dir, &filesystem) < 0)
        return tern_error_system(error, errno, "run directory %s", run_dir);
    if (filesystem.f_type == TMPFS_MAGIC) {
        snprintf(directory, TERN_PATH_MAX, "%s", run_dir);
        return 0;
    }

    if (realpath(run_dir, resolved) == NULL)
        return tern_error_system(error, errno, "run directory %s", run_dir);
    snprintf(path, sizeof path, "/dev/shm/tern-%u-%016llx", (unsigned)getuid(),
             (unsigned long long)XXH3_64bits(resolved, strlen(resolved)));
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return tern_error_system(error, errno, "cannot make %s for run directory %s", path,
                                 run_dir);
    /* /dev/shm is everybody's: trust only a real directory that is ours alone */
    if (lstat(path, &status) < 0)
        return tern_error_system(error, errno, "%s", path);
    if (!S_ISDIR(status.st_mode) || status.st_uid != getuid() || (status.st_mode & 0022) != 0)
        return tern_error_set(error, TERN_EACCES,
                              "%s must be a directory of user %u that nobody else can write to",
                              path, (unsigned)getuid());
    memcpy(directory, path, sizeof path);
    return 0;
}

int tern_shm_link(const char *run_dir, const char *directory, const char *name,
                  struct tern_error *error)
{
    char link[TERN_PATH_MAX + 64];
    char target[TERN_PATH_MAX + 64];
    char present[TERN_PATH_MAX + 64];
    ssize_t length;

    if (strcmp(run_dir, directory) == 0)
        return 0;
    snprintf(link, sizeof link, "%s/%s", run_dir, name);
    snprintf(target, sizeof target, "%s/%s", directory, name);
    if (symlink(target, link) == 0)
        return 0;
    if (errno != EEXIST)
        return tern_error_system(error, errno, "cannot link %s to %s", link, target);
    length = readlink(link, present, sizeof present - 1);
    if (length > 0) {
        present[length] = '\0';
        if (strcmp(present, target) == 0)
            return 0;
    }
    return tern_error_set(error, TERN_EEXIST,
                          "%s is in the way: it should be a symbolic link to %s; remove it", link,
                          target);
}

void *tern_arena_map(int fd, uint64_t size, int protection)
{
    uint8_t *reserved = mmap(NULL, size + TERN_EXTENT, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint8_t *aligned;
    void *mapped;

    if (reserved == MAP_FAILED)
        return MAP_FAILED;
    aligned = (uint8_t *)tern_align_up((uintptr_t)reserved, TERN_EXTENT);
    mapped = mmap(aligned, size, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0);
    if (mapped == MAP_FAILED) {
        munmap(reserved, size + TERN_EXTENT);
        return MAP_FAILED;
    }
    if (aligned > reserved)
        munmap(reserved, (size_t)(aligned - reserved));
    munmap(aligned + size, (size_t)(reserved + TERN_EXTENT - aligned));
    return mapped;
}

/* One OFD lock request on one byte; `l_type` comes back as F_UNLCK from a query that found none. */
static struct flock one_byte(short type, int64_t byte)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

int tern_lock_byte(int fd, short type, int64_t byte)
{
    struct flock lock = one_byte(type, byte);

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    return errno == EAGAIN || errno == EACCES ? TERN_EBUSY : tern_error_system(NULL, errno, "lock");
}

bool tern_lock_held(int fd, int64_t byte)
{
    struct flock lock = one_byte(F_WRLCK, byte);

    /* an answer that cannot be had counts as held: nothing is freed on a guess */
    return fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

/* Checks everything in the envelope that is written once. */
static int check_envelope(const struct tern_arena *arena, const char *path,
                          struct tern_error *error)
{
    const struct tern_envelope *envelope = tern_arena_envelope(arena);
    bool found = false;

    if (atomic_load_explicit(&envelope->magic, memory_order_acquire) != TERN_ENVELOPE_MAGIC)
        return tern_error_set(error, TERN_ENOENT, "%s is not a finished arena", path);
    if (envelope->abi != TERN_ENVELOPE_ABI)
        return tern_error_set(error, TERN_EABI, "%s has envelope ABI %u, this build has %u", path,
                              envelope->abi, TERN_ENVELOPE_ABI);
    if (envelope->size != arena->size)
        return tern_error_set(error, TERN_ECORRUPT, "%s is %llu bytes, its envelope says %llu",
                              path, (unsigned long long)arena->size,
                              (unsigned long long)envelope->size);
    for (unsigned i = 0; i < TERN_ROOTS; i++)
        found |= envelope->roots[i].abi == TERN_SNAPSHOT_ABI;
    if (!found)
        return tern_error_set(error, TERN_EABI,
                              "%s has snapshots of ABI %llu and %llu, this build reads %u", path,
                              (unsigned long long)envelope->roots[0].abi,
                              (unsigned long long)envelope->roots[1].abi, TERN_SNAPSHOT_ABI);
    return 0;
}

int tern_arena_open(const char *run_dir, struct tern_arena *arena, struct tern_error *error)
{
    struct tern_arena opened = {.fd = -1};
    struct statfs filesystem;
    struct stat status;
    char path[TERN_PATH_MAX + 16];
    int result;

    snprintf(path, sizeof path, "%s/arena", run_dir);
    opened.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (opened.fd < 0)
        return tern_error_system(error, errno, "cannot open %s", path);
    if (fstat(opened.fd, &status) < 0 || fstatfs(opened.fd, &filesystem) < 0) {
        result = tern_error_system(error, errno, "%s", path);
        goto fail;
    }
    if (filesystem.f_type != TMPFS_MAGIC) {
        result = tern_error_set(error, TERN_EREFUSED, "%s is not on tmpfs", path);
        goto fail;
    }
    if (!S_ISREG(status.st_mode) || status.st_size < (off_t)TERN_EXTENT) {
        result = tern_error_set(error, TERN_ENOENT, "%s is not a finished arena", path);
        goto fail;
    }
    /* From here on tern-control knows of a reader it cannot see yet, and reclaims nothing. */
    result = tern_lock_byte(opened.fd, F_RDLCK, TERN_LOCK_JOINING);
    if (result != 0) {
        tern_error_set(error, result, "cannot take the joining lock of %s", path);
        goto fail;
    }
    opened.size = (uint64_t)status.st_size;
    opened.inode = status.st_ino;
    opened.base = tern_arena_map(opened.fd, opened.size, PROT_READ);
    if (opened.base == MAP_FAILED) {
        result = tern_error_system(error, errno, "cannot map %s", path);
        goto fail;
    }
    result = check_envelope(&opened, path, error);
    if (result == 0 && !tern_arena_is_current(&opened, run_dir))
        result = tern_error_set(error, TERN_ENOENT, "%s was replaced while it was opened", path);
    if (result != 0) {
        munmap((void *)opened.base, opened.size);
        goto fail;
    }
    memcpy(opened.arena_id, tern_arena_envelope(&opened)->arena_id, sizeof opened.arena_id);
    *arena = opened;
    return 0;

fail:
    close(opened.fd);
    return result;
}

void tern_arena_close(struct tern_arena *arena)
{
    munmap((void *)arena->base, arena->size);
    close(arena->fd);
    *arena = (struct tern_arena){.fd = -1};
}

bool tern_arena_is_current(const struct tern_arena *arena, const char *run_dir)
{
    struct stat status;
    char path[TERN_PATH_MAX + 16];

    snprintf(path, sizeof path, "%s/arena", run_dir);
    return stat(path, &status) == 0 && status.st_ino == arena->inode;
}

const void *tern_arena_at(const struct tern_arena *arena, uint64_t offset, uint64_t length,
                          uint64_t alignment)
{
    uint64_t high =
        atomic_load_explicit(&tern_arena_envelope(arena)->high_water, memory_order_acquire);

    if (high > arena->size)
        high = arena->size;
    if ((offset & (alignment - 1)) != 0 || offset < TERN_PAGE ||
        !tern_range_inside(offset, length, high))
        return NULL;
    return arena->base + offset;
}

uint64_t tern_arena_root(const struct tern_arena *arena)
{
    const struct tern_envelope *envelope = tern_arena_envelope(arena);

    for (unsigned i = 0; i < TERN_ROOTS; i++)
        if (envelope->roots[i].abi == TERN_SNAPSHOT_ABI) /* R4 */
            return atomic_load_explicit(&envelope->roots[i].offset, memory_order_acquire);
    return 0;
}
