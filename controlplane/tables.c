/* The tables of one image: built from their sources, or shared with what is served. */
#include "controlplane/pipeline.h"

#include "controlplane/build/source.h"
#include "controlplane/config/quantity.h"
#include "shared/clock.h"

#include <inttypes.h>

#include <xxhash.h>

#define SKETCH_KIND "rows" /* as an attachment of a section */

/* One table on its way into the image. */
struct adding {
    struct tern_pipeline *pipeline;
    struct tern_image *image;
    const struct tern_config_table *table;
    uint32_t id; /* 1-based */
    uint8_t definition[16];
    const struct tern_apply_options *options;
    struct tern_apply_table *report;
    struct tern_diagnostics *diagnostics;
    char step[TERN_NAME_MAX + 16]; /* for progress */
};

/* Says which table an error is about, where the callee could not know. */
static int about_table(struct tern_error *error, const char *name, int code)
{
    struct tern_error bare = *error;

    return tern_error_set(error, code, "table %s: %.440s", name, bare.message);
}

/* ---- Identity ---- */

static void hash_number(XXH3_state_t *state, uint64_t number)
{
    XXH3_128bits_update(state, &number, sizeof number);
}

static void hash_text(XXH3_state_t *state, const char *text, size_t length)
{
    hash_number(state, length);
    XXH3_128bits_update(state, text, length);
}

/* What a table's bytes are a function of besides its source: definition, format and secret. */
static int definition_hash(const struct tern_pipeline *pipeline,
                           const struct tern_config_table *table, uint8_t hash[16])
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
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    memcpy(hash, canonical.digest, 16);
    return 0;
}

static void content_hash(const uint8_t definition[16], const uint8_t digest[16], uint8_t hash[16])
{
    XXH128_canonical_t canonical;
    uint8_t both[32];

    memcpy(both, definition, 16);
    memcpy(both + 16, digest, 16);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(both, sizeof both));
    memcpy(hash, canonical.digest, 16);
}

/* ---- Sources ---- */

static struct tern_source_known *find_known(struct tern_pipeline *pipeline, const char *path)
{
    for (unsigned i = 0; i < pipeline->source_count; i++)
        if (strcmp(pipeline->sources[i].path, path) == 0)
            return &pipeline->sources[i];
    return NULL;
}

static int remember(struct tern_pipeline *pipeline, const char *path,
                    const struct tern_source_identity *identity, struct tern_error *error)
{
    struct tern_source_known *known = find_known(pipeline, path);

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
    known->identity = *identity;
    return 0;
}

/* A file that is far over max_bytes is not even read for its digest. Packed data may be a little
 * longer than what it unpacks to, never twice as long. */
static int check_size(const struct tern_config_table *table,
                      const struct tern_source_identity *identity, struct tern_error *error)
{
    uint64_t limit = table->max_bytes != 0 ? table->max_bytes : TERN_SOURCE_BYTES_MAX;
    char text[TERN_QUANTITY_TEXT];

    if (identity->size / 2 <= limit)
        return 0;
    tern_quantity_format_size(limit, text);
    return tern_error_set(error, TERN_ELIMIT, "%s has %" PRIu64 " bytes, max_bytes is %s",
                          table->source_path, identity->size, text);
}

/* The source as it is now; its digest from memory when the file has not been touched. */
static int identify(struct tern_pipeline *pipeline, const struct tern_config_table *table,
                    struct tern_source_identity *identity, struct tern_error *error)
{
    const struct tern_source_known *known = find_known(pipeline, table->source_path);
    struct tern_source_identity now;
    int result = tern_source_stat(table->source_path, &now, error);

    if (result == 0)
        result = check_size(table, &now, error);
    if (result != 0)
        return result;
    if (known != NULL) {
        memcpy(now.digest, known->identity.digest, sizeof now.digest);
        if (memcmp(&now, &known->identity, sizeof now) == 0) {
            *identity = now;
            return 0;
        }
    }
    result = tern_source_digest(table->source_path, &now, error);
    if (result == 0)
        result = remember(pipeline, table->source_path, &now, error);
    if (result == 0)
        *identity = now;
    return result;
}

/* ---- From what is there already ---- */

static void report_section(struct tern_apply_table *report, const struct tern_section *section,
                           const struct tern_section_info *info)
{
    report->rows = info->rows;
    report->keys = info->keys;
    report->bytes = section->length;
    report->source_bytes = info->source_bytes;
    report->loaded_at_us = info->loaded_at_us;
}

/* The section of a table of this name and definition among `count`, or NULL. */
static const struct tern_section *find_table(const struct tern_section *sections,
                                             const struct tern_section_info *infos, unsigned count,
                                             const struct adding *adding)
{
    for (unsigned i = 0; i < count; i++)
        if (sections[i].kind == TERN_SECTION_TABLE &&
            strcmp(infos[i].name, adding->report->name) == 0 &&
            memcmp(infos[i].definition, adding->definition, 16) == 0)
            return &sections[i];
    return NULL;
}

/* Shares the live section whatever the source says now. TERN_ENOENT: there is none that fits. */
static int add_served(const struct adding *adding, struct tern_error *error)
{
    const struct tern_image *live = &adding->pipeline->live_image;
    const struct tern_section *section =
        find_table(live->sections, live->infos, live->count, adding);
    struct tern_section_info info;
    int result;

    if (section == NULL)
        return tern_error_set(error, TERN_ENOENT, "what is served has no such table");
    info = live->infos[section - live->sections];
    result = tern_image_add(adding->pipeline, adding->image, TERN_SECTION_TABLE, adding->id,
                            section->content_hash, NULL, 0, &info, error);
    if (result != 0)
        return result;
    report_section(adding->report, section, &info);
    adding->report->reused = true;
    return 0;
}

/* After a reboot nothing is live, but the state directory keeps the last generation's sections. */
static int add_archived(const struct adding *adding, struct tern_error *error)
{
    const char *state_dir = adding->pipeline->state_dir;
    const struct tern_section *section;
    struct tern_archive_list list = {0};
    struct tern_buffer bytes = {0};
    int result = tern_archive_read(state_dir, 0, &list, error);

    if (result != 0)
        return result;
    section = find_table(list.sections, list.infos, list.count, adding);
    if (section == NULL) {
        tern_archive_list_free(&list);
        return tern_error_set(error, TERN_ENOENT, "the last generation has no such table");
    }
    result = tern_archive_section(state_dir, section, &bytes, error);
    if (result == 0) {
        const struct tern_section_info *info = &list.infos[section - list.sections];

        result = tern_image_add(adding->pipeline, adding->image, TERN_SECTION_TABLE, adding->id,
                                section->content_hash, bytes.data, bytes.length, info, error);
        if (result == 0)
            report_section(adding->report, section, info);
    }
    tern_buffer_free(&bytes);
    tern_archive_list_free(&list);
    return result;
}

/* ---- From the source ---- */

static void report_load(void *context, unsigned permille, uint64_t rows)
{
    const struct adding *adding = context;

    tern_report_progress(adding->options, adding->step, permille, rows);
}

/* The sketch kept of the table that is served, if its rows are made up as these are. */
static int find_sketch(const struct adding *adding, struct tern_sketch *sketch)
{
    const struct tern_image *live = &adding->pipeline->live_image;
    const struct tern_section *section =
        find_table(live->sections, live->infos, live->count, adding);
    struct tern_buffer bytes = {0};
    struct tern_error error;
    int result = TERN_ENOENT;

    if (section != NULL)
        result = tern_archive_attached(adding->pipeline->state_dir, section->content_hash,
                                       SKETCH_KIND, &bytes, &error);
    if (result == 0)
        result = tern_sketch_load(bytes.data, bytes.length, sketch);
    tern_buffer_free(&bytes);
    return result;
}

/* Keeps the sketch for the one that comes next. Without it numbers of rows are compared. */
static void keep_sketch(const struct adding *adding, const uint8_t hash[16],
                        const struct tern_sketch *sketch)
{
    struct tern_buffer bytes = {0};
    struct tern_error error;

    if (tern_sketch_save(sketch, &bytes) == 0)
        (void)tern_archive_attach(adding->pipeline->state_dir, hash, SKETCH_KIND, bytes.data,
                                  bytes.length, &error);
    tern_buffer_free(&bytes);
}

/* Refuses a table that differs too much from the one it replaces: a source cut short, or the wrong
 * file. `sketch` is of its rows. */
static int check_change(const struct adding *adding, const struct tern_sketch *sketch,
                        struct tern_error *error)
{
    const struct tern_apply_table *report = adding->report;
    uint64_t before = report->previous_rows, now = report->rows;
    uint32_t limit = adding->table->max_change_permille;
    struct tern_sketch served = {0};
    double change;

    if (limit == UINT32_MAX || before == 0 || adding->options->force_change)
        return 0;
    change = (double)(now > before ? now - before : before - now) / (double)before;
    if ((sketch->count != 0 || now == 0) && find_sketch(adding, &served) == 0) {
        double sketched = tern_sketch_change(&served, sketch);
        bool exact = tern_sketch_is_whole(&served) && tern_sketch_is_whole(sketch);

        change = exact || sketched > change ? sketched : change;
    }
    tern_sketch_free(&served);
    if (change * 1000 <= limit)
        return 0;
    return tern_error_set(error, TERN_EREFUSED,
                          "%.1f%% of its %" PRIu64 " rows change (there are %" PRIu64
                          " now), max_change is %.1f%% (ternctl apply --force-change accepts it)",
                          change * 100, before, now, (double)limit / 10);
}

/* Reads the source and builds the section; the digest of what was read decides its identity, so a
 * file replaced in between is built as what it is now. */
static int build_table(struct adding *adding, const struct tern_source_identity *identity,
                       struct tern_error *error)
{
    struct tern_apply_table *report = adding->report;
    struct tern_section_info info = {.loaded_at_us = tern_clock_wall_us(),
                                     .source_bytes = identity->size};
    bool bounded = adding->table->max_change_permille != UINT32_MAX;
    struct tern_sketch sketch = {0};
    struct tern_load_report load = {.sketch = bounded ? &sketch : NULL};
    struct tern_buffer bytes = {0};
    uint8_t digest[16], hash[16];
    uint64_t seed;
    int result;

    content_hash(adding->definition, identity->digest, hash);
    seed = XXH3_64bits_withSeed(hash, 16, tern_load_u64(adding->pipeline->secret));
    result = tern_table_load(adding->table, seed, &bytes, &load, digest, report_load, adding,
                             adding->diagnostics, error);
    report->rows = load.build.rows;
    report->keys = load.build.keys;
    report->bad_rows = load.bad_rows;
    report->duplicates = load.build.duplicates;
    report->overlaps = load.build.overlaps;
    report->bytes = bytes.length;
    report->source_bytes = info.source_bytes;
    report->loaded_at_us = info.loaded_at_us;
    if (result == 0) {
        result = check_change(adding, &sketch, error);
        if (result == 0) {
            content_hash(adding->definition, digest, hash);
            if (bounded)
                keep_sketch(adding, hash, &sketch);
            memcpy(info.name, report->name, sizeof info.name);
            memcpy(info.definition, adding->definition, sizeof info.definition);
            info.rows = report->rows;
            info.keys = report->keys;
            result = tern_image_add(adding->pipeline, adding->image, TERN_SECTION_TABLE, adding->id,
                                    hash, bytes.data, bytes.length, &info, error);
        }
        if (result != 0)
            about_table(error, report->name, result);
    }
    tern_sketch_free(&sketch);
    tern_buffer_free(&bytes);
    return result;
}

/* Shares the live section when the source is what that was built from, else builds. */
static int add_from_source(struct adding *adding, struct tern_error *error)
{
    const struct tern_image *live = &adding->pipeline->live_image;
    struct tern_apply_table *report = adding->report;
    struct tern_source_identity identity;
    const struct tern_section *known;
    struct tern_section_info info;
    uint8_t hash[16];
    int result = identify(adding->pipeline, adding->table, &identity, error);

    report->looked_at = true;
    if (result != 0)
        return about_table(error, report->name, result);
    content_hash(adding->definition, identity.digest, hash);
    known = tern_image_find(live, TERN_SECTION_TABLE, hash);
    /* Of sections that a lost state directory knows nothing about only the bytes are there: built
     * again, they are shared all the same. */
    if (known == NULL ||
        memcmp(live->infos[known - live->sections].definition, adding->definition, 16) != 0)
        return build_table(adding, &identity, error);
    info = live->infos[known - live->sections];
    memcpy(info.name, report->name, sizeof info.name);
    report->reused = true;
    report_section(report, known, &info);
    if (info.rows < adding->table->min_rows)
        return tern_error_set(error, TERN_EREFUSED,
                              "table %s: %" PRIu64 " rows, min_rows is %" PRIu64, report->name,
                              info.rows, adding->table->min_rows);
    return tern_image_add(adding->pipeline, adding->image, TERN_SECTION_TABLE, adding->id, hash,
                          NULL, 0, &info, error);
}

/* ---- A table ---- */

/* What `on_error: keep` covers: the source and its rows, not this machine's memory. */
static bool is_of_source(int code)
{
    return code != TERN_ENOMEM && code != TERN_ENOSPC;
}

/* `on_error: keep`: the table as it was, and the reason as a warning. */
static int keep(struct adding *adding, const struct tern_diagnostics_mark *mark,
                struct tern_error *error)
{
    struct tern_apply_table *report = adding->report;
    const struct tern_error why = *error;
    struct tern_error none = {0};
    uint64_t now_us = tern_clock_wall_us();
    int result = add_served(adding, &none);

    if (result != 0 && adding->pipeline->live == NULL)
        result = add_archived(adding, &none);
    if (result != 0)
        return tern_error_set(error, why.code, "%.380s; on_error is keep, but %.100s", why.message,
                              none.message);
    tern_diagnostics_soften(adding->diagnostics, mark);
    report->kept = true;
    report->bad_rows = report->duplicates = report->overlaps = 0;
    snprintf(report->error, sizeof report->error, "%.*s", (int)sizeof report->error - 1,
             why.message);
    tern_diagnostics_add(
        adding->diagnostics, TERN_SEVERITY_WARNING, adding->table->source.place,
        "%s; its %" PRIu64 " rows read %" PRIu64 " s ago are kept", why.message, report->rows,
        now_us > report->loaded_at_us ? (now_us - report->loaded_at_us) / 1000000 : 0);
    return 0;
}

static int add_table(struct adding *adding, struct tern_error *error)
{
    const struct tern_config_table *table = adding->table;
    const bool *take_live = adding->options->take_live;
    struct tern_apply_table *report = adding->report;
    uint64_t start = tern_clock_now_ns();
    struct tern_diagnostics_mark mark = tern_diagnostics_mark(adding->diagnostics);
    int result;

    snprintf(report->name, sizeof report->name, "%s", table->name.text);
    snprintf(adding->step, sizeof adding->step, "table %s", table->name.text);
    report->kind = table->kind;
    tern_image_compare(&adding->pipeline->live_image, report);
    if (definition_hash(adding->pipeline, table, adding->definition) != 0)
        return tern_error_set(error, TERN_ENOMEM, "table %s: out of memory", report->name);
    if (take_live != NULL && take_live[adding->id - 1])
        result = add_served(adding, error);
    else
        result = TERN_ENOENT;
    if (result == TERN_ENOENT)
        result = add_from_source(adding, error);
    if (result != 0 && table->on_error == TERN_ON_ERROR_KEEP && is_of_source(result))
        result = keep(adding, &mark, error);
    if (result != 0)
        snprintf(report->error, sizeof report->error, "%.*s", (int)sizeof report->error - 1,
                 error->message);
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
        struct adding adding = {.pipeline = pipeline,
                                .image = image,
                                .table = &config->tables[i],
                                .id = i + 1,
                                .options = options,
                                .report = &result->tables[i],
                                .diagnostics = diagnostics};
        size_t errors = diagnostics->error_count;
        int failed = add_table(&adding, error);

        if (failed == 0)
            continue;
        if (diagnostics->error_count == errors)
            tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, adding.table->source.place, "%s",
                                 error->message);
        result->failed_table = i + 1;
        return failed;
    }
    return 0;
}
