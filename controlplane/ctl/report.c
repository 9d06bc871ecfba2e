#include "controlplane/ctl/report.h"

#include "controlplane/ctl/print.h"
#include "controlplane/ctl/vectors.h"

#include <unistd.h>

void tern_report_diagnostics(const struct tern_diagnostics *diagnostics)
{
    struct tern_buffer out = {0};

    if (tern_diagnostics_print(diagnostics, &out) == 0)
        fprintf(stderr, "%.*s", (int)out.length, (const char *)out.data);
    tern_buffer_free(&out);
}

static void print_diagnostic(struct tern_json *json, bool warning, const char *file, uint32_t line,
                             uint32_t column, const char *message)
{
    tern_json_object(json, NULL);
    tern_json_string(json, "severity", warning ? "warning" : "error");
    tern_json_string(json, "file", file);
    tern_json_u64(json, "line", line);
    tern_json_u64(json, "column", column);
    tern_json_string(json, "message", message);
    tern_json_object_end(json);
}

void tern_report_diagnostics_json(struct tern_json *json,
                                  const struct tern_diagnostics *diagnostics)
{
    tern_json_array(json, "diagnostics");
    for (size_t i = 0; i < diagnostics->count; i++) {
        const struct tern_diagnostic *item = &diagnostics->items[i];

        print_diagnostic(json, item->severity == TERN_SEVERITY_WARNING, item->place.file,
                         item->place.line, item->place.column, item->message);
    }
    tern_json_array_end(json);
}

/* What follows a job while it runs. */
struct follower {
    bool bar; /* standard error is a terminal */
    bool bar_drawn;
    bool json;
    struct tern_json diagnostics; /* an open array, for --json */
};

static void erase_bar(struct follower *follower)
{
    if (follower->bar_drawn)
        tern_print_erase_line();
    follower->bar_drawn = false;
}

static void draw_bar(struct follower *follower, const Tern__Control__Progress *progress)
{
    char rows[TERN_PRINT_TEXT];

    if (!follower->bar)
        return;
    tern_print_bar(progress->permille);
    fputs(progress->step, stderr);
    if (progress->rows != 0)
        fprintf(stderr, ", %s rows", tern_print_count(rows, progress->rows));
    fflush(stderr);
    follower->bar_drawn = true;
}

static void note(void *context, const Tern__Control__Reply *reply)
{
    struct follower *follower = context;
    const Tern__Control__Diagnostic *item;

    if (reply->body_case == TERN__CONTROL__REPLY__BODY_PROGRESS) {
        draw_bar(follower, reply->progress);
        return;
    }
    item = reply->diagnostic;
    if (follower->json) {
        print_diagnostic(&follower->diagnostics, item->warning, item->file, item->line,
                         item->column, item->message);
        return;
    }
    erase_bar(follower);
    fprintf(stderr, "%s:%u:%u: %s: %s\n", item->file, item->line, item->column,
            item->warning ? "warning" : "error", item->message);
}

void tern_report_table_json(struct tern_json *json, const Tern__Control__TableResult *table)
{
    tern_json_object(json, NULL);
    tern_json_string(json, "name", table->name);
    tern_json_string(json, "kind", table->kind);
    tern_json_u64(json, "rows", table->rows);
    tern_json_u64(json, "keys", table->keys);
    tern_json_u64(json, "bytes", table->bytes);
    tern_json_u64(json, "bad_rows", table->bad_rows);
    tern_json_u64(json, "duplicates", table->duplicates);
    tern_json_u64(json, "overlaps", table->overlaps);
    tern_json_u64(json, "previous_rows", table->previous_rows);
    tern_json_u64(json, "previous_bytes", table->previous_bytes);
    tern_json_bool(json, "reused", table->reused);
    tern_json_bool(json, "kept", table->kept);
    tern_json_string(json, "error", table->error[0] != '\0' ? table->error : NULL);
    tern_json_u64(json, "source_bytes", table->source_bytes);
    tern_json_time(json, "loaded_at", table->loaded_at_us);
    tern_json_double(json, "build_ms", table->build_ms);
    tern_json_object_end(json);
}

static void tables_json(struct tern_json *json, const Tern__Control__Published *result)
{
    tern_json_array(json, "tables");
    for (size_t i = 0; i < result->n_tables; i++)
        tern_report_table_json(json, result->tables[i]);
    tern_json_array_end(json);
}

static void seats_json(struct tern_json *json, const Tern__Control__Published *result)
{
    tern_json_array(json, "seats");
    for (size_t i = 0; i < result->n_seats; i++) {
        const Tern__Control__SeatAnswer *seat = result->seats[i];

        tern_json_object(json, NULL);
        tern_json_u64(json, "seat", seat->seat);
        tern_json_u64(json, "pid", seat->pid);
        tern_json_string(json, "answer", seat->answer);
        tern_json_string(json, "reason", seat->reason);
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
}

static void result_json(struct tern_json *json, const Tern__Control__Published *result)
{
    tern_json_u64(json, "generation", result->generation);
    tern_json_bool(json, "published", result->published);
    tern_json_bool(json, "acknowledged", result->acknowledged);
    tern_json_bool(json, "dry_run", result->dry_run);
    tern_json_u64(json, "previous_generation", result->live_generation);
    tern_json_u64(json, "restored_from", result->restored_from);
    tern_json_bool(json, "rules_only", result->rules_only);
    tern_json_u64(json, "rules", result->rules);
    tern_json_u64(json, "conjunctions", result->conjunctions);
    tern_json_u64(json, "units", result->units);
    tern_json_u64(json, "rows_bytes", result->rows_bytes);
    tern_json_u64(json, "residual_comparisons", result->residual_comparisons);
    tern_json_u64(json, "residual_rules", result->residual_rules);
    tern_json_u64(json, "unfitted_rows_bytes", result->unfitted_rows_bytes);
    tern_json_u64(json, "new_bytes", result->new_bytes);
    tern_json_u64(json, "shared_bytes", result->shared_bytes);
    tables_json(json, result);
    tern_vectors_outcome_json(json, result);
    seats_json(json, result);
    tern_json_object(json, "tests");
    tern_json_u64(json, "run", result->tests_run);
    tern_json_u64(json, "failed", result->tests_failed);
    tern_json_object_end(json);
    tern_json_object(json, "ms");
    tern_json_double(json, "read", result->read_ms);
    tern_json_double(json, "build", result->build_ms);
    tern_json_double(json, "compile", result->compile_ms);
    tern_json_double(json, "verify", result->verify_ms);
    tern_json_double(json, "announce", result->announce_ms);
    tern_json_double(json, "publish", result->publish_ms);
    tern_json_double(json, "total", result->total_ms);
    tern_json_object_end(json);
}

/* "12,000 (+40)" when the table was there before and has changed. */
static void with_difference(char *text, size_t size, const char *shown, uint64_t now,
                            uint64_t before, const char *difference)
{
    if (before == 0 || before == now)
        snprintf(text, size, "%s", shown);
    else
        snprintf(text, size, "%s (%s%s)", shown, now > before ? "+" : "-", difference);
}

static void print_tables(const Tern__Control__Published *result)
{
    static const char *const headings[] = {"table",  "kind", ">rows",     ">keys",
                                           ">bytes", ">bad", ">repeated", ""};
    struct tern_print_table table;

    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (size_t i = 0; i < result->n_tables; i++) {
        const Tern__Control__TableResult *item = result->tables[i];
        char count[TERN_PRINT_TEXT], change[TERN_PRINT_TEXT], keys[TERN_PRINT_TEXT];
        char rows[128], bytes[128], bad[TERN_PRINT_TEXT], repeated[TERN_PRINT_TEXT];
        const char *cells[TERN_COUNT(headings)];
        uint64_t by_rows = item->rows > item->previous_rows ? item->rows - item->previous_rows
                                                            : item->previous_rows - item->rows;
        uint64_t by_bytes = item->bytes > item->previous_bytes ? item->bytes - item->previous_bytes
                                                               : item->previous_bytes - item->bytes;

        with_difference(rows, sizeof rows, tern_print_count(count, item->rows), item->rows,
                        item->previous_rows, tern_print_count(change, by_rows));
        with_difference(bytes, sizeof bytes, tern_print_bytes(count, item->bytes), item->bytes,
                        item->previous_bytes, tern_print_bytes(change, by_bytes));
        cells[0] = item->name;
        cells[1] = item->kind;
        cells[2] = rows;
        cells[3] = tern_print_count(keys, item->keys);
        cells[4] = bytes;
        cells[5] = tern_print_count(bad, item->bad_rows);
        cells[6] = tern_print_count(repeated, item->duplicates + item->overlaps);
        cells[7] = item->kept                 ? "kept"
                   : item->reused             ? "shared"
                   : item->previous_rows != 0 ? "rebuilt"
                                              : "new";
        tern_print_table_row(&table, cells);
    }
    tern_print_table_end(&table);
}

static void print_seats(const Tern__Control__Published *result)
{
    for (size_t i = 0; i < result->n_seats; i++) {
        const Tern__Control__SeatAnswer *seat = result->seats[i];

        printf("ternd %u (seat %u): %s%s%s\n", seat->pid, seat->seat, seat->answer,
               seat->reason[0] != '\0' ? ": " : "", seat->reason);
    }
}

static void print_result(const Tern__Control__Published *result)
{
    char rows[TERN_PRINT_TEXT], fresh[TERN_PRINT_TEXT], shared[TERN_PRINT_TEXT];

    print_tables(result);
    tern_vectors_outcome_print(result);
    print_seats(result);
    if (result->restored_from == 0 || result->rules_only) /* else nothing was compiled */
        printf("%u rules in %u conjunctions over %u units, %s of rows\n", result->rules,
               result->conjunctions, result->units, tern_print_bytes(rows, result->rows_bytes));
    if (result->residual_comparisons != 0)
        printf("%u comparisons of %u rules are residual: without that, about %s of rows\n",
               result->residual_comparisons, result->residual_rules,
               tern_print_bytes(rows, result->unfitted_rows_bytes));
    printf("%s new, %s shared\n", tern_print_bytes(fresh, result->new_bytes),
           tern_print_bytes(shared, result->shared_bytes));
    printf(
        "read %.1f, build %.1f, compile %.1f, verify %.1f, announce %.1f, publish %.1f: %.1f ms\n",
        result->read_ms, result->build_ms, result->compile_ms, result->verify_ms,
        result->announce_ms, result->publish_ms, result->total_ms);
    if (result->dry_run)
        printf("dry run: would be generation %llu; generation %llu keeps serving\n",
               (unsigned long long)result->generation, (unsigned long long)result->live_generation);
    else if (result->restored_from != 0)
        printf("generation %llu is live: %s%llu again%s\n", (unsigned long long)result->generation,
               result->rules_only ? "the rules of " : "", (unsigned long long)result->restored_from,
               result->acknowledged ? "" : ", not acknowledged by every ternd");
    else
        printf("generation %llu is live%s\n", (unsigned long long)result->generation,
               result->acknowledged ? "" : ", not acknowledged by every ternd");
    if (result->restored_from != 0 && !result->rules_only)
        puts("refreshes of sources are held until `ternctl resume`");
}

static int outcome_code(const Tern__Control__Reply *reply)
{
    const Tern__Control__Published *result = reply->published;

    if (reply->body_case != TERN__CONTROL__REPLY__BODY_PUBLISHED)
        return TERN_EXIT_REFUSED;
    return result->dry_run || result->acknowledged ? TERN_EXIT_OK : TERN_EXIT_UNACKNOWLEDGED;
}

static void print_json(struct follower *follower, const Tern__Control__Reply *reply,
                       const struct tern_report_extra *extra)
{
    bool ok = reply->body_case == TERN__CONTROL__REPLY__BODY_PUBLISHED;
    const Tern__Control__Published *result = ok ? reply->published : reply->failure->partial;
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_bool(&json, "ok", ok);
    tern_json_string(&json, "error", ok ? NULL : reply->failure->message);
    if (result != NULL)
        result_json(&json, result);
    if (extra != NULL)
        extra->json(extra->context, &json);
    tern_json_array_end(&follower->diagnostics);
    if (tern_buffer_printf(&json.buffer, ",\"diagnostics\":%.*s",
                           (int)follower->diagnostics.buffer.length,
                           (const char *)follower->diagnostics.buffer.data) != 0)
        json.failed = true;
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static void print_text(const Tern__Control__Reply *reply, const struct tern_report_extra *extra)
{
    if (reply->body_case == TERN__CONTROL__REPLY__BODY_PUBLISHED) {
        if (extra != NULL)
            extra->text(extra->context);
        print_result(reply->published);
        return;
    }
    if (reply->failure->partial != NULL)
        print_seats(reply->failure->partial);
    fprintf(stderr, "ternctl: refused: %s\n", reply->failure->message);
    if (reply->failure->partial != NULL && reply->failure->partial->live_generation != 0)
        fprintf(stderr, "ternctl: generation %llu keeps serving\n",
                (unsigned long long)reply->failure->partial->live_generation);
}

int tern_report_job(const struct tern_invocation *invocation, const char *run_dir,
                    const Tern__Control__Request *request, const struct tern_report_extra *extra)
{
    struct follower follower = {.json = invocation->json,
                                .bar = !invocation->json && isatty(STDERR_FILENO)};
    Tern__Control__Reply *reply = NULL;
    struct tern_error error;
    int code, rc;

    tern_json_array(&follower.diagnostics, NULL);
    rc = tern_instance_ask(run_dir, request, 0, note, &follower, &reply, &error);
    erase_bar(&follower);
    if (rc != 0) {
        code = tern_ctl_fail(&error);
    } else if (reply->body_case != TERN__CONTROL__REPLY__BODY_PUBLISHED &&
               reply->body_case != TERN__CONTROL__REPLY__BODY_FAILURE) {
        fputs("ternctl: tern-control answered something else than was asked\n", stderr);
        code = TERN_EXIT_REFUSED;
    } else {
        if (invocation->json)
            print_json(&follower, reply, extra);
        else
            print_text(reply, extra);
        code = outcome_code(reply);
    }
    tern_buffer_free(&follower.diagnostics.buffer);
    tern__control__reply__free_unpacked(reply, NULL);
    return code;
}
