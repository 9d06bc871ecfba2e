/* The names a schema gives ids, whoever told them: the server's HELLO or a snapshot. */
#include "clients/c/client.h"

int tern_client_names_find(const struct tern_client_name *names, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].id;
    return TERN_ENOENT;
}

static bool extends(const struct tern_client_name *old, unsigned old_count,
                    const struct tern_client_name *names, unsigned count)
{
    if (count < old_count)
        return false;
    for (unsigned i = 0; i < old_count; i++)
        if (old[i].type != names[i].type || old[i].dim != names[i].dim ||
            strcmp(old[i].name, names[i].name) != 0)
            return false;
    return true;
}

bool tern_client_schema_extends(const struct tern_client_schema *old,
                                const struct tern_client_schema *schema)
{
    return extends(old->fields, old->field_count, schema->fields, schema->field_count) &&
           extends(old->tables, old->table_count, schema->tables, schema->table_count);
}
