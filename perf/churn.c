/* A vector collection whose every vector is replaced by another once, a tenth at a time: recall
 * afterwards against a graph that the same vectors were put into one after the other, what is out
 * of reach, what the writer pays, and how long taking the object over takes.
 *
 * Usage: churn [--small] [--vectors FILE --queries FILE --dim N] [--count N] [--m N]
 *              [--ef-construct N]
 *
 * Files are rows of f32, taken in random order: the first N are built, the next N replace them.
 * Without files the vectors are generated. Exact neighbours come from the exact search.
 *
 * Prints `figure NAME VALUE` lines: anew-efN and churned-efN (recall@10), loss-efN (points),
 * unreachable, bad-links, build, replace (vectors/s, everything included), link-us, repair-us,
 * sweep-us (of a vector), longest-work-us (of one tern_graph_work(500)), open-ms-per-million; and a
 * checksum of answers. */
#include "controlplane/build/graph.h"
#include "perf/points.h"
#include "perf/program.h"
#include "shared/clock.h"
#include "shared/vector/search.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { K = 10, STEPS = 10, QUERIES_MAX = 5000 };

static const unsigned efs[] = {10, 16, 32, 64, 128, 256};

struct options {
    const char *vectors, *queries;
    uint32_t dim, count, m, ef_construct;
    bool small;
};

struct index {
    int file;
    uint64_t length;
    void *object;
    struct tern_graph_host host;
    struct tern_graph *graph;
    struct tern_search_scratch *scratch;
};

/* ---- collections ---- */

static int back(void *context, uint64_t offset, uint64_t length, struct tern_error *error)
{
    const struct index *index = context;

    if (fallocate(index->file, 0, (off_t)offset, (off_t)length) != 0)
        return tern_error_set(error, TERN_ENOSPC, "fallocate");
    return 0;
}

static uint64_t grace_begin(TERN_UNUSED void *context)
{
    return 1;
}

static bool grace_over(TERN_UNUSED void *context, TERN_UNUSED uint64_t number)
{
    return true;
}

static void open_index(struct index *index)
{
    struct tern_error error = {.message = ""};

    if (tern_graph_open(&index->graph, index->object, index->length, &index->host, &error) != 0)
        program_fail("collection", error.message);
}

static void make_index(struct index *index, const struct options *options)
{
    static const uint8_t store_id[16] = "perf/churn";
    const struct tern_graph_shape shape = {.dim = options->dim,
                                           .metric = TERN_METRIC_COSINE,
                                           .quantize = TERN_QUANTIZE_INT8,
                                           .m = options->m,
                                           .capacity = options->count};
    const struct tern_graph_parameters parameters = {64, options->ef_construct, 0};
    struct tern_error error = {.message = ""};

    index->length = tern_graph_length(&shape);
    index->file = memfd_create("collection", MFD_CLOEXEC);
    if (index->file < 0 || ftruncate(index->file, (off_t)index->length) != 0)
        program_fail("memfd_create", strerror(errno));
    index->object = mmap(NULL, index->length, PROT_READ | PROT_WRITE, MAP_SHARED, index->file, 0);
    if (index->object == MAP_FAILED)
        program_fail("mmap", strerror(errno));
    index->host = (struct tern_graph_host){index, back, grace_begin, grace_over};
    if (tern_graph_format(index->object, index->length, &shape, &parameters, store_id, &index->host,
                          &error) != 0)
        program_fail("collection", error.message);
    open_index(index);
    if (tern_search_scratch_new(&index->scratch, tern_graph_collection(index->graph)->capacity,
                                options->dim) != 0)
        program_fail("memory", "there is none");
}

static void free_index(struct index *index)
{
    tern_graph_close(index->graph);
    tern_search_scratch_free(index->scratch);
    munmap(index->object, index->length);
    close(index->file);
}

static void put(struct index *index, uint64_t id, uint64_t seq, const float *vector)
{
    struct tern_error error = {.message = ""};

    if (tern_graph_put(index->graph, id, seq, vector, NULL, &error) != 0)
        program_fail("collection", error.message);
}

static unsigned search(struct index *index, const float *query, unsigned ef, bool exact,
                       struct tern_search_hit *hits)
{
    const struct tern_search asked = {.query = query, .k = K, .ef = ef, .exact = exact};

    return tern_search_run(tern_graph_collection(index->graph), index->scratch, &asked, hits);
}

/* ---- figures ---- */

static double seconds(void) /* of this thread: what else the machine does is not the index */
{
    return (double)tern_clock_ns(CLOCK_THREAD_CPUTIME_ID) / 1e9;
}

static double build(struct index *index, const float *rows, const struct options *options)
{
    double began = seconds();

    for (uint32_t i = 0; i < options->count; i++)
        put(index, i, i + 1, rows + (size_t)i * options->dim);
    tern_graph_link(index->graph);
    return seconds() - began;
}

/* Everything that waits, in the pieces that the thread of vectors does; the longest one. */
static double work(struct index *index, uint64_t *longest_us)
{
    double began = seconds();
    bool more = true;

    while (more) {
        double at = seconds();
        uint64_t us;

        more = tern_graph_work(index->graph, 500);
        us = (uint64_t)((seconds() - at) * 1e6);
        if (us > *longest_us)
            *longest_us = us;
    }
    return seconds() - began;
}

static void replace_all(struct index *index, const float *rows, const struct options *options)
{
    uint64_t seq = options->count, longest_us = 0;
    double putting = 0, linking = 0, repairing = 0, sweeping = 0, at;
    double vectors = options->count;

    for (uint32_t i = 0; i < options->count; i++) {
        at = seconds();
        put(index, i, ++seq, rows + (size_t)i * options->dim);
        putting += seconds() - at;
        if ((i + 1ull) * STEPS % options->count != 0) /* a tenth is complete */
            continue;
        at = seconds();
        tern_graph_link(index->graph);
        linking += seconds() - at;
        repairing += work(index, &longest_us);
        at = seconds();
        tern_graph_settle(index->graph);
        sweeping += seconds() - at;
    }
    printf("figure replace %.0f vectors/s\n", vectors / (putting + linking + repairing + sweeping));
    printf("figure put-us %.1f us\nfigure link-us %.1f us\nfigure repair-us %.1f us\n"
           "figure sweep-us %.1f us\n",
           putting / vectors * 1e6, linking / vectors * 1e6, repairing / vectors * 1e6,
           sweeping / vectors * 1e6);
    printf("figure longest-work-us %llu us\n", (unsigned long long)longest_us);
}

static void take_over(struct index *index, const struct options *options)
{
    double began;

    tern_graph_close(index->graph);
    began = seconds();
    open_index(index);
    printf("figure open-ms-per-million %.1f ms\n",
           (seconds() - began) * 1e3 * 1e6 / options->count);
}

static double recall(struct index *index, const struct points *queries, const uint64_t *nearest,
                     unsigned ef, uint64_t *checksum)
{
    uint64_t right = 0;

    for (uint32_t q = 0; q < queries->count; q++) {
        struct tern_search_hit hits[K];
        unsigned found = search(index, points_at(queries, q), ef, false, hits);

        for (unsigned i = 0; i < found; i++) {
            *checksum = *checksum * 31 + hits[i].id;
            for (unsigned j = 0; j < K; j++)
                right += hits[i].id == nearest[(size_t)q * K + j];
        }
    }
    return (double)right / ((double)queries->count * K);
}

static void compare(struct index *churned, struct index *anew, const struct points *queries)
{
    uint64_t *nearest = malloc(sizeof *nearest * queries->count * K), checksum = 0;

    if (nearest == NULL)
        program_fail("memory", "there is none");
    for (uint32_t q = 0; q < queries->count; q++) {
        struct tern_search_hit hits[K];

        if (search(anew, points_at(queries, q), 0, true, hits) != K)
            program_fail("vectors", "there are too few");
        for (unsigned i = 0; i < K; i++)
            nearest[(size_t)q * K + i] = hits[i].id;
    }
    for (size_t i = 0; i < TERN_COUNT(efs); i++) {
        double of_anew = recall(anew, queries, nearest, efs[i], &checksum);
        double of_churned = recall(churned, queries, nearest, efs[i], &checksum);

        printf("figure anew-ef%u %.4f\nfigure churned-ef%u %.4f\nfigure loss-ef%u %.2f points\n",
               efs[i], of_anew, efs[i], of_churned, efs[i], (of_anew - of_churned) * 100);
    }
    printf("checksum %016llx\n", (unsigned long long)checksum);
    free(nearest);
}

static void parse(int count, char **words, struct options *options)
{
    for (int i = 1; i < count; i++) {
        const char *word = words[i], *value = i + 1 < count ? words[i + 1] : "";
        uint32_t number = (uint32_t)strtoul(value, NULL, 10);

        if (strcmp(word, "--small") == 0) {
            options->small = true;
            continue;
        }
        i++;
        if (strcmp(word, "--vectors") == 0)
            options->vectors = value;
        else if (strcmp(word, "--queries") == 0)
            options->queries = value;
        else if (strcmp(word, "--dim") == 0)
            options->dim = number;
        else if (strcmp(word, "--count") == 0)
            options->count = number;
        else if (strcmp(word, "--m") == 0)
            options->m = number;
        else if (strcmp(word, "--ef-construct") == 0)
            options->ef_construct = number;
        else
            program_fail("usage", "unknown option");
    }
}

int main(int count, char **words)
{
    struct options options = {.dim = 100, .count = 100000, .m = 16, .ef_construct = 128};
    struct index churned, anew;
    struct tern_graph_census census;
    struct points rows, queries;

    parse(count, words, &options);
    if (options.small) {
        options.count = 1000;
        options.dim = 24;
        options.vectors = options.queries = NULL;
    }
    if (options.vectors != NULL && options.queries != NULL) {
        rows = points_read(options.vectors, options.dim, UINT32_MAX);
        queries = points_read(options.queries, options.dim, QUERIES_MAX);
        points_shuffle(rows, 20260728);
    } else {
        rows = points_generate(2 * options.count, options.dim, 1);
        queries = points_generate(options.small ? 50 : QUERIES_MAX, options.dim, 2);
    }
    if (rows.count / 2 < options.count)
        options.count = rows.count / 2;
    options.count -= options.count % STEPS;
    if (options.count == 0)
        program_fail("vectors", "there are too few");
    make_index(&churned, &options);
    make_index(&anew, &options);
    build(&churned, rows.values, &options);
    printf("figure build %.0f vectors/s\n",
           options.count / build(&anew, points_at(&rows, options.count), &options));
    replace_all(&churned, points_at(&rows, options.count), &options);
    take_over(&churned, &options);
    if (tern_graph_census(churned.graph, &census) != 0)
        program_fail("memory", "there is none");
    printf("figure unreachable %llu vectors\nfigure bad-links %llu links\n",
           (unsigned long long)census.unreachable, (unsigned long long)census.bad_links);
    compare(&churned, &anew, &queries);
    free_index(&churned);
    free_index(&anew);
    points_free(&rows);
    points_free(&queries);
    return 0;
}
