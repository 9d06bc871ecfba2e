/* ternctl table get: one look-up over the real path. */
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
    const char **names = calloc(schema->table_count + 1u, sizeof *names);
    const char *nearest = NULL;

    for (unsigned i = 0; names != NULL && i < schema->table_count; i++)
        names[i] = schema->tables[i].name;
    if (names != NULL)
        nearest = tern_print_nearest(name, names, schema->table_count);
    fprintf(stderr, "ternctl: there is no table '%s'", name);
    if (nearest != NULL)
        fprintf(stderr, "; did you mean '%s'?", nearest);
    fputc('\n', stderr);
    free(names);
    return TERN_EXIT_USAGE;
}

/* LOOKUP's reply does not name the columns; they come in the configuration's order. */
static void print_column(struct tern_json *json, const struct tern_client_column *column)
{
    char text[TERN_ADDRESS_TEXT];

    switch (column->type) {
    case TERN_TYPE_STRING:
        tern_json_text(json, NULL, column->value, column->length);
        return;
    case TERN_TYPE_U32:
        if (column->length == 4)
            tern_json_u64(json, NULL, tern_load_u32(column->value));
        return;
    case TERN_TYPE_U64:
        if (column->length == 8)
            tern_json_u64(json, NULL, tern_load_u64(column->value));
        return;
    case TERN_TYPE_I64:
        if (column->length == 8)
            tern_json_i64(json, NULL, (int64_t)tern_load_u64(column->value));
        return;
    case TERN_TYPE_F32:
        if (column->length == 4)
            tern_json_double(json, NULL, (double)tern_load_f32(column->value));
        return;
    case TERN_TYPE_BOOL:
        if (column->length == 1)
            tern_json_bool(json, NULL, column->value[0] != 0);
        return;
    case TERN_TYPE_IP:
        if (column->length == 4 || column->length == 16) {
            tern_address_format(column->length == 4 ? tern_address_from_4(column->value)
                                                    : tern_address_from_16(column->value),
                                text);
            tern_json_string(json, NULL, text);
        }
        return;
    default:
        tern_json_null(json, NULL);
    }
}

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

            print_column(&value, &columns[i]);
            tern_json_print(&value);
        }
        return;
    }
    tern_json_object(&json, NULL);
    tern_json_bool(&json, "found", true);
    tern_json_array(&json, "columns");
    for (unsigned i = 0; i < count; i++)
        print_column(&json, &columns[i]);
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
