/* A prefix map of autonomous systems against libmaxminddb, in one process, on the same ranges:
 * which number does this address belong to? The database is written from the very segments that the
 * table is packed from (perf/mmdb.c); both are asked about the same random addresses inside random
 * ranges, in turn, and must agree on each.
 *
 * One look-up is, of tern, tern_prefix_find and the column's value from the record; of
 * libmaxminddb, MMDB_lookup_sockaddr and MMDB_get_value of the number. Both begin with the address
 * in the form that they take, ready in memory. "vector" is what a request loop does: 32 addresses
 * at once.
 *
 * Usage: against_mmdb [--small | --quick] [--asn FILE.csv]. FILE has a header and rows
 * start,end,asn; without it ranges are made up. Prints `figure NAME VALUE UNIT` lines and a
 * checksum over all answers. */
#include "controlplane/build/table.h"
#include "perf/chain.h"
#include "perf/mmdb.h"
#include "perf/snapshot.h"
#include "shared/limits.h"

#include <arpa/inet.h>
#include <maxminddb.h>

#define ROUNDS 7

struct world {
    struct tern_address_range *ranges;
    uint32_t *numbers;
    uint32_t range_count;
    struct tern_table table;
    void *section;
    MMDB_s mmdb;
    /* the questions, in both forms */
    struct tern_address *addresses;
    struct sockaddr_storage *sockaddrs;
    uint32_t query_count;
};

/* ---- Ranges ---- */

static void read_ranges(struct world *world, const char *path)
{
    FILE *file = fopen(path, "re");
    uint32_t capacity = 1u << 20;
    char line[512];

    if (file == NULL)
        program_fail(path, "cannot be opened");
    world->ranges = program_memory(capacity * sizeof *world->ranges);
    world->numbers = program_memory(capacity * sizeof *world->numbers);
    while (world->range_count < capacity && fgets(line, sizeof line, file) != NULL) {
        struct tern_address_range *range = &world->ranges[world->range_count];
        size_t first = strcspn(line, ","), last;
        char *second = line + first + 1;

        if (line[first] != ',' || tern_address_parse(line, first, &range->first) != 0)
            continue; /* the header */
        last = strcspn(second, ",");
        if (second[last] != ',' || tern_address_parse(second, last, &range->last) != 0)
            program_fail(path, "a row is not start,end,asn");
        world->numbers[world->range_count++] = (uint32_t)strtoul(second + last + 1, NULL, 10);
    }
    fclose(file);
    if (world->range_count == 0)
        program_fail(path, "no row start,end,asn");
}

/* Adjacent /24 … /20 with gaps, and IPv6 /32 … /48. */
static void make_ranges(struct world *world, uint32_t count)
{
    uint64_t seed = 7;
    uint32_t v4 = 0x01000000u;

    world->ranges = program_memory(count * sizeof *world->ranges);
    world->numbers = program_memory(count * sizeof *world->numbers);
    for (uint32_t i = 0; i < count; i++) {
        struct tern_address_range *range = &world->ranges[i];
        uint64_t chance = program_random(&seed);

        if (i % 5 != 0) {
            uint32_t size = 256u << chance % 5;

            range->first = tern_address_from_v4(v4);
            range->last = tern_address_from_v4(v4 + size - 1);
            v4 += size + 256 * (chance >> 32 & 1);
        } else {
            range->first.high = 0x2400000000000000u + ((uint64_t)i << 32);
            range->first.low = 0;
            range->last.high = range->first.high | UINT64_MAX >> (32 + chance % 17);
            range->last.low = UINT64_MAX;
        }
        world->numbers[i] = 1 + (uint32_t)(chance >> 40) % 65000;
    }
    world->range_count = count;
}

/* ---- Both sides ---- */

static void build_table(struct world *world)
{
    static const struct tern_build_column column = {"number", TERN_TYPE_U32, 0};
    const struct tern_table_definition definition = {
        .kind = TERN_TABLE_PREFIX_MAP,
        .key_type = TERN_TYPE_IP,
        .columns = &column,
        .column_count = 1,
        .seed = 42,
    };
    struct tern_table_builder *builder = NULL;
    struct tern_build_report report;
    struct tern_buffer buffer = {0};
    struct tern_error error;

    if (tern_table_builder_new(&builder, &definition, &error) != 0)
        program_fail("table", error.message);
    for (uint32_t i = 0; i < world->range_count; i++) {
        const union tern_value cell = {.u64 = world->numbers[i]};

        if (tern_table_builder_add_range(builder, &world->ranges[i], &cell, 1) != 0)
            program_fail("table", "a range is refused");
    }
    if (tern_table_builder_finish(builder, &buffer, &report, NULL, NULL, &error) != 0)
        program_fail("table", error.message);
    tern_table_builder_free(builder);
    world->section = program_memory(buffer.length);
    memcpy(world->section, buffer.data, buffer.length);
    if (tern_table_open(&world->table, world->section, buffer.length, &error) != 0)
        program_fail("table", error.message);
    printf("figure tern-mib %.2f MiB, %u ranges\n", (double)buffer.length / (1 << 20),
           world->range_count);
    tern_buffer_free(&buffer);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return left < right ? -1 : left > right;
}

static void build_mmdb(struct world *world)
{
    struct tern_prefix_builder builder = {0};
    struct tern_error error;
    const char *path = snapshot_path("asn", ".mmdb");
    uint32_t *distinct = program_memory(world->range_count * sizeof *distinct), count = 0;
    size_t bytes;
    int code;

    memcpy(distinct, world->numbers, world->range_count * sizeof *distinct);
    qsort(distinct, world->range_count, sizeof *distinct, compare_numbers);
    for (uint32_t i = 0; i < world->range_count; i++)
        if (count == 0 || distinct[i] != distinct[count - 1])
            distinct[count++] = distinct[i];
    for (uint32_t i = 0; i < world->range_count; i++) {
        const uint32_t *place =
            bsearch(&world->numbers[i], distinct, count, sizeof *distinct, compare_numbers);

        if (tern_prefix_builder_add(&builder, &world->ranges[i], (uint32_t)(place - distinct)) != 0)
            program_fail("database", "a range is refused");
    }
    if (tern_prefix_builder_resolve(&builder) != 0)
        program_fail("database", "no memory");
    if (mmdb_write(&builder, distinct, count, path, &bytes, &error) != 0)
        program_fail("database", error.message);
    tern_prefix_builder_free(&builder);
    free(distinct);
    code = MMDB_open(path, MMDB_MODE_MMAP, &world->mmdb);
    if (code != MMDB_SUCCESS)
        program_fail("database", MMDB_strerror(code));
    printf("figure mmdb-mib %.2f MiB, %u nodes\n", (double)bytes / (1 << 20),
           world->mmdb.metadata.node_count);
}

static void set_sockaddr(struct sockaddr_storage *to, struct tern_address address)
{
    uint8_t bytes[16];

    memset(to, 0, sizeof *to);
    if (tern_address_to_bytes(address, bytes) == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)to;

        v4->sin_family = AF_INET;
        memcpy(&v4->sin_addr, bytes, 4);
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;

        v6->sin6_family = AF_INET6;
        memcpy(&v6->sin6_addr, bytes, 16);
    }
}

/* Random addresses of random ranges. */
static void draw(struct world *world, uint32_t count)
{
    uint64_t seed = 3;

    world->addresses = program_memory(count * sizeof *world->addresses);
    world->sockaddrs = program_memory(count * sizeof *world->sockaddrs);
    world->query_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct tern_address_range *range =
            &world->ranges[program_random(&seed) % world->range_count];
        struct tern_address address = range->first;

        if (tern_address_is_v4(address)) {
            address.low += program_random(&seed) % (range->last.low - range->first.low + 1);
        } else if (range->last.high > range->first.high) {
            address.high += program_random(&seed) % (range->last.high - range->first.high);
            address.low = program_random(&seed);
        }
        world->addresses[i] = address;
        set_sockaddr(&world->sockaddrs[i], address);
    }
}

/* ---- Look-ups ---- */

static inline uint64_t number_of(const struct world *world, uint32_t record)
{
    union tern_value value = {.u64 = 0};

    if (record != TERN_NOT_FOUND)
        tern_records_value(&world->table.records, record, 0, &value);
    return value.u64;
}

static uint64_t ask_mmdb(const struct world *world, uint32_t query)
{
    int code;
    MMDB_lookup_result_s found = MMDB_lookup_sockaddr(
        &world->mmdb, (const struct sockaddr *)&world->sockaddrs[query], &code);
    MMDB_entry_data_s data;

    if (code != MMDB_SUCCESS || !found.found_entry ||
        MMDB_get_value(&found.entry, &data, MMDB_NUMBER_KEY, NULL) != MMDB_SUCCESS)
        return 0;
    return data.uint32;
}

static uint64_t run_tern(const struct world *world)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < world->query_count; i++)
        sum += number_of(world, tern_prefix_find(&world->table.prefix, world->addresses[i])) ^ i;
    return sum;
}

static uint64_t run_tern_vector(const struct world *world)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < world->query_count; i += TERN_VECTOR_WIDTH) {
        uint32_t records[TERN_VECTOR_WIDTH];

        tern_prefix_find_vector(&world->table.prefix, world->addresses + i, TERN_VECTOR_WIDTH,
                                records);
        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            if (records[j] != TERN_NOT_FOUND)
                tern_records_prefetch(&world->table.records, records[j]);
        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            sum += number_of(world, records[j]) ^ (i + j);
    }
    return sum;
}

static uint64_t run_mmdb(const struct world *world)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < world->query_count; i++)
        sum += ask_mmdb(world, i) ^ i;
    return sum;
}

static void compare_all(const struct world *world)
{
    for (uint32_t i = 0; i < world->query_count; i++) {
        uint64_t tern =
            number_of(world, tern_prefix_find(&world->table.prefix, world->addresses[i]));
        uint64_t mmdb = ask_mmdb(world, i);
        char text[TERN_ADDRESS_TEXT];

        if (tern == mmdb && tern != 0)
            continue;
        tern_address_format(world->addresses[i], text);
        fprintf(stderr, "against_mmdb: %s: tern says %llu, libmaxminddb %llu\n", text,
                (unsigned long long)tern, (unsigned long long)mmdb);
        exit(1);
    }
}

static double time_of(uint64_t (*run)(const struct world *), const struct world *world,
                      uint64_t *checksum)
{
    double started = tern_chain_now_ns();

    *checksum = run(world);
    return (tern_chain_now_ns() - started) / world->query_count;
}

static void measure(const struct world *world)
{
    double mmdb[ROUNDS], one[ROUNDS], vector[ROUNDS], single_ratio[ROUNDS], vector_ratio[ROUNDS];
    uint64_t sums[3];

    for (unsigned round = 0; round < ROUNDS; round++) {
        mmdb[round] = time_of(run_mmdb, world, &sums[0]);
        one[round] = time_of(run_tern, world, &sums[1]);
        vector[round] = time_of(run_tern_vector, world, &sums[2]);
        single_ratio[round] = mmdb[round] / one[round];
        vector_ratio[round] = mmdb[round] / vector[round];
        if (sums[0] != sums[1] || sums[0] != sums[2])
            program_fail("checksum", "the answers differ");
    }
    printf("figure mmdb-ns %.1f ns a look-up of libmaxminddb\n", program_median(mmdb, ROUNDS));
    printf("figure tern-ns %.1f ns a look-up\n", program_median(one, ROUNDS));
    printf("figure tern-vector-ns %.1f ns a look-up, %u together\n", program_median(vector, ROUNDS),
           TERN_VECTOR_WIDTH);
    printf("figure single-ratio %.2f times as fast\n", program_median(single_ratio, ROUNDS));
    printf("figure vector-ratio %.2f times as fast, %u together\n",
           program_median(vector_ratio, ROUNDS), TERN_VECTOR_WIDTH);
    printf("checksum %016llx\n", (unsigned long long)sums[0]);
}

int main(int argc, char **argv)
{
    struct world world = {0};
    const char *asn = NULL;
    uint32_t ranges = 400000, queries = 1u << 20;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--small") == 0) {
            ranges = 3000;
            queries = 1u << 12;
        } else if (strcmp(argv[i], "--quick") == 0) {
            ranges = 100000;
            queries = 1u << 17;
        } else if (strcmp(argv[i], "--asn") == 0 && i + 1 < argc) {
            asn = argv[++i];
        } else {
            fprintf(stderr, "usage: against_mmdb [--small | --quick] [--asn FILE.csv]\n");
            return 2;
        }
    }
    snapshot_start();
    if (asn != NULL)
        read_ranges(&world, asn);
    else
        make_ranges(&world, ranges);
    build_table(&world);
    build_mmdb(&world);
    draw(&world, queries);
    compare_all(&world);
    measure(&world);
    MMDB_close(&world.mmdb);
    free(world.ranges);
    free(world.numbers);
    free(world.section);
    free(world.addresses);
    free(world.sockaddrs);
    return 0;
}
