#include "shared/clock.h"
#include "shared/rules/check.h"

#include <math.h>

#define UNMATCHED_MAX 20 /* rules that did not match that are shown */
#define BITS_MAX      8  /* conjunctions of one rule that are shown */

static const char *unit_name(uint8_t kind)
{
    switch (kind) {
    case TERN_UNIT_PRESENCE:
        return "presence";
    case TERN_UNIT_NUMBER:
        return "number";
    case TERN_UNIT_ADDRESS:
        return "address";
    case TERN_UNIT_STRING:
        return "string";
    case TERN_UNIT_SUFFIX:
        return "suffix";
    case TERN_UNIT_SET:
        return "set";
    case TERN_UNIT_SCAN:
        return "scan";
    case TERN_UNIT_SIMILAR:
        return "similar";
    default:
        return "map";
    }
}

/* An item and what its values were classified as; all that is there has been scanned. */
struct told {
    const struct tern_rules *rules;
    const struct tern_facts *facts;
    const struct tern_room *room;
    const uint32_t *classes;
    struct tern_candidate *item; /* for residual checks */
    uint32_t unscanned;          /* bit per scan that the decision did without */
};

static bool has_hits(const struct tern_unit_view *unit)
{
    return unit->kind == TERN_UNIT_SCAN || unit->kind == TERN_UNIT_SIMILAR;
}

/* The place of a SCAN or SIMILAR unit among these. */
static uint32_t scan_of(const struct tern_rules *rules, uint32_t unit)
{
    uint32_t i = 0;

    while (rules->scans[i].unit != unit)
        i++;
    return i;
}

static bool atom_hit(const struct told *told, const struct tern_term *term)
{
    const struct tern_scan_hits *hits = &told->room->hits[scan_of(told->rules, term->unit)];

    if (told->classes[term->unit] == TERN_CLASS_MISSING)
        return false;
    for (uint32_t i = 0; i < hits->count; i++)
        if (TERN_CLASS_FIRST + hits->atoms[i] == term->class)
            return true;
    return false;
}

/* One bit of a class's row, read from the deltas the decision reads. */
static bool row_bit(const struct tern_rules *rules, const struct tern_term *term, uint32_t class,
                    uint32_t bit)
{
    const struct tern_delta direct = tern_class_delta(class), *deltas = &direct;
    uint32_t count = 1;

    if (!tern_class_is_direct(class)) {
        const struct tern_class_row *row = &rules->units[term->unit].rows[class];

        deltas = &rules->deltas[row->first_delta];
        count = row->delta_count;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t *words = rules->masks[deltas[i].mask].words;

        if (deltas[i].place / 2 == bit / TERN_BLOCK_BITS &&
            (words[bit % TERN_BLOCK_BITS / 64] >> (bit & 63) & 1))
            return !(deltas[i].place & 1);
    }
    return term->based;
}

/* Whether a conjunction's term holds. A SCAN or SIMILAR unit's term is a single atom or its
 * opposite. */
static bool term_holds(const struct told *told, const struct tern_term *term, uint32_t bit)
{
    const struct tern_rules *rules = told->rules;

    if (has_hits(&rules->units[term->unit]))
        return atom_hit(told, term) != (term->based != 0);
    return term->check != 0 ? tern_check_holds(rules, told->item, term->check - 1)
                            : row_bit(rules, term, told->classes[term->unit], bit);
}

static bool bit_holds(const struct told *told, uint32_t bit)
{
    const struct tern_rules *rules = told->rules;

    for (uint32_t i = rules->bit_terms[bit]; i < rules->bit_terms[bit + 1]; i++)
        if (!term_holds(told, &rules->terms[i], bit))
            return false;
    return true;
}

static int append_number(struct tern_buffer *out, float value)
{
    return isfinite(value) ? tern_buffer_printf(out, "%.9g", (double)value)
                           : tern_buffer_printf(out, "null");
}

static int append_name(const struct tern_rules *rules, uint32_t index, struct tern_buffer *out)
{
    size_t length;
    const char *name = tern_rules_name(rules, index, &length);

    return name == NULL ? tern_buffer_printf(out, "null")
                        : tern_buffer_json_string(out, name, length);
}

static int append_verdict(const struct tern_rules *rules, const struct tern_verdict *verdict,
                          struct tern_buffer *out)
{
    static const char *const causes[] = {"default", "rule", "threshold", "escalation_unavailable"};
    int status = tern_buffer_printf(
        out,
        "{\"verdict\":{\"action\":\"%s\",\"tier\":%u,\"flags\":%u,\"cause\":\"%s\",\"rule\":%u,"
        "\"name\":",
        tern_action_name((enum tern_action)verdict->action), verdict->tier, verdict->flags,
        causes[verdict->cause & 3], verdict->rule);

    if (status == 0)
        status = append_name(rules, verdict->rule, out);
    if (status == 0)
        status = tern_buffer_printf(out, ",\"score\":");
    if (status == 0)
        status = append_number(out, verdict->score);
    return status != 0 ? status : tern_buffer_printf(out, "}");
}

/* "path" or "path.raw". Returns its length. */
static size_t slot_name(const struct tern_rules *rules, unsigned slot,
                        char name[TERN_NAME_MAX + sizeof ".raw"])
{
    const struct tern_schema_field *field;
    bool raw;

    field = tern_schema_slot(rules->schema, slot, &raw);
    memcpy(name, field->name, field->name_length);
    memcpy(name + field->name_length, ".raw", strlen(".raw"));
    return field->name_length + (raw ? strlen(".raw") : 0);
}

/* The winner of a vote. */
static int append_value(const struct tern_payload_value *value, struct tern_buffer *out)
{
    switch (value->type) {
    case TERN_TYPE_STRING:
        return tern_buffer_json_string(out, value->string.bytes, value->string.length);
    case TERN_TYPE_I64:
        return tern_buffer_printf(out, "%lld", (long long)value->i64);
    case TERN_TYPE_BOOL:
        return tern_buffer_printf(out, "%s", value->u64 != 0 ? "true" : "false");
    default:
        return tern_buffer_printf(out, "%llu", (unsigned long long)value->u64);
    }
}

static int append_vote(const struct tern_similar *similar, uint32_t index,
                       const struct tern_similar_result *result, struct tern_buffer *out)
{
    const struct tern_similar_vote *vote = &similar->votes[index];
    int status = tern_buffer_printf(out, "%s{\"k\":%u", index ? "," : "", vote->k);

    if (status == 0 && isfinite(vote->min))
        status = tern_buffer_printf(out, ",\"min\":%g", (double)vote->min);
    if (status == 0)
        status = tern_buffer_printf(out, ",\"found\":%u", result->found);
    if (status == 0 && vote->name_length > 0) {
        status = tern_buffer_printf(out, ",\"column\":");
        if (status == 0)
            status = tern_buffer_json_string(out, vote->name, vote->name_length);
        if (status == 0)
            status = tern_buffer_printf(out, ",\"value\":");
        if (status == 0)
            status =
                result->voted ? append_value(&result->value, out) : tern_buffer_printf(out, "null");
        if (status == 0 && result->voted)
            status = tern_buffer_printf(out, ",\"share\":%.3f", result->weight);
    }
    return status != 0 ? status : tern_buffer_printf(out, "}");
}

/* What was found in the collection, and what it says. */
static int append_similar(const struct told *told, uint32_t index, struct tern_buffer *out)
{
    uint32_t scan = scan_of(told->rules, index);
    const struct tern_similar *similar = told->rules->scans[scan].similar;
    const struct tern_schema_collection *collection =
        &tern_schema_collections(told->rules->schema)[told->rules->units[index].table_id - 1];
    struct tern_similar_outcome outcome = tern_similar_outcome(told->room->similar, scan);
    int status = tern_buffer_printf(out, ",\"collection\":");

    if (status == 0)
        status = tern_buffer_json_string(out, collection->name, collection->name_length);
    if (status == 0)
        status = tern_buffer_printf(out, ",\"served\":%s",
                                    similar->collection != NULL ? "true" : "false");
    if (status != 0 || told->classes[index] == TERN_CLASS_MISSING || similar->collection == NULL)
        return status;
    status = tern_buffer_printf(out, ",\"found\":%u,\"score\":", outcome.found);
    if (status == 0)
        status =
            outcome.found > 0 ? append_number(out, outcome.score) : tern_buffer_printf(out, "null");
    if (status == 0)
        status = tern_buffer_printf(out, ",\"search_ns\":%llu,\"votes\":[",
                                    (unsigned long long)outcome.search_ns);
    for (uint32_t i = 0; i < similar->vote_count && status == 0; i++)
        status = append_vote(similar, i, &outcome.results[i], out);
    return status != 0 ? status : tern_buffer_printf(out, "]");
}

/* How many atoms hit, and whether the decision needed to know. */
static int append_scan(const struct told *told, uint32_t index, struct tern_buffer *out)
{
    uint32_t scan = scan_of(told->rules, index);
    bool missing = told->classes[index] == TERN_CLASS_MISSING;
    uint32_t hits = missing ? 0 : told->room->hits[scan].count;
    bool skipped = scan < TERN_LAZY_MAX && (told->unscanned >> scan & 1);

    return tern_buffer_printf(out, ",\"outcome\":\"%s\",\"hits\":%u,\"needed\":%s}",
                              missing    ? "missing"
                              : hits > 0 ? "match"
                                         : "no match",
                              hits, skipped || missing ? "false" : "true");
}

static int append_lookup(const struct told *told, uint32_t index, struct tern_buffer *out)
{
    const struct tern_rules *rules = told->rules;
    const struct tern_unit_view *unit = &rules->units[index];
    char field[TERN_NAME_MAX + sizeof ".raw"];
    size_t field_length = slot_name(rules, unit->field, field);
    uint32_t class = told->classes[index];
    int status =
        tern_buffer_printf(out, "%s{\"unit\":%u,\"kind\":\"%s\",\"field\":", index ? "," : "",
                           index, unit_name(unit->kind));

    if (status == 0)
        status = tern_buffer_json_string(out, field, field_length);
    if (status == 0 && unit->table != NULL) {
        const struct tern_schema_table *table =
            &tern_schema_tables(rules->schema)[unit->table_id - 1];

        status = tern_buffer_printf(out, ",\"table\":");
        if (status == 0)
            status = tern_buffer_json_string(out, table->name, table->name_length);
    }
    if (status == 0 && unit->kind == TERN_UNIT_SIMILAR)
        status = append_similar(told, index, out);
    if (status == 0 && has_hits(unit))
        return append_scan(told, index, out);
    if (status == 0)
        status =
            tern_buffer_printf(out, ",\"class\":%u,\"outcome\":\"%s\"", class & ~TERN_CLASS_DIRECT,
                               class == TERN_CLASS_MISSING ? "missing"
                               : class == TERN_CLASS_BASE  ? "no match"
                                                           : "match");
    if (status == 0 && unit->kind == TERN_UNIT_MAP && class >= TERN_CLASS_FIRST)
        status = tern_buffer_printf(
            out, ",\"record\":%u", tern_table_find(unit->table, &told->facts->values[unit->field]));
    return status != 0 ? status : tern_buffer_printf(out, "}");
}

static int append_bit(const struct told *told, uint32_t bit, bool first, struct tern_buffer *out)
{
    const struct tern_rules *rules = told->rules;
    int status = tern_buffer_printf(out, "%s{\"matched\":%s,\"terms\":[", first ? "" : ",",
                                    bit_holds(told, bit) ? "true" : "false");

    for (uint32_t i = rules->bit_terms[bit]; i < rules->bit_terms[bit + 1] && status == 0; i++) {
        const struct tern_term *term = &rules->terms[i];
        const struct tern_text_span *text = &rules->texts[term->text];

        status = tern_buffer_printf(
            out, "%s{\"unit\":%u,\"text\":", i == rules->bit_terms[bit] ? "" : ",", term->unit);
        if (status == 0)
            status = tern_buffer_json_string(out, rules->bytes + text->offset, text->length);
        if (status == 0)
            status = tern_buffer_printf(out, ",\"true\":%s%s}",
                                        term_holds(told, term, bit) ? "true" : "false",
                                        term->check != 0 ? ",\"residual\":true" : "");
    }
    return status != 0 ? status : tern_buffer_printf(out, "]}");
}

static int append_rule(const struct told *told, uint32_t first, uint32_t last, bool matched,
                       bool comma, struct tern_buffer *out)
{
    const struct tern_rules *rules = told->rules;
    const struct tern_bit rule = tern_rules_bit(rules, first);
    uint32_t index = rule.rule;
    int status = tern_buffer_printf(out, "%s{\"rule\":%u,\"name\":", comma ? "," : "", index + 1);

    if (status == 0)
        status = append_name(rules, index + 1, out);
    if (status == 0)
        status = tern_buffer_printf(out, ",\"mode\":\"%s\",\"then\":\"%s\"",
                                    rule.effect & TERN_EFFECT_SHADOW ? "shadow" : "live",
                                    (rule.effect & ~TERN_EFFECT_SHADOW) == TERN_EFFECT_ADD
                                        ? "add"
                                        : tern_action_name((enum tern_action)rule.action));
    if (status == 0)
        status = tern_buffer_printf(out, ",\"score\":");
    if (status == 0)
        status = append_number(out, rule.score);
    if (status == 0)
        status = tern_buffer_printf(out, ",\"matched\":%s,\"conjunctions\":[",
                                    matched ? "true" : "false");
    for (uint32_t bit = first; bit < last && bit < first + BITS_MAX && status == 0; bit++)
        status = append_bit(told, bit, bit == first, out);
    return status != 0 ? status : tern_buffer_printf(out, "]}");
}

/* Every rule that matched, up to and including the deciding one, and the first ones that did not.
 */
static int append_rules(const struct told *told, const struct tern_verdict *verdict,
                        struct tern_buffer *out)
{
    const struct tern_rules *rules = told->rules;
    unsigned unmatched = 0, hidden = 0;
    bool comma = false;
    int status = tern_buffer_printf(out, ",\"rules\":[");

    for (uint32_t bit = 0; bit < rules->bit_count && status == 0;) {
        uint32_t last = bit, index = tern_rules_bit(rules, bit).rule;
        bool matched = false;

        while (last < rules->bit_count && tern_rules_bit(rules, last).rule == index)
            matched |= bit_holds(told, last++);
        if (verdict->rule != 0 && index + 1 > verdict->rule)
            break;
        if (matched || unmatched++ < UNMATCHED_MAX) {
            status = append_rule(told, bit, last, matched, comma, out);
            comma = true;
        } else {
            hidden++;
        }
        bit = last;
    }
    return status != 0 ? status : tern_buffer_printf(out, "],\"not_shown\":%u", hidden);
}

int tern_rules_explain(const struct tern_rules *rules, struct tern_scratch *scratch,
                       const struct tern_facts *facts, struct tern_buffer *out)
{
    struct tern_verdict verdict;
    uint64_t started = tern_clock_now_ns(), classified, decided;
    struct tern_hits hits = scratch->hits;
    struct tern_candidate item = tern_candidate_of(facts, scratch->classes);
    struct told told;
    int status;

    tern_rules_classify(rules, scratch, &facts, 1);
    classified = tern_clock_now_ns();
    scratch->hits = (struct tern_hits){NULL, NULL}; /* a question is no traffic */
    rules->decide(rules, scratch, facts, scratch->classes, &verdict);
    scratch->hits = hits;
    decided = tern_clock_now_ns();
    told = (struct told){rules, facts, scratch->room, scratch->classes, &item, scratch->unscanned};
    for (uint32_t i = 0; i < rules->scan_count; i++) /* what the decision has not needed */
        if (i < TERN_LAZY_MAX && (scratch->unscanned >> i & 1) &&
            scratch->classes[rules->scans[i].unit] != TERN_CLASS_MISSING)
            tern_room_scan(scratch->room, i, facts);
    status = append_verdict(rules, &verdict, out);
    if (status == 0)
        status = tern_buffer_printf(out, ",\"lookups\":[");
    for (uint32_t i = 0; i < rules->unit_count && status == 0; i++)
        status = append_lookup(&told, i, out);
    if (status == 0)
        status = tern_buffer_printf(out, "]");
    if (status == 0)
        status = append_rules(&told, &verdict, out);
    if (status == 0)
        status = tern_buffer_printf(out, ",\"stages\":{\"classify_ns\":%llu,\"rows_ns\":%llu}}",
                                    (unsigned long long)(classified - started),
                                    (unsigned long long)(decided - classified));
    return status;
}
