/* ternctl table get: one look-up over the real path. */
#include "controlplane/config/nearest.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/request.h"

static const struct tern_client_name *find_table(const struct tern_client_schema *schema,
                                                 const char *name)
{
    for (unsigned i = 0; i < schema->table_count; i++)
        if (strcmp(schema->tables[i].name, name) == 0)
            return &schema->tables[i];
    return NULL;
}

static int no_such_table(const struct tern_client_schema *schema, const char *name)
{
    struct tern_nearest nearest = {.wanted = name, .wanted_length = strlen(name)};
    char hint[TERN_NEAREST_HINT];

    for (unsigned i = 0; i < schema->table_count; i++)
        tern_nearest_offer(&nearest, schema->tables[i].name, schema->tables[i].name_length);
    fprintf(stderr, "ternctl: there is no table '%s'%s\n", name,
            tern_nearest_hint(&nearest, "; ", hint));
    return TERN_EXIT_USAGE;
}

/* LOOKUP's reply does not name the columns; they come in the configuration's order. */
static void print_record(const struct tern_invocation *invocation,
                         const struct tern_client_column *columns, unsigned count)
{
    struct tern_json json = {0};

    if (!invocation->json && count == 0) {
        puts("found");
        return;
    }
    if (!invocation->json) {
        for (unsigned i = 0; i < count; i++) {
            struct tern_json value = {0};

            tern_ctl_value_json(&value, NULL, &columns[i]);
            tern_json_print(&value);
        }
        return;
    }
    tern_json_object(&json, NULL);
    tern_json_bool(&json, "found", true);
    tern_json_array(&json, "columns");
    for (unsigned i = 0; i < count; i++)
        tern_ctl_value_json(&json, NULL, &columns[i]);
    tern_json_array_end(&json);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static int look_up(const struct tern_invocation *invocation, struct tern_client *client)
{
    const struct tern_client_name *table =
        find_table(tern_client_schema(client), invocation->arguments[1]);
    struct tern_client_column columns[TERN_COLUMNS_MAX];
    uint8_t *scratch;
    const uint8_t *key;
    struct tern_error error;
    unsigned count = 0;
    size_t length;
    int rc;

    if (table == NULL)
        return no_such_table(tern_client_schema(client), invocation->arguments[1]);
    scratch = aligned_alloc(64, tern_align_up(TERN_CTL_SCRATCH, 64));
    if (scratch == NULL)
        return TERN_EXIT_REFUSED;
    rc = tern_ctl_value_bytes((enum tern_type)table->type, invocation->arguments[2], scratch, &key,
                              &length, &error);
    if (rc != 0) {
        fprintf(stderr, "ternctl: key '%s': %s\n", invocation->arguments[2], error.message);
        free(scratch);
        return TERN_EXIT_USAGE;
    }
    rc = tern_client_lookup(client, table->id, key, length, columns, TERN_COUNT(columns), &count,
                            &error);
    free(scratch);
    if (rc == TERN_ENOENT) {
        puts(invocation->json ? "{\"found\":false}" : "not found");
        return TERN_EXIT_REFUSED;
    }
    if (rc != 0)
        return tern_ctl_fail(&error);
    print_record(invocation, columns, (unsigned)tern_min_u64(count, TERN_COUNT(columns)));
    return TERN_EXIT_OK;
}

int tern_ctl_table(const struct tern_invocation *invocation)
{
    struct tern_client *client = NULL;
    struct tern_error error;
    int code;

    if (strcmp(invocation->arguments[0], "get") != 0) {
        fprintf(stderr, "ternctl: table knows `get`, not '%s'\n", invocation->arguments[0]);
        return TERN_EXIT_USAGE;
    }
    if (tern_instance_connect(invocation, &client, &error) != 0)
        return tern_ctl_fail(&error);
    code = look_up(invocation, client);
    tern_client_close(client);
    return code;
}
