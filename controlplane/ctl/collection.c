/* ternctl collection drop: the end of what is left of a collection. */
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"

#include <unistd.h>

static void draw(void *context, const Tern__Control__Reply *reply)
{
    const bool *bar = context; /* standard error is a terminal */

    if (!*bar || reply->body_case != TERN__CONTROL__REPLY__BODY_PROGRESS)
        return;
    tern_print_bar(reply->progress->permille);
    fputs(reply->progress->step, stderr);
}

/* Asks for the drop, or only how much there is. */
static int ask(const struct tern_invocation *invocation, const char *run_dir, bool count_only,
               uint64_t *vectors)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__DropRequest body = TERN__CONTROL__DROP_REQUEST__INIT;
    Tern__Control__Reply *reply = NULL;
    bool bar = !count_only && isatty(STDERR_FILENO);
    struct tern_error error;
    int rc, code = TERN_EXIT_OK;

    body.collection = invocation->arguments[1];
    body.count_only = count_only;
    body.message = (char *)(uintptr_t)(invocation->message != NULL ? invocation->message : "");
    request.body_case = TERN__CONTROL__REQUEST__BODY_DROP;
    request.drop = &body;
    rc = tern_instance_ask(run_dir, &request, 0, draw, &bar, &reply, &error);
    if (bar)
        tern_print_erase_line();
    if (rc != 0)
        return tern_ctl_fail(&error);
    if (reply->body_case == TERN__CONTROL__REPLY__BODY_DROPPED) {
        *vectors = reply->dropped->vectors;
    } else {
        fprintf(stderr, "ternctl: refused: %s\n",
                reply->body_case == TERN__CONTROL__REPLY__BODY_FAILURE ? reply->failure->message
                                                                       : "unexpected reply");
        code = TERN_EXIT_REFUSED;
    }
    tern__control__reply__free_unpacked(reply, NULL);
    return code;
}

/* The word `yes`, from whatever standard input is. */
static bool is_wanted(const char *name, uint64_t vectors)
{
    char answer[16] = "", count[TERN_PRINT_TEXT];

    fprintf(stderr,
            "%s vector%s of collection %s, which is not configured any more. Drop for good?\n"
            "A rollback will not bring them back. [yes/no] ",
            tern_print_count(count, vectors), vectors == 1 ? "" : "s", name);
    if (fgets(answer, sizeof answer, stdin) == NULL)
        fputc('\n', stderr);
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcmp(answer, "yes") == 0;
}

static void print_outcome(const struct tern_invocation *invocation, uint64_t vectors, bool dropped)
{
    const char *name = invocation->arguments[1];
    char count[TERN_PRINT_TEXT];
    struct tern_json json = {0};

    if (invocation->json) {
        tern_json_object(&json, NULL);
        tern_json_string(&json, "collection", name);
        tern_json_u64(&json, "vectors", vectors);
        tern_json_bool(&json, "dropped", dropped);
        tern_json_object_end(&json);
        tern_json_print(&json);
    } else if (dropped) {
        printf("collection %s: %s vector%s dropped\n", name, tern_print_count(count, vectors),
               vectors == 1 ? "" : "s");
    } else {
        puts("nothing is dropped");
    }
}

static int drop(const struct tern_invocation *invocation, const char *run_dir)
{
    bool yes = (invocation->given & TERN_CTL_YES) != 0;
    uint64_t vectors = 0;
    int code = yes ? TERN_EXIT_OK : ask(invocation, run_dir, true, &vectors);

    if (code != TERN_EXIT_OK)
        return code;
    if (!yes && !is_wanted(invocation->arguments[1], vectors)) {
        print_outcome(invocation, vectors, false);
        return TERN_EXIT_REFUSED;
    }
    code = ask(invocation, run_dir, false, &vectors);
    if (code == TERN_EXIT_OK)
        print_outcome(invocation, vectors, true);
    return code;
}

int tern_ctl_collection(const struct tern_invocation *invocation)
{
    struct tern_error error;
    char *run_dir = NULL;
    int code;

    if (strcmp(invocation->arguments[0], "drop") != 0) {
        fprintf(stderr, "ternctl: collection knows `drop`, not '%s'\n", invocation->arguments[0]);
        return TERN_EXIT_USAGE;
    }
    if (tern_instance_find(invocation, &run_dir, &error) != 0)
        return tern_ctl_fail(&error);
    code = drop(invocation, run_dir);
    free(run_dir);
    return code;
}
