/* ternctl check: every error of a configuration, without a running tern. */
#include "controlplane/compile/compile.h"
#include "controlplane/ctl/command.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/report.h"

static void print_json(const struct tern_diagnostics *diagnostics, const char *path)
{
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_string(&json, "config", path);
    tern_json_bool(&json, "ok", diagnostics->error_count == 0);
    tern_json_u64(&json, "errors", diagnostics->error_count);
    tern_json_u64(&json, "warnings", diagnostics->count - diagnostics->error_count);
    tern_report_diagnostics_json(&json, diagnostics);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

/* True when whatever expressions refer to was read without an error: the fields and tables all
 * stand before the rules, and the errors not before them. Else errors of fields would come back as
 * unknown names. */
static bool rules_are_checkable(const struct tern_config *config,
                                const struct tern_diagnostics *diagnostics)
{
    uint32_t first = UINT32_MAX;

    for (unsigned i = 0; i < config->rule_count; i++)
        if (config->rules[i].id.text != NULL && config->rules[i].id.place.line < first)
            first = config->rules[i].id.place.line;
    for (unsigned i = 0; i < config->field_count; i++)
        if (config->fields[i].name.place.line > first)
            return false;
    for (unsigned i = 0; i < config->table_count; i++)
        if (config->tables[i].name.place.line > first)
            return false;
    for (size_t i = 0; i < diagnostics->count; i++)
        if (diagnostics->items[i].severity == TERN_SEVERITY_ERROR &&
            diagnostics->items[i].place.line < first)
            return false;
    return config->rule_count != 0;
}

/* Checks the expressions of those rules that have one. */
static void check_readable_rules(const struct tern_config *config,
                                 struct tern_diagnostics *diagnostics)
{
    struct tern_config readable = *config;

    readable.rules = calloc(config->rule_count, sizeof *readable.rules);
    readable.rule_count = 0;
    if (readable.rules == NULL)
        return;
    for (unsigned i = 0; i < config->rule_count; i++)
        if (config->rules[i].id.text != NULL && config->rules[i].when.text != NULL)
            readable.rules[readable.rule_count++] = config->rules[i];
    tern_compile_check(&readable, diagnostics);
    free(readable.rules);
}

bool tern_ctl_check_config(const char *path, struct tern_config **out,
                           struct tern_diagnostics *diagnostics)
{
    struct tern_config *config = NULL;

    if (tern_config_read_partial(path, &config, diagnostics) != 0) {
        if (config != NULL && rules_are_checkable(config, diagnostics))
            check_readable_rules(config, diagnostics);
        tern_config_free(config);
        return false;
    }
    tern_compile_check_rows(config, diagnostics);
    *out = config;
    return diagnostics->error_count == 0;
}

int tern_ctl_check(const struct tern_invocation *invocation)
{
    const char *path = invocation->arguments[0];
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    bool ok = tern_ctl_check_config(path, &config, &diagnostics);

    if (invocation->json) {
        print_json(&diagnostics, path);
    } else {
        tern_report_diagnostics(&diagnostics);
        if (ok)
            printf("%s: ok: %u fields, %u tables, %u collections, %u rules\n", path,
                   config->field_count, config->table_count, config->collection_count,
                   config->rule_count);
        else
            fprintf(stderr, "%s: %zu error%s\n", path, diagnostics.error_count,
                    diagnostics.error_count == 1 ? "" : "s");
    }
    tern_diagnostics_free(&diagnostics);
    tern_config_free(config);
    return ok ? TERN_EXIT_OK : TERN_EXIT_REFUSED;
}
