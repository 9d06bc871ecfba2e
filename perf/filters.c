/* Searches with filters inside one process: what evaluating a filter takes a slot, and for
 * selectivities of 50 %, 5 % and 0.5 % searches a second and recall@10 against an exact scan of
 * what passes, beside the same searches without a filter.
 *
 * The vectors are synthetic (normal numbers around centers) unless a file of f32 is given.
 *
 * Usage: filters [--small] [FILE DIM]. Prints `figure NAME VALUE` lines: SHARE-qps, SHARE-recall
 * and SHARE-estimate-ns (of a distance, as tern_search_estimate counts them) for a SHARE of all,
 * 50, 5 and 0.5 %; and a checksum over all ids found. */
#include "controlplane/build/graph.h"
#include "perf/points.h"
#include "perf/program.h"
#include "shared/clock.h"
#include "shared/schema.h"
#include "shared/vector/filter.h"

#include <time.h>

#include <sys/mman.h>

#define K 10u

static const struct {
    const char *name, *text;
} filters[] = {{"all", NULL}, {"50", "share < 500"}, {"5", "share < 50"}, {"0.5", "share < 5"}};

static uint64_t checksum;

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

/* Payload: `share`, 0 to 999 in turn, so that `share < 5` lets 0.5 % through. */
static struct tern_graph *build(const struct points *points, uint32_t count)
{
    static uint64_t graces;
    static struct tern_graph_host host = {&graces, allocate, grace_begin, grace_over};
    static const uint8_t store_id[16] = "filters";
    struct tern_graph_shape shape = {
        .dim = points->dim,
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
        program_fail("collection", error.message);
    for (uint32_t i = 0; i < count; i++) {
        char label[16];
        struct tern_graph_value payload[2] = {{.present = true, .u64 = i * 7ull % 1000},
                                              {.present = true}};

        payload[1].string.length = (uint32_t)snprintf(label, sizeof label, "label%u", i % 50);
        payload[1].string.bytes = label;
        if (tern_graph_put(graph, i, i + 1, points_at(points, i), payload, &error) != 0)
            program_fail("collection", error.message);
    }
    tern_graph_link(graph);
    printf("%u vectors of %u dimensions, built in %.1f s\n", count, points->dim,
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
    uint32_t *slots = malloc((count + 1ull) * sizeof *slots);
    uint8_t *matches = malloc(count + 1ull);

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

struct searches {
    struct tern_filter *parsed[TERN_COUNT(filters)]; /* NULL: none */
    uint64_t spent_ns[TERN_COUNT(filters)], estimated[TERN_COUNT(filters)];
    uint64_t exact_ns[TERN_COUNT(filters)], exact_estimated[TERN_COUNT(filters)];
    unsigned found[TERN_COUNT(filters)], wanted[TERN_COUNT(filters)];
};

/* The thread's own: what else runs on the machine is no search. */
static uint64_t spent_now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static unsigned search_one(const struct tern_collection *collection,
                           struct tern_search_scratch *scratch, struct searches *searches, size_t f,
                           const float *query, bool exact, struct tern_search_hit hits[K])
{
    const struct tern_search_filter passing = {tern_filter_match, searches->parsed[f]};
    const struct tern_search search = {.query = query,
                                       .k = K,
                                       .exact = exact,
                                       .filter = searches->parsed[f] != NULL ? &passing : NULL};
    uint64_t from_ns = spent_now_ns();
    unsigned count = tern_search_run(collection, scratch, &search, hits);

    *(exact ? &searches->exact_ns[f] : &searches->spent_ns[f]) += spent_now_ns() - from_ns;
    *(exact ? &searches->exact_estimated[f] : &searches->estimated[f]) +=
        tern_search_estimate(collection, &search);
    return count;
}

static void compare_exactly(const struct tern_collection *collection,
                            struct tern_search_scratch *scratch, struct searches *searches,
                            size_t f, const float *query)
{
    struct tern_search_hit hits[K], exact[K];
    unsigned count = search_one(collection, scratch, searches, f, query, false, hits);
    unsigned all = search_one(collection, scratch, searches, f, query, true, exact);

    searches->wanted[f] += all;
    for (unsigned i = 0; i < all; i++)
        for (unsigned j = 0; j < count; j++)
            searches->found[f] += exact[i].id == hits[j].id;
}

static void print_figures(const struct searches *searches, size_t f, uint32_t query_count)
{
    printf("figure %s-qps %.1f\n", filters[f].name,
           query_count * 1e9 / (double)searches->spent_ns[f]);
    printf("figure %s-estimate-ns %.2f a distance\n", filters[f].name,
           (double)searches->spent_ns[f] / (double)searches->estimated[f]);
}

/* Each query under every filter in turn: all of them meet whatever else the machine does. Exact
 * searches come later: they leave nothing in the caches. */
static void measure_searches(const struct tern_collection *collection, const struct points *points,
                             uint32_t first)
{
    struct searches *searches = calloc(1, sizeof *searches);
    struct tern_search_scratch *scratch;

    if (searches == NULL ||
        tern_search_scratch_new(&scratch, collection->capacity, collection->dim) != 0)
        exit(1);
    for (size_t f = 0; f < TERN_COUNT(filters); f++) {
        if (filters[f].text == NULL)
            continue;
        searches->parsed[f] = malloc(sizeof *searches->parsed[f]);
        if (searches->parsed[f] == NULL)
            exit(1);
        bind(searches->parsed[f], collection, filters[f].text);
    }
    for (uint32_t q = first; q < points->count; q++) {
        for (size_t f = 0; f < TERN_COUNT(filters); f++) {
            struct tern_search_hit hits[K];
            unsigned count =
                search_one(collection, scratch, searches, f, points_at(points, q), false, hits);

            for (unsigned i = 0; i < count; i++)
                checksum = checksum * 31 + hits[i].id;
        }
    }
    for (size_t f = 0; f < TERN_COUNT(filters); f++) {
        print_figures(searches, f, points->count - first);
        for (uint32_t q = first; q < points->count; q++)
            compare_exactly(collection, scratch, searches, f, points_at(points, q));
        printf("figure %s-recall %.4f\n", filters[f].name,
               searches->wanted[f] == 0 ? 1 : (double)searches->found[f] / searches->wanted[f]);
        printf("figure %s-exact-ns %.2f a distance\n", filters[f].name,
               (double)searches->exact_ns[f] / (double)searches->exact_estimated[f]);
        free(searches->parsed[f]);
    }
    tern_search_scratch_free(scratch);
    free(searches);
}

int main(int argc, char **argv)
{
    bool small = argc > 1 && strcmp(argv[1], "--small") == 0;
    const char *path = argc > 2 ? argv[argc - 2] : NULL;
    uint32_t dim = path != NULL ? (uint32_t)strtoul(argv[argc - 1], NULL, 10) : 100;
    uint32_t count = small ? 2020 : 100500, query_count = small ? 20 : 500;
    struct tern_graph *graph;
    struct points points;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (dim < 1 || dim > TERN_DIM_MAX) {
        fputs("usage: filters [--small] [FILE DIM]\n", stderr);
        return 2;
    }
    points = path != NULL ? points_read(path, dim, count) : points_generate(count, dim, 1);
    points_shuffle(points, 2);
    query_count = (uint32_t)tern_min_u64(query_count, points.count / 4);
    count = points.count - query_count; /* the last ones ask */
    graph = build(&points, count);
    measure_evaluation(tern_graph_collection(graph), count);
    measure_searches(tern_graph_collection(graph), &points, count);
    printf("checksum %016llx\n", (unsigned long long)checksum);
    tern_graph_close(graph);
    points_free(&points);
    return 0;
}
