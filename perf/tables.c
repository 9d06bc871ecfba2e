/* Micro benchmark of the packed tables: nanoseconds per look-up, and the same in dependent loads
 * over a mapping of the table's size (perf/chain.h), measured in the same run.
 *
 * "one": a look-up starts when the one before has answered, as for a request that comes alone.
 * "vector": 32 keys are hashed and prefetched together, then found, as for requests that arrive
 * together. Keys are drawn uniformly.
 *
 * Usage: tables [--small]. Prints a checksum over all answers; the same input gives the same one.
 */
#include "controlplane/build/table.h"
#include "perf/chain.h"
#include "perf/program.h"
#include "shared/limits.h"

struct shape {
    uint32_t exact_keys;
    uint32_t v4_ranges, v6_ranges;
    uint32_t names;
    uint32_t queries; /* a power of two */
};

static const struct shape full = {1000000, 400000, 100000, 500000, 1u << 20};
static const struct shape small = {2000, 3000, 1000, 2000, 1u << 12};

#define ROUNDS 5 /* the fastest counts: whatever else the machine did only ever adds */

static uint64_t checksum;

/* `value`, but not before `answer` is known: the compiler cannot tell that nothing is added. */
static inline uint64_t after(uint64_t value, uint64_t answer)
{
    __asm__("" : "+r"(answer));
    return value + (answer >> 40);
}

static void check(int status)
{
    if (status != 0)
        program_fail("table", tern_error_text(status));
}

/* Finishes and opens; returns the section, for the caller to free once the table is done with. */
static uint8_t *finish(struct tern_table_builder *builder, struct tern_table *table, size_t *bytes,
                       const char *name)
{
    struct tern_build_report report;
    struct tern_buffer buffer = {0};
    struct tern_error error;
    double started = tern_chain_now_ns(), built;
    size_t length;
    uint8_t *section;

    check(tern_table_builder_finish(builder, &buffer, &report, NULL, NULL, &error));
    built = tern_chain_now_ns();
    tern_table_builder_free(builder);
    length = buffer.length;
    section = program_memory(length);
    memcpy(section, buffer.data, length);
    tern_buffer_free(&buffer);
    printf("%s: %llu keys, %.2f MiB, %.2f bytes a key, packed in %.0f ms\n", name,
           (unsigned long long)report.keys, (double)length / (1 << 20),
           (double)length / (double)report.keys, (built - started) / 1e6);
    check(tern_table_open(table, section, length, NULL));
    *bytes = length;
    return section;
}

static struct tern_table_builder *new_builder(enum tern_table_kind kind, enum tern_type key_type)
{
    static const struct tern_build_column column = {"number", TERN_TYPE_U32, 0};
    const struct tern_table_definition definition = {
        .kind = kind,
        .key_type = key_type,
        .columns = &column,
        .column_count = kind == TERN_TABLE_EXACT_MAP || kind == TERN_TABLE_PREFIX_MAP,
        .seed = 42,
    };
    struct tern_table_builder *builder = NULL;

    check(tern_table_builder_new(&builder, &definition, NULL));
    return builder;
}

struct run { /* what one measurement looks up, and where */
    const struct tern_table *table;
    const void *keys;
    uint32_t queries;
};

/* Runs `body`, which looks all keys up and returns the sum of the answers. */
static void measure(const char *name, uint64_t (*body)(const struct run *run),
                    const struct run *run, double chain_ns)
{
    double best = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        double started = tern_chain_now_ns(), ns;

        checksum += body(run);
        ns = (tern_chain_now_ns() - started) / run->queries;
        if (round == 0 || ns < best)
            best = ns;
    }
    printf("  %-32s %7.1f ns %6.2f loads\n", name, best, best / chain_ns);
}

static double chain(size_t bytes, uint32_t queries)
{
    double best = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        double ns = tern_chain_measure(bytes, queries, &checksum);

        if (round == 0 || ns < best)
            best = ns;
    }
    printf("  %-32s %7.1f ns\n", "one dependent load", best);
    return best;
}

/* ---- exact ----------------------------------------------------------------------------------- */

static uint64_t exact_one(const struct run *run)
{
    const struct tern_exact *exact = &run->table->exact;
    const uint64_t *keys = run->keys;
    uint64_t sum = 0, last = 0;

    for (uint32_t i = 0; i < run->queries; i++) {
        uint64_t key = after(keys[i], last);

        last = tern_exact_find(exact, tern_exact_hash(exact, &key, sizeof key));
        sum += last;
    }
    return sum;
}

static uint64_t exact_vector(const struct run *run)
{
    const struct tern_exact *exact = &run->table->exact;
    const uint64_t *keys = run->keys;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < run->queries; i += TERN_VECTOR_WIDTH) {
        uint64_t hash[TERN_VECTOR_WIDTH];

        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++) {
            hash[j] = tern_exact_hash(exact, &keys[i + j], sizeof *keys);
            tern_exact_prefetch(exact, hash[j]);
        }
        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            sum += tern_exact_find(exact, hash[j]);
    }
    return sum;
}

static void run_exact(const struct shape *shape, enum tern_table_kind kind)
{
    struct tern_table_builder *builder = new_builder(kind, TERN_TYPE_U64);
    uint64_t *keys = program_memory(shape->queries * sizeof *keys), seed = 1;
    struct tern_table table;
    const struct run run = {&table, keys, shape->queries};
    double chain_ns;
    size_t bytes;
    uint8_t *section;

    for (uint32_t i = 0; i < shape->exact_keys; i++) {
        const union tern_value key = {.u64 = i * 2654435761ull}, cell = {.u64 = i};
        check(tern_table_builder_add(builder, &key, &cell, 1));
    }
    section = finish(builder, &table, &bytes, tern_table_kind_name(kind));
    chain_ns = chain(bytes, shape->queries);
    for (uint32_t i = 0; i < shape->queries; i++)
        keys[i] = program_random(&seed) % shape->exact_keys * 2654435761ull;
    measure("hit, one", exact_one, &run, chain_ns);
    measure("hit, vector", exact_vector, &run, chain_ns);
    for (uint32_t i = 0; i < shape->queries; i++)
        keys[i] = program_random(&seed) | 1ull << 63;
    measure("miss, one", exact_one, &run, chain_ns);
    measure("miss, vector", exact_vector, &run, chain_ns);
    free(keys);
    free(section);
}

/* ---- prefix ---------------------------------------------------------------------------------- */

static uint64_t prefix_one(const struct run *run)
{
    const struct tern_address *addresses = run->keys;
    uint64_t sum = 0, last = 0;

    for (uint32_t i = 0; i < run->queries; i++) {
        struct tern_address address = addresses[i];

        address.low = after(address.low, last);
        address.high = after(address.high, last);
        last = tern_prefix_find(&run->table->prefix, address);
        sum += last;
    }
    return sum;
}

static uint64_t prefix_vector(const struct run *run)
{
    const struct tern_address *addresses = run->keys;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < run->queries; i += TERN_VECTOR_WIDTH) {
        uint32_t values[TERN_VECTOR_WIDTH];

        tern_prefix_find_vector(&run->table->prefix, addresses + i, TERN_VECTOR_WIDTH, values);
        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            sum += values[j];
    }
    return sum;
}

/* Sizes as in a routing table: IPv4 /16 … /24, most of them small; IPv6 /29 … /48. */
static struct tern_address_range random_range(bool v6, uint64_t *seed)
{
    uint64_t random = program_random(seed);
    struct tern_address_range range;

    if (v6) {
        unsigned length = (unsigned)(random % 4 == 0 ? 29 + random / 4 % 4 : 33 + random / 4 % 16);
        uint64_t block = 0x2400 + random / 64 % 8 * 0x100 + random / 512 % 16;

        range.first.high = block << 48 | (program_random(seed) & 0xffffffffffff);
        range.first.high &= ~(UINT64_MAX >> length);
        range.first.low = 0;
        range.last.high = range.first.high | UINT64_MAX >> length;
        range.last.low = UINT64_MAX;
    } else {
        unsigned length = 24 - (unsigned)__builtin_ctz((unsigned)(random >> 40) | 1u << 8);
        uint32_t first = (uint32_t)random & ~(UINT32_MAX >> length);

        range.first = tern_address_from_v4(first);
        range.last = tern_address_from_v4(first | UINT32_MAX >> length);
    }
    return range;
}

static void run_prefix(const struct shape *shape)
{
    struct tern_table_builder *builder = new_builder(TERN_TABLE_PREFIX_MAP, TERN_TYPE_IP);
    uint32_t count = shape->v4_ranges + shape->v6_ranges;
    struct tern_address_range *ranges = program_memory(count * sizeof *ranges);
    struct tern_address *addresses = program_memory(shape->queries * sizeof *addresses);
    struct tern_table table;
    const struct run run = {&table, addresses, shape->queries};
    uint64_t seed = 2;
    double chain_ns;
    size_t bytes;
    uint8_t *section;

    for (uint32_t i = 0; i < count; i++) {
        const union tern_value cell = {.u64 = program_random(&seed) % 80000};

        ranges[i] = random_range(i >= shape->v4_ranges, &seed);
        check(tern_table_builder_add_range(builder, &ranges[i], &cell, 1));
    }
    section = finish(builder, &table, &bytes, "prefix_map");
    chain_ns = chain(bytes, shape->queries);
    for (uint32_t i = 0; i < shape->queries; i++)
        addresses[i] = tern_address_from_v4((uint32_t)program_random(&seed));
    measure("IPv4, any address, one", prefix_one, &run, chain_ns);
    measure("IPv4, any address, vector", prefix_vector, &run, chain_ns);
    for (uint32_t i = 0; i < shape->queries; i++) {
        addresses[i] = ranges[shape->v4_ranges + program_random(&seed) % shape->v6_ranges].first;
        addresses[i].high += program_random(&seed) & 0xffff;
        addresses[i].low = program_random(&seed);
    }
    measure("IPv6, in or near ranges, one", prefix_one, &run, chain_ns);
    measure("IPv6, in or near ranges, vector", prefix_vector, &run, chain_ns);
    free(addresses);
    free(ranges);
    free(section);
}

/* ---- domains --------------------------------------------------------------------------------- */

struct host {
    uint8_t length;
    uint8_t name[63];
};

/* Host `number` below 2 × names: the first half are known. */
static struct host make_host(uint32_t number)
{
    static const char *const tops[] = {"com", "net", "org", "co.uk"};
    uint64_t seed = number;
    struct host host;

    host.length = (uint8_t)snprintf((char *)host.name, sizeof host.name, "s%llx-%x.%s",
                                    (unsigned long long)program_random(&seed) % 0xffffff, number,
                                    tops[number % 4]);
    return host;
}

static uint64_t domain_one(const struct run *run)
{
    const struct host *hosts = run->keys;
    uint64_t sum = 0, last = 0;

    for (uint32_t i = 0; i < run->queries; i++) {
        const struct host *host = &hosts[after(i, last)];
        uint64_t hashes[TERN_DOMAIN_LABELS_MAX];
        unsigned count =
            tern_domain_prefetch(&run->table->domain, host->name, host->length, hashes);

        last = tern_domain_find(&run->table->domain, hashes, count);
        sum += last;
    }
    return sum;
}

static uint64_t domain_vector(const struct run *run)
{
    const struct tern_domain *domain = &run->table->domain;
    const struct host *hosts = run->keys;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < run->queries; i += TERN_VECTOR_WIDTH) {
        uint64_t hashes[TERN_VECTOR_WIDTH][TERN_DOMAIN_LABELS_MAX];
        unsigned counts[TERN_VECTOR_WIDTH];

        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            counts[j] =
                tern_domain_prefetch(domain, hosts[i + j].name, hosts[i + j].length, hashes[j]);
        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            sum += tern_domain_find(domain, hashes[j], counts[j]);
    }
    return sum;
}

static void run_domain(const struct shape *shape)
{
    struct tern_table_builder *builder = new_builder(TERN_TABLE_DOMAIN_SET, TERN_TYPE_STRING);
    struct host *hosts = program_memory(shape->queries * sizeof *hosts);
    struct tern_table table;
    const struct run run = {&table, hosts, shape->queries};
    uint64_t seed = 3;
    double chain_ns;
    size_t bytes;
    uint8_t *section;

    for (uint32_t i = 0; i < shape->names; i++) {
        struct host host = make_host(i);
        const union tern_value key = {.string = {host.name, host.length}};
        check(tern_table_builder_add(builder, &key, NULL, 0));
    }
    section = finish(builder, &table, &bytes, "domain_set");
    chain_ns = chain(bytes, shape->queries);
    for (uint32_t i = 0; i < shape->queries; i++) {
        struct host host = make_host((uint32_t)(program_random(&seed) % (2 * shape->names)));
        hosts[i].length = (uint8_t)snprintf((char *)hosts[i].name, sizeof hosts[i].name, "www.%s",
                                            (const char *)host.name);
    }
    measure("half of them hits, one", domain_one, &run, chain_ns);
    measure("half of them hits, vector", domain_vector, &run, chain_ns);
    free(hosts);
    free(section);
}

int main(int argc, char **argv)
{
    const struct shape *shape = argc > 1 && strcmp(argv[1], "--small") == 0 ? &small : &full;

    if (argc > 2 || (argc == 2 && shape == &full)) {
        fprintf(stderr, "usage: tables [--small]\n");
        return 2;
    }
    run_exact(shape, TERN_TABLE_EXACT_SET);
    run_exact(shape, TERN_TABLE_EXACT_MAP);
    run_prefix(shape);
    run_domain(shape);
    printf("checksum %016llx\n", (unsigned long long)checksum);
    return 0;
}
