/* ternctl explain: why one verdict is what it is. ternd answers JSON; here it is put into words,
 * whatever members a newer ternd may add. */
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/request.h"

#define INDENT 2

static bool is_scalar(const struct tern_json_value *value)
{
    return value->kind != TERN_JSON_OBJECT && value->kind != TERN_JSON_ARRAY;
}

static bool all_scalars(const struct tern_json_value *value)
{
    for (const struct tern_json_value *child = value->child; child != NULL; child = child->next)
        if (!is_scalar(child))
            return false;
    return true;
}

/* Control characters could move the cursor: what a request carried is not ours to trust. */
static void print_scalar(const struct tern_json_value *value)
{
    for (const char *c = value->text; *c != '\0'; c++)
        putchar((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c);
}

static void print_value(const struct tern_json_value *value, unsigned depth);

static void print_members(const struct tern_json_value *value, unsigned depth)
{
    for (const struct tern_json_value *child = value->child; child != NULL; child = child->next)
        print_value(child, depth);
}

/* An object of scalars fits one line: "unit 3, field ip, class 7". */
static void print_line(const struct tern_json_value *value)
{
    for (const struct tern_json_value *child = value->child; child != NULL; child = child->next) {
        char time[TERN_PRINT_TEXT];
        size_t length = child->key != NULL ? strlen(child->key) : 0;

        if (child != value->child)
            fputs(", ", stdout);
        if (child->kind == TERN_JSON_NUMBER && length > 3 &&
            strcmp(child->key + length - 3, "_ns") == 0 && child->number >= 0) {
            printf("%.*s %s", (int)length - 3, child->key,
                   tern_print_ns(time, (uint64_t)child->number));
            continue;
        }
        if (child->key != NULL)
            printf("%s ", child->key);
        print_scalar(child);
    }
}

static void print_value(const struct tern_json_value *value, unsigned depth)
{
    printf("%*s", (int)(depth * INDENT), "");
    if (value->key != NULL)
        printf("%s%s", value->key, is_scalar(value) ? " " : ": ");
    else
        fputs("- ", stdout);
    if (is_scalar(value)) {
        print_scalar(value);
        putchar('\n');
    } else if (value->child == NULL) {
        puts("none");
    } else if (all_scalars(value)) {
        print_line(value);
        putchar('\n');
    } else {
        putchar('\n');
        print_members(value, depth + 1);
    }
}

static int print_text(const char *text, size_t length)
{
    struct tern_json_tree *tree = NULL;

    if (tern_json_parse(text, length, &tree) != 0) {
        fputs("ternctl: the explanation is not JSON; --json shows it as it came\n", stderr);
        return TERN_EXIT_REFUSED;
    }
    print_members(tern_json_root(tree), 0);
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
