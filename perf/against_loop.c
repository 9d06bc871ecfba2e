/* Compiled rules against evaluating them one by one, in the same process: the first rule that
 * matches decides. What is compared with is the loop that a careful programmer would write: every
 * condition parsed beforehand into numbers, masks and lengths, the cheapest comparison first, out
 * at the first match; no strings are copied, nothing is allocated. Both answer the same requests
 * and must name the same rule.
 *
 * Usage: against_loop [--small | --quick]. Prints `figure NAME VALUE UNIT` lines, one set for each
 * number of rules, and a checksum. */
#include "perf/chain.h"
#include "perf/snapshot.h"

#define ROUNDS 5

enum kind { NETS, HOST, BEGIN, END, USERS, USERS_AND_BEGIN, KINDS };

struct net {
    uint32_t base, mask;
};

struct condition { /* of one rule */
    enum kind kind;
    struct net nets[2];
    uint64_t first, last;
    uint32_t length;
    char text[SNAPSHOT_TEXT_BYTES];
};

/* The i-th rule, and what an operator writes for it. */
static struct condition make_condition(uint32_t i)
{
    struct condition condition = {.kind = i % KINDS};

    condition.nets[0] = (struct net){0x0a000000u | (i & 0xffff) << 8, 0xffffff00u};
    condition.nets[1] = (struct net){0xac100000u | (i & 0xff) << 12, 0xfffff000u};
    condition.first = i * 1000ull;
    condition.last = condition.first + 499;
    if (condition.kind == HOST)
        snprintf(condition.text, sizeof condition.text, "h%u.example", i);
    else if (condition.kind == END)
        snprintf(condition.text, sizeof condition.text, ".x%u", i);
    else
        snprintf(condition.text, sizeof condition.text, "/area%u/", i);
    condition.length = (uint32_t)strlen(condition.text);
    return condition;
}

static void write_condition(FILE *file, const struct condition *condition, uint32_t i)
{
    switch (condition->kind) {
    case NETS:
        fprintf(file, "ip in {10.%u.%u.0/24, 172.%u.%u.0/20}", i >> 8 & 255, i & 255,
                16 + ((i & 0xff) >> 4), (i & 0xf) << 4);
        break;
    case HOST:
        fprintf(file, "host == \"%s\"", condition->text);
        break;
    case BEGIN:
        fprintf(file, "path starts_with \"%s\"", condition->text);
        break;
    case END:
        fprintf(file, "path ends_with \"%s\"", condition->text);
        break;
    case USERS:
        fprintf(file, "user >= %llu and user <= %llu", (unsigned long long)condition->first,
                (unsigned long long)condition->last);
        break;
    default:
        fprintf(file, "user >= %llu and user <= %llu and path starts_with \"%s\"",
                (unsigned long long)condition->first, (unsigned long long)condition->last,
                condition->text);
        break;
    }
}

static void write_rules(const struct condition *conditions, uint32_t count)
{
    FILE *file = snapshot_create("loop.yaml");

    snapshot_write_head(file);
    fputs("rules:\n", file);
    for (uint32_t i = 0; i < count; i++) {
        fprintf(file, "  - { id: r%u, when: '", i + 1);
        write_condition(file, &conditions[i], i);
        fputs("', then: deny }\n", file);
    }
    fputs("default: allow\n", file);
    snapshot_finish(file);
}

/* ---- One by one ---- */

static inline bool starts_with(const union tern_value *value, const struct condition *condition)
{
    return value->string.length >= condition->length &&
           memcmp(value->string.bytes, condition->text, condition->length) == 0;
}

static inline bool ends_with(const union tern_value *value, const struct condition *condition)
{
    return value->string.length >= condition->length &&
           memcmp(value->string.bytes + value->string.length - condition->length, condition->text,
                  condition->length) == 0;
}

/* Every request here carries every field. */
static inline bool holds(const struct condition *condition, const struct tern_facts *facts)
{
    const union tern_value *values = facts->values;
    uint32_t v4 = (uint32_t)values[SNAPSHOT_IP].address.low;
    uint64_t user = values[SNAPSHOT_USER].u64;

    switch (condition->kind) {
    case NETS:
        return tern_address_is_v4(values[SNAPSHOT_IP].address) &&
               ((v4 & condition->nets[0].mask) == condition->nets[0].base ||
                (v4 & condition->nets[1].mask) == condition->nets[1].base);
    case HOST:
        return values[SNAPSHOT_HOST].string.length == condition->length &&
               memcmp(values[SNAPSHOT_HOST].string.bytes, condition->text, condition->length) == 0;
    case BEGIN:
        return starts_with(&values[SNAPSHOT_PATH], condition);
    case END:
        return ends_with(&values[SNAPSHOT_PATH], condition);
    case USERS:
        return user >= condition->first && user <= condition->last;
    default:
        return user >= condition->first && user <= condition->last &&
               starts_with(&values[SNAPSHOT_PATH], condition);
    }
}

static uint32_t one_by_one(const struct condition *conditions, uint32_t count,
                           const struct tern_facts *facts)
{
    for (uint32_t i = 0; i < count; i++)
        if (holds(&conditions[i], facts))
            return i + 1;
    return 0;
}

/* ---- Requests ---- */

/* Aimed at a uniform rule, or at the default. */
static void aim(struct snapshot_request *request, const struct condition *conditions,
                uint32_t count, uint64_t *seed)
{
    uint32_t target = (uint32_t)(program_random(seed) % (count + 1));
    struct tern_address address =
        tern_address_from_v4(0xc0000200u | (uint32_t)(program_random(seed) & 255));
    uint64_t user = 900 + program_random(seed) % 99;

    memset(request, 0, sizeof *request);
    snprintf(request->host, SNAPSHOT_TEXT_BYTES, "www%u.test",
             (unsigned)(program_random(seed) % 1000));
    snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/other/%u/index.html",
             (unsigned)(program_random(seed) % 100000));
    if (target < count) {
        const struct condition *condition = &conditions[target];

        if (condition->kind == NETS)
            address = tern_address_from_v4(condition->nets[0].base |
                                           (uint32_t)(program_random(seed) & 255));
        else if (condition->kind == HOST)
            strcpy(request->host, condition->text);
        else if (condition->kind == END)
            snprintf(request->path, SNAPSHOT_TEXT_BYTES, "/other/page%.16s", condition->text);
        else if (condition->kind == USERS)
            user = condition->first + program_random(seed) % 500;
        if (condition->kind == BEGIN || condition->kind == USERS_AND_BEGIN)
            snprintf(request->path, SNAPSHOT_TEXT_BYTES, "%.20sindex.html", condition->text);
        if (condition->kind == USERS_AND_BEGIN)
            user = condition->first + program_random(seed) % 500;
    }
    snapshot_set_rest(request, address, user);
}

/* ---- Measuring ---- */

struct sides {
    struct snapshot snapshot;
    struct condition *conditions;
    uint32_t rule_count;
    struct snapshot_request *requests;
    uint32_t request_count;
};

static double time_tern(struct sides *sides, uint64_t *sum)
{
    double started = tern_chain_now_ns();

    for (uint32_t i = 0; i < sides->request_count; i++) {
        const struct tern_facts *facts = &sides->requests[i].facts;
        struct tern_verdict verdict;

        tern_rules_decide(sides->snapshot.view->rules, sides->snapshot.scratch, &facts, 1,
                          &verdict);
        *sum += program_mix(verdict.rule ^ (uint64_t)i << 32);
    }
    return (tern_chain_now_ns() - started) / sides->request_count;
}

static double time_loop(struct sides *sides, uint64_t *sum)
{
    double started = tern_chain_now_ns();

    for (uint32_t i = 0; i < sides->request_count; i++)
        *sum += program_mix(
            one_by_one(sides->conditions, sides->rule_count, &sides->requests[i].facts) ^
            (uint64_t)i << 32);
    return (tern_chain_now_ns() - started) / sides->request_count;
}

static uint64_t measure(uint32_t rule_count, uint32_t request_count)
{
    struct sides sides = {.rule_count = rule_count, .request_count = request_count};
    double tern[ROUNDS], loop[ROUNDS], ratio[ROUNDS];
    uint64_t seed = rule_count, sum = 0;

    sides.conditions = calloc(rule_count, sizeof *sides.conditions);
    sides.requests = snapshot_requests_new(request_count);
    if (sides.conditions == NULL)
        abort();
    for (uint32_t i = 0; i < rule_count; i++)
        sides.conditions[i] = make_condition(i);
    write_rules(sides.conditions, rule_count);
    snapshot_open(&sides.snapshot, snapshot_path("loop", ".yaml"), "loop");
    for (uint32_t i = 0; i < request_count; i++)
        aim(&sides.requests[i], sides.conditions, rule_count, &seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t sums[2] = {0, 0};

        tern[round] = time_tern(&sides, &sums[0]);
        loop[round] = time_loop(&sides, &sums[1]);
        ratio[round] = loop[round] / tern[round];
        if (sums[0] != sums[1])
            program_fail("rules", "those that decide differ");
        sum = sums[0];
    }
    printf("figure loop-ns-%u %.1f ns a decision, rules one by one\n", rule_count,
           program_median(loop, ROUNDS));
    printf("figure tern-ns-%u %.1f ns a decision\n", rule_count, program_median(tern, ROUNDS));
    printf("figure ratio-%u %.2f times as fast\n", rule_count, program_median(ratio, ROUNDS));
    snapshot_close(&sides.snapshot);
    free(sides.requests);
    free(sides.conditions);
    return sum;
}

int main(int argc, char **argv)
{
    static const uint32_t full[] = {10, 100, 1000, 10000};
    bool is_small = argc == 2 && strcmp(argv[1], "--small") == 0;
    bool is_quick = argc == 2 && strcmp(argv[1], "--quick") == 0;
    uint32_t most = is_small ? 100 : is_quick ? 1000 : 10000;
    uint32_t requests = is_small ? 1u << 9 : is_quick ? 1u << 12 : 1u << 14;
    uint64_t checksum = 0;

    if (argc > 1 && !is_small && !is_quick) {
        fprintf(stderr, "usage: against_loop [--small | --quick]\n");
        return 2;
    }
    snapshot_start();
    for (unsigned i = 0; i < TERN_COUNT(full); i++)
        if (full[i] <= most)
            checksum += measure(full[i], requests);
    printf("checksum %016llx\n", (unsigned long long)checksum);
    return 0;
}
