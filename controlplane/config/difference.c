#include "controlplane/config/difference.h"

const char *tern_rule_change_name(enum tern_rule_change change)
{
    static const char *const names[] = {"added", "removed", "changed", "moved"};

    return names[change];
}

static int compare_ids(const void *a, const void *b)
{
    const struct tern_config_rule *const *left = a, *const *right = b;

    return strcmp((*left)->id.text, (*right)->id.text);
}

static const struct tern_config_rule **sorted_by_id(const struct tern_config *config)
{
    const struct tern_config_rule **sorted = calloc(config->rule_count + 1u, sizeof *sorted);

    if (sorted == NULL)
        return NULL;
    for (unsigned i = 0; i < config->rule_count; i++)
        sorted[i] = &config->rules[i];
    qsort(sorted, config->rule_count, sizeof *sorted, compare_ids);
    return sorted;
}

/* The rule of that id in `sorted`, as 1-based place in its configuration; 0: none. */
static unsigned find(const struct tern_config *config, const struct tern_config_rule **sorted,
                     const struct tern_config_rule *rule)
{
    const struct tern_config_rule **found =
        bsearch(&rule, sorted, config->rule_count, sizeof *sorted, compare_ids);

    return found != NULL ? (unsigned)(*found - config->rules) + 1 : 0;
}

static bool same_text(const struct tern_text *a, const struct tern_text *b)
{
    return a->length == b->length && (a->length == 0 || memcmp(a->text, b->text, a->length) == 0);
}

static bool same_rule(const struct tern_config_rule *a, const struct tern_config_rule *b)
{
    return same_text(&a->when, &b->when) && a->then == b->then && a->action == b->action &&
           same_text(&a->escalate, &b->escalate) && a->score == b->score && a->mode == b->mode &&
           a->missing_skip == b->missing_skip;
}

static void add(struct tern_rule_differences *differences, enum tern_rule_change change,
                const struct tern_config_rule *rule, unsigned old_number, unsigned new_number)
{
    differences->items[differences->count++] =
        (struct tern_rule_difference){change, rule->id.text, old_number, new_number};
}

/* Marks in `stays` the members of a longest increasing subsequence of the non-zero `places`
 * (patience sorting: tails[l] is the index that ends the best run of length l + 1). */
static void mark_longest_run(const unsigned *places, unsigned count, unsigned *tails,
                             unsigned *before, bool *stays)
{
    unsigned length = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned low = 0, high = length;

        if (places[i] == 0)
            continue;
        while (low < high) {
            unsigned middle = (low + high) / 2;

            if (places[tails[middle]] < places[i])
                low = middle + 1;
            else
                high = middle;
        }
        before[i] = low != 0 ? tails[low - 1] : count;
        tails[low] = i;
        if (low == length)
            length++;
    }
    for (unsigned i = length != 0 ? tails[length - 1] : count; i < count; i = before[i])
        stays[i] = true;
}

int tern_rules_compare(const struct tern_config *old, const struct tern_config *new,
                       struct tern_rule_differences *out)
{
    struct tern_rule_differences differences = {0};
    const struct tern_config_rule **old_sorted = sorted_by_id(old),
                                  **new_sorted = sorted_by_id(new);
    unsigned count = new->rule_count;
    unsigned *places = calloc(3u * (count + 1u), sizeof *places);
    bool *stays = calloc(count + 1u, sizeof *stays);
    int rc = TERN_ENOMEM;

    /* At most two entries for a rule of the new one, one for a rule of the old one. */
    differences.items = calloc(2u * count + old->rule_count + 1u, sizeof *differences.items);
    if (old_sorted == NULL || new_sorted == NULL || places == NULL || stays == NULL ||
        differences.items == NULL)
        goto out;
    for (unsigned i = 0; i < count; i++)
        places[i] = find(old, old_sorted, &new->rules[i]);
    mark_longest_run(places, count, places + count + 1, places + 2 * (count + 1), stays);
    for (unsigned i = 0; i < old->rule_count; i++)
        if (find(new, new_sorted, &old->rules[i]) == 0)
            add(&differences, TERN_RULE_REMOVED, &old->rules[i], i + 1, 0);
    for (unsigned i = 0; i < count; i++) {
        if (places[i] == 0) {
            add(&differences, TERN_RULE_ADDED, &new->rules[i], 0, i + 1);
            continue;
        }
        if (!same_rule(&old->rules[places[i] - 1], &new->rules[i]))
            add(&differences, TERN_RULE_CHANGED, &new->rules[i], places[i], i + 1);
        if (!stays[i])
            add(&differences, TERN_RULE_MOVED, &new->rules[i], places[i], i + 1);
    }
    rc = 0;
out:
    free(old_sorted);
    free(new_sorted);
    free(places);
    free(stays);
    if (rc != 0)
        free(differences.items);
    else
        *out = differences;
    return rc;
}

void tern_rule_differences_free(struct tern_rule_differences *differences)
{
    free(differences->items);
    *differences = (struct tern_rule_differences){0};
}
