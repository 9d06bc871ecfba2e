/* Searches beside the writer of a vector collection: threads search while another puts, replaces
 * and links. What was acknowledged before a search began is found, with that value or a newer one,
 * once; nothing else is ever an answer. */
#include "tests/unit/unit.h"

#include "shared/schema.h"
#include "tests/unit/graph_object.h"

#include <pthread.h>

enum { IDS = 600, PUTS = 6000, SEARCHERS = 3, DIM = 8, K = 10 };

static struct tern_graph_object object;
static _Atomic uint64_t acknowledged[IDS]; /* number of the newest acknowledged value */
static _Atomic bool done;

/* Values of an id lie close together, ids far apart; number 0 is none. */
static void vector_of(uint64_t id, uint64_t number, float vector[DIM])
{
    uint64_t of_id = id + 1, of_number = id * 1000000 + number;

    for (unsigned i = 0; i < DIM; i++)
        vector[i] =
            10 * tern_graph_object_normal(&of_id) + 0.05f * tern_graph_object_normal(&of_number);
}

/* In any thread: cmocka's own assertions belong to the test's. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void *write_all(void *unused)
{
    uint64_t seed = 5;

    for (uint64_t seq = 1; seq <= PUTS; seq++) {
        uint64_t id = tern_test_random(&seed) % IDS;
        uint64_t number = atomic_load(&acknowledged[id]) + 1;
        struct tern_graph_value payload = {.present = true, .u64 = number};
        float vector[DIM];

        vector_of(id, number, vector);
        MUST(tern_graph_put(object.graph, id, seq, vector, &payload, NULL) == 0);
        atomic_store(&acknowledged[id], number);
        if (seq % 97 == 0)
            tern_graph_link(object.graph);
    }
    atomic_store(&done, true);
    return unused;
}

struct searcher {
    pthread_t thread;
    uint64_t seed, searches, missed;
};

static void check_hits(const struct tern_collection *collection, const struct tern_search_hit *hits,
                       unsigned found)
{
    for (unsigned i = 0; i < found; i++) {
        struct tern_payload_value number = tern_collection_payload(collection, hits[i].slot, 0);

        MUST(hits[i].id < IDS);
        MUST(number.type == TERN_TYPE_U64);
        MUST(number.u64 >= 1 && number.u64 <= PUTS);
        for (unsigned j = 0; j < i; j++)
            MUST(hits[i].id != hits[j].id);
        if (i > 0)
            MUST(hits[i - 1].score <= hits[i].score);
    }
}

static void *search_all(void *context)
{
    struct searcher *searcher = context;
    const struct tern_collection *collection = tern_graph_collection(object.graph);
    struct tern_search_scratch *scratch;

    MUST(tern_search_scratch_new(&scratch, collection->capacity, DIM) == 0);
    while (!atomic_load(&done)) {
        uint64_t id = tern_test_random(&searcher->seed) % IDS;
        uint64_t number = atomic_load(&acknowledged[id]);
        struct tern_search_hit hits[K];
        float query[DIM];
        struct tern_search search = {
            .query = query, .k = K, .exact = searcher->searches % 16 == 15};
        unsigned found, at = 0;

        if (number == 0)
            continue;
        vector_of(id, number, query);
        found = tern_search_run(collection, scratch, &search, hits);
        check_hits(collection, hits, found);
        while (at < found && hits[at].id != id)
            at++;
        searcher->searches++;
        if (at == found) {
            MUST(!search.exact);
            searcher->missed++; /* a graph is approximate */
        } else {
            MUST(tern_collection_payload(collection, hits[at].slot, 0).u64 >= number);
        }
    }
    tern_search_scratch_free(scratch);
    return NULL;
}

static void beside_the_writer(TERN_TEST_STATE)
{
    struct tern_graph_shape shape = {.dim = DIM,
                                     .metric = TERN_METRIC_L2,
                                     .quantize = TERN_QUANTIZE_INT8,
                                     .m = 8,
                                     .capacity = PUTS,
                                     .columns = {{"number", TERN_TYPE_U64}},
                                     .column_count = 1};
    struct tern_graph_parameters parameters = {.ef_search = 64, .ef_construct = 64, .full_scan = 0};
    struct searcher searchers[SEARCHERS] = {{.seed = 1}, {.seed = 2}, {.seed = 3}};
    pthread_t writer;
    uint64_t searches = 0, missed = 0;

    tern_graph_object_make(&object, &shape, &parameters);
    for (unsigned i = 0; i < SEARCHERS; i++)
        assert_int_equal(pthread_create(&searchers[i].thread, NULL, search_all, &searchers[i]), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_all, NULL), 0);
    pthread_join(writer, NULL);
    for (unsigned i = 0; i < SEARCHERS; i++) {
        pthread_join(searchers[i].thread, NULL);
        searches += searchers[i].searches;
        missed += searchers[i].missed;
    }
    assert_true(searches > 100);
    assert_int_equal(tern_graph_object_unreached(&object), 0);
    if (missed * 200 > searches)
        fail_msg("%llu of %llu not found", (unsigned long long)missed,
                 (unsigned long long)searches);
    tern_graph_object_free(&object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(beside_the_writer)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
