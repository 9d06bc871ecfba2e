/* Recall@10 against queries a second, and the build rate, of tern's vector collections and of the
 * libraries that are there (hnswlib, faiss): the same vectors, queries, m and ef_construct, one
 * thread, one run. The peers take turns: in every round each answers all queries at each ef, and
 * the median of the rounds counts.
 *
 * Time is the thread's own: what else runs on the machine is not the index.
 *
 * Usage: vector [--small] [--peers A,B] [--rounds N] [--m N] [--ef-construct N]
 *               [--vectors FILE --queries FILE --dim N [--bytes] [--l2]] [--vectors-max N]
 *               [--queries-max N] [--lift DIM]
 *
 * Files are rows of f32 (--bytes: u8). --lift turns the vectors into DIM dimensions by a random
 * orthogonal map and adds a little noise: synthetic, of real structure. Exact neighbours are
 * computed here by plain loops. Without files the vectors are generated.
 *
 * Prints `figure NAME VALUE` lines: PEER-efN-recall, PEER-efN-qps, PEER-build (inserts/s), and
 * interpolated PEER-qps-95 and -99; and a checksum of tern's answers. */
#include "perf/points.h"
#include "perf/program.h"
#include "perf/vector_peer.h"
#include "shared/base.h"

#include <math.h>
#include <time.h>

#define K          10u
#define EFS_MAX    24u
#define PEERS_MAX  4u
#define ROUNDS_MAX 64u

struct options {
    const char *vectors, *queries, *peers;
    uint32_t dim, vectors_max, queries_max, lift;
    unsigned m, ef_construct, rounds;
    bool small, bytes, l2;
};

struct measured {
    const struct vector_peer *peer;
    void *index;
    double recall[EFS_MAX];
    double qps[EFS_MAX][ROUNDS_MAX];
};

static const unsigned all_efs[] = {10,  12,  16,  20,  24,  32,  40,  48,  64,  80,
                                   100, 128, 160, 200, 256, 320, 400, 512, 640, 800};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct vector_set read_rows(const struct options *options, const char *path, uint32_t most)
{
    FILE *file = fopen(path, "rb");
    size_t width = options->bytes ? 1 : sizeof(float), row = width * options->dim;
    struct vector_set set = {.dim = options->dim, .l2 = options->l2};
    uint8_t *bytes;
    float *rows;
    long length;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0)
        program_fail(path, "cannot be read");
    set.count = (uint32_t)((size_t)length / row);
    if (most != 0 && set.count > most)
        set.count = most;
    rewind(file);
    bytes = program_memory(row * set.count);
    if (fread(bytes, row, set.count, file) != set.count)
        program_fail(path, "cannot be read");
    fclose(file);
    if (!options->bytes) {
        set.rows = (const float *)(const void *)bytes;
        return set;
    }
    rows = program_memory(sizeof *rows * options->dim * set.count);
    for (size_t i = 0; i < (size_t)options->dim * set.count; i++)
        rows[i] = bytes[i];
    free(bytes);
    set.rows = rows;
    return set;
}

/* Points around centers, the centers around others. */
static struct vector_set generate(uint32_t count, uint32_t dim, uint64_t seed)
{
    float *rows = program_memory(sizeof *rows * dim * count);

    for (uint32_t i = 0; i < count; i++) {
        uint64_t center = 1000 + program_random(&seed) % 100, outer = 5000 + center % 10;

        for (uint32_t d = 0; d < dim; d++)
            rows[(size_t)i * dim + d] =
                points_normal(&outer) + 0.7f * points_normal(&center) + 0.7f * points_normal(&seed);
    }
    return (struct vector_set){.rows = rows, .count = count, .dim = dim};
}

/* An orthonormal basis of `from` vectors in `to` dimensions: Gram and Schmidt over random ones. */
static float *random_basis(uint32_t from, uint32_t to)
{
    float *basis = program_memory(sizeof *basis * from * to);
    uint64_t seed = 768;

    for (uint32_t i = 0; i < from; i++) {
        float *row = basis + (size_t)i * to;
        double length = 0;

        for (uint32_t d = 0; d < to; d++)
            row[d] = points_normal(&seed);
        for (uint32_t j = 0; j < i; j++) {
            const float *other = basis + (size_t)j * to;
            double dot = 0;

            for (uint32_t d = 0; d < to; d++)
                dot += (double)row[d] * (double)other[d];
            for (uint32_t d = 0; d < to; d++)
                row[d] -= (float)dot * other[d];
        }
        for (uint32_t d = 0; d < to; d++)
            length += (double)row[d] * (double)row[d];
        for (uint32_t d = 0; d < to; d++)
            row[d] /= (float)sqrt(length);
    }
    return basis;
}

static struct vector_set lift(struct vector_set set, uint32_t to, uint64_t seed)
{
    float *basis = random_basis(set.dim, to), *rows = program_memory(sizeof *rows * to * set.count);

    for (uint32_t i = 0; i < set.count; i++) {
        const float *row = set.rows + (size_t)i * set.dim;
        float *lifted = rows + (size_t)i * to;
        double length = 0;
        float noise;

        memset(lifted, 0, sizeof *lifted * to);
        for (uint32_t d = 0; d < set.dim; d++) {
            length += (double)row[d] * (double)row[d];
            for (uint32_t e = 0; e < to; e++)
                lifted[e] += row[d] * basis[(size_t)d * to + e];
        }
        noise = 0.1f * sqrtf((float)length / (float)to); /* a tenth of the vector's length */
        for (uint32_t e = 0; e < to; e++)
            lifted[e] += noise * points_normal(&seed);
    }
    free(basis);
    free((void *)(uintptr_t)set.rows);
    return (struct vector_set){.rows = rows, .count = set.count, .dim = to, .l2 = set.l2};
}

static void normalize(struct vector_set *set)
{
    float *rows = (float *)(uintptr_t)set->rows;

    for (uint32_t i = 0; i < set->count && !set->l2; i++) {
        float *row = rows + (size_t)i * set->dim;
        double length = 0;

        for (uint32_t d = 0; d < set->dim; d++)
            length += (double)row[d] * (double)row[d];
        for (uint32_t d = 0; d < set->dim && length > 0; d++)
            row[d] = (float)((double)row[d] / sqrt(length));
    }
}

/* The K exact neighbours of each query. */
static uint32_t *find_nearest(const struct vector_set *set, const struct vector_set *queries)
{
    uint32_t *nearest = program_memory(sizeof *nearest * K * queries->count);

    for (uint32_t q = 0; q < queries->count; q++) {
        const float *query = queries->rows + (size_t)q * set->dim;
        float distances[K];
        unsigned found = 0;

        for (uint32_t i = 0; i < set->count; i++) {
            const float *row = set->rows + (size_t)i * set->dim;
            float sums[16] = {0}, distance = 0;
            uint32_t d = 0;
            unsigned at;

            for (; d + 16 <= set->dim; d += 16)
                for (unsigned s = 0; s < 16; s++) {
                    float difference = query[d + s] - row[d + s];

                    sums[s] += difference * difference;
                }
            for (; d < set->dim; d++)
                sums[0] += (query[d] - row[d]) * (query[d] - row[d]);
            for (unsigned s = 0; s < 16; s++)
                distance += sums[s];
            if (found == K && distance >= distances[K - 1])
                continue;
            at = found < K ? found++ : K - 1;
            for (; at > 0 && distance < distances[at - 1]; at--) {
                distances[at] = distances[at - 1];
                nearest[q * K + at] = nearest[q * K + at - 1];
            }
            distances[at] = distance;
            nearest[q * K + at] = i;
        }
    }
    return nearest;
}

static void parse(int count, char **words, struct options *options)
{
    for (int i = 1; i < count; i++) {
        const char *word = words[i], *value = i + 1 < count ? words[i + 1] : "";
        struct {
            const char *name;
            uint32_t *number;
            const char **text;
            bool *flag;
        } known[] = {
            {"--small", NULL, NULL, &options->small},
            {"--bytes", NULL, NULL, &options->bytes},
            {"--l2", NULL, NULL, &options->l2},
            {"--peers", NULL, &options->peers, NULL},
            {"--vectors", NULL, &options->vectors, NULL},
            {"--queries", NULL, &options->queries, NULL},
            {"--dim", &options->dim, NULL, NULL},
            {"--vectors-max", &options->vectors_max, NULL, NULL},
            {"--queries-max", &options->queries_max, NULL, NULL},
            {"--lift", &options->lift, NULL, NULL},
            {"--m", &options->m, NULL, NULL},
            {"--ef-construct", &options->ef_construct, NULL, NULL},
            {"--rounds", &options->rounds, NULL, NULL},
        };
        size_t k = 0;

        while (k < TERN_COUNT(known) && strcmp(word, known[k].name) != 0)
            k++;
        if (k == TERN_COUNT(known)) {
            fprintf(stderr, "vector: unknown option %s\n", word);
            exit(2);
        }
        if (known[k].flag != NULL)
            *known[k].flag = true;
        else if (known[k].text != NULL)
            *known[k].text = value;
        else
            *known[k].number = (uint32_t)strtoul(value, NULL, 10);
        i += known[k].flag == NULL;
    }
    if (options->rounds == 0 || options->rounds > ROUNDS_MAX ||
        (options->vectors != NULL && (options->queries == NULL || options->dim == 0))) {
        fprintf(stderr, "vector: --vectors needs --queries and --dim; rounds are 1 to %u\n",
                ROUNDS_MAX);
        exit(2);
    }
}

static bool is_asked(const struct options *options, const char *name)
{
    const char *at = options->peers;
    size_t length = strlen(name);

    if (at == NULL)
        return strcmp(name, "tern-f32") != 0;
    for (; (at = strstr(at, name)) != NULL; at += length)
        if ((at == options->peers || at[-1] == ',') && (at[length] == ',' || at[length] == 0))
            return true;
    return false;
}

static uint64_t run_queries(struct measured *measured, const struct vector_set *queries,
                            const uint32_t *nearest, unsigned ef_index, unsigned round)
{
    uint32_t *ids = program_memory(sizeof *ids * K * queries->count);
    uint64_t right = 0, sum = 0;
    double begun = now();

    for (uint32_t q = 0; q < queries->count; q++)
        measured->peer->search(measured->index, queries->rows + (size_t)q * queries->dim, K,
                               all_efs[ef_index], ids + (size_t)q * K);
    measured->qps[ef_index][round] = queries->count / (now() - begun);
    for (uint32_t i = 0; i < K * queries->count; i++) {
        sum = sum * 31 + ids[i];
        for (unsigned j = 0; j < K; j++)
            right += nearest[i / K * K + j] == ids[i];
    }
    measured->recall[ef_index] = (double)right / (double)(K * queries->count);
    free(ids);
    return sum;
}

/* Queries a second at a recall, between the two measured ones around it; NAN when not reached. */
static double at_recall(const struct measured *measured, unsigned efs, double recall)
{
    for (unsigned i = 1; i < efs; i++) {
        double low = measured->recall[i - 1], high = measured->recall[i];

        if (low <= recall && recall <= high && high > low) {
            double share = (recall - low) / (high - low);

            return exp(log(measured->qps[i - 1][0]) * (1 - share) +
                       log(measured->qps[i][0]) * share);
        }
    }
    return measured->recall[0] >= recall ? measured->qps[0][0] : NAN;
}

static void report(struct measured *measured, unsigned efs, unsigned rounds)
{
    const char *name = measured->peer->name;

    for (unsigned i = 0; i < efs; i++) {
        measured->qps[i][0] = program_median(measured->qps[i], rounds);
        printf("figure %s-ef%u-recall %.5f\n", name, all_efs[i], measured->recall[i]);
        printf("figure %s-ef%u-qps %.1f\n", name, all_efs[i], measured->qps[i][0]);
    }
    for (unsigned percent = 95; percent <= 99; percent += 4) {
        double qps = at_recall(measured, efs, percent / 100.0);

        if (!isnan(qps))
            printf("figure %s-qps-%u %.1f\n", name, percent, qps);
    }
}

int main(int argc, char **argv)
{
    static const struct vector_peer *const peers[] = {
        &vector_tern,
        &vector_tern_f32,
#ifdef HAVE_HNSWLIB
        &vector_hnswlib,
#endif
#ifdef HAVE_FAISS
        &vector_faiss,
#endif
    };
    static struct measured all[PEERS_MAX];
    struct options options = {.m = 16, .ef_construct = 128, .rounds = 3};
    struct vector_set set, queries;
    uint32_t *nearest;
    unsigned count = 0, efs;
    uint64_t checksum = 0;

    parse(argc, argv, &options);
    if (options.small)
        options.rounds = 1;
    if (options.vectors != NULL) {
        set = read_rows(&options, options.vectors, options.vectors_max);
        queries = read_rows(&options, options.queries, options.queries_max);
    } else {
        set = generate(options.small ? 3000 : 50000, 64, 1);
        queries = generate(options.small ? 200 : 2000, 64, 2);
        set.l2 = queries.l2 = options.l2;
    }
    if (options.lift > set.dim) {
        set = lift(set, options.lift, 3);
        queries = lift(queries, options.lift, 4);
    }
    normalize(&set);
    normalize(&queries);
    nearest = find_nearest(&set, &queries);
    printf("%u vectors of %u dimensions, %u queries, m %u, ef_construct %u\n", set.count, set.dim,
           queries.count, options.m, options.ef_construct);
    for (size_t i = 0; i < TERN_COUNT(peers); i++) {
        struct measured *measured = &all[count];
        double begun = now();

        if (!is_asked(&options, peers[i]->name))
            continue;
        measured->peer = peers[i];
        measured->index = peers[i]->build(&set, options.m, options.ef_construct);
        printf("figure %s-build %.1f\n", peers[i]->name, set.count / (now() - begun));
        if (peers[i]->bytes(measured->index) != 0)
            printf("figure %s-bytes %.1f\n", peers[i]->name,
                   (double)peers[i]->bytes(measured->index) / set.count);
        count++;
    }
    if (count == 1)
        printf("no peer to compare with: scripts/deps --perf installs hnswlib and faiss\n");
    efs = options.small ? 12 : TERN_COUNT(all_efs);
    for (unsigned round = 0; round < options.rounds; round++)
        for (unsigned ef = 0; ef < efs; ef++)
            for (unsigned i = 0; i < count; i++) {
                struct measured *measured = &all[round % 2 == 0 ? i : count - 1 - i];
                uint64_t sum = run_queries(measured, &queries, nearest, ef, round);

                if (measured->peer == &vector_tern && round == 0)
                    checksum = checksum * 31 + sum;
            }
    for (unsigned i = 0; i < count; i++) {
        report(&all[i], efs, options.rounds);
        if (options.small && all[i].recall[efs - 1] < 0.98) {
            fprintf(stderr, "vector: %s finds %.3f with ef %u\n", all[i].peer->name,
                    all[i].recall[efs - 1], all_efs[efs - 1]);
            return 1;
        }
        all[i].peer->free(all[i].index);
    }
    printf("checksum %016llx\n", (unsigned long long)checksum);
    free(nearest);
    free((void *)(uintptr_t)set.rows);
    free((void *)(uintptr_t)queries.rows);
    return 0;
}
