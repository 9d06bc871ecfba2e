#include "shared/rules/check.h"

/* The value an atom asks; false when it is missing. */
static bool value_of(const struct tern_rules *rules, struct tern_candidate *candidate,
                     const struct tern_check_atom *atom, union tern_value *value)
{
    const struct tern_unit_view *unit = &rules->units[atom->unit];

    if (!tern_facts_has(candidate->facts, unit->field))
        return false;
    if (atom->column == TERN_CHECK_FIELD) {
        *value = candidate->facts->values[unit->field];
        return true;
    }
    if (candidate->classes[atom->unit] < TERN_CLASS_FIRST)
        return false; /* no record */
    if (candidate->unit != atom->unit) {
        candidate->record = tern_table_find(unit->table, &candidate->facts->values[unit->field]);
        candidate->unit = atom->unit;
    }
    return candidate->record != TERN_NOT_FOUND &&
           tern_records_value(&unit->table->records, candidate->record, atom->column, value);
}

/* Whether the last range that begins at or before `key` reaches it. */
static bool in_ranges(const struct tern_check_range *ranges, uint32_t count,
                      struct tern_address key)
{
    while (count > 1) {
        uint32_t half = count / 2;

        if (tern_address_compare(ranges[half].first, key) <= 0)
            ranges += half;
        count -= half;
    }
    return count == 1 && tern_address_compare(ranges->first, key) <= 0 &&
           tern_address_compare(key, ranges->last) <= 0;
}

static bool atom_holds(const struct tern_rules *rules, struct tern_candidate *candidate,
                       const struct tern_check_atom *atom)
{
    const struct tern_check_range *ranges = rules->check_ranges + atom->first;
    const struct tern_text_span *texts = rules->check_strings + atom->first;
    union tern_value value;

    if (atom->kind == TERN_CHECK_RECORD || atom->kind == TERN_CHECK_LISTED)
        return candidate->classes[atom->unit] >= TERN_CLASS_FIRST;
    if (!value_of(rules, candidate, atom, &value))
        return false;
    switch (atom->kind) {
    case TERN_CHECK_NUMBER:
        return in_ranges(ranges, atom->count,
                         (struct tern_address){0, tern_interval_key(atom->type, &value)});
    case TERN_CHECK_ADDRESS:
        return in_ranges(ranges, atom->count, value.address);
    case TERN_CHECK_EQUALS:
        return tern_text_is_among(rules->bytes, texts, atom->count, value.string.bytes,
                                  value.string.length);
    case TERN_CHECK_STARTS:
        return tern_text_starts(rules->bytes, texts, value.string.bytes, value.string.length);
    case TERN_CHECK_ENDS:
        return tern_text_ends(rules->bytes, texts, value.string.bytes, value.string.length);
    case TERN_CHECK_IN_SET:
        return tern_table_find(&rules->tables[atom->set], &value) != TERN_NOT_FOUND;
    default: /* THERE, CELL */
        return true;
    }
}

bool tern_check_holds(const struct tern_rules *rules, struct tern_candidate *candidate,
                      uint32_t step)
{
    while (step < TERN_CHECK_FAILS) {
        const struct tern_check_step *at = &rules->check_steps[step];

        step = atom_holds(rules, candidate, &rules->check_atoms[at->atom]) ? at->when_true
                                                                           : at->when_false;
    }
    return step == TERN_CHECK_HOLDS;
}

bool tern_checks_hold(const struct tern_rules *rules, struct tern_candidate *candidate,
                      uint32_t list)
{
    for (;; list++) {
        uint32_t entry = rules->check_lists[list];

        if (!tern_check_holds(rules, candidate, entry & ~TERN_CHECK_LAST))
            return false;
        if (entry & TERN_CHECK_LAST)
            return true;
    }
}

struct opening {
    const struct tern_rules_header *header;
    const struct tern_rules *rules;
    const struct tern_table *tables;
    unsigned table_count;
    struct tern_error *error;
};

static int corrupt(const struct opening *opening, const char *what, uint64_t index)
{
    return tern_error_set(opening->error, TERN_ECORRUPT, "rules: %s %llu is out of bounds", what,
                          (unsigned long long)index);
}

static enum tern_type table_key_type(const struct tern_table *table)
{
    switch (table->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        return TERN_TYPE_IP;
    case TERN_TABLE_DOMAIN_SET:
        return TERN_TYPE_STRING;
    case TERN_TABLE_EXACT_SET:
    case TERN_TABLE_EXACT_MAP:
        return table->key_type;
    default:
        return TERN_TYPE_NONE;
    }
}

/* Columns hold u32, which tables have as u64 keys. */
static bool key_fits(enum tern_type type, enum tern_type key)
{
    return type == key || (type == TERN_TYPE_U32 && key == TERN_TYPE_U64);
}

static bool atom_fits(const struct opening *opening, const struct tern_check_atom *atom)
{
    const struct tern_rules_header *header = opening->header;
    const struct tern_unit_view *unit;
    bool ranges, strings;

    if (atom->unit >= header->units.count)
        return false;
    unit = &opening->rules->units[atom->unit];
    if (atom->column != TERN_CHECK_FIELD) {
        if (unit->kind != TERN_UNIT_MAP ||
            atom->column >= tern_records_column_count(&unit->table->records) ||
            tern_records_column(&unit->table->records, atom->column)->type != atom->type)
            return false;
    } else if (atom->type != unit->type) {
        return false;
    }
    ranges = tern_range_inside(atom->first, atom->count, header->check_ranges.count);
    strings = tern_range_inside(atom->first, atom->count, header->check_strings.count);
    switch (atom->kind) {
    case TERN_CHECK_THERE:
        return atom->column == TERN_CHECK_FIELD;
    case TERN_CHECK_RECORD:
        return unit->kind == TERN_UNIT_MAP;
    case TERN_CHECK_LISTED:
        return unit->kind == TERN_UNIT_SET;
    case TERN_CHECK_CELL:
        return atom->column != TERN_CHECK_FIELD;
    case TERN_CHECK_NUMBER:
        return ranges && atom->type != TERN_TYPE_STRING && atom->type != TERN_TYPE_IP &&
               atom->type != TERN_TYPE_VECTOR;
    case TERN_CHECK_ADDRESS:
        return ranges && atom->type == TERN_TYPE_IP;
    case TERN_CHECK_EQUALS:
        return strings && atom->type == TERN_TYPE_STRING;
    case TERN_CHECK_STARTS:
    case TERN_CHECK_ENDS:
        return strings && atom->count == 1 && atom->type == TERN_TYPE_STRING;
    case TERN_CHECK_IN_SET:
        return atom->set >= 1 && atom->set <= opening->table_count &&
               key_fits(atom->type, table_key_type(&opening->tables[atom->set]));
    default:
        return false;
    }
}

static int check_atoms(const struct opening *opening)
{
    const struct tern_rules_header *header = opening->header;
    const struct tern_rules *rules = opening->rules;

    for (uint64_t i = 0; i < header->check_atoms.count; i++)
        if (!atom_fits(opening, &rules->check_atoms[i]))
            return corrupt(opening, "atom of a check", i);
    for (uint64_t i = 0; i < header->check_strings.count; i++)
        if (!tern_range_inside(rules->check_strings[i].offset, rules->check_strings[i].length,
                               header->bytes.count))
            return corrupt(opening, "string of a check", i);
    return 0;
}

static bool step_fits(uint32_t target, uint64_t from, uint64_t count)
{
    return target >= TERN_CHECK_FAILS || (target > from && target < count);
}

/* Steps lead forwards, so that every check ends; every list has a last entry. */
static int check_steps(const struct opening *opening)
{
    const struct tern_rules_header *header = opening->header;
    const struct tern_rules *rules = opening->rules;
    uint64_t count = header->check_steps.count, lists = header->check_lists.count;

    for (uint64_t i = 0; i < count; i++) {
        const struct tern_check_step *step = &rules->check_steps[i];

        if (step->atom >= header->check_atoms.count || !step_fits(step->when_true, i, count) ||
            !step_fits(step->when_false, i, count))
            return corrupt(opening, "step of a check", i);
    }
    for (uint64_t i = 0; i < lists; i++)
        if ((rules->check_lists[i] & ~TERN_CHECK_LAST) >= count ||
            (i + 1 == lists && !(rules->check_lists[i] & TERN_CHECK_LAST)))
            return corrupt(opening, "check", i);
    for (uint64_t i = 0; i < header->bits.count; i++)
        if (rules->bits[i].residual > lists)
            return corrupt(opening, "checks of bit", i);
    for (uint64_t i = 0; i < header->terms.count; i++)
        if (rules->terms[i].check > count)
            return corrupt(opening, "check of term", i);
    return 0;
}

int tern_checks_open(struct tern_rules *rules, const uint8_t *section,
                     const struct tern_table *tables, unsigned table_count,
                     struct tern_error *error)
{
    const struct opening opening = {rules->header, rules, tables, table_count, error};
    const struct tern_rules_header *header = rules->header;
    int status;

    rules->check_lists = tern_rules_array(section, header, &header->check_lists, sizeof(uint32_t));
    rules->check_steps =
        tern_rules_array(section, header, &header->check_steps, sizeof(struct tern_check_step));
    rules->check_atoms =
        tern_rules_array(section, header, &header->check_atoms, sizeof(struct tern_check_atom));
    rules->check_ranges =
        tern_rules_array(section, header, &header->check_ranges, sizeof(struct tern_check_range));
    rules->check_strings =
        tern_rules_array(section, header, &header->check_strings, sizeof(struct tern_text_span));
    if (rules->check_lists == NULL || rules->check_steps == NULL || rules->check_atoms == NULL ||
        rules->check_ranges == NULL || rules->check_strings == NULL ||
        header->check_steps.count >= TERN_CHECK_LAST || header->check_lists.count > UINT32_MAX)
        return tern_error_set(error, TERN_ECORRUPT, "rules: the checks leave the section");
    rules->tables = tables;
    status = check_atoms(&opening);
    return status != 0 ? status : check_steps(&opening);
}
