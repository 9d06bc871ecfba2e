/* Decides in its own process: no server in between, tern-control need not even be alive.
 *
 *     local RUN_DIR < requests
 *
 * One request a line, its fields as name=value with blanks between them; prints the action, the
 * rule that decided and the generation. Before each line it looks for something newer.
 *
 *     $ echo 'ip=192.0.2.7 path=/login' | local /run/tern/edge
 *     deny bad-net 3 */
#include "clients/c/tern_local.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Types of fields, docs/protocol.md. */
enum { IP = 1, STRING, U64, I64, F32, BOOL };

static int set_ip(struct tern_request *request, int field, const char *text)
{
    unsigned char address[16];

    if (inet_pton(AF_INET, text, address) == 1)
        return tern_item_set_ip(request, field, address, 4);
    if (inet_pton(AF_INET6, text, address) == 1)
        return tern_item_set_ip(request, field, address, 16);
    return TERN_EINVAL;
}

static int set_field(struct tern_request *request, const struct tern_local_context *context,
                     const char *name, const char *text)
{
    int field = tern_local_field(context, name);

    if (field < 0)
        return field;
    switch (tern_local_schema(context)->fields[field - 1].type) {
    case IP:
        return set_ip(request, field, text);
    case STRING:
        return tern_item_set_string(request, field, text, strlen(text));
    case U64:
        return tern_item_set_u64(request, field, strtoull(text, NULL, 10));
    case I64:
        return tern_item_set_i64(request, field, strtoll(text, NULL, 10));
    case F32:
        return tern_item_set_f32(request, field, strtof(text, NULL));
    case BOOL:
        return tern_item_set_bool(request, field, strcmp(text, "true") == 0);
    default:
        return TERN_EINVAL;
    }
}

static void decide_line(struct tern_local_context *context, struct tern_request *request,
                        char *line)
{
    struct tern_decision decision;
    struct tern_client_rule rule = {.name = "default"};
    struct tern_error error;

    tern_request_reset(request);
    tern_item_add(request);
    for (char *word = strtok(line, " \n"); word != NULL; word = strtok(NULL, " \n")) {
        char *value = strchr(word, '=');

        if (value == NULL) {
            printf("error %s: expected name=value\n", word);
            return;
        }
        *value++ = '\0';
        if (set_field(request, context, word, value) != 0) {
            printf("error %s=%s: no such field, or no value of its type\n", word, value);
            return;
        }
    }
    if (tern_local_decide(context, request, &decision, &error) != 0) {
        printf("error %s\n", error.message);
        return;
    }
    tern_local_rule(context, decision.verdict.rule, &rule);
    printf("%s %s %u\n", tern_action_name((enum tern_action)decision.verdict.action), rule.name,
           decision.generation);
}

int main(int argc, char **argv)
{
    const struct tern_local_options options = {.name = "example"};
    struct tern_local *local;
    struct tern_local_context *context;
    struct tern_request *request;
    struct tern_error error;
    char line[8192];

    if (argc != 2) {
        fprintf(stderr, "usage: %s RUN_DIR < requests\n", argv[0]);
        return 2;
    }
    if (tern_local_open(argv[1], &options, &local, &error) != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    if (tern_local_context_open(local, &context, &error) != 0 ||
        tern_request_new_for(tern_local_schema(context), 0, &request) != 0) {
        fprintf(stderr, "%s: no context\n", argv[0]);
        tern_local_close(local);
        return 1;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (tern_local_refresh(context, &error) < 0)
            fprintf(stderr, "%s: %s\n", argv[0], error.message);
        decide_line(context, request, line);
        fflush(stdout);
    }
    tern_request_free(request);
    tern_local_context_close(context);
    tern_local_close(local);
    return 0;
}
