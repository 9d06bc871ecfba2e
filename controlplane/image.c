#include "controlplane/pipeline.h"

#include "controlplane/publish/reclaim.h"
#include "shared/clock.h"

#include <errno.h>
#include <poll.h>

#include <xxhash.h>

#define SPACE_WAIT_MS 500 /* for readers to leave what the last publish retired */

const struct tern_section *tern_image_find(const struct tern_image *image, unsigned kind,
                                           const uint8_t hash[16])
{
    for (unsigned i = 0; i < image->count; i++)
        if (image->sections[i].kind == kind &&
            memcmp(image->sections[i].content_hash, hash, 16) == 0)
            return &image->sections[i];
    return NULL;
}

void tern_image_free(struct tern_image *image)
{
    free(image->sections);
    free(image->infos);
    *image = (struct tern_image){0};
}

static int append(struct tern_image *image, const struct tern_section *section,
                  const struct tern_section_info *info, struct tern_error *error)
{
    if (image->count == image->capacity) {
        unsigned capacity = image->capacity != 0 ? image->capacity * 2 : 32;
        struct tern_section *sections =
            realloc(image->sections, capacity * sizeof *image->sections);
        struct tern_section_info *infos;

        if (sections == NULL)
            return tern_error_set(error, TERN_ENOMEM, "no memory for %u sections", capacity);
        image->sections = sections;
        infos = realloc(image->infos, capacity * sizeof *image->infos);
        if (infos == NULL)
            return tern_error_set(error, TERN_ENOMEM, "no memory for %u sections", capacity);
        image->infos = infos;
        image->capacity = capacity;
    }
    if (image->count == TERN_SECTIONS_MAX)
        return tern_error_set(error, TERN_ELIMIT, "more than %u sections", TERN_SECTIONS_MAX);
    image->sections[image->count] = *section;
    image->infos[image->count] = info != NULL ? *info : (struct tern_section_info){0};
    image->count++;
    return 0;
}

/* Writes the section; when the arena is full, gives readers a moment to leave what is retired. */
static int put_patiently(struct tern_pipeline *pipeline, const void *bytes, uint64_t length,
                         struct tern_section *section, struct tern_error *error)
{
    uint64_t start = tern_clock_now_ns();
    int result;

    for (;;) {
        result = tern_writer_put(&pipeline->writer, bytes, length, section, error);
        if (result != TERN_ENOSPC ||
            tern_extents_bytes(&pipeline->writer.extents, TERN_EXTENT_RETIRED) == 0 ||
            tern_clock_ms_since(start) > SPACE_WAIT_MS)
            return result;
        if (tern_reclaim_collect(&pipeline->writer) == 0)
            poll(NULL, 0, 1);
    }
}

int tern_image_add(struct tern_pipeline *pipeline, struct tern_image *image, unsigned kind,
                   uint32_t owner, const uint8_t *hash, const void *bytes, uint64_t length,
                   const struct tern_section_info *info, struct tern_error *error)
{
    struct tern_section section = {.kind = (uint16_t)kind, .owner = owner};
    const struct tern_section *live;
    int result;

    if (hash != NULL) {
        memcpy(section.content_hash, hash, 16);
    } else {
        XXH128_canonical_t canonical;

        XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(bytes, length, kind));
        memcpy(section.content_hash, canonical.digest, 16);
    }
    live = tern_image_find(&pipeline->live_image, kind, section.content_hash);
    if (live == NULL) /* two tables of one image may be equal as well */
        live = tern_image_find(image, kind, section.content_hash);
    if (live != NULL) {
        section.offset = live->offset;
        section.length = live->length;
        section.checksum = live->checksum;
        image->shared_bytes += section.length;
    } else {
        assert(bytes != NULL);
        result = put_patiently(pipeline, bytes, length, &section, error);
        if (result != 0)
            return result;
        image->new_bytes += length;
    }
    return append(image, &section, info, error);
}

/* The digest of the source as it is now, from memory when the file has not been touched. */
static int source_digest(struct tern_pipeline *pipeline, const char *path, uint8_t digest[16],
                         struct tern_error *error)
{
    struct tern_source_known *known = NULL;
    struct tern_source_identity now;
    int result = tern_source_stat(path, &now, error);

    if (result != 0)
        return result;
    for (unsigned i = 0; i < pipeline->source_count; i++)
        if (strcmp(pipeline->sources[i].path, path) == 0)
            known = &pipeline->sources[i];
    if (known != NULL) {
        memcpy(now.digest, known->identity.digest, sizeof now.digest);
        if (memcmp(&now, &known->identity, sizeof now) == 0) {
            memcpy(digest, now.digest, sizeof now.digest);
            return 0;
        }
    }
    result = tern_source_digest(path, &now, error);
    if (result != 0)
        return result;
    if (known == NULL) {
        struct tern_source_known *sources =
            realloc(pipeline->sources, (pipeline->source_count + 1) * sizeof *pipeline->sources);

        if (sources == NULL)
            return tern_error_set(error, TERN_ENOMEM, "no memory for the list of sources");
        pipeline->sources = sources;
        known = &sources[pipeline->source_count];
        *known = (struct tern_source_known){.path = strdup(path)};
        if (known->path == NULL)
            return tern_error_set(error, TERN_ENOMEM, "no memory for the list of sources");
        pipeline->source_count++;
    }
    known->identity = now;
    memcpy(digest, now.digest, sizeof now.digest);
    return 0;
}

static void hash_number(XXH3_state_t *state, uint64_t number)
{
    XXH3_128bits_update(state, &number, sizeof number);
}

static void hash_text(XXH3_state_t *state, const char *text, size_t length)
{
    hash_number(state, length);
    XXH3_128bits_update(state, text, length);
}

/* What a table's bytes are a function of: its definition, its source, the format and the secret. */
static int table_hash(const struct tern_pipeline *pipeline, const struct tern_config_table *table,
                      const uint8_t digest[16], uint8_t hash[16])
{
    XXH3_state_t *state = XXH3_createState();
    XXH128_canonical_t canonical;

    if (state == NULL)
        return TERN_ENOMEM;
    XXH3_128bits_reset(state);
    hash_number(state, TERN_SNAPSHOT_ABI);
    XXH3_128bits_update(state, pipeline->secret, sizeof pipeline->secret);
    hash_number(state, table->kind);
    hash_number(state, table->key_type);
    hash_number(state, table->key_flags);
    hash_number(state, table->max_bad_rows);
    hash_text(state, table->key.text != NULL ? table->key.text : "", table->key.length);
    for (unsigned i = 0; i < table->column_count; i++) {
        const struct tern_config_column *column = &table->columns[i];

        hash_text(state, column->name.text, column->name.length);
        hash_text(state, column->from.text, column->from.length);
        hash_number(state, column->type);
        hash_number(state, column->flags);
    }
    XXH3_128bits_update(state, digest, 16);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    memcpy(hash, canonical.digest, 16);
    return 0;
}

/* Says which table an error is about, where the callee could not know. */
static int about_table(struct tern_error *error, const char *name, int code)
{
    struct tern_error bare = *error;

    return tern_error_set(error, code, "table %s: %.440s", name, bare.message);
}

struct load_progress {
    const struct tern_apply_options *options;
    char step[TERN_NAME_MAX + 16];
};

static void report_load(void *context, unsigned permille, uint64_t rows)
{
    const struct load_progress *progress = context;

    tern_report_progress(progress->options, progress->step, permille, rows);
}

/* Reads the source and builds the section; the digest of what was read decides its identity, so a
 * file replaced in between is built as what it is now. */
static int build_table(struct tern_pipeline *pipeline, struct tern_image *image,
                       const struct tern_config_table *table, uint32_t id, uint8_t hash[16],
                       const struct tern_apply_options *options, struct tern_apply_table *report,
                       struct tern_diagnostics *diagnostics, struct tern_error *error)
{
    struct load_progress progress = {.options = options};
    struct tern_section_info info = {0};
    struct tern_load_report load = {0};
    struct tern_buffer bytes = {0};
    uint8_t digest[16];
    uint64_t seed;
    int result;

    snprintf(progress.step, sizeof progress.step, "table %s", table->name.text);
    seed = XXH3_64bits_withSeed(hash, 16, tern_load_u64(pipeline->secret));
    result = tern_table_load(table, seed, &bytes, &load, digest, report_load, &progress,
                             diagnostics, error);
    report->rows = load.build.rows;
    report->keys = load.build.keys;
    report->bad_rows = load.bad_rows;
    report->duplicates = load.build.duplicates;
    report->overlaps = load.build.overlaps;
    report->bytes = bytes.length;
    if (result == 0 && table_hash(pipeline, table, digest, hash) != 0)
        result = tern_error_set(error, TERN_ENOMEM, "table %s: out of memory", report->name);
    if (result == 0) {
        memcpy(info.name, report->name, sizeof info.name);
        info.rows = report->rows;
        info.keys = report->keys;
        result = tern_image_add(pipeline, image, TERN_SECTION_TABLE, id, hash, bytes.data,
                                bytes.length, &info, error);
        if (result != 0)
            about_table(error, report->name, result);
    }
    tern_buffer_free(&bytes);
    return result;
}

static int add_table(struct tern_pipeline *pipeline, struct tern_image *image,
                     const struct tern_config_table *table, uint32_t id,
                     const struct tern_apply_options *options, struct tern_apply_table *report,
                     struct tern_diagnostics *diagnostics, struct tern_error *error)
{
    const struct tern_image *live = &pipeline->live_image;
    const struct tern_section *known;
    uint64_t start = tern_clock_now_ns();
    uint8_t digest[16], hash[16];
    int result;

    snprintf(report->name, sizeof report->name, "%s", table->name.text);
    report->kind = table->kind;
    for (unsigned i = 0; i < live->count; i++)
        if (live->sections[i].kind == TERN_SECTION_TABLE &&
            strcmp(live->infos[i].name, report->name) == 0) {
            report->previous_rows = live->infos[i].rows;
            report->previous_bytes = live->sections[i].length;
        }
    result = source_digest(pipeline, table->source_path, digest, error);
    if (result != 0)
        return about_table(error, report->name, result);
    if (table_hash(pipeline, table, digest, hash) != 0)
        return tern_error_set(error, TERN_ENOMEM, "table %s: out of memory", report->name);
    known = tern_image_find(live, TERN_SECTION_TABLE, hash);
    if (known != NULL) {
        struct tern_section_info info = live->infos[known - live->sections];

        memcpy(info.name, report->name, sizeof info.name);
        report->reused = true;
        report->rows = info.rows;
        report->keys = info.keys;
        report->bytes = known->length;
        if (info.rows < table->min_rows)
            return tern_error_set(error, TERN_EREFUSED, "table %s: %llu rows, min_rows is %llu",
                                  report->name, (unsigned long long)info.rows,
                                  (unsigned long long)table->min_rows);
        result =
            tern_image_add(pipeline, image, TERN_SECTION_TABLE, id, hash, NULL, 0, &info, error);
    } else {
        result = build_table(pipeline, image, table, id, hash, options, report, diagnostics, error);
    }
    report->build_ms = tern_clock_ms_since(start);
    return result;
}

int tern_image_add_tables(struct tern_pipeline *pipeline, struct tern_image *image,
                          const struct tern_config *config,
                          const struct tern_apply_options *options,
                          struct tern_apply_result *result, struct tern_diagnostics *diagnostics,
                          struct tern_error *error)
{
    result->tables = calloc(config->table_count + 1, sizeof *result->tables);
    if (result->tables == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for the report");
    result->table_count = config->table_count;
    for (unsigned i = 0; i < config->table_count; i++) {
        const struct tern_config_table *table = &config->tables[i];
        int failed = add_table(pipeline, image, table, i + 1, options, &result->tables[i],
                               diagnostics, error);

        if (failed != 0) {
            if (diagnostics->error_count == 0)
                tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, table->source.place, "%s",
                                     error->message);
            return failed;
        }
    }
    return 0;
}
