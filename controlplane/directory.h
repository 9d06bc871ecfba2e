/* The run and state directories of an instance: where they are by default, making them safely, and
 * the lock files that name who holds them. */
#ifndef TERN_DIRECTORY_H
#define TERN_DIRECTORY_H

#include "shared/base.h"
#include "shared/error.h"

#define TERN_CONTROL_LOCK   "control.lock"
#define TERN_UP_LOCK        "up.lock"
#define TERN_CONTROL_SOCKET "control.sock"

/* Where instances live: /run/tern for root, $XDG_RUNTIME_DIR/tern for others. The caller frees
 * `*base`. TERN_ENOENT when XDG_RUNTIME_DIR is not set. */
int tern_directory_run_base(char **base, struct tern_error *error);

struct tern_directories {
    char *run_dir; /* absolute */
    char *state_dir;
};

/* Chooses both. `run_dir` and `state_dir` (NULL: not given) win; a state directory that is not
 * given goes inside a run directory that is. `instance` is needed only when run_dir is NULL. */
int tern_directories_choose(const char *instance, const char *run_dir, const char *state_dir,
                            struct tern_directories *directories, struct tern_error *error);
/* Makes what is missing (run directory 0750, state directory 0700, parents 0755) and refuses ones
 * that another user owns or could write to. */
int tern_directories_make(const struct tern_directories *directories, struct tern_error *error);
void tern_directories_free(struct tern_directories *directories);

/* Takes the write lock on DIRECTORY/NAME and writes our pid into the file. The lock lives as long
 * as
 * `*fd`. TERN_EBUSY names the holder: "another WHAT (pid N) holds DIRECTORY". */
int tern_directory_lock(const char *directory, const char *name, const char *what, int *fd,
                        struct tern_error *error);

/* Unix stream sockets by directory and name: paths longer than sun_path go through /proc/self/fd.
 * Listening binds aside and renames, so that a client never meets a half-made socket; both are
 * non-blocking and close-on-exec. */
int tern_directory_listen(const char *directory, const char *name, int *fd,
                          struct tern_error *error);
int tern_directory_connect(const char *directory, const char *name, int *fd,
                           struct tern_error *error);

#endif
