/* ternctl rollback and resume. */
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/report.h"

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
    body.rules_only = (invocation->given & TERN_CTL_RULES_ONLY) != 0;
    request.body_case = TERN__CONTROL__REQUEST__BODY_ROLLBACK;
    request.rollback = &body;
    code = tern_report_job(invocation, run_dir, &request, NULL);
    free(run_dir);
    return code;
}

static void print_resumed(const Tern__Control__Resumed *resumed, bool as_json)
{
    struct tern_json json = {0};
    char age[TERN_PRINT_TEXT];

    if (as_json) {
        tern_json_object(&json, NULL);
        tern_json_bool(&json, "held", resumed->held);
        tern_json_time(&json, "since", resumed->held ? resumed->hold->since_us : 0);
        tern_json_object_end(&json);
        tern_json_print(&json);
    } else if (resumed->held) {
        printf("refreshes run again; they were held for %s since the rollback to generation %llu\n",
               tern_print_age(age, resumed->hold->since_us),
               (unsigned long long)resumed->hold->generation);
    } else {
        puts("refreshes were not held");
    }
}

int tern_ctl_resume(const struct tern_invocation *invocation)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__ResumeRequest body = TERN__CONTROL__RESUME_REQUEST__INIT;
    Tern__Control__Reply *reply = NULL;
    char *run_dir = NULL;
    struct tern_error error;
    int code = TERN_EXIT_OK, rc = tern_instance_find(invocation, &run_dir, &error);

    body.message = (char *)(uintptr_t)(invocation->message != NULL ? invocation->message : "");
    request.body_case = TERN__CONTROL__REQUEST__BODY_RESUME;
    request.resume = &body;
    if (rc == 0)
        rc = tern_instance_ask(run_dir, &request, 0, NULL, NULL, &reply, &error);
    if (rc != 0) {
        code = tern_ctl_fail(&error);
    } else if (reply->body_case != TERN__CONTROL__REPLY__BODY_RESUMED) {
        fprintf(stderr, "ternctl: refused: %s\n",
                reply->body_case == TERN__CONTROL__REPLY__BODY_FAILURE ? reply->failure->message
                                                                       : "unexpected reply");
        code = TERN_EXIT_REFUSED;
    } else {
        print_resumed(reply->resumed, invocation->json);
    }
    tern__control__reply__free_unpacked(reply, NULL);
    free(run_dir);
    return code;
}
