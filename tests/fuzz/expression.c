/* Rules, one a line, parsed, brought to normal form, compiled, opened, and compared with the slow
 * evaluator over a few items: what compiles means what it says.
 *
 * The first byte of a line says how the rule acts. */
#include "tests/fuzz/fuzz.h"

#include "controlplane/compile/compile.h"
#include "tests/reference/generate.h"

#define RULES_MAX 8u
#define ITEMS     24u
#define SCALE     40u

static struct world world;
static struct tern_scratch *scratch;
static uint8_t *sample;

static void make_world(void)
{
    if (scratch != NULL)
        return;
    world_make(&world, SCALE);
    sample = malloc(TERN_REFERENCE_SCRATCH);
    FUZZ_CHECK(sample != NULL && tern_scratch_new(&scratch) == 0);
}

/* Cuts the text into rules; it is changed: line ends become NUL. */
static unsigned read_rules(char *text, size_t size, struct tern_config_rule *rules,
                           char ids[RULES_MAX][8])
{
    unsigned count = 0;
    char *line = text, *end = text + size;

    while (line < end && count < RULES_MAX) {
        char *next = memchr(line, '\n', (size_t)(end - line));
        uint8_t how;

        if (next == NULL)
            next = end;
        *next = '\0';
        if (next > line) {
            how = (uint8_t)*line++;
            snprintf(ids[count], sizeof ids[count], "r%u", count);
            rules[count] = world_rule(ids[count], line);
            rules[count].when.length = (size_t)(next - line); /* NUL bytes included */
            rules[count].then = how & 1 ? TERN_THEN_ADD : TERN_THEN_ACTION;
            rules[count].score = (float)(how >> 4) - 4;
            rules[count].action = how & 2 ? TERN_ALLOW : TERN_DENY;
            if ((how & 0xc) == 0xc)
                rules[count].mode = TERN_RULE_OFF;
            count++;
        }
        line = next + 1;
    }
    return count;
}

static void compare(struct tern_config *config, uint64_t random)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_reference *reference = NULL;
    struct world_rules compiled;

    /* more conjunctions than a rule may have shows only now */
    if (world_compile(&world, config, &compiled) != 0) {
        world_rules_free(&compiled);
        return;
    }
    FUZZ_CHECK(
        tern_reference_new(config, world.opened, WORLD_TABLES + 1, &diagnostics, &reference) == 0);
    tern_reference_set_vectors(reference, &world.source);
    FUZZ_CHECK(tern_scratch_prepare(scratch, compiled.rules) == 0);
    for (unsigned i = 0; i < ITEMS; i++) {
        static uint8_t room[sizeof(struct tern_facts) +
                            (TERN_FIELDS_MAX + 1) * sizeof(union tern_value)] TERN_ALIGNED(64);
        static uint8_t texts[TERN_FIELDS_MAX + 1][64];
        struct tern_facts *facts = (struct tern_facts *)(void *)room;
        struct tern_verdict expected, actual;

        if (i % 2)
            generate_facts(&random, SCALE, texts, facts);
        else
            tern_reference_sample(reference, random, i, sample, facts);
        if (!tern_reference_decide(reference, facts, &expected))
            continue; /* a regular expression that only hyperscan knows */
        tern_rules_decide(compiled.rules, scratch, (const struct tern_facts *const *)&facts, 1,
                          &actual);
        FUZZ_CHECK(tern_verdict_equal(&expected, &actual));
    }
    tern_diagnostics_free(&diagnostics);
    tern_reference_free(reference);
    world_rules_free(&compiled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tern_config_rule rules[RULES_MAX];
    char ids[RULES_MAX][8];
    char *text = malloc(size + 1);
    struct tern_diagnostics diagnostics = {0};
    struct tern_config config;
    unsigned count;

    FUZZ_CHECK(text != NULL);
    make_world();
    memcpy(text, data, size);
    count = read_rules(text, size, rules, ids);
    config = world_config(&world, rules, count);
    if (tern_compile_check(&config, &diagnostics) == 0)
        compare(&config, size);
    tern_diagnostics_free(&diagnostics);
    free(text);
    return 0;
}
