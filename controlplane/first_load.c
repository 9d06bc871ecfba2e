#include "controlplane/first_load.h"

#include "controlplane/collections/rows.h"
#include "controlplane/log.h"
#include "shared/race.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <xxhash.h>

#define FILE_BYTES_MAX (256ull << 30) /* unpacked */
#define SHOWN_ERRORS   20u
#define REPORT_ROWS    1000u
#define BATCH_ROWS     256u
#define BATCH_BYTES    (2u << 20) /* of vectors */
#define NOTE_ROWS      10000u
#define IN_FLIGHT      8u /* batches that are not acknowledged yet: they share a commit */

/* ---- What is due ---- */

static int is_due(const struct tern_job_context *context,
                  const struct tern_config_collection *collection, bool *due,
                  struct tern_error *error)
{
    struct tern_store_load load;
    int rc;

    *due = false;
    if (collection->source_path == NULL || context->collections == NULL)
        return 0;
    rc = tern_store_load(context->store, collection->name.text,
                         tern_collections_store_id(context->collections), &load, error);
    if (rc != 0 || load.state != TERN_STORE_LOAD_NONE) {
        *due = rc == 0 && load.state == TERN_STORE_LOAD_BEGUN;
        return rc;
    }
    return tern_collections_is_empty(context->collections, collection->name.text, due, error);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static int open_rows(const struct tern_config_collection *collection, struct tern_rows **rows,
                     struct tern_error *error)
{
    const char *path = collection->source_path;
    /* Nothing in a raw file says that it is one. */
    const bool is_raw = ends_with(path, ".f32") || ends_with(path, ".f32.gz");
    const struct tern_rows_options options = {.format = is_raw ? TERN_ROWS_RAW : TERN_ROWS_GUESS,
                                              .max_bytes = FILE_BYTES_MAX};

    return tern_rows_open(path, &options, &collection->shape, rows, error);
}

static void report(const struct tern_job_context *context, const char *what, const char *name,
                   const struct tern_rows *rows, uint64_t count)
{
    char step[TERN_NAME_MAX + 24];
    const struct tern_progress progress = {
        .step = step, .permille = tern_rows_permille(rows), .rows = count};

    snprintf(step, sizeof step, "%s %s", what, name);
    context->progress(context->progress_context, &progress);
}

/* ---- Checking ---- */

/* "FILE:LINE:COLUMN: what" as a diagnostic with that place. */
static void add_error(struct tern_job *job, const char *path, const char *message)
{
    struct tern_place place = {.file = path};
    size_t length = strlen(path);
    int used = 0;

    if (strncmp(message, path, length) == 0 &&
        sscanf(message + length, ":%" SCNu32 ":%" SCNu32 ": %n", &place.line, &place.column,
               &used) == 2)
        message += length + (size_t)used;
    tern_diagnostics_add(&job->diagnostics, TERN_SEVERITY_ERROR, place, "%s", message);
}

static int check(const struct tern_job_context *context, struct tern_job *job,
                 const struct tern_config_collection *collection)
{
    const char *path = collection->source_path, *name = collection->name.text;
    struct tern_rows *rows = NULL;
    struct tern_rows_row row;
    struct tern_error why = {0};
    uint64_t count = 0, bad = 0;
    int rc = open_rows(collection, &rows, &why);

    if (rc != 0) {
        add_error(job, path, why.message);
        return tern_error_set(&job->error, rc, "collection %s: %s", name, why.message);
    }
    while ((rc = tern_rows_next(rows, &row, &why)) != 0) {
        if (rc == 1) {
            if (++count % REPORT_ROWS == 0)
                report(context, "check", name, rows, count);
            continue;
        }
        if (bad++ < SHOWN_ERRORS)
            add_error(job, path, why.message);
        if (rc != TERN_EINVAL)
            break;
    }
    tern_rows_close(rows);
    if (bad != 0)
        return tern_error_set(&job->error, TERN_EINVAL,
                              "collection %s: %" PRIu64 " bad row%s in %s; nothing was loaded",
                              name, bad, bad == 1 ? "" : "s", path);
    if (count > collection->shape.capacity)
        return tern_error_set(&job->error, TERN_ENOSPC,
                              "collection %s: %s has %" PRIu64 " vectors, more than its capacity "
                              "(%" PRIu32 ")",
                              name, path, count, collection->shape.capacity);
    return 0;
}

int tern_first_load_check(const struct tern_job_context *context, struct tern_job *job)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < job->config->collection_count; i++) {
        bool due;

        rc = is_due(context, &job->config->collections[i], &due, &job->error);
        if (rc == 0 && due)
            rc = check(context, job, &job->config->collections[i]);
    }
    job->rc = rc;
    return rc;
}

/* ---- Loading ---- */

/* Rows are copied: they are the reader's until the next one. */
struct load {
    const struct tern_job_context *context;
    struct tern_collections *collections;
    const struct tern_config_collection *collection;
    struct tern_store_load noted; /* as state.db has it */
    uint64_t rows;                /* that are written, those of an earlier attempt included */
    struct tern_collection_write writes[BATCH_ROWS];
    float *vectors;
    struct tern_graph_value *payloads;
    char (*strings)[TERN_PAYLOAD_STRING_MAX];
    unsigned count, capacity;            /* of the batch */
    unsigned in_flight, sent[IN_FLIGHT]; /* rows of each batch, by ticket */
    uint64_t ticket, loaded;
};

static int note(struct load *load, enum tern_store_load_state state, struct tern_error *error)
{
    load->noted.state = state;
    load->noted.rows = load->rows;
    return tern_store_set_load(load->context->store, load->collection->name.text,
                               tern_collections_store_id(load->collections), &load->noted, error);
}

/* Names the file as it is now, cheaply. */
static void identify(const char *path, uint8_t identity[16])
{
    struct stat status;
    uint64_t parts[4] = {0};
    XXH128_canonical_t canonical;

    if (stat(path, &status) == 0) {
        parts[0] = (uint64_t)status.st_size;
        parts[1] = (uint64_t)status.st_mtim.tv_sec;
        parts[2] = (uint64_t)status.st_mtim.tv_nsec;
        parts[3] = status.st_ino;
    }
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(parts, sizeof parts));
    memcpy(identity, canonical.digest, 16);
}

static int open_load(struct load *load)
{
    const struct tern_graph_shape *shape = &load->collection->shape;
    size_t values;

    load->capacity = (unsigned)tern_min_u64(BATCH_ROWS, BATCH_BYTES / (shape->dim * sizeof(float)));
    values = (size_t)load->capacity * shape->column_count;
    load->vectors = malloc(load->capacity * shape->dim * sizeof *load->vectors);
    load->payloads = calloc(values + 1, sizeof *load->payloads);
    load->strings = malloc((values + 1) * sizeof *load->strings);
    return load->vectors != NULL && load->payloads != NULL && load->strings != NULL ? 0
                                                                                    : TERN_ENOMEM;
}

static void close_load(struct load *load)
{
    struct tern_collection_ack ack;

    while (tern_collections_await(load->collections, &ack) == 0) /* of a load that failed */
        ;
    free(load->vectors);
    free(load->payloads);
    free(load->strings);
    free(load);
}

static void copy_row(struct load *load, const struct tern_rows_row *row)
{
    const struct tern_graph_shape *shape = &load->collection->shape;
    float *vector = load->vectors + (size_t)load->count * shape->dim;
    struct tern_graph_value *payload = load->payloads + (size_t)load->count * shape->column_count;

    memcpy(vector, row->vector, shape->dim * sizeof *vector);
    for (unsigned i = 0; i < shape->column_count; i++) {
        payload[i] = row->payload[i];
        if (payload[i].present && shape->columns[i].type == TERN_TYPE_STRING) {
            char *string = load->strings[(size_t)load->count * shape->column_count + i];

            assert(payload[i].string.length <= TERN_PAYLOAD_STRING_MAX);
            memcpy(string, payload[i].string.bytes, payload[i].string.length);
            payload[i].string.bytes = string;
        }
    }
    load->writes[load->count++] = (struct tern_collection_write){
        .id = row->id, .vector = vector, .payload = shape->column_count != 0 ? payload : NULL};
}

/* Waits for one batch. */
static int await(struct load *load, struct tern_error *error)
{
    struct tern_collection_ack ack;

    if (tern_collections_await(load->collections, &ack) != 0)
        return 0;
    load->in_flight--;
    if (ack.rc != 0)
        return tern_error_set(error, ack.rc, "%s", ack.error.message);
    load->loaded += ack.written;
    load->rows += load->sent[ack.ticket % IN_FLIGHT];
    return load->rows - load->noted.rows < NOTE_ROWS ? 0 : note(load, TERN_STORE_LOAD_BEGUN, error);
}

static int flush(struct load *load, struct tern_error *error)
{
    int rc = TERN_EAGAIN;

    if (load->count == 0)
        return 0;
    while (rc == TERN_EAGAIN) {
        rc = load->in_flight < IN_FLIGHT
                 ? tern_collections_submit(load->collections, load->collection->name.text,
                                           TERN_COLLECTIONS_INSIDE, load->ticket + 1, load->writes,
                                           load->count, NULL, error)
                 : TERN_EAGAIN;
        if (rc == TERN_EAGAIN) {
            const bool alone = load->in_flight == 0;
            int failed = await(load, error);

            if (failed != 0 || alone) /* alone: others fill the queue, and will not for ever */
                return failed != 0 ? failed : rc;
        }
    }
    if (rc != 0)
        return rc;
    load->sent[++load->ticket % IN_FLIGHT] = load->count;
    load->in_flight++;
    load->count = 0;
    return 0;
}

static int load_rows(const struct tern_job_context *context, struct load *load,
                     struct tern_rows *rows, struct tern_error *error)
{
    const uint64_t skipped = load->rows;
    struct tern_rows_row row;
    uint64_t read = 0;
    int rc;

    while ((rc = tern_rows_next(rows, &row, error)) == 1) {
        if (read >= skipped)
            copy_row(load, &row);
        if (++read % REPORT_ROWS == 0)
            report(context, "load", load->collection->name.text, rows, read);
        if (load->count == load->capacity && (rc = flush(load, error)) != 0)
            return rc;
    }
    if (rc == 0)
        rc = flush(load, error);
    while (rc == 0 && load->in_flight != 0)
        rc = await(load, error);
    return rc;
}

static int load_collection(const struct tern_job_context *context,
                           const struct tern_config_collection *collection, uint64_t *loaded,
                           struct tern_error *error)
{
    struct load *load = calloc(1, sizeof *load);
    struct tern_rows *rows = NULL;
    uint8_t identity[16];
    int rc;

    if (load == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    load->context = context;
    load->collections = context->collections;
    load->collection = collection;
    rc = open_load(load);
    if (rc != 0)
        tern_error_set(error, rc, "out of memory");
    if (rc == 0)
        rc = tern_store_load(context->store, collection->name.text,
                             tern_collections_store_id(context->collections), &load->noted, error);
    identify(collection->source_path, identity);
    /* What an earlier attempt has written of the very same file need not be written again. */
    if (rc == 0 && memcmp(load->noted.file, identity, sizeof identity) == 0)
        load->rows = load->noted.rows;
    memcpy(load->noted.file, identity, sizeof identity);
    if (rc == 0)
        rc = note(load, TERN_STORE_LOAD_BEGUN, error);
    TERN_RACE_POINT("load-begun");
    if (rc == 0)
        rc = open_rows(collection, &rows, error);
    if (rc == 0)
        rc = load_rows(context, load, rows, error);
    tern_rows_close(rows);
    TERN_RACE_POINT("load-complete");
    if (rc == 0)
        rc = note(load, TERN_STORE_LOAD_DONE, error);
    *loaded = load->loaded;
    close_load(load);
    return rc;
}

void tern_first_load_run(const struct tern_job_context *context, struct tern_job *job)
{
    const struct tern_config *config = tern_sources_config(context->sources);

    for (unsigned i = 0; config != NULL && i < config->collection_count; i++) {
        const struct tern_config_collection *collection = &config->collections[i];
        struct tern_error error = {0};
        uint64_t loaded = 0;
        bool due;
        int rc = is_due(context, collection, &due, &error);

        if (rc == 0 && !due)
            continue;
        if (rc == 0)
            rc = load_collection(context, collection, &loaded, &error);
        if (rc == 0) {
            tern_control_log(TERN_LOG_INFO, "collection %s: %" PRIu64 " vectors loaded from %s",
                             collection->name.text, loaded, collection->source_path);
            continue;
        }
        tern_control_log(TERN_LOG_ERROR,
                         "collection %s: %" PRIu64 " vectors loaded from %s, then: %s",
                         collection->name.text, loaded, collection->source_path, error.message);
        tern_diagnostics_add(
            &job->diagnostics, TERN_SEVERITY_WARNING, collection->source.place,
            "collection '%s' is served with %" PRIu64
            " vectors of its source, then: %s; the next apply or start tries again",
            collection->name.text, loaded, error.message);
    }
}
