/* Decisions against the number of rules, inside one process: N rules against 10 over the same
 * fields, the deciding rule uniform including the default: p99. Every answer is compared with the
 * rule that was to decide. And what compiling them takes.
 *
 * Usage: growth [--small] [--rules N] [--compile FILE.yaml]. With --compile only that configuration
 * is published and what that took printed. Prints `figure NAME VALUE UNIT` lines and a checksum. */
#include "perf/snapshot.h"

#define ROUNDS   5
#define REQUESTS 64 /* made and decided at a time */

/* Each rule can be hit by itself: `aim` below makes the request that it decides. */
static void write_plain_rules(const char *name, uint32_t count)
{
    FILE *file = snapshot_create(name);

    snapshot_write_head(file);
    fputs("rules:\n", file);
    for (uint32_t i = 0; i < count; i++) {
        fprintf(file, "  - { id: r%u, when: '", i + 1);
        switch (i % 5) {
        case 0:
            fprintf(file, "ip in {10.%u.%u.0/24}", i >> 8, i & 255);
            break;
        case 1:
            fprintf(file, "host == \"h%u.example\"", i);
            break;
        case 2:
            fprintf(file, "path starts_with \"/area%u/\"", i);
            break;
        case 3:
            fprintf(file, "path ends_with \".x%u\"", i);
            break;
        default:
            fprintf(file, "user >= %u000 and user <= %u499", i, i);
            break;
        }
        fputs("', then: deny }\n", file);
    }
    fputs("default: allow\n", file);
    snapshot_finish(file);
}

/* The request that rule `index` (0-based) of write_plain_rules decides, or the default for `count`.
 */
static void aim(struct snapshot_request *request, uint32_t index, uint32_t count, uint64_t *seed)
{
    struct tern_address address = tern_address_from_v4(0xc0000200u | (program_random(seed) & 255));
    uint64_t user = 999;

    memset(request, 0, sizeof *request);
    snprintf(request->host, SNAPSHOT_TEXT_BYTES, "other%u.example",
             (unsigned)(program_random(seed) % 1000));
    snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/other%u/index",
             (unsigned)(program_random(seed) % 1000));
    if (index < count) {
        switch (index % 5) {
        case 0:
            address = tern_address_from_v4(0x0a000000u | (index >> 8) << 16 | (index & 255) << 8 |
                                           (program_random(seed) & 255));
            break;
        case 1:
            snprintf(request->host, SNAPSHOT_TEXT_BYTES, "h%u.example", index);
            break;
        case 2:
            snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/area%u/index", index);
            break;
        case 3:
            snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/other/index.x%u", index);
            break;
        default:
            user = index * 1000ull + program_random(seed) % 500;
            break;
        }
    }
    snapshot_set_rest(request, address, user);
    request->rule = index < count ? index + 1 : 0;
}

static void print_compiled(const struct snapshot *snapshot)
{
    const struct tern_apply_result *result = &snapshot->result;

    printf("figure compile-s %.3f s\n", result->compile_ms / 1e3);
    printf("figure verify-s %.3f s\n", result->verify_ms / 1e3);
    printf("figure publish-s %.3f s, everything from reading the sources on\n",
           result->total_ms / 1e3);
    printf("figure rows-mib %.2f MiB, %u rules, %u conjunctions, %u residual\n",
           (double)result->rows_bytes / (1 << 20), result->rules, result->conjunctions,
           result->residual_comparisons);
}

/* One set of rules with the requests that are aimed at them: as many as a loop has at a time,
 * always in the same memory, as its buffers are. (Requests laid out beforehand, forty megabytes of
 * them, push the rules out of the caches; nobody's requests come from there.) */
struct set {
    uint32_t rules;
    struct snapshot snapshot;
    struct snapshot_request *requests;
    uint64_t seed;
    double p50_ns[ROUNDS], p99_ns[ROUNDS];
};

static void make_set(struct set *set, const char *name, uint32_t rules, uint64_t seed)
{
    char file[32];

    set->rules = rules;
    set->seed = seed;
    snprintf(file, sizeof file, "%s.yaml", name);
    write_plain_rules(file, rules);
    snapshot_open(&set->snapshot, snapshot_path(file, ""), name);
    set->requests = snapshot_requests_new(REQUESTS);
}

static void free_set(struct set *set)
{
    snapshot_close(&set->snapshot);
    free(set->requests);
}

static void decide_alone(struct set *set, uint32_t decisions, double overhead_ns, float *costs)
{
    for (uint32_t done = 0; done < decisions; done += REQUESTS) {
        uint32_t count = decisions - done < REQUESTS ? decisions - done : REQUESTS;

        for (uint32_t i = 0; i < count; i++)
            aim(&set->requests[i], (uint32_t)(program_random(&set->seed) % (set->rules + 1)),
                set->rules, &set->seed);
        snapshot_decide_alone(&set->snapshot, set->requests, count, overhead_ns, costs + done);
    }
}

static void measure_growth(uint32_t many_rules, uint32_t decisions)
{
    struct set sets[2];
    float *costs = calloc(decisions, sizeof *costs);
    double overhead_ns = snapshot_clock_ns(), ratio[ROUNDS];

    if (costs == NULL)
        abort();
    make_set(&sets[0], "few", 10, 2);
    make_set(&sets[1], "many", many_rules, 3);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned turn = 0; turn < 2; turn++) {
            struct set *set = &sets[(round + turn) % 2];

            decide_alone(set, decisions, overhead_ns, costs);
            set->p50_ns[round] = program_quantile(costs, decisions, 0.5);
            set->p99_ns[round] = program_quantile(costs, decisions, 0.99);
        }
        ratio[round] = sets[1].p99_ns[round] / sets[0].p99_ns[round];
    }
    print_compiled(&sets[1].snapshot);
    printf("figure p50-10-ns %.1f ns\n", program_median(sets[0].p50_ns, ROUNDS));
    printf("figure p99-10-ns %.1f ns\n", program_median(sets[0].p99_ns, ROUNDS));
    printf("figure p50-many-ns %.1f ns\n", program_median(sets[1].p50_ns, ROUNDS));
    printf("figure p99-many-ns %.1f ns\n", program_median(sets[1].p99_ns, ROUNDS));
    printf("figure p99-ratio %.2f times p99 of %u rules over 10\n", program_median(ratio, ROUNDS),
           many_rules);
    free_set(&sets[0]);
    free_set(&sets[1]);
    free(costs);
}

static int usage(void)
{
    fprintf(stderr, "usage: growth [--small] [--rules N] [--compile FILE.yaml]\n");
    return 2;
}

int main(int argc, char **argv)
{
    uint32_t rules = TERN_RULES_MAX, decisions = 1u << 17;
    const char *config = NULL;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--small") == 0) {
            rules = rules < 300 ? rules : 300;
            decisions = 1u << 10;
        } else if (strcmp(argv[i], "--rules") == 0 && i + 1 < argc) {
            rules = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--compile") == 0 && i + 1 < argc) {
            config = argv[++i];
        } else {
            return usage();
        }
    }
    if (rules == 0 || rules > TERN_RULES_MAX)
        return usage();
    snapshot_start();
    if (config == NULL) {
        measure_growth(rules, decisions);
    } else {
        struct snapshot snapshot;

        snapshot_open(&snapshot, config, "compiled");
        print_compiled(&snapshot);
        snapshot_close(&snapshot);
    }
    printf("checksum %016llx\n", (unsigned long long)*snapshot_checksum());
    return 0;
}
