#include "controlplane/compile/reference.h"

#include <math.h>

#include "controlplane/compile/digest.h"
#include "controlplane/compile/literal.h"
#include "controlplane/compile/program.h"
#include "controlplane/compile/reference_vectors.h"
#include "controlplane/compile/regex.h"
#include "shared/normalize.h"

struct tern_reference {
    struct tern_program *program;
    const struct tern_table *tables;
    unsigned table_count;
    const struct tern_reference_vectors *vectors;   /* NULL: nothing resembles anything */
    struct tern_list literals[TERN_FIELDS_MAX + 1]; /* union tern_value, by field id, for samples */
    struct tern_list patterns[TERN_FIELDS_MAX + 1]; /* u32 regexes, likewise */
    struct tern_list regexes;                       /* struct tern_regex *; NULL: not known */
    struct tern_digest_map regex_map;               /* by their text */
    struct tern_list *sets; /* u32 regexes, by the id of a pattern set that rules name */
};

/* One item under one rule set. */
struct asking {
    const struct tern_reference *reference;
    const struct tern_facts *facts;
    bool unknown; /* an expression that the slow matcher does not know was asked */
};

/* The value an operand names; false when it is missing. A record as such has no value. */
static bool operand_value(const struct tern_reference *reference,
                          const struct tern_operand *operand, const struct tern_facts *facts,
                          union tern_value *value)
{
    const struct tern_config *config = reference->program->config;
    const struct tern_text *column;
    const struct tern_table *table;
    uint32_t record;

    if (!tern_facts_has(facts, operand->field))
        return false;
    *value = facts->values[operand->field];
    if (operand->collection != 0)
        return tern_reference_neighbours(reference->vectors, config, operand,
                                         &facts->values[operand->field], value);
    if (operand->table == 0)
        return true;
    table = &reference->tables[operand->table];
    record = tern_table_find(table, value);
    if (record == TERN_NOT_FOUND)
        return false;
    if (operand->column < 0)
        return true;
    column = &config->tables[operand->table - 1].columns[operand->column].name;
    for (unsigned i = 0; i < tern_records_column_count(&table->records); i++) {
        const struct tern_column *found = tern_records_column(&table->records, i);

        if (found->name_length == column->length &&
            memcmp(found->name, column->text, column->length) == 0)
            return tern_records_value(&table->records, record, i, value);
    }
    return false;
}

static bool literal_holds(const struct tern_atom *atom, const struct tern_literal *literal,
                          const union tern_value *value)
{
    uint32_t length = literal->first.string.length;

    if (atom->operand.type == TERN_TYPE_STRING) {
        if (value->string.length < length)
            return false;
        if (atom->test == TERN_TEST_STARTS_WITH)
            return memcmp(value->string.bytes, literal->first.string.bytes, length) == 0;
        if (atom->test == TERN_TEST_ENDS_WITH)
            return memcmp(value->string.bytes + value->string.length - length,
                          literal->first.string.bytes, length) == 0;
        return value->string.length == length &&
               memcmp(value->string.bytes, literal->first.string.bytes, length) == 0;
    }
    if (atom->operand.type == TERN_TYPE_IP &&
        tern_address_is_v4(value->address) != tern_address_is_v4(literal->first.address))
        return false; /* IPv4 matches nothing of IPv6, nor the other way round */
    return tern_literal_compare(atom->operand.type, value, &literal->first) >= 0 &&
           tern_literal_compare(atom->operand.type, value, &literal->last) <= 0;
}

static bool regex_holds(struct asking *asking, uint32_t index, const union tern_value *value)
{
    const struct tern_regex *regex =
        ((const struct tern_regex *const *)asking->reference->regexes.data)[index];

    if (regex != NULL)
        return tern_regex_matches(regex, value->string.bytes, value->string.length);
    asking->unknown = true;
    return false;
}

static bool pattern_holds(struct asking *asking, const struct tern_atom *atom,
                          const union tern_value *value)
{
    /* a pattern set has none */
    const union tern_value *text = atom->literal_count > 0 ? &atom->literals[0].first : NULL;
    const struct tern_list *set;
    bool any = false;

    switch (atom->test) {
    case TERN_TEST_CONTAINS:
        return memmem(value->string.bytes, value->string.length, text->string.bytes,
                      text->string.length) != NULL;
    case TERN_TEST_MATCHES:
        return regex_holds(
            asking,
            *tern_digest_map_find(&asking->reference->regex_map,
                                  tern_digest_of(text->string.bytes, text->string.length)),
            value);
    default:
        set = &asking->reference->sets[atom->set];
        for (size_t i = 0; i < set->count && !any; i++)
            any = regex_holds(asking, ((const uint32_t *)set->data)[i], value);
        return any;
    }
}

static bool atom_holds(struct asking *asking, const struct tern_atom *atom)
{
    const struct tern_reference *reference = asking->reference;
    union tern_value value;
    bool any = false;
    int order = 0;

    if (!operand_value(reference, &atom->operand, asking->facts, &value))
        return false;
    if (atom->test >= TERN_TEST_CONTAINS)
        return pattern_holds(asking, atom, &value);
    if (atom->test >= TERN_TEST_LT && atom->test <= TERN_TEST_GE)
        order = tern_literal_compare(atom->operand.type, &value, &atom->literals[0].first);
    for (uint32_t i = 0; i < atom->literal_count; i++)
        any |= literal_holds(atom, &atom->literals[i], &value);
    switch ((enum tern_test)atom->test) {
    case TERN_TEST_EXISTS:
        return true;
    case TERN_TEST_IN_TABLE:
        return tern_table_find(&reference->tables[atom->set], &value) != TERN_NOT_FOUND;
    case TERN_TEST_NE:
        return !any;
    case TERN_TEST_LT:
        return order < 0;
    case TERN_TEST_LE:
        return order <= 0;
    case TERN_TEST_GT:
        return order > 0;
    case TERN_TEST_GE:
        return order >= 0;
    default:
        return any;
    }
}

static bool node_holds(struct asking *asking, const struct tern_node *node)
{
    switch (node->kind) {
    case TERN_NODE_ATOM:
        return atom_holds(asking, &node->atom);
    case TERN_NODE_NOT:
        return !node_holds(asking, node->children[0]);
    case TERN_NODE_AND:
        for (unsigned i = 0; i < node->child_count; i++)
            if (!node_holds(asking, node->children[i]))
                return false;
        return true;
    default:
        for (unsigned i = 0; i < node->child_count; i++)
            if (node_holds(asking, node->children[i]))
                return true;
        return false;
    }
}

/* Whether every field and record that the expression names is there. */
static bool all_there(const struct tern_reference *reference, const struct tern_node *node,
                      const struct tern_facts *facts)
{
    struct tern_operand operand = node->atom.operand;
    union tern_value value;

    if (node->kind == TERN_NODE_ATOM) {
        operand.column = -1;
        return operand_value(reference, &operand, facts, &value);
    }
    for (unsigned i = 0; i < node->child_count; i++)
        if (!all_there(reference, node->children[i], facts))
            return false;
    return true;
}

static bool rule_holds(struct asking *asking, unsigned index)
{
    const struct tern_reference *reference = asking->reference;
    const struct tern_config_rule *rule = &reference->program->config->rules[index];
    const struct tern_node *node = reference->program->rules[index];

    return rule->mode != TERN_RULE_OFF && node_holds(asking, node) &&
           (!rule->missing_skip || all_there(reference, node, asking->facts));
}

bool tern_reference_count(const struct tern_reference *reference, const struct tern_facts *facts,
                          uint64_t *hits)
{
    const struct tern_config *config = reference->program->config;
    struct asking asking = {reference, facts, false};

    for (unsigned i = 0; i < config->rule_count; i++) {
        if (!rule_holds(&asking, i))
            continue;
        hits[i]++;
        if (config->rules[i].mode == TERN_RULE_LIVE && config->rules[i].then != TERN_THEN_ADD)
            break;
    }
    return !asking.unknown;
}

bool tern_reference_decide(const struct tern_reference *reference, const struct tern_facts *facts,
                           struct tern_verdict *verdict)
{
    const struct tern_config *config = reference->program->config;
    struct asking asking = {reference, facts, false};
    float sum = 0;

    memset(verdict, 0, sizeof *verdict);
    for (unsigned i = 0; i < config->rule_count; i++) {
        const struct tern_config_rule *rule = &config->rules[i];

        if (rule->mode != TERN_RULE_LIVE || !rule_holds(&asking, i))
            continue;
        if (rule->then == TERN_THEN_ADD) {
            sum += rule->score;
            continue;
        }
        verdict->action = (uint8_t)rule->action;
        verdict->tier = 1;
        verdict->cause = TERN_CAUSE_RULE;
        verdict->rule = i + 1;
        verdict->score = rule->score != 0 ? rule->score : sum;
        if (rule->then == TERN_THEN_ESCALATE) {
            verdict->flags = TERN_VERDICT_DEGRADED;
            verdict->cause = TERN_CAUSE_ESCALATION_UNAVAILABLE;
        }
        return !asking.unknown;
    }
    verdict->score = sum;
    for (unsigned i = 0; i < config->threshold_count; i++) {
        if (sum >= config->thresholds[i].at) {
            verdict->action = (uint8_t)config->thresholds[i].action;
            verdict->tier = 1;
            verdict->cause = TERN_CAUSE_THRESHOLD;
            return !asking.unknown;
        }
    }
    verdict->action = (uint8_t)config->default_action;
    verdict->cause = TERN_CAUSE_DEFAULT;
    return !asking.unknown;
}

bool tern_verdict_equal(const struct tern_verdict *a, const struct tern_verdict *b)
{
    return a->action == b->action && a->tier == b->tier && a->flags == b->flags &&
           a->max_age_s == b->max_age_s && a->cause == b->cause && a->rule == b->rule &&
           (a->score == b->score || (isnan(a->score) && isnan(b->score)));
}

/* The number of an expression, made when it is new. */
static int intern_regex(struct tern_reference *reference, const void *bytes, size_t length,
                        uint32_t *index)
{
    bool added;
    uint32_t *found = tern_digest_map_put(&reference->regex_map, tern_digest_of(bytes, length),
                                          (uint32_t)reference->regexes.count, &added);
    struct tern_regex **slot;

    if (found == NULL)
        return TERN_ENOMEM;
    *index = *found;
    if (!added)
        return 0;
    slot = tern_list_push(&reference->regexes, sizeof(struct tern_regex *));
    if (slot == NULL)
        return TERN_ENOMEM;
    *slot = NULL;
    return tern_regex_new(slot, bytes, length) == TERN_ENOMEM ? TERN_ENOMEM : 0;
}

static int collect_set(struct tern_reference *reference, unsigned id)
{
    const struct tern_patterns *patterns = &reference->tables[id].patterns;
    struct tern_list *set = &reference->sets[id];
    int status = 0;

    for (uint32_t i = 0; i < patterns->count && set->count < patterns->count && status == 0; i++) {
        uint32_t *slot = tern_list_push(set, sizeof *slot);

        status = slot == NULL
                     ? TERN_ENOMEM
                     : intern_regex(reference, patterns->bytes + patterns->entries[i].offset,
                                    patterns->entries[i].length, slot);
    }
    return status;
}

static int collect_pattern(struct tern_reference *reference, const struct tern_atom *atom)
{
    struct tern_list *list = &reference->patterns[atom->operand.field];
    const union tern_value *text;
    uint32_t *slot;

    if (atom->test == TERN_TEST_MATCHES_SET) {
        const struct tern_list *set = &reference->sets[atom->set];
        int status = collect_set(reference, atom->set);

        if (status == 0 && set->count > 0)
            status = tern_list_reserve(list, set->count, sizeof *slot);
        for (size_t i = 0; i < set->count && status == 0; i++)
            *(uint32_t *)tern_list_push(list, sizeof *slot) = ((const uint32_t *)set->data)[i];
        return status;
    }
    text = &atom->literals[0].first;
    slot = tern_list_push(list, sizeof *slot);
    return slot == NULL ? TERN_ENOMEM
                        : intern_regex(reference, text->string.bytes, text->string.length, slot);
}

static int collect_literals(struct tern_reference *reference, const struct tern_node *node)
{
    const struct tern_operand *operand = &node->atom.operand;

    for (unsigned i = 0; i < node->child_count; i++)
        if (collect_literals(reference, node->children[i]) != 0)
            return TERN_ENOMEM;
    if (node->kind == TERN_NODE_ATOM &&
        (node->atom.test == TERN_TEST_MATCHES || node->atom.test == TERN_TEST_MATCHES_SET))
        return collect_pattern(reference, &node->atom);
    if (node->kind != TERN_NODE_ATOM || operand->table != 0 || operand->collection != 0)
        return 0;
    for (uint32_t i = 0; i < node->atom.literal_count; i++) {
        struct tern_list *list = &reference->literals[operand->field];
        union tern_value *first, *last;

        if (tern_list_reserve(list, 2, sizeof *first) != 0)
            return TERN_ENOMEM;
        first = tern_list_push(list, sizeof *first);
        last = tern_list_push(list, sizeof *last);
        *first = node->atom.literals[i].first;
        *last = node->atom.literals[i].last;
    }
    return 0;
}

int tern_reference_new(const struct tern_config *config, const struct tern_table *tables,
                       unsigned table_count, struct tern_diagnostics *diagnostics,
                       struct tern_reference **reference)
{
    struct tern_reference *made = calloc(1, sizeof *made);
    int status;

    if (made == NULL)
        return TERN_ENOMEM;
    made->tables = tables;
    made->table_count = table_count;
    made->sets = calloc(config->table_count + 1, sizeof *made->sets);
    status =
        made->sets == NULL ? TERN_ENOMEM : tern_program_new(config, diagnostics, &made->program);
    for (unsigned i = 0; i < config->rule_count && status == 0; i++)
        status = collect_literals(made, made->program->rules[i]);
    if (status != 0) {
        tern_reference_free(made);
        return status;
    }
    *reference = made;
    return 0;
}

void tern_reference_set_vectors(struct tern_reference *reference,
                                const struct tern_reference_vectors *vectors)
{
    reference->vectors = vectors;
}

void tern_reference_free(struct tern_reference *reference)
{
    if (reference == NULL)
        return;
    for (size_t i = 0; i < TERN_COUNT(reference->literals); i++) {
        tern_list_free(&reference->literals[i]);
        tern_list_free(&reference->patterns[i]);
    }
    for (size_t i = 0; reference->program != NULL && reference->sets != NULL &&
                       i <= reference->program->config->table_count;
         i++)
        tern_list_free(&reference->sets[i]);
    for (size_t i = 0; i < reference->regexes.count; i++)
        tern_regex_free(((struct tern_regex **)reference->regexes.data)[i]);
    tern_list_free(&reference->regexes);
    tern_digest_map_free(&reference->regex_map);
    free(reference->sets);
    tern_program_free(reference->program);
    free(reference);
}

uint64_t tern_reference_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* A string like a literal: itself, longer at either end, shorter at either end. */
static void vary_string(uint64_t *random, uint8_t *scratch, union tern_value *value)
{
    uint32_t length = value->string.length;

    switch (tern_reference_random(random) % 5) {
    case 0:
        break;
    case 1:
        memcpy(scratch, value->string.bytes, length);
        scratch[length] = (uint8_t)('a' + tern_reference_random(random) % 26);
        value->string.bytes = scratch;
        value->string.length = length + 1;
        break;
    case 2:
        scratch[0] = (uint8_t)('a' + tern_reference_random(random) % 26);
        memcpy(scratch + 1, value->string.bytes, length);
        value->string.bytes = scratch;
        value->string.length = length + 1;
        break;
    case 3:
        value->string.length -= length > 0;
        break;
    default:
        value->string.bytes += length > 0;
        value->string.length -= length > 0;
        break;
    }
}

static void vary_value(enum tern_type type, uint64_t *random, uint8_t *scratch,
                       union tern_value *value)
{
    uint64_t step = tern_reference_random(random) % 3 - 1; /* one below, the same, one above */

    switch (type) {
    case TERN_TYPE_STRING:
        vary_string(random, scratch, value);
        break;
    case TERN_TYPE_IP:
        value->address.low += step;
        break;
    case TERN_TYPE_F32:
        if (step != 0)
            value->f32 = nextafterf(value->f32, step == 1 ? INFINITY : -INFINITY);
        break;
    case TERN_TYPE_BOOL:
        value->boolean = tern_reference_random(random) & 1;
        break;
    default:
        value->u64 += step;
        break;
    }
}

static void random_value(enum tern_type type, uint64_t *random, uint8_t *scratch,
                         union tern_value *value)
{
    uint64_t bits = tern_reference_random(random);

    memset(value, 0, sizeof *value);
    switch (type) {
    case TERN_TYPE_STRING:
        value->string.length = (uint32_t)(bits % 12);
        for (uint32_t i = 0; i < value->string.length; i++)
            scratch[i] = (uint8_t)("abcdefgh/.-0129"[tern_reference_random(random) % 15]);
        value->string.bytes = scratch;
        break;
    case TERN_TYPE_IP:
        if (bits % 4 != 0)
            value->address = tern_address_from_v4((uint32_t)(bits >> 32));
        else
            value->address = (struct tern_address){0x2000000000000000ull | bits >> 4,
                                                   tern_reference_random(random)};
        break;
    case TERN_TYPE_F32:
        value->f32 = (float)(int64_t)(bits % 4000) / 1000.0f - 1.0f;
        break;
    case TERN_TYPE_BOOL:
        value->boolean = bits & 1;
        break;
    default: /* mostly small: keys often are */
        value->u64 = bits % 4 == 0 ? tern_reference_random(random) : bits % 4096;
        break;
    }
}

/* Other bytes around a match: mostly a few; now and then more than any register of a scanner has,
 * so that matches lie at every place of its steps, its last and shortened one included. */
static uint32_t surround(uint64_t *random, uint8_t *bytes)
{
    static const uint8_t filler[] = {'x', '-', '/', '0', 'e', ' ', 0xc3};
    uint64_t drawn = tern_reference_random(random);
    uint32_t length = (uint32_t)(drawn % 8 == 0 ? drawn / 8 % 300 : drawn / 8 % 4);

    for (uint32_t i = 0; i < length; i++)
        bytes[i] = filler[tern_reference_random(random) % TERN_COUNT(filler)];
    return length;
}

/* A value that one of the field's expressions matches, most likely, among other bytes. */
static bool pattern_value(const struct tern_reference *reference, const struct tern_list *patterns,
                          uint64_t *random, uint8_t *scratch, union tern_value *value)
{
    uint32_t index =
        ((const uint32_t *)patterns->data)[tern_reference_random(random) % patterns->count];
    const struct tern_regex *regex =
        ((const struct tern_regex *const *)reference->regexes.data)[index];
    uint32_t length;

    if (regex == NULL)
        return false;
    length = surround(random, scratch);
    length += (uint32_t)tern_regex_sample(regex, random, scratch + length, TERN_STRING_MAX / 2);
    length += surround(random, scratch + length);
    value->string.bytes = scratch;
    value->string.length = length;
    return true;
}

/* A string, what soiling adds to it, and its canonical form. */
#define STRING_ROOM (3 * TERN_STRING_MAX + TERN_HOST_GROWTH + 64)

/* Spellings that normalizing undoes, put into a copy of `value` here and there. */
static size_t soil(uint64_t *random, bool host, const union tern_value *value, uint8_t *out)
{
    static const char *const path_dirt[] = {"/", "/./", "/x/../", "%2F", "%2e", "?", "#"};
    const uint8_t *bytes = value->string.bytes;
    uint32_t length = value->string.length;
    uint32_t at = length > 0 ? (uint32_t)(tern_reference_random(random) % length) : 0;
    uint64_t how = tern_reference_random(random) % 4;
    size_t end = 0;

    for (uint32_t i = 0; i < length; i++) {
        if (i == at && how == 0 && !host) {
            end += (size_t)sprintf((char *)out + end, "%%%02X", bytes[i]);
            continue;
        }
        if (i == at && how == 1 && !host) {
            const char *dirt = path_dirt[tern_reference_random(random) % TERN_COUNT(path_dirt)];

            end += (size_t)sprintf((char *)out + end, "%s", dirt);
        }
        out[end++] = how == 2 && bytes[i] >= 'a' && bytes[i] <= 'z' ? bytes[i] & 0xdf : bytes[i];
    }
    if (host && how == 1)
        end += (size_t)sprintf((char *)out + end, ".:%u", (unsigned)at);
    return end;
}

/* Takes the value as what was sent: soils it at times, keeps that as the untouched value and puts
 * the canonical form in its place. Returns past what it used of `scratch`. */
static uint8_t *touch_up(const struct tern_config *config, unsigned id, uint64_t *random,
                         uint8_t *scratch, struct tern_facts *facts)
{
    const struct tern_config_field *field = &config->fields[id - 1];
    union tern_value *value = &facts->values[id];
    unsigned raw = tern_config_raw_slot(config, id);
    bool host = field->flags & TERN_FIELD_HOST;
    union tern_value sent = *value;
    size_t length;

    if (tern_reference_random(random) % 2 == 0) {
        sent.string.length = (uint32_t)soil(random, host, value, scratch);
        sent.string.bytes = scratch;
        scratch += sent.string.length;
    }
    if (host)
        tern_host_fold(sent.string.bytes, sent.string.length, scratch, &length);
    else
        length = tern_normalize(field->normalize, sent.string.bytes, sent.string.length, scratch);
    value->string.bytes = scratch;
    value->string.length = (uint32_t)length;
    if (raw != 0) {
        facts->values[raw] = sent;
        tern_facts_set_present(facts, raw);
    }
    return scratch + length;
}

void tern_reference_sample(const struct tern_reference *reference, uint64_t seed, uint64_t index,
                           uint8_t *scratch, struct tern_facts *facts)
{
    const struct tern_config *config = reference->program->config;
    uint64_t random = seed ^ index * 0xd1342543de82ef95ull;
    uint8_t *end = scratch + TERN_REFERENCE_SCRATCH;

    tern_facts_clear(facts);
    for (unsigned id = 1; id <= config->field_count; id++) {
        unsigned raw = tern_config_raw_slot(config, id);
        /* what rules say of the untouched value is as good to start from */
        const struct tern_list *literals =
            &reference->literals[raw != 0 && tern_reference_random(&random) % 2 == 0 ? raw : id];
        enum tern_type type = config->fields[id - 1].type;
        union tern_value *value = &facts->values[id];

        if (tern_reference_random(&random) % 8 == 0 ||
            end - scratch <
                (ptrdiff_t)tern_max_u64(STRING_ROOM, config->fields[id - 1].dim * sizeof(float)))
            continue;
        if (type == TERN_TYPE_VECTOR) {
            tern_reference_sample_vector(reference->vectors, config, id, &random, scratch, value);
        } else if (reference->patterns[id].count > 0 && tern_reference_random(&random) % 2 == 0 &&
                   pattern_value(reference, &reference->patterns[id], &random, scratch, value)) {
            /* made */
        } else if (literals->count > 0 && tern_reference_random(&random) % 8 != 0) {
            *value = ((const union tern_value *)
                          literals->data)[tern_reference_random(&random) % literals->count];
            vary_value(type, &random, scratch, value);
        } else {
            random_value(type, &random, scratch, value);
        }
        if ((type == TERN_TYPE_STRING || type == TERN_TYPE_VECTOR) &&
            value->string.bytes == scratch)
            scratch += value->string.length;
        if (tern_field_is_changed(config->fields[id - 1].flags, config->fields[id - 1].normalize))
            scratch = touch_up(config, id, &random, scratch, facts);
        tern_facts_set_present(facts, id);
    }
}
