#include "controlplane/compile/compile.h"

#include "controlplane/compile/analysis.h"
#include "controlplane/compile/classes.h"
#include "controlplane/compile/cover.h"
#include "controlplane/compile/residual.h"
#include "controlplane/compile/scan.h"
#include "controlplane/compile/section.h"

static int toggle_row(void *context, uint32_t atom)
{
    return tern_rows_toggle(context, atom);
}

/* Walks the classes of a map unit: missing field, no record, then the records' classes in an order
 * in which neighbours differ little. */
static int walk_classes(struct tern_rows *rows, uint32_t index,
                        const struct tern_compiled_unit *unit, const struct tern_classes *classes,
                        uint32_t *first_row)
{
    uint32_t there = tern_unit_find_atom(unit, TERN_ATOM_THERE);
    uint32_t record = tern_unit_find_atom(unit, TERN_ATOM_RECORD);
    uint32_t before = UINT32_MAX;
    int status =
        tern_rows_unit(rows, index, TERN_CLASS_FIRST + classes->class_count, there, first_row);

    if (status == 0)
        status = tern_rows_class(rows, TERN_CLASS_MISSING);
    if (status == 0 && there != UINT32_MAX)
        status = tern_rows_toggle(rows, there);
    if (status == 0)
        status = tern_rows_class(rows, TERN_CLASS_BASE);
    if (status == 0 && record != UINT32_MAX)
        status = tern_rows_toggle(rows, record);
    for (uint32_t i = 0; i < classes->class_count && status == 0; i++) {
        status = tern_classes_difference(classes, before, classes->order[i], toggle_row, rows);
        before = classes->order[i];
        if (status == 0)
            status = tern_rows_class(rows, TERN_CLASS_FIRST + before);
    }
    tern_rows_unit_end(rows);
    return status;
}

static int build_map_unit(const struct tern_compile_input *input, uint32_t index,
                          const struct tern_compiled_unit *unit, struct tern_rows *rows,
                          struct tern_section_unit *described,
                          struct tern_compiled_classes *compiled)
{
    struct tern_classes classes = {0};
    const void *existing = NULL;
    size_t existing_length = 0;
    int status = tern_classes_hash(input, unit, compiled->content_hash);

    compiled->unit = index;
    compiled->table = unit->table;
    if (status == 0 && input->find_classes != NULL &&
        input->find_classes(input->context, compiled->content_hash, &existing, &existing_length))
        compiled->reused = true;
    else
        existing = NULL;
    if (status == 0)
        status = tern_classes_build(&classes, input, unit, compiled->content_hash, existing,
                                    existing_length, &compiled->bytes);
    if (status == 0)
        status = walk_classes(rows, index, unit, &classes, &described->first_row);
    described->class_count = TERN_CLASS_FIRST + classes.class_count;
    memcpy(described->section_hash, compiled->content_hash, sizeof described->section_hash);
    tern_classes_free(&classes);
    return status;
}

struct build { /* rows and what goes with them, from an analysis and, where they are known, tables
                */
    const struct tern_compile_input *input; /* NULL: no tables */
    struct tern_analysis *analysis;
    struct tern_rows rows;
    struct tern_section_unit *described; /* per unit */
    struct tern_compiled_classes *classes;
    unsigned classes_count;
    struct tern_residual residual;
};

static void forget_rows(struct build *build)
{
    tern_rows_free(&build->rows);
    for (unsigned i = 0; i < build->classes_count; i++)
        tern_buffer_free(&build->classes[i].bytes);
    free(build->classes);
    free(build->described);
    build->classes = NULL;
    build->described = NULL;
    build->classes_count = 0;
}

static void free_build(struct build *build)
{
    forget_rows(build);
    tern_residual_free(&build->residual);
}

/* Of a map unit without its table: a missing field and no record. */
static int build_unknown_unit(struct build *build, uint32_t index,
                              const struct tern_compiled_unit *unit)
{
    int status = tern_rows_unit(&build->rows, index, TERN_CLASS_FIRST,
                                tern_unit_find_atom(unit, TERN_ATOM_THERE),
                                &build->described[index].first_row);

    tern_rows_unit_end(&build->rows);
    return status;
}

/* All rows, or with `costs` only what they would cost. TERN_ELIMIT when they are past the limit. */
static int build_rows(struct build *build, struct tern_costs *costs)
{
    const struct tern_normal *normal = build->analysis->normal;
    const struct tern_compiled_unit *units = normal->units.data;
    const struct tern_classifier *classifiers = build->analysis->classifiers;
    int status;

    forget_rows(build);
    status = tern_rows_start(&build->rows, normal,
                             build->analysis->program->config->limits.rules_bytes, false);
    if (status != 0)
        return status;
    if (costs != NULL)
        tern_rows_measure(&build->rows, costs);
    build->described = calloc(normal->units.count + 1, sizeof *build->described);
    build->classes = calloc(normal->units.count + 1, sizeof *build->classes);
    if (build->described == NULL || build->classes == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < normal->units.count && status == 0; i++) {
        struct tern_section_unit *described = &build->described[i];

        if (units[i].kind == TERN_UNIT_MAP) {
            status = build->input == NULL
                         ? build_unknown_unit(build, i, &units[i])
                         : build_map_unit(build->input, i, &units[i], &build->rows, described,
                                          &build->classes[build->classes_count++]);
            continue;
        }
        if (tern_unit_has_hits(&units[i])) {
            status = tern_scan_walk(&build->rows, i, &units[i], described);
            continue;
        }
        described->class_count = tern_signatures_count(&classifiers[i].signatures);
        status = tern_analysis_walk(&build->rows, i, &classifiers[i].signatures,
                                    tern_unit_find_atom(&units[i], TERN_ATOM_THERE),
                                    &described->first_row);
    }
    return status != 0 ? status : tern_rows_finish(&build->rows);
}

/* Measures what the leaves cost and takes the costliest out of the rows. */
static int shrink(struct build *build)
{
    const struct tern_normal *normal = build->analysis->normal;
    size_t bits = normal->conjunctions.count;
    struct tern_costs costs;
    int status =
        tern_costs_start(&costs, normal->leaves.count, bits, (bits / TERN_BLOCK_BITS + 1) * 2);

    if (status != 0)
        return status;
    status = build_rows(build, &costs);
    if (status == 0)
        status = tern_residual_choose(&build->residual, build->analysis, &build->rows);
    tern_costs_free(&costs);
    return status;
}

/* Rows within the limit, whatever has to become residual for that. */
static int fit_rows(struct build *build)
{
    int status = build_rows(build, NULL);

    while (status == TERN_ELIMIT) {
        status = shrink(build);
        if (status == 0)
            status = build_rows(build, NULL);
        else if (status == TERN_ELIMIT)
            break;
    }
    return status;
}

/* Not even without everything that can be residual. */
static void report_too_large(const struct build *build, struct tern_diagnostics *diagnostics)
{
    const struct tern_config *config = build->analysis->program->config;
    const struct tern_place place = {config->path != NULL ? config->path : "", 0, 0};

    tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, place,
                         "the rules take %llu bytes even with all comparisons asked of each "
                         "candidate alone; limits.rules_bytes is %llu: raise it at least to that, "
                         "or have fewer rules",
                         (unsigned long long)tern_rows_bytes(&build->rows),
                         (unsigned long long)config->limits.rules_bytes);
}

/* Of every SCAN unit, once it is known what stays. */
static int build_patterns(struct build *build, struct tern_compiled *compiled,
                          struct tern_diagnostics *diagnostics)
{
    const struct tern_normal *normal = build->analysis->normal;
    const struct tern_compiled_unit *units = normal->units.data;
    int status = 0;

    compiled->patterns = calloc(normal->units.count + 1, sizeof *compiled->patterns);
    if (compiled->patterns == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < normal->units.count && status == 0; i++) {
        struct tern_compiled_patterns *patterns = &compiled->patterns[compiled->patterns_count];

        if (units[i].kind != TERN_UNIT_SCAN)
            continue;
        compiled->patterns_count++;
        status = tern_scan_build(build->input, i, &units[i], patterns, diagnostics);
        memcpy(build->described[i].section_hash, patterns->content_hash,
               sizeof build->described[i].section_hash);
    }
    return status;
}

static int compile(struct build *build, struct tern_compiled *compiled,
                   struct tern_diagnostics *diagnostics)
{
    const struct tern_normal *normal = build->analysis->normal;
    int status = fit_rows(build);

    if (status == TERN_ELIMIT)
        report_too_large(build, diagnostics);
    if (status == 0)
        status = tern_residual_report(&build->residual, build->analysis,
                                      tern_rows_bytes(&build->rows), false, diagnostics);
    if (status == 0)
        status = build_patterns(build, compiled, diagnostics);
    if (status == 0)
        status = tern_section_write(build->analysis, build->input->tables, &build->rows,
                                    build->described, &compiled->rules);
    if (status != 0)
        return status;
    compiled->classes = build->classes;
    compiled->classes_count = build->classes_count;
    build->classes = NULL;
    build->classes_count = 0;
    compiled->rows_bytes = tern_rows_bytes(&build->rows);
    compiled->conjunctions = build->rows.bit_count;
    compiled->units = (uint32_t)normal->units.count;
    compiled->residual_comparisons = build->residual.leaf_count;
    if (build->residual.leaf_count > 0) {
        compiled->residual_rules = tern_residual_rule_count(build->analysis);
        compiled->unfitted_rows_bytes = build->residual.needed_bytes;
    }
    return 0;
}

/* All that can be said of rules without their rows. */
static int check(const struct tern_analysis *analysis, struct tern_diagnostics *diagnostics)
{
    size_t errors = diagnostics->error_count;
    int status = tern_scan_check(analysis->program, diagnostics);

    if (status == 0 && diagnostics->error_count > errors)
        status = TERN_EINVAL;
    return status != 0 ? status : tern_cover_warn(analysis, diagnostics);
}

int tern_compile_check(const struct tern_config *config, struct tern_diagnostics *diagnostics)
{
    struct tern_analysis analysis;
    int status = tern_analysis_make(&analysis, config, diagnostics);

    if (status != 0)
        return status;
    status = check(&analysis, diagnostics);
    tern_analysis_free(&analysis);
    return status;
}

int tern_compile_check_rows(const struct tern_config *config, struct tern_diagnostics *diagnostics)
{
    struct tern_analysis analysis;
    struct build build = {.analysis = &analysis};
    int status = tern_analysis_make(&analysis, config, diagnostics);

    if (status != 0)
        return status;
    status = check(&analysis, diagnostics);
    if (status == 0)
        status = fit_rows(&build);
    if (status == TERN_ELIMIT) {
        report_too_large(&build, diagnostics);
        status = TERN_EINVAL;
    }
    if (status == 0)
        status = tern_residual_report(&build.residual, &analysis, tern_rows_bytes(&build.rows),
                                      true, diagnostics);
    free_build(&build);
    tern_analysis_free(&analysis);
    return status;
}

/* What tern_compile_check has said is not said twice: only errors, for a caller who did not ask it.
 */
static int analyse(struct tern_analysis *analysis, const struct tern_config *config,
                   struct tern_diagnostics *diagnostics)
{
    struct tern_diagnostics all = {0};
    int status = tern_analysis_make(analysis, config, &all);

    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].severity == TERN_SEVERITY_ERROR)
            tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, all.items[i].place, "%s",
                                 all.items[i].message);
    tern_diagnostics_free(&all);
    return status;
}

int tern_compile(const struct tern_compile_input *input, struct tern_compiled *compiled,
                 struct tern_diagnostics *diagnostics)
{
    struct tern_compiled made = {0};
    struct tern_analysis analysis;
    struct build build = {.input = input, .analysis = &analysis};
    int status;

    if (input->schema->field_count != input->config->field_count ||
        input->schema->table_count != input->config->table_count)
        return TERN_EINVAL;
    status = analyse(&analysis, input->config, diagnostics);
    if (status != 0)
        return status;
    status = compile(&build, &made, diagnostics);
    free_build(&build);
    tern_analysis_free(&analysis);
    if (status != 0) {
        tern_compiled_free(&made);
        return status;
    }
    *compiled = made;
    return 0;
}

void tern_compiled_free(struct tern_compiled *compiled)
{
    tern_buffer_free(&compiled->rules);
    for (unsigned i = 0; i < compiled->classes_count; i++)
        tern_buffer_free(&compiled->classes[i].bytes);
    for (unsigned i = 0; i < compiled->patterns_count; i++)
        tern_buffer_free(&compiled->patterns[i].bytes);
    free(compiled->patterns);
    free(compiled->classes);
    memset(compiled, 0, sizeof *compiled);
}
