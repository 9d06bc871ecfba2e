/* shared/vector/distance.c and the kernels: every instruction set gives the bits of the plain
 * loops, codes stand for their vectors, bad vectors are refused. */
#include "tests/unit/unit.h"

#include "shared/vector/distance.h"
#include "tests/unit/graph_object.h"

#include <math.h>

#define LINES 23

static uint64_t seed;

static void shape_of(struct tern_collection *collection, uint32_t dim, enum tern_metric metric)
{
    *collection = (struct tern_collection){
        .dim = dim,
        .metric = metric,
        .quantize = TERN_QUANTIZE_INT8,
        .code_stride = tern_collection_code_stride(dim, TERN_QUANTIZE_INT8),
        .vector_stride = tern_collection_vector_stride(dim),
    };
}

static void *memory_of(size_t bytes)
{
    void *memory = aligned_alloc(64, tern_align_up(bytes, 64));

    assert_non_null(memory);
    return memory;
}

/* Values of very different size, some 0. */
static void random_vector(uint32_t dim, float *vector)
{
    float size = powf(10, (float)(tern_test_random(&seed) % 9) - 4);

    for (uint32_t i = 0; i < dim; i++)
        vector[i] = tern_test_random(&seed) % 7 == 0 ? 0 : size * tern_graph_object_normal(&seed);
}

struct lines {
    struct tern_collection collection;
    uint8_t *codes;
    float *vectors, *query;
    uint8_t *query_line;
    int8_t *code;
    uint8_t *magnitude;
    struct tern_probe probe;
};

static void make_lines(struct lines *lines, uint32_t dim, enum tern_metric metric)
{
    struct tern_collection *collection = &lines->collection;
    float *raw = memory_of(dim * sizeof *raw);

    shape_of(collection, dim, metric);
    lines->codes = memory_of((size_t)LINES * collection->code_stride);
    lines->vectors = memory_of((size_t)LINES * collection->vector_stride);
    lines->query = memory_of(collection->vector_stride);
    lines->query_line = memory_of(collection->code_stride);
    lines->code = memory_of(collection->code_stride);
    lines->magnitude = memory_of(collection->code_stride);
    collection->code = lines->codes;
    collection->vector = (const uint8_t *)lines->vectors;
    for (uint32_t i = 0; i < LINES; i++) {
        float *values =
            (float *)(void *)((uint8_t *)lines->vectors + (size_t)i * collection->vector_stride);

        random_vector(dim, raw);
        tern_vector_prepare(collection, raw, values);
        tern_vector_encode(collection, values, lines->codes + (size_t)i * collection->code_stride);
    }
    random_vector(dim, raw);
    tern_vector_prepare(collection, raw, lines->query);
    tern_vector_encode(collection, lines->query, lines->query_line);
    tern_probe_of_code(collection, lines->query_line, lines->query, lines->code, lines->magnitude,
                       &lines->probe);
    free(raw);
}

static void free_lines(struct lines *lines)
{
    free(lines->codes);
    free(lines->vectors);
    free(lines->query);
    free(lines->query_line);
    free(lines->code);
    free(lines->magnitude);
}

static void the_same_bits(TERN_TEST_STATE)
{
    static const struct tern_kernel *(*const sets[])(void) = {tern_kernel_avx2, tern_kernel_avx512};

    for (unsigned round = 0; round < 300; round++) {
        uint32_t dim = 1 + (uint32_t)(tern_test_random(&seed) % 300), slots[LINES];
        unsigned count = 1 + (unsigned)(tern_test_random(&seed) % LINES);
        struct lines lines;

        make_lines(&lines, dim, TERN_METRIC_COSINE + round % 3);
        for (unsigned i = 0; i < count; i++)
            slots[i] = (uint32_t)(tern_test_random(&seed) % LINES);
        for (unsigned set = 0; set < TERN_COUNT(sets); set++) {
            for (unsigned space = 0; space <= TERN_SPACE_FLOAT_L2; space++) {
                float plain[LINES + 4], fast[LINES + 4];

                if (sets[set]() == NULL)
                    continue;
                tern_kernel_scalar()->measure(&lines.collection, (enum tern_space)space,
                                              &lines.probe, slots, count, plain);
                sets[set]()->measure(&lines.collection, (enum tern_space)space, &lines.probe, slots,
                                     count, fast);
                if (memcmp(plain, fast, count * sizeof *plain) != 0)
                    fail_msg("dim %u, space %u, %s", dim, space, sets[set]()->name);
            }
        }
        free_lines(&lines);
    }
}

/* The scalar form is held against double: it is what the others are held against. */
static void as_far_as_they_are(TERN_TEST_STATE)
{
    for (unsigned round = 0; round < 300; round++) {
        uint32_t dim = 1 + (uint32_t)(tern_test_random(&seed) % 300), slot = 7;
        enum tern_metric metric = TERN_METRIC_COSINE + round % 3;
        struct lines lines;
        float distances[4];
        double dot = 0, squared = 0, lengths[2] = {0, 0}, codes = 0;
        const struct tern_vector_code *of_query, *of_line;

        make_lines(&lines, dim, metric);
        of_query = (const struct tern_vector_code *)(const void *)lines.query_line;
        of_line = (const struct tern_vector_code *)(const void *)tern_collection_code(
            &lines.collection, slot);
        for (uint32_t i = 0; i < dim; i++) {
            double q = (double)lines.query[i];
            double v = (double)tern_collection_vector(&lines.collection, slot)[i];

            dot += q * v;
            squared += (q - v) * (q - v);
            lengths[0] += q * q;
            lengths[1] += v * v;
            codes += of_query->values[i] * of_line->values[i];
            assert_in_range(of_line->values[i] + 127, 0, 254);
        }
        tern_kernel_scalar()->measure(&lines.collection, TERN_SPACE_FLOAT_DOT, &lines.probe, &slot,
                                      1, distances);
        assert_true(fabs(-dot - (double)distances[0]) <= 1e-5 * sqrt(lengths[0] * lengths[1]));
        tern_kernel_scalar()->measure(&lines.collection, TERN_SPACE_FLOAT_L2, &lines.probe, &slot,
                                      1, distances);
        assert_true(fabs(squared - (double)distances[0]) <= 1e-5 * squared);
        tern_kernel_scalar()->measure(&lines.collection, TERN_SPACE_CODE_DOT, &lines.probe, &slot,
                                      1, distances);
        /* Under l2 the probe's scale is for its own space. */
        codes *=
            (double)of_query->scale * (double)of_line->scale * (metric == TERN_METRIC_L2 ? 2 : 1);
        assert_true(fabs(-codes - (double)distances[0]) <= 1e-5 * fabs(codes) + 1e-30);
        /* Half a step a value, of both, and the length that cosine's codes are given. */
        if (metric != TERN_METRIC_L2)
            assert_true(fabs(codes - dot) <= 0.02 * sqrt(dim * lengths[0] * lengths[1]));
        free_lines(&lines);
    }
}

/* A code's distance to itself is 0 under l2, its similarity 1 under cosine. */
static void nearest_to_itself(TERN_TEST_STATE)
{
    for (unsigned round = 0; round < 50; round++) {
        struct lines lines;
        float distances[4];
        uint32_t slot = 3;
        const struct tern_vector_code *code;

        make_lines(&lines, 1 + (uint32_t)(tern_test_random(&seed) % 300),
                   round % 2 == 0 ? TERN_METRIC_L2 : TERN_METRIC_COSINE);
        code = (const struct tern_vector_code *)(const void *)tern_collection_code(
            &lines.collection, slot);
        tern_probe_of_code(&lines.collection, (const uint8_t *)code, lines.query, lines.code,
                           lines.magnitude, &lines.probe);
        tern_kernel_choose()->measure(&lines.collection, tern_space_of_graph(&lines.collection),
                                      &lines.probe, &slot, 1, distances);
        if (round % 2 == 0)
            assert_true(fabsf(code->squared + distances[0]) <= 1e-5f * code->squared);
        else if (code->scale > 0)
            assert_true(fabsf(distances[0] + 1) < 1e-5f);
        free_lines(&lines);
    }
}

static void zero_vectors(TERN_TEST_STATE)
{
    struct tern_collection collection;
    float zero[5] = {0}, values[8];
    _Alignas(64) uint8_t line[64];
    const struct tern_vector_code *code = (const struct tern_vector_code *)(const void *)line;

    shape_of(&collection, 5, TERN_METRIC_COSINE);
    assert_true(tern_vector_prepare(&collection, zero, values) == 0);
    for (unsigned i = 0; i < 8; i++)
        assert_true(values[i] == 0);
    tern_vector_encode(&collection, values, line);
    assert_true(code->scale == 0);
    assert_true(tern_vector_score(&collection, -0.0f) == 0);
    assert_false(signbit(tern_vector_score(&collection, 0.0f)));
}

static void bad_vectors(TERN_TEST_STATE)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e19f};
    struct tern_error error;

    for (unsigned i = 0; i < TERN_COUNT(bad); i++) {
        float vector[3] = {1, 2, bad[i]};

        assert_int_equal(tern_vector_check(vector, 3, &error), TERN_EINVAL);
        assert_non_null(strstr(error.message, i < 3 ? "value 3" : "too long"));
        assert_int_equal(tern_vector_check(vector, 2, &error), 0);
    }
}

/* What a pool holds are the least of what was put, in order. */
static void pools(TERN_TEST_STATE)
{
    for (unsigned round = 0; round < 200; round++) {
        struct tern_candidate items[16], all[64];
        struct tern_pool pool = {.items = items,
                                 .limit = 1 + (uint32_t)(tern_test_random(&seed) % 16)};
        unsigned count = (unsigned)(tern_test_random(&seed) % 64);

        for (unsigned i = 0; i < count; i++) {
            float distance = (float)(tern_test_random(&seed) % 20);
            unsigned at = i;

            tern_pool_put(&pool, distance, i);
            for (; at > 0 && distance < all[at - 1].distance; at--)
                all[at] = all[at - 1];
            all[at] = (struct tern_candidate){distance, i};
        }
        assert_int_equal(pool.count, count < pool.limit ? count : pool.limit);
        assert_memory_equal(items, all, pool.count * sizeof *items);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bits),     cmocka_unit_test(as_far_as_they_are),
        cmocka_unit_test(nearest_to_itself), cmocka_unit_test(zero_vectors),
        cmocka_unit_test(bad_vectors),       cmocka_unit_test(pools),
    };

    seed = 20261128;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
