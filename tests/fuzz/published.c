#include "tests/fuzz/published.h"

#include "controlplane/apply.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>

static void die(const char *what, const struct tern_diagnostics *diagnostics,
                const struct tern_error *error)
{
    struct tern_buffer out = {0};

    tern_diagnostics_print(diagnostics, &out);
    fprintf(stderr, "%s: %s\n%.*s", what, error->message, (int)out.length, (const char *)out.data);
    abort();
}

static void publish(struct published *made)
{
    struct tern_pipeline_options options = {
        .run_dir = fuzz_directory(), .state_dir = fuzz_directory(), .arena_bytes = 8u << 20};
    struct tern_diagnostics diagnostics = {0};
    struct tern_error error = {.message = ""};
    struct tern_apply_options how = {0};
    struct tern_apply_result result;
    struct tern_pipeline *pipeline;
    struct tern_config *config;

    if (tern_pipeline_open(&options, &pipeline, &error) != 0)
        die("pipeline", &diagnostics, &error);
    if (tern_config_read(TERN_FUZZ_DIRECTORY "/world/world.yaml", &config, &diagnostics) != 0 ||
        tern_pipeline_apply(pipeline, config, &how, &result, &diagnostics, &error) != 0)
        die("apply", &diagnostics, &error);
    tern_apply_result_free(&result);
    tern_config_free(config);
    tern_diagnostics_free(&diagnostics);
    if (tern_arena_open(options.run_dir, &made->arena, &error) != 0 ||
        tern_view_open(&made->arena, tern_arena_root(&made->arena), NULL, &made->view, &error) != 0)
        die("open", &diagnostics, &error);
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
