#include "controlplane/publish/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Made aside and renamed, so that nobody opens a page without its memory. The group may write: a
 * reader is usually another user's process. */
static int make_page(const char *directory, unsigned index, struct tern_error *error)
{
    const uint32_t abi = TERN_READER_PAGE_ABI;
    char path[TERN_PATH_MAX + 64], aside[TERN_PATH_MAX + 72];
    int fd, result = 0;

    snprintf(path, sizeof path, "%s/%u", directory, index);
    snprintf(aside, sizeof aside, "%s.new", path);
    unlink(aside);
    fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    if (fd < 0)
        return tern_error_system(error, errno, "cannot make %s", aside);
    if (fchmod(fd, 0660) < 0 || fallocate(fd, 0, 0, sizeof(struct tern_reader_page)) < 0 ||
        pwrite(fd, &abi, sizeof abi, offsetof(struct tern_reader_page, abi)) < 0 ||
        rename(aside, path) < 0) {
        result = tern_error_system(error, errno, "cannot make %s", path);
        unlink(aside);
    }
    close(fd);
    return result;
}

static int make_directory(const char *run_dir, char path[TERN_PATH_MAX + 16],
                          struct tern_error *error)
{
    char directory[TERN_PATH_MAX];
    struct stat status;
    int result = tern_shm_directory(run_dir, directory, error);

    if (result != 0)
        return result;
    snprintf(path, TERN_PATH_MAX + 16, "%s/%s", directory, TERN_READERS_DIRECTORY);
    if (mkdir(path, 0750) < 0 && errno != EEXIST)
        return tern_error_system(error, errno, "cannot make %s", path);
    if (lstat(path, &status) < 0)
        return tern_error_system(error, errno, "%s", path);
    if (!S_ISDIR(status.st_mode))
        return tern_error_set(error, TERN_EEXIST, "%s is in the way: it should be a directory",
                              path);
    return tern_shm_link(run_dir, directory, TERN_READERS_DIRECTORY, error);
}

int tern_pages_open(const char *run_dir, struct tern_pages *pages, struct tern_error *error)
{
    char directory[TERN_PATH_MAX + 16];
    struct tern_pages opened;
    unsigned count = 0;
    int result = make_directory(run_dir, directory, error);

    while (result == 0 && count < TERN_READERS_MAX) {
        result = tern_reader_page_open(run_dir, count, &opened.maps[count], error);
        if (result == TERN_ENOENT || result == TERN_ECORRUPT || result == TERN_EABI) {
            result = make_page(directory, count, error);
            if (result == 0)
                result = tern_reader_page_open(run_dir, count, &opened.maps[count], error);
        }
        if (result == 0)
            count++;
    }
    if (result != 0) {
        while (count > 0)
            tern_reader_page_close(&opened.maps[--count]);
        return result;
    }
    *pages = opened;
    return 0;
}

void tern_pages_close(struct tern_pages *pages)
{
    for (unsigned i = 0; i < TERN_READERS_MAX; i++)
        tern_reader_page_close(&pages->maps[i]);
}

int tern_pages_look(const struct tern_pages *pages, const struct tern_arena *arena, unsigned index,
                    const struct tern_reader_page **page)
{
    const struct tern_reader_page *seen = pages->maps[index].page;

    if (!tern_lock_held(arena->fd, TERN_LOCK_READERS + index))
        return TERN_ENOENT; /* nobody, or dead: its words mean nothing */
    if (atomic_load_explicit(&seen->ready, memory_order_acquire) !=
        tern_seat_ready_value(arena->arena_id))
        return TERN_EAGAIN;
    *page = seen;
    return 0;
}
