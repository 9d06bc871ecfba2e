#include "controlplane/compile/checks.h"

#include "controlplane/compile/digest.h"

struct maker {
    struct tern_checks *checks;
    const struct tern_config *config;
    const struct tern_normal *normal;
    const struct tern_table *tables;
    struct tern_buffer *bytes;
    uint32_t **atoms; /* per unit and atom: 1 + its index in checks->atoms */
    /* of the leaf at hand */
    const struct tern_leaf *leaf;
    uint32_t *sizes;  /* entries of the subexpression that ends at each position */
    uint32_t *counts; /* atoms, so steps, of it */
};

bool tern_check_possible(const struct tern_compiled_unit *unit)
{
    return unit->kind >= TERN_UNIT_PRESENCE && unit->kind <= TERN_UNIT_MAP;
}

static const struct tern_compiled_unit *unit_at(const struct maker *maker, uint32_t unit)
{
    return (const struct tern_compiled_unit *)maker->normal->units.data + unit;
}

static int add_ranges(struct maker *maker, const struct tern_unit_atom *atom)
{
    for (uint32_t i = 0; i < atom->count; i++) {
        struct tern_check_range *range = tern_list_push(&maker->checks->ranges, sizeof *range);

        if (range == NULL)
            return TERN_ENOMEM;
        *range = (struct tern_check_range){atom->ranges[i].first, atom->ranges[i].last};
    }
    return 0;
}

static int add_strings(struct maker *maker, const struct tern_unit_atom *atom)
{
    for (uint32_t i = 0; i < atom->count; i++) {
        struct tern_text_span *span = tern_list_push(&maker->checks->strings, sizeof *span);
        size_t at = maker->bytes->length;
        int status = span == NULL ? TERN_ENOMEM
                                  : tern_buffer_append(maker->bytes, atom->strings[i].bytes,
                                                       atom->strings[i].length);

        if (status != 0)
            return status;
        if (maker->bytes->length > UINT32_MAX)
            return TERN_ELIMIT;
        *span = (struct tern_text_span){(uint32_t)at, atom->strings[i].length};
    }
    return 0;
}

/* Where a column of the configuration stands in the records of its table. */
static int find_column(const struct maker *maker, uint16_t table, int16_t column, uint16_t *found)
{
    const struct tern_config_column *wanted = &maker->config->tables[table - 1].columns[column];
    const struct tern_records *records = &maker->tables[table].records;

    for (unsigned i = 0; i < tern_records_column_count(records); i++) {
        const struct tern_column *held = tern_records_column(records, i);

        if (held->name_length == wanted->name.length &&
            memcmp(held->name, wanted->name.text, wanted->name.length) == 0 &&
            held->type == wanted->type) {
            *found = (uint16_t)i;
            return 0;
        }
    }
    return TERN_EINVAL;
}

static uint8_t check_kind(const struct tern_compiled_unit *unit, const struct tern_unit_atom *atom,
                          enum tern_type type)
{
    switch (atom->kind) {
    case TERN_ATOM_THERE:
        return TERN_CHECK_THERE;
    case TERN_ATOM_RECORD:
        return TERN_CHECK_RECORD;
    case TERN_ATOM_CELL:
        return TERN_CHECK_CELL;
    case TERN_ATOM_RANGES:
        return type == TERN_TYPE_IP ? TERN_CHECK_ADDRESS : TERN_CHECK_NUMBER;
    case TERN_ATOM_EQUALS:
        return TERN_CHECK_EQUALS;
    case TERN_ATOM_STARTS:
        return TERN_CHECK_STARTS;
    case TERN_ATOM_ENDS:
        return TERN_CHECK_ENDS;
    default:
        return unit->kind == TERN_UNIT_SET ? TERN_CHECK_LISTED : TERN_CHECK_IN_SET;
    }
}

/* The atom of a unit among the atoms of checks, made when it is new. */
static int intern_atom(struct maker *maker, uint32_t unit_index, uint32_t index, uint32_t *made)
{
    const struct tern_compiled_unit *unit = unit_at(maker, unit_index);
    const struct tern_unit_atom *atom = (const struct tern_unit_atom *)unit->atoms.data + index;
    struct tern_check_atom packed = {.unit = unit_index,
                                     .type = unit->type,
                                     .column = TERN_CHECK_FIELD,
                                     .set = atom->set,
                                     .count = atom->count};
    struct tern_check_atom *slot;
    int status = 0;

    if (maker->atoms[unit_index] == NULL) {
        maker->atoms[unit_index] = calloc(unit->atoms.count, sizeof(uint32_t));
        if (maker->atoms[unit_index] == NULL)
            return TERN_ENOMEM;
    }
    *made = maker->atoms[unit_index][index];
    if (*made != 0) {
        --*made;
        return 0;
    }
    if (atom->column >= 0) {
        packed.type = (uint8_t)maker->config->tables[unit->table - 1].columns[atom->column].type;
        status = find_column(maker, unit->table, atom->column, &packed.column);
    }
    packed.kind = check_kind(unit, atom, (enum tern_type)packed.type);
    packed.first = (uint32_t)(atom->ranges != NULL    ? maker->checks->ranges.count
                              : atom->strings != NULL ? maker->checks->strings.count
                                                      : 0);
    if (status == 0)
        status = atom->ranges != NULL ? add_ranges(maker, atom) : add_strings(maker, atom);
    if (status != 0)
        return status;
    *made = (uint32_t)maker->checks->atoms.count;
    slot = tern_list_push(&maker->checks->atoms, sizeof *slot);
    if (slot == NULL)
        return TERN_ENOMEM;
    *slot = packed;
    maker->atoms[unit_index][index] = *made + 1;
    return 0;
}

/* Steps [step, step + counts[at]) for the subexpression that ends at `at`: its operands' steps in
 * their order, so that every step leads forwards. Operands stand from the last one backwards. */
static int emit(struct maker *maker, uint32_t at, uint32_t step, uint32_t when_true,
                uint32_t when_false)
{
    uint32_t code = maker->leaf->postfix[at], count = code & ~TERN_POSTFIX_OP, atom;
    bool is_and = (code & TERN_POSTFIX_OP) == TERN_POSTFIX_AND;
    uint32_t end = step + maker->counts[at];
    int status;

    switch (code & TERN_POSTFIX_OP) {
    case 0:
        status = intern_atom(maker, maker->leaf->unit, code, &atom);
        if (status == 0)
            ((struct tern_check_step *)maker->checks->steps.data)[step] =
                (struct tern_check_step){atom, when_true, when_false};
        return status;
    case TERN_POSTFIX_NOT:
        return emit(maker, at - 1, step, when_false, when_true);
    default:
        break;
    }
    for (uint32_t i = 0, operand = at - 1; i < count; i++) {
        uint32_t first = end - maker->counts[operand];
        bool last = i == 0; /* of the operands in order: they come from the back */

        status = emit(maker, operand, first, is_and && !last ? end : when_true,
                      is_and || last ? when_false : end);
        if (status != 0)
            return status;
        end = first;
        operand -= maker->sizes[operand];
    }
    return 0;
}

static int make_check(struct maker *maker, uint32_t index)
{
    const struct tern_leaf *leaf = (const struct tern_leaf *)maker->normal->leaves.data + index;
    size_t first = maker->checks->steps.count, steps;
    int status;

    maker->leaf = leaf;
    maker->sizes = calloc(leaf->length, 2 * sizeof *maker->sizes);
    if (maker->sizes == NULL)
        return TERN_ENOMEM;
    maker->counts = maker->sizes + leaf->length;
    for (uint32_t i = 0; i < leaf->length; i++) {
        uint32_t code = leaf->postfix[i], operands = code & ~TERN_POSTFIX_OP;

        maker->sizes[i] = 1;
        maker->counts[i] = (code & TERN_POSTFIX_OP) == 0;
        if ((code & TERN_POSTFIX_OP) == TERN_POSTFIX_NOT)
            operands = 1;
        for (uint32_t j = 0; j < operands && (code & TERN_POSTFIX_OP) != 0; j++) {
            uint32_t operand = i - maker->sizes[i];

            maker->counts[i] += maker->counts[operand];
            maker->sizes[i] += maker->sizes[operand];
        }
    }
    steps = maker->counts[leaf->length - 1];
    status = first + steps >= TERN_CHECK_LAST
                 ? TERN_ELIMIT
                 : tern_list_reserve(&maker->checks->steps, steps, sizeof(struct tern_check_step));
    if (status == 0) {
        maker->checks->steps.count += steps;
        maker->checks->leaf_checks[index] = (uint32_t)first + 1;
        status = emit(maker, leaf->length - 1, (uint32_t)first, TERN_CHECK_HOLDS, TERN_CHECK_FAILS);
    }
    free(maker->sizes);
    return status;
}

/* The list of one bit's checks; equal lists are one. `entries` has room for its terms. */
static int make_list(struct maker *maker, uint32_t bit, struct tern_digest_map *map,
                     uint32_t *entries)
{
    const struct tern_conjunction *conjunction =
        (const struct tern_conjunction *)maker->normal->conjunctions.data + bit;
    const uint32_t *terms = (const uint32_t *)maker->normal->terms.data + conjunction->first_term;
    struct tern_list *lists = &maker->checks->lists;
    uint32_t count = 0, *found;
    bool added;

    for (uint32_t i = 0; i < conjunction->term_count; i++)
        if (maker->checks->leaf_checks[terms[i]] != 0)
            entries[count++] = maker->checks->leaf_checks[terms[i]] - 1;
    if (count == 0)
        return 0;
    entries[count - 1] |= TERN_CHECK_LAST;
    found = tern_digest_map_put(map, tern_digest_of(entries, count * sizeof *entries),
                                (uint32_t)lists->count, &added);
    if (found == NULL || (added && tern_list_reserve(lists, count, sizeof *entries) != 0))
        return TERN_ENOMEM;
    if (added) {
        memcpy((uint32_t *)lists->data + lists->count, entries, count * sizeof *entries);
        lists->count += count;
    }
    maker->checks->bit_lists[bit] = *found + 1;
    return 0;
}

int tern_checks_make(struct tern_checks *checks, const struct tern_config *config,
                     const struct tern_normal *normal, const struct tern_table *tables,
                     struct tern_buffer *bytes)
{
    struct maker maker = {checks, config, normal, tables, bytes, NULL, NULL, NULL, NULL};
    const struct tern_leaf *leaves = normal->leaves.data;
    const struct tern_conjunction *conjunctions = normal->conjunctions.data;
    struct tern_digest_map map = {0};
    uint32_t longest = 1, *entries;
    int status = 0;

    for (size_t i = 0; i < normal->conjunctions.count; i++)
        longest = conjunctions[i].term_count > longest ? conjunctions[i].term_count : longest;
    entries = calloc(longest, sizeof *entries);
    maker.atoms = calloc(normal->units.count + 1, sizeof *maker.atoms);
    checks->leaf_checks = calloc(normal->leaves.count + 1, sizeof *checks->leaf_checks);
    checks->bit_lists = calloc(normal->conjunctions.count + 1, sizeof *checks->bit_lists);
    if (maker.atoms == NULL || entries == NULL || checks->leaf_checks == NULL ||
        checks->bit_lists == NULL)
        status = TERN_ENOMEM;
    for (uint32_t i = 0; i < normal->leaves.count && status == 0; i++)
        if (leaves[i].residual)
            status = make_check(&maker, i);
    for (uint32_t i = 0; i < normal->conjunctions.count && status == 0; i++)
        status = make_list(&maker, i, &map, entries);
    for (size_t i = 0; maker.atoms != NULL && i < normal->units.count; i++)
        free(maker.atoms[i]);
    free(maker.atoms);
    free(entries);
    tern_digest_map_free(&map);
    return status;
}

void tern_checks_free(struct tern_checks *checks)
{
    tern_list_free(&checks->lists);
    tern_list_free(&checks->steps);
    tern_list_free(&checks->atoms);
    tern_list_free(&checks->ranges);
    tern_list_free(&checks->strings);
    free(checks->leaf_checks);
    free(checks->bit_lists);
    memset(checks, 0, sizeof *checks);
}
