/* A decision inside one process over whole snapshots, and no network: tables of a million keys, an
 * ASN table, 1,000 rules; keys uniform, half of them absent. The median decision in dependent loads
 * over a mapping of the snapshot's size (perf/chain.h), in the same run.
 *
 * Usage: decide [--small] [--asn FILE.csv]. FILE has a header and rows start,end,asn; without it
 * ranges are made up. Prints `figure NAME VALUE UNIT` lines and a checksum over all answers. */
#include "perf/chain.h"
#include "perf/snapshot.h"

#define ROUNDS 5

struct shape {
    uint32_t keys;
    uint32_t ranges; /* of a made-up ASN table */
    uint32_t rules;
    uint32_t decisions;
};

static const struct shape full = {1000000, 400000, 1000, 1u << 17};
static const struct shape small = {2000, 1000, 60, 1u << 10};

/* ---- Files: what an operator would write ---- */

static void write_keys(const struct shape *shape)
{
    FILE *users = snapshot_create("users.csv"), *tokens = snapshot_create("tokens.txt");

    fputs("id,trust,age_days\n", users);
    for (uint32_t i = 0; i < shape->keys; i++) {
        fprintf(users, "%llu,0.%02u,%u\n", (unsigned long long)program_mix(i), i % 100, i % 4000);
        fprintf(tokens, "tok-%016llx\n", (unsigned long long)program_mix(i));
    }
    snapshot_finish(users);
    snapshot_finish(tokens);
}

/* Adjacent ranges over 1.0.0.0 … 223.255.255.255 with a gap after every eighth. */
static uint32_t made_up_range(const struct shape *shape, uint32_t index)
{
    return 0x01000000u + (uint32_t)((uint64_t)index * (0xde000000u / shape->ranges));
}

static void write_ranges(const struct shape *shape)
{
    FILE *file = snapshot_create("asn.csv");

    fputs("start,end,asn\n", file);
    for (uint32_t i = 0; i < shape->ranges; i++) {
        char first[TERN_ADDRESS_TEXT], last[TERN_ADDRESS_TEXT];
        uint32_t end = made_up_range(shape, i + 1) - (i % 8 == 7 ? 257 : 1);

        tern_address_format(tern_address_from_v4(made_up_range(shape, i)), first);
        tern_address_format(tern_address_from_v4(end), last);
        fprintf(file, "%s,%s,%u\n", first, last, 1 + i % 65000);
    }
    snapshot_finish(file);
}

/* Of every kind that has a unit of its own; together they ask every table. */
static void write_condition(FILE *file, uint32_t i)
{
    switch (i % 8) {
    case 0:
        fprintf(file, "ip in {10.%u.%u.0/24, 10.%u.0.0/20}", i >> 8 & 255, i & 255, i >> 8 & 255);
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
    case 4:
        fprintf(file, "user >= %u000 and user < %u100", i, i);
        break;
    case 5:
        fprintf(file, "asn.number == %u and path starts_with \"/n%u\"", i, i);
        break;
    case 6:
        fprintf(file, "users.age_days < %u and path starts_with \"/y%u\"", i, i);
        break;
    default:
        fprintf(file, "token in $tokens and path starts_with \"/t%u\"", i);
        break;
    }
}

static void write_table_rules(const struct shape *shape, const char *asn)
{
    FILE *file = snapshot_create("tables.yaml");

    snapshot_write_head(file);
    fprintf(file,
            "tables:\n"
            "  users: { type: exact_map, by: user, key: id, source: users.csv, "
            "columns: { trust: f32, age_days: u32 } }\n"
            "  tokens: { type: exact_set, of: string, source: tokens.txt }\n"
            "  asn: { type: prefix_map, by: ip, source: %s, "
            "columns: { number: { type: u32, from: asn } } }\n"
            "rules:\n",
            asn == NULL ? "asn.csv" : asn);
    for (uint32_t i = 0; i < shape->rules; i++) {
        fprintf(file, "  - { id: r%u, when: '", i + 1);
        write_condition(file, i);
        fprintf(file, "', then: %s }\n", i % 3 == 0 ? "deny" : i % 3 == 1 ? "challenge" : "allow");
    }
    fputs("default: allow\n", file);
    snapshot_finish(file);
}

/* ---- Requests ---- */

/* Keys uniform, half of them absent: 240.0.0.0/4 belongs to nobody. */
static void draw(struct snapshot_request *request, const struct shape *shape,
                 const struct tern_address *starts, uint32_t start_count, uint64_t *seed)
{
    uint64_t user = program_random(seed) % (2 * shape->keys);
    uint64_t token = program_random(seed) % (2 * shape->keys);
    uint64_t place = program_random(seed);
    struct tern_address address = tern_address_from_v4(0xf0000000u | (uint32_t)place >> 4);

    memset(request, 0, sizeof *request);
    if ((place >> 63) == 0) {
        address = starts[place % start_count];
        address.low += place >> 32 & 0xff;
    }
    snprintf(request->host, SNAPSHOT_TEXT_BYTES, "h%u.example",
             (unsigned)(place % (2 * shape->rules)));
    snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/area%u/index.x%u",
             (unsigned)(user % (4 * shape->rules)), (unsigned)(token % (4 * shape->rules)));
    snprintf(request->token, SNAPSHOT_TEXT_BYTES, "tok-%016llx",
             (unsigned long long)program_mix(token));
    snapshot_set_rest(request, address, program_mix(user));
    snapshot_set_string(request, SNAPSHOT_TOKEN, request->token);
    request->rule = SNAPSHOT_ANY;
}

/* ---- Measuring ---- */

/* The mean of decisions made TERN_VECTOR_WIDTH together, as a loop makes them. The requests are
 * brought in before, as in decisions made alone. */
static double decide_vectors(struct snapshot *snapshot, const struct snapshot_request *requests,
                             uint32_t count, double overhead_ns)
{
    static struct snapshot_request vector[TERN_VECTOR_WIDTH];
    double spent_ns = 0;

    for (uint32_t i = 0; i + TERN_VECTOR_WIDTH <= count; i += TERN_VECTOR_WIDTH) {
        const struct tern_facts *facts[TERN_VECTOR_WIDTH];
        struct tern_verdict verdicts[TERN_VECTOR_WIDTH];
        double started;

        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++) {
            snapshot_copy(&vector[j], &requests[i + j]);
            facts[j] = &vector[j].facts;
        }
        started = tern_chain_now_ns();
        tern_rules_decide(snapshot->view->rules, snapshot->scratch, facts, TERN_VECTOR_WIDTH,
                          verdicts);
        spent_ns += tern_chain_now_ns() - started - overhead_ns;
        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            snapshot_check(&vector[j], &verdicts[j]);
    }
    return spent_ns / (count / TERN_VECTOR_WIDTH * TERN_VECTOR_WIDTH);
}

static double mean(const float *costs, uint32_t count)
{
    double sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += costs[i];
    return sum / count;
}

/* The first addresses of the ranges in the ASN file. */
static struct tern_address *read_starts(const char *path, uint32_t *count)
{
    char line[256];
    uint32_t capacity = 1u << 20;
    struct tern_address *starts = calloc(capacity, sizeof *starts);
    FILE *file;

    file = fopen(path == NULL ? snapshot_path("asn", ".csv") : path, "re");
    if (file == NULL || starts == NULL) {
        perror(path == NULL ? "asn.csv" : path);
        exit(1);
    }
    *count = 0;
    while (*count < capacity && fgets(line, sizeof line, file) != NULL)
        if (tern_address_parse(line, strcspn(line, ","), &starts[*count]) == 0)
            ++*count;
    fclose(file);
    if (*count == 0)
        program_fail(path, "no row start,end,asn");
    return starts;
}

static void measure_tables(const struct shape *shape, const char *asn, float *costs)
{
    struct snapshot snapshot;
    struct snapshot_request *requests = snapshot_requests_new(shape->decisions);
    double alone_ns[ROUNDS], mean_ns[ROUNDS], vector_ns[ROUNDS], load_ns[ROUNDS], loads[ROUNDS];
    double overhead_ns = snapshot_clock_ns();
    uint64_t seed = 1;
    uint32_t start_count;
    struct tern_address *starts;

    write_keys(shape);
    if (asn == NULL)
        write_ranges(shape);
    write_table_rules(shape, asn);
    snapshot_open(&snapshot, snapshot_path("tables", ".yaml"), "tables");
    starts = read_starts(asn, &start_count);
    for (uint32_t i = 0; i < shape->decisions; i++)
        draw(&requests[i], shape, starts, start_count, &seed);

    for (unsigned round = 0; round < ROUNDS; round++) {
        load_ns[round] =
            tern_chain_measure(snapshot.view->bytes, shape->decisions, snapshot_checksum());
        snapshot_decide_alone(&snapshot, requests, shape->decisions, overhead_ns, costs);
        mean_ns[round] = mean(costs, shape->decisions);
        alone_ns[round] = program_quantile(costs, shape->decisions, 0.5);
        vector_ns[round] = decide_vectors(&snapshot, requests, shape->decisions, overhead_ns);
        loads[round] = alone_ns[round] / load_ns[round];
    }
    printf("figure mapping-mib %.1f MiB, %u keys twice, %u ranges, %u rules\n",
           (double)snapshot.view->bytes / (1 << 20), shape->keys, start_count, shape->rules);
    printf("figure load-ns %.1f ns a dependent load over a mapping of that size\n",
           program_median(load_ns, ROUNDS));
    printf("figure decision-ns %.1f ns, median of decisions made one by one\n",
           program_median(alone_ns, ROUNDS));
    printf("figure mean-ns %.1f ns, mean of decisions made one by one\n",
           program_median(mean_ns, ROUNDS));
    printf("figure decision-loads %.2f dependent loads\n", program_median(loads, ROUNDS));
    printf("figure vector-ns %.1f ns, mean of decisions made %u together\n",
           program_median(vector_ns, ROUNDS), TERN_VECTOR_WIDTH);
    snapshot_close(&snapshot);
    free(starts);
    free(requests);
}

int main(int argc, char **argv)
{
    const struct shape *shape = &full;
    const char *asn = NULL;
    float *costs;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--small") == 0) {
            shape = &small;
        } else if (strcmp(argv[i], "--asn") == 0 && i + 1 < argc) {
            asn = realpath(argv[++i], NULL);
            if (asn == NULL) {
                perror(argv[i]);
                return 1;
            }
        } else {
            fprintf(stderr, "usage: decide [--small] [--asn FILE.csv]\n");
            return 2;
        }
    }
    snapshot_start();
    costs = calloc(shape->decisions, sizeof *costs);
    if (costs == NULL)
        abort();
    measure_tables(shape, asn, costs);
    printf("checksum %016llx\n", (unsigned long long)*snapshot_checksum());
    free(costs);
    free((void *)asn);
    return 0;
}
