#include "shared/rules/check.h"

struct opening {
    const uint8_t *section;
    size_t length;
    const struct tern_rules_header *header;
    const struct tern_rules_parts *parts;
    struct tern_rules *rules;
    struct tern_error *error;
};

static int corrupt(struct opening *opening, const char *what, uint64_t index)
{
    return tern_error_set(opening->error, TERN_ECORRUPT, "rules: %s %llu is out of bounds", what,
                          (unsigned long long)index);
}

/* The array of a span, or NULL when it leaves the section. */
static const void *array_of(const struct opening *opening, const struct tern_span *span,
                            size_t size)
{
    return tern_rules_array(opening->section, opening->header, span, size);
}

static int open_header(struct opening *opening)
{
    const struct tern_rules_header *header = (const void *)opening->section;

    if (opening->length < sizeof *header || (uintptr_t)opening->section % 64 != 0)
        return tern_error_set(opening->error, TERN_ECORRUPT, "rules: %zu bytes are too few",
                              opening->length);
    if (header->magic != TERN_RULES_MAGIC || header->version != TERN_RULES_VERSION)
        return tern_error_set(opening->error, TERN_EABI,
                              "rules: magic %llx version %u, this build reads %llx version %u",
                              (unsigned long long)header->magic, header->version,
                              (unsigned long long)TERN_RULES_MAGIC, TERN_RULES_VERSION);
    if (header->length != opening->length || header->rule_count > TERN_RULES_MAX ||
        header->block_count > TERN_BLOCKS_MAX || header->level_max > TERN_UNITS_MAX ||
        header->bit_count > header->block_count * TERN_BLOCK_BITS ||
        header->units.count > TERN_UNITS_MAX || header->default_action > TERN_UNDECIDED ||
        header->blocks.count != header->block_count ||
        header->kinds.count != (uint64_t)header->block_count * TERN_BLOCK_BITS ||
        header->bits.count > UINT32_MAX || header->rules.count != header->rule_count ||
        header->thresholds.count > TERN_THRESHOLDS_MAX ||
        header->bit_terms.count != (uint64_t)header->bit_count + 1 ||
        header->always.count > header->block_count || header->class_rows.count > UINT32_MAX ||
        header->deltas.count > UINT32_MAX || header->masks.count > UINT32_MAX ||
        (header->rule_count == 0 && header->block_count > 0))
        return tern_error_set(opening->error, TERN_ECORRUPT, "rules: the header's counts disagree");
    opening->header = header;
    return 0;
}

static int open_arrays(struct opening *opening)
{
    const struct tern_rules_header *header = opening->header;
    struct tern_rules *rules = opening->rules;

    rules->deltas = array_of(opening, &header->deltas, sizeof(struct tern_delta));
    rules->masks = array_of(opening, &header->masks, sizeof(struct tern_mask_words));
    rules->blocks = array_of(opening, &header->blocks, sizeof(struct tern_block));
    rules->always = array_of(opening, &header->always, sizeof(uint32_t));
    rules->bits = array_of(opening, &header->bits, sizeof(struct tern_bit));
    rules->kinds = array_of(opening, &header->kinds, 1);
    rules->live = array_of(opening, &header->live, sizeof(uint32_t));
    rules->rules = array_of(opening, &header->rules, sizeof(struct tern_rule));
    rules->thresholds = array_of(opening, &header->thresholds, sizeof(struct tern_threshold));
    rules->bit_terms = array_of(opening, &header->bit_terms, sizeof(uint32_t));
    rules->terms = array_of(opening, &header->terms, sizeof(struct tern_term));
    rules->texts = array_of(opening, &header->texts, sizeof(struct tern_text_span));
    rules->bytes = array_of(opening, &header->bytes, 1);
    if (rules->deltas == NULL || rules->masks == NULL || rules->blocks == NULL ||
        rules->always == NULL || rules->bits == NULL || rules->kinds == NULL ||
        rules->live == NULL || rules->rules == NULL || rules->thresholds == NULL ||
        rules->bit_terms == NULL || rules->terms == NULL || rules->texts == NULL ||
        rules->bytes == NULL)
        return tern_error_set(opening->error, TERN_ECORRUPT, "rules: a part leaves the section");
    rules->always_count = (uint32_t)header->always.count;
    rules->threshold_count = (uint32_t)header->thresholds.count;
    rules->rule_count = header->rule_count;
    rules->bit_count = header->bit_count;
    rules->unit_count = (uint32_t)header->units.count;
    rules->default_action = header->default_action;
    rules->header = header;
    return 0;
}

/* Whatever conjunction of the block is asked for, what it does is there, and its rule. */
static bool bits_fit(const struct tern_rules_header *header, const struct tern_block *block,
                     const uint8_t *kinds)
{
    uint32_t rules = 0;

    if (block->form == TERN_BLOCK_EXPLICIT)
        return tern_range_inside(block->first_bit, TERN_BLOCK_BITS, header->bits.count);
    for (unsigned word = 0; word < 8; word++) {
        if (block->ranks[word] != rules)
            return false;
        rules += (uint32_t)__builtin_popcountll(block->starts[word]);
    }
    for (unsigned i = 0; i < TERN_BLOCK_BITS; i++)
        if (!tern_range_inside(block->first_bit, kinds[i] + 1ull, header->bits.count))
            return false;
    return (block->starts[0] & 1) != 0 && block->form <= TERN_BLOCK_GAPS &&
           tern_range_inside(block->first_rule, rules,
                             block->form == TERN_BLOCK_GAPS ? header->live.count
                                                            : header->rule_count);
}

static int check_blocks(struct opening *opening)
{
    const struct tern_rules_header *header = opening->header;
    const struct tern_rules *rules = opening->rules;

    for (uint32_t i = 0; i < header->block_count; i++)
        if (rules->blocks[i].level_count > header->level_max ||
            !tern_range_inside(rules->blocks[i].first_need, rules->blocks[i].level_count,
                               header->masks.count) ||
            !bits_fit(header, &rules->blocks[i], &rules->kinds[(size_t)i * TERN_BLOCK_BITS]))
            return corrupt(opening, "block", i);
    for (uint64_t i = 0; i < header->live.count; i++)
        if (rules->live[i] >= header->rule_count)
            return corrupt(opening, "live rule", i);
    for (uint32_t i = 0; i < rules->always_count; i++)
        if (rules->always[i] >= header->block_count ||
            (i > 0 && rules->always[i] <= rules->always[i - 1]))
            return corrupt(opening, "unconditional block", i);
    for (uint64_t i = 0; i < header->bits.count; i++)
        if (rules->bits[i].rule >= header->rule_count || rules->bits[i].action > TERN_UNDECIDED ||
            (rules->bits[i].effect & ~TERN_EFFECT_SHADOW) > TERN_EFFECT_ESCALATE)
            return corrupt(opening, "bit", i);
    for (uint64_t i = 0; i < header->deltas.count; i++)
        if (rules->deltas[i].mask >= header->masks.count ||
            rules->deltas[i].place / 2 >= header->block_count)
            return corrupt(opening, "delta", i);
    return 0;
}

/* Rows are in order of their places: a walk would give a wrong answer otherwise, if never a wild
 * access. Rows share deltas, so each delta is compared with the one before unless a row starts
 * there. */
static int check_rows(struct opening *opening, const struct tern_class_row *rows)
{
    const struct tern_rules_header *header = opening->header;
    const struct tern_rules *rules = opening->rules;
    uint8_t *starts = calloc(header->deltas.count + 1, 1);
    uint64_t bad = UINT64_MAX;

    if (starts == NULL)
        return TERN_ENOMEM;
    for (uint64_t i = 0; i < header->class_rows.count && bad == UINT64_MAX; i++) {
        if (rows[i].delta_count == 0)
            continue;
        if (!tern_range_inside(rows[i].first_delta, rows[i].delta_count, header->deltas.count) ||
            rows[i].first_place != rules->deltas[rows[i].first_delta].place ||
            rows[i].first_mask != rules->deltas[rows[i].first_delta].mask)
            bad = i;
        else
            starts[rows[i].first_delta] = 1;
    }
    for (uint64_t i = 1; i < header->deltas.count && bad == UINT64_MAX; i++)
        if (!starts[i] && rules->deltas[i].place <= rules->deltas[i - 1].place)
            bad = i;
    free(starts);
    return bad == UINT64_MAX ? 0 : corrupt(opening, "row or delta", bad);
}

static int check_rules(struct opening *opening)
{
    const struct tern_rules_header *header = opening->header;
    const struct tern_rules *rules = opening->rules;

    for (uint32_t i = 0; i < header->rule_count; i++)
        if (rules->rules[i].action > TERN_UNDECIDED ||
            !tern_range_inside(rules->rules[i].name, rules->rules[i].name_length,
                               header->bytes.count))
            return corrupt(opening, "rule", i);
    for (uint32_t i = 0; i < rules->threshold_count; i++)
        if (rules->thresholds[i].action > TERN_UNDECIDED)
            return corrupt(opening, "threshold", i);
    for (uint32_t i = 0; i <= header->bit_count; i++)
        if (rules->bit_terms[i] > header->terms.count ||
            (i > 0 && rules->bit_terms[i] < rules->bit_terms[i - 1]))
            return corrupt(opening, "terms of bit", i);
    for (uint64_t i = 0; i < header->terms.count; i++)
        if (rules->terms[i].unit >= header->units.count ||
            rules->terms[i].text >= header->texts.count)
            return corrupt(opening, "term", i);
    for (uint64_t i = 0; i < header->texts.count; i++)
        if (!tern_range_inside(rules->texts[i].offset, rules->texts[i].length, header->bytes.count))
            return corrupt(opening, "text", i);
    return 0;
}

static bool kind_fits(const struct tern_unit *unit, const struct tern_table *table)
{
    bool map = table->kind == TERN_TABLE_EXACT_MAP || table->kind == TERN_TABLE_PREFIX_MAP;
    enum tern_type key =
        table->kind == TERN_TABLE_PREFIX_MAP || table->kind == TERN_TABLE_PREFIX_SET ? TERN_TYPE_IP
        : table->kind == TERN_TABLE_DOMAIN_SET ? TERN_TYPE_STRING
                                               : table->key_type;

    if (unit->type != key || table->kind == TERN_TABLE_NONE ||
        table->kind == TERN_TABLE_PATTERN_SET)
        return false;
    return unit->kind == TERN_UNIT_MAP ? map && table->has_records : !map;
}

static int open_classes(struct opening *opening, const struct tern_unit *unit,
                        struct tern_unit_view *view, uint32_t index)
{
    const struct tern_classes_section *classes = opening->parts->classes;
    unsigned classes_count = opening->parts->classes_count;
    const struct tern_classes_header *header = NULL;
    uint64_t needed;
    uint32_t largest = 0;

    for (unsigned i = 0; i < classes_count; i++) {
        if (classes[i].unit != index)
            continue;
        header = classes[i].data;
        if (classes[i].length < sizeof *header || (uintptr_t)header % 8 != 0 ||
            header->magic != TERN_CLASSES_MAGIC || header->length > classes[i].length)
            return corrupt(opening, "classes section of unit", index);
    }
    if (header == NULL)
        return tern_error_set(opening->error, TERN_ECORRUPT,
                              "rules: unit %u has no classes section", index);
    if (memcmp(header->content_hash, unit->section_hash, sizeof header->content_hash) != 0)
        return tern_error_set(opening->error, TERN_ECORRUPT,
                              "rules: the classes section of unit %u belongs to other rules or "
                              "another table",
                              index);
    needed = (uint64_t)header->record_count * header->id_bytes;
    if ((header->id_bytes != 2 && header->id_bytes != 4) ||
        header->record_count != tern_records_count(&view->table->records) ||
        header->class_count != unit->class_count - TERN_CLASS_FIRST ||
        header->ids_offset % 4 != 0 ||
        !tern_range_inside(header->ids_offset, needed, header->length))
        return corrupt(opening, "classes section of unit", index);
    view->ids = (const uint8_t *)header + header->ids_offset;
    view->id_bytes = (uint8_t)header->id_bytes;
    if (header->id_bytes == 2) {
        const uint16_t *ids = (const uint16_t *)(const void *)view->ids;

        for (uint32_t i = 0; i < header->record_count; i++)
            largest = ids[i] > largest ? ids[i] : largest;
    } else {
        const uint32_t *ids = (const uint32_t *)(const void *)view->ids;

        for (uint32_t i = 0; i < header->record_count; i++)
            largest = ids[i] > largest ? ids[i] : largest;
    }
    if (header->record_count > 0 && largest >= header->class_count)
        return corrupt(opening, "class of a record of unit", index);
    return 0;
}

static int open_classifier(struct opening *opening, const struct tern_unit *unit,
                           struct tern_unit_view *view)
{
    const uint8_t *data = opening->section + unit->offset;
    const struct tern_intervals_header *intervals = (const void *)data;
    const struct tern_class_bounds bounds = {unit->class_count, opening->header->block_count * 2,
                                             opening->header->masks.count};
    int status;

    switch (unit->kind) {
    case TERN_UNIT_NUMBER:
        return tern_intervals_open(&view->narrow, data, unit->length, false, &bounds,
                                   opening->error);
    case TERN_UNIT_ADDRESS:
        status =
            tern_intervals_open(&view->narrow, data, unit->length, false, &bounds, opening->error);
        if (status != 0)
            return status;
        if (intervals->next >= unit->length)
            return tern_error_set(opening->error, TERN_ECORRUPT, "rules: no IPv6 intervals");
        return tern_intervals_open(&view->wide, data + intervals->next,
                                   unit->length - intervals->next, true, &bounds, opening->error);
    case TERN_UNIT_STRING:
    case TERN_UNIT_SUFFIX:
        return tern_trie_open(&view->trie, data, unit->length, &bounds, opening->error);
    default:
        return 0;
    }
}

static bool type_fits(const struct tern_unit *unit)
{
    switch (unit->kind) {
    case TERN_UNIT_NUMBER:
        return unit->type == TERN_TYPE_U64 || unit->type == TERN_TYPE_I64 ||
               unit->type == TERN_TYPE_F32 || unit->type == TERN_TYPE_BOOL;
    case TERN_UNIT_ADDRESS:
        return unit->type == TERN_TYPE_IP;
    case TERN_UNIT_STRING:
    case TERN_UNIT_SUFFIX:
    case TERN_UNIT_SCAN:
        return unit->type == TERN_TYPE_STRING;
    case TERN_UNIT_SIMILAR:
        return unit->type == TERN_TYPE_VECTOR;
    default:
        return unit->kind >= TERN_UNIT_PRESENCE && unit->kind <= TERN_UNIT_MAP;
    }
}

/* A slot of facts with the unit's type; one of untouched values only where decoding keeps them. */
static bool slot_fits(const struct opening *opening, const struct tern_schema *schema,
                      const struct tern_unit *unit)
{
    const struct tern_schema_field *field;
    bool raw;

    field = tern_schema_slot(schema, unit->field, &raw);
    return field != NULL && field->type == unit->type &&
           (!raw || (opening->header->raw_fields[field->id / 64] >> (field->id % 64) & 1));
}

static bool has_hits(const struct tern_unit *unit)
{
    return unit->kind == TERN_UNIT_SCAN || unit->kind == TERN_UNIT_SIMILAR;
}

/* What it goes through. */
static int open_patterns(struct opening *opening, const struct tern_unit *unit,
                         struct tern_scan *scan, uint32_t index)
{
    const struct tern_rules_parts *parts = opening->parts;
    const struct tern_patterns_section *patterns = NULL;

    for (unsigned i = 0; i < parts->patterns_count; i++)
        if (parts->patterns[i].unit == index)
            patterns = &parts->patterns[i];
    if (patterns == NULL)
        return tern_error_set(opening->error, TERN_ECORRUPT,
                              "rules: unit %u has no patterns section", index);
    return tern_scan_open(scan, patterns->data, patterns->length, unit->section_hash,
                          opening->error);
}

/* What is asked of its neighbours. */
static int open_similar(struct opening *opening, const struct tern_unit *unit,
                        struct tern_scan *scan, uint32_t index)
{
    const struct tern_rules_parts *parts = opening->parts;
    const struct tern_schema *schema = parts->schema;
    const struct tern_collection *collection = NULL;
    int status;

    if (unit->table == 0 || unit->table > schema->collection_count)
        return corrupt(opening, "collection of unit", index);
    if (unit->table <= parts->collection_count && parts->collections[unit->table].header != NULL)
        collection = &parts->collections[unit->table];
    status = tern_similar_open(&scan->similar, opening->section + unit->offset, unit->length,
                               unit->atom_count, tern_schema_fields(schema)[unit->field - 1].dim,
                               collection, opening->error);
    opening->rules->searches = opening->rules->searches || status == 0;
    return status;
}

/* The atoms' rows and the levels' are where the unit says, and what it goes through is there.
 * Places are those of the first scan_count, each once. */
static int open_scan(struct opening *opening, const struct tern_unit *unit,
                     const struct tern_unit_view *view, uint32_t index)
{
    const struct tern_class_row *rows = view->rows;
    struct tern_scan *scan;

    if (unit->place >= opening->rules->scan_count ||
        opening->rules->scans[unit->place].hits != NULL)
        return corrupt(opening, "place of unit", index);
    scan = &opening->rules->scans[unit->place];
    if (unit->atom_count > TERN_PATTERNS_MAX || unit->level_count > TERN_UNITS_MAX ||
        unit->class_count != TERN_CLASS_FIRST + unit->atom_count + unit->level_count ||
        rows[TERN_CLASS_MISSING].delta_count != 0 || rows[TERN_CLASS_BASE].delta_count != 0)
        return corrupt(opening, "atoms of unit", index);
    *scan = (struct tern_scan){.unit = index,
                               .field = unit->field,
                               .atom_count = unit->atom_count,
                               .level_count = unit->level_count,
                               .hits = rows + TERN_CLASS_FIRST,
                               .levels = rows + TERN_CLASS_FIRST + unit->atom_count};
    return unit->kind == TERN_UNIT_SCAN ? open_patterns(opening, unit, scan, index)
                                        : open_similar(opening, unit, scan, index);
}

/* What bits and terms say of SCAN units, once these are known. */
static int check_scans(struct opening *opening)
{
    const struct tern_rules_header *header = opening->header;
    const struct tern_rules *rules = opening->rules;
    uint32_t lazy = rules->scan_count < TERN_LAZY_MAX ? rules->scan_count : TERN_LAZY_MAX;

    for (uint64_t i = 0; i < header->bits.count; i++)
        if (rules->bits[i].lazy >> lazy != 0)
            return corrupt(opening, "lazy unit of bit", i);
    for (uint64_t i = 0; i < header->terms.count; i++)
        if (rules->terms[i].class >= rules->units[rules->terms[i].unit].class_count)
            return corrupt(opening, "class of term", i);
    return 0;
}

static int open_units(struct opening *opening)
{
    const struct tern_schema *schema = opening->parts->schema;
    const struct tern_table *tables = opening->parts->tables;
    unsigned table_count = opening->parts->table_count;
    const struct tern_rules_header *header = opening->header;
    const struct tern_unit *units = array_of(opening, &header->units, sizeof *units);
    const struct tern_class_row *rows = array_of(opening, &header->class_rows, sizeof *rows);
    int status;

    if (units == NULL || rows == NULL)
        return tern_error_set(opening->error, TERN_ECORRUPT, "rules: units leave the section");
    for (uint32_t i = 0; i < header->units.count; i++)
        opening->rules->scan_count += has_hits(&units[i]);
    status = check_rows(opening, rows);
    for (uint32_t i = 0; i < header->units.count && status == 0; i++) {
        const struct tern_unit *unit = &units[i];
        struct tern_unit_view *view = &opening->rules->units[i];

        if (!type_fits(unit) || !slot_fits(opening, schema, unit) ||
            unit->class_count < TERN_CLASS_FIRST || unit->offset % 64 != 0 ||
            !tern_range_inside(unit->first_row, unit->class_count, header->class_rows.count) ||
            !tern_range_inside(unit->offset, unit->length, opening->length))
            return corrupt(opening, "unit", i);
        *view = (struct tern_unit_view){.kind = unit->kind,
                                        .type = unit->type,
                                        .field = unit->field,
                                        .table_id = unit->table,
                                        .class_count = unit->class_count,
                                        .rows = rows + unit->first_row};
        opening->rules->unit_rows[i] = view->rows;
        if (unit->kind == TERN_UNIT_SET || unit->kind == TERN_UNIT_MAP) {
            if (unit->table == 0 || unit->table > table_count ||
                unit->table > schema->table_count || !kind_fits(unit, &tables[unit->table]) ||
                (unit->kind == TERN_UNIT_SET && unit->class_count != TERN_CLASS_FIRST + 1))
                return corrupt(opening, "table of unit", i);
            view->table = &tables[unit->table];
        }
        status = unit->kind == TERN_UNIT_MAP ? open_classes(opening, unit, view, i)
                 : has_hits(unit)            ? open_scan(opening, unit, view, i)
                                             : open_classifier(opening, unit, view);
    }
    return status;
}

int tern_rules_open(struct tern_rules **rules, const void *section, size_t length,
                    const struct tern_rules_parts *parts, struct tern_error *error)
{
    static _Atomic uint64_t serials = 1;
    struct opening opening = {.section = section, .length = length, .parts = parts, .error = error};
    int status = open_header(&opening);
    uint64_t units;

    if (status != 0)
        return status;
    units = opening.header->units.count;
    opening.rules = calloc(1, sizeof **rules + units * sizeof(struct tern_unit_view) +
                                  units * sizeof(struct tern_scan));
    if (opening.rules == NULL)
        return TERN_ENOMEM;
    opening.rules->scans = (struct tern_scan *)&opening.rules->units[units];
    opening.rules->serial = atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed);
    opening.rules->schema = parts->schema;
    opening.rules->decide = tern_rules_walk_scalar;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2"))
        opening.rules->decide = tern_rules_walk_avx2;
#endif
    status = open_arrays(&opening);
    if (status == 0)
        status = check_blocks(&opening);
    if (status == 0)
        status = check_rules(&opening);
    if (status == 0)
        status = open_units(&opening);
    if (status == 0)
        tern_rules_group(opening.rules);
    if (status == 0)
        status = check_scans(&opening);
    if (status == 0)
        status = tern_checks_open(opening.rules, opening.section, parts->tables, parts->table_count,
                                  error);
    if (status != 0) {
        tern_rules_close(opening.rules);
        return status;
    }
    *rules = opening.rules;
    return 0;
}

void tern_rules_close(struct tern_rules *rules)
{
    if (rules == NULL)
        return;
    for (uint32_t i = 0; i < rules->scan_count; i++)
        tern_scan_close(&rules->scans[i]);
    free(rules);
}
