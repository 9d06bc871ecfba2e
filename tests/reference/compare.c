/* The compiled rules against the slow reference evaluator: thousands of random rule sets, each over
 * many items, on tables of every kind. Usage: compare [seed [rule sets]]; the seed is printed. */
#include "tests/reference/generate.h"

#include "shared/rules/rules.h"
#include "tests/unit/unit.h"

#define ITEMS     64
#define RULES_MAX 1500

struct item {
    uint8_t facts[sizeof(struct tern_facts) +
                  (WORLD_SLOTS + 1) * sizeof(union tern_value)] TERN_ALIGNED(16);
    uint8_t scratch[WORLD_FIELDS][64];
    uint8_t *sample;
};

struct counts { /* of the hits of each rule */
    uint64_t expected[RULES_MAX];
    uint32_t slots[RULES_MAX];
    _Atomic uint64_t actual[RULES_MAX];
};

static uint64_t checksum;
static uint64_t compared, nontrivial, residual, unreached;
static uint64_t block_forms[TERN_BLOCK_EXPLICIT + 1], brief_units, long_units;

static void print_rules(const struct tern_config *config)
{
    for (unsigned i = 0; i < config->rule_count; i++)
        fprintf(stderr, "  %u %s mode %d then %d skip %d score %g: %s\n", i + 1,
                config->rules[i].id.text, (int)config->rules[i].mode, (int)config->rules[i].then,
                config->rules[i].missing_skip, (double)config->rules[i].score,
                config->rules[i].when.text);
}

static int check(const struct tern_config *config, const char *what, unsigned item,
                 const struct tern_verdict *expected, const struct tern_verdict *actual)
{
    if (tern_verdict_equal(expected, actual))
        return 0;
    fprintf(stderr, "%s, item %u: expected action %u rule %u score %g cause %u, got %u %u %g %u\n",
            what, item, expected->action, expected->rule, (double)expected->score, expected->cause,
            actual->action, actual->rule, (double)actual->score, actual->cause);
    print_rules(config);
    return 1;
}

static int check_hits(const struct tern_config *config, const char *what, const uint64_t *expected,
                      const _Atomic uint64_t *actual)
{
    for (unsigned i = 0; i < config->rule_count; i++) {
        uint64_t counted = atomic_load(&actual[config->rule_count - 1 - i]);

        if (counted == expected[i])
            continue;
        fprintf(stderr, "%s, rule %u: expected %llu hits, got %llu\n", what, i + 1,
                (unsigned long long)expected[i], (unsigned long long)counted);
        print_rules(config);
        return 1;
    }
    return 0;
}

/* A rule that `check` says is never reached has not been hit by anything. */
static int check_unreached(const struct tern_config *config, const uint64_t *expected)
{
    static const char mark[] = "' is never reached";
    struct tern_diagnostics diagnostics = {0};
    int status = tern_compile_check(config, &diagnostics);

    for (size_t i = 0; i < diagnostics.count && status == 0; i++) {
        const char *message = diagnostics.items[i].message, *end = strstr(message, mark);
        const char *id = message + strlen("rule '");
        unsigned rule = 0;

        if (end == NULL)
            continue;
        while (strncmp(config->rules[rule].id.text, id, (size_t)(end - id)) != 0 ||
               config->rules[rule].id.text[end - id] != '\0')
            rule++;
        unreached++;
        if (expected[rule] == 0)
            continue;
        fprintf(stderr, "rule %u was hit %llu times, though: %s\n", rule + 1,
                (unsigned long long)expected[rule], message);
        print_rules(config);
        status = 1;
    }
    tern_diagnostics_free(&diagnostics);
    return status;
}

/* Counters of the rules, the last rule's first; forgets what was counted. */
static void count_hits(struct tern_scratch *scratch, const struct tern_config *config,
                       struct counts *counts)
{
    for (unsigned i = 0; i < config->rule_count; i++) {
        counts->slots[i] = config->rule_count - 1 - i;
        atomic_store(&counts->actual[i], 0);
    }
    tern_scratch_count_hits(scratch, counts->slots, counts->actual);
}

enum squeeze {        /* limits.rules_bytes of a rule set, so of what is residual */
               ROOMY, /* nothing */
               TIGHT, /* some of it, as rows get a part of what they need */
               TINY,  /* all of it */
};

/* Compiles as squeezed as asked for; a limit that even residual rules pass is raised. */
static int compile_squeezed(struct world *world, struct tern_config *config, uint64_t *random,
                            enum squeeze squeeze, struct world_rules *compiled)
{
    int status = world_compile(world, config, compiled);

    if (status != 0 || squeeze == ROOMY)
        return status;
    config->limits.rules_bytes =
        squeeze == TINY
            ? 256
            : compiled->compiled.rows_bytes * (1 + tern_test_random(random) % 8) / 9 + 256;
    do {
        world_rules_free(compiled);
        status = world_compile(world, config, compiled);
        config->limits.rules_bytes += config->limits.rules_bytes / 2;
    } while (status == TERN_ELIMIT);
    if (status == 0)
        residual += compiled->compiled.residual_comparisons;
    return status;
}

/* Which ways of writing things down a rule set makes use of. */
static void count_forms(const struct tern_rules *rules)
{
    for (uint32_t i = 0; i < rules->header->block_count; i++)
        block_forms[rules->blocks[i].form]++;
    for (uint32_t i = 0; i < rules->unit_count; i++) {
        brief_units += rules->units[i].narrow.brief != NULL;
        long_units += rules->units[i].narrow.narrow != NULL;
    }
}

/* One rule set over ITEMS items: alone, in vectors, and through both twins. */
static int compare_set(struct world *world, uint64_t *random, uint32_t scale, unsigned rule_count,
                       enum squeeze squeeze, struct tern_scratch *scratch, struct item *items,
                       struct counts *counts)
{
    struct tern_region region = {0};
    struct tern_config config = generate_config(world, random, rule_count, &region);
    struct tern_diagnostics diagnostics = {0};
    struct tern_reference *reference = NULL;
    struct tern_verdict expected[ITEMS], actual[ITEMS];
    const struct tern_facts *facts[ITEMS];
    struct world_rules compiled;
    int status = compile_squeezed(world, &config, random, squeeze, &compiled);

    if (status == TERN_EINVAL) { /* more than 64 conjunctions: a build error, not a wrong verdict */
        tern_region_free(&region);
        return 0;
    }
    if (status != 0 || tern_reference_new(&config, world->opened, WORLD_TABLES + 1, &diagnostics,
                                          &reference) != 0) {
        print_rules(&config);
        return 1;
    }
    count_forms(compiled.rules);
    tern_reference_set_vectors(reference, &world->source);
    memset(counts->expected, 0, sizeof counts->expected);
    count_hits(scratch, &config, counts);
    if (tern_scratch_prepare(scratch, compiled.rules) != 0)
        return 1;
    for (unsigned i = 0; i < ITEMS; i++) {
        struct tern_facts *item = (struct tern_facts *)(void *)items[i].facts;

        if (i % 2)
            generate_facts(random, scale, items[i].scratch, item);
        else
            tern_reference_sample(reference, *random, i, items[i].sample, item);
        facts[i] = item;
        if (!tern_reference_decide(reference, item, &expected[i]) ||
            !tern_reference_count(reference, item, counts->expected)) {
            fprintf(stderr, "an expression is not known to the reference evaluator\n");
            print_rules(&config);
            return 1;
        }
        checksum = checksum * 31 + expected[i].rule * 4 + expected[i].action;
        nontrivial += expected[i].rule != 0;
        compared++;
        tern_rules_decide(compiled.rules, scratch, &facts[i], 1, &actual[i]);
        status |= check(&config, "alone", i, &expected[i], &actual[i]);
        tern_scratch_count_hits(scratch, NULL, NULL);
        tern_rules_walk_scalar(compiled.rules, scratch, item, scratch->classes, &actual[i]);
        status |= check(&config, "scalar twin", i, &expected[i], &actual[i]);
        tern_scratch_count_hits(scratch, counts->slots, counts->actual);
    }
    status |= check_hits(&config, "alone", counts->expected, counts->actual);
    status |= check_unreached(&config, counts->expected);
    count_hits(scratch, &config, counts);
    for (unsigned i = 0; i < ITEMS && status == 0;) {
        unsigned count = 1 + (unsigned)(tern_test_random(random) % TERN_VECTOR_WIDTH);

        if (count > ITEMS - i)
            count = ITEMS - i;
        tern_rules_decide(compiled.rules, scratch, facts + i, count, actual + i);
        for (unsigned j = i; j < i + count; j++)
            status |= check(&config, "in a vector", j, &expected[j], &actual[j]);
        i += count;
    }
    if (status == 0)
        status = check_hits(&config, "in a vector", counts->expected, counts->actual);
    tern_diagnostics_free(&diagnostics);
    tern_reference_free(reference);
    world_rules_free(&compiled);
    tern_region_free(&region);
    return status;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 20240607;
    unsigned sets = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 3000;
    struct tern_scratch *scratch = NULL;
    struct item *items = calloc(ITEMS, sizeof *items);
    struct counts *counts = calloc(1, sizeof *counts);
    struct world world;
    int status = 0;

    world_make(&world, 200);
    if (items == NULL || counts == NULL || tern_scratch_new(&scratch) != 0)
        return 1;
    for (unsigned i = 0; i < ITEMS; i++)
        items[i].sample = malloc(TERN_REFERENCE_SCRATCH);
    for (unsigned i = 0; i < sets && status == 0; i++) {
        uint64_t random = seed + i;
        unsigned which =
            (unsigned)(random % 1200); /* of the seed alone, so that one can be repeated */
        unsigned rules;

        generate_patterns = which % 5 == 3;
        rules = which % 50 == 49 ? RULES_MAX : which % 10 == 9 ? 120 : 1 + which % 24;

        status = compare_set(&world, &random, 200, rules, (enum squeeze)((seed + i) % 3), scratch,
                             items, counts);
        if (status != 0)
            fprintf(stderr, "repeat with: compare %llu 1\n", (unsigned long long)(seed + i));
    }
    printf("seed %llu: %u rule sets, %llu verdicts equal, %llu by a rule, %llu comparisons "
           "residual, %llu rules never reached, checksum %016llx\n",
           (unsigned long long)seed, sets, (unsigned long long)compared,
           (unsigned long long)nontrivial, (unsigned long long)residual,
           (unsigned long long)unreached, (unsigned long long)checksum);
    if (status == 0 && sets >= 100 && unreached == 0) {
        fprintf(stderr, "no rule was ever found to be never reached\n");
        status = 1;
    }
    if (status == 0 && sets >= 100 && residual == 0) {
        fprintf(stderr, "nothing was ever residual: limits.rules_bytes has no effect\n");
        status = 1;
    }
    printf(
        "blocks: %llu counted, %llu with gaps, %llu explicit; intervals: %llu brief, %llu long\n",
        (unsigned long long)block_forms[TERN_BLOCK_COUNTED],
        (unsigned long long)block_forms[TERN_BLOCK_GAPS],
        (unsigned long long)block_forms[TERN_BLOCK_EXPLICIT], (unsigned long long)brief_units,
        (unsigned long long)long_units);
    if (status == 0 && sets >= 100 &&
        (block_forms[TERN_BLOCK_COUNTED] == 0 || block_forms[TERN_BLOCK_GAPS] == 0 ||
         block_forms[TERN_BLOCK_EXPLICIT] == 0 || brief_units == 0 || long_units == 0)) {
        fprintf(stderr, "a form of blocks or intervals was never met\n");
        status = 1;
    }
    for (unsigned i = 0; i < ITEMS; i++)
        free(items[i].sample);
    free(items);
    free(counts);
    tern_scratch_free(scratch);
    world_free(&world);
    return status;
}
