#include "shared/reader_page.h"

#include "shared/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_LOCK 0 /* the byte of the page's file that its holder locks */

static int map_page(const char *run_dir, unsigned index, bool writable,
                    struct tern_reader_page_map *map, struct tern_error *error)
{
    struct tern_reader_page *page;
    struct stat status;
    char path[TERN_PATH_MAX + 64];
    int fd, result;

    assert(index < TERN_READERS_MAX);
    snprintf(path, sizeof path, "%s/%s/%u", run_dir, TERN_READERS_DIRECTORY, index);
    fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %s", path);
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
        status.st_size != (off_t)sizeof *page) {
        result = tern_error_set(error, TERN_ECORRUPT, "%s is no reader's page of %zu bytes", path,
                                sizeof *page);
        goto fail;
    }
    page =
        mmap(NULL, sizeof *page, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        result = tern_error_system(error, errno, "cannot map %s", path);
        goto fail;
    }
    if (page->abi != TERN_READER_PAGE_ABI) {
        result = tern_error_set(error, TERN_EABI, "%s has ABI %u, this build has %u", path,
                                page->abi, TERN_READER_PAGE_ABI);
        munmap(page, sizeof *page);
        goto fail;
    }
    *map = (struct tern_reader_page_map){.page = page, .fd = fd, .index = index};
    return 0;

fail:
    close(fd);
    return result;
}

int tern_reader_page_open(const char *run_dir, unsigned index, struct tern_reader_page_map *map,
                          struct tern_error *error)
{
    return map_page(run_dir, index, false, map, error);
}

/* The page is ours: wiped, filled in, announced. Nothing of the dead owner's counts from the first
 * store on, because `ready` goes first. */
static int join(struct tern_reader_page_map *map, const struct tern_arena *arena, const char *name,
                struct tern_error *error)
{
    struct tern_reader_page *page = map->page;
    int result;

    atomic_store_explicit(&page->ready, 0, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the acquire of `ready` in reclaim */
    memset(&page->pid, 0, sizeof *page - offsetof(struct tern_reader_page, pid));
    page->pid = (uint32_t)getpid();
    page->started_at_us = tern_clock_wall_us();
    snprintf(page->name, sizeof page->name, "%s", name);
    snprintf(page->build, sizeof page->build, "%s", TERN_VERSION);
    result = tern_lock_byte(arena->fd, F_RDLCK, TERN_LOCK_READERS + map->index);
    if (result != 0)
        return tern_error_set(error, result, "cannot take the arena's lock of reader %u",
                              map->index);
    atomic_store_explicit(&page->ready, tern_seat_ready_value(arena->arena_id),
                          memory_order_release);
    /* The joining lock goes last: there is no instant at which tern-control sees neither. */
    tern_lock_byte(arena->fd, F_UNLCK, TERN_LOCK_JOINING);
    return 0;
}

int tern_reader_page_claim(const char *run_dir, const struct tern_arena *arena, const char *name,
                           struct tern_reader_page_map *map, struct tern_error *error)
{
    for (unsigned i = 0; i < TERN_READERS_MAX; i++) {
        struct tern_reader_page_map claimed;
        int result = map_page(run_dir, i, true, &claimed, error);

        if (result != 0)
            return result;
        result = tern_lock_byte(claimed.fd, F_WRLCK, PAGE_LOCK);
        if (result == 0)
            result = join(&claimed, arena, name, error);
        else if (result != TERN_EBUSY)
            tern_error_set(error, result, "cannot lock page %u of the readers", i);
        if (result == 0) {
            *map = claimed;
            return 0;
        }
        tern_reader_page_close(&claimed);
        if (result != TERN_EBUSY)
            return result;
    }
    return tern_error_set(error, TERN_EBUSY, "all %u pages of in-process readers are taken",
                          TERN_READERS_MAX);
}

void tern_reader_page_close(struct tern_reader_page_map *map)
{
    munmap(map->page, sizeof *map->page);
    close(map->fd);
    *map = (struct tern_reader_page_map){.fd = -1};
}

bool tern_reader_page_is_live(const struct tern_reader_page_map *map)
{
    return tern_lock_held(map->fd, PAGE_LOCK);
}
