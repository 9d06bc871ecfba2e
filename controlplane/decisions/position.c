#include "controlplane/decisions/position.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC 0x316e6f6974697370ull /* changes with the layout */

int tern_position_open(const char *state_dir, struct tern_position **position,
                       struct tern_error *error)
{
    char path[PATH_MAX];
    struct tern_position *mapped;
    int fd, code;

    snprintf(path, sizeof path, "%s/decisions.position", state_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %s", path);
    /* Space first: a full disk is an error here, not SIGBUS at the first store. */
    code = posix_fallocate(fd, 0, sizeof *mapped);
    if (code != 0) {
        close(fd);
        return tern_error_system(error, code, "no space for %s", path);
    }
    mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    code = errno;
    close(fd);
    if (mapped == MAP_FAILED)
        return tern_error_system(error, code, "cannot map %s", path);
    if (mapped->magic != MAGIC) {
        memset(mapped, 0, sizeof *mapped);
        mapped->magic = MAGIC;
    }
    *position = mapped;
    return 0;
}

void tern_position_close(struct tern_position *position)
{
    if (position != NULL)
        munmap(position, sizeof *position);
}
