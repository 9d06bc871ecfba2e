#include "tests/unit/control_thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

#define STOP_US 10000000u

void control_thread_open(struct control_thread *control, char *directory, int wake_fd)
{
    struct tern_builder_options builder = {.wake_fd = wake_fd};
    struct tern_error error = {0};

    pipeline_double.state_dir = directory;
    control->directories = (struct tern_directories){directory, directory};
    control->wake_fd = wake_fd;
    control->stop_fd = eventfd(0, EFD_CLOEXEC);
    assert_true(control->stop_fd >= 0);
    assert_int_equal(tern_store_open(directory, &control->store, &error), 0);
    assert_int_equal(tern_store_open(directory, &control->reading_store, &error), 0);
    assert_int_equal(tern_sources_new(1, &control->sources), 0);
    builder.store = control->store;
    builder.sources = control->sources;
    assert_int_equal(tern_builder_start(&builder, &control->builder, &error), 0);
}

static void *serve(void *context)
{
    struct control_thread *control = context;

    tern_api_serve(control->api, control->stop_fd);
    return NULL;
}

void control_thread_serve(struct control_thread *control, struct tern_collections *collections)
{
    const struct tern_api_options api = {.directories = &control->directories,
                                         .builder = control->builder,
                                         .store = control->reading_store,
                                         .sources = control->sources,
                                         .collections = collections,
                                         .wake_fd = control->wake_fd};
    struct tern_error error = {0};

    assert_int_equal(tern_api_open(&api, &control->api, &error), 0);
    assert_int_equal(pthread_create(&control->thread, NULL, serve, control), 0);
}

void control_thread_stop(struct control_thread *control)
{
    uint64_t one = 1;

    pipeline_double_hold(false);
    assert_int_equal(write(control->stop_fd, &one, sizeof one), sizeof one);
    pthread_join(control->thread, NULL);
    tern_api_close(control->api);
    assert_true(tern_builder_stop(control->builder, STOP_US));
    tern_sources_free(control->sources);
    tern_store_close(control->store);
    tern_store_close(control->reading_store);
    close(control->stop_fd);
}
