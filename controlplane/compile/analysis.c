#include "controlplane/compile/analysis.h"

#include "controlplane/compile/scan.h"

#define TEXT_MAX 120 /* bytes of an expression in a message */

/* What its value can be is known only when it is there. */
static bool is_opaque(const struct tern_compiled_unit *unit)
{
    return unit->kind == TERN_UNIT_MAP || tern_unit_has_hits(unit);
}

uint32_t tern_unit_find_atom(const struct tern_compiled_unit *unit, enum tern_atom_kind kind)
{
    const struct tern_unit_atom *atoms = unit->atoms.data;

    for (uint32_t i = 0; i < unit->atoms.count; i++)
        if (atoms[i].kind == kind)
            return i;
    return UINT32_MAX;
}

int tern_analysis_walk(struct tern_rows *rows, uint32_t unit,
                       const struct tern_signatures *signatures, uint32_t there,
                       uint32_t *first_row)
{
    uint32_t class_count = tern_signatures_count(signatures);
    int status = tern_rows_unit(rows, unit, class_count, there, first_row);

    for (uint32_t class = 0; class < class_count && status == 0; class ++) {
        size_t count;
        const uint32_t *toggles = tern_signatures_toggles(signatures, class, &count);

        for (size_t i = 0; i < count && status == 0; i++)
            status = tern_rows_toggle(rows, toggles[i]);
        if (status == 0)
            status = tern_rows_class(rows, class);
    }
    tern_rows_unit_end(rows);
    return status;
}

int tern_analysis_classify(struct tern_analysis *analysis, uint32_t unit_index)
{
    const struct tern_compiled_unit *unit =
        (const struct tern_compiled_unit *)analysis->normal->units.data + unit_index;
    const struct tern_unit_atom *atoms = unit->atoms.data;
    struct tern_classifier *classifier = &analysis->classifiers[unit_index];
    uint32_t *indexes, count = 0;
    int status;

    if (is_opaque(unit))
        return 0;
    indexes = malloc((unit->atoms.count + 1) * sizeof *indexes);
    if (indexes == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < unit->atoms.count; i++)
        if (!atoms[i].idle)
            indexes[count++] = i;
    tern_classifier_free(classifier);
    status = tern_classifier_build(classifier, unit->kind, unit->type, atoms, indexes, count,
                                   tern_unit_find_atom(unit, TERN_ATOM_THERE));
    free(indexes);
    return status;
}

static int build_classifiers(struct tern_analysis *analysis)
{
    size_t count = analysis->normal->units.count;
    int status = 0;

    analysis->classifiers = calloc(count + 1, sizeof *analysis->classifiers);
    if (analysis->classifiers == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < count && status == 0; i++)
        status = tern_analysis_classify(analysis, i);
    return status;
}

/* Which leaves hold never, always, or for a missing value. Of MAP, SCAN and SIMILAR units, whose
 * classes are in tables, values and collections, only what holds for missing fields and missing
 * records. */
static int survey(struct tern_analysis *analysis, struct tern_rows *rows)
{
    const struct tern_compiled_unit *units = analysis->normal->units.data;
    int status = tern_rows_start(rows, analysis->normal, UINT64_MAX, true);

    for (uint32_t i = 0; i < analysis->normal->units.count && status == 0; i++) {
        uint32_t there = tern_unit_find_atom(&units[i], TERN_ATOM_THERE), first_row;

        if (is_opaque(&units[i])) {
            status = tern_rows_unit(rows, i, 2, there, &first_row);
            tern_rows_unit_end(rows);
        } else {
            status = tern_analysis_walk(rows, i, &analysis->classifiers[i].signatures, there,
                                        &first_row);
        }
    }
    return status;
}

static bool leaf_names(const struct tern_normal *normal, const struct tern_leaf *leaf,
                       enum tern_atom_kind kind)
{
    const struct tern_compiled_unit *unit =
        (const struct tern_compiled_unit *)normal->units.data + leaf->unit;

    for (uint32_t i = 0; i < leaf->length; i++)
        if ((leaf->postfix[i] & TERN_POSTFIX_OP) == 0 &&
            ((const struct tern_unit_atom *)unit->atoms.data)[leaf->postfix[i]].kind == kind)
            return true;
    return false;
}

static int warn_absence_of(const struct tern_analysis *analysis,
                           struct tern_diagnostics *diagnostics, uint32_t rule,
                           const struct tern_leaf *leaf, bool record)
{
    const struct tern_config *config = analysis->program->config;
    const struct tern_compiled_unit *unit =
        (const struct tern_compiled_unit *)analysis->normal->units.data + leaf->unit;
    struct tern_buffer text = {0};
    int status = tern_leaf_text(analysis->normal, leaf, TEXT_MAX, &text);

    if (status == 0)
        tern_diagnostics_add(
            diagnostics, TERN_SEVERITY_WARNING, config->rules[rule].when.place,
            "rule '%s': '%.*s' is satisfied by absence: it is true when %s '%s' %s; add exists(%s) "
            "or 'missing: skip' unless that is meant",
            config->rules[rule].id.text, (int)text.length, (const char *)text.data,
            record ? "table" : "field",
            record ? config->tables[unit->table - 1].name.text
                   : config->fields[unit->field - 1].name.text,
            record ? "has no record" : "is missing",
            record ? config->tables[unit->table - 1].name.text
                   : config->fields[unit->field - 1].name.text);
    tern_buffer_free(&text);
    return status;
}

/* A conjunction is satisfied by the absence of a field when all its terms on that field are true
 * without it and none says so itself by exists(). Each rule is warned of once a field or table. */
static int warn_absence(const struct tern_analysis *analysis, const struct tern_rows *rows,
                        const struct tern_conjunction *conjunction,
                        struct tern_diagnostics *diagnostics, struct tern_digest_map *warned)
{
    const struct tern_normal *normal = analysis->normal;
    const struct tern_leaf *leaves = normal->leaves.data;
    const struct tern_compiled_unit *units = normal->units.data;
    const uint32_t *terms = (const uint32_t *)normal->terms.data + conjunction->first_term;

    for (uint32_t i = 0; i < conjunction->term_count; i++) {
        const struct tern_leaf *leaf = &leaves[terms[i]];
        const struct tern_compiled_unit *unit = &units[leaf->unit];
        bool record = unit->kind == TERN_UNIT_MAP, absent, added;
        uint32_t key[3] = {conjunction->rule, unit->field, record ? unit->table : 0};
        int status;

        if (record) {
            absent = rows->leaf_based[terms[i]] && !leaf_names(normal, leaf, TERN_ATOM_RECORD);
        } else {
            absent = true;
            for (uint32_t j = 0; j < conjunction->term_count && absent; j++)
                if (units[leaves[terms[j]].unit].field == unit->field)
                    absent = rows->leaf_missing[terms[j]] &&
                             !leaf_names(normal, &leaves[terms[j]], TERN_ATOM_THERE);
        }
        if (!absent)
            continue;
        if (tern_digest_map_put(warned, tern_digest_of(key, sizeof key), 0, &added) == NULL)
            return TERN_ENOMEM;
        status =
            added ? warn_absence_of(analysis, diagnostics, conjunction->rule, leaf, record) : 0;
        if (status != 0)
            return status;
    }
    return 0;
}

/* Drops conjunctions that hold for no value and terms that hold for every one. */
static void simplify(struct tern_normal *normal, const struct tern_rows *rows)
{
    struct tern_conjunction *conjunctions = normal->conjunctions.data;
    const struct tern_leaf *leaves = normal->leaves.data;
    const struct tern_compiled_unit *units = normal->units.data;
    uint32_t *terms = normal->terms.data, kept_terms = 0;
    size_t kept = 0;

    for (size_t i = 0; i < normal->conjunctions.count; i++) {
        struct tern_conjunction conjunction = conjunctions[i];
        uint32_t first = kept_terms;
        bool possible = true;

        for (uint32_t j = 0; j < conjunction.term_count && possible; j++) {
            uint32_t leaf = terms[conjunction.first_term + j];

            if (is_opaque(&units[leaves[leaf].unit]))
                terms[kept_terms++] = leaf;
            else if (!rows->leaf_possible[leaf])
                possible = false;
            else if (!rows->leaf_certain[leaf])
                terms[kept_terms++] = leaf;
        }
        if (!possible) {
            kept_terms = first;
            continue;
        }
        conjunctions[kept++] =
            (struct tern_conjunction){conjunction.rule, first, kept_terms - first};
    }
    normal->conjunctions.count = kept;
    normal->terms.count = kept_terms;
}

static int warn(struct tern_analysis *analysis, const struct tern_rows *rows,
                struct tern_diagnostics *diagnostics)
{
    const struct tern_config *config = analysis->program->config;
    const struct tern_conjunction *conjunctions = analysis->normal->conjunctions.data;
    struct tern_digest_map warned = {0};
    size_t at = 0;
    int status = 0;

    for (uint32_t i = 0; i < config->rule_count && status == 0; i++) {
        const struct tern_config_rule *rule = &config->rules[i];
        size_t first = at;

        while (at < analysis->normal->conjunctions.count && conjunctions[at].rule == i)
            at++;
        if (rule->mode == TERN_RULE_OFF)
            continue;
        if (at == first)
            tern_diagnostics_add(diagnostics, TERN_SEVERITY_WARNING, rule->when.place,
                                 "rule '%s' can never match", rule->id.text);
        for (size_t j = first; j < at && status == 0 && !rule->missing_skip; j++)
            status = warn_absence(analysis, rows, &conjunctions[j], diagnostics, &warned);
    }
    tern_digest_map_free(&warned);
    return status;
}

int tern_analysis_make(struct tern_analysis *analysis, const struct tern_config *config,
                       struct tern_diagnostics *diagnostics)
{
    struct tern_analysis made = {0};
    struct tern_rows rows = {0};
    int status = tern_program_new(config, diagnostics, &made.program);

    if (status == 0)
        status = tern_normal_new(made.program, diagnostics, &made.normal);
    if (status == 0)
        status = build_classifiers(&made);
    if (status == 0)
        status = survey(&made, &rows);
    if (status == 0) {
        simplify(made.normal, &rows);
        status = warn(&made, &rows, diagnostics);
        if (status == 0)
            status = tern_scan_order(made.normal);
    }
    if (status == 0)
        status = tern_normal_compact(made.normal);
    tern_rows_free(&rows);
    if (status != 0) {
        tern_analysis_free(&made);
        return status;
    }
    *analysis = made;
    return 0;
}

void tern_analysis_free(struct tern_analysis *analysis)
{
    if (analysis->classifiers != NULL)
        for (size_t i = 0; i < analysis->normal->units.count; i++)
            tern_classifier_free(&analysis->classifiers[i]);
    free(analysis->classifiers);
    tern_normal_free(analysis->normal);
    tern_program_free(analysis->program);
    memset(analysis, 0, sizeof *analysis);
}
