#include "controlplane/compile/program.h"

#include "controlplane/compile/scan.h"

static void mark_tables(const struct tern_node *node, bool *used)
{
    if (node->kind == TERN_NODE_ATOM) {
        used[node->atom.operand.table] = true;
        used[node->atom.set] = true;
        return;
    }
    for (unsigned i = 0; i < node->child_count; i++)
        mark_tables(node->children[i], used);
}

static void mark_raw(struct tern_program *program, const struct tern_node *node)
{
    if (node->kind == TERN_NODE_ATOM) {
        unsigned field = program->config->fields[node->atom.operand.field - 1].raw_of;

        if (field != 0)
            program->raw_fields[field / 64] |= 1ull << (field % 64);
    }
    for (unsigned i = 0; i < node->child_count; i++)
        mark_raw(program, node->children[i]);
}

static int warn_unused(const struct tern_program *program, struct tern_diagnostics *diagnostics)
{
    const struct tern_config *config = program->config;
    bool *used = calloc((size_t)config->table_count + 1, sizeof *used); /* [0]: no table */

    if (used == NULL)
        return TERN_ENOMEM;
    for (unsigned i = 0; i < config->rule_count; i++)
        mark_tables(program->rules[i], used);
    for (unsigned i = 0; i < config->table_count; i++)
        if (!used[i + 1])
            tern_diagnostics_add(diagnostics, TERN_SEVERITY_WARNING, config->tables[i].name.place,
                                 "no rule uses table '%s'", config->tables[i].name.text);
    free(used);
    return 0;
}

int tern_program_new(const struct tern_config *config, struct tern_diagnostics *diagnostics,
                     struct tern_program **program)
{
    struct tern_program *made = calloc(1, sizeof *made);
    int result = 0;

    if (made == NULL)
        return TERN_ENOMEM;
    made->config = config;
    made->rules = tern_region_take(&made->region, config->rule_count * sizeof *made->rules);
    if (made->rules == NULL)
        result = TERN_ENOMEM;
    if (config->rule_count > TERN_RULES_MAX) {
        tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR,
                             config->rules[TERN_RULES_MAX].when.place, "more than %u rules",
                             TERN_RULES_MAX);
        result = TERN_EINVAL;
    }
    for (unsigned i = 0; i < config->rule_count && result != TERN_ENOMEM; i++) {
        int status = tern_expression_parse(config, &config->rules[i].when, &made->region,
                                           diagnostics, &made->rules[i]);

        if (status != 0)
            result = status;
    }
    for (unsigned i = 0; i < config->rule_count && result == 0; i++)
        mark_raw(made, made->rules[i]);
    if (result == 0)
        result = warn_unused(made, diagnostics);
    else if (result == TERN_EINVAL) /* all errors, also those of the rules that can be read */
        (void)tern_scan_check(made, diagnostics);
    if (result != 0) {
        tern_program_free(made);
        return result;
    }
    *program = made;
    return 0;
}

void tern_program_free(struct tern_program *program)
{
    if (program == NULL)
        return;
    tern_region_free(&program->region);
    free(program);
}
