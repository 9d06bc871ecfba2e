/* ternctl history and audit. */
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/report.h"
#include "controlplane/log.h"

#define TIMEOUT_US (10 * 1000000ull)

static void details_json(struct tern_json *json, const Tern__Control__HistoryDetails *details)
{
    tern_json_object(json, "details");
    tern_json_u64(json, "pid", details->pid);
    tern_json_u64(json, "previous_generation", details->previous_generation);
    tern_json_bool(json, "rules_only", details->rules_only);
    tern_json_bool(json, "acknowledged", details->acknowledged);
    tern_json_u64(json, "new_bytes", details->new_bytes);
    tern_json_u64(json, "shared_bytes", details->shared_bytes);
    tern_json_object(json, "rules");
    tern_json_bool(json, "known", details->rules_known);
    tern_json_u64(json, "added", details->rules_added);
    tern_json_u64(json, "removed", details->rules_removed);
    tern_json_u64(json, "changed", details->rules_changed);
    tern_json_u64(json, "moved", details->rules_moved);
    tern_json_array(json, "changes");
    for (size_t i = 0; i < details->n_rules; i++) {
        const Tern__Control__RuleChange *change = details->rules[i];

        tern_json_object(json, NULL);
        tern_json_string(json, "change", change->change);
        tern_json_string(json, "rule", change->rule);
        tern_json_u64(json, "from", change->from);
        tern_json_u64(json, "to", change->to);
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
    tern_json_object_end(json);
    tern_json_u64(json, "tables_changed", details->tables_changed);
    tern_json_array(json, "tables");
    for (size_t i = 0; i < details->n_tables; i++)
        tern_report_table_json(json, details->tables[i]);
    tern_json_array_end(json);
    tern_json_object(json, "tests");
    tern_json_u64(json, "run", details->tests_run);
    tern_json_u64(json, "failed", details->tests_failed);
    tern_json_object_end(json);
    tern_json_object_end(json);
}

/* `whole`: with what is only sent for one row. */
static void row_json(struct tern_json *json, const Tern__Control__History *history,
                     const Tern__Control__HistoryRow *row, bool whole)
{
    char hash[33] = "";

    for (size_t b = 0; b < row->config_hash.len && b < 16; b++)
        snprintf(hash + 2 * b, 3, "%02x", row->config_hash.data[b]);
    tern_json_object(json, NULL);
    tern_json_u64(json, "generation", row->generation);
    tern_json_string(json, "state", row->state);
    tern_json_bool(json, "served",
                   row->generation != 0 && row->generation == history->generation &&
                       strcmp(row->state, "live") == 0);
    tern_json_string(json, "kind", row->kind);
    tern_json_string(json, "reason", row->reason);
    tern_json_time(json, "at", row->at_us);
    tern_json_u64(json, "uid", row->uid);
    tern_json_string(json, "message", row->message);
    tern_json_string(json, "config", row->config_path);
    tern_json_string(json, "config_hash", hash);
    tern_json_u64(json, "rules", row->rules);
    tern_json_u64(json, "rows", row->rows);
    tern_json_u64(json, "bytes", row->bytes);
    tern_json_double(json, "duration_ms", row->duration_ms);
    tern_json_u64(json, "restored_from", row->restored_from);
    if (whole && row->details != NULL)
        details_json(json, row->details);
    if (whole) {
        tern_json_string(json, "config_text",
                         row->config_text[0] != '\0' ? row->config_text : NULL);
        tern_json_string(json, "rules_text", row->rules_text[0] != '\0' ? row->rules_text : NULL);
    }
    tern_json_object_end(json);
}

static void print_json(const Tern__Control__History *history, bool whole)
{
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_u64(&json, "generation", history->generation);
    tern_json_array(&json, "rows");
    for (size_t i = 0; i < history->n_rows; i++)
        row_json(&json, history, history->rows[i], whole);
    tern_json_array_end(&json);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static void print_text(const Tern__Control__History *history)
{
    static const char *const headings[] = {">generation", "state",  "kind",  "when",   ">rules",
                                           ">rows",       ">bytes", ">took", "message"};
    struct tern_print_table table;

    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (size_t i = 0; i < history->n_rows; i++) {
        const Tern__Control__HistoryRow *row = history->rows[i];
        bool failed = strcmp(row->state, "failed") == 0;
        bool served = row->generation == history->generation && strcmp(row->state, "live") == 0;
        char generation[TERN_PRINT_TEXT], when[TERN_TIME_TEXT], rules[TERN_PRINT_TEXT];
        char rows[TERN_PRINT_TEXT], bytes[TERN_PRINT_TEXT], took[TERN_PRINT_TEXT];

        snprintf(generation, sizeof generation, "%s%llu", served ? "*" : "",
                 (unsigned long long)row->generation);
        tern_time_format(row->at_us, when);
        tern_print_table_row(
            &table, (const char *const[]){row->generation != 0 ? generation : "-", row->state,
                                          row->kind, when, tern_print_count(rules, row->rules),
                                          tern_print_count(rows, row->rows),
                                          tern_print_bytes(bytes, row->bytes),
                                          tern_print_ns(took, (uint64_t)(row->duration_ms * 1e6)),
                                          failed ? row->reason : row->message});
    }
    tern_print_table_end(&table);
    if (history->n_rows == 0)
        puts("nothing has been published yet");
}

static void print_details(const Tern__Control__HistoryDetails *details)
{
    char before[TERN_PRINT_TEXT], after[TERN_PRINT_TEXT], a[TERN_PRINT_TEXT], b[TERN_PRINT_TEXT];

    if (details->previous_generation != 0)
        printf("  before        generation %llu\n",
               (unsigned long long)details->previous_generation);
    printf("  bytes         %s new, %s shared\n", tern_print_bytes(a, details->new_bytes),
           tern_print_bytes(b, details->shared_bytes));
    if (details->tests_run != 0)
        printf("  tests         %u of %u passed\n", details->tests_run - details->tests_failed,
               details->tests_run);
    if (details->rules_known)
        printf("  rules         %u added, %u removed, %u changed, %u moved\n", details->rules_added,
               details->rules_removed, details->rules_changed, details->rules_moved);
    for (size_t i = 0; i < details->n_rules; i++) {
        const Tern__Control__RuleChange *change = details->rules[i];

        printf("    %-7s %s", change->change, change->rule);
        if (change->from != 0 && change->to != 0)
            printf(" (%u → %u)\n", change->from, change->to);
        else
            printf(" (%u)\n", change->from + change->to);
    }
    printf("  tables        %u changed\n", details->tables_changed);
    for (size_t i = 0; i < details->n_tables; i++) {
        const Tern__Control__TableResult *table = details->tables[i];

        printf("    %s: %s → %s rows, %s → %s%s%s\n", table->name,
               tern_print_count(before, table->previous_rows), tern_print_count(after, table->rows),
               tern_print_bytes(a, table->previous_bytes), tern_print_bytes(b, table->bytes),
               table->kept               ? ", kept: "
               : table->error[0] != '\0' ? ": "
                                         : "",
               table->error);
    }
}

/* Everything that is known of the rows of one generation: the publish, and attempts that failed
 * with its number. */
static void print_whole(const Tern__Control__History *history)
{
    for (size_t i = 0; i < history->n_rows; i++) {
        const Tern__Control__HistoryRow *row = history->rows[i];
        char when[TERN_TIME_TEXT], rows[TERN_PRINT_TEXT], bytes[TERN_PRINT_TEXT];

        tern_time_format(row->at_us, when);
        printf("generation %llu%s, %s by %s at %s, uid %u", (unsigned long long)row->generation,
               row->generation == history->generation && strcmp(row->state, "live") == 0
                   ? " (served now)"
                   : "",
               row->state, row->kind, when, row->uid);
        if (row->details != NULL && row->details->pid != 0)
            printf(", pid %u", row->details->pid);
        putchar('\n');
        if (row->message[0] != '\0')
            printf("  message       %s\n", row->message);
        if (row->reason[0] != '\0')
            printf("  reason        %s\n", row->reason);
        printf("  configuration %s\n", row->config_path);
        if (row->restored_from != 0)
            printf("  %s %llu\n",
                   row->rules_text[0] != '\0' ? "rules of generation" : "sections of generation",
                   (unsigned long long)row->restored_from);
        printf("  in all        %u rules, %s rows, %s, took %.1f ms\n", row->rules,
               tern_print_count(rows, row->rows), tern_print_bytes(bytes, row->bytes),
               row->duration_ms);
        if (row->details != NULL)
            print_details(row->details);
    }
}

/* Asks tern-control. The wanted reply, or NULL after saying why not, with the exit code in `*code`.
 */
static Tern__Control__Reply *ask(const struct tern_invocation *invocation,
                                 const Tern__Control__Request *request, int wanted, int *code)
{
    Tern__Control__Reply *reply = NULL;
    char *run_dir = NULL;
    struct tern_error error;
    int rc = tern_instance_find(invocation, &run_dir, &error);

    if (rc == 0)
        rc = tern_instance_ask(run_dir, request, TIMEOUT_US, NULL, NULL, &reply, &error);
    free(run_dir);
    if (rc != 0) {
        *code = tern_ctl_fail(&error);
        return NULL;
    }
    if ((int)reply->body_case == wanted)
        return reply;
    fprintf(stderr, "ternctl: %s\n",
            reply->body_case == TERN__CONTROL__REPLY__BODY_FAILURE ? reply->failure->message
                                                                   : "unexpected reply");
    tern__control__reply__free_unpacked(reply, NULL);
    *code = TERN_EXIT_REFUSED;
    return NULL;
}

int tern_ctl_history(const struct tern_invocation *invocation)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__HistoryRequest body = TERN__CONTROL__HISTORY_REQUEST__INIT;
    bool one = invocation->argument_count == 1;
    Tern__Control__Reply *reply;
    uint64_t generation = 0;
    int code = TERN_EXIT_OK;

    if (one && (tern_ctl_parse_number(invocation->arguments[0], &generation) != 0 ||
                generation == 0 || generation > INT64_MAX)) {
        fprintf(stderr, "ternctl: '%s' is no generation\n", invocation->arguments[0]);
        return TERN_EXIT_USAGE;
    }
    body.limit = invocation->limit;
    body.generation = generation;
    body.with_text = one;
    request.body_case = TERN__CONTROL__REQUEST__BODY_HISTORY;
    request.history = &body;
    reply = ask(invocation, &request, TERN__CONTROL__REPLY__BODY_HISTORY, &code);
    if (reply == NULL)
        return code;
    if (one && reply->history->n_rows == 0) {
        fprintf(stderr, "ternctl: the history has no generation %llu\n",
                (unsigned long long)generation);
        code = TERN_EXIT_REFUSED;
    } else if (invocation->json) {
        print_json(reply->history, one);
    } else {
        (one ? print_whole : print_text)(reply->history);
    }
    tern__control__reply__free_unpacked(reply, NULL);
    return code;
}

static void print_audit(const Tern__Control__Audit *audit)
{
    static const char *const headings[] = {"when", ">uid", ">pid", "action", "outcome"};
    struct tern_print_table table;

    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (size_t i = 0; i < audit->n_rows; i++) {
        const Tern__Control__AuditRow *row = audit->rows[i];
        char when[TERN_TIME_TEXT], uid[16], pid[16];

        tern_time_format(row->at_us, when);
        snprintf(uid, sizeof uid, "%u", row->uid);
        snprintf(pid, sizeof pid, "%u", row->pid);
        tern_print_table_row(&table,
                             (const char *const[]){when, uid, pid, row->action, row->outcome});
    }
    tern_print_table_end(&table);
}

static void audit_json(const Tern__Control__Audit *audit)
{
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_array(&json, "rows");
    for (size_t i = 0; i < audit->n_rows; i++) {
        const Tern__Control__AuditRow *row = audit->rows[i];

        tern_json_object(&json, NULL);
        tern_json_time(&json, "at", row->at_us);
        tern_json_u64(&json, "uid", row->uid);
        tern_json_u64(&json, "pid", row->pid);
        tern_json_string(&json, "action", row->action);
        tern_json_string(&json, "outcome", row->outcome);
        tern_json_object_end(&json);
    }
    tern_json_array_end(&json);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

int tern_ctl_audit(const struct tern_invocation *invocation)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__AuditRequest body = TERN__CONTROL__AUDIT_REQUEST__INIT;
    Tern__Control__Reply *reply;
    int code = TERN_EXIT_OK;

    body.limit = invocation->limit;
    request.body_case = TERN__CONTROL__REQUEST__BODY_AUDIT;
    request.audit = &body;
    reply = ask(invocation, &request, TERN__CONTROL__REPLY__BODY_AUDIT, &code);
    if (reply == NULL)
        return code;
    (invocation->json ? audit_json : print_audit)(reply->audit);
    tern__control__reply__free_unpacked(reply, NULL);
    return code;
}
