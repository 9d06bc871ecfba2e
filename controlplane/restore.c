#include "controlplane/apply.h"

#include "controlplane/pipeline.h"
#include "controlplane/publish/reclaim.h"
#include "shared/clock.h"

/* Adds one retained section: shared with the live image, or read back from the state directory. */
static int add_retained(struct tern_pipeline *pipeline, struct tern_image *image,
                        const struct tern_section *section, const struct tern_section_info *info,
                        struct tern_error *error)
{
    struct tern_buffer bytes = {0};
    int result;

    if (tern_image_find(&pipeline->live_image, section->kind, section->content_hash) != NULL)
        return tern_image_add(pipeline, image, section->kind, section->owner, section->content_hash,
                              NULL, 0, info, error);
    result = tern_archive_section(pipeline->state_dir, section, &bytes, error);
    if (result == 0)
        result = tern_image_add(pipeline, image, section->kind, section->owner,
                                section->content_hash, bytes.data, bytes.length, info, error);
    tern_buffer_free(&bytes);
    return result;
}

/* What the retained tables are, and what they replace. */
static int describe(const struct tern_pipeline *pipeline, const struct tern_image *image,
                    struct tern_apply_result *result, struct tern_error *error)
{
    const struct tern_schema *schema = NULL;
    int failed = TERN_ECORRUPT;

    for (unsigned i = 0; i < image->count; i++)
        if (image->sections[i].kind == TERN_SECTION_SCHEMA)
            failed = tern_schema_open(pipeline->writer.base + image->sections[i].offset,
                                      image->sections[i].length, &schema);
    if (failed == 0)
        failed = tern_image_describe(image, &pipeline->live_image, schema, &result->tables,
                                     &result->table_count);
    if (failed != 0)
        return tern_error_set(error, failed, "the retained tables cannot be described: %s",
                              tern_error_text(failed));
    return 0;
}

int tern_pipeline_restore(struct tern_pipeline *pipeline, uint64_t generation,
                          const struct tern_apply_options *options,
                          struct tern_apply_result *result, struct tern_error *error)
{
    struct tern_archive_list list;
    struct tern_image image = {0};
    uint64_t start = tern_clock_now_ns();
    int failed;

    *result = (struct tern_apply_result){0};
    failed = tern_archive_read(pipeline->state_dir, generation, &list, error);
    if (failed != 0)
        return failed;
    memcpy(result->config_hash, list.config_hash, sizeof result->config_hash);
    tern_reclaim_collect(&pipeline->writer);
    for (unsigned i = 0; failed == 0 && i < list.count; i++) {
        tern_report_progress(options, "restore", 1000 * i / list.count, 0);
        failed = add_retained(pipeline, &image, &list.sections[i], &list.infos[i], error);
    }
    if (failed == 0)
        failed = describe(pipeline, &image, result, error);
    if (failed == 0)
        failed = tern_objects_of_specs(&image, list.specs, list.spec_count, error);
    if (failed == 0)
        failed = tern_objects_prepare(pipeline, &image, options, result, error);
    if (failed == 0)
        failed = tern_candidate_publish(pipeline, &image, list.schema_hash, NULL, options, result,
                                        NULL, error);
    tern_candidate_discard(pipeline);
    tern_image_free(&image);
    tern_archive_list_free(&list);
    tern_pipeline_refresh_status(pipeline);
    result->total_ms = tern_clock_ms_since(start);
    return failed;
}
