#include "shared/rules/rules.h"
#include "shared/tables/hash.h"

int tern_scratch_new(struct tern_scratch **scratch)
{
    struct tern_scratch *made = aligned_alloc(64, tern_align_up(sizeof *made, 64));

    if (made == NULL)
        return TERN_ENOMEM;
    memset(made, 0, sizeof *made);
    *scratch = made;
    return 0;
}

void tern_scratch_free(struct tern_scratch *scratch)
{
    if (scratch != NULL)
        tern_room_free(scratch->own);
    free(scratch);
}

void tern_scratch_enter(struct tern_scratch *scratch, struct tern_room *room)
{
    scratch->room = room;
}

int tern_scratch_prepare(struct tern_scratch *scratch, const struct tern_rules *rules)
{
    struct tern_room *room;
    int status;

    if (scratch->room != NULL && scratch->room->serial == rules->serial)
        return 0;
    status = tern_room_new(&room, rules);
    if (status != 0)
        return status;
    tern_room_free(scratch->own);
    scratch->own = scratch->room = room;
    return 0;
}

void tern_scratch_count_hits(struct tern_scratch *scratch, const uint32_t *slots,
                             _Atomic uint64_t *counters)
{
    scratch->hits = (struct tern_hits){slots, counters};
}

/* How many hashes a unit may keep for each item between its two passes. */
static unsigned hashes_per_item(const struct tern_unit_view *unit)
{
    if (!tern_unit_probes(unit->kind))
        return 0;
    return unit->table->kind == TERN_TABLE_DOMAIN_SET ? 1 + TERN_DOMAIN_LABELS_MAX : 1;
}

/* The units [first, last) of one sort, appended to the order. */
static uint32_t append_sort(struct tern_rules *rules, uint32_t first, uint32_t last,
                            bool (*belongs)(uint8_t kind), uint32_t *ordered)
{
    uint32_t before = *ordered;

    for (uint32_t u = first; u < last; u++)
        if (belongs(rules->units[u].kind))
            rules->order[(*ordered)++] = (uint16_t)u;
    return *ordered - before;
}

static bool is_set(uint8_t kind)
{
    return kind == TERN_UNIT_SET;
}

static bool is_map(uint8_t kind)
{
    return kind == TERN_UNIT_MAP;
}

static bool is_string(uint8_t kind)
{
    return kind == TERN_UNIT_STRING || kind == TERN_UNIT_SUFFIX;
}

static bool is_value(uint8_t kind)
{
    return !is_set(kind) && !is_map(kind) && !is_string(kind);
}

void tern_rules_group(struct tern_rules *rules)
{
    uint32_t first = 0, ordered = 0;

    rules->group_count = 0;
    while (first < rules->unit_count) {
        struct tern_group *group = &rules->groups[rules->group_count++];
        uint32_t last = first;
        unsigned hashes = 0;

        do
            hashes += TERN_VECTOR_WIDTH * hashes_per_item(&rules->units[last++]);
        while (last < rules->unit_count &&
               hashes + TERN_VECTOR_WIDTH * hashes_per_item(&rules->units[last]) <= TERN_HASHES);
        group->first = ordered;
        group->sets = append_sort(rules, first, last, is_set, &ordered);
        group->maps = append_sort(rules, first, last, is_map, &ordered);
        group->strings = append_sort(rules, first, last, is_string, &ordered);
        group->values = append_sort(rules, first, last, is_value, &ordered);
        first = last;
    }
}

/* First touch of an exact table: hashes the keys and starts fetching their lines. The lengths that
 * numbers and addresses have are constants here, which makes their hash a few instructions. */
static void start_exact(const struct tern_unit_view *unit, const struct tern_facts *const facts[],
                        unsigned count, uint64_t *hashes)
{
    const struct tern_exact *exact = &unit->table->exact;
    unsigned field = unit->field;

    for (unsigned i = 0; i < count; i++) {
        const union tern_value *value = &facts[i]->values[field];
        uint8_t bytes[16];

        if (!tern_facts_has(facts[i], field))
            continue;
        if (unit->type == TERN_TYPE_STRING) {
            hashes[i] = tern_hash_key(exact->seed, value->string.bytes, value->string.length);
        } else if (unit->type == TERN_TYPE_U64 || unit->type == TERN_TYPE_I64) {
            hashes[i] = tern_hash_key(exact->seed, &value->u64, sizeof value->u64);
        } else {
            size_t length;
            const void *key =
                tern_table_key_bytes((enum tern_type)unit->type, value, bytes, &length);

            hashes[i] = tern_hash_key(exact->seed, key, length);
        }
        tern_exact_prefetch(exact, hashes[i]);
    }
}

static void start_prefix(const struct tern_unit_view *unit, const struct tern_facts *const facts[],
                         unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (tern_facts_has(facts[i], unit->field))
            tern_prefix_prefetch(&unit->table->prefix, facts[i]->values[unit->field].address);
}

/* Writes per item the number of hashes and the hashes; returns past the last. */
static uint64_t *start_domain(const struct tern_unit_view *unit,
                              const struct tern_facts *const facts[], unsigned count,
                              uint64_t *hashes)
{
    for (unsigned i = 0; i < count; i++) {
        const union tern_value *value = &facts[i]->values[unit->field];

        if (!tern_facts_has(facts[i], unit->field))
            continue;
        hashes[0] = tern_domain_prefetch(&unit->table->domain, value->string.bytes,
                                         value->string.length, hashes + 1);
        hashes += 1 + hashes[0];
    }
    return hashes;
}

static uint64_t *start_probes(const struct tern_unit_view *unit,
                              const struct tern_facts *const facts[], unsigned count,
                              uint64_t *hashes)
{
    switch (unit->table->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        start_prefix(unit, facts, count);
        return hashes;
    case TERN_TABLE_DOMAIN_SET:
        return start_domain(unit, facts, count, hashes);
    default:
        start_exact(unit, facts, count, hashes);
        return hashes + count;
    }
}

static void finish_prefix(const struct tern_unit_view *unit, const struct tern_facts *const facts[],
                          unsigned count, uint32_t *found)
{
    struct tern_address addresses[TERN_VECTOR_WIDTH];
    uint32_t values[TERN_VECTOR_WIDTH];
    unsigned items[TERN_VECTOR_WIDTH], gathered = 0;

    for (unsigned i = 0; i < count; i++) {
        if (!tern_facts_has(facts[i], unit->field))
            continue;
        addresses[gathered] = facts[i]->values[unit->field].address;
        items[gathered++] = i;
    }
    if (gathered == 1)
        values[0] = tern_prefix_find(&unit->table->prefix, addresses[0]);
    else if (gathered > 1)
        tern_prefix_find_vector(&unit->table->prefix, addresses, gathered, values);
    for (unsigned i = 0; i < gathered; i++)
        found[items[i]] = values[i];
}

/* The record or TERN_NOT_FOUND of every item that has the unit's field. */
static const uint64_t *finish_probes(const struct tern_unit_view *unit,
                                     const struct tern_facts *const facts[], unsigned count,
                                     const uint64_t *hashes, uint32_t *found)
{
    switch (unit->table->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        finish_prefix(unit, facts, count, found);
        return hashes;
    case TERN_TABLE_DOMAIN_SET:
        for (unsigned i = 0; i < count; i++) {
            if (!tern_facts_has(facts[i], unit->field))
                continue;
            found[i] = tern_domain_find(&unit->table->domain, hashes + 1, (unsigned)hashes[0]);
            hashes += 1 + hashes[0];
        }
        return hashes;
    default:
        for (unsigned i = 0; i < count; i++)
            if (tern_facts_has(facts[i], unit->field))
                found[i] = tern_exact_find(&unit->table->exact, hashes[i]);
        return hashes + count;
    }
}

static uint32_t classify_value(const struct tern_unit_view *unit, const union tern_value *value)
{
    switch (unit->kind) {
    case TERN_UNIT_NUMBER:
        return tern_intervals_find(&unit->narrow, tern_interval_key(unit->type, value));
    case TERN_UNIT_ADDRESS:
        return tern_address_is_v4(value->address)
                   ? tern_intervals_find(&unit->narrow, (uint32_t)value->address.low)
                   : tern_intervals_find_wide(&unit->wide, value->address);
    default:
        return TERN_CLASS_BASE;
    }
}

/* Starts fetching what the walk reads of a class. */
static inline void prefetch_class(const struct tern_rules *rules, const struct tern_unit_view *unit,
                                  uint32_t class)
{
    const void *row = &unit->rows[tern_class_is_direct(class) ? 0 : class];
    const void *mask =
        &rules->masks[tern_class_is_direct(class) ? tern_class_delta(class).mask : 0];

    __builtin_prefetch(tern_class_is_direct(class) ? mask : row);
}

/* Strings and their ends. */
static void classify_strings(const struct tern_rules *rules, uint32_t index,
                             const struct tern_facts *const facts[], unsigned count,
                             uint32_t *classes)
{
    const struct tern_unit_view *unit = &rules->units[index];
    struct tern_trie_key keys[TERN_VECTOR_WIDTH];
    uint32_t found[TERN_VECTOR_WIDTH];
    unsigned items[TERN_VECTOR_WIDTH], gathered = 0;

    for (unsigned i = 0; i < count; i++) {
        const union tern_value *value = &facts[i]->values[unit->field];

        if (!tern_facts_has(facts[i], unit->field)) {
            classes[(size_t)i * rules->unit_count + index] = TERN_CLASS_MISSING;
            continue;
        }
        keys[gathered] = (struct tern_trie_key){value->string.bytes, value->string.length};
        items[gathered++] = i;
    }
    tern_trie_find(&unit->trie, keys, gathered, unit->kind == TERN_UNIT_SUFFIX, found);
    for (unsigned i = 0; i < gathered; i++) {
        classes[(size_t)items[i] * rules->unit_count + index] = found[i];
        prefetch_class(rules, unit, found[i]);
    }
}

/* Units that need no table: from value to class at once. */
static void classify_values(const struct tern_rules *rules, uint32_t index,
                            const struct tern_facts *const facts[], unsigned count,
                            uint32_t *classes)
{
    const struct tern_unit_view *unit = &rules->units[index];

    for (unsigned i = 0; i < count; i++) {
        uint32_t class = tern_facts_has(facts[i], unit->field)
                             ? classify_value(unit, &facts[i]->values[unit->field])
                             : TERN_CLASS_MISSING;

        classes[(size_t)i * rules->unit_count + index] = class;
        prefetch_class(rules, unit, class);
    }
}

/* Sets are classified with the probe; maps leave the record here and start fetching its class. */
static void note_found(const struct tern_rules *rules, uint32_t index,
                       const struct tern_facts *const facts[], unsigned count,
                       const uint32_t *found, uint32_t *classes)
{
    const struct tern_unit_view *unit = &rules->units[index];

    for (unsigned i = 0; i < count; i++) {
        uint32_t *slot = &classes[(size_t)i * rules->unit_count + index];

        if (!tern_facts_has(facts[i], unit->field)) {
            *slot = unit->kind == TERN_UNIT_SET ? TERN_CLASS_MISSING : TERN_NOT_FOUND;
        } else if (unit->kind == TERN_UNIT_SET) {
            *slot = found[i] == TERN_NOT_FOUND ? TERN_CLASS_BASE : TERN_CLASS_FIRST;
        } else {
            *slot = found[i];
            if (found[i] != TERN_NOT_FOUND)
                __builtin_prefetch(unit->ids + (size_t)found[i] * unit->id_bytes);
        }
    }
}

static uint32_t class_of_record(const struct tern_unit_view *unit, uint32_t record)
{
    uint16_t narrow;
    uint32_t id;

    if (record == TERN_NOT_FOUND)
        return TERN_CLASS_BASE;
    if (unit->id_bytes == 2) {
        memcpy(&narrow, unit->ids + (size_t)record * 2, sizeof narrow);
        return TERN_CLASS_FIRST + narrow;
    }
    memcpy(&id, unit->ids + (size_t)record * 4, sizeof id);
    return TERN_CLASS_FIRST + id;
}

static void classify_records(const struct tern_rules *rules, uint32_t index,
                             const struct tern_facts *const facts[], unsigned count,
                             uint32_t *classes)
{
    const struct tern_unit_view *unit = &rules->units[index];

    for (unsigned i = 0; i < count; i++) {
        uint32_t *slot = &classes[(size_t)i * rules->unit_count + index];

        *slot = tern_facts_has(facts[i], unit->field) ? class_of_record(unit, *slot)
                                                      : TERN_CLASS_MISSING;
        __builtin_prefetch(&unit->rows[*slot]);
    }
}

/* What the units look up in tables is fetched for all of them and all items before the first is
 * waited for, and the units without tables fill the wait. */
static void classify_group(const struct tern_rules *rules, struct tern_scratch *scratch,
                           const struct tern_facts *const facts[], unsigned count,
                           const struct tern_group *group)
{
    const uint16_t *probes = rules->order + group->first;
    const uint16_t *maps = probes + group->sets, *strings = maps + group->maps;
    const uint16_t *values = strings + group->strings, *end = values + group->values;
    uint32_t *classes = scratch->classes;
    uint64_t *started = scratch->hashes;
    const uint64_t *hashes = scratch->hashes;

    for (const uint16_t *u = probes; u < strings; u++)
        started = start_probes(&rules->units[*u], facts, count, started);
    for (const uint16_t *u = strings; u < values; u++)
        classify_strings(rules, *u, facts, count, classes);
    for (const uint16_t *u = values; u < end; u++)
        classify_values(rules, *u, facts, count, classes);
    for (const uint16_t *u = probes; u < strings; u++) {
        uint32_t found[TERN_VECTOR_WIDTH];

        hashes = finish_probes(&rules->units[*u], facts, count, hashes, found);
        note_found(rules, *u, facts, count, found, classes);
    }
    for (const uint16_t *u = maps; u < strings; u++)
        classify_records(rules, *u, facts, count, classes);
}

void tern_rules_classify(const struct tern_rules *rules, struct tern_scratch *scratch,
                         const struct tern_facts *const facts[], unsigned count)
{
    for (uint32_t i = 0; i < rules->group_count; i++)
        classify_group(rules, scratch, facts, count, &rules->groups[i]);
}

void tern_rules_decide(const struct tern_rules *rules, struct tern_scratch *scratch,
                       const struct tern_facts *const facts[], unsigned count,
                       struct tern_verdict verdicts[])
{
    assert(count >= 1 && count <= TERN_VECTOR_WIDTH);
    assert(rules->scan_count == 0 ||
           (scratch->room != NULL && scratch->room->serial == rules->serial));
    tern_rules_classify(rules, scratch, facts, count);
    for (unsigned i = 0; i < count; i++)
        rules->decide(rules, scratch, facts[i], scratch->classes + (size_t)i * rules->unit_count,
                      &verdicts[i]);
}

const uint64_t *tern_rules_raw_fields(const struct tern_rules *rules)
{
    return rules->header->raw_fields;
}

bool tern_rules_search(const struct tern_rules *rules)
{
    return rules->searches;
}

uint32_t tern_rules_count(const struct tern_rules *rules)
{
    return rules->rule_count;
}

const char *tern_rules_name(const struct tern_rules *rules, uint32_t index, size_t *length)
{
    if (index == 0 || index > rules->rule_count)
        return NULL;
    *length = rules->rules[index - 1].name_length;
    return (const char *)rules->bytes + rules->rules[index - 1].name;
}

enum tern_action tern_rules_action(const struct tern_rules *rules, uint32_t index)
{
    return index == 0 || index > rules->rule_count
               ? TERN_UNDECIDED
               : (enum tern_action)rules->rules[index - 1].action;
}

void tern_rules_roles(const struct tern_rules *rules, uint8_t *roles)
{
    memset(roles, TERN_RULE_ROLE_NONE, rules->rule_count);
    for (uint32_t i = 0; i < rules->bit_count; i++) {
        struct tern_bit bit = tern_rules_bit(rules, i);

        roles[bit.rule] =
            bit.effect & TERN_EFFECT_SHADOW ? TERN_RULE_ROLE_SHADOW : TERN_RULE_ROLE_LIVE;
    }
}
