/* controlplane/build/graph_{remove,repair,sweep,recover,census,work}.c: whatever is put, replaced
 * and removed in whatever order, searches find what a plain list finds, nothing falls out of reach,
 * and slots come back. */
#include "tests/unit/unit.h"

#include "shared/clock.h"
#include "tests/unit/graph_check.h"
#include "tests/unit/graph_object.h"

#include <math.h>

static uint64_t seed;

static const struct tern_graph_parameters graph_always = {
    .ef_search = 64, .ef_construct = 64, .full_scan = 0};

static struct tern_graph_shape shape_of(uint32_t dim, uint32_t capacity, uint32_t m)
{
    return (struct tern_graph_shape){.dim = dim,
                                     .metric = TERN_METRIC_L2,
                                     .quantize = TERN_QUANTIZE_INT8,
                                     .m = m,
                                     .capacity = capacity};
}

static struct tern_graph_census census_of(struct tern_graph_object *object)
{
    struct tern_graph_census census;

    assert_int_equal(tern_graph_census(object->graph, &census), 0);
    return census;
}

/* Everything done, and nobody reads. */
static void settle(struct tern_graph_object *object)
{
    tern_graph_settle(object->graph);
    object->graces_over = object->graces;
    tern_graph_settle(object->graph);
    object->graces_over = object->graces;
    tern_graph_settle(object->graph);
}

/* ---- random interleavings beside a plain list ---- */

enum { DIM = 8, IDS = 300, K = 10 };

struct plain { /* the slow, obvious store */
    bool present[IDS];
    uint64_t seq[IDS];
    float vector[IDS][DIM];
};

static unsigned plain_nearest(const struct plain *plain, const float *query, unsigned k,
                              struct tern_search_hit *hits)
{
    static float vectors[IDS][DIM];
    static uint64_t ids[IDS];
    uint32_t count = 0;

    for (uint32_t id = 0; id < IDS; id++) {
        if (!plain->present[id])
            continue;
        memcpy(vectors[count], plain->vector[id], sizeof vectors[0]);
        ids[count++] = id;
    }
    tern_graph_object_nearest(TERN_METRIC_L2, DIM, vectors[0], count, query, k, hits);
    for (unsigned i = 0; i < k && i < count; i++)
        hits[i].id = ids[hits[i].id];
    return count < k ? count : k;
}

/* Exact searches give what the list gives; walks give only what is there, each once, with its
 * newest value, and nearly always the nearest. */
static void compare(struct tern_graph_object *object, const struct plain *plain, unsigned *asked,
                    unsigned *right)
{
    struct tern_search_hit hits[K], nearest[K];
    float query[DIM];
    unsigned expected, found;

    tern_graph_object_vector(&seed, DIM, 10, query);
    expected = plain_nearest(plain, query, K, nearest);
    found = tern_graph_object_search(object, query, K, 0, true, hits);
    assert_int_equal(found, expected);
    for (unsigned i = 0; i < found; i++)
        assert_true(fabsf(hits[i].score - nearest[i].score) <= 1e-4f * (1 + nearest[i].score));
    found = tern_graph_object_search(object, query, K, 100, false, hits);
    assert_int_equal(found, expected);
    for (unsigned i = 0; i < found; i++) {
        double squared = 0;

        assert_true(hits[i].id < IDS && plain->present[hits[i].id]);
        for (unsigned d = 0; d < DIM; d++)
            squared += pow((double)query[d] - (double)plain->vector[hits[i].id][d], 2);
        assert_true(fabs(sqrt(squared) - (double)hits[i].score) <= 1e-4 * (1 + sqrt(squared)));
        for (unsigned other = 0; other < i; other++)
            assert_int_not_equal(hits[other].id, hits[i].id);
        *right += hits[i].score <= nearest[found - 1].score * 1.0001f;
    }
    *asked += found;
}

static void random_step(struct tern_graph_object *object, struct plain *plain, uint64_t *seq)
{
    uint64_t id = tern_test_random(&seed) % IDS;

    switch (tern_test_random(&seed) % 12) {
    case 0:
    case 1:
    case 2:
        assert_int_equal(tern_graph_remove(object->graph, id, ++*seq),
                         plain->present[id] ? 0 : TERN_ENOENT);
        plain->present[id] = false;
        break;
    case 3:
        tern_graph_work(object->graph, tern_test_random(&seed) % 300);
        break;
    case 4:
        if (tern_test_random(&seed) % 4 == 0)
            tern_graph_settle(object->graph);
        else
            tern_graph_link(object->graph);
        break;
    case 5:
        if (object->graces > object->graces_over)
            object->graces_over++;
        break;
    case 6:
        if (tern_test_random(&seed) % 8 == 0)
            tern_graph_object_reopen(object);
        break;
    default:
        plain->present[id] = true;
        plain->seq[id] = ++*seq;
        /* Some are equal to others. */
        if (tern_test_random(&seed) % 10 == 0)
            memcpy(plain->vector[id], plain->vector[tern_test_random(&seed) % IDS],
                   sizeof plain->vector[id]);
        else
            tern_graph_object_vector(&seed, DIM, 10, plain->vector[id]);
        tern_graph_object_put(object, id, *seq, plain->vector[id]);
        break;
    }
}

static void interleavings(TERN_TEST_STATE)
{
    static const uint32_t ms[] = {4, 5, 8, 16};

    for (unsigned round = 0; round < 8; round++) {
        struct tern_graph_shape shape = shape_of(DIM, IDS, ms[round % TERN_COUNT(ms)]);
        struct tern_graph_object object;
        static struct plain plain;
        unsigned asked = 0, right = 0;
        uint64_t seq = 0;
        char where[64];

        memset(&plain, 0, sizeof plain);
        tern_graph_object_make(&object, &shape, &graph_always);
        for (unsigned step = 0; step < 4000; step++) {
            random_step(&object, &plain, &seq);
            snprintf(where, sizeof where, "round %u, step %u", round, step);
            if (step % 7 == 0)
                tern_graph_check(object.graph, where);
            if (step % 5 == 0)
                compare(&object, &plain, &asked, &right);
        }
        settle(&object);
        tern_graph_check(object.graph, "settled");
        assert_int_equal(census_of(&object).deleted + census_of(&object).detached, 0);
        if (right < asked * 98ull / 100)
            fail_msg("round %u: %u of %u found", round, right, asked);
        for (uint64_t id = 0; id < IDS; id++) {
            uint64_t known = 0;

            assert_int_equal(tern_graph_find(object.graph, id, &known), plain.present[id]);
            if (plain.present[id])
                assert_int_equal(known, plain.seq[id]);
        }
        /* Slots were used again: never more than the ids, their tombstones and what waits. */
        assert_true(census_of(&object).free > 0);
        tern_graph_object_free(&object);
    }
}

static void removals_are_replayed(TERN_TEST_STATE)
{
    struct tern_graph_shape shape = shape_of(DIM, 10, 8);
    struct tern_graph_object object;
    float vector[DIM] = {1};
    uint64_t known;

    tern_graph_object_make(&object, &shape, &graph_always);
    assert_int_equal(tern_graph_remove(object.graph, 7, 1), TERN_ENOENT);
    tern_graph_object_put(&object, 7, 5, vector);
    assert_int_equal(tern_graph_remove(object.graph, 7, 4), 0); /* older than what is there */
    assert_true(tern_graph_find(object.graph, 7, &known));
    assert_int_equal(tern_graph_remove(object.graph, 7, 6), 0);
    assert_int_equal(tern_graph_remove(object.graph, 7, 6), TERN_ENOENT);
    assert_false(tern_graph_find(object.graph, 7, &known));
    settle(&object);
    assert_int_equal(census_of(&object).free, 1); /* it left with the tail, never linked */
    assert_int_equal(atomic_load(&object.graph->meta[0].state) >> 16, 1); /* one use */
    tern_graph_object_free(&object);
}

/* ---- crowds ---- */

static void all_removed_and_put_again(TERN_TEST_STATE)
{
    enum { COUNT = 1500 };
    struct tern_graph_shape shape = shape_of(DIM, COUNT, 8);
    struct tern_graph_object object;
    struct tern_search_hit hits[K];
    float vector[DIM];
    uint64_t seq = 0;

    tern_graph_object_make(&object, &shape, &graph_always);
    for (unsigned round = 0; round < 4; round++) {
        unsigned right = 0;

        for (uint32_t id = 0; id < COUNT; id++) {
            uint64_t begun = 1000 + id;

            tern_graph_object_vector(&begun, DIM, 10, vector);
            tern_graph_object_put(&object, id, ++seq, vector);
            if (round == 2 && id % 100 == 0) /* among tombstones that are not repaired yet */
                tern_graph_work(object.graph, 200);
        }
        tern_graph_link(object.graph);
        tern_graph_check(object.graph, "put");
        for (uint32_t id = 0; id < COUNT; id++) {
            uint64_t begun = 1000 + id;

            tern_graph_object_vector(&begun, DIM, 10, vector);
            right += tern_graph_object_search(&object, vector, 1, 0, false, hits) == 1 &&
                     hits[0].id == id;
        }
        if (right < COUNT * 99 / 100)
            fail_msg("round %u: %u of %u found", round, right, COUNT);
        for (uint32_t id = 0; id < COUNT; id++) {
            assert_int_equal(tern_graph_remove(object.graph, id, ++seq), 0);
            if (id % 300 == 0)
                tern_graph_check(object.graph, "removing");
        }
        assert_int_equal(tern_graph_object_search(&object, vector, K, 0, false, hits), 0);
        assert_int_equal(tern_graph_object_search(&object, vector, K, 0, true, hits), 0);
        if (round % 2 == 0) {
            settle(&object);
            tern_graph_check(object.graph, "removed");
            assert_int_equal(census_of(&object).free, tern_graph_slot_count(object.graph));
            assert_int_equal((uint32_t)atomic_load(&object.graph->header->entry), TERN_SLOT_NONE);
        }
    }
    tern_graph_object_free(&object);
}

static void equal_vectors(TERN_TEST_STATE)
{
    enum { EQUAL = 1000 };
    struct tern_graph_shape shape = shape_of(DIM, 2 * EQUAL, 8);
    struct tern_graph_object object;
    static struct tern_search_hit hits[EQUAL];
    float vector[DIM] = {1, 2, 3};
    uint64_t seq = 0;

    tern_graph_object_make(&object, &shape, &graph_always);
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t id = 0; id < EQUAL; id++)
            tern_graph_object_put(&object, id, ++seq,
                                  vector); /* from the second round on: replaced */
        tern_graph_link(object.graph);
        for (uint32_t id = round; id < EQUAL; id += 2)
            assert_int_equal(tern_graph_remove(object.graph, id, ++seq), 0);
        settle(&object);
        tern_graph_check(object.graph, "half of them");
        assert_int_equal(tern_graph_object_search(&object, vector, EQUAL, 0, false, hits),
                         EQUAL - (EQUAL - round + 1) / 2);
    }
    tern_graph_object_free(&object);
}

/* ---- room ---- */

static void room_comes_back(TERN_TEST_STATE)
{
    enum { COUNT = 200 };
    struct tern_graph_shape shape = shape_of(DIM, COUNT, 8);
    struct tern_graph_object object;
    struct tern_error error;
    float vector[DIM];
    uint64_t seq = 0, slots;
    int status = 0;

    tern_graph_object_make(&object, &shape, &graph_always);
    for (uint32_t id = 0; id < COUNT; id++) {
        tern_graph_object_vector(&seed, DIM, 10, vector);
        tern_graph_object_put(&object, id, ++seq, vector);
    }
    assert_int_equal(tern_graph_put(object.graph, COUNT, ++seq, vector, NULL, &error), TERN_ENOSPC);
    assert_int_equal(tern_graph_remove(object.graph, 3, ++seq), 0);
    tern_graph_object_put(&object, COUNT, ++seq, vector); /* at once: there are spare slots */
    assert_int_equal(tern_graph_put(object.graph, 3, ++seq, vector, NULL, &error), TERN_ENOSPC);

    /* A reader that never leaves: replacing goes on until the spare slots are used up. */
    slots = object.graph->header->capacity;
    for (uint32_t i = 0; status == 0; i++) {
        assert_true(i <= slots);
        tern_graph_object_vector(&seed, DIM, 10, vector);
        status = tern_graph_put(object.graph, 5 + i % 100, ++seq, vector, NULL, &error);
    }
    assert_int_equal(status, TERN_ENOSPC);
    assert_int_equal(tern_graph_slot_count(object.graph), slots);
    tern_graph_check(object.graph, "no slot left");

    /* It leaves: puts that nobody helps with work in between go on for ever. */
    object.graces_over = UINT64_MAX;
    for (uint32_t i = 0; i < 3 * slots; i++) {
        tern_graph_object_vector(&seed, DIM, 10, vector);
        tern_graph_object_put(&object, 5 + i % 100, ++seq, vector);
    }
    tern_graph_check(object.graph, "many replaced");
    tern_graph_object_free(&object);
}

/* A slot comes back after one sweep, however many tombstones are to be repaired: a writer that is
 * killed again and again never gets to the end of those. */
static void short_of_slots(TERN_TEST_STATE)
{
    enum { COUNT = 4000 };
    struct tern_graph_shape shape = shape_of(DIM, COUNT, 8);
    struct tern_graph_object object;
    const struct tern_collection_header *header;
    uint32_t spare, deleted, steps = 0;
    uint64_t seq = 0;
    float vector[DIM];

    tern_graph_object_make(&object, &shape, &graph_always);
    for (uint32_t i = 0; i < COUNT; i++) {
        tern_graph_object_vector(&seed, DIM, 10, vector);
        tern_graph_object_put(&object, i, ++seq, vector);
    }
    tern_graph_link(object.graph);
    header = tern_graph_collection(object.graph)->header;
    spare = header->capacity - COUNT;
    while ((deleted = atomic_load(&header->deleted_count)) <= spare / 2 + 8) {
        tern_graph_object_vector(&seed, DIM, 10, vector);
        tern_graph_object_put(&object, seq % COUNT, seq + 1, vector);
        seq++;
    }
    object.graces_over = UINT64_MAX;
    tern_graph_object_reopen(&object); /* a sweep that was under way begins anew */
    header = tern_graph_collection(object.graph)->header;
    for (; atomic_load(&header->deleted_count) >= deleted; steps++)
        assert_true(tern_graph_work(object.graph, 0));
    /* Every other step links. A sweep begins for a 64th of the slots and takes 64 of them a step.
     */
    assert_in_range(steps, 1, 2 * 2 * (tern_graph_slot_count(object.graph) / 64 + 1) + 8);
    tern_graph_object_free(&object);
}

/* ---- recall under churn ---- */

static double recall_of(struct tern_graph_object *object, const float *vectors, uint32_t count,
                        uint32_t dim, const uint64_t *ids, unsigned ef)
{
    enum { QUERIES = 600 };
    struct tern_search_hit hits[K], nearest[K];
    uint64_t queries = 4711;
    unsigned right = 0;
    float query[64];

    for (unsigned q = 0; q < QUERIES; q++) {
        unsigned found;

        tern_graph_object_vector(&queries, dim, 30, query);
        tern_graph_object_nearest(TERN_METRIC_L2, dim, vectors, count, query, K, nearest);
        found = tern_graph_object_search(object, query, K, ef, false, hits);
        for (unsigned i = 0; i < found; i++)
            for (unsigned j = 0; j < K; j++)
                right += hits[i].id == ids[nearest[j].id];
    }
    return (double)right / (QUERIES * K);
}

/* Every vector replaced once, by another: as good as built anew. */
static void churn(TERN_TEST_STATE)
{
    enum { COUNT = 4000, WIDE = 24, STEPS = 10 };
    struct tern_graph_shape shape = shape_of(WIDE, COUNT, 8);
    struct tern_graph_object object, anew;
    float *vectors = malloc(sizeof *vectors * COUNT * WIDE);
    uint64_t *ids = malloc(sizeof *ids * COUNT), seq = 0;
    double before, after, fresh;

    assert_true(vectors != NULL && ids != NULL);
    tern_graph_object_make(&object, &shape, &graph_always);
    tern_graph_object_make(&anew, &shape, &graph_always);
    for (uint32_t i = 0; i < COUNT; i++) {
        tern_graph_object_vector(&seed, WIDE, 30, vectors + (size_t)i * WIDE);
        ids[i] = i;
        tern_graph_object_put(&object, i, ++seq, vectors + (size_t)i * WIDE);
    }
    tern_graph_link(object.graph);
    before = recall_of(&object, vectors, COUNT, WIDE, ids, 20);
    for (uint32_t i = 0; i < COUNT; i++) {
        /* Half are upserts of the id, half a removal and a new id. */
        if (i % 2 == 0)
            assert_int_equal(tern_graph_remove(object.graph, ids[i], ++seq), 0);
        ids[i] += i % 2 == 0 ? COUNT : 0;
        tern_graph_object_vector(&seed, WIDE, 30, vectors + (size_t)i * WIDE);
        tern_graph_object_put(&object, ids[i], ++seq, vectors + (size_t)i * WIDE);
        if (i % (COUNT / STEPS) == COUNT / STEPS - 1) {
            object.graces_over = object.graces;
            tern_graph_settle(object.graph);
        }
    }
    settle(&object);
    tern_graph_check(object.graph, "every vector replaced");
    after = recall_of(&object, vectors, COUNT, WIDE, ids, 20);
    for (uint32_t i = 0; i < COUNT; i++)
        tern_graph_object_put(&anew, ids[i], i + 1, vectors + (size_t)i * WIDE);
    tern_graph_link(anew.graph);
    fresh = recall_of(&anew, vectors, COUNT, WIDE, ids, 20);
    print_message("recall before %.4f, after %.4f, of a new graph %.4f\n", before, after, fresh);
    assert_true(after >= fresh - 0.01);
    free(vectors);
    free(ids);
    tern_graph_object_free(&object);
    tern_graph_object_free(&anew);
}

/* ---- what should not happen ---- */

/* A tree that something has broken is mended after the next open, or after a census that sees it.
 */
static void broken_trees(TERN_TEST_STATE)
{
    enum { COUNT = 600 };
    struct tern_graph_shape shape = shape_of(DIM, COUNT, 8);
    struct tern_graph_object object;
    float vector[DIM];

    tern_graph_object_make(&object, &shape, &graph_always);
    for (uint32_t id = 0; id < COUNT; id++) {
        tern_graph_object_vector(&seed, DIM, 10, vector);
        tern_graph_object_put(&object, id, id + 1, vector);
    }
    tern_graph_link(object.graph);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 10; i++) {
            uint32_t slot = (uint32_t)(tern_test_random(&seed) % COUNT);
            uint32_t anchor = object.graph->meta[slot].anchor;

            if (anchor == slot)
                continue;
            tern_graph_list_remove(tern_graph_list(object.graph, anchor, 0), 16, slot);
            if (i % 2 == 0) /* and everything that leads to it: out of reach */
                for (uint32_t other = 0; other < COUNT; other++)
                    tern_graph_list_remove(tern_graph_list(object.graph, other, 0), 16, slot);
        }
        if (round % 2 == 0)
            tern_graph_object_reopen(&object);
        else
            assert_int_not_equal(census_of(&object).unreachable, 0);
        tern_graph_settle(object.graph);
        assert_int_equal(census_of(&object).unreachable, 0);
        tern_graph_object_reopen(&object);
        tern_graph_settle(object.graph);
        tern_graph_check(object.graph, "mended");
    }
    tern_graph_object_free(&object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(removals_are_replayed),
        cmocka_unit_test(interleavings),
        cmocka_unit_test(all_removed_and_put_again),
        cmocka_unit_test(equal_vectors),
        cmocka_unit_test(room_comes_back),
        cmocka_unit_test(short_of_slots),
        cmocka_unit_test(churn),
        cmocka_unit_test(broken_trees),
    };

    seed = 20261128;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
