#include "controlplane/compile/section.h"

#include "controlplane/compile/checks.h"
#include "controlplane/compile/scan.h"
#include "controlplane/compile/similar.h"
#include "shared/rules/class.h"

#define TERM_TEXT_MAX 400 /* bytes of a term's source text that explain shows */

static int append_span(struct tern_buffer *out, struct tern_span *span, const void *data,
                       size_t count, size_t size)
{
    int status = tern_buffer_align(out, 64);

    *span = (struct tern_span){out->length, count};
    if (status == 0 && count > 0)
        status = tern_buffer_append(out, data, count * size);
    return status;
}

static int append_list(struct tern_buffer *out, struct tern_span *span,
                       const struct tern_list *list, size_t size)
{
    return append_span(out, span, list->data, list->count, size);
}

static struct tern_bit bit_of(const struct tern_config_rule *rule, uint32_t index)
{
    struct tern_bit made = {.rule = index, .score = rule->score, .action = TERN_UNDECIDED};

    if (rule->then != TERN_THEN_ADD) {
        made.effect = TERN_EFFECT_DECIDE;
        made.action = (uint8_t)rule->action;
    }
    if (rule->then == TERN_THEN_ESCALATE) {
        made.effect = TERN_EFFECT_ESCALATE;
        made.flags = TERN_VERDICT_DEGRADED;
    }
    if (rule->mode == TERN_RULE_SHADOW)
        made.effect |= TERN_EFFECT_SHADOW;
    return made;
}

/* Rules with their names, thresholds. */
static int write_rules(const struct tern_config *config, struct tern_rules_header *header,
                       struct tern_buffer *texts, struct tern_buffer *out)
{
    struct tern_rule *rules = calloc((size_t)config->rule_count + 1, sizeof *rules);
    struct tern_threshold thresholds[TERN_THRESHOLDS_MAX] = {0};
    unsigned threshold_count = (unsigned)tern_min_u64(config->threshold_count, TERN_THRESHOLDS_MAX);
    int status = rules == NULL ? TERN_ENOMEM : 0;

    for (unsigned i = 0; i < config->rule_count && status == 0; i++) {
        rules[i].action = bit_of(&config->rules[i], i).action;
        rules[i].name = (uint32_t)texts->length;
        rules[i].name_length = (uint16_t)tern_min_u64(config->rules[i].id.length, TERN_NAME_MAX);
        status = tern_buffer_append(texts, config->rules[i].id.text, rules[i].name_length);
    }
    for (unsigned i = 0; i < threshold_count; i++)
        thresholds[i] = (struct tern_threshold){config->thresholds[i].at,
                                                (uint32_t)config->thresholds[i].action};
    if (status == 0)
        status = append_span(out, &header->rules, rules, config->rule_count, sizeof *rules);
    if (status == 0)
        status =
            append_span(out, &header->thresholds, thresholds, threshold_count, sizeof *thresholds);
    free(rules);
    return status;
}

/* What explain shows: for each bit its terms, each leaf's text once. */
static int write_terms(const struct tern_analysis *analysis, const struct tern_rows *rows,
                       const struct tern_checks *checks, struct tern_rules_header *header,
                       struct tern_buffer *texts, struct tern_buffer *out)
{
    const struct tern_normal *normal = analysis->normal;
    const struct tern_conjunction *conjunctions = normal->conjunctions.data;
    const struct tern_leaf *leaves = normal->leaves.data;
    struct tern_text_span *spans = calloc(normal->leaves.count + 1, sizeof *spans);
    struct tern_term *terms = calloc(normal->terms.count + 1, sizeof *terms);
    uint32_t *starts = calloc(normal->conjunctions.count + 1, sizeof *starts);
    int status = spans == NULL || terms == NULL || starts == NULL ? TERN_ENOMEM : 0;

    for (size_t i = 0; i < normal->leaves.count && status == 0; i++) {
        size_t at = texts->length;

        status = tern_leaf_text(normal, &leaves[i], TERM_TEXT_MAX, texts);
        spans[i] = (struct tern_text_span){(uint32_t)at, (uint32_t)(texts->length - at)};
        if (texts->length > UINT32_MAX)
            status = TERN_ELIMIT;
    }
    for (size_t i = 0; i < normal->conjunctions.count && status == 0; i++)
        starts[i] = conjunctions[i].first_term;
    for (size_t i = 0; i < normal->terms.count && status == 0; i++) {
        uint32_t leaf = ((const uint32_t *)normal->terms.data)[i];

        terms[i] =
            (struct tern_term){leaves[leaf].unit, leaf, rows->leaf_based[leaf],
                               checks->leaf_checks[leaf], tern_scan_class(normal, &leaves[leaf])};
    }
    if (status == 0) {
        starts[normal->conjunctions.count] = (uint32_t)normal->terms.count;
        status = append_span(out, &header->bit_terms, starts, normal->conjunctions.count + 1,
                             sizeof *starts);
    }
    if (status == 0)
        status = append_span(out, &header->terms, terms, normal->terms.count, sizeof *terms);
    if (status == 0)
        status = append_span(out, &header->texts, spans, normal->leaves.count, sizeof *spans);
    free(spans);
    free(terms);
    free(starts);
    return status;
}

/* Rows as they are written: without those that their classifier says itself. */
struct packed_rows {
    struct tern_list class_rows, deltas;
    uint32_t *delta_runs;   /* per delta: 1 + where its run is in `deltas`; 0: not yet */
    struct tern_list codes; /* u32 per class of the unit at hand */
};

static int pack_row(struct packed_rows *packed, const struct tern_rows *rows,
                    const struct tern_class_row *row)
{
    const struct tern_delta *deltas = rows->deltas.data;
    struct tern_class_row *kept = tern_list_push(&packed->class_rows, sizeof *kept);

    if (kept == NULL)
        return TERN_ENOMEM;
    *kept = *row;
    if (row->delta_count == 0)
        return 0;
    if (packed->delta_runs[row->first_delta] == 0) {
        if (tern_list_reserve(&packed->deltas, row->delta_count, sizeof *deltas) != 0)
            return TERN_ENOMEM;
        memcpy((struct tern_delta *)packed->deltas.data + packed->deltas.count,
               deltas + row->first_delta, row->delta_count * sizeof *deltas);
        packed->delta_runs[row->first_delta] = (uint32_t)packed->deltas.count + 1;
        packed->deltas.count += row->delta_count;
    }
    kept->first_delta = packed->delta_runs[row->first_delta] - 1;
    return 0;
}

/* Adds the rows of one unit; `codes` becomes what its classifier is to answer for each class. Where
 * `direct`, a class whose row is one delta is that delta; the first two classes keep their numbers.
 */
static int pack_rows(struct packed_rows *packed, const struct tern_rows *rows,
                     const struct tern_section_unit *unit, bool direct)
{
    const struct tern_class_row *row =
        (const struct tern_class_row *)rows->class_rows.data + unit->first_row;
    const struct tern_delta *deltas = rows->deltas.data;
    size_t first = packed->class_rows.count;
    int status = 0;

    packed->codes.count = 0;
    for (uint32_t class = 0; class < unit->class_count && status == 0; class ++) {
        uint32_t *code = tern_list_push(&packed->codes, sizeof *code);

        if (code == NULL)
            return TERN_ENOMEM;
        if (direct && class >= TERN_CLASS_FIRST && row[class].delta_count == 1 &&
            tern_class_of_delta(&deltas[row[class].first_delta], code))
            continue;
        *code = (uint32_t)(packed->class_rows.count - first);
        status = pack_row(packed, rows, &row[class]);
    }
    return status;
}

static int append_similar(const struct tern_config *config, const struct tern_compiled_unit *unit,
                          struct tern_span *span, struct tern_buffer *out)
{
    int status = tern_buffer_align(out, 64);

    span->offset = out->length;
    if (status == 0)
        status = tern_similar_write(config, unit, out);
    span->count = out->length - span->offset;
    return status;
}

/* Units with their classifiers, then their rows. */
static int write_units(const struct tern_analysis *analysis, const struct tern_rows *rows,
                       const struct tern_section_unit *units, struct tern_rules_header *header,
                       struct tern_buffer *out)
{
    const struct tern_normal *normal = analysis->normal;
    const struct tern_compiled_unit *compiled = normal->units.data;
    struct tern_unit *packed = calloc(normal->units.count + 1, sizeof *packed);
    struct packed_rows packed_rows = {0};
    int status;

    packed_rows.delta_runs = calloc(rows->deltas.count + 1, sizeof *packed_rows.delta_runs);
    status = packed == NULL || packed_rows.delta_runs == NULL ? TERN_ENOMEM : 0;
    for (size_t i = 0; i < normal->units.count && status == 0; i++) {
        const struct tern_buffer *bytes = &analysis->classifiers[i].bytes;
        uint32_t first_row = (uint32_t)packed_rows.class_rows.count;
        struct tern_span span = {0, 0};

        status = pack_rows(&packed_rows, rows, &units[i], bytes->length > 0);
        if (status == 0 && bytes->length > 0) {
            status = append_span(out, &span, bytes->data, bytes->length, 1);
            if (status == 0)
                tern_classifier_recode((enum tern_unit_kind)compiled[i].kind,
                                       out->data + span.offset, packed_rows.codes.data);
        }
        if (status == 0 && compiled[i].kind == TERN_UNIT_SIMILAR)
            status = append_similar(analysis->program->config, &compiled[i], &span, out);
        packed[i] =
            (struct tern_unit){.kind = compiled[i].kind,
                               .type = compiled[i].type,
                               .field = compiled[i].field,
                               .table = compiled[i].table,
                               .class_count = (uint32_t)packed_rows.class_rows.count - first_row,
                               .first_row = first_row,
                               .offset = span.offset,
                               .length = span.count};
        packed[i].atom_count = units[i].atom_count;
        packed[i].level_count = units[i].level_count;
        packed[i].place = compiled[i].place;
        memcpy(packed[i].section_hash, units[i].section_hash, sizeof packed[i].section_hash);
    }
    if (status == 0)
        status = append_span(out, &header->units, packed, normal->units.count, sizeof *packed);
    if (status == 0)
        status = append_list(out, &header->class_rows, &packed_rows.class_rows,
                             sizeof(struct tern_class_row));
    if (status == 0)
        status = append_list(out, &header->deltas, &packed_rows.deltas, sizeof(struct tern_delta));
    tern_list_free(&packed_rows.class_rows);
    tern_list_free(&packed_rows.deltas);
    free(packed_rows.delta_runs);
    tern_list_free(&packed_rows.codes);
    free(packed);
    return status;
}

#define KINDS_MAX 256 /* things to do that a block's bytes can name */

/* Blocks with what their conjunctions do, as they are written. */
struct packed_bits {
    const struct tern_bit *all; /* one by one, in whole blocks */
    uint32_t bit_count;
    struct tern_list bits;
    struct tern_list live; /* u32: the rules of the bits so far */
    uint8_t *kinds;
    size_t run; /* where the things to do begin that blocks share at the moment */
};

/* Whether two bits do the same, whosever they are. */
static bool is_same_kind(const struct tern_bit *a, const struct tern_bit *b)
{
    return a->score == b->score && a->residual == b->residual && a->effect == b->effect &&
           a->action == b->action && a->flags == b->flags && a->lazy == b->lazy;
}

/* The place in the run of what `bit` does, KINDS_MAX when there is no room; adds it. */
static int find_kind(struct packed_bits *packed, struct tern_bit bit, size_t *kind)
{
    const struct tern_bit *known = (const struct tern_bit *)packed->bits.data;
    struct tern_bit *added;

    bit.rule = 0;
    for (size_t i = packed->run; i < packed->bits.count; i++)
        if (is_same_kind(&known[i], &bit)) {
            *kind = i - packed->run;
            return 0;
        }
    *kind = packed->bits.count - packed->run;
    if (*kind >= KINDS_MAX)
        return 0;
    added = tern_list_push(&packed->bits, sizeof *added);
    if (added == NULL)
        return TERN_ENOMEM;
    *added = bit;
    return 0;
}

/* Writes the kinds of bits [first, last) of a block; `*fits`: whether the run has room for them
 * all. */
static int pack_kinds(struct packed_bits *packed, uint32_t first, uint32_t last, bool *fits)
{
    const struct tern_bit *all = packed->all;
    int status = 0;

    *fits = true;
    for (uint32_t i = first; i < last && *fits && status == 0; i++) {
        size_t kind = packed->kinds[i > first ? i - 1 : i];

        if (i == first || all[i].rule != all[i - 1].rule ||
            all[i].residual != all[i - 1].residual || all[i].lazy != all[i - 1].lazy)
            status = find_kind(packed, all[i], &kind);
        *fits = kind < KINDS_MAX;
        packed->kinds[i] = (uint8_t)kind;
    }
    return status;
}

static int pack_explicit(struct packed_bits *packed, struct tern_block *block, uint32_t first)
{
    block->form = TERN_BLOCK_EXPLICIT;
    block->first_bit = (uint32_t)packed->bits.count;
    memset(packed->kinds + first, 0, TERN_BLOCK_BITS);
    if (tern_list_reserve(&packed->bits, TERN_BLOCK_BITS, sizeof(struct tern_bit)) != 0)
        return TERN_ENOMEM;
    memcpy((struct tern_bit *)packed->bits.data + packed->bits.count, packed->all + first,
           TERN_BLOCK_BITS * sizeof(struct tern_bit));
    packed->bits.count += TERN_BLOCK_BITS;
    packed->run = packed->bits.count;
    return 0;
}

/* Adds the rules of bits [first, last); `*at`: where the first one's is. */
static int add_live(struct packed_bits *packed, uint32_t first, uint32_t last, uint32_t *at)
{
    const struct tern_bit *all = packed->all;

    for (uint32_t i = first; i < last; i++) {
        uint32_t *rule;

        if (i == 0 || all[i].rule != all[i - 1].rule) {
            rule = tern_list_push(&packed->live, sizeof *rule);
            if (rule == NULL)
                return TERN_ENOMEM;
            *rule = all[i].rule;
        }
        if (i == first)
            *at = (uint32_t)packed->live.count - 1;
    }
    return 0;
}

/* Fills in what the conjunctions from bit `first` on do. */
static int pack_block(struct packed_bits *packed, struct tern_block *block, uint32_t first)
{
    const struct tern_bit *all = packed->all;
    uint32_t last = (uint32_t)tern_min_u64(first + TERN_BLOCK_BITS, packed->bit_count), rank = 0;
    size_t count = packed->bits.count;
    uint32_t live = 0;
    bool fits;
    int status = add_live(packed, first, last, &live);

    if (status == 0)
        status = pack_kinds(packed, first, last, &fits);

    if (status == 0 && !fits && packed->run < count) { /* once more, with a run of its own */
        packed->bits.count = packed->run = count;
        status = pack_kinds(packed, first, last, &fits);
    }
    if (status != 0)
        return status;
    if (!fits) {
        packed->bits.count = count;
        return pack_explicit(packed, block, first);
    }
    block->first_bit = (uint32_t)packed->run;
    for (uint32_t i = first + 1; i < last; i++)
        if (all[i].rule - all[i - 1].rule > 1)
            block->form = TERN_BLOCK_GAPS;
    block->first_rule = block->form == TERN_BLOCK_GAPS ? live : all[first].rule;
    for (uint32_t i = first; i < last; i++)
        if (i == first || all[i].rule != all[i - 1].rule)
            block->starts[(i - first) / 64] |= 1ull << (i & 63);
    for (unsigned word = 0; word < 8; word++) {
        block->ranks[word] = (uint16_t)rank;
        rank += (uint32_t)__builtin_popcountll(block->starts[word]);
    }
    return 0;
}

/* Blocks, and what their conjunctions do; whole blocks, so that no bit of any mask points past the
 * end. */
static int write_blocks(const struct tern_analysis *analysis, const struct tern_rows *rows,
                        const struct tern_checks *checks, struct tern_rules_header *header,
                        struct tern_buffer *out)
{
    const struct tern_normal *normal = analysis->normal;
    const struct tern_conjunction *conjunctions = normal->conjunctions.data;
    const struct tern_config *config = analysis->program->config;
    size_t count = (size_t)header->block_count * TERN_BLOCK_BITS;
    struct tern_bit *bits = calloc(count + 1, sizeof *bits);
    struct packed_bits packed = {
        .all = bits, .bit_count = rows->bit_count, .kinds = calloc(count + 1, 1)};
    struct tern_block *blocks = rows->blocks.data;
    int status = bits == NULL || packed.kinds == NULL ? TERN_ENOMEM : 0;

    for (size_t i = 0; i < normal->conjunctions.count && status == 0; i++) {
        bits[i] = bit_of(&config->rules[conjunctions[i].rule], conjunctions[i].rule);
        bits[i].residual = checks->bit_lists[i];
        bits[i].lazy = tern_scan_lazy(normal, &conjunctions[i]);
    }
    for (uint32_t i = 0; i < header->block_count && status == 0; i++)
        status = pack_block(&packed, &blocks[i], i * TERN_BLOCK_BITS);
    if (status == 0)
        status = append_list(out, &header->blocks, &rows->blocks, sizeof *blocks);
    if (status == 0)
        status = append_list(out, &header->bits, &packed.bits, sizeof *bits);
    if (status == 0)
        status = append_span(out, &header->kinds, packed.kinds, count, 1);
    if (status == 0)
        status = append_list(out, &header->live, &packed.live, sizeof(uint32_t));
    tern_list_free(&packed.bits);
    tern_list_free(&packed.live);
    free(packed.kinds);
    free(bits);
    return status;
}

static int write_checks(const struct tern_checks *checks, struct tern_rules_header *header,
                        struct tern_buffer *out)
{
    int status = append_list(out, &header->check_lists, &checks->lists, sizeof(uint32_t));

    if (status == 0)
        status =
            append_list(out, &header->check_steps, &checks->steps, sizeof(struct tern_check_step));
    if (status == 0)
        status =
            append_list(out, &header->check_atoms, &checks->atoms, sizeof(struct tern_check_atom));
    if (status == 0)
        status = append_list(out, &header->check_ranges, &checks->ranges,
                             sizeof(struct tern_check_range));
    if (status == 0)
        status = append_list(out, &header->check_strings, &checks->strings,
                             sizeof(struct tern_text_span));
    return status;
}

int tern_section_write(const struct tern_analysis *analysis, const struct tern_table *tables,
                       const struct tern_rows *rows, const struct tern_section_unit *units,
                       struct tern_buffer *out)
{
    const struct tern_config *config = analysis->program->config;
    struct tern_rules_header header = {.magic = TERN_RULES_MAGIC,
                                       .version = TERN_RULES_VERSION,
                                       .rule_count = config->rule_count,
                                       .bit_count = rows->bit_count,
                                       .block_count = rows->block_count,
                                       .default_action = (uint8_t)config->default_action};
    const uint64_t *raw_fields = analysis->program->raw_fields;
    const struct tern_block *blocks = rows->blocks.data;
    struct tern_buffer texts = {0};
    struct tern_checks checks = {0};
    int status = tern_buffer_append_zero(out, sizeof header);

    for (uint32_t i = 0; i < rows->block_count; i++)
        if (blocks[i].level_count > header.level_max)
            header.level_max = blocks[i].level_count;
    if (status == 0)
        status = tern_checks_make(&checks, config, analysis->normal, tables, &texts);
    if (status == 0)
        status = write_units(analysis, rows, units, &header, out);
    if (status == 0)
        status = append_list(out, &header.masks, &rows->masks, sizeof(struct tern_mask));
    if (status == 0)
        status = write_blocks(analysis, rows, &checks, &header, out);
    if (status == 0)
        status = append_list(out, &header.always, &rows->always, sizeof(uint32_t));
    if (status == 0)
        status = write_checks(&checks, &header, out);
    if (status == 0)
        status = write_rules(config, &header, &texts, out);
    if (status == 0)
        status = write_terms(analysis, rows, &checks, &header, &texts, out);
    if (status == 0)
        status = append_span(out, &header.bytes, texts.data, texts.length, 1);
    tern_checks_free(&checks);
    tern_buffer_free(&texts);
    if (status != 0)
        return status;
    memcpy(header.raw_fields, raw_fields, sizeof header.raw_fields);
    header.length = out->length;
    memcpy(out->data, &header, sizeof header);
    return 0;
}
