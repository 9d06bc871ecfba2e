/* The addresses a ternd answers on. */
#ifndef TERN_DATAPLANE_LISTENER_H
#define TERN_DATAPLANE_LISTENER_H

#include "shared/base.h"
#include "shared/board.h"
#include "shared/error.h"
#include "shared/limits.h"
#include "shared/settings.h"

#include <sys/types.h>

struct tern_listener {
    char address[TERN_LISTEN_BYTES]; /* as configured */
    bool is_unix;
    int fds[TERN_LOOPS_MAX]; /* TCP: one a loop; Unix: the same one in each */
    unsigned fd_count;
    dev_t device; /* of the Unix socket's name, to unlink only what is ours */
    ino_t inode;
};

struct tern_listeners {
    struct tern_listener all[TERN_LISTEN_MAX];
    unsigned count;
};

/* Binds everything the settings list, for `loop_count` loops. TERN_EBUSY when something else
 * answers there: another process, unless it holds a seat on the same board (an upgrade, a second
 * ternd). TERN_EINVAL for an address that is none. On failure nothing stays bound. */
int tern_listeners_open(struct tern_listeners *listeners, const struct tern_settings *settings,
                        unsigned loop_count, bool nonblocking, const struct tern_board_map *board,
                        unsigned own_seat, struct tern_error *error);

/* Removes the Unix names that are still ours; done before draining, so that nobody connects. */
void tern_listeners_unlink(struct tern_listeners *listeners);
void tern_listeners_close(struct tern_listeners *listeners);

#endif
