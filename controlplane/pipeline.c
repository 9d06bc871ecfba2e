#include "controlplane/pipeline.h"

#include "controlplane/publish/publish.h"
#include "controlplane/publish/reclaim.h"
#include "shared/clock.h"

#include <time.h>

#define STUCK_MS 5000 /* how long a reader may hold retired memory before status names it */

/* What is known of the served generation besides its bytes. A crash between the swap and the saving
 * is made good here: the generation is kept like any other. */
static bool recall(const struct tern_pipeline *pipeline, struct tern_archive_list *list)
{
    const struct tern_view *live = pipeline->live;
    struct tern_error error;

    if (tern_archive_read(pipeline->state_dir, live->generation, list, &error) == 0)
        return true;
    if (tern_archive_noted(pipeline->state_dir, live->generation, list, &error) != 0)
        return false;
    for (unsigned i = 0; i < list->count; i++)
        for (unsigned k = 0; k < live->section_count; k++)
            if (live->sections[k].kind == list->sections[i].kind &&
                live->sections[k].length == list->sections[i].length &&
                memcmp(live->sections[k].content_hash, list->sections[i].content_hash, 16) == 0)
                list->sections[i].offset = live->sections[k].offset;
    for (unsigned i = 0; i < list->count; i++)
        if (list->sections[i].offset == 0)
            return true; /* not this arena's after all: good for what it says, not to be saved */
    (void)tern_archive_save(pipeline->state_dir, list, pipeline->writer.base, &error);
    return true;
}

/* The sections of the root found in a taken-over arena, with what the archive knows about them. */
static int adopt_live_image(struct tern_pipeline *pipeline, struct tern_error *error)
{
    const struct tern_view *live = pipeline->live;
    struct tern_image *image = &pipeline->live_image;
    struct tern_archive_list list = {0};
    bool known = recall(pipeline, &list);
    int result;

    image->sections = calloc(live->section_count, sizeof *image->sections);
    image->infos = calloc(live->section_count, sizeof *image->infos);
    if (image->sections == NULL || image->infos == NULL) {
        tern_archive_list_free(&list);
        return tern_error_set(error, TERN_ENOMEM, "no memory for %u sections", live->section_count);
    }
    image->count = image->capacity = live->section_count;
    memcpy(image->sections, live->sections, image->count * sizeof *image->sections);
    for (unsigned i = 0; i < image->count; i++) {
        const struct tern_section *section = &image->sections[i];

        if (section->kind == TERN_SECTION_TABLE)
            snprintf(image->infos[i].name, sizeof image->infos[i].name, "%s",
                     tern_schema_tables(live->schema)[section->owner - 1].name);
        for (unsigned k = 0; known && k < list.count; k++)
            if (list.sections[k].kind == section->kind &&
                list.sections[k].owner == section->owner &&
                memcmp(list.sections[k].content_hash, section->content_hash, 16) == 0)
                image->infos[i] = list.infos[k];
    }
    result = tern_objects_adopt(pipeline, known ? &list : NULL, error);
    tern_archive_list_free(&list);
    return result;
}

/* Rebuilds what is known of the arena from the arena itself. */
static int take_over(struct tern_pipeline *pipeline, struct tern_error *error)
{
    uint64_t root;
    int result = tern_reclaim_take_over(&pipeline->writer, error);

    if (result != 0)
        return result;
    root = tern_arena_root(&pipeline->writer.reader);
    if (root == 0)
        return 0;
    result = tern_view_open(&pipeline->writer.reader, root, NULL, &pipeline->live, error);
    return result != 0 ? result : adopt_live_image(pipeline, error);
}

static int open_writer(struct tern_pipeline *pipeline, const struct tern_pipeline_options *options,
                       bool replace, struct tern_error *error)
{
    uint64_t kept[TERN_ARCHIVE_LISTS] = {0};
    /* A lost history does not know how far the numbers had come; what is kept does. */
    const unsigned count = tern_archive_generations(options->state_dir, kept);
    const struct tern_writer_numbers numbers = {
        .generation = tern_max_u64(options->numbers.generation, count != 0 ? kept[0] : 0),
        .announcement = options->numbers.announcement,
        .epoch = options->numbers.epoch,
    };
    int result = tern_writer_open(options->run_dir, options->arena_bytes, &numbers, replace,
                                  &pipeline->writer, error);

    return result != 0 ? result : take_over(pipeline, error);
}

/* An arena whose snapshot does not read back cannot be built upon, nor may it be overwritten under
 * its readers: a new one takes its name, and they follow when it has something to serve. */
static int open_or_replace(struct tern_pipeline *pipeline,
                           const struct tern_pipeline_options *options, struct tern_error *error)
{
    struct tern_error why = {0};
    int result = open_writer(pipeline, options, false, &why);

    if (result == 0)
        memcpy(pipeline->status.replaced, pipeline->writer.replaced,
               sizeof pipeline->status.replaced);
    if (result != TERN_ECORRUPT && result != TERN_EABI) {
        if (result != 0)
            tern_error_set(error, result, "%s", why.message);
        return result;
    }
    if (pipeline->writer.fd >= 0)
        tern_writer_close(&pipeline->writer);
    tern_image_free(&pipeline->live_image);
    snprintf(pipeline->status.replaced, sizeof pipeline->status.replaced, "%.250s", why.message);
    return open_writer(pipeline, options, true, error);
}

int tern_pipeline_open(const struct tern_pipeline_options *options, struct tern_pipeline **pipeline,
                       struct tern_error *error)
{
    struct tern_pipeline *opened = calloc(1, sizeof *opened);
    int result;

    if (opened == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for the pipeline");
    opened->writer.fd = -1;
    pthread_mutex_init(&opened->lock, NULL);
    memcpy(opened->secret, options->instance_secret, sizeof opened->secret);
    opened->serving = options->serving;
    opened->context = options->context;
    opened->run_dir = strdup(options->run_dir);
    opened->state_dir = strdup(options->state_dir);
    if (opened->run_dir == NULL || opened->state_dir == NULL)
        result = tern_error_set(error, TERN_ENOMEM, "no memory for the pipeline");
    else
        result = open_or_replace(opened, options, error);
    if (result != 0) {
        tern_pipeline_close(opened);
        return result;
    }
    if (opened->live != NULL && opened->serving != NULL)
        opened->serving(opened->context, opened->live);
    tern_pipeline_refresh_status(opened);
    *pipeline = opened;
    return 0;
}

void tern_pipeline_close(struct tern_pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    tern_view_close(pipeline->live);
    tern_image_free(&pipeline->live_image);
    if (pipeline->writer.fd >= 0)
        tern_writer_close(&pipeline->writer);
    for (unsigned i = 0; i < pipeline->source_count; i++)
        free(pipeline->sources[i].path);
    free(pipeline->sources);
    pthread_mutex_destroy(&pipeline->lock);
    free(pipeline->run_dir);
    free(pipeline->state_dir);
    free(pipeline);
}

const char *tern_pipeline_state_dir(const struct tern_pipeline *pipeline)
{
    return pipeline->state_dir;
}

/* Copies text that another process may be writing; always terminated. */
static void copy_text(char *to, size_t bytes, const char *from)
{
    memcpy(to, from, bytes);
    to[bytes - 1] = '\0';
}

static void describe_seat(const struct tern_pipeline *pipeline, unsigned index,
                          struct tern_pipeline_seat *described)
{
    const struct tern_seat *seat = &pipeline->writer.board.board->seats[index];
    unsigned loops = seat->loop_count <= TERN_LOOPS_MAX ? seat->loop_count : 0;

    *described = (struct tern_pipeline_seat){
        .seat = index,
        .pid = seat->pid,
        .started_at_us = seat->started_at_us,
        .loops = loops,
        .generation = loops > 0 ? UINT64_MAX : 0,
    };
    copy_text(described->backend, sizeof described->backend, seat->backend);
    copy_text(described->backend_reason, sizeof described->backend_reason, seat->backend_reason);
    for (unsigned i = 0; i < loops; i++)
        described->generation =
            tern_min_u64(described->generation,
                         atomic_load_explicit(&seat->loops[i].generation, memory_order_relaxed));
}

_Static_assert(TERN_NAME_MAX == TERN_READER_NAME_MAX, "a reader's name is copied whole");

static void describe_reader(const struct tern_reader_page *page, unsigned index,
                            struct tern_pipeline_reader *described)
{
    uint64_t oldest = UINT64_MAX;

    *described = (struct tern_pipeline_reader){
        .page = index,
        .pid = page->pid,
        .started_at_us = page->started_at_us,
    };
    copy_text(described->name, sizeof described->name, page->name);
    for (unsigned i = 0; i < TERN_READER_CONTEXTS_MAX; i++) {
        const struct tern_reader *reader = &page->contexts[i].reader;

        if (atomic_load_explicit(&reader->pin, memory_order_relaxed) == 0)
            continue;
        described->contexts++;
        oldest =
            tern_min_u64(oldest, atomic_load_explicit(&reader->generation, memory_order_relaxed));
    }
    if (described->contexts > 0)
        described->generation = oldest;
}

/* True when seat `index` is held and says what it reads. */
static bool seat_is_visible(const struct tern_pipeline *pipeline, unsigned index)
{
    const struct tern_writer *writer = &pipeline->writer;

    return tern_lock_held(writer->reader.fd, TERN_LOCK_SEATS + index) &&
           atomic_load_explicit(&writer->board.board->seats[index].ready, memory_order_acquire) ==
               tern_seat_ready_value(writer->reader.arena_id);
}

void tern_pipeline_refresh_status(struct tern_pipeline *pipeline)
{
    struct tern_writer *writer = &pipeline->writer;
    struct tern_pipeline_status status = {
        .epoch = atomic_load_explicit(&writer->envelope->epoch, memory_order_relaxed),
        .seq = writer->seq,
        .arena_bytes = writer->size,
        .used_bytes = tern_extents_bytes(&writer->extents, TERN_EXTENT_LIVE),
        .reserved_bytes = tern_extents_reserved_bytes(&writer->extents),
        .quarantined_bytes = tern_reclaim_retired_bytes(writer),
        .huge_pages = writer->huge_pages,
    };
    struct tern_reclaim_holder holders[TERN_RECLAIM_HOLDERS_MAX];
    unsigned holder_count;
    uint64_t retired_bytes = tern_extents_bytes(&writer->extents, TERN_EXTENT_RETIRED);
    bool grace_is_long =
        retired_bytes > 0 && tern_clock_now_ns() / 1000000 - writer->retired_at_ms > STUCK_MS;
    uint64_t root = tern_arena_root(&writer->reader);

    _Static_assert(TERN_COUNT(status.seats) == TERN_SEATS_MAX, "one entry a seat");
    _Static_assert(TERN_COUNT(status.readers) == TERN_READERS_MAX, "one entry a page");
    /* The rest of a collection's address space stays reserved until its memory goes. */
    status.reserved_bytes += retired_bytes - status.quarantined_bytes;
    status.free_bytes =
        status.arena_bytes - status.used_bytes - status.reserved_bytes - status.quarantined_bytes;
    if (root != 0) {
        const struct tern_root *live = (const struct tern_root *)(writer->base + root);

        status.generation = live->generation;
        status.published_at_us = live->published_at_us;
    }
    holder_count = tern_reclaim_holders(writer, holders);
    for (unsigned i = 0; i < holder_count; i++) {
        const struct tern_reclaim_holder *holder = &holders[i];

        if (holder->holder >= TERN_LOCK_READERS) {
            unsigned page = holder->holder - TERN_LOCK_READERS;
            struct tern_pipeline_reader *reader = &status.readers[status.reader_count++];

            describe_reader(writer->pages.maps[page].page, page, reader);
            reader->stuck = holder->behind && grace_is_long;
            reader->quarantined_bytes = holder->bytes;
        } else {
            unsigned index = holder->holder - TERN_LOCK_SEATS;
            struct tern_pipeline_seat *seat = &status.seats[status.seat_count++];

            describe_seat(pipeline, index, seat);
            seat->stuck = holder->behind && grace_is_long;
            seat->quarantined_bytes = holder->bytes;
        }
    }
    pthread_mutex_lock(&pipeline->lock);
    memcpy(status.replaced, pipeline->status.replaced, sizeof status.replaced);
    pipeline->status = status;
    pthread_mutex_unlock(&pipeline->lock);
}

static void list_seats(const struct tern_pipeline *pipeline,
                       const struct tern_pipeline_status *taken,
                       struct tern_pipeline_status *status)
{
    status->seat_count = 0;
    for (unsigned i = 0; i < TERN_SEATS_MAX; i++) {
        struct tern_pipeline_seat *seat = &status->seats[status->seat_count];

        if (!seat_is_visible(pipeline, i))
            continue;
        describe_seat(pipeline, i, seat);
        for (unsigned known = 0; known < taken->seat_count; known++) {
            const struct tern_pipeline_seat *before = &taken->seats[known];

            if (before->seat == i && before->pid == seat->pid) {
                seat->stuck = before->stuck;
                seat->quarantined_bytes = before->quarantined_bytes;
            }
        }
        status->seat_count++;
    }
}

static void list_readers(const struct tern_pipeline *pipeline,
                         const struct tern_pipeline_status *taken,
                         struct tern_pipeline_status *status)
{
    const struct tern_writer *writer = &pipeline->writer;

    status->reader_count = 0;
    for (unsigned i = 0; i < TERN_READERS_MAX; i++) {
        struct tern_pipeline_reader *reader = &status->readers[status->reader_count];
        const struct tern_reader_page *page;

        if (tern_pages_look(&writer->pages, &writer->reader, i, &page) != 0)
            continue;
        describe_reader(page, i, reader);
        for (unsigned known = 0; known < taken->reader_count; known++) {
            const struct tern_pipeline_reader *before = &taken->readers[known];

            if (before->page == i && before->pid == reader->pid) {
                reader->stuck = before->stuck;
                reader->quarantined_bytes = before->quarantined_bytes;
            }
        }
        status->reader_count++;
    }
}

void tern_pipeline_status(struct tern_pipeline *pipeline, struct tern_pipeline_status *status)
{
    struct tern_pipeline_status taken;

    pthread_mutex_lock(&pipeline->lock);
    taken = pipeline->status;
    pthread_mutex_unlock(&pipeline->lock);
    taken.collections_huge_bytes =
        atomic_load_explicit(&pipeline->huge_bytes, memory_order_relaxed);
    /* Who is alive is asked now: whoever has just seen one die or start must find it said. What it
     * keeps from being freed is as of the last tick. */
    *status = taken;
    list_seats(pipeline, &taken, status);
    list_readers(pipeline, &taken, status);
}

int tern_pipeline_tables(const struct tern_pipeline *pipeline, struct tern_apply_table **tables,
                         unsigned *count)
{
    if (pipeline->live == NULL) {
        *tables = NULL;
        *count = 0;
        return 0;
    }
    return tern_image_describe(&pipeline->live_image, &pipeline->live_image, pipeline->live->schema,
                               tables, count);
}

void tern_pipeline_tick(struct tern_pipeline *pipeline)
{
    tern_reclaim_collect(&pipeline->writer);
    tern_pipeline_refresh_status(pipeline);
}

void tern_apply_result_free(struct tern_apply_result *result)
{
    free(result->tables);
    free(result->collections);
    free(result->seats);
    *result = (struct tern_apply_result){0};
}
