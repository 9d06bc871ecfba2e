/* ternctl status: what is served, and by whom. */
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/seats.h"
#include "controlplane/ctl/vectors.h"

#define TIMEOUT_US    (5 * 1000000ull)
#define SHOWN_SOURCES 40u

static void row_json(struct tern_json *json, const char *key, const Tern__Control__HistoryRow *row)
{
    if (row == NULL) {
        tern_json_null(json, key);
        return;
    }
    tern_json_object(json, key);
    tern_json_u64(json, "generation", row->generation);
    tern_json_string(json, "state", row->state);
    tern_json_string(json, "kind", row->kind);
    tern_json_time(json, "at", row->at_us);
    tern_json_u64(json, "uid", row->uid);
    tern_json_string(json, "message", row->message);
    tern_json_string(json, "reason", row->reason);
    tern_json_string(json, "config", row->config_path);
    tern_json_double(json, "duration_ms", row->duration_ms);
    tern_json_object_end(json);
}

static void seat_json(struct tern_json *json, const char *key,
                      const Tern__Control__SeatStatus *seat)
{
    tern_json_object(json, key);
    tern_json_u64(json, "pid", seat->pid);
    tern_json_u64(json, "seat", seat->seat);
    tern_json_u64(json, "generation", seat->generation);
    tern_json_time(json, "started_at", seat->started_at_us);
    tern_json_u64(json, "loops", seat->loops);
    tern_json_string(json, "backend", seat->backend);
    tern_json_string(json, "backend_reason", seat->backend_reason);
    tern_json_bool(json, "stuck", seat->stuck);
    tern_json_u64(json, "quarantined_bytes", seat->quarantined_bytes);
    tern_json_object_end(json);
}

static void reader_json(struct tern_json *json, const Tern__Control__ReaderStatus *reader)
{
    tern_json_object(json, NULL);
    tern_json_u64(json, "page", reader->page);
    tern_json_u64(json, "pid", reader->pid);
    tern_json_string(json, "name", reader->name);
    tern_json_u64(json, "generation", reader->generation);
    tern_json_time(json, "started_at", reader->started_at_us);
    tern_json_u64(json, "contexts", reader->contexts);
    tern_json_bool(json, "stuck", reader->stuck);
    tern_json_u64(json, "quarantined_bytes", reader->quarantined_bytes);
    tern_json_object_end(json);
}

static void listen_json(struct tern_json *json, const struct tern_instance_arena *arena)
{
    tern_json_array(json, "listen");
    for (unsigned i = 0; arena->has_settings && i < arena->settings.listen_count; i++)
        tern_json_string(json, NULL, arena->settings.listen[i]);
    tern_json_array_end(json);
}

static void sources_json(struct tern_json *json, const Tern__Control__Status *status)
{
    tern_json_array(json, "sources");
    for (size_t i = 0; i < status->n_sources; i++) {
        const Tern__Control__SourceStatus *source = status->sources[i];

        tern_json_object(json, NULL);
        tern_json_string(json, "table", source->table);
        tern_json_string(json, "path", source->path[0] != '\0' ? source->path : NULL);
        tern_json_u64(json, "rows", source->rows);
        tern_json_u64(json, "keys", source->keys);
        tern_json_u64(json, "bytes", source->bytes);
        tern_json_u64(json, "source_bytes", source->source_bytes);
        tern_json_time(json, "loaded_at", source->loaded_at_us);
        tern_json_double(json, "age_s", (double)source->age_ms / 1000);
        if (source->refresh_us != 0) {
            tern_json_double(json, "refresh_s", (double)source->refresh_us / 1e6);
            tern_json_double(json, "next_refresh_s", (double)source->next_in_ms / 1000);
        } else {
            tern_json_null(json, "refresh_s");
            tern_json_null(json, "next_refresh_s");
        }
        tern_json_u64(json, "failures", source->failures);
        tern_json_time(json, "failed_at", source->failed_at_us);
        tern_json_string(json, "error", source->error[0] != '\0' ? source->error : NULL);
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
    if (status->hold == NULL) {
        tern_json_null(json, "refreshes_held");
        return;
    }
    tern_json_object(json, "refreshes_held");
    tern_json_time(json, "since", status->hold->since_us);
    tern_json_u64(json, "generation", status->hold->generation);
    tern_json_u64(json, "uid", status->hold->uid);
    tern_json_object_end(json);
}

static void log_json(struct tern_json *json, const Tern__Control__DecisionLogStatus *log)
{
    if (log == NULL) {
        tern_json_null(json, "decision_log");
        return;
    }
    tern_json_object(json, "decision_log");
    tern_json_bool(json, "on", log->on);
    tern_json_string(json, "directory", log->directory);
    tern_json_u64(json, "file", log->file);
    tern_json_u64(json, "written", log->written);
    tern_json_u64(json, "skipped", log->skipped);
    tern_json_u64(json, "lost", log->lost);
    tern_json_u64(json, "failed", log->failed);
    tern_json_u64(json, "bytes", log->bytes);
    tern_json_string(json, "error", log->error[0] != '\0' ? log->error : NULL);
    tern_json_object_end(json);
}

static void print_json(const Tern__Control__Status *status, const struct tern_instance_arena *arena)
{
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_u64(&json, "generation", status->generation);
    tern_json_time(&json, "published_at", status->published_at_us);
    tern_json_u64(&json, "seq", status->seq);
    tern_json_u64(&json, "epoch", status->epoch);
    tern_json_string(&json, "instance", arena->has_settings ? arena->settings.instance : NULL);
    listen_json(&json, arena);
    tern_json_object(&json, "controlplane");
    tern_json_u64(&json, "pid", status->pid);
    tern_json_string(&json, "version", status->version);
    tern_json_time(&json, "started_at", status->started_at_us);
    tern_json_bool(&json, "starting", status->starting);
    tern_json_string(&json, "run_dir", status->run_dir);
    tern_json_string(&json, "state_dir", status->state_dir);
    tern_json_object_end(&json);
    if (status->n_seats != 0) {
        seat_json(&json, "dataplane", status->seats[0]);
    } else {
        tern_json_object(&json, "dataplane");
        tern_json_null(&json, "pid");
        tern_json_object_end(&json);
    }
    tern_json_array(&json, "seats");
    for (size_t i = 0; i < status->n_seats; i++)
        seat_json(&json, NULL, status->seats[i]);
    tern_json_array_end(&json);
    tern_json_array(&json, "readers");
    for (size_t i = 0; i < status->n_readers; i++)
        reader_json(&json, status->readers[i]);
    tern_json_array_end(&json);
    tern_json_object(&json, "arena");
    tern_json_u64(&json, "bytes", status->arena_bytes);
    tern_json_u64(&json, "used_bytes", status->used_bytes);
    tern_json_u64(&json, "free_bytes", status->free_bytes);
    tern_json_u64(&json, "quarantined_bytes", status->quarantined_bytes);
    tern_json_u64(&json, "reserved_bytes", status->reserved_bytes);
    tern_json_bool(&json, "huge_pages", status->huge_pages);
    tern_json_u64(&json, "collections_huge_bytes", status->collections_huge_bytes);
    tern_json_object_end(&json);
    if (status->build != NULL) {
        tern_json_object(&json, "build");
        tern_json_string(&json, "step", status->build->step);
        tern_json_u64(&json, "permille", status->build->permille);
        tern_json_u64(&json, "rows", status->build->rows);
        tern_json_time(&json, "started_at", status->build->started_at_us);
        tern_json_string(&json, "config", status->build->path);
        tern_json_u64(&json, "waiting", status->build->waiting);
        tern_json_object_end(&json);
    } else {
        tern_json_null(&json, "build");
    }
    sources_json(&json, status);
    tern_vectors_status_json(&json, status);
    log_json(&json, status->decision_log);
    row_json(&json, "last_publish", status->last_publish);
    row_json(&json, "last_failure", status->last_failure);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static void print_listen(const struct tern_instance_arena *arena)
{
    for (unsigned i = 0; arena->has_settings && i < arena->settings.listen_count; i++)
        printf("%s%s", i == 0 ? "listening     " : ", ", arena->settings.listen[i]);
    if (arena->has_settings && arena->settings.listen_count != 0)
        putchar('\n');
}

/* "0.4 s", "5 min" … of ms. */
static const char *print_ms(char text[TERN_PRINT_TEXT], uint64_t ms)
{
    if (ms < 60000)
        snprintf(text, TERN_PRINT_TEXT, "%.1f s", (double)ms / 1000);
    else if (ms < 2 * 3600000ull)
        snprintf(text, TERN_PRINT_TEXT, "%llu min", (unsigned long long)(ms / 60000));
    else if (ms < 2 * 86400000ull)
        snprintf(text, TERN_PRINT_TEXT, "%llu h", (unsigned long long)(ms / 3600000));
    else
        snprintf(text, TERN_PRINT_TEXT, "%llu d", (unsigned long long)(ms / 86400000));
    return text;
}

/* A table of the sources, and a line for each that fails. */
static void print_sources(const Tern__Control__Status *status)
{
    static const char *const headings[] = {"source of", ">rows", ">bytes", ">age",
                                           ">refresh",  ">next", "from"};
    struct tern_print_table table;

    if (status->n_sources != 0)
        putchar('\n');
    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (size_t i = 0; i < status->n_sources && i < SHOWN_SOURCES; i++) {
        const Tern__Control__SourceStatus *source = status->sources[i];
        char rows[TERN_PRINT_TEXT], bytes[TERN_PRINT_TEXT], age[TERN_PRINT_TEXT];
        char refresh[TERN_PRINT_TEXT], next[TERN_PRINT_TEXT];
        bool timed = source->refresh_us != 0;

        tern_print_table_row(
            &table,
            (const char *const[]){source->table, tern_print_count(rows, source->rows),
                                  tern_print_bytes(bytes, source->source_bytes),
                                  print_ms(age, source->age_ms),
                                  timed ? print_ms(refresh, source->refresh_us / 1000) : "-",
                                  !timed                 ? "-"
                                  : status->hold != NULL ? "held"
                                                         : print_ms(next, source->next_in_ms),
                                  source->path[0] != '\0' ? source->path : "(not known)"});
    }
    tern_print_table_end(&table);
    if (status->n_sources > SHOWN_SOURCES)
        printf("… and %zu more; --json shows all\n", status->n_sources - SHOWN_SOURCES);
    for (size_t i = 0; i < status->n_sources; i++)
        if (status->sources[i]->error[0] != '\0') {
            char since[TERN_PRINT_TEXT];

            printf("SOURCE FAILS  %s, for %s, %u time%s: %s\n", status->sources[i]->table,
                   tern_print_age(since, status->sources[i]->failed_at_us),
                   status->sources[i]->failures, status->sources[i]->failures == 1 ? "" : "s",
                   status->sources[i]->error);
        }
    if (status->hold != NULL) {
        char since[TERN_PRINT_TEXT];

        printf("REFRESH HELD  for %s, since the rollback to generation %llu by uid %u; `ternctl "
               "resume` ends it\n",
               tern_print_age(since, status->hold->since_us),
               (unsigned long long)status->hold->generation, status->hold->uid);
    }
}

static void print_log(const Tern__Control__DecisionLogStatus *log)
{
    char a[TERN_PRINT_TEXT], b[TERN_PRINT_TEXT], c[TERN_PRINT_TEXT];

    printf("decision log  %s: %s written, %s not in the sample", log->directory,
           tern_print_count(a, log->written), tern_print_count(b, log->skipped));
    if (log->lost != 0)
        printf(", %s LOST", tern_print_count(c, log->lost));
    if (log->failed != 0)
        printf(", %s COULD NOT BE WRITTEN", tern_print_count(c, log->failed));
    printf("%s%s\n", log->error[0] != '\0' ? ": " : "", log->error);
}

static void print_text(const Tern__Control__Status *status, const struct tern_instance_arena *arena)
{
    char a[TERN_PRINT_TEXT], b[TERN_PRINT_TEXT], c[TERN_PRINT_TEXT];

    if (status->generation != 0)
        printf("generation    %llu, published %s ago\n", (unsigned long long)status->generation,
               tern_print_age(a, status->published_at_us));
    else
        puts("generation    none: nothing is served");
    print_listen(arena);
    printf("tern-control  pid %u, up %s, version %s%s\n", status->pid,
           tern_print_age(a, status->started_at_us), status->version,
           status->starting ? ", starting" : "");
    if (status->n_seats == 0)
        puts("ternd         none is alive");
    for (size_t i = 0; i < status->n_seats; i++) {
        const Tern__Control__SeatStatus *seat = status->seats[i];

        printf("ternd         pid %u, up %s, seat %u, generation %llu, %u loop%s, %s%s%s%s",
               seat->pid, tern_print_age(a, seat->started_at_us), seat->seat,
               (unsigned long long)seat->generation, seat->loops, seat->loops == 1 ? "" : "s",
               seat->backend, seat->backend_reason[0] != '\0' ? " (" : "", seat->backend_reason,
               seat->backend_reason[0] != '\0' ? ")" : "");
        if (seat->stuck)
            printf(", STUCK: holds %s", tern_print_bytes(b, seat->quarantined_bytes));
        putchar('\n');
    }
    for (size_t i = 0; i < status->n_readers; i++) {
        const Tern__Control__ReaderStatus *reader = status->readers[i];

        printf("reader        pid %u, up %s, page %u, generation %llu, %u context%s%s%s%s",
               reader->pid, tern_print_age(a, reader->started_at_us), reader->page,
               (unsigned long long)reader->generation, reader->contexts,
               reader->contexts == 1 ? "" : "s", reader->name[0] != '\0' ? " (" : "", reader->name,
               reader->name[0] != '\0' ? ")" : "");
        if (reader->stuck)
            printf(", STUCK: holds %s", tern_print_bytes(b, reader->quarantined_bytes));
        putchar('\n');
    }
    printf("arena         %s used of %s", tern_print_bytes(a, status->used_bytes),
           tern_print_bytes(b, status->arena_bytes));
    if (status->reserved_bytes != 0)
        printf(", %s reserved for collections", tern_print_bytes(c, status->reserved_bytes));
    if (status->quarantined_bytes != 0)
        printf(", %s in quarantine", tern_print_bytes(c, status->quarantined_bytes));
    printf(", huge pages: %s\n", status->huge_pages ? "yes" : "no");
    printf("directories   run %s, state %s\n", status->run_dir, status->state_dir);
    if (status->decision_log != NULL && status->decision_log->on)
        print_log(status->decision_log);
    if (status->build != NULL)
        printf("building      %s: %s, %u.%u %%, since %s%s\n", status->build->path,
               status->build->step, status->build->permille / 10, status->build->permille % 10,
               tern_print_age(a, status->build->started_at_us),
               status->build->waiting != 0 ? ", more waiting" : "");
    if (status->last_publish != NULL)
        printf("last publish  generation %llu by %s, %s ago, %.1f ms%s%s\n",
               (unsigned long long)status->last_publish->generation, status->last_publish->kind,
               tern_print_age(a, status->last_publish->at_us), status->last_publish->duration_ms,
               status->last_publish->message[0] != '\0' ? ": " : "", status->last_publish->message);
    if (status->last_failure != NULL)
        printf("LAST FAILURE  %s of %s, %s ago: %s\n", status->last_failure->kind,
               status->last_failure->config_path, tern_print_age(a, status->last_failure->at_us),
               status->last_failure->reason);
    print_sources(status);
    tern_vectors_status_print(status);
}

/* With tern-control dead: what board and arena say by themselves. */
static int without_control(const struct tern_invocation *invocation, const char *run_dir,
                           const struct tern_error *cause)
{
    struct tern_instance_arena arena = {0};
    struct tern_seats seats = {0};
    struct tern_error error;
    struct tern_json json = {0};
    uint64_t generation = 0;

    if (tern_instance_read_arena(run_dir, &arena, &error) != 0 ||
        tern_seats_read(run_dir, &seats, &error) != 0)
        return tern_ctl_fail(cause);
    for (unsigned i = 0; i < seats.count; i++)
        generation = tern_max_u64(generation, seats.items[i].generation);
    if (!invocation->json) {
        printf("generation    %llu\n", (unsigned long long)generation);
        print_listen(&arena);
        puts("tern-control  DEAD");
        for (unsigned i = 0; i < seats.count; i++)
            printf("ternd         pid %u, seat %u, generation %llu, %u loops, %s\n",
                   seats.items[i].pid, seats.items[i].seat,
                   (unsigned long long)seats.items[i].generation, seats.items[i].loop_count,
                   seats.items[i].backend);
        tern_seats_free(&seats);
        return tern_ctl_fail(cause);
    }
    tern_json_object(&json, NULL);
    tern_json_u64(&json, "generation", generation);
    tern_json_u64(&json, "epoch", arena.epoch);
    listen_json(&json, &arena);
    tern_json_object(&json, "controlplane");
    tern_json_null(&json, "pid");
    tern_json_object_end(&json);
    tern_json_object(&json, "dataplane");
    if (seats.count != 0)
        tern_json_u64(&json, "pid", seats.items[0].pid);
    else
        tern_json_null(&json, "pid");
    tern_json_object_end(&json);
    tern_json_object_end(&json);
    tern_json_print(&json);
    tern_seats_free(&seats);
    return tern_ctl_fail(cause);
}

int tern_ctl_status(const struct tern_invocation *invocation)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__StatusRequest body = TERN__CONTROL__STATUS_REQUEST__INIT;
    Tern__Control__Reply *reply = NULL;
    struct tern_instance_arena arena = {0};
    char *run_dir = NULL;
    struct tern_error error;
    int code = TERN_EXIT_OK;

    if (tern_instance_find(invocation, &run_dir, &error) != 0)
        return tern_ctl_fail(&error);
    request.body_case = TERN__CONTROL__REQUEST__BODY_STATUS;
    request.status = &body;
    if (tern_instance_ask(run_dir, &request, TIMEOUT_US, NULL, NULL, &reply, &error) != 0) {
        code = without_control(invocation, run_dir, &error);
    } else if (reply->body_case != TERN__CONTROL__REPLY__BODY_STATUS) {
        fprintf(stderr, "ternctl: %s\n",
                reply->body_case == TERN__CONTROL__REPLY__BODY_FAILURE ? reply->failure->message
                                                                       : "unexpected reply");
        code = TERN_EXIT_REFUSED;
    } else {
        /* Listen addresses are a bonus: before the first publish there is no arena to ask. */
        if (tern_instance_read_arena(run_dir, &arena, NULL) != 0)
            arena = (struct tern_instance_arena){0};
        if (invocation->json)
            print_json(reply->status, &arena);
        else
            print_text(reply->status, &arena);
    }
    tern__control__reply__free_unpacked(reply, NULL);
    free(run_dir);
    return code;
}
