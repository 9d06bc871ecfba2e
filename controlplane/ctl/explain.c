/* ternctl explain: why one verdict is what it is. ternd answers JSON; explain_text.c puts it into
 * words. */
#include "controlplane/ctl/explain_text.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/request.h"

static int print_text(const char *text, size_t length)
{
    struct tern_json_tree *tree = NULL;

    if (tern_json_parse(text, length, &tree) != 0) {
        fputs("ternctl: the explanation is not JSON; --json shows it as it came\n", stderr);
        return TERN_EXIT_REFUSED;
    }
    tern_explain_print(tern_json_root(tree));
    tern_json_free(tree);
    return TERN_EXIT_OK;
}

int tern_ctl_explain(const struct tern_invocation *invocation)
{
    struct tern_client *client = NULL;
    struct tern_request *request = NULL;
    struct tern_error error;
    const char *text;
    size_t length;
    int code;

    if (tern_instance_connect(invocation, &client, &error) != 0)
        return tern_ctl_fail(&error);
    if (tern_ctl_request_build(client, invocation, &request, &error) != 0) {
        fprintf(stderr, "ternctl: %s\n", error.message);
        tern_client_close(client);
        return TERN_EXIT_USAGE;
    }
    if (tern_client_explain(client, request, &text, &length, &error) != 0) {
        code = tern_ctl_fail(&error);
    } else if (invocation->json) {
        printf("%.*s\n", (int)length, text);
        code = TERN_EXIT_OK;
    } else {
        code = print_text(text, length);
    }
    tern_request_free(request);
    tern_client_close(client);
    return code;
}
