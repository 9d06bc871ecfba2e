#include "controlplane/compile/cover.h"

#include "controlplane/compile/implications.h"

#define COMPARISONS_MAX (32u << 20) /* of leaves; a fraction of a second */
#define WARNINGS_MAX    50u
#define NONE            UINT32_MAX

struct cover {
    const struct tern_analysis *analysis;
    const struct tern_conjunction *conjunctions;
    const struct tern_leaf *leaves;
    const uint32_t *terms;
    struct tern_implications implications;
    uint64_t comparisons;
    uint32_t *first_by_key; /* per leaf: the last conjunction filed under it, NONE: none */
    uint32_t *next;         /* per conjunction: the one filed before it under the same leaf */
    uint32_t everything;    /* a rule that always decides, NONE: none yet */
    unsigned warnings, unsaid;
};

/* Rules that end a decision, now or in the meantime of an escalation. */
static bool decides(const struct tern_config_rule *rule)
{
    return rule->mode == TERN_RULE_LIVE && rule->then != TERN_THEN_ADD;
}

static const struct tern_config_rule *rule_of(const struct cover *cover, uint32_t conjunction)
{
    return &cover->analysis->program->config->rules[cover->conjunctions[conjunction].rule];
}

/* The leaf under which a conjunction is filed: whatever it covers implies that leaf, so the one
 * that holds for the fewest classes is asked for the least. */
static uint32_t key_of(const struct cover *cover, const struct tern_conjunction *conjunction)
{
    const uint32_t *terms = cover->terms + conjunction->first_term;
    uint32_t best = terms[0];

    for (uint32_t i = 1; i < conjunction->term_count; i++)
        if (cover->implications.class_counts[terms[i]] < cover->implications.class_counts[best])
            best = terms[i];
    return best;
}

/* Files the conjunctions [first, last) of a rule that decides. */
static void file(struct cover *cover, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i < last; i++) {
        uint32_t key;

        if (cover->conjunctions[i].term_count == 0) {
            cover->everything =
                cover->everything == NONE ? cover->conjunctions[i].rule : cover->everything;
            continue;
        }
        key = key_of(cover, &cover->conjunctions[i]);
        cover->next[i] = cover->first_by_key[key];
        cover->first_by_key[key] = i;
    }
}

/* Every leaf of `wide` is implied by a leaf of `narrow` on the same unit. */
static bool covers(struct cover *cover, const struct tern_conjunction *wide,
                   const struct tern_conjunction *narrow)
{
    for (uint32_t i = 0; i < wide->term_count; i++) {
        uint32_t leaf = cover->terms[wide->first_term + i];
        bool implied = false;

        for (uint32_t j = 0; j < narrow->term_count && !implied; j++) {
            uint32_t other = cover->terms[narrow->first_term + j];

            cover->comparisons++;
            implied = cover->leaves[other].unit == cover->leaves[leaf].unit &&
                      tern_implications_hold(&cover->implications, other, leaf);
        }
        if (!implied)
            return false;
    }
    return true;
}

/* A filed conjunction under `key` that covers, NONE when there is none. */
static uint32_t find_under(struct cover *cover, uint32_t key, const struct tern_conjunction *narrow)
{
    for (uint32_t i = cover->first_by_key[key]; i != NONE; i = cover->next[i]) {
        if (cover->comparisons > COMPARISONS_MAX)
            return NONE;
        if (covers(cover, &cover->conjunctions[i], narrow))
            return i;
    }
    return NONE;
}

/* The rule that decides whatever the conjunction matches, NONE when none was found. */
static uint32_t find_cover(struct cover *cover, const struct tern_conjunction *narrow)
{
    const struct tern_implications *implications = &cover->implications;

    if (cover->everything != NONE)
        return cover->everything;
    for (uint32_t i = 0; i < narrow->term_count; i++) {
        uint32_t leaf = cover->terms[narrow->first_term + i];
        uint32_t found = find_under(cover, leaf, narrow);

        for (uint32_t j = implications->starts[leaf];
             found == NONE && j < implications->starts[leaf + 1]; j++)
            found = find_under(cover, implications->implied[j], narrow);
        if (found != NONE)
            return cover->conjunctions[found].rule;
    }
    return NONE;
}

static void say(struct cover *cover, struct tern_diagnostics *diagnostics, uint32_t rule,
                uint32_t by, bool several)
{
    const struct tern_config *config = cover->analysis->program->config;
    const struct tern_config_rule *first = &config->rules[by];

    if (cover->warnings == WARNINGS_MAX) {
        cover->unsaid++;
        return;
    }
    cover->warnings++;
    tern_diagnostics_add(diagnostics, TERN_SEVERITY_WARNING, config->rules[rule].when.place,
                         "rule '%s' is never reached: whatever it matches, rule '%s' (line %u)%s "
                         "%s before it",
                         config->rules[rule].id.text, first->id.text, first->id.place.line,
                         several ? " and others" : "", several ? "decide" : "decides");
}

static void look(struct cover *cover, struct tern_diagnostics *diagnostics)
{
    const size_t count = cover->analysis->normal->conjunctions.count;
    const struct tern_config *config = cover->analysis->program->config;
    uint32_t at = 0;

    while (at < count) {
        uint32_t first = at, rule = cover->conjunctions[at].rule, by = NONE;
        bool covered = true, several = false;

        for (; at < count && cover->conjunctions[at].rule == rule; at++) {
            uint32_t found = covered ? find_cover(cover, &cover->conjunctions[at]) : NONE;

            covered = covered && found != NONE;
            several = several || (by != NONE && found != by);
            by = by == NONE ? found : by;
        }
        if (covered)
            say(cover, diagnostics, rule, by, several);
        else if (decides(rule_of(cover, first))) /* what is never reached covers nothing more */
            file(cover, first, at);
    }
    if (cover->unsaid > 0)
        tern_diagnostics_add(diagnostics, TERN_SEVERITY_WARNING, config->rules[0].when.place,
                             "%u more rules are never reached", cover->unsaid);
}

/* The leaves of conjunctions that can cover something: no others need be implied. */
static uint8_t *mark_wanted(const struct cover *cover, size_t leaf_count)
{
    uint8_t *wanted = calloc(leaf_count + 1, 1);

    for (uint32_t i = 0; wanted != NULL && i < cover->analysis->normal->conjunctions.count; i++)
        if (decides(rule_of(cover, i)))
            for (uint32_t j = 0; j < cover->conjunctions[i].term_count; j++)
                wanted[cover->terms[cover->conjunctions[i].first_term + j]] = 1;
    return wanted;
}

int tern_cover_warn(const struct tern_analysis *analysis, struct tern_diagnostics *diagnostics)
{
    const struct tern_normal *normal = analysis->normal;
    size_t leaf_count = normal->leaves.count, count = normal->conjunctions.count;
    struct cover cover = {.analysis = analysis,
                          .conjunctions = normal->conjunctions.data,
                          .leaves = normal->leaves.data,
                          .terms = normal->terms.data,
                          .everything = NONE};
    uint8_t *wanted = mark_wanted(&cover, leaf_count);
    int status = wanted == NULL ? TERN_ENOMEM : 0;

    if (status == 0)
        status = tern_implications_find(&cover.implications, analysis, wanted);
    free(wanted);
    if (status != 0)
        return status;
    cover.first_by_key = malloc((leaf_count + 1) * sizeof *cover.first_by_key);
    cover.next = malloc((count + 1) * sizeof *cover.next);
    if (cover.first_by_key != NULL && cover.next != NULL) {
        memset(cover.first_by_key, 0xff, (leaf_count + 1) * sizeof *cover.first_by_key);
        look(&cover, diagnostics);
    } else {
        status = TERN_ENOMEM;
    }
    free(cover.first_by_key);
    free(cover.next);
    tern_implications_free(&cover.implications);
    return status;
}
