#include "controlplane/compile/compile.h"

#include "controlplane/compile/analysis.h"
#include "controlplane/compile/classes.h"
#include "controlplane/compile/section.h"

int tern_compile_check(const struct tern_config *config, struct tern_diagnostics *diagnostics)
{
    struct tern_analysis analysis;
    int status = tern_analysis_make(&analysis, config, diagnostics);

    if (status == 0)
        tern_analysis_free(&analysis);
    return status;
}

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
    memcpy(described->classes_hash, compiled->content_hash, sizeof described->classes_hash);
    tern_classes_free(&classes);
    return status;
}

static void report_costliest(const struct tern_config *config, const struct tern_normal *normal,
                             const struct tern_rows *rows, struct tern_diagnostics *diagnostics)
{
    const struct tern_compiled_unit *units = normal->units.data;
    const struct tern_conjunction *conjunctions = normal->conjunctions.data;
    const struct tern_leaf *leaves = normal->leaves.data;
    struct tern_place place = {config->path != NULL ? config->path : "", 0, 0};
    const char *what[2] = {"", ""};
    size_t worst = 0;

    for (size_t i = 1; i < normal->units.count; i++)
        if (rows->unit_bytes[i] > rows->unit_bytes[worst])
            worst = i;
    for (size_t i = 0; i < normal->conjunctions.count && place.line == 0; i++)
        for (uint32_t j = 0; j < conjunctions[i].term_count; j++)
            if (leaves[((const uint32_t *)normal->terms.data)[conjunctions[i].first_term + j]]
                    .unit == worst)
                place = config->rules[conjunctions[i].rule].when.place;
    if (units[worst].table != 0) {
        what[0] = " in table ";
        what[1] = config->tables[units[worst].table - 1].name.text;
    }
    tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, place,
                         "the rules take more than limits.rules_bytes (%llu bytes); the costliest "
                         "part, at least %llu bytes, is what they ask about field '%s'%s%s, here "
                         "first",
                         (unsigned long long)rows->limit_bytes,
                         (unsigned long long)rows->unit_bytes[worst],
                         config->fields[units[worst].field - 1].name.text, what[0], what[1]);
}

static int build(const struct tern_compile_input *input, const struct tern_analysis *analysis,
                 struct tern_compiled *compiled, struct tern_diagnostics *diagnostics)
{
    const struct tern_normal *normal = analysis->normal;
    const struct tern_compiled_unit *units = normal->units.data;
    struct tern_section_unit *described = calloc(normal->units.count + 1, sizeof *described);
    struct tern_rows rows = {0};
    int status = described == NULL ? TERN_ENOMEM : 0;

    compiled->classes = calloc(normal->units.count + 1, sizeof *compiled->classes);
    if (compiled->classes == NULL)
        status = TERN_ENOMEM;
    if (status == 0)
        status = tern_rows_start(&rows, normal, input->config->limits.rules_bytes, false);
    for (uint32_t i = 0; i < normal->units.count && status == 0; i++) {
        if (units[i].kind == TERN_UNIT_MAP) {
            status = build_map_unit(input, i, &units[i], &rows, &described[i],
                                    &compiled->classes[compiled->classes_count++]);
            continue;
        }
        described[i].class_count = tern_signatures_count(&analysis->classifiers[i].signatures);
        status = tern_analysis_walk(&rows, i, &analysis->classifiers[i].signatures,
                                    tern_unit_find_atom(&units[i], TERN_ATOM_THERE),
                                    &described[i].first_row);
    }
    if (status == TERN_ELIMIT)
        report_costliest(input->config, normal, &rows, diagnostics);
    if (status == 0)
        status = tern_rows_finish(&rows);
    if (status == 0)
        status = tern_section_write(analysis, &rows, described, &compiled->rules);
    compiled->rows_bytes = tern_rows_bytes(&rows);
    compiled->conjunctions = rows.bit_count;
    compiled->units = (uint32_t)normal->units.count;
    tern_rows_free(&rows);
    free(described);
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
    int status;

    if (input->schema->field_count != input->config->field_count ||
        input->schema->table_count != input->config->table_count)
        return TERN_EINVAL;
    status = analyse(&analysis, input->config, diagnostics);
    if (status != 0)
        return status;
    status = build(input, &analysis, &made, diagnostics);
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
    free(compiled->classes);
    memset(compiled, 0, sizeof *compiled);
}
