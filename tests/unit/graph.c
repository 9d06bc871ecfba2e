/* controlplane/build/graph*.c and shared/vector/search.c: what was put is found, and only its
 * newest value; the graph finds what a plain scan finds; nothing is out of reach. */
#include "tests/unit/unit.h"

#include "controlplane/build/graph_private.h"
#include "shared/schema.h"
#include "tests/unit/graph_object.h"

#include <math.h>

static uint64_t seed;

static const struct tern_graph_parameters graph_always = {
    .ef_search = 64, .ef_construct = 100, .full_scan = 0};

static struct tern_graph_shape shape_of(uint32_t dim, enum tern_metric metric,
                                        enum tern_quantize quantize, uint32_t capacity)
{
    return (struct tern_graph_shape){
        .dim = dim, .metric = metric, .quantize = quantize, .m = 8, .capacity = capacity};
}

/* Against plain loops: how many of the k are found. Scores are compared and not ids, as two vectors
 * may be equally near. */
static unsigned count_right(enum tern_metric metric, const struct tern_search_hit *hits,
                            unsigned found, const struct tern_search_hit *nearest, unsigned k)
{
    unsigned right = 0;

    for (unsigned i = 0; i < found; i++) {
        float worst = nearest[k - 1].score, slack = 1e-4f * (1 + fabsf(worst));

        right += metric == TERN_METRIC_L2 ? hits[i].score <= worst + slack
                                          : hits[i].score >= worst - slack;
    }
    return right;
}

enum { DIM = 24, COUNT = 3000, QUERIES = 100, K = 10 };

static void recall_of(enum tern_metric metric, enum tern_quantize quantize)
{
    struct tern_graph_shape shape = shape_of(DIM, metric, quantize, COUNT);
    struct tern_graph_object object;
    float *vectors = malloc(sizeof *vectors * DIM * COUNT), query[DIM];
    struct tern_search_hit hits[K], nearest[K];
    unsigned right = 0, exactly = 0, right_reopened = 0;
    uint64_t begun;

    assert_non_null(vectors);
    tern_graph_object_make(&object, &shape, &graph_always);
    for (uint32_t i = 0; i < COUNT; i++) {
        tern_graph_object_vector(&seed, DIM, 20, vectors + (size_t)i * DIM);
        tern_graph_object_put(&object, i, i + 1, vectors + (size_t)i * DIM);
    }
    tern_graph_link(object.graph);
    assert_int_equal(tern_graph_object_unreached(&object), 0);
    begun = seed;
    for (unsigned q = 0; q < QUERIES; q++) {
        tern_graph_object_vector(&seed, DIM, 20, query);
        tern_graph_object_nearest(metric, DIM, vectors, COUNT, query, K, nearest);
        right += count_right(
            metric, hits, tern_graph_object_search(&object, query, K, 0, false, hits), nearest, K);
        exactly += count_right(
            metric, hits, tern_graph_object_search(&object, query, K, 0, true, hits), nearest, K);
        for (unsigned i = 0; i < K; i++)
            assert_true(fabsf(hits[i].score - nearest[i].score) <=
                        1e-4f * (1 + fabsf(nearest[i].score)));
    }
    tern_graph_object_reopen(&object);
    seed = begun;
    for (unsigned q = 0; q < QUERIES; q++) {
        tern_graph_object_vector(&seed, DIM, 20, query);
        tern_graph_object_nearest(metric, DIM, vectors, COUNT, query, K, nearest);
        right_reopened += count_right(
            metric, hits, tern_graph_object_search(&object, query, K, 0, false, hits), nearest, K);
    }
    assert_int_equal(exactly, QUERIES * K);
    assert_int_equal(right_reopened, right);
    if (right < QUERIES * K * 97 / 100)
        fail_msg("metric %d, quantize %d: %u of %u found", metric, quantize, right, QUERIES * K);
    tern_graph_object_free(&object);
    free(vectors);
}

static void recall(TERN_TEST_STATE)
{
    for (unsigned metric = TERN_METRIC_COSINE; metric <= TERN_METRIC_DOT; metric++)
        for (unsigned quantize = TERN_QUANTIZE_NONE; quantize <= TERN_QUANTIZE_INT8; quantize++)
            recall_of((enum tern_metric)metric, (enum tern_quantize)quantize);
}

/* Found as soon as put returns, linked or not; the old value never again. */
static void found_at_once(TERN_TEST_STATE)
{
    struct tern_graph_shape shape = shape_of(DIM, TERN_METRIC_L2, TERN_QUANTIZE_INT8, 500);
    struct tern_graph_object object;
    struct tern_search_hit hits[20];
    uint64_t seq = 0, known, ids = 0;
    bool seen[400] = {false};

    tern_graph_object_make(&object, &shape, &graph_always);
    for (unsigned step = 0; step < 4000; step++) {
        uint64_t id = tern_test_random(&seed) % 400;
        float vector[DIM];
        unsigned found, times = 0;

        tern_graph_object_vector(&seed, DIM, 20, vector);
        tern_graph_object_put(&object, id, ++seq, vector);
        tern_graph_object_put(&object, id, seq, vector); /* replayed: nothing happens */
        found = tern_graph_object_search(&object, vector, 20, 40, step % 5 == 0, hits);
        assert_true(found > 0);
        assert_int_equal(hits[0].id, id);
        assert_true(hits[0].score == 0);
        for (unsigned i = 0; i < found; i++)
            times += hits[i].id == id;
        assert_int_equal(times, 1);
        assert_true(tern_graph_find(object.graph, id, &known));
        assert_int_equal(known, seq);
        ids += !seen[id];
        seen[id] = true;
        if (step % 700 == 699)
            tern_graph_link(object.graph);
        if (step % 1100 == 1099)
            tern_graph_object_reopen(&object);
    }
    assert_int_equal(atomic_load(&tern_graph_collection(object.graph)->header->live_count), ids);
    assert_int_equal(tern_graph_object_unreached(&object), 0);
    tern_graph_object_free(&object);
}

/* A thousand equal vectors are no trap: each is reached, and what else there is, is found from and
 * past them. */
static void equal_vectors(TERN_TEST_STATE)
{
    enum { EQUAL = 1000, OTHERS = 2000 };
    struct tern_graph_shape shape = shape_of(DIM, TERN_METRIC_COSINE, TERN_QUANTIZE_INT8, 4000);
    struct tern_graph_object object;
    static struct tern_search_hit hits[EQUAL];
    static float others[OTHERS][DIM];
    static uint8_t seen[EQUAL];
    float equal[DIM];
    unsigned found, right = 0;

    tern_graph_object_make(&object, &shape, &graph_always);
    tern_graph_object_vector(&seed, DIM, 1, equal);
    for (uint32_t i = 0; i < EQUAL; i++)
        tern_graph_object_put(&object, i, i + 1, equal);
    tern_graph_link(object.graph);
    assert_int_equal(tern_graph_object_unreached(&object), 0);
    for (uint32_t i = 0; i < OTHERS; i++) {
        tern_graph_object_vector(&seed, DIM, 20, others[i]);
        tern_graph_object_put(&object, EQUAL + i, EQUAL + i + 1, others[i]);
    }
    tern_graph_link(object.graph);
    assert_int_equal(tern_graph_object_unreached(&object), 0);
    found = tern_graph_object_search(&object, equal, EQUAL, 0, false, hits);
    assert_int_equal(found, EQUAL);
    for (unsigned i = 0; i < found; i++) {
        assert_true(hits[i].id < EQUAL && !seen[hits[i].id]);
        assert_true(i == 0 || hits[i - 1].id < hits[i].id);
        seen[hits[i].id] = 1;
    }
    for (uint32_t i = 0; i < OTHERS; i++)
        right += tern_graph_object_search(&object, others[i], 1, 0, false, hits) == 1 &&
                 hits[0].id == EQUAL + i;
    if (right < OTHERS * 99 / 100)
        fail_msg("%u of %u others found", right, OTHERS);
    tern_graph_object_free(&object);
}

struct share { /* of ids that pass, by a hash: 1 in `one_in` */
    uint64_t one_in;
    uint64_t asked;
};

static bool passes(const struct share *share, uint64_t id)
{
    return (id * 0x9e3779b97f4a7c15ull >> 33) % share->one_in == 0;
}

static void match_share(const void *context, const struct tern_collection *collection,
                        const uint32_t *slots, unsigned count, uint8_t *matches)
{
    struct share *share = (struct share *)(uintptr_t)context;

    for (unsigned i = 0; i < count; i++)
        matches[i] = passes(share, collection->meta[slots[i]].id);
    share->asked += count;
}

/* Whatever share passes, the nearest passing ones are found, only they, and at no more than about
 * twice the cost of a scan; also with some in the tail. */
static void filters(TERN_TEST_STATE)
{
    enum { MANY = 12000 };
    static const uint64_t one_in[] = {1, 2, 3, 10, 40, 200, 3000, 1000000};
    struct tern_graph_shape shape = shape_of(DIM, TERN_METRIC_COSINE, TERN_QUANTIZE_INT8, MANY);
    struct tern_graph_object object;
    float *vectors = malloc(sizeof *vectors * DIM * MANY);
    float *passing = malloc(sizeof *passing * DIM * MANY), query[DIM];

    assert_non_null(vectors);
    assert_non_null(passing);
    tern_graph_object_make(&object, &shape, &graph_always);
    for (uint32_t i = 0; i < MANY; i++) {
        tern_graph_object_vector(&seed, DIM, 20, vectors + (size_t)i * DIM);
        tern_graph_object_put(&object, i, i + 1, vectors + (size_t)i * DIM);
        if (i == MANY - 300)
            tern_graph_link(object.graph);
    }
    for (unsigned s = 0; s < TERN_COUNT(one_in); s++) {
        struct share share = {.one_in = one_in[s]};
        struct tern_search_filter filter = {match_share, &share};
        unsigned right = 0, wanted = 0;
        uint32_t count = 0;

        for (uint32_t i = 0; i < MANY; i++)
            if (passes(&share, i))
                memcpy(passing + (size_t)count++ * DIM, vectors + (size_t)i * DIM,
                       sizeof *vectors * DIM);
        for (unsigned q = 0; q < 100; q++) {
            struct tern_search_hit hits[K], nearest[K];
            struct tern_search asked = {
                .query = query, .k = K, .filter = &filter, .exact = q % 10 == 9};
            unsigned found, expected = count < K ? count : K;

            tern_graph_object_vector(&seed, DIM, 20, query);
            share.asked = 0;
            found =
                tern_search_run(tern_graph_collection(object.graph), object.scratch, &asked, hits);
            assert_true(share.asked <= 3 * MANY);
            assert_int_equal(found, expected);
            for (unsigned i = 0; i < found; i++)
                assert_true(passes(&share, hits[i].id));
            if (expected == 0)
                continue;
            tern_graph_object_nearest(TERN_METRIC_COSINE, DIM, passing, count, query, expected,
                                      nearest);
            right += count_right(TERN_METRIC_COSINE, hits, found, nearest, expected);
            wanted += expected;
        }
        /* 97.1 % of 1 in 3, the worst share, in the mean of 40 seeds, and 95.5 % at the least. */
        if (right < wanted * 94 / 100)
            fail_msg("1 in %llu passes: %u of %u found", (unsigned long long)one_in[s], right,
                     wanted);
    }
    tern_graph_object_free(&object);
    free(vectors);
    free(passing);
}

static void small_collections(TERN_TEST_STATE)
{
    struct tern_graph_shape shape = shape_of(3, TERN_METRIC_COSINE, TERN_QUANTIZE_INT8, 4);
    struct tern_graph_object object;
    struct tern_search_hit hits[10];
    struct tern_error error;
    float zero[3] = {0}, vectors[4][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 0}, {0, 0, 5}};

    tern_graph_object_make(&object, &shape, &graph_always);
    for (unsigned exact = 0; exact < 2; exact++)
        assert_int_equal(tern_graph_object_search(&object, zero, 10, 0, exact != 0, hits), 0);
    for (unsigned i = 0; i < 4; i++)
        tern_graph_object_put(&object, i, i + 1, vectors[i]);
    for (unsigned linked = 0; linked < 2; linked++) {
        for (unsigned exact = 0; exact < 2; exact++) {
            float query[3] = {0, 2, 0};

            assert_int_equal(tern_graph_object_search(&object, query, 10, 0, exact != 0, hits), 4);
            assert_int_equal(hits[0].id, 1);
            assert_true(hits[0].score == 1);
            for (unsigned i = 1; i < 4; i++) { /* the zero vector among them */
                assert_int_equal(hits[i].id, i == 1 ? 0 : i);
                assert_true(hits[i].score == 0 && !signbit(hits[i].score));
            }
        }
        tern_graph_link(object.graph);
    }
    assert_int_equal(tern_graph_put(object.graph, 9, 9, vectors[0], NULL, &error), TERN_ENOSPC);
    assert_non_null(strstr(error.message, "4 vectors"));
    tern_graph_object_put(&object, 2, 10, vectors[0]); /* an id that is there has room */
    assert_int_equal(tern_graph_object_search(&object, vectors[0], 2, 0, false, hits), 2);
    assert_int_equal(hits[0].id + hits[1].id, 2);
    tern_graph_object_free(&object);
}

static void payloads(TERN_TEST_STATE)
{
    static const char *const labels[] = {"ham", "spam", "", "fraud"};
    struct tern_graph_shape shape = shape_of(4, TERN_METRIC_L2, TERN_QUANTIZE_INT8, 2000);
    struct tern_graph_object object;
    struct tern_search_hit hit;
    const struct tern_collection *collection;

    shape.columns[0] = (struct tern_graph_column){"label", TERN_TYPE_STRING};
    shape.columns[1] = (struct tern_graph_column){"tenant", TERN_TYPE_U32};
    shape.columns[2] = (struct tern_graph_column){"time", TERN_TYPE_I64};
    shape.columns[3] = (struct tern_graph_column){"trust", TERN_TYPE_F32};
    shape.columns[4] = (struct tern_graph_column){"seen", TERN_TYPE_BOOL};
    shape.columns[5] = (struct tern_graph_column){"note", TERN_TYPE_STRING};
    shape.column_count = 6;
    tern_graph_object_make(&object, &shape, &graph_always);
    for (uint32_t i = 0; i < 1000; i++) {
        float vector[4] = {(float)i, 0, 0, 0};
        char note[16];
        struct tern_graph_value payload[6] = {
            {.present = i % 5 != 0, .string = {labels[i % 4], (uint32_t)strlen(labels[i % 4])}},
            {.present = true, .u64 = i},
            {.present = true, .i64 = -(int64_t)i},
            {.present = true, .f32 = (float)i / 2},
            {.present = true, .u64 = i % 2},
            {.present = i % 3 == 0,
             .string = {note, (uint32_t)snprintf(note, sizeof note, "note %u", i)}},
        };

        assert_int_equal(tern_graph_put(object.graph, i, i + 1, vector, payload, NULL), 0);
        if (i == 500)
            tern_graph_object_reopen(&object);
    }
    collection = tern_graph_collection(object.graph);
    assert_int_equal(atomic_load(&collection->header->dictionary_count), 4 + 334);
    assert_int_equal(tern_collection_find_column(collection, "time", 4), 2);
    for (uint32_t i = 0; i < 4 + 334; i++) {
        const uint8_t *bytes;
        uint32_t length, index;

        assert_true(tern_collection_string(collection, i, &bytes, &length));
        assert_true(tern_collection_find_string(collection, bytes, length, &index));
        assert_int_equal(index, i);
        assert_false(tern_collection_find_string(collection, bytes, length + 1, &index));
    }
    assert_false(
        tern_collection_string(collection, 4 + 334, &(const uint8_t *){NULL}, &(uint32_t){0}));
    assert_int_equal(tern_collection_find_column(collection, "tim", 3), -1);
    for (uint32_t i = 0; i < 1000; i++) {
        float query[4] = {(float)i, 0, 0, 0};
        char note[16];
        struct tern_payload_value value;

        assert_int_equal(tern_graph_object_search(&object, query, 1, 0, true, &hit), 1);
        assert_int_equal(hit.id, i);
        value = tern_collection_payload(collection, hit.slot, 0);
        assert_int_equal(value.type, i % 5 != 0 ? TERN_TYPE_STRING : TERN_TYPE_NONE);
        if (i % 5 != 0) {
            assert_int_equal(value.string.length, strlen(labels[i % 4]));
            assert_memory_equal(value.string.bytes, labels[i % 4], value.string.length);
        }
        assert_int_equal(tern_collection_payload(collection, hit.slot, 1).u64, i);
        assert_true(tern_collection_payload(collection, hit.slot, 2).i64 == -(int64_t)i);
        assert_true(tern_collection_payload(collection, hit.slot, 3).f32 == (float)i / 2);
        assert_int_equal(tern_collection_payload(collection, hit.slot, 4).u64, i % 2);
        value = tern_collection_payload(collection, hit.slot, 5);
        assert_int_equal(value.type, i % 3 == 0 ? TERN_TYPE_STRING : TERN_TYPE_NONE);
        snprintf(note, sizeof note, "note %u", i);
        if (i % 3 == 0)
            assert_memory_equal(value.string.bytes, note, strlen(note));
    }
    tern_graph_object_free(&object);
}

static void bad_payloads(TERN_TEST_STATE)
{
    static char letters[TERN_PAYLOAD_STRING_MAX + 1];
    struct tern_graph_shape shape = shape_of(1, TERN_METRIC_L2, TERN_QUANTIZE_NONE, 10);
    struct tern_graph_object object;
    struct tern_graph_value bad[] = {
        {.present = true, .string = {letters, sizeof letters}},
        {.present = true, .u64 = 1ull << 32},
        {.present = true, .f32 = NAN},
        {.present = true, .u64 = 2},
    };
    float one = 1;

    shape.columns[0] = (struct tern_graph_column){"text", TERN_TYPE_STRING};
    shape.columns[1] = (struct tern_graph_column){"number", TERN_TYPE_U32};
    shape.columns[2] = (struct tern_graph_column){"share", TERN_TYPE_F32};
    shape.columns[3] = (struct tern_graph_column){"flag", TERN_TYPE_BOOL};
    shape.column_count = 4;
    tern_graph_object_make(&object, &shape, &graph_always);
    for (unsigned i = 0; i < 4; i++) {
        struct tern_graph_value payload[4] = {0};
        struct tern_error error;

        payload[i] = bad[i];
        assert_int_equal(tern_graph_put(object.graph, 1, 1, &one, payload, &error), TERN_EINVAL);
        assert_non_null(strstr(error.message, shape.columns[i].name));
    }
    assert_int_equal(atomic_load(&tern_graph_collection(object.graph)->header->slot_count), 0);
    tern_graph_object_free(&object);
}

/* No pages: a clear refusal, and what was there goes on. */
static void no_space(TERN_TEST_STATE)
{
    struct tern_graph_shape shape = shape_of(DIM, TERN_METRIC_L2, TERN_QUANTIZE_INT8, 100000);
    struct tern_graph_object object;
    struct tern_search_hit hit;
    struct tern_error error;
    float vector[DIM];
    uint32_t count = 0;

    tern_graph_object_make(&object, &shape, &graph_always);
    object.allocate_at_most = 2u << 20;
    for (int status = 0; status == 0; count++) {
        tern_graph_object_vector(&seed, DIM, 20, vector);
        status = tern_graph_put(object.graph, count, count + 1, vector, NULL, &error);
        if (status != 0)
            assert_int_equal(status, TERN_ENOSPC);
    }
    assert_in_range(count, 2000, 20000);
    assert_non_null(strstr(error.message, "no more pages"));
    assert_int_equal(tern_graph_object_search(&object, vector, 1, 0, false, &hit), 1);
    object.allocate_at_most = 0;
    tern_graph_object_put(&object, count, count + 1, vector);
    assert_int_equal(tern_graph_object_search(&object, vector, 1, 0, false, &hit), 1);
    assert_int_equal(hit.id, count);
    tern_graph_object_free(&object);
}

/* A list is made to hold what it should; what stays keeps its place unless a hole before it is
 * closed. */
static void lists(TERN_TEST_STATE)
{
    for (unsigned round = 0; round < 2000; round++) {
        _Atomic uint32_t list[16];
        uint32_t targets[16], held[16], before[16];
        unsigned length = 1 + (unsigned)(tern_test_random(&seed) % 16), count = 0;

        for (unsigned i = 0; i < length; i++) /* holes anywhere */
            atomic_store(&list[i], tern_test_random(&seed) % 3 == 0 ? TERN_SLOT_NONE : 100 + i);
        for (uint32_t i = 0; i < 30 && count < length; i++)
            if (tern_test_random(&seed) % 4 == 0)
                targets[count++] = i + 95;
        for (unsigned i = 0; i < length; i++)
            before[i] = atomic_load(&list[i]);
        tern_graph_list_set(list, length, targets, count);
        assert_int_equal(tern_graph_list_read(list, length, held), count);
        for (unsigned i = 0; i < count; i++)
            assert_true(tern_graph_list_has(list, length, targets[i]));
        for (unsigned i = 0; i < length; i++) /* a link that stays does not move */
            if (before[i] != TERN_SLOT_NONE && tern_graph_list_has(list, length, before[i]))
                assert_int_equal(atomic_load(&list[i]), before[i]);
        if (count > 0) {
            tern_graph_list_remove(list, length, targets[count / 2]);
            assert_int_equal(tern_graph_list_read(list, length, held), count - 1);
            assert_false(tern_graph_list_has(list, length, targets[count / 2]));
            assert_true(tern_graph_list_add(list, length, targets[count / 2]));
        }
        assert_int_equal(tern_graph_list_add(list, length, 1), count < length);
    }
}

/* The header is checked byte by byte: a changed constant is refused. */
static void damaged_headers(TERN_TEST_STATE)
{
    struct tern_graph_shape shape = shape_of(DIM, TERN_METRIC_L2, TERN_QUANTIZE_INT8, 100);
    struct tern_graph_object object;
    struct tern_collection collection;

    tern_graph_object_make(&object, &shape, &graph_always);
    for (size_t i = 0; i < offsetof(struct tern_collection_header, ef_search); i++) {
        uint8_t *byte = (uint8_t *)object.memory + i;

        *byte ^= 1;
        assert_int_not_equal(tern_collection_open(&collection, object.memory, object.length, NULL),
                             0);
        *byte ^= 1;
    }
    assert_int_equal(tern_collection_open(&collection, object.memory, object.length, NULL), 0);
    assert_int_equal(tern_collection_open(&collection, object.memory, object.length - 1, NULL),
                     TERN_ECORRUPT);
    tern_graph_object_free(&object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),         cmocka_unit_test(small_collections),
        cmocka_unit_test(recall),        cmocka_unit_test(found_at_once),
        cmocka_unit_test(equal_vectors), cmocka_unit_test(filters),
        cmocka_unit_test(payloads),      cmocka_unit_test(bad_payloads),
        cmocka_unit_test(no_space),      cmocka_unit_test(damaged_headers),
    };

    seed = 20261128;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
