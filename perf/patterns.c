/* Decisions that have a user agent scanned against a large pattern set, inside one process: user
 * agents as they repeat, and each a different one. Usage: patterns [--small] [PATTERNS REPEATING
 * DISTINCT], files with one a line; without them, made up. Prints `figure NAME VALUE UNIT` lines
 * and a checksum. */
#include "perf/snapshot.h"
#include "shared/clock.h"

#define PATTERNS 1500u
#define AGENTS   100000u
#define ROUNDS   7u

struct agents { /* facts of requests that carry nothing else */
    char *text;
    uint32_t count;
    uint8_t *facts;
};

#define FACTS_BYTES tern_align_up(tern_facts_bytes(1), 64)

static const struct tern_facts *facts_at(const struct agents *agents, uint32_t index)
{
    return (const struct tern_facts *)(const void *)(agents->facts + index * FACTS_BYTES);
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t length = 0, room = 0, got;

    if (file == NULL) {
        perror(path);
        exit(1);
    }
    do {
        if (length + 1 >= room)
            text = realloc(text, room = room * 2 + 65536);
        if (text == NULL)
            abort();
        got = fread(text + length, 1, room - length - 1, file);
        length += got;
    } while (got > 0);
    text[length] = '\0';
    fclose(file);
    return text;
}

/* The lines of `text`, which it keeps. */
static struct agents split(char *text)
{
    struct agents agents = {.text = text};

    for (const char *at = text; *at != '\0'; at++)
        agents.count += *at == '\n';
    agents.facts = aligned_alloc(64, (agents.count + 1) * FACTS_BYTES);
    if (agents.facts == NULL || agents.count == 0)
        abort();
    for (uint32_t i = 0; i < agents.count; i++) {
        struct tern_facts *facts = (struct tern_facts *)(void *)(agents.facts + i * FACTS_BYTES);
        char *end = strchr(text, '\n');

        tern_facts_clear(facts);
        facts->values[1].string.bytes = (const uint8_t *)text;
        facts->values[1].string.length = (uint32_t)(end - text);
        tern_facts_set_present(facts, 1);
        text = end + 1;
    }
    return agents;
}

/* `count` user agents of `kinds` kinds, one in five a crawler's. */
static struct agents make_agents(uint32_t count, uint32_t kinds, uint32_t patterns)
{
    char *text = malloc(count * 160ull + 1), *end = text;
    uint64_t seed = 3;

    if (text == NULL)
        abort();
    for (uint32_t i = 0; i < count; i++) {
        uint32_t kind = kinds == count ? i : (uint32_t)(program_random(&seed) % kinds);

        end +=
            kind % 5 == 0
                ? sprintf(end, "Mozilla/5.0 (compatible; w%ubot/%u.0; +http://example.org/bot)\n",
                          kind % patterns, kind)
                : sprintf(end,
                          "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                          "Chrome/%u.0.%u.0 Safari/537.36\n",
                          60 + kind % 80, kind);
    }
    return split(text);
}

static void write_config(const char *patterns_path, uint32_t patterns)
{
    FILE *file;

    if (patterns_path == NULL) {
        file = snapshot_create("patterns.txt");
        for (uint32_t i = 0; i < patterns; i++)
            fprintf(file, i % 3 ? "w%ubot\\/\n" : "[Ww]%ubot[\\/ ][0-9]\n", i);
        snapshot_finish(file);
        patterns_path = "patterns.txt";
    }
    file = snapshot_create("patterns.yaml");
    fprintf(file,
            "tern: 1\nfields: { user_agent: string }\n"
            "tables: { crawlers: { type: pattern_set, source: %s } }\n"
            "rules: [ { id: crawler, when: 'user_agent matches $crawlers', then: challenge } ]\n",
            patterns_path);
    snapshot_finish(file);
}

/* Nanoseconds a decision, 32 together as a loop makes them. */
static double measure(struct snapshot *snapshot, const struct agents *agents, uint32_t *matched)
{
    uint64_t started = tern_clock_ns(CLOCK_THREAD_CPUTIME_ID);

    *matched = 0;
    for (uint32_t i = 0; i < agents->count; i += TERN_VECTOR_WIDTH) {
        const struct tern_facts *items[TERN_VECTOR_WIDTH];
        struct tern_verdict verdicts[TERN_VECTOR_WIDTH];
        uint32_t count = (uint32_t)tern_min_u64(agents->count - i, TERN_VECTOR_WIDTH);

        for (uint32_t j = 0; j < count; j++)
            items[j] = facts_at(agents, i + j);
        tern_rules_decide(snapshot->view->rules, snapshot->scratch, items, count, verdicts);
        for (uint32_t j = 0; j < count; j++)
            *matched += verdicts[j].rule != 0;
    }
    return (double)(tern_clock_ns(CLOCK_THREAD_CPUTIME_ID) - started) / agents->count;
}

static void report(struct snapshot *snapshot, const char *name, const struct agents *agents)
{
    double rounds[ROUNDS];
    uint32_t matched = 0;

    measure(snapshot, agents, &matched); /* warm */
    for (unsigned i = 0; i < ROUNDS; i++)
        rounds[i] = measure(snapshot, agents, &matched);
    printf("figure %s-ns %.1f ns a decision, %u agents, %.1f %% crawlers\n", name,
           program_median(rounds, ROUNDS), agents->count, 100.0 * matched / agents->count);
    *snapshot_checksum() = *snapshot_checksum() * 31 + matched;
}

int main(int argc, char **argv)
{
    bool small = argc > 1 && strcmp(argv[1], "--small") == 0;
    char **files = argv + 1 + small;
    bool given = argc - 1 - small == 3;
    uint32_t patterns = small ? 50 : PATTERNS, count = small ? 1000 : AGENTS;
    struct agents repeating, distinct;
    struct snapshot snapshot;

    snapshot_start();
    write_config(given ? files[0] : NULL, patterns);
    snapshot_open(&snapshot, snapshot_path("patterns", ".yaml"), "patterns");
    repeating = given ? split(read_file(files[1])) : make_agents(count, count / 50, patterns);
    distinct = given ? split(read_file(files[2])) : make_agents(count, count, patterns);
    report(&snapshot, "repeating", &repeating);
    report(&snapshot, "distinct", &distinct);
    printf("checksum %016llx\n", (unsigned long long)*snapshot_checksum());
    snapshot_close(&snapshot);
    free(repeating.text);
    free(repeating.facts);
    free(distinct.text);
    free(distinct.facts);
    return 0;
}
