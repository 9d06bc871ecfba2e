#include "tests/unit/collections_world.h"

#include "controlplane/collections/vector_store.h"
#include "shared/clock.h"
#include "shared/schema.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define WAIT_S 20

char database_path[96];
struct tern_collections *collections;
struct collections_world world;

char state_directory[FOLDER_PATH];
int wake_fd = -1;

/* --- An arena --- */

static int allocate(TERN_UNUSED void *context, uint64_t offset, uint64_t length,
                    struct tern_error *error)
{
    if (offset + length > world.size)
        return tern_error_set(error, TERN_ENOSPC, "the arena ends there");
    return 0;
}

static uint64_t grace_begin(TERN_UNUSED void *context)
{
    return 1;
}

static bool grace_over(TERN_UNUSED void *context, TERN_UNUSED uint64_t number)
{
    return true;
}

static const struct tern_graph_host host = {NULL, allocate, grace_begin, grace_over};

struct tern_collection_place new_place(const struct tern_collection_spec *spec)
{
    struct tern_collection_place place = {.offset = world.used,
                                          .length = tern_graph_length(&spec->shape)};

    place.object = world.memory + world.used;
    world.used += tern_align_up(place.length, TERN_EXTENT);
    assert_true(world.used <= world.size);
    return place;
}

/* --- Start and stop --- */

int set_up(TERN_TEST_STATE)
{
    if (folder_make(state_directory) != 0)
        return 1;
    snprintf(database_path, sizeof database_path, "%s/%s", state_directory, TERN_VECTOR_STORE_FILE);
    world.size = 256u << 20;
    world.memory = mmap(NULL, world.size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    world.used = TERN_EXTENT;
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    graph_double_fail_after(-1);
    return world.memory == MAP_FAILED;
}

int tear_down(TERN_TEST_STATE)
{
    close(wake_fd);
    munmap(world.memory, world.size);
    return folder_remove(state_directory);
}

void start(void)
{
    const struct tern_collections_options options = {state_directory, &host, wake_fd};
    struct tern_error error;

    if (tern_collections_start(&options, &collections, &error) != 0)
        fail_msg("%s", error.message);
}

void stop(void)
{
    tern_collections_stop(collections);
    collections = NULL;
}

struct tern_collection_spec make_spec(uint32_t dim, uint32_t capacity)
{
    return (struct tern_collection_spec){
        .id = 1,
        .name = "docs",
        .shape = {.dim = dim,
                  .metric = TERN_METRIC_L2,
                  .m = 16,
                  .capacity = capacity,
                  .columns = {{"label", TERN_TYPE_STRING}, {"tenant", TERN_TYPE_U32}},
                  .column_count = 2},
        .parameters = {64, 128, 10000},
    };
}

struct tern_collection_place prepare(const struct tern_collection_spec *spec)
{
    struct tern_collection_place place = new_place(spec);
    struct tern_error error;

    if (tern_collections_prepare(collections, spec, &place, true, NULL, NULL, &error) != 0)
        fail_msg("%s", error.message);
    return place;
}

struct tern_collection_place serve(const struct tern_collection_spec *spec)
{
    struct tern_collection_place place = prepare(spec);

    tern_collections_commit(collections, spec, &place, 1);
    return place;
}

/* The next acknowledgement; waits for it on the descriptor, as the API does. */
struct tern_collection_ack collect(void)
{
    uint64_t until_us = tern_clock_now_us() + WAIT_S * 1000000ull;
    struct tern_collection_ack ack;

    while (!tern_collections_collect(collections, &ack)) {
        struct pollfd polled = {.fd = wake_fd, .events = POLLIN};
        uint64_t count;

        if (tern_clock_now_us() > until_us)
            fail_msg("no acknowledgement within %d s", WAIT_S);
        if (poll(&polled, 1, 1000) == 1 && read(wake_fd, &count, sizeof count) < 0)
            continue;
    }
    return ack;
}

void await_current(void)
{
    uint64_t until_us = tern_clock_now_us() + WAIT_S * 1000000ull;
    struct tern_collection_status statuses[8];

    for (;;) {
        unsigned count = tern_collections_status(collections, statuses, 8);
        bool filling = false;

        for (unsigned i = 0; i < count && i < TERN_COUNT(statuses); i++)
            filling |= strcmp(statuses[i].name, "docs") == 0 && statuses[i].filling;
        if (!filling)
            return;
        if (tern_clock_now_us() > until_us)
            fail_msg("docs is still filled: %s", statuses[0].error);
        poll(NULL, 0, 1);
    }
}

struct tern_collection_write put_of(uint64_t id, const float *vector,
                                    const struct tern_graph_value *payload)
{
    return (struct tern_collection_write){id, vector, payload};
}

void submit(uint64_t owner, uint64_t ticket, const struct tern_collection_write *writes,
            unsigned count)
{
    struct tern_error error;

    if (tern_collections_submit(collections, "docs", owner, ticket, writes, count, NULL, &error) !=
        0)
        fail_msg("%s", error.message);
}

void write_range(uint64_t end, const float *vector, const struct tern_graph_value *payload)
{
    struct tern_collection_write writes[250];

    for (uint64_t id = 0; id < end;) {
        unsigned count = 0;

        while (count < TERN_COUNT(writes) && id < end)
            writes[count++] = put_of(id++, vector, payload);
        submit(1, 1, writes, count);
        assert_int_equal(collect().rc, 0);
    }
}

struct tern_collection_ack write_one(uint64_t id, const float *vector)
{
    struct tern_collection_write write = put_of(id, vector, NULL);

    submit(1, id, &write, 1);
    return collect();
}
