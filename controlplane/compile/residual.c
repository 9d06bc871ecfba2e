#include "controlplane/compile/residual.h"

#include "controlplane/compile/checks.h"

#define ROUNDS_MAX 6   /* then everything that can go goes */
#define SHOWN_MAX  8   /* leaves reported one by one */
#define TEXT_MAX   120 /* bytes of an expression in a message */
#define BYTES_TEXT 32

struct choice {
    uint64_t score; /* bytes saved for each candidate more */
    uint32_t leaf;
};

struct chooser {
    const struct tern_normal *normal;
    const struct tern_rows *rows;
    uint32_t *bit_rarity; /* per bit: it is a candidate for one of 2^rarity items, roughly */
    struct choice *heap;  /* the highest score first; of equal ones the lower leaf */
    size_t count;
};

static bool comes_before(const struct choice *a, const struct choice *b)
{
    return a->score != b->score ? a->score > b->score : a->leaf < b->leaf;
}

static void sift_down(struct chooser *chooser, size_t at)
{
    struct choice moved = chooser->heap[at];

    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < chooser->count &&
            comes_before(&chooser->heap[child + 1], &chooser->heap[child]))
            child++;
        if (child >= chooser->count || !comes_before(&chooser->heap[child], &moved))
            break;
        chooser->heap[at] = chooser->heap[child];
        at = child;
    }
    chooser->heap[at] = moved;
}

/* The share of all items, in 1/2^32, that become candidates of the leaf's bits without it. */
static uint64_t candidates_without(const struct chooser *chooser, uint32_t leaf)
{
    const struct tern_rows *rows = chooser->rows;
    uint32_t rarity = rows->costs->leaf_rarity[leaf];
    uint64_t candidates = 0;

    for (uint32_t i = rows->leaf_bits_start[leaf]; i < rows->leaf_bits_start[leaf + 1]; i++) {
        uint32_t others = chooser->bit_rarity[rows->leaf_bits[i]] - rarity;
        uint64_t without = (1ull << 32) >> (others < 32 ? others : 32);

        candidates += without - (without >> rarity);
    }
    return candidates;
}

static uint64_t score_of(const struct chooser *chooser, uint32_t leaf)
{
    unsigned __int128 shares = chooser->rows->costs->leaf_shares[leaf];
    unsigned __int128 score = (shares << 32) / (candidates_without(chooser, leaf) + 1);

    return score > UINT64_MAX ? UINT64_MAX : (uint64_t)score;
}

static int start_chooser(struct chooser *chooser)
{
    const struct tern_compiled_unit *units = chooser->normal->units.data;
    const struct tern_leaf *leaves = chooser->normal->leaves.data;
    const struct tern_rows *rows = chooser->rows;
    size_t leaf_count = chooser->normal->leaves.count;

    chooser->heap = calloc(leaf_count + 1, sizeof *chooser->heap);
    chooser->bit_rarity = calloc((size_t)rows->bit_count + 1, sizeof *chooser->bit_rarity);
    if (chooser->heap == NULL || chooser->bit_rarity == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < leaf_count; i++)
        for (uint32_t j = rows->leaf_bits_start[i]; j < rows->leaf_bits_start[i + 1]; j++)
            chooser->bit_rarity[rows->leaf_bits[j]] += rows->costs->leaf_rarity[i];
    for (uint32_t i = 0; i < leaf_count; i++)
        if (!leaves[i].residual && tern_check_possible(&units[leaves[i].unit]))
            chooser->heap[chooser->count++] = (struct choice){score_of(chooser, i), i};
    for (size_t i = chooser->count; i-- > 0;)
        sift_down(chooser, i);
    return 0;
}

/* The best leaf, with its score of now. */
static uint32_t take_best(struct chooser *chooser)
{
    const struct tern_rows *rows = chooser->rows;
    uint32_t leaf;

    for (;;) {
        uint64_t score = score_of(chooser, chooser->heap[0].leaf);

        if (score == chooser->heap[0].score)
            break;
        chooser->heap[0].score = score;
        sift_down(chooser, 0);
    }
    leaf = chooser->heap[0].leaf;
    chooser->heap[0] = chooser->heap[--chooser->count];
    sift_down(chooser, 0);
    for (uint32_t i = rows->leaf_bits_start[leaf]; i < rows->leaf_bits_start[leaf + 1]; i++)
        chooser->bit_rarity[rows->leaf_bits[i]] -= rows->costs->leaf_rarity[leaf];
    return leaf;
}

/* Marks the unit's atoms that no row depends on; true when there is a new one. Whether the field or
 * the record is there, or the key in a set, the class alone says: those atoms stay. */
static bool mark_idle(const struct tern_normal *normal, uint32_t index, uint8_t *named)
{
    struct tern_compiled_unit *unit = (struct tern_compiled_unit *)normal->units.data + index;
    struct tern_unit_atom *atoms = unit->atoms.data;
    const struct tern_leaf *leaves = normal->leaves.data;
    bool changed = false;

    memset(named, 0, unit->atoms.count);
    for (size_t i = 0; i < normal->leaves.count; i++)
        for (uint32_t j = 0; leaves[i].unit == index && !leaves[i].residual && j < leaves[i].length;
             j++)
            if ((leaves[i].postfix[j] & TERN_POSTFIX_OP) == 0)
                named[leaves[i].postfix[j]] = 1;
    for (size_t i = 0; i < unit->atoms.count; i++) {
        bool idle = !named[i] && unit->kind != TERN_UNIT_SET && atoms[i].kind != TERN_ATOM_THERE &&
                    atoms[i].kind != TERN_ATOM_RECORD;

        changed |= idle && !atoms[i].idle;
        atoms[i].idle = idle;
    }
    return changed;
}

static int rebuild_classifiers(struct tern_analysis *analysis)
{
    const struct tern_normal *normal = analysis->normal;
    const struct tern_compiled_unit *units = normal->units.data;
    int status = 0;

    for (uint32_t i = 0; i < normal->units.count && status == 0; i++) {
        uint8_t *named = malloc(units[i].atoms.count + 1);

        if (named == NULL)
            return TERN_ENOMEM;
        if (mark_idle(normal, i, named))
            status = tern_analysis_classify(analysis, i);
        free(named);
    }
    return status;
}

int tern_residual_choose(struct tern_residual *residual, struct tern_analysis *analysis,
                         const struct tern_rows *rows)
{
    struct tern_leaf *leaves = analysis->normal->leaves.data;
    uint64_t limit_bytes = analysis->program->config->limits.rules_bytes;
    uint64_t bytes = rows->costs->bytes + tern_rows_bytes(rows), gained = 0;
    uint64_t aim = limit_bytes - limit_bytes / 16; /* the rest: shares are not exact */
    struct chooser chooser = {.normal = analysis->normal, .rows = rows};
    int status = start_chooser(&chooser);
    bool none = chooser.count == 0;

    if (residual->leaf_bytes == NULL) {
        residual->leaf_bytes =
            calloc(analysis->normal->leaves.count + 1, sizeof *residual->leaf_bytes);
        residual->needed_bytes = bytes;
    }
    if (residual->leaf_bytes == NULL)
        status = TERN_ENOMEM;
    residual->rounds++;
    while (status == 0 && chooser.count > 0 &&
           (gained == 0 || bytes > aim + gained || residual->rounds > ROUNDS_MAX)) {
        uint32_t leaf = take_best(&chooser);
        uint64_t leaf_bytes = rows->costs->leaf_shares[leaf] >> TERN_COSTS_SHIFT;

        leaves[leaf].residual = true;
        residual->leaf_bytes[leaf] = leaf_bytes;
        residual->leaf_count++;
        gained += leaf_bytes;
    }
    free(chooser.heap);
    free(chooser.bit_rarity);
    if (status != 0)
        return status;
    return none ? TERN_ELIMIT : rebuild_classifiers(analysis);
}

static const char *bytes_text(uint64_t bytes, char text[BYTES_TEXT])
{
    if (bytes >= 10ull << 20)
        snprintf(text, BYTES_TEXT, "%llu MiB", (unsigned long long)(bytes >> 20));
    else if (bytes >= 10ull << 10)
        snprintf(text, BYTES_TEXT, "%llu KiB", (unsigned long long)(bytes >> 10));
    else
        snprintf(text, BYTES_TEXT, "%llu bytes", (unsigned long long)bytes);
    return text;
}

static bool is_residual(const struct tern_normal *normal, uint32_t leaf)
{
    return ((const struct tern_leaf *)normal->leaves.data)[leaf].residual;
}

uint32_t tern_residual_rule_count(const struct tern_analysis *analysis)
{
    const struct tern_normal *normal = analysis->normal;
    const struct tern_conjunction *conjunctions = normal->conjunctions.data;
    uint32_t count = 0, last = UINT32_MAX;

    for (size_t i = 0; i < normal->conjunctions.count; i++)
        for (uint32_t j = 0; j < conjunctions[i].term_count && conjunctions[i].rule != last; j++)
            if (is_residual(
                    normal,
                    ((const uint32_t *)normal->terms.data)[conjunctions[i].first_term + j])) {
                last = conjunctions[i].rule;
                count++;
            }
    return count;
}

/* The rule that names a leaf first. */
static const struct tern_config_rule *rule_of(const struct tern_analysis *analysis, uint32_t leaf)
{
    const struct tern_normal *normal = analysis->normal;
    const struct tern_conjunction *conjunctions = normal->conjunctions.data;
    const uint32_t *terms = normal->terms.data;

    for (size_t i = 0; i < normal->conjunctions.count; i++)
        for (uint32_t j = 0; j < conjunctions[i].term_count; j++)
            if (terms[conjunctions[i].first_term + j] == leaf)
                return &analysis->program->config->rules[conjunctions[i].rule];
    return NULL; /* of a conjunction that was dropped */
}

static int report_leaf(const struct tern_residual *residual, const struct tern_analysis *analysis,
                       uint32_t leaf, struct tern_diagnostics *diagnostics)
{
    const struct tern_config_rule *rule = rule_of(analysis, leaf);
    struct tern_buffer text = {0};
    char bytes[BYTES_TEXT];
    int status;

    if (rule == NULL)
        return 0;
    status = tern_leaf_text(analysis->normal,
                            (const struct tern_leaf *)analysis->normal->leaves.data + leaf,
                            TEXT_MAX, &text);
    if (status == 0)
        tern_diagnostics_add(diagnostics, TERN_SEVERITY_WARNING, rule->when.place,
                             "rule '%s': '%.*s' takes about %s of rows and is residual: asked of "
                             "each candidate instead, as all rules together need more than "
                             "limits.rules_bytes",
                             rule->id.text, (int)text.length, (const char *)text.data,
                             bytes_text(residual->leaf_bytes[leaf], bytes));
    tern_buffer_free(&text);
    return status;
}

int tern_residual_report(const struct tern_residual *residual, const struct tern_analysis *analysis,
                         uint64_t rows_bytes, bool estimated, struct tern_diagnostics *diagnostics)
{
    const struct tern_normal *normal = analysis->normal;
    const struct tern_config *config = analysis->program->config;
    struct tern_place place = {config->path != NULL ? config->path : "", 0, 0};
    char needed[BYTES_TEXT], limit[BYTES_TEXT], left[BYTES_TEXT];
    struct choice shown[SHOWN_MAX + 1] = {0};
    uint32_t count = 0;
    int status = 0;

    if (residual->leaf_count == 0)
        return 0;
    for (uint32_t i = 0; i < normal->leaves.count; i++) { /* the costliest, in order */
        uint32_t at = count;

        if (!is_residual(normal, i))
            continue;
        for (; at > 0 && residual->leaf_bytes[i] > shown[at - 1].score; at--)
            shown[at] = shown[at - 1];
        if (at < SHOWN_MAX)
            shown[at] = (struct choice){residual->leaf_bytes[i], i};
        count += count < SHOWN_MAX;
    }
    for (uint32_t i = 0; i < count && status == 0; i++)
        status = report_leaf(residual, analysis, shown[i].leaf, diagnostics);
    if (status == 0 && rule_of(analysis, shown[0].leaf) != NULL)
        place = rule_of(analysis, shown[0].leaf)->when.place;
    tern_diagnostics_add(
        diagnostics, TERN_SEVERITY_WARNING, place,
        "%u comparisons of %u rules are residual, the costliest here: all rows would take about "
        "%s%s, limits.rules_bytes is %s, %s are used; verdicts stay the same, decisions take "
        "longer the more candidates there are",
        residual->leaf_count, tern_residual_rule_count(analysis),
        bytes_text(residual->needed_bytes, needed),
        estimated ? " without what tables with columns add" : "",
        bytes_text(config->limits.rules_bytes, limit), bytes_text(rows_bytes, left));
    return status;
}

void tern_residual_free(struct tern_residual *residual)
{
    free(residual->leaf_bytes);
    memset(residual, 0, sizeof *residual);
}
