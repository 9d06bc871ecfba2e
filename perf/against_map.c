/* Exact sets against a hash map in the same process, GLib's GHashTable: is this key there? The same
 * keys, the same questions, half of them absent, in turn; both must agree on each. Numbers of 64
 * bits and short texts. The table knows its keys by 64-bit hashes that are free of collisions among
 * the keys it was built from; the map compares whole keys, which lie in the caller's memory.
 *
 * Usage: against_map [--small | --quick]. Prints `figure NAME VALUE UNIT` lines and a checksum. */
#include "controlplane/build/table.h"
#include "perf/chain.h"
#include "perf/snapshot.h"
#include "shared/limits.h"

#include <glib.h>

#define ROUNDS     7
#define TEXT_BYTES 24 /* "tok-" and 16 digits, terminated */

struct world {
    enum tern_type type;
    uint32_t key_count, query_count;
    uint64_t *numbers; /* keys, then questions */
    char (*texts)[TEXT_BYTES];
    struct tern_table table;
    void *section;
    GHashTable *map;
};

/* Keys 0 … n − 1 of a sequence, and questions drawn from twice as many. */
static void draw(struct world *world)
{
    uint32_t total = world->key_count + world->query_count;
    uint64_t seed = 11;

    world->numbers = program_memory(total * sizeof *world->numbers);
    world->texts = program_memory(total * sizeof *world->texts);
    for (uint32_t i = 0; i < total; i++) {
        uint64_t at = i < world->key_count ? i : program_random(&seed) % (2ull * world->key_count);

        world->numbers[i] = program_mix(at);
        snprintf(world->texts[i], TEXT_BYTES, "tok-%016llx", (unsigned long long)program_mix(at));
    }
}

static size_t text_length(void)
{
    return 20;
}

static void build(struct world *world)
{
    const struct tern_table_definition definition = {
        .kind = TERN_TABLE_EXACT_SET, .key_type = world->type, .seed = 42};
    bool is_text = world->type == TERN_TYPE_STRING;
    struct tern_table_builder *builder = NULL;
    struct tern_build_report report;
    struct tern_buffer buffer = {0};
    struct tern_error error;

    if (tern_table_builder_new(&builder, &definition, &error) != 0)
        program_fail("table", error.message);
    world->map = is_text ? g_hash_table_new(g_str_hash, g_str_equal)
                         : g_hash_table_new(g_int64_hash, g_int64_equal);
    for (uint32_t i = 0; i < world->key_count; i++) {
        union tern_value key = {.u64 = world->numbers[i]};

        if (is_text) {
            key.string.bytes = (const uint8_t *)world->texts[i];
            key.string.length = (uint32_t)text_length();
        }
        if (tern_table_builder_add(builder, &key, NULL, 0) != 0)
            program_fail("table", "a key is refused");
        g_hash_table_add(world->map, is_text ? (void *)world->texts[i] : &world->numbers[i]);
    }
    if (tern_table_builder_finish(builder, &buffer, &report, NULL, NULL, &error) != 0)
        program_fail("table", error.message);
    tern_table_builder_free(builder);
    world->section = program_memory(buffer.length);
    memcpy(world->section, buffer.data, buffer.length);
    if (tern_table_open(&world->table, world->section, buffer.length, &error) != 0)
        program_fail("table", error.message);
    tern_buffer_free(&buffer);
}

/* ---- Look-ups ---- */

static inline const void *question(const struct world *world, uint32_t i, size_t *length)
{
    uint32_t at = world->key_count + i;

    if (world->type == TERN_TYPE_STRING) {
        *length = text_length();
        return world->texts[at];
    }
    *length = sizeof world->numbers[at];
    return &world->numbers[at];
}

static uint64_t run_map(const struct world *world)
{
    uint64_t sum = 0;
    size_t length;

    for (uint32_t i = 0; i < world->query_count; i++)
        sum += g_hash_table_contains(world->map, question(world, i, &length)) ? i : 0;
    return sum;
}

static uint64_t run_tern(const struct world *world)
{
    const struct tern_exact *exact = &world->table.exact;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < world->query_count; i++) {
        size_t length;
        const void *key = question(world, i, &length);

        sum +=
            tern_exact_find(exact, tern_exact_hash(exact, key, length)) != TERN_NOT_FOUND ? i : 0;
    }
    return sum;
}

static uint64_t run_tern_vector(const struct world *world)
{
    const struct tern_exact *exact = &world->table.exact;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < world->query_count; i += TERN_VECTOR_WIDTH) {
        uint64_t hashes[TERN_VECTOR_WIDTH];

        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++) {
            size_t length;
            const void *key = question(world, i + j, &length);

            hashes[j] = tern_exact_hash(exact, key, length);
            tern_exact_prefetch(exact, hashes[j]);
        }
        for (unsigned j = 0; j < TERN_VECTOR_WIDTH; j++)
            sum += tern_exact_find(exact, hashes[j]) != TERN_NOT_FOUND ? i + j : 0;
    }
    return sum;
}

static double time_of(uint64_t (*run)(const struct world *), const struct world *world,
                      uint64_t *sum)
{
    double started = tern_chain_now_ns();

    *sum = run(world);
    return (tern_chain_now_ns() - started) / world->query_count;
}

static uint64_t measure(struct world *world, const char *name)
{
    double map[ROUNDS], one[ROUNDS], vector[ROUNDS], single_ratio[ROUNDS], vector_ratio[ROUNDS];
    uint64_t sums[3];

    draw(world);
    build(world);
    for (unsigned round = 0; round < ROUNDS; round++) {
        map[round] = time_of(run_map, world, &sums[0]);
        one[round] = time_of(run_tern, world, &sums[1]);
        vector[round] = time_of(run_tern_vector, world, &sums[2]);
        single_ratio[round] = map[round] / one[round];
        vector_ratio[round] = map[round] / vector[round];
        if (sums[0] != sums[1] || sums[0] != sums[2])
            program_fail(name, "the answers differ");
    }
    printf("figure %s-map-ns %.1f ns a look-up of GHashTable\n", name, program_median(map, ROUNDS));
    printf("figure %s-tern-ns %.1f ns a look-up\n", name, program_median(one, ROUNDS));
    printf("figure %s-tern-vector-ns %.1f ns a look-up, %u together\n", name,
           program_median(vector, ROUNDS), TERN_VECTOR_WIDTH);
    printf("figure %s-single-ratio %.2f times as fast\n", name,
           program_median(single_ratio, ROUNDS));
    printf("figure %s-vector-ratio %.2f times as fast, %u together\n", name,
           program_median(vector_ratio, ROUNDS), TERN_VECTOR_WIDTH);
    g_hash_table_destroy(world->map);
    free(world->section);
    free(world->numbers);
    free(world->texts);
    return sums[0];
}

int main(int argc, char **argv)
{
    bool is_small = argc == 2 && strcmp(argv[1], "--small") == 0;
    bool is_quick = argc == 2 && strcmp(argv[1], "--quick") == 0;
    struct world world = {.key_count = is_small   ? 2000
                                       : is_quick ? 200000
                                                  : 1000000,
                          .query_count = is_small   ? 1u << 12
                                         : is_quick ? 1u << 17
                                                    : 1u << 20};
    uint64_t checksum;

    if (argc > 1 && !is_small && !is_quick) {
        fprintf(stderr, "usage: against_map [--small | --quick]\n");
        return 2;
    }
    world.type = TERN_TYPE_U64;
    checksum = measure(&world, "number");
    world.type = TERN_TYPE_STRING;
    checksum += measure(&world, "text");
    printf("checksum %016llx\n", (unsigned long long)checksum);
    return 0;
}
