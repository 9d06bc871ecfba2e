#include "controlplane/compile/scan.h"

#include "controlplane/build/hyperscan.h"

#include <xxhash.h>

/* Expressions of one database with the places that errors speak of. */
struct expressions {
    struct tern_list list;   /* struct tern_expression; `text` an offset until finish */
    struct tern_list places; /* struct tern_place */
    struct tern_list atoms;  /* u32: what each belongs to */
    struct tern_buffer texts;
};

static void free_expressions(struct expressions *expressions)
{
    tern_list_free(&expressions->list);
    tern_list_free(&expressions->places);
    tern_list_free(&expressions->atoms);
    tern_buffer_free(&expressions->texts);
}

static int add(struct expressions *expressions, bool literal, const void *bytes, size_t length,
               uint32_t atom, struct tern_place place)
{
    size_t at = expressions->texts.length;
    struct tern_expression *expression = tern_list_push(&expressions->list, sizeof *expression);
    struct tern_place *place_slot = tern_list_push(&expressions->places, sizeof *place_slot);
    uint32_t *atom_slot = tern_list_push(&expressions->atoms, sizeof *atom_slot);

    if (expression == NULL || place_slot == NULL || atom_slot == NULL)
        return TERN_ENOMEM;
    *expression = (struct tern_expression){(const char *)at};
    *place_slot = place;
    *atom_slot = atom;
    return literal ? tern_hyperscan_literal(&expressions->texts, bytes, length)
                   : tern_hyperscan_regex(&expressions->texts, bytes, length);
}

/* The texts no longer move. */
static const struct tern_expression *finish(struct expressions *expressions)
{
    struct tern_expression *list = expressions->list.data;

    for (size_t i = 0; i < expressions->list.count; i++)
        list[i].text = (const char *)expressions->texts.data + (uintptr_t)list[i].text;
    return list;
}

/* ---- checking ---- */

static int collect(const struct tern_node *node, struct expressions *expressions)
{
    const struct tern_atom *atom = &node->atom;
    int status = 0;

    for (unsigned i = 0; i < node->child_count && status == 0; i++)
        status = collect(node->children[i], expressions);
    if (node->kind != TERN_NODE_ATOM || atom->test != TERN_TEST_MATCHES)
        return status;
    return add(expressions, false, atom->literals[0].first.string.bytes,
               atom->literals[0].first.string.length, 0, atom->place);
}

struct checking {
    const struct expressions *expressions;
    struct tern_diagnostics *diagnostics;
};

static void report_refused(void *context, size_t index, const char *reason)
{
    struct checking *checking = context;

    tern_diagnostics_add(checking->diagnostics, TERN_SEVERITY_ERROR,
                         ((const struct tern_place *)checking->expressions->places.data)[index],
                         "hyperscan does not take this regular expression: %s", reason);
}

int tern_scan_check(const struct tern_program *program, struct tern_diagnostics *diagnostics)
{
    struct expressions expressions = {0};
    struct checking checking = {&expressions, diagnostics};
    struct tern_error error;
    int status = 0;

    for (unsigned i = 0; i < program->config->rule_count && status == 0; i++)
        if (program->rules[i] != NULL) /* it could be read */
            status = collect(program->rules[i], &expressions);
    if (status == 0)
        status = tern_hyperscan_check(finish(&expressions), expressions.list.count, report_refused,
                                      &checking, &error);
    free_expressions(&expressions);
    return status;
}

/* ---- numbering ---- */

static int compare_atoms(const void *left, const void *right, void *context)
{
    const struct tern_unit_atom *atoms = context;
    const struct tern_string *a = &atoms[*(const uint32_t *)left].canonical;
    const struct tern_string *b = &atoms[*(const uint32_t *)right].canonical;
    int order = memcmp(a->bytes, b->bytes, tern_min_u64(a->length, b->length));

    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

/* In the order of their cost, as the first survivor evaluates them: scans, then searches; but a
 * search is dear enough that scans past the lazy ones come behind it, so that it stays lazy. */
static void give_places(struct tern_normal *normal)
{
    struct tern_compiled_unit *units = normal->units.data;
    uint32_t searches = 0, scans = 0, scan_at = 0, search_at, before;

    for (size_t i = 0; i < normal->units.count; i++) {
        scans += units[i].kind == TERN_UNIT_SCAN;
        searches += units[i].kind == TERN_UNIT_SIMILAR;
    }
    before = TERN_LAZY_MAX - (uint32_t)tern_min_u64(searches, TERN_LAZY_MAX);
    before = scans < before ? scans : before;
    search_at = before;
    for (size_t i = 0; i < normal->units.count; i++) {
        if (units[i].kind == TERN_UNIT_SIMILAR) {
            units[i].place = search_at++;
        } else if (units[i].kind == TERN_UNIT_SCAN) {
            units[i].place = scan_at < before ? scan_at : scan_at + searches;
            scan_at++;
        }
    }
}

int tern_scan_order(struct tern_normal *normal)
{
    struct tern_compiled_unit *units = normal->units.data;
    const struct tern_leaf *leaves = normal->leaves.data;
    const uint32_t *terms = normal->terms.data;
    uint8_t *named = calloc(normal->leaves.count + 1, 1);
    int status = named == NULL ? TERN_ENOMEM : 0;

    for (size_t i = 0; i < normal->terms.count && status == 0; i++) {
        const struct tern_leaf *leaf = &leaves[terms[i]];
        struct tern_compiled_unit *unit = &units[leaf->unit];
        uint32_t *slot;

        if (!tern_unit_has_hits(unit) || named[terms[i]])
            continue;
        named[terms[i]] = 1;
        slot = tern_list_push(&unit->hits, sizeof *slot);
        if (slot == NULL)
            status = TERN_ENOMEM;
        else
            *slot = leaf->postfix[0];
    }
    for (size_t i = 0; i < normal->units.count && status == 0; i++) {
        uint32_t *hits = units[i].hits.data;
        size_t kept = 0;

        if (units[i].hits.count == 0)
            continue;
        qsort_r(hits, units[i].hits.count, sizeof *hits, compare_atoms, units[i].atoms.data);
        for (size_t j = 0; j < units[i].hits.count; j++) /* an atom and its opposite are one */
            if (kept == 0 || hits[kept - 1] != hits[j])
                hits[kept++] = hits[j];
        units[i].hits.count = kept;
    }
    free(named);
    give_places(normal);
    return status;
}

/* ---- building ---- */

static int add_set(const struct tern_compile_input *input, const struct tern_unit_atom *atom,
                   uint32_t id, struct expressions *expressions)
{
    const struct tern_patterns *patterns = &input->tables[atom->set].patterns;
    const struct tern_config_table *table = &input->config->tables[atom->set - 1];
    int status = 0;

    for (uint32_t i = 0; i < patterns->count && status == 0; i++)
        status = add(expressions, false, patterns->bytes + patterns->entries[i].offset,
                     patterns->entries[i].length, id,
                     (struct tern_place){table->source_path, patterns->entries[i].line, 0});
    return status;
}

static int add_atom(const struct tern_compile_input *input, const struct tern_compiled_unit *unit,
                    uint32_t index, uint32_t id, struct expressions *expressions)
{
    const struct tern_unit_atom *atom = (const struct tern_unit_atom *)unit->atoms.data + index;
    int status = 0;

    switch (atom->kind) {
    case TERN_ATOM_MATCHES_SET:
        return add_set(input, atom, id, expressions);
    case TERN_ATOM_ANY:
        for (uint32_t i = 0; i < atom->count && status == 0; i++)
            status = add_atom(input, unit, atom->members[i], id, expressions);
        return status;
    default:
        return add(expressions, atom->kind == TERN_ATOM_CONTAINS, atom->strings[0].bytes,
                   atom->strings[0].length, id, atom->place);
    }
}

/* What the database is a function of. */
static int hash(const struct expressions *expressions, uint8_t digest[16])
{
    static const char version[] = "tern patterns 2;";
    const struct tern_expression *list = expressions->list.data;
    XXH3_state_t *state = XXH3_createState();
    struct tern_buffer identity = {0};
    XXH128_canonical_t canonical;
    int status = state == NULL ? TERN_ENOMEM : tern_hyperscan_identity(&identity);

    if (status == 0) {
        XXH3_128bits_reset(state);
        XXH3_128bits_update(state, version, sizeof version);
        XXH3_128bits_update(state, identity.data, identity.length);
        for (size_t i = 0; i < expressions->list.count; i++)
            XXH3_128bits_update(state, list[i].text, strlen(list[i].text) + 1);
        XXH3_128bits_update(state, expressions->atoms.data,
                            expressions->atoms.count * sizeof(uint32_t));
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
        memcpy(digest, canonical.digest, 16);
    }
    tern_buffer_free(&identity);
    XXH3_freeState(state);
    return status;
}

static int write_section(const struct expressions *expressions, uint32_t atom_count,
                         struct tern_compiled_patterns *compiled, size_t *refused,
                         struct tern_error *error)
{
    struct tern_patterns_header header = {
        .magic = TERN_PATTERNS_MAGIC,
        .atom_count = atom_count,
        .expression_count = (uint32_t)expressions->list.count,
    };
    struct tern_buffer *out = &compiled->bytes;
    int status = tern_buffer_append_zero(out, sizeof header);

    if (status == 0 && expressions->atoms.count > 0)
        status = tern_buffer_append(out, expressions->atoms.data,
                                    expressions->atoms.count * sizeof(uint32_t));
    if (status == 0)
        status = tern_buffer_align(out, 64);
    header.database_offset = out->length;
    if (status == 0 && expressions->list.count > 0)
        status = tern_hyperscan_compile(expressions->list.data, expressions->list.count, out,
                                        refused, error);
    if (status != 0)
        return status;
    memcpy(header.content_hash, compiled->content_hash, sizeof header.content_hash);
    header.length = out->length;
    memcpy(out->data, &header, sizeof header);
    header.checksum = tern_patterns_checksum((const void *)out->data, out->length);
    memcpy(out->data, &header, sizeof header);
    return 0;
}

static void report_failure(const struct tern_config *config, const struct tern_compiled_unit *unit,
                           const struct expressions *expressions, size_t refused,
                           const char *reason, struct tern_diagnostics *diagnostics)
{
    const struct tern_unit_atom *first =
        (const struct tern_unit_atom *)unit->atoms.data + *(const uint32_t *)unit->hits.data;

    if (refused < expressions->places.count)
        tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR,
                             ((const struct tern_place *)expressions->places.data)[refused],
                             "hyperscan does not take this regular expression: %s", reason);
    else
        tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, first->place,
                             "hyperscan does not take what is asked of field '%s', here first: %s",
                             config->fields[unit->field - 1].name.text, reason);
}

int tern_scan_build(const struct tern_compile_input *input, uint32_t index,
                    const struct tern_compiled_unit *unit, struct tern_compiled_patterns *compiled,
                    struct tern_diagnostics *diagnostics)
{
    const uint32_t *hits = unit->hits.data;
    struct expressions expressions = {0};
    size_t refused = SIZE_MAX;
    struct tern_error error = {0};
    int status = 0;

    for (uint32_t i = 0; i < unit->hits.count && status == 0; i++)
        status = add_atom(input, unit, hits[i], i, &expressions);
    finish(&expressions);
    if (status == 0 && expressions.list.count > TERN_PATTERNS_MAX)
        status = tern_error_set(&error, TERN_ELIMIT, "more than %u patterns", TERN_PATTERNS_MAX);
    compiled->unit = index;
    compiled->expressions = (uint32_t)expressions.list.count;
    if (status == 0)
        status = hash(&expressions, compiled->content_hash);
    if (status == 0 && input->find_patterns != NULL &&
        input->find_patterns(input->context, compiled->content_hash))
        compiled->reused = true;
    else if (status == 0)
        status =
            write_section(&expressions, (uint32_t)unit->hits.count, compiled, &refused, &error);
    if (status != 0 && status != TERN_ENOMEM)
        report_failure(input->config, unit, &expressions, refused, error.message, diagnostics);
    free_expressions(&expressions);
    return status;
}

/* ---- rows ---- */

uint32_t tern_scan_class(const struct tern_normal *normal, const struct tern_leaf *leaf)
{
    const struct tern_compiled_unit *unit =
        (const struct tern_compiled_unit *)normal->units.data + leaf->unit;
    const uint32_t *hits = unit->hits.data;
    size_t low = 0, high = unit->hits.count;

    if (!tern_unit_has_hits(unit))
        return 0;
    while (low + 1 < high) { /* hits are in the order of their atoms' bytes */
        size_t middle = low + (high - low) / 2;

        if (compare_atoms(&hits[middle], &leaf->postfix[0], unit->atoms.data) <= 0)
            low = middle;
        else
            high = middle;
    }
    assert(hits[low] == leaf->postfix[0]);
    return TERN_CLASS_FIRST + (uint32_t)low;
}

uint8_t tern_scan_lazy(const struct tern_normal *normal, const struct tern_conjunction *conjunction)
{
    const struct tern_compiled_unit *units = normal->units.data;
    const struct tern_leaf *leaves = normal->leaves.data;
    const uint32_t *terms = (const uint32_t *)normal->terms.data + conjunction->first_term;
    unsigned lazy = 0;

    for (uint32_t i = 0; i < conjunction->term_count; i++) {
        const struct tern_compiled_unit *unit = &units[leaves[terms[i]].unit];

        if (tern_unit_has_hits(unit) && unit->place < TERN_LAZY_MAX)
            lazy |= 1u << unit->place;
    }
    return (uint8_t)lazy;
}

/* How many atoms of the unit each bit asks for; returns the most. */
static uint32_t count_asked(const struct tern_normal *normal, uint32_t index, uint32_t *asked)
{
    const struct tern_conjunction *conjunctions = normal->conjunctions.data;
    const struct tern_leaf *leaves = normal->leaves.data;
    const uint32_t *terms = normal->terms.data;
    uint32_t most = 0;

    for (size_t i = 0; i < normal->conjunctions.count; i++) {
        for (uint32_t j = 0; j < conjunctions[i].term_count; j++) {
            const struct tern_leaf *leaf = &leaves[terms[conjunctions[i].first_term + j]];

            asked[i] += leaf->unit == index && leaf->length == 1; /* not negated */
        }
        most = asked[i] > most ? asked[i] : most;
    }
    return most;
}

/* From nothing at all to every bit that asks for more than `level` atoms, level by level. */
static int walk_levels(struct tern_rows *rows, const uint32_t *asked, uint32_t levels,
                       uint32_t first_class)
{
    int status = 0;

    for (uint32_t level = 0; level < levels && status == 0; level++) {
        for (uint32_t bit = 0; bit < rows->bit_count; bit++)
            if (level == 0 ? asked[bit] > 0 : asked[bit] == level)
                tern_rows_flip(rows, bit);
        status = tern_rows_class(rows, first_class + level);
    }
    return status;
}

int tern_scan_walk(struct tern_rows *rows, uint32_t index, const struct tern_compiled_unit *unit,
                   struct tern_section_unit *described)
{
    const uint32_t *hits = unit->hits.data;
    uint32_t *asked = calloc(rows->normal->conjunctions.count + 1, sizeof *asked);
    uint32_t count = (uint32_t)unit->hits.count, levels;
    int status;

    if (asked == NULL)
        return TERN_ENOMEM;
    levels = count_asked(rows->normal, index, asked);
    described->atom_count = count;
    described->level_count = levels;
    described->class_count = TERN_CLASS_FIRST + count + levels;
    status = tern_rows_unit(rows, index, described->class_count, UINT32_MAX, &described->first_row);
    if (status == 0)
        status = tern_rows_class(rows, TERN_CLASS_MISSING);
    for (uint32_t i = 0; i < count && status == 0; i++) {
        status = tern_rows_toggle(rows, hits[i]);
        if (status == 0)
            status = tern_rows_class(rows, TERN_CLASS_FIRST + i);
        if (status == 0)
            status = tern_rows_toggle(rows, hits[i]);
    }
    if (status == 0) /* nothing hits: where the levels begin from */
        status = tern_rows_class(rows, TERN_CLASS_BASE);
    if (status == 0 && rows->costs == NULL)
        status = walk_levels(rows, asked, levels, TERN_CLASS_FIRST + count);
    tern_rows_unit_end(rows);
    free(asked);
    return status;
}
