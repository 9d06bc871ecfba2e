#include "shared/rules/rules.h"

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
    free(scratch);
}

static bool needs_probe(const struct tern_unit_view *unit)
{
    return unit->kind == TERN_UNIT_SET || unit->kind == TERN_UNIT_MAP;
}

/* First touch of a table: hashes the key and starts fetching its lines. */
static void start_probe(const struct tern_unit_view *unit, const union tern_value *value,
                        struct tern_probe *probe)
{
    uint8_t scratch[16];
    const void *key;
    size_t length;

    switch (unit->table->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
        tern_prefix_prefetch(&unit->table->prefix, value->address);
        break;
    case TERN_TABLE_DOMAIN_SET:
        tern_domain_prefetch(&unit->table->domain, value->string.bytes, value->string.length,
                             &probe->domain);
        break;
    default:
        key = tern_table_key_bytes((enum tern_type)unit->type, value, scratch, &length);
        probe->hash = tern_exact_hash(&unit->table->exact, key, length);
        tern_exact_prefetch(&unit->table->exact, probe->hash);
        break;
    }
}

/* The record or TERN_NOT_FOUND of every item that has the unit's field. */
static void finish_probes(const struct tern_unit_view *unit, const struct tern_facts *const facts[],
                          unsigned count, const struct tern_probe *probes, uint32_t *found)
{
    struct tern_address addresses[TERN_VECTOR_WIDTH];
    uint32_t values[TERN_VECTOR_WIDTH];
    unsigned items[TERN_VECTOR_WIDTH], gathered = 0;

    switch (unit->table->kind) {
    case TERN_TABLE_PREFIX_SET:
    case TERN_TABLE_PREFIX_MAP:
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
        break;
    case TERN_TABLE_DOMAIN_SET:
        for (unsigned i = 0; i < count; i++)
            if (tern_facts_has(facts[i], unit->field))
                found[i] = tern_domain_find(&unit->table->domain, &probes[i].domain);
        break;
    default:
        for (unsigned i = 0; i < count; i++)
            if (tern_facts_has(facts[i], unit->field))
                found[i] = tern_exact_find(&unit->table->exact, probes[i].hash);
        break;
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
    case TERN_UNIT_STRING:
        return tern_trie_find(&unit->trie, value->string.bytes, value->string.length);
    case TERN_UNIT_SUFFIX:
        return tern_trie_find_reversed(&unit->trie, value->string.bytes, value->string.length);
    default:
        return TERN_CLASS_BASE;
    }
}

static uint32_t class_of_record(const struct tern_unit_view *unit, uint32_t record)
{
    uint16_t narrow;
    uint32_t id;

    if (record == TERN_NOT_FOUND)
        return TERN_CLASS_BASE;
    if (unit->kind == TERN_UNIT_SET)
        return TERN_CLASS_FIRST;
    if (unit->id_bytes == 2) {
        memcpy(&narrow, unit->ids + (size_t)record * 2, sizeof narrow);
        return TERN_CLASS_FIRST + narrow;
    }
    memcpy(&id, unit->ids + (size_t)record * 4, sizeof id);
    return TERN_CLASS_FIRST + id;
}

/* Classifies units [first, last): what they look up in tables is fetched for all of them and all
 * items before the first is waited for. */
static void classify_group(const struct tern_rules *rules, struct tern_scratch *scratch,
                           const struct tern_facts *const facts[], unsigned count, uint32_t first,
                           uint32_t last)
{
    uint32_t *classes = scratch->classes;
    struct tern_probe *probes = scratch->probes;

    for (uint32_t u = first; u < last; u++, probes += count) {
        const struct tern_unit_view *unit = &rules->units[u];

        if (!needs_probe(unit))
            continue;
        for (unsigned i = 0; i < count; i++)
            if (tern_facts_has(facts[i], unit->field))
                start_probe(unit, &facts[i]->values[unit->field], &probes[i]);
    }
    for (uint32_t u = first; u < last; u++) {
        const struct tern_unit_view *unit = &rules->units[u];

        if (needs_probe(unit))
            continue;
        for (unsigned i = 0; i < count; i++) {
            uint32_t class = tern_facts_has(facts[i], unit->field)
                                 ? classify_value(unit, &facts[i]->values[unit->field])
                                 : TERN_CLASS_MISSING;

            classes[(size_t)i * rules->unit_count + u] = class;
            __builtin_prefetch(&unit->rows[class]);
        }
    }
    probes = scratch->probes;
    for (uint32_t u = first; u < last; u++, probes += count) {
        const struct tern_unit_view *unit = &rules->units[u];
        uint32_t found[TERN_VECTOR_WIDTH];

        if (!needs_probe(unit))
            continue;
        finish_probes(unit, facts, count, probes, found);
        for (unsigned i = 0; i < count; i++) {
            uint32_t record;

            if (!tern_facts_has(facts[i], unit->field))
                continue;
            record = found[i];
            classes[(size_t)i * rules->unit_count + u] = record;
            if (unit->kind == TERN_UNIT_MAP && record != TERN_NOT_FOUND)
                __builtin_prefetch(unit->ids + (size_t)record * unit->id_bytes);
        }
    }
    for (uint32_t u = first; u < last; u++) {
        const struct tern_unit_view *unit = &rules->units[u];

        if (!needs_probe(unit))
            continue;
        for (unsigned i = 0; i < count; i++) {
            uint32_t *slot = &classes[(size_t)i * rules->unit_count + u];

            *slot = tern_facts_has(facts[i], unit->field) ? class_of_record(unit, *slot)
                                                          : TERN_CLASS_MISSING;
            __builtin_prefetch(&unit->rows[*slot]);
        }
    }
}

void tern_rules_classify(const struct tern_rules *rules, struct tern_scratch *scratch,
                         const struct tern_facts *const facts[], unsigned count)
{
    uint32_t group = count == 1    ? TERN_PROBES
                     : count <= 8  ? TERN_PROBES / 8
                     : count <= 16 ? TERN_PROBES / 16
                                   : TERN_PROBES / TERN_VECTOR_WIDTH;

    for (uint32_t first = 0; first < rules->unit_count; first += group)
        classify_group(rules, scratch, facts, count, first,
                       (uint32_t)tern_min_u64(first + group, rules->unit_count));
}

/* Starts fetching the first mask of every row that differs from its base row. */
static void prefetch_masks(const struct tern_rules *rules, const uint32_t *classes)
{
    for (uint32_t u = 0; u < rules->unit_count; u++) {
        const struct tern_class_row *row = &rules->unit_rows[u][classes[u]];

        if (row->delta_count > 0)
            __builtin_prefetch(&rules->masks[row->first_mask]);
    }
}

void tern_rules_decide(const struct tern_rules *rules, struct tern_scratch *scratch,
                       const struct tern_facts *const facts[], unsigned count,
                       struct tern_verdict verdicts[])
{
    assert(count >= 1 && count <= TERN_VECTOR_WIDTH);
    tern_rules_classify(rules, scratch, facts, count);
    for (unsigned i = 0; i < count; i++)
        prefetch_masks(rules, scratch->classes + (size_t)i * rules->unit_count);
    for (unsigned i = 0; i < count; i++)
        rules->decide(rules, scratch, scratch->classes + (size_t)i * rules->unit_count,
                      &verdicts[i]);
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
