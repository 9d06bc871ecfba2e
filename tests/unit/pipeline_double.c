#include "tests/unit/pipeline_double.h"

#include <sys/stat.h>

struct pipeline_double pipeline_double = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                                          .changed = PTHREAD_COND_INITIALIZER};

void pipeline_double_reset(void)
{
    pthread_mutex_lock(&pipeline_double.mutex);
    pipeline_double.generation = pipeline_double.restored = 0;
    pipeline_double.applies = pipeline_double.restores = 0;
    pipeline_double.fail = 0;
    pipeline_double.unchanged = pipeline_double.hold = false;
    pthread_mutex_unlock(&pipeline_double.mutex);
}

void pipeline_double_hold(bool hold)
{
    pthread_mutex_lock(&pipeline_double.mutex);
    pipeline_double.hold = hold;
    pthread_cond_broadcast(&pipeline_double.changed);
    pthread_mutex_unlock(&pipeline_double.mutex);
}

void pipeline_double_await_holding(void)
{
    pthread_mutex_lock(&pipeline_double.mutex);
    while (!pipeline_double.holding)
        pthread_cond_wait(&pipeline_double.changed, &pipeline_double.mutex);
    pthread_mutex_unlock(&pipeline_double.mutex);
}

/* The name is all that is asked of a retained generation here. */
static void retain(uint64_t generation)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/generations", pipeline_double.state_dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/generations/%llu", pipeline_double.state_dir,
             (unsigned long long)generation);
    file = fopen(path, "w");
    if (file != NULL)
        fclose(file);
}

static int publish(const struct tern_apply_options *options, struct tern_apply_result *result)
{
    struct tern_pipeline_numbers numbers = {pipeline_double.generation + 1, 1, 1};

    result->generation = numbers.generation;
    result->new_bytes = pipeline_double.unchanged ? 0 : 100;
    result->rules = 3;
    if (options->dry_run)
        return 0;
    if (options->publishing(options->context, numbers.generation, &numbers) != 0)
        return TERN_EIO;
    pipeline_double.generation = numbers.generation;
    retain(numbers.generation);
    result->published = result->acknowledged = true;
    return 0;
}

int tern_pipeline_apply(struct tern_pipeline *unused, const struct tern_config *config,
                        const struct tern_apply_options *options, struct tern_apply_result *result,
                        struct tern_diagnostics *diagnostics, struct tern_error *error)
{
    int rc;

    (void)unused;
    options->progress(options->context, &(struct tern_progress){"table x", 500, 12});
    pthread_mutex_lock(&pipeline_double.mutex);
    pipeline_double.applies++;
    pipeline_double.holding = pipeline_double.hold;
    pthread_cond_broadcast(&pipeline_double.changed);
    while (pipeline_double.hold)
        pthread_cond_wait(&pipeline_double.changed, &pipeline_double.mutex);
    pipeline_double.holding = false;
    rc = pipeline_double.fail;
    if (rc != 0) {
        tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR,
                             (struct tern_place){config->path, 7, 3}, "row %d is bad", 12);
        tern_error_set(error, rc, "table x: 1 bad row");
    } else {
        rc = publish(options, result);
    }
    pthread_mutex_unlock(&pipeline_double.mutex);
    return rc;
}

int tern_pipeline_restore(struct tern_pipeline *unused, uint64_t generation,
                          const struct tern_apply_options *options,
                          struct tern_apply_result *result, struct tern_error *error)
{
    int rc;

    (void)unused;
    (void)error;
    pthread_mutex_lock(&pipeline_double.mutex);
    pipeline_double.restores++;
    pipeline_double.restored = generation;
    rc = publish(options, result);
    pthread_mutex_unlock(&pipeline_double.mutex);
    return rc;
}

void tern_pipeline_status(struct tern_pipeline *unused, struct tern_pipeline_status *status)
{
    (void)unused;
    *status = (struct tern_pipeline_status){0};
    pthread_mutex_lock(&pipeline_double.mutex);
    status->generation = pipeline_double.generation;
    pthread_mutex_unlock(&pipeline_double.mutex);
}

int tern_pipeline_tables(const struct tern_pipeline *unused, struct tern_apply_table **tables,
                         unsigned *count)
{
    (void)unused;
    *tables = NULL;
    *count = 0;
    return 0;
}

const char *tern_pipeline_state_dir(const struct tern_pipeline *unused)
{
    (void)unused;
    return pipeline_double.state_dir;
}

void tern_pipeline_tick(struct tern_pipeline *unused)
{
    (void)unused;
}

void tern_apply_result_free(struct tern_apply_result *result)
{
    (void)result;
}

int tern_pipeline_open(const struct tern_pipeline_options *options, struct tern_pipeline **out,
                       struct tern_error *error)
{
    (void)options;
    (void)out;
    return tern_error_set(error, TERN_ENOTSUP, "the double is always open");
}

void tern_pipeline_close(struct tern_pipeline *unused)
{
    (void)unused;
}

bool tern_pipeline_has_collection(const struct tern_pipeline *unused, const char *name)
{
    (void)unused;
    (void)name;
    return false;
}

bool tern_pipeline_lacks_objects(const struct tern_pipeline *unused)
{
    (void)unused;
    return false;
}
