#include "controlplane/apply.h"

#include "controlplane/build/schema.h"
#include "controlplane/compile/compile.h"
#include "controlplane/config/settings.h"
#include "controlplane/pipeline.h"
#include "controlplane/publish/publish.h"
#include "controlplane/publish/reclaim.h"
#include "shared/clock.h"

/* Ids are positions, and clients keep them for a connection: they change only when that is meant.
 */
static int check_schema(const struct tern_schema *live, const struct tern_schema *next,
                        const struct tern_config *config, const struct tern_apply_options *options,
                        struct tern_diagnostics *diagnostics, struct tern_error *error)
{
    const struct tern_place place = {config->path, 0, 0};
    struct tern_error why;

    if (tern_schema_extends(live, next, &why) == 0)
        return 0;
    if (!options->new_schema)
        return tern_error_set(error, TERN_EREFUSED,
                              "%.400s; --new-schema changes ids all the same, and asks clients to "
                              "connect again",
                              why.message);
    tern_diagnostics_add(diagnostics, TERN_SEVERITY_WARNING, place,
                         "ids change (%s): clients that are connected go on with theirs for 60 s",
                         why.message);
    return 0;
}

/* Settings and schema: small sections whose hash is that of their bytes. */
static int add_settings(struct tern_pipeline *pipeline, struct tern_image *image,
                        const struct tern_config *config, struct tern_diagnostics *diagnostics,
                        struct tern_error *error)
{
    struct tern_buffer bytes = {0};
    int result = tern_settings_build(config, pipeline->secret, &bytes, diagnostics);

    if (result != 0)
        tern_error_set(error, result, "%s",
                       result == TERN_ENOMEM ? "no memory for settings"
                                             : "a secret cannot be read");
    else
        result = tern_image_add(pipeline, image, TERN_SECTION_SETTINGS, 0, NULL, bytes.data,
                                bytes.length, NULL, error);
    tern_buffer_free(&bytes);
    return result;
}

static int add_schema(struct tern_pipeline *pipeline, struct tern_image *image,
                      const struct tern_config *config, struct tern_error *error)
{
    struct tern_buffer bytes = {0};
    int result = tern_schema_build(config, &bytes);

    if (result != 0)
        tern_error_set(error, result, "no memory for the schema");
    else
        result = tern_image_add(pipeline, image, TERN_SECTION_SCHEMA, 0, NULL, bytes.data,
                                bytes.length, NULL, error);
    tern_buffer_free(&bytes);
    return result;
}

static const struct tern_section *added_last(const struct tern_image *image)
{
    return &image->sections[image->count - 1];
}

static bool find_classes(void *context, const uint8_t hash[16], const void **data, size_t *length)
{
    const struct tern_pipeline *pipeline = context;
    const struct tern_section *section =
        tern_image_find(&pipeline->live_image, TERN_SECTION_CLASSES, hash);

    if (section == NULL)
        return false;
    *data = pipeline->writer.base + section->offset;
    *length = section->length;
    return true;
}

static bool find_patterns(void *context, const uint8_t hash[16])
{
    const struct tern_pipeline *pipeline = context;

    return tern_image_find(&pipeline->live_image, TERN_SECTION_PATTERNS, hash) != NULL;
}

/* The handle of a section that the live generation shares: it was validated when that was verified.
 */
static const struct tern_table *live_table(const struct tern_pipeline *pipeline, uint64_t offset)
{
    const struct tern_view *live = pipeline->live;

    for (unsigned i = 0; live != NULL && i < live->section_count; i++)
        if (live->sections[i].kind == TERN_SECTION_TABLE && live->sections[i].offset == offset)
            return &live->tables[live->sections[i].owner];
    return NULL;
}

/* Opens the image's tables where they lie in the arena, for the compiler. */
static int open_tables(const struct tern_pipeline *pipeline, const struct tern_image *image,
                       struct tern_table *tables, uint8_t (*hashes)[16], struct tern_error *error)
{
    for (unsigned i = 0; i < image->count; i++) {
        const struct tern_section *section = &image->sections[i];
        const struct tern_table *shared;
        int result;

        if (section->kind != TERN_SECTION_TABLE)
            continue;
        memcpy(hashes[section->owner], section->content_hash, 16);
        shared = live_table(pipeline, section->offset);
        if (shared != NULL) {
            tables[section->owner] = *shared;
            continue;
        }
        result = tern_table_open(&tables[section->owner], pipeline->writer.base + section->offset,
                                 section->length, error);
        if (result != 0)
            return result;
    }
    return 0;
}

static int add_rules(struct tern_pipeline *pipeline, struct tern_image *image,
                     const struct tern_config *config, const struct tern_schema *schema,
                     struct tern_apply_result *result, struct tern_diagnostics *diagnostics,
                     struct tern_error *error)
{
    struct tern_table *tables = calloc(config->table_count + 1, sizeof *tables);
    uint8_t(*hashes)[16] = calloc(config->table_count + 1, sizeof *hashes);
    const struct tern_compile_input input = {
        .config = config,
        .schema = schema,
        .tables = tables,
        .table_hashes = (const uint8_t(*)[16])hashes,
        .find_classes = find_classes,
        .find_patterns = find_patterns,
        .context = pipeline,
        .seed = tern_load_u64(pipeline->secret + 8),
    };
    struct tern_compiled compiled = {0};
    int failed;

    if (tables == NULL || hashes == NULL)
        failed = tern_error_set(error, TERN_ENOMEM, "no memory for %u tables", config->table_count);
    else
        failed = open_tables(pipeline, image, tables, hashes, error);
    if (failed == 0) {
        failed = tern_compile(&input, &compiled, diagnostics);
        if (failed != 0)
            tern_error_set(error, failed, "the rules do not compile");
    }
    for (unsigned i = 0; failed == 0 && i < compiled.classes_count; i++) {
        const struct tern_compiled_classes *classes = &compiled.classes[i];

        failed = tern_image_add(pipeline, image, TERN_SECTION_CLASSES, classes->unit,
                                classes->content_hash, classes->bytes.data, classes->bytes.length,
                                NULL, error);
    }
    for (unsigned i = 0; failed == 0 && i < compiled.patterns_count; i++) {
        const struct tern_compiled_patterns *patterns = &compiled.patterns[i];

        failed = tern_image_add(pipeline, image, TERN_SECTION_PATTERNS, patterns->unit,
                                patterns->content_hash, patterns->bytes.data,
                                patterns->bytes.length, NULL, error);
    }
    if (failed == 0)
        failed = tern_image_add(pipeline, image, TERN_SECTION_RULES, 0, NULL, compiled.rules.data,
                                compiled.rules.length, NULL, error);
    if (failed == 0) {
        result->rules = config->rule_count;
        result->conjunctions = compiled.conjunctions;
        result->units = compiled.units;
        result->rows_bytes = compiled.rows_bytes;
        result->residual_comparisons = compiled.residual_comparisons;
        result->residual_rules = compiled.residual_rules;
        result->unfitted_rows_bytes = compiled.unfitted_rows_bytes;
    }
    tern_compiled_free(&compiled);
    free(tables);
    free(hashes);
    return failed;
}

/* The served section of a kind there is one of: a refresh changes tables, and with them rules, but
 * not how the data plane runs. A token whose file is replaced waits for the next apply. */
static int add_served(struct tern_pipeline *pipeline, struct tern_image *image, unsigned kind,
                      struct tern_error *error)
{
    const struct tern_image *live = &pipeline->live_image;

    for (unsigned i = 0; i < live->count; i++)
        if (live->sections[i].kind == kind)
            return tern_image_add(pipeline, image, kind, 0, live->sections[i].content_hash, NULL, 0,
                                  NULL, error);
    return tern_error_set(error, TERN_ENOENT, "nothing is served that could be refreshed");
}

/* What a running ternd does not take over. */
static void warn_of_restart(const struct tern_settings *live, const struct tern_config *config,
                            struct tern_diagnostics *diagnostics)
{
    bool same = live->workers == config->workers && live->helpers == config->helpers &&
                live->listen_count == config->listen_count;

    for (unsigned i = 0; same && i < config->listen_count; i++)
        same = strcmp(live->listen[i], config->listen[i].text) == 0;
    if (!same && config->listen_count != 0)
        tern_diagnostics_add(
            diagnostics, TERN_SEVERITY_WARNING, config->listen[0].place,
            "'listen', 'workers' or 'helpers' differ from what is served: they take effect "
            "when ternd is started again");
}

static int build(struct tern_pipeline *pipeline, struct tern_image *image,
                 const struct tern_config *config, const struct tern_apply_options *options,
                 struct tern_apply_result *result, uint64_t *schema_hash,
                 struct tern_diagnostics *diagnostics, struct tern_error *error)
{
    const struct tern_schema *schema;
    struct tern_diagnostics_mark mark;
    uint64_t before, start = tern_clock_now_ns();
    int failed;

    if (options->only_changes)
        failed = add_served(pipeline, image, TERN_SECTION_SETTINGS, error);
    else
        failed = add_settings(pipeline, image, config, diagnostics, error);
    if (failed != 0)
        return failed;
    /* a ternd that waits for the first generation can bind and say NOT_READY meanwhile */
    if (!options->dry_run && pipeline->live == NULL)
        tern_publish_settings(&pipeline->writer, added_last(image));
    if (options->only_changes)
        failed = add_served(pipeline, image, TERN_SECTION_SCHEMA, error);
    else
        failed = add_schema(pipeline, image, config, error);
    if (failed != 0)
        return failed;
    failed = tern_schema_open(pipeline->writer.base + added_last(image)->offset,
                              added_last(image)->length, &schema);
    if (failed != 0)
        return tern_error_set(error, failed, "the schema does not read back");
    *schema_hash = schema->hash;
    if (pipeline->live != NULL && !options->only_changes)
        warn_of_restart(pipeline->live->settings, config, diagnostics);
    if (pipeline->live != NULL)
        failed = check_schema(pipeline->live->schema, schema, config, options, diagnostics, error);
    before = image->new_bytes;
    if (failed == 0)
        failed =
            tern_image_add_tables(pipeline, image, config, options, result, diagnostics, error);
    result->build_ms = tern_clock_ms_since(start);
    if (failed != 0)
        return failed;
    result->unchanged = options->only_changes && image->new_bytes == before;
    if (result->unchanged)
        return 0;
    start = tern_clock_now_ns();
    mark = tern_diagnostics_mark(diagnostics);
    tern_report_progress(options, "rules", 0, 0);
    failed = add_rules(pipeline, image, config, schema, result, diagnostics, error);
    if (failed == 0 && options->only_changes)
        tern_diagnostics_forget(diagnostics, &mark); /* said when it was applied */
    result->compile_ms = tern_clock_ms_since(start);
    if (failed != 0)
        return failed;
    /* last: it may take long, and everything else that could be wrong is known */
    if (options->only_changes)
        return tern_objects_of_live(image, &pipeline->live_image, error);
    failed = tern_objects_of_config(image, config, error);
    return failed != 0 ? failed : tern_objects_prepare(pipeline, image, options, result, error);
}

int tern_pipeline_apply(struct tern_pipeline *pipeline, const struct tern_config *config,
                        const struct tern_apply_options *options, struct tern_apply_result *result,
                        struct tern_diagnostics *diagnostics, struct tern_error *error)
{
    struct tern_image image = {0};
    struct tern_error unwanted;
    uint64_t start = tern_clock_now_ns();
    uint64_t schema_hash = 0;
    int failed;

    if (error == NULL)
        error = &unwanted;
    *result = (struct tern_apply_result){0};
    tern_config_identity(config, result->config_hash);

    tern_report_progress(options, "check", 0, 0);
    /* What is served already has been checked, and a look at a source costs no more than that. */
    failed = options->only_changes ? 0 : tern_compile_check(config, diagnostics);
    if (failed != 0)
        return tern_error_set(error, failed, "%zu error%s in %s", diagnostics->error_count,
                              diagnostics->error_count == 1 ? "" : "s", config->path);
    result->read_ms = tern_clock_ms_since(start);
    tern_reclaim_collect(&pipeline->writer);
    failed = build(pipeline, &image, config, options, result, &schema_hash, diagnostics, error);
    if (failed == 0 && !result->unchanged)
        failed = tern_candidate_publish(pipeline, &image, schema_hash, config, options, result,
                                        diagnostics, error);
    tern_candidate_discard(pipeline); /* a failure's and a dry run's; nothing after a publish */
    tern_image_free(&image);
    tern_pipeline_refresh_status(pipeline);
    result->total_ms = tern_clock_ms_since(start);
    return failed;
}
