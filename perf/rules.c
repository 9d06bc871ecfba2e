/* The cost of a decision against the number of rules, the deciding rule uniform and the default
 * among them; and of compiling them. Usage: perf-rules [--small]. Prints a checksum; asserts
 * nothing about time. */
#include <time.h>

#include "controlplane/compile/region.h"
#include "tests/reference/world.h"
#include "tests/unit/unit.h"

#define KINDS 8
#define ITEMS 4096

struct set { /* one rule set and the items that are asked */
    unsigned rule_count;
    struct tern_region region;
    struct tern_config config;
    struct world_rules compiled;
    struct tern_facts **facts;
    double compile_ms;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *take(struct tern_region *region, size_t bytes)
{
    void *taken = tern_region_take(region, bytes);

    if (taken == NULL)
        abort();
    return taken;
}

static char *format(struct tern_region *region, const char *text, unsigned i)
{
    char *made = take(region, 160);

    snprintf(made, 160, text, i, i);
    return made;
}

/* What a rule of each kind asks; both numbers are its index. */
static const char *const questions[KINDS] = {
    "path == \"/r%u\"",
    "path starts_with \"/s%u/\" and not ip in $bad_nets",
    "user == 10%06u and not host in $bad_hosts",
    "peer in {11.%u.0.0..11.%u.0.255}",
    "delta in {%u0..%u5} and exists(user)",
    "host ends_with \".d%u.org\" or host == \"h%u.example.net\"",
    "path ends_with \".e%u\" and not users.trust < 0.5",
    "path == \"/t%u\" and not asn.country == \"none\"",
};

static struct tern_config_rule make_rule(struct tern_region *region, unsigned i)
{
    char *when = format(region, questions[i % KINDS], i);

    if (i % KINDS == 3) /* spread over a /8 */
        snprintf(when, 160, "peer in {11.%u.%u.0..11.%u.%u.15}", i >> 8 & 255, i & 255,
                 i >> 8 & 255, i & 255);
    return world_rule(format(region, "rule-%u", i), when);
}

static void set_string(struct tern_facts *facts, struct tern_region *region, unsigned field,
                       const char *text, unsigned i)
{
    char *made = format(region, text, i);

    facts->values[field].string.bytes = (const uint8_t *)made;
    facts->values[field].string.length = (uint32_t)strlen(made);
}

/* An item that rule `i` decides; `i` = rule_count: none does. */
static struct tern_facts *make_item(struct set *set, uint64_t *random, unsigned i)
{
    struct tern_facts *facts = take(&set->region, tern_facts_bytes(WORLD_SLOTS));
    uint64_t any = tern_test_random(random);

    for (unsigned field = 1; field <= WORLD_FIELDS; field++)
        tern_facts_set_present(facts, field);
    facts->values[WORLD_IP].address = tern_address_from_v4(0xc0000000u | (uint32_t)(any >> 40));
    facts->values[WORLD_PEER].address = tern_address_from_v4(0xd0000000u | (uint32_t)any >> 4);
    facts->values[WORLD_USER].u64 = any % 100000;
    facts->values[WORLD_DELTA].i64 = -5;
    facts->values[WORLD_RATIO].f32 = 0.5f;
    set_string(facts, &set->region, WORLD_HOST, "www%u.shop.example", (unsigned)any & 0xffff);
    set_string(facts, &set->region, WORLD_PATH, "/items/%u/view", (unsigned)any & 0xffff);
    if (i == set->rule_count)
        return facts;
    switch (i % KINDS) {
    case 0:
        set_string(facts, &set->region, WORLD_PATH, "/r%u", i);
        break;
    case 1:
        set_string(facts, &set->region, WORLD_PATH, "/s%u/more", i);
        break;
    case 2:
        facts->values[WORLD_USER].u64 = 10000000u + i;
        break;
    case 3:
        facts->values[WORLD_PEER].address =
            tern_address_from_v4(0x0b000000u | (i & 0xffff) << 8 | 7);
        break;
    case 4:
        facts->values[WORLD_DELTA].i64 = (int64_t)i * 10 + 3;
        break;
    case 5:
        set_string(facts, &set->region, WORLD_HOST, "x.d%u.org", i);
        break;
    case 6:
        set_string(facts, &set->region, WORLD_PATH, "/a.e%u", i);
        facts->values[WORLD_USER].u64 = 1; /* no record: odd ones have none */
        break;
    default:
        set_string(facts, &set->region, WORLD_PATH, "/t%u", i);
        break;
    }
    return facts;
}

static int make_set(struct set *set, struct world *world, unsigned rule_count)
{
    struct tern_config_rule *rules;
    uint64_t random = 7, started;

    memset(set, 0, sizeof *set);
    set->rule_count = rule_count;
    rules = take(&set->region, rule_count * sizeof *rules);
    for (unsigned i = 0; i < rule_count; i++)
        rules[i] = make_rule(&set->region, i);
    set->config = world_config(world, rules, rule_count);
    started = now_ns();
    if (world_compile(world, &set->config, &set->compiled) != 0)
        return 1;
    set->compile_ms = (double)(now_ns() - started) / 1e6;
    set->facts = take(&set->region, ITEMS * sizeof *set->facts);
    for (unsigned i = 0; i < ITEMS; i++)
        set->facts[i] =
            make_item(set, &random, (unsigned)(tern_test_random(&random) % (rule_count + 1)));
    return 0;
}

static void free_set(struct set *set)
{
    world_rules_free(&set->compiled);
    tern_region_free(&set->region);
}

static int compare_u64(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

/* A clock that is cheap enough to stand around one decision. */
static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
    unsigned unused;
    uint64_t now = __builtin_ia32_rdtscp(&unused);

    __builtin_ia32_lfence();
    return now;
#else
    return now_ns();
#endif
}

struct figures {
    double mean_ns, vector_ns; /* a decision alone, back to back; in vectors of 32 */
    double p50_ns, p99_ns;     /* each timed, the clock's own cost taken off */
};

static struct figures measure(struct set *set, struct tern_scratch *scratch, unsigned rounds,
                              uint64_t *checksum)
{
    struct tern_verdict verdicts[TERN_VECTOR_WIDTH];
    const struct tern_facts *const *facts = (const struct tern_facts *const *)set->facts;
    uint64_t *samples = malloc((size_t)rounds * ITEMS * sizeof *samples);
    struct figures figures = {0};
    uint64_t started, first_tick, clock_cost = UINT64_MAX;
    double tick_ns;
    size_t count = (size_t)rounds * ITEMS;

    if (samples == NULL)
        abort();
    for (unsigned i = 0; i < ITEMS; i++) { /* warm, and what is decided */
        tern_rules_decide(set->compiled.rules, scratch, &facts[i], 1, verdicts);
        *checksum = *checksum * 31 + verdicts[0].rule;
    }
    started = now_ns();
    first_tick = ticks();
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < ITEMS; i++)
            tern_rules_decide(set->compiled.rules, scratch, &facts[i], 1, verdicts);
    figures.mean_ns = (double)(now_ns() - started) / (double)count;
    tick_ns = figures.mean_ns * (double)count / (double)(ticks() - first_tick);
    started = now_ns();
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < ITEMS; i += TERN_VECTOR_WIDTH)
            tern_rules_decide(set->compiled.rules, scratch, &facts[i], TERN_VECTOR_WIDTH, verdicts);
    figures.vector_ns = (double)(now_ns() - started) / (double)count;
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t before = ticks(), after = ticks();

        clock_cost = after - before < clock_cost ? after - before : clock_cost;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t before = ticks();

        tern_rules_decide(set->compiled.rules, scratch, &facts[i % ITEMS], 1, verdicts);
        samples[i] = ticks() - before;
    }
    qsort(samples, count, sizeof *samples, compare_u64);
    figures.p50_ns = ((double)samples[count / 2] - (double)clock_cost) * tick_ns;
    figures.p99_ns = ((double)samples[count * 99 / 100] - (double)clock_cost) * tick_ns;
    free(samples);
    return figures;
}

int main(int argc, char **argv)
{
    static const unsigned full[] = {10, 100, 1000, 10000, 65536}, small[] = {10, 300};
    bool is_small = argc > 1 && strcmp(argv[1], "--small") == 0;
    const unsigned *counts = is_small ? small : full;
    unsigned steps = is_small ? TERN_COUNT(small) : TERN_COUNT(full);
    struct tern_scratch *scratch = NULL;
    struct world world;
    uint64_t checksum = 0;
    double p99_first = 0;

    world_make(&world, is_small ? 1000 : 200000);
    if (tern_scratch_new(&scratch) != 0)
        return 1;
    printf("%8s %11s %11s %8s %8s %8s %8s %8s\n", "rules", "compile ms", "rows bytes", "mean ns",
           "in 32 ns", "p50 ns", "p99 ns", "p99 /10");
    for (unsigned i = 0; i < steps; i++) {
        struct set set;
        struct figures figures;

        if (make_set(&set, &world, counts[i]) != 0)
            return 1;
        figures = measure(&set, scratch, is_small ? 2 : 64, &checksum);
        if (i == 0)
            p99_first = figures.p99_ns;
        printf("%8u %11.1f %11llu %8.1f %8.1f %8.1f %8.1f %8.2f\n", counts[i], set.compile_ms,
               (unsigned long long)set.compiled.compiled.rows_bytes, figures.mean_ns,
               figures.vector_ns, figures.p50_ns, figures.p99_ns, figures.p99_ns / p99_first);
        free_set(&set);
    }
    printf("checksum %016llx\n", (unsigned long long)checksum);
    tern_scratch_free(scratch);
    world_free(&world);
    return 0;
}
