#include "controlplane/verify.h"

#include "controlplane/compile/reference.h"
#include "controlplane/neighbours_source.h"

/* The reference walks every rule for every sample: the more rules, the fewer samples, so that a
 * publish spends a few milliseconds on them. The property tests look far wider. */
#define SAMPLES_MAX  512u
#define SAMPLES_MIN  64u
#define RULES_WALKED 128000u
/* Decisions that rest on a collection, beside its writer, before they are called different. */
#define SEARCHES_TRIED 16u

/* About two searches for each sample: a distance takes a fraction of what a rule does. */
static uint64_t search_cost(const struct tern_collection *collection)
{
    const struct tern_search search = {.k = 1};

    return collection->header == NULL ? 0 : tern_search_estimate(collection, &search) / 2;
}

/* An expression of a pattern set takes about as long as a rule. */
static uint64_t sample_count(const struct tern_view *view, uint32_t rules)
{
    uint64_t walked = rules + 1ull;

    for (unsigned i = 1; i <= view->table_count; i++)
        if (view->tables[i].kind == TERN_TABLE_PATTERN_SET)
            walked += view->tables[i].key_count;
    if (tern_rules_search(view->rules))
        for (unsigned i = 1; i <= view->collection_count; i++)
            walked += search_cost(&view->collections[i]);
    return tern_max_u64(SAMPLES_MIN, tern_min_u64(SAMPLES_MAX, RULES_WALKED / walked));
}

/* Compares one vector of sample items; TERN_EREFUSED at the first difference. What resembles a
 * vector may change between the two decisions: a difference is one that is there every time. */
static int compare_sample(const struct tern_view *view, struct tern_scratch *scratch,
                          const struct tern_reference *reference,
                          struct tern_neighbours_source *source, uint64_t index, uint8_t *strings,
                          struct tern_facts *facts, struct tern_error *error)
{
    const struct tern_facts *items[1] = {facts};
    unsigned tries = tern_rules_search(view->rules) ? SEARCHES_TRIED : 1;
    struct tern_verdict compiled = {0}, expected = {0};

    tern_reference_sample(reference, view->seq, index, strings, facts);
    for (unsigned i = 0; i < tries; i++) {
        tern_rules_decide(view->rules, scratch, items, 1, &compiled);
        if (source != NULL)
            tern_neighbours_source_renew(source);
        if (!tern_reference_decide(reference, facts, &expected) ||
            tern_verdict_equal(&compiled, &expected))
            return 0;
    }
    return tern_error_set(
        error, TERN_EREFUSED,
        "sample %llu: the compiled rules say %s by rule %u (score %g), the "
        "reference evaluator %s by rule %u (score %g); this is a defect of tern",
        (unsigned long long)index, tern_action_name((enum tern_action)compiled.action),
        compiled.rule, (double)compiled.score, tern_action_name((enum tern_action)expected.action),
        expected.rule, (double)expected.score);
}

static int compare_samples(const struct tern_view *view, const struct tern_config *config,
                           struct tern_error *error)
{
    struct tern_facts *facts =
        malloc(tern_facts_bytes(tern_max_u64(config->field_count, config->slot_count)));
    uint8_t *strings = malloc(TERN_REFERENCE_SCRATCH);
    struct tern_diagnostics diagnostics = {0};
    struct tern_reference *reference = NULL;
    struct tern_neighbours_source *source = NULL;
    struct tern_scratch *scratch = NULL;
    int result = facts != NULL && strings != NULL ? 0 : TERN_ENOMEM;

    if (result == 0)
        result = tern_scratch_new(&scratch);
    if (result == 0)
        result = tern_scratch_prepare(scratch, view->rules);
    if (result == 0)
        result = tern_reference_new(config, view->tables, view->table_count + 1, &diagnostics,
                                    &reference);
    if (result == 0 && tern_rules_search(view->rules))
        result = tern_neighbours_source_new(view, &source);
    if (result == 0 && source != NULL)
        tern_reference_set_vectors(reference, tern_neighbours_source_vectors(source));
    if (result != 0)
        tern_error_set(error, result, "the reference evaluator cannot start: %s",
                       tern_error_text(result));
    for (uint64_t i = 0; result == 0 && i < sample_count(view, config->rule_count); i++)
        result = compare_sample(view, scratch, reference, source, i, strings, facts, error);
    tern_reference_free(reference);
    tern_neighbours_source_free(source);
    tern_diagnostics_free(&diagnostics);
    tern_scratch_free(scratch);
    free(strings);
    free(facts);
    return result;
}

int tern_verify(const struct tern_arena *arena, uint64_t offset, const struct tern_view *live,
                const struct tern_config *config, struct tern_view **view, struct tern_error *error)
{
    struct tern_view *opened;
    int result = tern_view_open(arena, offset, live, &opened, error);

    if (result != 0)
        return result;
    if (config != NULL)
        result = compare_samples(opened, config, error);
    if (result != 0) {
        tern_view_close(opened);
        return result;
    }
    *view = opened;
    return 0;
}
