/* The control API on RUN_DIR/control.sock: one poll loop in the main thread. It only reads state,
 * queues jobs for the builder and moves bytes, so it answers at once whatever is being built; a
 * client that is slow, silent or sends rubbish delays nobody else. */
#ifndef TERN_API_H
#define TERN_API_H

#include "controlplane/builder.h"
#include "controlplane/collections/collections.h"
#include "controlplane/decisions/drain.h"
#include "controlplane/directory.h"
#include "shared/notify.h"

#define TERN_API_CONNECTIONS_MAX 32u

struct tern_api;

struct tern_api_options {
    const struct tern_directories *directories;
    struct tern_pipeline *pipeline; /* for its status */
    struct tern_builder *builder;
    struct tern_store *store;             /* for reading; not the builder's handle */
    struct tern_sources *sources;         /* for copies of it */
    struct tern_drain *drain;             /* for its status; NULL: none */
    struct tern_collections *collections; /* vectors are written to; NULL: none */
    int wake_fd;                          /* the eventfd of builder and collections */
    uint64_t started_at_us;
    const struct tern_notify *notify; /* whose watchdog is told that the API turns */
};

/* Listens. The options are copied; what they point to outlives the API. */
int tern_api_open(const struct tern_api_options *options, struct tern_api **api,
                  struct tern_error *error);
/* Serves until `stop_fd` is readable. */
void tern_api_serve(struct tern_api *api, int stop_fd);
/* Closes every connection and removes the socket. */
void tern_api_close(struct tern_api *api);

#endif
