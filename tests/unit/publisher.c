#include "tests/unit/publisher.h"

#include <sys/stat.h>

void publisher_open(struct publisher *publisher)
{
    const struct tern_pipeline_options options = {.run_dir = publisher->run_dir,
                                                  .state_dir = publisher->state_dir,
                                                  .arena_bytes = publisher->arena_bytes};
    struct tern_error error = {0};

    if (tern_pipeline_open(&options, &publisher->pipeline, &error) != 0)
        fail_msg("%s", error.message);
}

int publisher_make(struct publisher *publisher, uint64_t arena_bytes)
{
    publisher->arena_bytes = arena_bytes;
    if (folder_make(publisher->folder) != 0)
        return -1;
    snprintf(publisher->run_dir, sizeof publisher->run_dir, "%s/run", publisher->folder);
    snprintf(publisher->state_dir, sizeof publisher->state_dir, "%s/state", publisher->folder);
    if (mkdir(publisher->run_dir, 0700) != 0 || mkdir(publisher->state_dir, 0700) != 0)
        return -1;
    publisher_open(publisher);
    return 0;
}

int publisher_free(struct publisher *publisher)
{
    tern_pipeline_close(publisher->pipeline);
    return folder_remove(publisher->folder);
}

void publisher_write(const struct publisher *publisher, const char *name, const char *text)
{
    char path[160];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", publisher->folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

int publisher_apply(const struct publisher *publisher, const char *name, uint64_t *generation)
{
    const struct tern_apply_options options = {0};
    struct tern_apply_result result = {0};
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    struct tern_error error = {0};
    char path[160];
    int code;

    snprintf(path, sizeof path, "%s/%s", publisher->folder, name);
    if (tern_config_read(path, &config, &diagnostics) != 0)
        fail_msg("%s", diagnostics.count > 0 ? diagnostics.items[0].message : "no configuration");
    code =
        tern_pipeline_apply(publisher->pipeline, config, &options, &result, &diagnostics, &error);
    if (code == 0)
        *generation = result.generation;
    else if (code != TERN_ENOSPC)
        fail_msg("%s", error.message);
    tern_apply_result_free(&result);
    tern_diagnostics_free(&diagnostics);
    tern_config_free(config);
    return code;
}
