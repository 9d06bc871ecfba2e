/* A decision inside one process: whole snapshots, built and published by the control plane's own
 * code into an arena, opened as ternd opens them, and no network.
 *
 * 1. Tables of a million keys, an ASN table, 1,000 rules; keys uniform, half of them absent. The
 * median decision in dependent loads over a mapping of the snapshot's size (perf/chain.h), in the
 * same run.
 * 2. 10,000 rules against 10 over the same fields, the deciding rule uniform including the default:
 * p99. Every answer is compared with the rule that was to decide.
 *
 * Usage: decide [--small] [--asn FILE.csv]. FILE has a header and rows start,end,asn; without it
 * ranges are made up. Prints `figure NAME VALUE UNIT` lines and a checksum over all answers. */
#include "controlplane/apply.h"
#include "perf/chain.h"
#include "shared/address.h"
#include "shared/view.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IP = 1, HOST, PATH, USER, TOKEN, FIELDS = TOKEN };

#define TEXT_BYTES 48
#define ROUNDS     5

struct shape {
    uint32_t keys;
    uint32_t ranges; /* of a made-up ASN table */
    uint32_t rules;
    uint32_t many_rules;
    uint32_t decisions;
};

static const struct shape full = {1000000, 400000, 1000, 10000, 1u << 17};
static const struct shape small = {2000, 1000, 60, 300, 1u << 10};

/* One request with the memory that its strings point to. */
struct request {
    struct tern_facts facts;
    union tern_value values[FIELDS + 1]; /* follows facts.values */
    char host[TEXT_BYTES], path[TEXT_BYTES], token[TEXT_BYTES];
    uint32_t rule; /* that must decide; ANY: not known */
};
#define ANY UINT32_MAX
_Static_assert(offsetof(struct request, values) == sizeof(struct tern_facts), "facts.values");

static uint64_t checksum;
static char folder[64];

static void fail(const char *what, const struct tern_error *error)
{
    fprintf(stderr, "decide: %s: %s\n", what, error->message);
    exit(1);
}

/* The last step of splitmix64 (Steele, Lea, Flood 2014): the i-th key of a table. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint64_t next_random(uint64_t *seed)
{
    return mix(*seed += 0x9e3779b97f4a7c15ull);
}

/* ---- Files: what an operator would write ---- */

static FILE *create(const char *name)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "we");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    return file;
}

static void finish(FILE *file)
{
    if (fclose(file) != 0) {
        perror("decide");
        exit(1);
    }
}

static void write_keys(const struct shape *shape)
{
    FILE *users = create("users.csv"), *tokens = create("tokens.txt");

    fputs("id,trust,age_days\n", users);
    for (uint32_t i = 0; i < shape->keys; i++) {
        fprintf(users, "%llu,0.%02u,%u\n", (unsigned long long)mix(i), i % 100, i % 4000);
        fprintf(tokens, "tok-%016llx\n", (unsigned long long)mix(i));
    }
    finish(users);
    finish(tokens);
}

/* Adjacent ranges over 1.0.0.0 … 223.255.255.255 with a gap after every eighth. */
static uint32_t made_up_range(const struct shape *shape, uint32_t index)
{
    return 0x01000000u + (uint32_t)((uint64_t)index * (0xde000000u / shape->ranges));
}

static void write_ranges(const struct shape *shape)
{
    FILE *file = create("asn.csv");

    fputs("start,end,asn\n", file);
    for (uint32_t i = 0; i < shape->ranges; i++) {
        char first[TERN_ADDRESS_TEXT], last[TERN_ADDRESS_TEXT];
        uint32_t end = made_up_range(shape, i + 1) - (i % 8 == 7 ? 257 : 1);

        tern_address_format(tern_address_from_v4(made_up_range(shape, i)), first);
        tern_address_format(tern_address_from_v4(end), last);
        fprintf(file, "%s,%s,%u\n", first, last, 1 + i % 65000);
    }
    finish(file);
}

static void write_head(FILE *file)
{
    fputs("tern: 1\ninstance: perf\narena: 2GiB\nfields:\n  ip: ip\n  host: host\n"
          "  path: { type: string, max: 2KiB }\n  user: u64\n  token: string\n",
          file);
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
    FILE *file = create("tables.yaml");

    write_head(file);
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
    finish(file);
}

/* Each rule can be hit by itself: `aim` below makes the request that it decides. */
static void write_plain_rules(const char *name, uint32_t count)
{
    FILE *file = create(name);

    write_head(file);
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
    finish(file);
}

/* ---- Snapshots ---- */

struct snapshot {
    struct tern_pipeline *pipeline;
    struct tern_arena arena;
    struct tern_view *view;
    struct tern_scratch *scratch;
};

/* Configuration → published root → prepared view, each by the code that the processes use. */
static void open_snapshot(struct snapshot *snapshot, const char *name)
{
    char config_path[128], run_dir[128], state_dir[128];
    struct tern_pipeline_options options = {
        .run_dir = run_dir, .state_dir = state_dir, .arena_bytes = 2ull << 30};
    struct tern_apply_options apply_options = {0};
    struct tern_apply_result result = {0};
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    struct tern_error error = {.message = "no reason given"};
    struct tern_buffer text = {0};

    snprintf(config_path, sizeof config_path, "%s/%s.yaml", folder, name);
    snprintf(run_dir, sizeof run_dir, "%s/%s-run", folder, name);
    snprintf(state_dir, sizeof state_dir, "%s/%s-state", folder, name);
    mkdir(run_dir, 0700);
    mkdir(state_dir, 0700);
    if (tern_config_read(config_path, &config, &diagnostics) != 0 ||
        tern_pipeline_open(&options, &snapshot->pipeline, &error) != 0 ||
        tern_pipeline_apply(snapshot->pipeline, config, &apply_options, &result, &diagnostics,
                            &error) != 0) {
        if (tern_diagnostics_print(&diagnostics, &text) == 0)
            fwrite(text.data, 1, text.length, stderr);
        fail(name, &error);
    }
    if (tern_arena_open(run_dir, &snapshot->arena, &error) != 0 ||
        tern_view_open(&snapshot->arena, tern_arena_root(&snapshot->arena), NULL, &snapshot->view,
                       &error) != 0)
        fail(name, &error);
    if (tern_scratch_new(&snapshot->scratch) != 0)
        abort();
    tern_apply_result_free(&result);
    tern_diagnostics_free(&diagnostics);
    tern_config_free(config);
}

static void close_snapshot(struct snapshot *snapshot)
{
    tern_scratch_free(snapshot->scratch);
    tern_view_close(snapshot->view);
    tern_arena_close(&snapshot->arena);
    tern_pipeline_close(snapshot->pipeline);
}

/* ---- Requests ---- */

static void set_string(struct request *request, unsigned field, const char *text)
{
    request->values[field].string.bytes = (const uint8_t *)text;
    request->values[field].string.length = (uint32_t)strlen(text);
    tern_facts_set_present(&request->facts, field);
}

static void set_rest(struct request *request, struct tern_address address, uint64_t user)
{
    request->values[IP].address = address;
    request->values[USER].u64 = user;
    tern_facts_set_present(&request->facts, IP);
    tern_facts_set_present(&request->facts, USER);
    set_string(request, HOST, request->host);
    set_string(request, PATH, request->path);
}

/* Keys uniform, half of them absent: 240.0.0.0/4 belongs to nobody. */
static void draw(struct request *request, const struct shape *shape,
                 const struct tern_address *starts, uint32_t start_count, uint64_t *seed)
{
    uint64_t user = next_random(seed) % (2 * shape->keys);
    uint64_t token = next_random(seed) % (2 * shape->keys);
    uint64_t place = next_random(seed);
    struct tern_address address = tern_address_from_v4(0xf0000000u | (uint32_t)place >> 4);

    memset(request, 0, sizeof *request);
    if ((place >> 63) == 0) {
        address = starts[place % start_count];
        address.low += place >> 32 & 0xff;
    }
    snprintf(request->host, TEXT_BYTES, "h%u.example", (unsigned)(place % (2 * shape->rules)));
    snprintf(request->path, TEXT_BYTES, "/area%u/index.x%u", (unsigned)(user % (4 * shape->rules)),
             (unsigned)(token % (4 * shape->rules)));
    snprintf(request->token, TEXT_BYTES, "tok-%016llx", (unsigned long long)mix(token));
    set_rest(request, address, mix(user));
    set_string(request, TOKEN, request->token);
    request->rule = ANY;
}

/* The request that rule `index` (0-based) of write_plain_rules decides, or the default for `count`.
 */
static void aim(struct request *request, uint32_t index, uint32_t count, uint64_t *seed)
{
    struct tern_address address = tern_address_from_v4(0xc0000200u | (next_random(seed) & 255));
    uint64_t user = 999;

    memset(request, 0, sizeof *request);
    snprintf(request->host, TEXT_BYTES, "other%u.example", (unsigned)(next_random(seed) % 1000));
    snprintf(request->path, TEXT_BYTES, "/other%u/index", (unsigned)(next_random(seed) % 1000));
    if (index < count) {
        switch (index % 5) {
        case 0:
            address = tern_address_from_v4(0x0a000000u | (index >> 8) << 16 | (index & 255) << 8 |
                                           (next_random(seed) & 255));
            break;
        case 1:
            snprintf(request->host, TEXT_BYTES, "h%u.example", index);
            break;
        case 2:
            snprintf(request->path, TEXT_BYTES, "/area%u/index", index);
            break;
        case 3:
            snprintf(request->path, TEXT_BYTES, "/other/index.x%u", index);
            break;
        default:
            user = index * 1000ull + next_random(seed) % 500;
            break;
        }
    }
    set_rest(request, address, user);
    request->rule = index < count ? index + 1 : 0;
}

/* ---- Measuring ---- */

static int compare_floats(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;

    return (left > right) - (left < right);
}

static double quantile(float *values, size_t count, double fraction)
{
    qsort(values, count, sizeof *values, compare_floats);
    return values[(size_t)(fraction * (double)(count - 1))];
}

static double median(const double values[ROUNDS])
{
    float copy[ROUNDS];

    for (unsigned i = 0; i < ROUNDS; i++)
        copy[i] = (float)values[i];
    return quantile(copy, ROUNDS, 0.5);
}

/* What reading the clock twice costs by itself. */
static double clock_ns(void)
{
    float costs[1001];

    for (size_t i = 0; i < TERN_COUNT(costs); i++) {
        double started = tern_chain_now_ns();

        costs[i] = (float)(tern_chain_now_ns() - started);
    }
    return quantile(costs, TERN_COUNT(costs), 0.5);
}

static void check_answer(const struct request *request, const struct tern_verdict *verdict)
{
    checksum += mix((uint64_t)verdict->rule << 8 | verdict->action);
    if (request->rule != ANY && request->rule != verdict->rule) {
        fprintf(stderr, "decide: rule %u decided, not %u\n", verdict->rule, request->rule);
        exit(1);
    }
}

/* Decides each request alone; `costs` gets the nanoseconds of each. The request itself is brought
 * in before: a loop has just decoded it. */
static void decide_alone(struct snapshot *snapshot, const struct request *requests, uint32_t count,
                         double overhead_ns, float *costs)
{
    for (uint32_t i = 0; i < count; i++) {
        struct request request = requests[i];
        const struct tern_facts *facts = &request.facts;
        struct tern_verdict verdict;
        double started, cost;

        set_string(&request, HOST, request.host);
        set_string(&request, PATH, request.path);
        if (tern_facts_has(facts, TOKEN))
            set_string(&request, TOKEN, request.token);
        __asm__("" : : "r"(&request) : "memory");
        started = tern_chain_now_ns();
        tern_rules_decide(snapshot->view->rules, snapshot->scratch, &facts, 1, &verdict);
        cost = tern_chain_now_ns() - started - overhead_ns;
        costs[i] = (float)(cost < 0 ? 0 : cost);
        check_answer(&request, &verdict);
    }
}

/* The mean of decisions made TERN_VECTOR_WIDTH together, as a loop makes them. */
static double decide_vectors(struct snapshot *snapshot, const struct request *requests,
                             uint32_t count)
{
    double started = tern_chain_now_ns();

    for (uint32_t i = 0; i + TERN_VECTOR_WIDTH <= count; i += TERN_VECTOR_WIDTH) {
        const struct tern_facts *facts[TERN_VECTOR_WIDTH];
        struct tern_verdict verdicts[TERN_VECTOR_WIDTH];

        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            facts[j] = &requests[i + j].facts;
        tern_rules_decide(snapshot->view->rules, snapshot->scratch, facts, TERN_VECTOR_WIDTH,
                          verdicts);
        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            check_answer(&requests[i + j], &verdicts[j]);
    }
    return (tern_chain_now_ns() - started) / (count / TERN_VECTOR_WIDTH * TERN_VECTOR_WIDTH);
}

/* Strings point into the requests themselves, so their array stays where it is. */
static struct request *new_requests(uint32_t count)
{
    struct request *requests = calloc(count, sizeof *requests);

    if (requests == NULL)
        abort();
    return requests;
}

/* The first addresses of the ranges in the ASN file. */
static struct tern_address *read_starts(const char *path, uint32_t *count)
{
    char line[256], made_up[128];
    uint32_t capacity = 1u << 20;
    struct tern_address *starts = calloc(capacity, sizeof *starts);
    FILE *file;

    snprintf(made_up, sizeof made_up, "%s/asn.csv", folder);
    file = fopen(path == NULL ? made_up : path, "re");
    if (file == NULL || starts == NULL) {
        perror(path);
        exit(1);
    }
    *count = 0;
    while (*count < capacity && fgets(line, sizeof line, file) != NULL)
        if (tern_address_parse(line, strcspn(line, ","), &starts[*count]) == 0)
            ++*count;
    fclose(file);
    if (*count == 0) {
        fprintf(stderr, "decide: %s: no row start,end,asn\n", path);
        exit(1);
    }
    return starts;
}

static void measure_tables(const struct shape *shape, const char *asn, float *costs)
{
    struct snapshot snapshot;
    struct request *requests = new_requests(shape->decisions);
    double alone_ns[ROUNDS], vector_ns[ROUNDS], load_ns[ROUNDS], loads[ROUNDS];
    double overhead_ns = clock_ns();
    uint64_t seed = 1;
    uint32_t start_count;
    struct tern_address *starts;

    write_keys(shape);
    if (asn == NULL)
        write_ranges(shape);
    write_table_rules(shape, asn);
    open_snapshot(&snapshot, "tables");
    starts = read_starts(asn, &start_count);
    for (uint32_t i = 0; i < shape->decisions; i++)
        draw(&requests[i], shape, starts, start_count, &seed);

    for (unsigned round = 0; round < ROUNDS; round++) {
        load_ns[round] = tern_chain_measure(snapshot.view->bytes, shape->decisions, &checksum);
        decide_alone(&snapshot, requests, shape->decisions, overhead_ns, costs);
        alone_ns[round] = quantile(costs, shape->decisions, 0.5);
        vector_ns[round] = decide_vectors(&snapshot, requests, shape->decisions);
        loads[round] = alone_ns[round] / load_ns[round];
    }
    printf("figure mapping-mib %.1f MiB, %u keys twice, %u ranges, %u rules\n",
           (double)snapshot.view->bytes / (1 << 20), shape->keys, start_count, shape->rules);
    printf("figure load-ns %.1f ns a dependent load over a mapping of that size\n",
           median(load_ns));
    printf("figure decision-ns %.1f ns, median of decisions made one by one\n", median(alone_ns));
    printf("figure decision-loads %.2f dependent loads\n", median(loads));
    printf("figure vector-ns %.1f ns a decision, %u together\n", median(vector_ns),
           TERN_VECTOR_WIDTH);
    close_snapshot(&snapshot);
    free(starts);
    free(requests);
}

static void measure_rules(const struct shape *shape, float *costs)
{
    const char *const names[] = {"few", "many"};
    const uint32_t counts[] = {10, shape->many_rules};
    struct snapshot snapshots[2];
    struct request *requests[2];
    double overhead_ns = clock_ns();
    double p50_ns[2][ROUNDS], p99_ns[2][ROUNDS], ratio[ROUNDS];
    uint64_t seed = 2;

    for (unsigned i = 0; i < 2; i++) {
        char file[32];

        snprintf(file, sizeof file, "%s.yaml", names[i]);
        write_plain_rules(file, counts[i]);
        open_snapshot(&snapshots[i], names[i]);
        requests[i] = new_requests(shape->decisions);
        for (uint32_t j = 0; j < shape->decisions; j++)
            aim(&requests[i][j], (uint32_t)(next_random(&seed) % (counts[i] + 1)), counts[i],
                &seed);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned turn = 0; turn < 2; turn++) {
            unsigned i = (round + turn) % 2;

            decide_alone(&snapshots[i], requests[i], shape->decisions, overhead_ns, costs);
            p50_ns[i][round] = quantile(costs, shape->decisions, 0.5);
            p99_ns[i][round] = quantile(costs, shape->decisions, 0.99);
        }
        ratio[round] = p99_ns[1][round] / p99_ns[0][round];
    }
    printf("figure p50-10-ns %.1f ns\nfigure p99-10-ns %.1f ns\n", median(p50_ns[0]),
           median(p99_ns[0]));
    printf("figure p50-many-ns %.1f ns\nfigure p99-many-ns %.1f ns\n", median(p50_ns[1]),
           median(p99_ns[1]));
    printf("figure p99-ratio %.2f times p99 of %u rules over 10\n", median(ratio), counts[1]);
    for (unsigned i = 0; i < 2; i++) {
        close_snapshot(&snapshots[i]);
        free(requests[i]);
    }
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
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
    strcpy(folder, "/dev/shm/tern-decide-XXXXXX"); /* the arena must be on tmpfs */
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        return 1;
    }
    atexit(remove_folder);
    costs = calloc(shape->decisions, sizeof *costs);
    if (costs == NULL)
        abort();
    measure_tables(shape, asn, costs);
    measure_rules(shape, costs);
    printf("checksum %016llx\n", (unsigned long long)checksum);
    free(costs);
    free((void *)asn);
    return 0;
}
