/* ternctl history and rollback. */
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/report.h"
#include "controlplane/log.h"

#define TIMEOUT_US (10 * 1000000ull)

static void print_json(const Tern__Control__History *history)
{
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_u64(&json, "generation", history->generation);
    tern_json_array(&json, "rows");
    for (size_t i = 0; i < history->n_rows; i++) {
        const Tern__Control__HistoryRow *row = history->rows[i];
        char hash[33] = "";

        for (size_t b = 0; b < row->config_hash.len && b < 16; b++)
            snprintf(hash + 2 * b, 3, "%02x", row->config_hash.data[b]);
        tern_json_object(&json, NULL);
        tern_json_u64(&json, "generation", row->generation);
        tern_json_string(&json, "state", row->state);
        tern_json_bool(&json, "served",
                       row->generation != 0 && row->generation == history->generation &&
                           strcmp(row->state, "live") == 0);
        tern_json_string(&json, "kind", row->kind);
        tern_json_string(&json, "reason", row->reason);
        tern_json_time(&json, "at", row->at_us);
        tern_json_u64(&json, "uid", row->uid);
        tern_json_string(&json, "message", row->message);
        tern_json_string(&json, "config", row->config_path);
        tern_json_string(&json, "config_hash", hash);
        tern_json_u64(&json, "rules", row->rules);
        tern_json_u64(&json, "rows", row->rows);
        tern_json_u64(&json, "bytes", row->bytes);
        tern_json_double(&json, "duration_ms", row->duration_ms);
        tern_json_u64(&json, "restored_from", row->restored_from);
        tern_json_object_end(&json);
    }
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

int tern_ctl_history(const struct tern_invocation *invocation)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__HistoryRequest body = TERN__CONTROL__HISTORY_REQUEST__INIT;
    Tern__Control__Reply *reply = NULL;
    char *run_dir = NULL;
    struct tern_error error;
    int code = TERN_EXIT_OK, rc = tern_instance_find(invocation, &run_dir, &error);

    body.limit = invocation->limit;
    request.body_case = TERN__CONTROL__REQUEST__BODY_HISTORY;
    request.history = &body;
    if (rc == 0)
        rc = tern_instance_ask(run_dir, &request, TIMEOUT_US, NULL, NULL, &reply, &error);
    if (rc != 0) {
        code = tern_ctl_fail(&error);
    } else if (reply->body_case != TERN__CONTROL__REPLY__BODY_HISTORY) {
        fprintf(stderr, "ternctl: %s\n",
                reply->body_case == TERN__CONTROL__REPLY__BODY_FAILURE ? reply->failure->message
                                                                       : "unexpected reply");
        code = TERN_EXIT_REFUSED;
    } else if (invocation->json) {
        print_json(reply->history);
    } else {
        print_text(reply->history);
    }
    tern__control__reply__free_unpacked(reply, NULL);
    free(run_dir);
    return code;
}

int tern_ctl_rollback(const struct tern_invocation *invocation)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__RollbackRequest body = TERN__CONTROL__ROLLBACK_REQUEST__INIT;
    uint64_t generation = 0;
    char *run_dir = NULL;
    struct tern_error error;
    int code;

    if (invocation->argument_count == 1 &&
        (tern_ctl_parse_number(invocation->arguments[0], &generation) != 0 || generation == 0)) {
        fprintf(stderr, "ternctl: '%s' is no generation\n", invocation->arguments[0]);
        return TERN_EXIT_USAGE;
    }
    if (tern_instance_find(invocation, &run_dir, &error) != 0)
        return tern_ctl_fail(&error);
    body.generation = generation;
    body.message = (char *)(uintptr_t)(invocation->message != NULL ? invocation->message : "");
    request.body_case = TERN__CONTROL__REQUEST__BODY_ROLLBACK;
    request.rollback = &body;
    code = tern_report_job(invocation, run_dir, &request, NULL);
    free(run_dir);
    return code;
}
