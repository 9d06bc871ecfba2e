#include "tests/fuzz/fuzz.h"

#include <ftw.h>
#include <sys/mman.h>
#include <unistd.h>

const char *fuzz_file(const void *data, size_t size)
{
    static char path[64];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("tern-fuzz", MFD_CLOEXEC);
        FUZZ_CHECK(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    FUZZ_CHECK(ftruncate(fd, 0) == 0);
    FUZZ_CHECK(pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

static char directory[64];

static void remove_at_exit(void);

const char *fuzz_directory(void)
{
    if (directory[0] == '\0') {
        strcpy(directory, "/dev/shm/tern-fuzz-XXXXXX");
        FUZZ_CHECK(mkdtemp(directory) != NULL);
        FUZZ_CHECK(atexit(remove_at_exit) == 0);
    }
    return directory;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Leaves the name alone: threads of a target may still read it. */
static void remove_at_exit(void)
{
    if (directory[0] != '\0')
        nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void fuzz_directory_remove(void)
{
    remove_at_exit();
    directory[0] = '\0';
}
