/* ternctl ingest: rows of a file into a collection, or ids out of it. Batches go out ahead of their
 * acknowledgements; whatever ends it, what is acknowledged is told exactly. */
#include "clients/c/tern_vectors.h"
#include "controlplane/collections/rows.h"
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/directory.h"
#include "shared/clock.h"
#include "shared/schema.h"

#include <limits.h>
#include <signal.h>
#include <unistd.h>

#define BATCH_ROWS  256
#define BATCH_BYTES (1u << 20) /* of vectors, before it goes out early */
#define TEXT_BYTES  (2u << 20) /* of strings, likewise */
#define IN_FLIGHT   8
#define TIMEOUT_MS  60000 /* an acknowledgement may wait behind others' work */
#define BAR_US      100000

struct batch {
    unsigned count;
    uint64_t lines[BATCH_ROWS];
    uint64_t ids[BATCH_ROWS];
    struct tern_vectors_item items[BATCH_ROWS];
    struct tern_vectors_value *payload; /* BATCH_ROWS × columns */
    float *values;                      /* BATCH_ROWS × dim */
    char *text;                         /* TEXT_BYTES */
    size_t text_used;
};

/* Of a batch that is in flight, what is left to tell of it: acknowledgements come in order. */
struct sent {
    uint64_t last_line;
    unsigned count;
    uint64_t lines[BATCH_ROWS];
};

struct ingest {
    const struct tern_invocation *invocation;
    const char *file;
    bool is_delete;
    struct tern_vectors *vectors;
    struct tern_rows *rows;
    struct batch batch;
    struct sent sent[IN_FLIGHT];
    unsigned first_sent;
    uint64_t acknowledged, written, removed; /* rows; of these */
    uint64_t last_line, seq;                 /* acknowledged up to it */
    uint64_t began_ns, drawn_us;
    bool bar, bar_drawn;
    bool refused;            /* a batch was */
    struct tern_error error; /* what ended it */
};

static volatile sig_atomic_t interrupted; /* a second signal ends the process */

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* --- Progress --- */

static void draw_bar(struct ingest *ingest)
{
    unsigned permille = tern_rows_permille(ingest->rows);
    double seconds = tern_clock_ms_since(ingest->began_ns) / 1e3;
    uint64_t now_us = tern_clock_now_us();
    char rows[TERN_PRINT_TEXT], rate[TERN_PRINT_TEXT];

    if (!ingest->bar || now_us - ingest->drawn_us < BAR_US)
        return;
    ingest->drawn_us = now_us;
    ingest->bar_drawn = true;
    if (permille != 0)
        tern_print_bar(permille);
    else
        tern_print_erase_line();
    fprintf(stderr, "%s rows, %s/s", tern_print_count(rows, ingest->acknowledged),
            tern_print_rate(rate, seconds > 0 ? (double)ingest->acknowledged / seconds : 0));
    if (permille > 10 && permille < 1000)
        fprintf(stderr, ", %.0f s left", seconds * (1000 - permille) / permille);
    fflush(stderr);
}

static void erase_bar(struct ingest *ingest)
{
    if (ingest->bar_drawn)
        tern_print_erase_line();
    ingest->bar_drawn = false;
}

/* --- Batches out, acknowledgements in --- */

/* The oldest batch in flight; the first refusal is what is told. */
static int collect(struct ingest *ingest)
{
    struct sent *sent = &ingest->sent[ingest->first_sent];
    struct tern_vectors_ack ack;
    struct tern_error error;
    int rc = tern_vectors_collect(ingest->vectors, &ack, &error);

    if (rc != 0) {
        if (ingest->error.code == 0)
            ingest->error = error;
        return rc;
    }
    ingest->first_sent = (ingest->first_sent + 1) % IN_FLIGHT;
    if (ack.rc == 0) {
        ingest->acknowledged += sent->count;
        ingest->written += ack.written;
        ingest->removed += ack.removed;
        ingest->seq = tern_max_u64(ingest->seq, ack.seq);
        if (!ingest->refused)
            ingest->last_line = sent->last_line;
        draw_bar(ingest);
        return ingest->refused ? ingest->error.code : 0;
    }
    if (ingest->refused)
        return ingest->error.code;
    ingest->refused = true;
    if (ack.refused != 0 && ack.refused <= sent->count)
        tern_error_set(&ingest->error, ack.rc, "%s:%llu: %.400s", ingest->file,
                       (unsigned long long)sent->lines[ack.refused - 1], ack.message);
    else
        tern_error_set(&ingest->error, ack.rc, "lines %llu to %llu of %s were refused: %.300s",
                       (unsigned long long)sent->lines[0], (unsigned long long)sent->last_line,
                       ingest->file, ack.message);
    return ingest->error.code;
}

static int collect_all(struct ingest *ingest)
{
    int rc = 0;

    /* A refused batch says nothing of those behind it: each is heard. */
    while (tern_vectors_in_flight(ingest->vectors) != 0) {
        unsigned before = tern_vectors_in_flight(ingest->vectors);
        int code = collect(ingest);

        rc = rc != 0 ? rc : code;
        if (tern_vectors_in_flight(ingest->vectors) == before)
            break;
    }
    return rc;
}

static int flush(struct ingest *ingest)
{
    struct batch *batch = &ingest->batch;
    struct sent *sent;
    int rc = 0;

    if (batch->count == 0)
        return 0;
    while (rc == 0 && tern_vectors_in_flight(ingest->vectors) == IN_FLIGHT)
        rc = collect(ingest);
    if (rc == 0)
        rc = ingest->is_delete ? tern_vectors_delete(ingest->vectors, batch->ids, batch->count,
                                                     NULL, &ingest->error)
                               : tern_vectors_upsert(ingest->vectors, batch->items, batch->count,
                                                     NULL, &ingest->error);
    if (rc != 0)
        return rc;
    sent =
        &ingest
             ->sent[(ingest->first_sent + tern_vectors_in_flight(ingest->vectors) - 1) % IN_FLIGHT];
    sent->count = batch->count;
    sent->last_line = batch->lines[batch->count - 1];
    memcpy(sent->lines, batch->lines, batch->count * sizeof sent->lines[0]);
    batch->count = 0;
    batch->text_used = 0;
    return 0;
}

/* The same value in libtern's terms; a string is copied, because the row goes. */
static void copy_value(struct batch *batch, uint8_t type, const struct tern_graph_value *from,
                       struct tern_vectors_value *to)
{
    *to = (struct tern_vectors_value){.present = from->present, .u64 = from->u64};
    if (!from->present)
        return;
    if (type == TERN_TYPE_F32) {
        to->f32 = from->f32;
    } else if (type == TERN_TYPE_STRING) {
        to->string.bytes = batch->text + batch->text_used;
        to->string.length = from->string.length;
        memcpy(batch->text + batch->text_used, from->string.bytes, from->string.length);
        batch->text_used += from->string.length;
    }
}

static int add(struct ingest *ingest, const struct tern_rows_row *row)
{
    const struct tern_vectors_collection *shape = tern_vectors_collection(ingest->vectors);
    struct batch *batch = &ingest->batch;
    unsigned index = batch->count++;
    float *values = batch->values + (size_t)index * shape->dim;
    struct tern_vectors_value *payload = batch->payload + (size_t)index * shape->column_count;

    batch->lines[index] = row->line;
    batch->ids[index] = row->id;
    if (row->vector != NULL) {
        memcpy(values, row->vector, shape->dim * sizeof *values);
        for (unsigned i = 0; i < shape->column_count; i++)
            copy_value(batch, shape->columns[i].type, &row->payload[i], &payload[i]);
        batch->items[index] = (struct tern_vectors_item){row->id, values, payload};
    }
    if (batch->count == BATCH_ROWS || batch->count * shape->dim * sizeof *values >= BATCH_BYTES ||
        batch->text_used + TERN_PAYLOAD_COLUMNS_MAX * TERN_PAYLOAD_STRING_MAX > TEXT_BYTES)
        return flush(ingest);
    return 0;
}

/* --- From beginning to end --- */

static int send_rows(struct ingest *ingest)
{
    struct tern_rows_row row;
    struct tern_error error;
    int rc = 0, more = 1;

    while (rc == 0 && !interrupted && (more = tern_rows_next(ingest->rows, &row, &error)) == 1)
        rc = add(ingest, &row);
    if (rc == 0 && interrupted)
        rc = tern_error_set(&ingest->error, TERN_ECANCELLED, "interrupted");
    else if (rc == 0)
        rc = flush(ingest); /* also what stood before a row that is wrong */
    if (rc == 0)
        rc = collect_all(ingest);
    else
        (void)collect_all(ingest);
    if (rc == 0 && more < 0) {
        ingest->error = error;
        rc = error.code;
    }
    return rc;
}

static int choose_format(const struct tern_invocation *invocation,
                         struct tern_rows_options *options)
{
    static const struct {
        const char *name;
        enum tern_rows_format format;
    } formats[] = {{"csv", TERN_ROWS_CSV},
                   {"json", TERN_ROWS_JSON},
                   {"raw", TERN_ROWS_RAW},
                   {"ids", TERN_ROWS_IDS}};

    options->ids = invocation->ids;
    options->ids_only = (invocation->given & TERN_CTL_DELETE) != 0;
    if (invocation->given & TERN_CTL_RAW)
        options->format = TERN_ROWS_RAW;
    for (unsigned i = 0; invocation->format != NULL && i < TERN_COUNT(formats); i++)
        if (strcmp(invocation->format, formats[i].name) == 0)
            options->format = formats[i].format;
    if (invocation->format != NULL && options->format == TERN_ROWS_GUESS) {
        fprintf(stderr, "ternctl: --format takes csv, json, raw or ids, not '%s'\n",
                invocation->format);
        return TERN_EXIT_USAGE;
    }
    if (options->ids != NULL && options->format != TERN_ROWS_RAW) {
        fputs("ternctl: --ids goes with --raw: in every other format the rows have their ids\n",
              stderr);
        return TERN_EXIT_USAGE;
    }
    if (options->ids_only ? options->format == TERN_ROWS_RAW : options->format == TERN_ROWS_IDS) {
        fputs(options->ids_only ? "ternctl: raw vectors have no ids to remove\n"
                                : "ternctl: ids alone are for --delete\n",
              stderr);
        return TERN_EXIT_USAGE;
    }
    return TERN_EXIT_OK;
}

static int open_vectors(struct ingest *ingest, struct tern_error *error)
{
    const struct tern_vectors_options options = {.timeout_ms = TIMEOUT_MS, .in_flight = IN_FLIGHT};
    char *run_dir = NULL, address[PATH_MAX + 32];
    int rc = tern_instance_find(ingest->invocation, &run_dir, error);

    if (rc != 0)
        return rc;
    snprintf(address, sizeof address, "unix://%s/%s", run_dir, TERN_CONTROL_SOCKET);
    rc = tern_vectors_open(address, ingest->invocation->arguments[0], &options, &ingest->vectors,
                           error);
    if (rc == TERN_EUNREACHABLE)
        tern_error_set(error, rc, "tern-control is not running in %s", run_dir);
    free(run_dir);
    return rc;
}

static int open_rows(struct ingest *ingest, const struct tern_rows_options *options,
                     struct tern_error *error)
{
    const struct tern_vectors_collection *known = tern_vectors_collection(ingest->vectors);
    struct tern_graph_shape shape = {.dim = known->dim, .column_count = known->column_count};
    struct batch *batch = &ingest->batch;

    for (unsigned i = 0; i < known->column_count; i++) {
        shape.columns[i].type = known->columns[i].type;
        memcpy(shape.columns[i].name, known->columns[i].name, sizeof shape.columns[i].name);
    }
    batch->values = calloc((size_t)BATCH_ROWS * known->dim, sizeof *batch->values);
    batch->payload = calloc((size_t)BATCH_ROWS * (known->column_count + 1), sizeof *batch->payload);
    batch->text = malloc(TEXT_BYTES);
    if (batch->values == NULL || batch->payload == NULL || batch->text == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    return tern_rows_open(ingest->invocation->arguments[1], options, &shape, &ingest->rows, error);
}

static void print_json(const struct ingest *ingest, double seconds)
{
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_bool(&json, "ok", ingest->error.code == 0);
    tern_json_string(&json, "error", ingest->error.code != 0 ? ingest->error.message : NULL);
    tern_json_string(&json, "collection", ingest->invocation->arguments[0]);
    tern_json_u64(&json, "rows", ingest->acknowledged);
    tern_json_u64(&json, "line", ingest->last_line);
    tern_json_u64(&json, "written", ingest->written);
    tern_json_u64(&json, "removed", ingest->removed);
    tern_json_u64(&json, "seq", ingest->seq);
    tern_json_string(&json, "passed_over",
                     ingest->rows != NULL ? tern_rows_passed_over(ingest->rows) : "");
    tern_json_double(&json, "seconds", seconds);
    tern_json_double(&json, "rate", seconds > 0 ? (double)ingest->acknowledged / seconds : 0);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static void print_text(const struct ingest *ingest, double seconds)
{
    char rows[TERN_PRINT_TEXT], removed[TERN_PRINT_TEXT], rate[TERN_PRINT_TEXT];

    if (ingest->error.code != 0)
        fprintf(stderr, "ternctl: %s\n", ingest->error.message);
    if (ingest->is_delete)
        printf("%s ids, of which %s were there and are gone",
               tern_print_count(rows, ingest->acknowledged),
               tern_print_count(removed, ingest->removed));
    else
        printf("%s rows are acknowledged", tern_print_count(rows, ingest->acknowledged));
    if (ingest->error.code != 0 && ingest->last_line != 0)
        printf(", all up to line %llu; the same command may be given again\n",
               (unsigned long long)ingest->last_line);
    else if (ingest->error.code != 0)
        puts("");
    else
        printf(": %.1f s, %s/s\n", seconds,
               tern_print_rate(rate, seconds > 0 ? (double)ingest->acknowledged / seconds : 0));
}

int tern_ctl_ingest(const struct tern_invocation *invocation)
{
    struct ingest *ingest = calloc(1, sizeof *ingest);
    const struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    struct tern_rows_options options = {0};
    int code = choose_format(invocation, &options), rc;
    double seconds;

    if (ingest == NULL || code != TERN_EXIT_OK) {
        free(ingest);
        return code != TERN_EXIT_OK ? code : TERN_EXIT_REFUSED;
    }
    ingest->invocation = invocation;
    ingest->file =
        strcmp(invocation->arguments[1], "-") == 0 ? "standard input" : invocation->arguments[1];
    ingest->is_delete = options.ids_only;
    ingest->bar = !invocation->json && isatty(STDERR_FILENO);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    ingest->began_ns = tern_clock_now_ns();
    rc = open_vectors(ingest, &ingest->error);
    if (rc == 0)
        rc = open_rows(ingest, &options, &ingest->error);
    if (rc == 0)
        rc = send_rows(ingest);
    seconds = tern_clock_ms_since(ingest->began_ns) / 1e3;
    erase_bar(ingest);
    if (ingest->rows != NULL && !invocation->json && tern_rows_passed_over(ingest->rows)[0] != '\0')
        fprintf(stderr, "ternctl: the collection has no payload %s: passed over\n",
                tern_rows_passed_over(ingest->rows));
    if (invocation->json)
        print_json(ingest, seconds);
    else if (ingest->rows != NULL)
        print_text(ingest, seconds);
    else
        (void)tern_ctl_fail(&ingest->error);
    code = rc == 0 ? TERN_EXIT_OK
           : rc == TERN_EUNREACHABLE || rc == TERN_ECLOSED || rc == TERN_ETIMEDOUT
               ? TERN_EXIT_UNREACHABLE
               : TERN_EXIT_REFUSED;
    tern_vectors_close(ingest->vectors);
    tern_rows_close(ingest->rows);
    free(ingest->batch.values);
    free(ingest->batch.payload);
    free(ingest->batch.text);
    free(ingest);
    return code;
}
