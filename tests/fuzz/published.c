#include "tests/fuzz/published.h"

#include "controlplane/apply.h"
#include "controlplane/collections/collections.h"
#include "tests/fuzz/fuzz.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define VECTORS 40u

static void die(const char *what, const struct tern_diagnostics *diagnostics,
                const struct tern_error *error)
{
    struct tern_buffer out = {0};

    tern_diagnostics_print(diagnostics, &out);
    fprintf(stderr, "%s: %s\n%.*s", what, error->message, (int)out.length, (const char *)out.data);
    abort();
}

/* Vectors on a helix, with labels a to d; every fifth carries nothing. */
static void write_vectors(struct tern_collections *collections)
{
    static const char labels[] = "abcd";
    struct tern_collection_write writes[VECTORS];
    struct tern_graph_value payload[VECTORS][TERN_PAYLOAD_COLUMNS_MAX] = {0};
    float vectors[VECTORS][3];
    struct tern_collection_ack ack;
    struct tern_error error;

    for (unsigned i = 0; i < VECTORS; i++) {
        struct tern_graph_value *values = payload[i];

        vectors[i][0] = (float)(i % 7) - 3;
        vectors[i][1] = (float)(i % 5) - 2;
        vectors[i][2] = (float)i / 10;
        if (i % 5 != 0) {
            values[0] = (struct tern_graph_value){.present = true, .string = {&labels[i % 4], 1}};
            values[1] = (struct tern_graph_value){.present = true, .u64 = i % 3};
            values[2] = (struct tern_graph_value){.present = true, .i64 = -(int64_t)i};
            values[3] = (struct tern_graph_value){.present = i % 2 == 0, .f32 = (float)i / 8};
            values[4] = (struct tern_graph_value){.present = true, .u64 = i % 2};
            values[5] = (struct tern_graph_value){.present = true, .u64 = UINT64_MAX - i};
        }
        writes[i] =
            (struct tern_collection_write){.id = 1000 + i, .vector = vectors[i], .payload = values};
    }
    FUZZ_CHECK(tern_collections_submit(collections, "docs", TERN_COLLECTIONS_INSIDE, 1, writes,
                                       VECTORS, NULL, &error) == 0);
    FUZZ_CHECK(tern_collections_await(collections, &ack) == 0 && ack.rc == 0);
}

/* All of it in the graph: from then on every search of it ends the same way. */
static void await_linked(struct tern_collections *collections)
{
    struct tern_collection_status statuses[4];
    uint64_t tail;

    do {
        unsigned count = tern_collections_status(collections, statuses, TERN_COUNT(statuses));

        sched_yield();
        tail = 0;
        for (unsigned i = 0; i < count; i++)
            tail += statuses[i].tail;
    } while (tail != 0);
}

static void publish(struct published *made)
{
    struct tern_pipeline_options options = {
        .run_dir = fuzz_directory(), .state_dir = fuzz_directory(), .arena_bytes = 24u << 20};
    struct tern_collections_options vectors = {.state_dir = fuzz_directory(),
                                               .wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    struct tern_collections *collections;
    struct tern_graph_host host;
    struct tern_diagnostics diagnostics = {0};
    struct tern_error error = {.message = ""};
    struct tern_apply_options how = {0};
    struct tern_apply_result result;
    struct tern_pipeline *pipeline;
    struct tern_config *config;

    if (tern_pipeline_open(&options, &pipeline, &error) != 0)
        die("pipeline", &diagnostics, &error);
    host = tern_pipeline_host(pipeline);
    vectors.host = &host;
    if (tern_collections_start(&vectors, &collections, &error) != 0 ||
        tern_pipeline_attach(pipeline, collections, &error, &error) != 0)
        die("collections", &diagnostics, &error);
    if (tern_config_read(TERN_FUZZ_DIRECTORY "/world/world.yaml", &config, &diagnostics) != 0 ||
        tern_pipeline_apply(pipeline, config, &how, &result, &diagnostics, &error) != 0)
        die("apply", &diagnostics, &error);
    write_vectors(collections);
    await_linked(collections);
    tern_apply_result_free(&result);
    tern_config_free(config);
    tern_diagnostics_free(&diagnostics);
    if (tern_arena_open(options.run_dir, &made->arena, &error) != 0 ||
        tern_view_open(&made->arena, tern_arena_root(&made->arena), NULL, &made->view, &error) != 0)
        die("open", &diagnostics, &error);
    tern_collections_stop(collections);
    close(vectors.wake_fd);
    tern_pipeline_close(pipeline);
    fuzz_directory_remove(); /* mapped: needed no more */
}

const struct published *published_get(void)
{
    static struct published published;

    if (published.view == NULL) {
        publish(&published);
        published.seat = mmap(NULL, sizeof *published.seat, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        FUZZ_CHECK(published.seat != MAP_FAILED);
    }
    return &published;
}
