#include "shared/race.h"

#ifdef TERN_RACE_POINTS

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void tern_race_point(const char *name)
{
    const char *directory = getenv("TERN_RACE_DIR");
    char path[512];

    if (directory == NULL)
        return;
    snprintf(path, sizeof path, "%s/%s.kill", directory, name);
    if (access(path, F_OK) == 0) {
        unlink(path); /* once: the restarted process passes */
        raise(SIGKILL);
    }
    snprintf(path, sizeof path, "%s/%s.hold", directory, name);
    if (access(path, F_OK) == 0) {
        char reached[512];
        int fd;

        snprintf(reached, sizeof reached, "%s/%s.reached", directory, name);
        fd = open(reached, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
        while (access(path, F_OK) == 0)
            poll(NULL, 0, 1);
        unlink(reached);
    }
}

#else
typedef int tern_race_points_are_compiled_out;
#endif
