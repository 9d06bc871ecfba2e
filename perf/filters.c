/* Searches with filters inside one process: what evaluating a filter takes a slot, and for
 * selectivities of 50 %, 5 % and 0.5 % searches a second and recall@10 against an exact scan of
 * what passes, beside the same searches without a filter.
 *
 * The vectors are synthetic (normal numbers around centers) unless a file of f32 is given.
 *
 * Usage: filters [--small] [FILE DIM]. Prints a checksum over all ids found. */
#include "controlplane/build/graph.h"
#include "shared/clock.h"
#include "shared/schema.h"
#include "shared/vector/filter.h"

#include <math.h>
#include <sys/mman.h>

#define CENTERS 100u
#define K       10u

static uint64_t seed = 1, checksum;

static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static float normal(void)
{
    return (float)(sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform()));
}

static int allocate(void *context, uint64_t offset, uint64_t length, struct tern_error *error)
{
    (void)context;
    (void)offset;
    (void)length;
    (void)error;
    return 0; /* the memory is there */
}

static uint64_t grace_begin(void *context)
{
    return ++*(uint64_t *)context;
}

static bool grace_over(void *context, uint64_t number)
{
    return number <= *(uint64_t *)context;
}

static void die(const struct tern_error *error)
{
    fprintf(stderr, "filters: %s\n", error->message);
    exit(1);
}

static float *make_vectors(uint32_t count, uint32_t dim)
{
    float *centers = malloc((size_t)CENTERS * dim * sizeof(float));
    float *vectors = malloc((size_t)count * dim * sizeof(float));

    if (centers == NULL || vectors == NULL)
        exit(1);
    for (size_t i = 0; i < (size_t)CENTERS * dim; i++)
        centers[i] = normal();
    for (uint32_t i = 0; i < count; i++) {
        const float *center = &centers[(size_t)(uniform() * CENTERS) * dim];

        for (uint32_t d = 0; d < dim; d++)
            vectors[(size_t)i * dim + d] = center[d] + normal();
    }
    free(centers);
    return vectors;
}

static float *read_vectors(const char *path, uint32_t dim, uint32_t *count)
{
    FILE *file = fopen(path, "rb");
    float *vectors = malloc((size_t)*count * dim * sizeof(float));

    if (file == NULL || vectors == NULL) {
        perror(path);
        exit(1);
    }
    *count = (uint32_t)fread(vectors, dim * sizeof(float), *count, file);
    fclose(file);
    return vectors;
}

/* Payload: `share`, 0 to 999 in turn, so that `share < 5` lets 0.5 % through. */
static struct tern_graph *build(const float *vectors, uint32_t count, uint32_t dim)
{
    static uint64_t graces;
    static struct tern_graph_host host = {&graces, allocate, grace_begin, grace_over};
    static const uint8_t store_id[16] = "filters";
    struct tern_graph_shape shape = {
        .dim = dim,
        .metric = TERN_METRIC_COSINE,
        .quantize = TERN_QUANTIZE_INT8,
        .m = 16,
        .capacity = count,
        .columns = {{"share", TERN_TYPE_U32}, {"label", TERN_TYPE_STRING}},
        .column_count = 2};
    const struct tern_graph_parameters parameters = {64, 128, 0};
    uint64_t length = tern_graph_length(&shape), from_ns = tern_clock_now_ns();
    struct tern_error error = {.message = ""};
    struct tern_graph *graph;
    void *object = mmap(NULL, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (object == MAP_FAILED ||
        tern_graph_format(object, length, &shape, &parameters, store_id, &host, &error) != 0 ||
        tern_graph_open(&graph, object, length, &host, &error) != 0)
        die(&error);
    for (uint32_t i = 0; i < count; i++) {
        char label[16];
        struct tern_graph_value payload[2] = {{.present = true, .u64 = i * 7ull % 1000},
                                              {.present = true}};

        payload[1].string.length = (uint32_t)snprintf(label, sizeof label, "label%u", i % 50);
        payload[1].string.bytes = label;
        if (tern_graph_put(graph, i, i + 1, &vectors[(size_t)i * dim], payload, &error) != 0)
            die(&error);
    }
    tern_graph_link(graph);
    printf("%u vectors of %u dimensions, built in %.1f s\n", count, dim,
           (double)(tern_clock_now_ns() - from_ns) / 1e9);
    return graph;
}

static void bind(struct tern_filter *filter, const struct tern_collection *collection,
                 const char *text)
{
    struct tern_filter_failure failure;

    if (tern_filter_parse(filter, collection, text, strlen(text), &failure) != 0) {
        fprintf(stderr, "filters: %s: %u: %s\n", text, failure.offset, failure.message);
        exit(1);
    }
    tern_filter_bind(filter, collection);
}

static void measure_evaluation(const struct tern_collection *collection, uint32_t count)
{
    static const char *const texts[] = {
        "share < 5", "share in {1, 7, 19, 200..300, 555, 999}", "label == \"label7\"",
        "label in {\"label1\", \"label9\", \"label33\"} and share >= 100",
        "label starts_with \"label1\" or not exists(label)"};
    struct tern_filter *filter = malloc(sizeof *filter);
    uint32_t *slots = malloc(count * sizeof *slots);
    uint8_t *matches = malloc(count);

    if (filter == NULL || slots == NULL || matches == NULL)
        exit(1);
    for (uint32_t i = 0; i < count; i++)
        slots[i] = i;
    for (size_t t = 0; t < TERN_COUNT(texts); t++) {
        uint64_t best_ns = UINT64_MAX, parse_ns, passed = 0;

        for (unsigned round = 0; round < 5; round++) {
            uint64_t from_ns = tern_clock_now_ns();

            bind(filter, collection, texts[t]);
            parse_ns = tern_clock_now_ns() - from_ns;
            from_ns = tern_clock_now_ns();
            tern_filter_match(filter, collection, slots, count, matches);
            best_ns = tern_min_u64(best_ns, tern_clock_now_ns() - from_ns);
        }
        for (uint32_t i = 0; i < count; i++)
            passed += matches[i];
        checksum = checksum * 31 + passed;
        printf("%-62s %5.2f ns a slot, parsed in %4llu ns, passes %6.2f %%\n", texts[t],
               (double)best_ns / count, (unsigned long long)parse_ns,
               100.0 * (double)passed / count);
    }
    free(filter);
    free(slots);
    free(matches);
}

static void measure_searches(const struct tern_collection *collection, const float *queries,
                             uint32_t query_count, const char *text)
{
    struct tern_filter *filter = malloc(sizeof *filter);
    struct tern_search_filter passing = {tern_filter_match, filter};
    struct tern_search_scratch *scratch;
    unsigned found = 0, wanted = 0;
    uint64_t spent_ns = 0, estimated = 0;

    if (filter == NULL ||
        tern_search_scratch_new(&scratch, collection->capacity, collection->dim) != 0)
        exit(1);
    if (text != NULL)
        bind(filter, collection, text);
    for (uint32_t q = 0; q < query_count; q++) {
        struct tern_search search = {.query = &queries[(size_t)q * collection->dim],
                                     .k = K,
                                     .filter = text != NULL ? &passing : NULL};
        struct tern_search_hit hits[K], exact[K];
        uint64_t from_ns;
        unsigned count, all;

        estimated += tern_search_estimate(collection, &search);
        from_ns = tern_clock_now_ns();
        count = tern_search_run(collection, scratch, &search, hits);

        spent_ns += tern_clock_now_ns() - from_ns;
        search.exact = true;
        all = tern_search_run(collection, scratch, &search, exact);
        wanted += all;
        for (unsigned i = 0; i < all; i++)
            for (unsigned j = 0; j < count; j++)
                found += exact[i].id == hits[j].id;
        for (unsigned i = 0; i < count; i++)
            checksum = checksum * 31 + hits[i].id;
    }
    printf("%-14s %8.0f searches/s   recall@%u %.4f   %5.1f ns a distance of the estimate\n",
           text != NULL ? text : "no filter", query_count * 1e9 / (double)spent_ns, K,
           wanted == 0 ? 1 : (double)found / wanted, (double)spent_ns / (double)estimated);
    tern_search_scratch_free(scratch);
    free(filter);
}

int main(int argc, char **argv)
{
    bool small = argc > 1 && strcmp(argv[1], "--small") == 0;
    const char *path = argc > 2 ? argv[argc - 2] : NULL;
    uint32_t dim = path != NULL ? (uint32_t)strtoul(argv[argc - 1], NULL, 10) : 100;
    uint32_t count = small ? 2000 : 100000, query_count = small ? 20 : 500;
    float *vectors;
    struct tern_graph *graph;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (dim < 1 || dim > TERN_DIM_MAX) {
        fputs("usage: filters [--small] [FILE DIM]\n", stderr);
        return 2;
    }
    vectors = path != NULL ? read_vectors(path, dim, &count) : make_vectors(count, dim);
    query_count = (uint32_t)tern_min_u64(query_count, count / 4);
    count -= query_count; /* the last ones ask */
    graph = build(vectors, count, dim);
    measure_evaluation(tern_graph_collection(graph), count);
    for (unsigned i = 0; i < 4; i++)
        measure_searches(tern_graph_collection(graph), &vectors[(size_t)count * dim], query_count,
                         (const char *const[]){NULL, "share < 500", "share < 50", "share < 5"}[i]);
    printf("checksum %016llx\n", (unsigned long long)checksum);
    tern_graph_close(graph);
    free(vectors);
    return 0;
}
