/* A tern-control in a thread of the test: stores, builder and control API of one folder, with the
 * double of the pipeline behind them. */
#ifndef TERN_TESTS_CONTROL_THREAD_H
#define TERN_TESTS_CONTROL_THREAD_H

#include "controlplane/api.h"
#include "tests/unit/pipeline_double.h"
#include "tests/unit/unit.h"

struct control_thread {
    struct tern_directories directories;
    struct tern_store *store, *reading_store;
    struct tern_sources *sources;
    struct tern_builder *builder;
    struct tern_api *api;
    int wake_fd, stop_fd;
    pthread_t thread;
};

/* Everything but the API. `wake_fd` is the caller's, and `directory` outlives it. */
void control_thread_open(struct control_thread *control, char *directory, int wake_fd);
/* The API, in its thread; `collections` may be NULL. */
void control_thread_serve(struct control_thread *control, struct tern_collections *collections);
/* Both. */
void control_thread_stop(struct control_thread *control);

#endif
