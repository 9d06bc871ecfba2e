/* Micro benchmark of the units (DESIGN 5.1): decisions over rules that all ask the same kind of
 * thing, so that what is seen is one unit, its rows and little else. Nanoseconds a decision made
 * alone and with 32 together, and the same in dependent loads over a mapping of the snapshot's
 * size, measured in the same run. Every answer is compared with the rule that was to decide.
 *
 * Usage: units [--small]. Prints `figure NAME-one`, `figure NAME-vector` lines and a checksum. */
#include "perf/chain.h"
#include "perf/snapshot.h"

#define ROBOTS 200u /* patterns of the set */
#define ROUNDS 5    /* the fastest counts: whatever else the machine did only ever adds */

struct shape {
    uint32_t rules;
    uint32_t keys; /* of the tables */
    uint32_t requests;
};

static const struct shape full = {1000, 200000, 1u << 15};
static const struct shape small = {30, 500, 1u << 9};

/* One kind: what its i-th rule says, and the request that this rule decides. */
struct kind {
    const char *name;
    bool one_rule; /* a table answers for all its keys at once */
    void (*write_rule)(FILE *file, uint32_t i);
    void (*aim)(struct snapshot_request *request, uint32_t i);
};

/* A request without what any rule asks for. */
static void blank(struct snapshot_request *request, uint64_t *seed)
{
    uint64_t chance = program_random(seed);

    memset(request, 0, sizeof *request);
    snprintf(request->host, SNAPSHOT_TEXT_BYTES, "www%u.test", (unsigned)(chance % 5000));
    snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/none/%u/index.html", (unsigned)(chance % 70000));
    snprintf(request->token, SNAPSHOT_TEXT_BYTES, "none-%016llx", (unsigned long long)chance);
    snapshot_set_rest(request, tern_address_from_v4(0xc0000200u | (chance & 255)),
                      1ull << 62 | chance);
}

static void set_address(struct snapshot_request *request, struct tern_address address)
{
    request->values[SNAPSHOT_IP].address = address;
}

/* ---- The kinds ---- */

static void write_number(FILE *file, uint32_t i)
{
    fprintf(file, "user >= %u000 and user <= %u499", i, i);
}

static void aim_number(struct snapshot_request *request, uint32_t i)
{
    request->values[SNAPSHOT_USER].u64 = i * 1000ull + i % 500;
}

static void write_v4(FILE *file, uint32_t i)
{
    fprintf(file, "ip in {10.%u.%u.0/24}", i >> 8, i & 255);
}

static void aim_v4(struct snapshot_request *request, uint32_t i)
{
    set_address(request, tern_address_from_v4(0x0a000000u | i << 8 | i % 256));
}

static void write_v6(FILE *file, uint32_t i)
{
    fprintf(file, "ip in {2001:db8:%x::/48}", i);
}

static void aim_v6(struct snapshot_request *request, uint32_t i)
{
    set_address(request, (struct tern_address){0x20010db800000000u | (uint64_t)i << 16 | i, i});
}

static void write_equal(FILE *file, uint32_t i)
{
    fprintf(file, "host == \"h%u.example\"", i);
}

static void aim_equal(struct snapshot_request *request, uint32_t i)
{
    snprintf(request->host, SNAPSHOT_TEXT_BYTES, "h%u.example", i);
    snapshot_set_string(request, SNAPSHOT_HOST, request->host);
}

static void write_begin(FILE *file, uint32_t i)
{
    fprintf(file, "path starts_with \"/area%u/\"", i);
}

static void aim_begin(struct snapshot_request *request, uint32_t i)
{
    snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/area%u/index.html", i);
    snapshot_set_string(request, SNAPSHOT_PATH, request->path);
}

static void write_end(FILE *file, uint32_t i)
{
    fprintf(file, "path ends_with \".x%u\"", i);
}

static void aim_end(struct snapshot_request *request, uint32_t i)
{
    snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/other/page.x%u", i);
    snapshot_set_string(request, SNAPSHOT_PATH, request->path);
}

static void write_presence(FILE *file, uint32_t i)
{
    (void)i;
    fputs("exists(token)", file);
}

static void set_token(struct snapshot_request *request)
{
    snapshot_set_string(request, SNAPSHOT_TOKEN, request->token);
}

static void aim_presence(struct snapshot_request *request, uint32_t i)
{
    (void)i;
    set_token(request);
}

static void write_exact_text(FILE *file, uint32_t i)
{
    (void)i;
    fputs("token in $tokens", file);
}

static void aim_exact_text(struct snapshot_request *request, uint32_t i)
{
    snprintf(request->token, SNAPSHOT_TEXT_BYTES, "tok-%016llx",
             (unsigned long long)program_mix(i));
    set_token(request);
}

static void write_map(FILE *file, uint32_t i)
{
    fprintf(file, "users.group == %u", i);
}

static void aim_map(struct snapshot_request *request, uint32_t i)
{
    request->values[SNAPSHOT_USER].u64 = i; /* whose group it is */
}

static void write_prefix_set(FILE *file, uint32_t i)
{
    (void)i;
    fputs("ip in $nets", file);
}

static void aim_prefix_set(struct snapshot_request *request, uint32_t i)
{
    set_address(request, tern_address_from_v4(0x0b000000u + (i << 8) + i % 128));
}

static void write_domain(FILE *file, uint32_t i)
{
    (void)i;
    fputs("host in $names", file);
}

static void aim_domain(struct snapshot_request *request, uint32_t i)
{
    snprintf(request->host, SNAPSHOT_TEXT_BYTES, "a.b.s%u.example", i);
    snapshot_set_string(request, SNAPSHOT_HOST, request->host);
}

static void write_contains(FILE *file, uint32_t i)
{
    fprintf(file, "path contains \"needle%u-\"", i);
}

static void aim_contains(struct snapshot_request *request, uint32_t i)
{
    snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/other/needle%u-/index", i);
    snapshot_set_string(request, SNAPSHOT_PATH, request->path);
}

static void write_matches(FILE *file, uint32_t i)
{
    fprintf(file, "path matches r\"/v[0-9]+/item%u(/|$)\"", i);
}

static void aim_matches(struct snapshot_request *request, uint32_t i)
{
    snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/v%u/item%u/page", i % 90, i);
    snapshot_set_string(request, SNAPSHOT_PATH, request->path);
}

static void write_pattern_set(FILE *file, uint32_t i)
{
    (void)i;
    fputs("token matches $robots", file);
}

static void aim_pattern_set(struct snapshot_request *request, uint32_t i)
{
    snprintf(request->token, SNAPSHOT_TEXT_BYTES, "Agent/2.%u robot%u spider", i % 10, i % ROBOTS);
    set_token(request);
}

static const struct kind kinds[] = {
    {"number", false, write_number, aim_number},
    {"address-v4", false, write_v4, aim_v4},
    {"address-v6", false, write_v6, aim_v6},
    {"equal", false, write_equal, aim_equal},
    {"starts-with", false, write_begin, aim_begin},
    {"ends-with", false, write_end, aim_end},
    {"presence", true, write_presence, aim_presence},
    {"exact-set", true, write_exact_text, aim_exact_text},
    {"map", false, write_map, aim_map},
    {"prefix-set", true, write_prefix_set, aim_prefix_set},
    {"domain-set", true, write_domain, aim_domain},
    {"contains", false, write_contains, aim_contains},
    {"matches", false, write_matches, aim_matches},
    {"pattern-set", true, write_pattern_set, aim_pattern_set},
};

/* ---- Files ---- */

static void write_tables(const struct shape *shape)
{
    FILE *tokens = snapshot_create("tokens.txt"), *users = snapshot_create("users.csv");
    FILE *nets = snapshot_create("nets.txt"), *names = snapshot_create("names.txt");
    FILE *robots = snapshot_create("robots.txt");

    fputs("id,group\n", users);
    for (uint32_t i = 0; i < shape->keys; i++) {
        fprintf(tokens, "tok-%016llx\n", (unsigned long long)program_mix(i));
        fprintf(users, "%u,%u\n", i, i % shape->rules);
        fprintf(nets, "%u.%u.%u.0/25\n", 11 + (i >> 16), i >> 8 & 255, i & 255);
        fprintf(names, "s%u.example\n", i);
    }
    for (uint32_t i = 0; i < ROBOTS; i++)
        fprintf(robots, "[Rr]obot%u[ /]\n", i);
    snapshot_finish(robots);
    snapshot_finish(tokens);
    snapshot_finish(users);
    snapshot_finish(nets);
    snapshot_finish(names);
}

static void write_config(const struct kind *kind, uint32_t rules)
{
    static const char *const tables[][2] = {
        {"exact-set", "  tokens: { type: exact_set, of: string, source: tokens.txt }\n"},
        {"map", "  users: { type: exact_map, by: user, key: id, source: users.csv, "
                "columns: { group: u32 } }\n"},
        {"prefix-set", "  nets: { type: prefix_set, source: nets.txt }\n"},
        {"domain-set", "  names: { type: domain_set, source: names.txt }\n"},
        {"pattern-set", "  robots: { type: pattern_set, source: robots.txt }\n"},
    };
    FILE *file = snapshot_create("units.yaml");

    snapshot_write_head(file);
    for (unsigned i = 0; i < TERN_COUNT(tables); i++)
        if (strcmp(tables[i][0], kind->name) == 0)
            fprintf(file, "tables:\n%s", tables[i][1]);
    fputs("rules:\n", file);
    for (uint32_t i = 0; i < rules; i++) {
        fprintf(file, "  - { id: r%u, when: '", i + 1);
        kind->write_rule(file, i);
        fputs("', then: deny }\n", file);
    }
    fputs("default: allow\n", file);
    snapshot_finish(file);
}

/* ---- Measuring ---- */

static double time_decisions(struct snapshot *snapshot, const struct snapshot_request *requests,
                             uint32_t count, unsigned together)
{
    double started = tern_chain_now_ns();

    for (uint32_t i = 0; i + together <= count; i += together) {
        const struct tern_facts *facts[TERN_VECTOR_WIDTH];
        struct tern_verdict verdicts[TERN_VECTOR_WIDTH];

        for (unsigned j = 0; j < together; j++)
            facts[j] = &requests[i + j].facts;
        tern_rules_decide(snapshot->view->rules, snapshot->scratch, facts, together, verdicts);
        for (unsigned j = 0; j < together; j++)
            snapshot_check(&requests[i + j], &verdicts[j]);
    }
    return (tern_chain_now_ns() - started) / (double)(count - count % together);
}

static void measure(const struct kind *kind, const struct shape *shape)
{
    uint32_t rules = kind->one_rule ? 1 : shape->rules;
    struct snapshot_request *requests = snapshot_requests_new(shape->requests);
    double one = 0, vector = 0, load = 0;
    struct snapshot snapshot;
    uint64_t seed = 1;

    write_config(kind, rules);
    snapshot_open(&snapshot, snapshot_path("units", ".yaml"), kind->name);
    for (uint32_t i = 0; i < shape->requests; i++) {
        uint64_t chance = program_random(&seed);
        uint32_t target = (uint32_t)(chance % (kind->one_rule ? shape->keys : rules));
        bool hit = chance >> 63 != 0;

        blank(&requests[i], &seed);
        if (hit)
            kind->aim(&requests[i], target);
        requests[i].rule = !hit ? 0 : kind->one_rule ? 1 : target + 1;
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        double ns[3] = {
            tern_chain_measure(snapshot.view->bytes, shape->requests, snapshot_checksum()),
            time_decisions(&snapshot, requests, shape->requests, 1),
            time_decisions(&snapshot, requests, shape->requests, TERN_VECTOR_WIDTH),
        };

        load = round == 0 || ns[0] < load ? ns[0] : load;
        one = round == 0 || ns[1] < one ? ns[1] : one;
        vector = round == 0 || ns[2] < vector ? ns[2] : vector;
    }
    printf("figure %s-one %.1f ns, %.2f loads of %.1f ns over %.2f MiB\n", kind->name, one,
           one / load, load, (double)snapshot.view->bytes / (1 << 20));
    printf("figure %s-vector %.1f ns, %.2f loads\n", kind->name, vector, vector / load);
    snapshot_close(&snapshot);
    free(requests);
}

int main(int argc, char **argv)
{
    const struct shape *shape = argc > 1 && strcmp(argv[1], "--small") == 0 ? &small : &full;

    if (argc > 2 || (argc == 2 && shape == &full)) {
        fprintf(stderr, "usage: units [--small]\n");
        return 2;
    }
    snapshot_start();
    write_tables(shape);
    for (unsigned i = 0; i < TERN_COUNT(kinds); i++)
        measure(&kinds[i], shape);
    printf("checksum %016llx\n", (unsigned long long)*snapshot_checksum());
    return 0;
}
