#include "controlplane/pipeline.h"

#include "controlplane/expectation.h"
#include "controlplane/publish/publish.h"
#include "controlplane/publish/reclaim.h"
#include "controlplane/verify.h"
#include "shared/clock.h"
#include "shared/race.h"

#define ANSWER_BASE_MS 5000 /* DESIGN 1.3: 5 s + 1 s/GiB, then a silent seat is LAGGING */
#define ANSWER_GIB_MS  1000

void tern_report_progress(const struct tern_apply_options *options, const char *step,
                          unsigned permille, uint64_t rows)
{
    const struct tern_progress progress = {.step = step, .permille = permille, .rows = rows};

    if (options->progress != NULL)
        options->progress(options->context, &progress);
}

void tern_candidate_discard(struct tern_pipeline *pipeline)
{
    struct tern_writer *writer = &pipeline->writer;

    if (pipeline->collections != NULL)
        tern_collections_abandon(pipeline->collections); /* before its space is given back */
    for (size_t i = writer->extents.count; i-- > 0;)
        if (writer->extents.items[i].state == TERN_EXTENT_BUILDING)
            tern_writer_discard(writer, writer->extents.items[i].offset);
}

/* Announces and waits; fills the result's seats. 0: may be swapped in. */
static int announce(struct tern_pipeline *pipeline, uint64_t offset, uint64_t bytes,
                    struct tern_apply_result *result, struct tern_error *error)
{
    struct tern_publish_answer answers[TERN_SEATS_MAX];
    uint64_t start = tern_clock_now_ns();
    uint64_t timeout_ms = ANSWER_BASE_MS + ANSWER_GIB_MS * (bytes >> 30);
    int failed = 0;

    tern_publish_announce(&pipeline->writer, offset);
    result->seat_count = tern_publish_wait(&pipeline->writer, offset, timeout_ms, answers);
    result->seats = calloc(result->seat_count + 1, sizeof *result->seats);
    result->acknowledged = result->seat_count > 0;
    for (unsigned i = 0; i < result->seat_count; i++) {
        if (result->seats != NULL) {
            result->seats[i] = (struct tern_apply_seat){
                .seat = answers[i].seat, .pid = answers[i].pid, .answer = answers[i].answer};
            memcpy(result->seats[i].reason, answers[i].reason, sizeof result->seats[i].reason);
        }
        if (answers[i].answer != TERN_ANSWER_READY)
            result->acknowledged = false;
        if (answers[i].answer == TERN_ANSWER_REJECTED && failed == 0)
            failed = tern_error_set(error, TERN_EREFUSED, "ternd (pid %u) rejected it: %s",
                                    answers[i].pid, answers[i].reason);
    }
    if (result->seats == NULL)
        result->seat_count = 0;
    result->announce_ms = tern_clock_ms_since(start);
    return failed;
}

static const struct tern_section *section_of_kind(const struct tern_image *image, unsigned kind)
{
    for (unsigned i = 0; i < image->count; i++)
        if (image->sections[i].kind == kind)
            return &image->sections[i];
    return NULL;
}

/* `image` as the archive lists it; borrows its arrays. */
static struct tern_archive_list list_of(const struct tern_image *image, uint64_t schema_hash,
                                        const struct tern_apply_result *result)
{
    struct tern_archive_list list = {
        .generation = result->generation,
        .schema_hash = schema_hash,
        .sections = image->sections,
        .infos = image->infos,
        .count = image->count,
        .specs = image->specs,
        .spec_count = image->object_count,
    };

    memcpy(list.config_hash, result->config_hash, sizeof list.config_hash);
    return list;
}

/* Keeps the packed sections for a reboot. The generation serves already: failing to keep it is no
 * reason to take it back, so the caller reports it as a warning in `error`. */
static int archive(const struct tern_pipeline *pipeline, uint64_t schema_hash,
                   const struct tern_apply_result *result, struct tern_error *error)
{
    const struct tern_archive_list list = list_of(&pipeline->live_image, schema_hash, result);

    return tern_archive_save(pipeline->state_dir, &list, pipeline->writer.base, error);
}

/* Announce, then swap or withdraw. */
static int publish(struct tern_pipeline *pipeline, struct tern_image *image, uint64_t schema_hash,
                   uint64_t offset, struct tern_view *view,
                   const struct tern_apply_options *options, struct tern_apply_result *result,
                   struct tern_error *error)
{
    const struct tern_archive_list list = list_of(image, schema_hash, result);
    struct tern_writer *writer = &pipeline->writer;
    struct tern_error unnoted;
    uint64_t start;
    int failed;

    /* Without the note nothing is lost but what a crash right now would forget. */
    (void)tern_archive_note(pipeline->state_dir, &list, &unnoted);
    tern_report_progress(options, "announce", 0, 0);
    failed = announce(pipeline, offset, view->bytes, result, error);
    if (failed == 0 && options->publishing != NULL) {
        const struct tern_pipeline_numbers numbers = {
            .generation = result->generation,
            .announcement = writer->seq,
            .epoch = atomic_load_explicit(&writer->envelope->epoch, memory_order_relaxed) + 1,
        };

        failed = options->publishing(options->context, result->generation, &numbers);
        if (failed != 0)
            tern_error_set(error, failed, "history cannot record the publish");
    }
    if (failed != 0) {
        tern_publish_withdraw(writer);
        return failed;
    }
    tern_report_progress(options, "publish", 0, 0);
    if (pipeline->serving != NULL)
        pipeline->serving(pipeline->context, view);
    start = tern_clock_now_ns();
    tern_publish_swap(writer, offset);
    tern_publish_settings(writer, section_of_kind(image, TERN_SECTION_SETTINGS));
    result->publish_ms = tern_clock_ms_since(start);
    result->published = true;
    tern_view_close(pipeline->live);
    pipeline->live = view;
    tern_image_free(&pipeline->live_image);
    pipeline->live_image = *image;
    *image = (struct tern_image){0};
    TERN_RACE_POINT("collections-committing");
    tern_objects_commit(pipeline);
    tern_reclaim_collect(writer);
    return 0;
}

/* The configuration's own tests of the candidate. */
static int run_tests(const struct tern_view *view, const struct tern_config *config,
                     const struct tern_apply_options *options, struct tern_apply_result *result,
                     struct tern_diagnostics *diagnostics, struct tern_error *error)
{
    struct tern_diagnostics_mark mark = tern_diagnostics_mark(diagnostics);
    int failed = tern_expectations_check(view, config, options->tested, options->context,
                                         diagnostics, error);

    result->tests_run = config->test_count;
    result->tests_failed = (unsigned)(diagnostics->error_count - mark.error_count);
    if (failed != TERN_EINVAL || !options->tests_only_warn)
        return failed;
    tern_diagnostics_soften(diagnostics, &mark);
    return 0;
}

/* Reads the candidate back and compares it, which may search collections: their slots are not used
 * again meanwhile. On failure `*view` may be open all the same. */
static int verify(struct tern_pipeline *pipeline, uint64_t offset, const struct tern_config *config,
                  const struct tern_apply_options *options, struct tern_apply_result *result,
                  struct tern_view **view, struct tern_diagnostics *diagnostics,
                  struct tern_error *error)
{
    struct tern_writer *writer = &pipeline->writer;
    int failed;

    tern_reader_enter(&writer->own, writer->envelope);
    failed = tern_verify(&writer->reader, offset, pipeline->live, config, view, error);
    if (failed == 0 && config != NULL)
        failed = run_tests(*view, config, options, result, diagnostics, error);
    tern_reader_leave(&writer->own);
    return failed;
}

int tern_candidate_publish(struct tern_pipeline *pipeline, struct tern_image *image,
                           uint64_t schema_hash, const struct tern_config *config,
                           const struct tern_apply_options *options,
                           struct tern_apply_result *result, struct tern_diagnostics *diagnostics,
                           struct tern_error *error)
{
    struct tern_writer *writer = &pipeline->writer;
    struct tern_collection_entry collections[TERN_COLLECTIONS_MAX];
    const struct tern_publish_root root = {
        .generation = writer->generation + 1,
        .schema_hash = schema_hash,
        .published_at_us = tern_clock_wall_us(),
        .collections = collections,
        .collection_count = tern_objects_list(image, collections),
    };
    struct tern_view *view = NULL;
    uint64_t offset, start;
    int failed;

    result->generation = root.generation;
    result->new_bytes = image->new_bytes;
    result->shared_bytes = image->shared_bytes;
    failed = tern_publish_write(writer, image->sections, image->count, &root, &offset, error);
    if (failed != 0)
        return failed;
    TERN_RACE_POINT("publish-built");
    tern_report_progress(options, "verify", 0, 0);
    start = tern_clock_now_ns();
    failed = verify(pipeline, offset, config, options, result, &view, diagnostics, error);
    if (view == NULL)
        return failed;
    result->verify_ms = tern_clock_ms_since(start);
    if (failed == 0 && !options->dry_run)
        failed = publish(pipeline, image, schema_hash, offset, view, options, result, error);
    if (failed != 0 || options->dry_run) {
        tern_view_close(view);
        return failed;
    }
    tern_report_progress(options, "archive", 0, 0);
    if (archive(pipeline, schema_hash, result, error) != 0)
        result->unarchived = true;
    tern_pipeline_refresh_status(pipeline);
    return 0;
}
