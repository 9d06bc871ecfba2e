#include "controlplane/publish/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <xxhash.h>

#ifndef MADV_COLLAPSE /* Linux 6.1; older headers */
#define MADV_COLLAPSE 25
#endif

/* The first page is the envelope; sections start one page on. */
#define FIRST_SECTION TERN_PAGE

static int map_writable(struct tern_writer *writer, const char *path, struct tern_error *error)
{
    void *base = tern_arena_map(writer->fd, writer->size, PROT_READ | PROT_WRITE);

    if (base == MAP_FAILED)
        return tern_error_system(error, errno, "cannot map %s (%llu bytes of address space)", path,
                                 (unsigned long long)writer->size);
    writer->base = base;
    writer->envelope = base;
    return 0;
}

static int take_writer_lock(struct tern_writer *writer, const char *path, struct tern_error *error)
{
    int result = tern_lock_byte(writer->fd, F_WRLCK, TERN_LOCK_WRITER);

    return result == 0
               ? 0
               : tern_error_set(error, result, "another tern-control publishes to %s", path);
}

/* Fills a new arena beside its place; the magic is stored last, the rename publishes it. */
static int make_arena(const char *directory, const char *path, uint64_t arena_bytes,
                      const struct tern_writer_numbers *numbers, struct tern_writer *writer,
                      struct tern_error *error)
{
    char aside[TERN_PATH_MAX + 64];
    struct tern_envelope *envelope;
    int result;

    snprintf(aside, sizeof aside, "%s/arena.%ld.new", directory, (long)getpid());
    unlink(aside);
    writer->size = tern_align_up(arena_bytes, TERN_EXTENT);
    writer->fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (writer->fd < 0)
        return tern_error_system(error, errno, "cannot make %s", aside);
    if (ftruncate(writer->fd, (off_t)writer->size) < 0 ||
        fallocate(writer->fd, 0, 0, TERN_PAGE) < 0) {
        result = tern_error_system(error, errno, "cannot make %s", aside);
        goto fail;
    }
    result = take_writer_lock(writer, aside, error);
    if (result == 0)
        result = map_writable(writer, aside, error);
    if (result != 0)
        goto fail;

    envelope = writer->envelope;
    if (getrandom(envelope->arena_id, sizeof envelope->arena_id, 0) !=
        (ssize_t)sizeof envelope->arena_id) {
        result = tern_error_system(error, errno, "no random bytes for the arena's identity");
        goto unmap;
    }
    envelope->abi = TERN_ENVELOPE_ABI;
    envelope->size = writer->size;
    envelope->roots[0].abi = TERN_SNAPSHOT_ABI;
    atomic_store_explicit(&envelope->high_water, FIRST_SECTION, memory_order_relaxed);
    atomic_store_explicit(&envelope->epoch, numbers->epoch + 1, memory_order_relaxed);
    atomic_store_explicit(&envelope->magic, TERN_ENVELOPE_MAGIC, memory_order_release);
    if (rename(aside, path) < 0) {
        result = tern_error_system(error, errno, "cannot put %s into place", path);
        goto unmap;
    }
    return 0;

unmap:
    munmap(writer->base, writer->size);
fail:
    close(writer->fd);
    unlink(aside);
    return result;
}

/* Opens an arena that is there. TERN_ENOENT: none, or not one to take over. */
static int take_over_arena(const char *run_dir, const char *path, struct tern_writer *writer,
                           struct tern_error *error)
{
    struct tern_error why = {0};
    int result = tern_arena_open(run_dir, &writer->reader, &why);

    if (result == TERN_EABI || result == TERN_ECORRUPT) {
        snprintf(writer->replaced, sizeof writer->replaced, "%.250s", why.message);
        return TERN_ENOENT; /* nothing of ours: a new arena is renamed over it, readers remap */
    }
    if (result != 0 && error != NULL)
        *error = why;
    if (result != 0)
        return result;
    /* Our own second mapping is no joiner. */
    tern_lock_byte(writer->reader.fd, F_UNLCK, TERN_LOCK_JOINING);
    writer->fd = open(path, O_RDWR | O_CLOEXEC);
    if (writer->fd < 0) {
        result = tern_error_system(error, errno, "cannot open %s for writing", path);
        goto fail;
    }
    writer->size = writer->reader.size;
    writer->taken_over = true;
    result = take_writer_lock(writer, path, error);
    if (result == 0)
        result = map_writable(writer, path, error);
    if (result == 0)
        return 0;
    close(writer->fd);
fail:
    tern_arena_close(&writer->reader);
    return result;
}

int tern_writer_open(const char *run_dir, uint64_t arena_bytes,
                     const struct tern_writer_numbers *numbers, bool replace,
                     struct tern_writer *writer, struct tern_error *error)
{
    struct tern_writer opened = {.fd = -1};
    char directory[TERN_PATH_MAX];
    char path[TERN_PATH_MAX + 16];
    int result;

    result = tern_shm_directory(run_dir, directory, error);
    if (result == 0)
        result = tern_shm_link(run_dir, directory, "arena", error);
    if (result != 0)
        return result;
    snprintf(path, sizeof path, "%s/arena", directory);
    result = replace ? TERN_ENOENT : take_over_arena(run_dir, path, &opened, error);
    if (result == TERN_ENOENT) {
        result = make_arena(directory, path, arena_bytes, numbers, &opened, error);
        if (result != 0)
            return result;
        result = tern_arena_open(run_dir, &opened.reader, error);
        if (result != 0)
            goto fail_arena;
        tern_lock_byte(opened.reader.fd, F_UNLCK, TERN_LOCK_JOINING);
    }
    if (result != 0)
        return result;
    result = tern_board_take_over(run_dir, &opened.board, error);
    if (result != 0)
        goto fail_reader;
    result = tern_pages_open(run_dir, &opened.pages, error);
    if (result != 0)
        goto fail_board;
    tern_extents_init(&opened.extents, FIRST_SECTION, opened.size);
    opened.generation = numbers->generation;
    opened.seq = numbers->announcement;
    *writer = opened;
    return 0;

fail_board:
    tern_board_close(&opened.board);
fail_reader:
    tern_arena_close(&opened.reader);
fail_arena:
    munmap(opened.base, opened.size);
    close(opened.fd);
    return result;
}

void tern_writer_close(struct tern_writer *writer)
{
    tern_extents_free(&writer->extents);
    tern_pages_close(&writer->pages);
    tern_board_close(&writer->board);
    tern_arena_close(&writer->reader);
    munmap(writer->base, writer->size);
    close(writer->fd);
    *writer = (struct tern_writer){.fd = -1};
}

static int refuse_space(const struct tern_writer *writer, uint64_t length, struct tern_error *error)
{
    const struct tern_extents *extents = &writer->extents;

    return tern_error_set(
        error, TERN_ENOSPC,
        "needs %llu bytes of the arena; of its %llu, %llu are in use, %llu are reserved for "
        "collections and %llu wait for readers (raise `arena`)",
        (unsigned long long)length, (unsigned long long)writer->size,
        (unsigned long long)tern_extents_bytes(extents, TERN_EXTENT_LIVE),
        (unsigned long long)tern_extents_reserved_bytes(extents),
        (unsigned long long)tern_extents_bytes(extents, TERN_EXTENT_RETIRED));
}

static void raise_high_water(struct tern_writer *writer, uint64_t end)
{
    if (end > atomic_load_explicit(&writer->envelope->high_water, memory_order_relaxed))
        atomic_store_explicit(&writer->envelope->high_water, end, memory_order_release);
}

int tern_writer_back(const struct tern_writer *writer, uint64_t offset, uint64_t length,
                     struct tern_error *error)
{
    uint64_t available = tern_writer_available(writer);

    if (length > available)
        return tern_error_set(error, TERN_ENOSPC,
                              "needs %llu bytes of shared memory, %llu are available",
                              (unsigned long long)length, (unsigned long long)available);
    if (fallocate(writer->fd, 0, (off_t)offset, (off_t)length) < 0)
        return tern_error_system(error, errno, "cannot allocate %llu bytes of shared memory",
                                 (unsigned long long)length);
    return 0;
}

uint64_t tern_writer_memory_bytes(const struct tern_writer *writer, uint64_t offset,
                                  uint64_t length)
{
    off_t at = (off_t)offset, end = (off_t)(offset + length);
    uint64_t bytes = 0;

    while (at < end) {
        off_t data = lseek(writer->fd, at, SEEK_DATA), hole;

        if (data < 0 || data >= end)
            break; /* ENXIO: no more of it */
        hole = lseek(writer->fd, data, SEEK_HOLE);
        if (hole < 0 || hole > end)
            hole = end;
        bytes += (uint64_t)(hole - data);
        at = hole;
    }
    return bytes;
}

int tern_writer_allocate(struct tern_writer *writer, uint64_t length, uint64_t *offset,
                         struct tern_error *error)
{
    uint64_t at;
    int result = tern_extents_allocate(&writer->extents, length, &at);

    if (result == TERN_ENOSPC)
        return refuse_space(writer, length, error);
    if (result != 0)
        return tern_error_set(error, result, "no memory for the list of extents");
    length = tern_align_up(length, TERN_PAGE);
    result = tern_writer_back(writer, at, length, error);
    if (result != 0) {
        tern_extents_remove(&writer->extents, at);
        return result;
    }
    raise_high_water(writer, at + length);
    *offset = at;
    return 0;
}

int tern_writer_reserve(struct tern_writer *writer, uint64_t length, uint64_t *offset,
                        struct tern_error *error)
{
    uint64_t at;
    int result = tern_extents_reserve(&writer->extents, length, &at);

    if (result == TERN_ENOSPC)
        return refuse_space(writer, length, error);
    if (result != 0)
        return tern_error_set(error, result, "no memory for the list of extents");
    /* before anything is stored there: what lies past it is never looked for after a crash */
    raise_high_water(writer, at + tern_align_up(length, TERN_EXTENT));
    *offset = at;
    return 0;
}

bool tern_writer_gather(const struct tern_writer *writer, uint64_t offset, uint64_t length)
{
    return madvise(writer->base + offset, length, MADV_COLLAPSE) == 0;
}

int tern_writer_put(struct tern_writer *writer, const void *data, uint64_t length,
                    struct tern_section *section, struct tern_error *error)
{
    uint64_t offset;
    int result = tern_writer_allocate(writer, length, &offset, error);

    if (result != 0)
        return result;
    memcpy(writer->base + offset, data, length);
    if (length >= TERN_EXTENT)
        writer->huge_pages = tern_writer_gather(writer, offset, length / TERN_EXTENT * TERN_EXTENT);
    section->offset = offset;
    section->length = length;
    section->checksum = XXH3_64bits(data, length);
    return 0;
}

void tern_writer_release(struct tern_writer *writer, uint64_t offset)
{
    const struct tern_extent *extent = tern_extents_find(&writer->extents, offset);
    uint64_t end;

    assert(extent != NULL);
    end = extent->offset + extent->length;
    /* in slices, so that the file system's lock is never held for long */
    for (uint64_t at = offset; at < end; at += TERN_EXTENT)
        fallocate(writer->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                  (off_t)tern_min_u64(TERN_EXTENT, end - at));
    tern_extents_remove(&writer->extents, offset);
}

void tern_writer_discard(struct tern_writer *writer, uint64_t offset)
{
    assert(tern_extents_find(&writer->extents, offset)->state == TERN_EXTENT_BUILDING);
    tern_writer_release(writer, offset);
}

/* The number in a one-line file such as memory.max; UINT64_MAX for "max" or when it is not there.
 */
static uint64_t read_number(const char *directory, const char *name)
{
    char path[TERN_PATH_MAX + 64];
    char text[64] = "";
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "re");
    if (file == NULL)
        return UINT64_MAX;
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    fclose(file);
    return text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* What the nearest memory limit of a version 2 control group leaves. */
static uint64_t control_group_available(void)
{
    char line[TERN_PATH_MAX], directory[TERN_PATH_MAX + 32];
    uint64_t available = UINT64_MAX;
    FILE *file = fopen("/proc/self/cgroup", "re");

    if (file == NULL)
        return available;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "0::", 3) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(directory, sizeof directory, "/sys/fs/cgroup%s", line + 3);
        /* every ancestor's limit counts */
        while (strlen(directory) > strlen("/sys/fs/cgroup")) {
            uint64_t limit = read_number(directory, "memory.max");
            uint64_t used = read_number(directory, "memory.current");

            if (limit != UINT64_MAX && used != UINT64_MAX)
                available = tern_min_u64(available, limit > used ? limit - used : 0);
            *strrchr(directory, '/') = '\0';
        }
    }
    fclose(file);
    return available;
}

uint64_t tern_writer_available(const struct tern_writer *writer)
{
    struct statvfs filesystem;

    if (fstatvfs(writer->fd, &filesystem) < 0)
        return control_group_available();
    return tern_min_u64((uint64_t)filesystem.f_bavail * filesystem.f_frsize,
                        control_group_available());
}
