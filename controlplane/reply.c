#include "controlplane/reply.h"

#include "controlplane/message.h"
#include "shared/board.h"
#include "shared/clock.h"
#include "shared/proto/tern.pb-c.h"

#include <unistd.h>

static int append_reply(struct tern_buffer *out, const Tern__Control__Reply *reply)
{
    return tern_message_append(out, &reply->base);
}

static void fill_failure(Tern__Control__Failure *failure, int code, const char *message)
{
    tern__control__failure__init(failure);
    failure->code = code;
    failure->message = tern_message_text(message);
}

int tern_reply_failure(struct tern_buffer *out, int code, const char *message)
{
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
    Tern__Control__Failure failure;

    fill_failure(&failure, code, message);
    reply.body_case = TERN__CONTROL__REPLY__BODY_FAILURE;
    reply.failure = &failure;
    return append_reply(out, &reply);
}

int tern_reply_progress(struct tern_buffer *out, const struct tern_builder_state *state,
                        bool waiting)
{
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
    Tern__Control__Progress progress = TERN__CONTROL__PROGRESS__INIT;

    progress.step = tern_message_text(waiting ? "waiting for another job" : state->step);
    progress.permille = waiting ? 0 : state->permille;
    progress.rows = waiting ? 0 : state->rows;
    reply.body_case = TERN__CONTROL__REPLY__BODY_PROGRESS;
    reply.progress = &progress;
    return append_reply(out, &reply);
}

static int append_diagnostic(struct tern_buffer *out, bool warning, const struct tern_place *place,
                             const char *message)
{
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
    Tern__Control__Diagnostic diagnostic = TERN__CONTROL__DIAGNOSTIC__INIT;

    diagnostic.warning = warning;
    diagnostic.file = tern_message_text(place->file);
    diagnostic.line = place->line;
    diagnostic.column = place->column;
    diagnostic.message = tern_message_text(message);
    reply.body_case = TERN__CONTROL__REPLY__BODY_DIAGNOSTIC;
    reply.diagnostic = &diagnostic;
    return append_reply(out, &reply);
}

static int append_diagnostics(struct tern_buffer *out, const struct tern_diagnostics *diagnostics)
{
    size_t shown = tern_min_u64(diagnostics->count, TERN_REPLY_DIAGNOSTICS_MAX);
    int rc = 0;

    for (size_t i = 0; i < shown && rc == 0; i++) {
        const struct tern_diagnostic *item = &diagnostics->items[i];

        rc = append_diagnostic(out, item->severity == TERN_SEVERITY_WARNING, &item->place,
                               item->message);
    }
    if (rc == 0 && shown < diagnostics->count) {
        char message[64];

        snprintf(message, sizeof message, "%zu more are not shown", diagnostics->count - shown);
        rc = append_diagnostic(out, true, &diagnostics->items[shown].place, message);
    }
    return rc;
}

void tern_reply_fill_table(Tern__Control__TableResult *to, const struct tern_apply_table *from)
{
    tern__control__table_result__init(to);
    to->name = tern_message_text(from->name);
    to->kind = tern_message_text(tern_table_kind_name(from->kind));
    to->rows = from->rows;
    to->keys = from->keys;
    to->bytes = from->bytes;
    to->bad_rows = from->bad_rows;
    to->duplicates = from->duplicates;
    to->overlaps = from->overlaps;
    to->previous_rows = from->previous_rows;
    to->previous_bytes = from->previous_bytes;
    to->reused = from->reused;
    to->build_ms = from->build_ms;
    to->kept = from->kept;
    to->error = tern_message_text(from->error);
    to->source_bytes = from->source_bytes;
    to->loaded_at_us = from->loaded_at_us;
}

static void fill_seat(Tern__Control__SeatAnswer *to, const struct tern_apply_seat *from)
{
    tern__control__seat_answer__init(to);
    to->seat = from->seat;
    to->pid = from->pid;
    to->answer = tern_message_text(from->answer == TERN_ANSWER_READY      ? "ready"
                                   : from->answer == TERN_ANSWER_REJECTED ? "rejected"
                                                                          : "lagging");
    to->reason = tern_message_text(from->reason);
}

static void fill_hold(Tern__Control__Hold *to, const struct tern_sources_hold *from)
{
    tern__control__hold__init(to);
    to->since_us = from->since_us;
    to->generation = from->generation;
    to->uid = from->uid;
}

/* The result with its lists, in one allocation each. */
struct published {
    Tern__Control__Published message;
    Tern__Control__TableResult *tables;
    Tern__Control__SeatAnswer *seats;
    Tern__Control__CollectionResult *collections;
};

static int published_new(const struct tern_job *job, struct published *published)
{
    const struct tern_apply_result *result = &job->result;
    Tern__Control__Published *message = &published->message;

    tern__control__published__init(message);
    published->tables = calloc(result->table_count + 1u, sizeof *published->tables);
    published->seats = calloc(result->seat_count + 1u, sizeof *published->seats);
    message->tables = calloc(result->table_count + 1u, sizeof *message->tables);
    message->seats = calloc(result->seat_count + 1u, sizeof *message->seats);
    if (published->tables == NULL || published->seats == NULL || message->tables == NULL ||
        message->seats == NULL ||
        tern_reply_collection_results(result, &published->collections, &message->collections) != 0)
        return TERN_ENOMEM;
    message->n_collections = result->collection_count;
    for (unsigned i = 0; i < result->table_count; i++) {
        tern_reply_fill_table(&published->tables[i], &result->tables[i]);
        message->tables[i] = &published->tables[i];
    }
    for (unsigned i = 0; i < result->seat_count; i++) {
        fill_seat(&published->seats[i], &result->seats[i]);
        message->seats[i] = &published->seats[i];
    }
    message->n_tables = result->table_count;
    message->n_seats = result->seat_count;
    message->generation = result->generation;
    message->published = result->published;
    message->acknowledged = result->acknowledged;
    message->dry_run = job->dry_run;
    message->rules = result->rules;
    message->conjunctions = result->conjunctions;
    message->units = result->units;
    message->rows_bytes = result->rows_bytes;
    message->residual_comparisons = result->residual_comparisons;
    message->residual_rules = result->residual_rules;
    message->unfitted_rows_bytes = result->unfitted_rows_bytes;
    message->new_bytes = result->new_bytes;
    message->shared_bytes = result->shared_bytes;
    message->read_ms = result->read_ms;
    message->build_ms = result->build_ms;
    message->compile_ms = result->compile_ms;
    message->verify_ms = result->verify_ms;
    message->announce_ms = result->announce_ms;
    message->publish_ms = result->publish_ms;
    message->total_ms = result->total_ms;
    message->live_generation = job->live_generation;
    message->restored_from = job->restored_from;
    message->rules_only = job->rules_only;
    message->tests_run = result->tests_run;
    message->tests_failed = result->tests_failed;
    return 0;
}

static void published_free(struct published *published)
{
    free(published->message.tables);
    free(published->message.seats);
    free(published->message.collections);
    free(published->tables);
    free(published->seats);
    free(published->collections);
}

int tern_reply_job(struct tern_buffer *out, const struct tern_job *job)
{
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
    Tern__Control__Resumed resumed = TERN__CONTROL__RESUMED__INIT;
    Tern__Control__Dropped dropped = TERN__CONTROL__DROPPED__INIT;
    Tern__Control__Failure failure;
    Tern__Control__Hold hold;
    struct published published = {0};
    int rc = append_diagnostics(out, &job->diagnostics);

    if (rc == 0)
        rc = published_new(job, &published);
    if (rc == 0 && job->rc == 0 && job->kind == TERN_JOB_RESUME) {
        fill_hold(&hold, &job->hold);
        resumed.held = job->hold.since_us != 0;
        resumed.hold = &hold;
        reply.body_case = TERN__CONTROL__REPLY__BODY_RESUMED;
        reply.resumed = &resumed;
        rc = append_reply(out, &reply);
    } else if (rc == 0 && job->rc == 0 && job->kind == TERN_JOB_DROP) {
        dropped.collection = job->collection;
        dropped.vectors = job->vectors;
        dropped.count_only = job->dry_run;
        reply.body_case = TERN__CONTROL__REPLY__BODY_DROPPED;
        reply.dropped = &dropped;
        rc = append_reply(out, &reply);
    } else if (rc == 0 && job->rc == 0) {
        reply.body_case = TERN__CONTROL__REPLY__BODY_PUBLISHED;
        reply.published = &published.message;
        rc = append_reply(out, &reply);
    } else if (rc == 0) {
        fill_failure(&failure, job->rc,
                     job->error.message[0] != '\0' ? job->error.message : tern_error_text(job->rc));
        failure.partial = &published.message;
        reply.body_case = TERN__CONTROL__REPLY__BODY_FAILURE;
        reply.failure = &failure;
        rc = append_reply(out, &reply);
    }
    published_free(&published);
    return rc;
}

static void fill_row(Tern__Control__HistoryRow *to, const struct tern_history_row *from)
{
    tern__control__history_row__init(to);
    to->id = (uint64_t)from->id;
    to->generation = from->generation;
    to->state = tern_message_text(tern_history_state_name(from->state));
    to->kind = tern_message_text(tern_history_kind_name(from->kind));
    to->reason = tern_message_text(from->reason);
    to->at_us = from->at_us;
    to->uid = from->uid;
    to->message = tern_message_text(from->message);
    to->config_path = tern_message_text(from->config_path);
    to->config_hash.data = (uint8_t *)(uintptr_t)from->config_hash;
    to->config_hash.len = sizeof from->config_hash;
    to->rules = from->rules;
    to->rows = from->rows;
    to->bytes = from->bytes;
    to->duration_ms = from->duration_ms;
    to->restored_from = from->restored_from;
    to->config_text = tern_message_text(from->config_text);
    to->rules_text = tern_message_text(from->rules_text);
    if (from->details_length != 0) /* freed by tern_reply_history */
        to->details =
            tern__control__history_details__unpack(NULL, from->details_length, from->details);
}

int tern_reply_history(struct tern_buffer *out, const struct tern_history_row *rows, unsigned count,
                       uint64_t generation)
{
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
    Tern__Control__History history = TERN__CONTROL__HISTORY__INIT;
    Tern__Control__HistoryRow *items = calloc(count + 1u, sizeof *items);
    int rc = TERN_ENOMEM;

    history.rows = calloc(count + 1u, sizeof *history.rows);
    if (items != NULL && history.rows != NULL) {
        for (unsigned i = 0; i < count; i++) {
            fill_row(&items[i], &rows[i]);
            history.rows[i] = &items[i];
        }
        history.n_rows = count;
        history.generation = generation;
        reply.body_case = TERN__CONTROL__REPLY__BODY_HISTORY;
        reply.history = &history;
        rc = append_reply(out, &reply);
        for (unsigned i = 0; i < count; i++)
            if (items[i].details != NULL)
                tern__control__history_details__free_unpacked(items[i].details, NULL);
    }
    free(history.rows);
    free(items);
    return rc;
}

static void fill_build(Tern__Control__BuildStatus *to, const struct tern_builder_state *from)
{
    tern__control__build_status__init(to);
    to->step = tern_message_text(from->step);
    to->permille = from->permille;
    to->rows = from->rows;
    to->started_at_us = from->started_at_us;
    to->path = tern_message_text(from->path);
    to->waiting = from->waiting;
}

static void fill_seat_status(Tern__Control__SeatStatus *to, const struct tern_pipeline_seat *from)
{
    tern__control__seat_status__init(to);
    to->seat = from->seat;
    to->pid = from->pid;
    to->generation = from->generation;
    to->started_at_us = from->started_at_us;
    to->loops = from->loops;
    to->backend = tern_message_text(from->backend);
    to->backend_reason = tern_message_text(from->backend_reason);
    to->stuck = from->stuck;
    to->quarantined_bytes = from->quarantined_bytes;
}

static void fill_reader_status(Tern__Control__ReaderStatus *to,
                               const struct tern_pipeline_reader *from)
{
    tern__control__reader_status__init(to);
    to->page = from->page;
    to->pid = from->pid;
    to->name = tern_message_text(from->name);
    to->generation = from->generation;
    to->started_at_us = from->started_at_us;
    to->contexts = from->contexts;
    to->stuck = from->stuck;
    to->quarantined_bytes = from->quarantined_bytes;
}

/* µs between, 0 when `later` is not. */
static uint64_t since(uint64_t later_us, uint64_t earlier_us)
{
    return later_us > earlier_us ? later_us - earlier_us : 0;
}

static void fill_source(Tern__Control__SourceStatus *to, const struct tern_source_state *from,
                        uint64_t now_us)
{
    tern__control__source_status__init(to);
    to->table = tern_message_text(from->table);
    to->path = tern_message_text(from->path);
    to->rows = from->rows;
    to->keys = from->keys;
    to->bytes = from->bytes;
    to->source_bytes = from->source_bytes;
    to->loaded_at_us = from->loaded_at_us;
    to->age_ms = since(now_us, from->confirmed_us) / 1000;
    to->refresh_us = from->refresh_us;
    if (from->due_us != UINT64_MAX)
        to->next_in_ms = since(from->due_us, now_us) / 1000;
    to->failures = from->failures;
    to->failed_at_us = from->failed_at_us;
    to->error = tern_message_text(from->error);
}

static void fill_log(Tern__Control__DecisionLogStatus *to, const struct tern_drain_status *from)
{
    tern__control__decision_log_status__init(to);
    to->on = from->on;
    to->directory = tern_message_text(from->directory);
    to->file = from->file;
    to->written = from->written;
    to->skipped = from->skipped;
    to->lost = from->lost;
    to->failed = from->failed;
    to->bytes = from->bytes;
    to->error = tern_message_text(from->error);
}

int tern_reply_status(struct tern_buffer *out, const struct tern_reply_status *status)
{
    const struct tern_pipeline_status *pipeline = status->pipeline;
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
    Tern__Control__Status message = TERN__CONTROL__STATUS__INIT;
    Tern__Control__BuildStatus build;
    Tern__Control__DecisionLogStatus log;
    Tern__Control__HistoryRow publish, failure;
    Tern__Control__SeatStatus seats[TERN_COUNT(pipeline->seats)],
        *list[TERN_COUNT(pipeline->seats)];
    Tern__Control__ReaderStatus readers[TERN_COUNT(pipeline->readers)],
        *reader_list[TERN_COUNT(pipeline->readers)];
    const struct tern_sources_copy *copy = status->sources;
    Tern__Control__SourceStatus *sources = calloc(copy->count + 1u, sizeof *sources);
    Tern__Control__CollectionStatus *collections = NULL;
    Tern__Control__Hold hold;
    int rc = TERN_ENOMEM;

    message.sources = calloc(copy->count + 1u, sizeof *message.sources);
    if (sources == NULL || message.sources == NULL ||
        tern_reply_collection_statuses(status->collections, status->collection_count, &collections,
                                       &message.collections) != 0)
        goto out;
    message.n_collections = status->collection_count;
    message.reserved_bytes = pipeline->reserved_bytes;
    message.collections_huge_bytes = pipeline->collections_huge_bytes;
    for (unsigned i = 0; i < copy->count; i++) {
        fill_source(&sources[i], &copy->items[i], tern_clock_now_us());
        message.sources[i] = &sources[i];
    }
    message.n_sources = copy->count;
    if (copy->hold.since_us != 0) {
        fill_hold(&hold, &copy->hold);
        message.hold = &hold;
    }
    for (unsigned i = 0; i < pipeline->seat_count; i++) {
        fill_seat_status(&seats[i], &pipeline->seats[i]);
        list[i] = &seats[i];
    }
    message.seats = list;
    message.n_seats = pipeline->seat_count;
    for (unsigned i = 0; i < pipeline->reader_count; i++) {
        fill_reader_status(&readers[i], &pipeline->readers[i]);
        reader_list[i] = &readers[i];
    }
    message.readers = reader_list;
    message.n_readers = pipeline->reader_count;
    message.version = tern_message_text(TERN_VERSION);
    message.pid = (uint32_t)getpid();
    message.started_at_us = status->started_at_us;
    message.run_dir = status->directories->run_dir;
    message.state_dir = status->directories->state_dir;
    message.generation = pipeline->generation;
    message.seq = pipeline->seq;
    message.epoch = pipeline->epoch;
    message.published_at_us = pipeline->published_at_us;
    message.arena_bytes = pipeline->arena_bytes;
    message.used_bytes = pipeline->used_bytes;
    message.free_bytes = pipeline->free_bytes;
    message.quarantined_bytes = pipeline->quarantined_bytes;
    message.huge_pages = pipeline->huge_pages;
    message.starting = status->builder->starting;
    if (status->builder->running) {
        fill_build(&build, status->builder);
        message.build = &build;
    }
    if (status->last_publish != NULL) {
        fill_row(&publish, status->last_publish);
        message.last_publish = &publish;
    }
    if (status->last_failure != NULL) {
        fill_row(&failure, status->last_failure);
        message.last_failure = &failure;
    }
    if (status->decision_log != NULL) {
        fill_log(&log, status->decision_log);
        message.decision_log = &log;
    }
    reply.body_case = TERN__CONTROL__REPLY__BODY_STATUS;
    reply.status = &message;
    rc = append_reply(out, &reply);
out:
    free(message.sources);
    free(sources);
    free(message.collections);
    free(collections);
    return rc;
}

int tern_reply_audit(struct tern_buffer *out, const struct tern_audit_row *rows, unsigned count)
{
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
    Tern__Control__Audit audit = TERN__CONTROL__AUDIT__INIT;
    Tern__Control__AuditRow *items = calloc(count + 1u, sizeof *items);
    int rc = TERN_ENOMEM;

    audit.rows = calloc(count + 1u, sizeof *audit.rows);
    if (items != NULL && audit.rows != NULL) {
        for (unsigned i = 0; i < count; i++) {
            tern__control__audit_row__init(&items[i]);
            items[i].at_us = rows[i].at_us;
            items[i].uid = rows[i].uid;
            items[i].pid = rows[i].pid;
            items[i].action = tern_message_text(rows[i].action);
            items[i].outcome = tern_message_text(rows[i].outcome);
            audit.rows[i] = &items[i];
        }
        audit.n_rows = count;
        reply.body_case = TERN__CONTROL__REPLY__BODY_AUDIT;
        reply.audit = &audit;
        rc = append_reply(out, &reply);
    }
    free(audit.rows);
    free(items);
    return rc;
}
