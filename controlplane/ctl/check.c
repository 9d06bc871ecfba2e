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
    tern_json_array(&json, "diagnostics");
    for (size_t i = 0; i < diagnostics->count; i++) {
        const struct tern_diagnostic *item = &diagnostics->items[i];

        tern_report_diagnostic_json(&json, item->severity == TERN_SEVERITY_WARNING,
                                    item->place.file, item->place.line, item->place.column,
                                    item->message);
    }
    tern_json_array_end(&json);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

bool tern_ctl_check_config(const char *path, struct tern_config **out,
                           struct tern_diagnostics *diagnostics)
{
    struct tern_config *config = NULL;

    if (tern_config_read(path, &config, diagnostics) != 0)
        return false;
    tern_compile_check(config, diagnostics);
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
            printf("%s: ok: %u fields, %u tables, %u rules\n", path, config->field_count,
                   config->table_count, config->rule_count);
        else
            fprintf(stderr, "%s: %zu error%s\n", path, diagnostics.error_count,
                    diagnostics.error_count == 1 ? "" : "s");
    }
    tern_diagnostics_free(&diagnostics);
    tern_config_free(config);
    return ok ? TERN_EXIT_OK : TERN_EXIT_REFUSED;
}
