/* Which instance a command means, and the ways to it: its run directory, what its arena says, its
 * control socket, its listen addresses. */
#ifndef TERN_CTL_INSTANCE_H
#define TERN_CTL_INSTANCE_H

#include "clients/c/tern.h"
#include "controlplane/ctl/command.h"
#include "shared/proto/tern.pb-c.h"
#include "shared/settings.h"

/* The run directory: --run-dir, else the only instance there is. The caller frees `*run_dir`.
 * TERN_EUNREACHABLE none; TERN_EINVAL several (named). */
int tern_instance_find(const struct tern_invocation *invocation, char **run_dir,
                       struct tern_error *error);

/* What the arena says without tern-control: a copy of the newest settings. */
struct tern_instance_arena {
    bool has_settings;
    struct tern_settings settings;
    uint64_t size, high_water, epoch;
};
int tern_instance_read_arena(const char *run_dir, struct tern_instance_arena *arena,
                             struct tern_error *error);

/* Connects to ternd: --address, else the listen addresses of the arena's settings in turn, Unix
 * sockets first. */
int tern_instance_connect(const struct tern_invocation *invocation, struct tern_client **client,
                          struct tern_error *error);

/* Sends `request` to RUN_DIR/control.sock and yields the reply that ends it; progress and
 * diagnostics go to `note` (may be NULL) as they come. Free the reply with
 * tern__control__reply__free_unpacked(reply, NULL). TERN_EUNREACHABLE nobody answers;
 * TERN_ETIMEDOUT when nothing has come for `timeout_us` (0: wait for ever); TERN_ECLOSED;
 * TERN_ECORRUPT. */
int tern_instance_ask(const char *run_dir, const Tern__Control__Request *request,
                      uint64_t timeout_us,
                      void (*note)(void *context, const Tern__Control__Reply *reply), void *context,
                      Tern__Control__Reply **reply, struct tern_error *error);

/* The exit code of a failure: 3 for nobody there, 1 for the rest. Prints the message. */
int tern_ctl_fail(const struct tern_error *error);

#endif
