#include "controlplane/compile/atoms.h"

#include "controlplane/compile/literal.h"
#include "controlplane/compile/neighbours.h"
#include "shared/rules/intervals.h"

struct tern_address tern_atom_key(enum tern_type type, const union tern_value *value)
{
    switch (type) {
    case TERN_TYPE_IP:
        return value->address;
    case TERN_TYPE_I64:
        return (struct tern_address){0, tern_interval_key_i64(value->i64)};
    case TERN_TYPE_F32:
        return (struct tern_address){0, tern_interval_key_f32(value->f32)};
    case TERN_TYPE_BOOL:
        return (struct tern_address){0, value->boolean};
    default:
        return (struct tern_address){0, value->u64};
    }
}

static struct tern_address key_max(enum tern_type type)
{
    switch (type) {
    case TERN_TYPE_IP:
        return (struct tern_address){UINT64_MAX, UINT64_MAX};
    case TERN_TYPE_F32:
        return (struct tern_address){0, UINT32_MAX};
    case TERN_TYPE_BOOL:
        return (struct tern_address){0, 1};
    default:
        return (struct tern_address){0, UINT64_MAX};
    }
}

static enum tern_unit_kind literal_unit(const struct tern_atom *atom)
{
    if (atom->test == TERN_TEST_CONTAINS || atom->test == TERN_TEST_MATCHES ||
        atom->test == TERN_TEST_MATCHES_SET)
        return TERN_UNIT_SCAN;
    switch (atom->operand.type) {
    case TERN_TYPE_IP:
        return TERN_UNIT_ADDRESS;
    case TERN_TYPE_STRING:
        return atom->test == TERN_TEST_ENDS_WITH ? TERN_UNIT_SUFFIX : TERN_UNIT_STRING;
    default:
        return TERN_UNIT_NUMBER;
    }
}

int tern_atoms_unit(struct tern_atoms *atoms, const struct tern_atom *atom, uint32_t *unit)
{
    uint16_t field = atom->operand.field;
    uint16_t key[3] = {0, field, 0};
    struct tern_compiled_unit *made;
    uint32_t *found;
    bool added;

    if (atom->operand.collection != 0) {
        key[0] = TERN_UNIT_SIMILAR;
        key[2] = atom->operand.collection;
    } else if (atom->operand.table != 0) {
        key[0] = TERN_UNIT_MAP;
        key[2] = atom->operand.table;
    } else if (atom->test == TERN_TEST_IN_TABLE) {
        key[0] = TERN_UNIT_SET;
        key[2] = atom->set;
    } else if (atom->test != TERN_TEST_EXISTS) {
        key[0] = (uint16_t)literal_unit(atom);
    } else if (atoms->field_units[field] != 0) {
        *unit = atoms->field_units[field] - 1;
        return 0;
    } else {
        key[0] = TERN_UNIT_PRESENCE;
    }
    found = tern_digest_map_put(&atoms->unit_map, tern_digest_of(key, sizeof key),
                                (uint32_t)atoms->units->count, &added);
    if (found == NULL)
        return TERN_ENOMEM;
    *unit = *found;
    if (!added)
        return 0;
    if (atoms->units->count == TERN_UNITS_MAX)
        return TERN_ELIMIT;
    made = tern_list_push(atoms->units, sizeof *made);
    if (made == NULL)
        return TERN_ENOMEM;
    *made = (struct tern_compiled_unit){.kind = (uint8_t)key[0],
                                        .type = (uint8_t)atoms->config->fields[field - 1].type,
                                        .field = field,
                                        .table = key[2]};
    if (atoms->field_units[field] == 0 && !tern_unit_has_hits(made))
        atoms->field_units[field] = *unit + 1;
    return 0;
}

static int compare_ranges(const void *left, const void *right)
{
    const struct tern_key_range *a = left, *b = right;
    int order = tern_address_compare(a->first, b->first);

    return order != 0 ? order : tern_address_compare(a->last, b->last);
}

static int compare_strings(const void *left, const void *right)
{
    const struct tern_string *a = left, *b = right;
    int order = memcmp(a->bytes, b->bytes, tern_min_u64(a->length, b->length));

    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

/* One comparison as ranges of keys, sorted, none touching the next one's inside. */
static int make_ranges(struct tern_atoms *atoms, const struct tern_atom *atom,
                       struct tern_unit_atom *made)
{
    struct tern_address max = key_max(atom->operand.type);
    const struct tern_address v4_first = tern_address_from_v4(0);
    const struct tern_address v4_last = tern_address_from_v4(UINT32_MAX);
    uint32_t count = 0, kept = 0;

    made->kind = TERN_ATOM_RANGES;
    made->ranges = tern_region_take(atoms->region, 2 * atom->literal_count * sizeof *made->ranges);
    if (made->ranges == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < atom->literal_count; i++) {
        struct tern_address first = tern_atom_key(atom->operand.type, &atom->literals[i].first);
        struct tern_address last = tern_atom_key(atom->operand.type, &atom->literals[i].last);

        /* orders compare numbers only, whose keys are 64 bits */
        switch (atom->test) {
        case TERN_TEST_LT:
            if (first.low == 0)
                continue;
            last.low = first.low - 1;
            first.low = 0;
            break;
        case TERN_TEST_LE:
            first.low = 0;
            break;
        case TERN_TEST_GT:
            if (first.low == max.low)
                continue;
            first.low++;
            last = max;
            break;
        case TERN_TEST_GE:
            last = max;
            break;
        default:
            break;
        }
        if (atom->operand.type == TERN_TYPE_IP && !tern_address_is_v4(first) &&
            tern_address_compare(first, v4_first) < 0 && tern_address_compare(last, v4_last) > 0) {
            /* IPv6 around the place of IPv4, which it does not match */
            made->ranges[count++] =
                (struct tern_key_range){first, {v4_first.high, v4_first.low - 1}};
            first = (struct tern_address){v4_last.high, v4_last.low + 1};
        }
        made->ranges[count++] = (struct tern_key_range){first, last};
    }
    qsort(made->ranges, count, sizeof *made->ranges, compare_ranges);
    for (uint32_t i = 0; i < count; i++) {
        if (kept > 0 &&
            tern_address_compare(made->ranges[i].first, made->ranges[kept - 1].last) <= 0) {
            if (tern_address_compare(made->ranges[i].last, made->ranges[kept - 1].last) > 0)
                made->ranges[kept - 1].last = made->ranges[i].last;
        } else {
            made->ranges[kept++] = made->ranges[i];
        }
    }
    made->count = kept;
    return 0;
}

static int make_strings(struct tern_atoms *atoms, const struct tern_atom *atom,
                        struct tern_unit_atom *made)
{
    uint32_t kept = 0;

    made->kind = atom->test == TERN_TEST_STARTS_WITH ? TERN_ATOM_STARTS
                 : atom->test == TERN_TEST_ENDS_WITH ? TERN_ATOM_ENDS
                 : atom->test == TERN_TEST_CONTAINS  ? TERN_ATOM_CONTAINS
                 : atom->test == TERN_TEST_MATCHES   ? TERN_ATOM_MATCHES
                                                     : TERN_ATOM_EQUALS;
    made->strings = tern_region_take(atoms->region, atom->literal_count * sizeof *made->strings);
    if (made->strings == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < atom->literal_count; i++)
        made->strings[i] = (struct tern_string){atom->literals[i].first.string.bytes,
                                                atom->literals[i].first.string.length};
    qsort(made->strings, atom->literal_count, sizeof *made->strings, compare_strings);
    for (uint32_t i = 0; i < atom->literal_count; i++)
        if (kept == 0 || compare_strings(&made->strings[i], &made->strings[kept - 1]) != 0)
            made->strings[kept++] = made->strings[i];
    made->count = kept;
    return 0;
}

/* The bytes that equal atoms share: what they ask, spelled out. */
static int make_canonical(struct tern_atoms *atoms, struct tern_unit_atom *made)
{
    size_t length = made->k != 0 ? 16 : 8;
    uint8_t *bytes;

    if (made->ranges != NULL)
        length += made->count * sizeof *made->ranges;
    else
        for (uint32_t i = 0; i < made->count; i++)
            length += 4 + made->strings[i].length;
    bytes = tern_region_take(atoms->region, length);
    if (bytes == NULL)
        return TERN_ENOMEM;
    made->canonical = (struct tern_string){bytes, (uint32_t)length};
    bytes[0] = made->kind;
    tern_store_u16(bytes + 2, (uint16_t)made->column);
    tern_store_u16(bytes + 4, made->set);
    bytes += 8;
    if (made->k != 0) {
        memcpy(bytes, &made->min, sizeof made->min);
        tern_store_u16(bytes + 4, made->k);
        bytes += 8;
    }
    if (made->ranges != NULL) {
        memcpy(bytes, made->ranges, made->count * sizeof *made->ranges);
        return 0;
    }
    for (uint32_t i = 0; i < made->count; i++) {
        tern_store_u32(bytes, made->strings[i].length);
        memcpy(bytes + 4, made->strings[i].bytes, made->strings[i].length);
        bytes += 4 + made->strings[i].length;
    }
    return 0;
}

static int add_atom(struct tern_atoms *atoms, uint32_t unit_index, struct tern_unit_atom *made,
                    uint32_t *index)
{
    struct tern_compiled_unit *unit = (struct tern_compiled_unit *)atoms->units->data + unit_index;
    struct tern_digest digest = tern_digest_of(made->canonical.bytes, made->canonical.length);
    struct tern_unit_atom *slot;
    uint32_t *found;
    bool added;

    digest = tern_digest_of((uint64_t[]){digest.low, digest.high, unit_index}, 24);
    found = tern_digest_map_put(&atoms->atom_map, digest, (uint32_t)unit->atoms.count, &added);
    if (found == NULL)
        return TERN_ENOMEM;
    if (added) {
        uint8_t *text = tern_region_take(atoms->region, made->text.length);

        slot = tern_list_push(&unit->atoms, sizeof *slot);
        if (slot == NULL || text == NULL)
            return TERN_ENOMEM;
        memcpy(text, made->text.bytes, made->text.length);
        made->text.bytes = text;
        *slot = *made;
    }
    *index = *found;
    return 0;
}

int tern_atoms_intern(struct tern_atoms *atoms, uint32_t unit, const struct tern_atom *atom,
                      const char *text, size_t text_length, uint32_t *index)
{
    struct tern_unit_atom made = {.column = atom->operand.column,
                                  .k = atom->operand.k,
                                  .min = atom->operand.min,
                                  .place = atom->place,
                                  .text = {(const uint8_t *)text, (uint32_t)text_length}};
    int status = 0;

    if (atom->test == TERN_TEST_IN_TABLE) {
        made.kind = TERN_ATOM_IN_SET;
        made.set = atom->set;
    } else if (atom->test == TERN_TEST_MATCHES_SET) {
        made.kind = TERN_ATOM_MATCHES_SET;
        made.set = atom->set;
    } else if (atom->operand.type == TERN_TYPE_STRING) {
        status = make_strings(atoms, atom, &made);
    } else {
        status = make_ranges(atoms, atom, &made);
    }
    if (status == 0)
        status = make_canonical(atoms, &made);
    if (status == 0)
        status = add_atom(atoms, unit, &made, index);
    return status;
}

static int compare_members(const void *left, const void *right, void *context)
{
    const struct tern_unit_atom *all = context;

    return compare_strings(&all[*(const uint32_t *)left].canonical,
                           &all[*(const uint32_t *)right].canonical);
}

/* Its members' bytes, each with its length before it. */
static int join_canonical(struct tern_atoms *atoms, const struct tern_unit_atom *all,
                          struct tern_unit_atom *made)
{
    size_t length = 8;
    uint8_t *bytes;

    for (uint32_t i = 0; i < made->count; i++)
        length += 4 + all[made->members[i]].canonical.length;
    bytes = tern_region_take(atoms->region, length);
    if (bytes == NULL)
        return TERN_ENOMEM;
    made->canonical = (struct tern_string){bytes, (uint32_t)length};
    bytes[0] = made->kind;
    bytes += 8;
    for (uint32_t i = 0; i < made->count; i++) {
        const struct tern_string *member = &all[made->members[i]].canonical;

        tern_store_u32(bytes, member->length);
        memcpy(bytes + 4, member->bytes, member->length);
        bytes += 4 + member->length;
    }
    return 0;
}

int tern_atoms_any(struct tern_atoms *atoms, uint32_t unit, const uint32_t *members, uint32_t count,
                   uint32_t *index)
{
    const struct tern_compiled_unit *compiled =
        (const struct tern_compiled_unit *)atoms->units->data + unit;
    struct tern_unit_atom *all = compiled->atoms.data;
    struct tern_unit_atom made = {.kind = TERN_ATOM_ANY, .column = -1};
    struct tern_buffer text = {0};
    uint32_t kept = 0;
    size_t most = 0;
    int status;

    for (uint32_t i = 0; i < count; i++)
        most += all[members[i]].kind == TERN_ATOM_ANY ? all[members[i]].count : 1;
    made.members = tern_region_take(atoms->region, most * sizeof *made.members);
    if (made.members == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        const struct tern_unit_atom *member = &all[members[i]];

        if (member->kind != TERN_ATOM_ANY) {
            made.members[made.count++] = members[i];
            continue;
        }
        memcpy(made.members + made.count, member->members, member->count * sizeof *made.members);
        made.count += member->count;
    }
    qsort_r(made.members, made.count, sizeof *made.members, compare_members, all);
    for (uint32_t i = 0; i < made.count; i++)
        if (kept == 0 || made.members[kept - 1] != made.members[i])
            made.members[kept++] = made.members[i];
    made.count = kept;
    if (kept == 1) {
        *index = made.members[0];
        return 0;
    }
    made.place = all[made.members[0]].place;
    status = join_canonical(atoms, all, &made);
    for (uint32_t i = 0; i < made.count && status == 0; i++) {
        const struct tern_string *member = &all[made.members[i]].text;

        status = tern_buffer_printf(&text, i == 0 ? "(" : " or ");
        if (status == 0)
            status = tern_buffer_append(&text, member->bytes, member->length);
    }
    if (status == 0)
        status = tern_buffer_append(&text, ")", 1);
    made.text = (struct tern_string){text.data, (uint32_t)text.length};
    if (status == 0)
        status = add_atom(atoms, unit, &made, index);
    tern_buffer_free(&text);
    return status;
}

int tern_atoms_there(struct tern_atoms *atoms, uint32_t unit_index, enum tern_atom_kind kind,
                     int16_t column, uint32_t *index)
{
    const struct tern_compiled_unit *unit =
        (const struct tern_compiled_unit *)atoms->units->data + unit_index;
    const char *field = atoms->config->fields[unit->field - 1].name.text;
    struct tern_unit_atom made = {.kind = (uint8_t)kind, .column = column};
    char text[256];
    int status;

    if (kind == TERN_ATOM_THERE) {
        snprintf(text, sizeof text, "exists(%s)", field);
    } else {
        const struct tern_config_table *table = &atoms->config->tables[unit->table - 1];
        const char *dot = kind == TERN_ATOM_CELL ? "." : "";
        const char *name = kind == TERN_ATOM_CELL ? table->columns[column].name.text : "";

        if (table->by_field == unit->field)
            snprintf(text, sizeof text, "exists(%s%s%s)", table->name.text, dot, name);
        else
            snprintf(text, sizeof text, "exists(%s[%s]%s%s)", table->name.text, field, dot, name);
    }
    made.text = (struct tern_string){(const uint8_t *)text, (uint32_t)strlen(text)};
    status = make_canonical(atoms, &made);
    return status != 0 ? status : add_atom(atoms, unit_index, &made, index);
}

int tern_atoms_neighbours(struct tern_atoms *atoms, uint32_t unit, enum tern_atom_kind kind,
                          const struct tern_operand *operand, uint32_t *index)
{
    const struct tern_config_collection *collection =
        &atoms->config->collections[operand->collection - 1];
    struct tern_unit_atom made = {.kind = (uint8_t)kind,
                                  .column =
                                      kind == TERN_ATOM_VOTED ? operand->column : TERN_COLUMN_NONE,
                                  .k = operand->k,
                                  .min = operand->min};
    char neighbours[TERN_NEIGHBOURS_TEXT], text[TERN_NEIGHBOURS_TEXT + TERN_NAME_MAX + 16];
    int status;

    tern_neighbours_text(atoms->config, operand, neighbours);
    snprintf(text, sizeof text, "exists(%s%s%s)", neighbours, made.column >= 0 ? "." : "",
             made.column >= 0 ? collection->shape.columns[made.column].name : "");
    made.text = (struct tern_string){(const uint8_t *)text, (uint32_t)strlen(text)};
    status = make_canonical(atoms, &made);
    return status != 0 ? status : add_atom(atoms, unit, &made, index);
}

void tern_atoms_free(struct tern_atoms *atoms)
{
    tern_digest_map_free(&atoms->unit_map);
    tern_digest_map_free(&atoms->atom_map);
}
