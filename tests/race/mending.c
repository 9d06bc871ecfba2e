/* Searches beside a writer that removes, repairs, sweeps and uses slots again: threads, so that the
 * thread sanitizer sees them, and processes, where the writer is killed at random instants and the
 * next one takes the object over while searches go on.
 *
 * Every id has a count of operations, put or removal, announced before and acknowledged after. A
 * search of an id's newest value must find what was acknowledged, or what was announced meanwhile.
 * TERN_RACE_KILLS=N kills so many writers (30 otherwise) of TERN_RACE_IDS vectors (1,500). */
#include "tests/race/race.h"

#include "shared/clock.h"
#include "tests/unit/graph_check.h"
#include "tests/unit/graph_object.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

enum { DIM = 8, K = 10, SEARCHERS = 2, IDS_MAX = 1u << 17 };
#define WRONG 9 /* exit code of a process that saw something wrong */

struct reader {
    _Atomic uint64_t epoch TERN_ALIGNED(TERN_CACHE_LINE); /* 0: outside */
    _Atomic uint64_t searches, walks_missed;
};

struct shared { /* beside the object; what publication's epochs are in the arena and the board */
    _Atomic uint64_t epoch;
    struct reader readers[SEARCHERS];
    _Atomic uint32_t ids;
    _Atomic uint64_t opened; /* writers that have taken the object over */
    _Atomic bool stop;
    _Atomic uint32_t announced[IDS_MAX], acknowledged[IDS_MAX];
};

static struct shared *shared;
static uint8_t *object;
static uint64_t length;

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            _exit(WRONG);                                                                          \
        }                                                                                          \
    } while (0)

/* ---- what is written ---- */

/* Every fifth operation on an id removes it. */
static bool is_put(uint32_t number)
{
    return number != 0 && number % 5 != 0;
}

/* Values of an id lie close together, ids farther apart. */
static void vector_of(uint64_t id, uint32_t number, float vector[DIM])
{
    uint64_t of_id = id * 7919 + 1, of_number = (id << 24) + number;

    for (unsigned i = 0; i < DIM; i++)
        vector[i] =
            10 * tern_graph_object_normal(&of_id) + 0.05f * tern_graph_object_normal(&of_number);
}

/* ---- the host: readers' epochs ---- */

static int allocate(TERN_UNUSED void *context, TERN_UNUSED uint64_t offset,
                    TERN_UNUSED uint64_t bytes, TERN_UNUSED struct tern_error *error)
{
    return 0; /* the object's file is as long as it will be, and tmpfs */
}

static uint64_t grace_begin(TERN_UNUSED void *context)
{
    uint64_t begun = atomic_fetch_add_explicit(&shared->epoch, 1, memory_order_acq_rel) + 1;

    atomic_thread_fence(memory_order_seq_cst); /* pairs with that of enter */
    return begun;
}

static bool grace_over(TERN_UNUSED void *context, uint64_t number)
{
    for (unsigned i = 0; i < SEARCHERS; i++) {
        /* Acquire pairs with the release of leave: what the reader has read is behind it. */
        uint64_t epoch = atomic_load_explicit(&shared->readers[i].epoch, memory_order_acquire);

        if (epoch != 0 && epoch < number)
            return false;
    }
    return true;
}

static const struct tern_graph_host host = {
    .allocate = allocate, .grace_begin = grace_begin, .grace_over = grace_over};

static void enter(struct reader *reader)
{
    uint64_t epoch;

    do {
        epoch = atomic_load_explicit(&shared->epoch, memory_order_acquire);
        atomic_store_explicit(&reader->epoch, epoch, memory_order_release);
        atomic_thread_fence(memory_order_seq_cst); /* pairs with that of grace_begin */
    } while (atomic_load_explicit(&shared->epoch, memory_order_relaxed) != epoch);
}

static void leave(struct reader *reader)
{
    atomic_store_explicit(&reader->epoch, 0, memory_order_release);
}

/* ---- the writer ---- */

static void operate(struct tern_graph *graph, uint32_t id, uint32_t number)
{
    float vector[DIM];
    int status;

    if (is_put(number)) {
        vector_of(id, number, vector);
        status = tern_graph_put(graph, id, number, vector, NULL, NULL);
        MUST(status == 0);
    } else {
        status = tern_graph_remove(graph, id, number);
        MUST(status == 0 || status == TERN_ENOENT);
    }
    atomic_store_explicit(&shared->acknowledged[id], number, memory_order_release);
}

static void write_one(struct tern_graph *graph, uint64_t *seed)
{
    uint32_t id = (uint32_t)(tern_test_random(seed) % atomic_load(&shared->ids));
    uint32_t number = atomic_load_explicit(&shared->acknowledged[id], memory_order_relaxed) + 1;

    atomic_store_explicit(&shared->announced[id], number, memory_order_release);
    operate(graph, id, number);
    if (tern_test_random(seed) % 4 == 0)
        (void)tern_graph_work(graph, tern_test_random(seed) % 500);
    if (tern_test_random(seed) % 2000 == 0)
        tern_graph_settle(graph);
}

/* Every id as acknowledged, or as announced when the writer was killed over it: then it is done
 * again. */
static void take_over(struct tern_graph *graph)
{
    for (uint32_t id = 0; id < atomic_load(&shared->ids); id++) {
        uint32_t acknowledged = atomic_load(&shared->acknowledged[id]);
        uint32_t announced = atomic_load(&shared->announced[id]);
        uint64_t known = 0;
        bool found = tern_graph_find(graph, id, &known);

        if (acknowledged == announced) {
            MUST(found == is_put(acknowledged));
            MUST(!found || known == acknowledged);
            continue;
        }
        MUST(announced == acknowledged + 1);
        if (found)
            MUST(known == acknowledged || known == announced);
        else
            MUST(!is_put(acknowledged) || !is_put(announced));
        operate(graph, id, announced);
    }
}

static void writer_process(uint64_t seed)
{
    struct tern_graph *graph;
    struct tern_error error = {.message = ""};
    struct tern_graph_census census;

    if (tern_graph_open(&graph, object, length, &host, &error) != 0) {
        fprintf(stderr, "open: %s\n", error.message);
        _exit(WRONG);
    }
    take_over(graph);
    MUST(tern_graph_census(graph, &census) == 0);
    MUST(census.unreachable == 0 && census.bad_links == 0);
    atomic_fetch_add(&shared->opened, 1);
    for (;;)
        write_one(graph, &seed);
}

/* ---- searchers ---- */

/* Looks for an id with the value it had when the search began. */
static void search_one(const struct tern_collection *collection,
                       struct tern_search_scratch *scratch, struct reader *reader, uint64_t *seed)
{
    uint32_t id = (uint32_t)(tern_test_random(seed) % atomic_load(&shared->ids)), before, after;
    bool exact = tern_test_random(seed) % 16 == 0, found = false, may_be_absent = false;
    struct tern_search_hit hits[K];
    float query[DIM];
    struct tern_search asked = {.query = query, .k = K, .ef = 80, .exact = exact};
    unsigned count;
    uint64_t seq = 0;

    enter(reader);
    before = atomic_load_explicit(&shared->acknowledged[id], memory_order_acquire);
    vector_of(id, before, query);
    count = tern_search_run(collection, scratch, &asked, hits);
    for (unsigned i = 0; i < count; i++) {
        float value[DIM];
        double squared = 0;

        MUST(hits[i].id < atomic_load(&shared->ids));
        seq = collection->meta[hits[i].slot].seq;
        MUST(is_put((uint32_t)seq));
        /* The hit is the value that its number says: no slot is written while one looks at it. */
        vector_of(hits[i].id, (uint32_t)seq, value);
        for (unsigned d = 0; d < DIM; d++)
            squared +=
                ((double)value[d] - (double)query[d]) * ((double)value[d] - (double)query[d]);
        MUST(fabs(sqrt(squared) - (double)hits[i].score) < 1e-3 * (1 + sqrt(squared)));
        for (unsigned j = 0; j < i; j++)
            MUST(hits[j].id != hits[i].id);
        if (hits[i].id == id) {
            found = true;
            break;
        }
    }
    leave(reader);
    after = atomic_load_explicit(&shared->announced[id], memory_order_acquire);
    for (uint32_t number = before; number <= after; number++)
        may_be_absent = may_be_absent || !is_put(number);
    MUST(!found || (seq >= before && seq <= after));
    atomic_fetch_add_explicit(&reader->searches, 1, memory_order_relaxed);
    if (found || may_be_absent)
        return;
    MUST(!exact);
    atomic_fetch_add_explicit(&reader->walks_missed, 1, memory_order_relaxed);
}

static void search_until_stopped(unsigned index)
{
    struct tern_collection collection;
    struct tern_search_scratch *scratch;
    uint64_t seed = 1000 + index;

    MUST(tern_collection_open(&collection, object, length, NULL) == 0);
    MUST(tern_search_scratch_new(&scratch, collection.capacity, DIM) == 0);
    while (!atomic_load_explicit(&shared->stop, memory_order_relaxed))
        search_one(&collection, scratch, &shared->readers[index], &seed);
    tern_search_scratch_free(scratch);
}

static void searcher_process(uint64_t index)
{
    MUST(mprotect(object, length, PROT_READ) == 0); /* as readers map the arena */
    search_until_stopped((unsigned)index);
}

static void *searcher_thread(void *index)
{
    search_until_stopped((unsigned)(uintptr_t)index);
    return NULL;
}

/* ---- the tests ---- */

static void *map_shared(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static struct tern_graph *make_empty(uint32_t ids, uint8_t **memory)
{
    static const struct tern_graph_parameters parameters = {64, 64, 0};
    static const uint8_t store_id[16] = "the test's own";
    struct tern_graph_shape shape = {.dim = DIM,
                                     .metric = TERN_METRIC_L2,
                                     .quantize = TERN_QUANTIZE_INT8,
                                     .m = 8,
                                     .capacity = ids};
    struct tern_graph *graph;

    length = tern_graph_length(&shape);
    *memory = map_shared(length);
    assert_int_equal(tern_graph_format(*memory, length, &shape, &parameters, store_id, &host, NULL),
                     0);
    assert_int_equal(tern_graph_open(&graph, *memory, length, &host, NULL), 0);
    return graph;
}

static struct tern_graph *make(uint32_t ids)
{
    struct tern_graph *graph = make_empty(ids, &object);

    shared = map_shared(sizeof *shared);
    atomic_store(&shared->epoch, 1);
    atomic_store(&shared->ids, ids);
    for (uint32_t id = 0; id < ids; id++) {
        atomic_store(&shared->announced[id], 1);
        operate(graph, id, 1);
    }
    tern_graph_link(graph);
    return graph;
}

static double recall(const uint8_t *memory);
static double recall_anew(void)
{
    uint8_t *memory;
    struct tern_graph *graph = make_empty(atomic_load(&shared->ids), &memory);
    double found;

    for (uint32_t id = 0; id < atomic_load(&shared->ids); id++)
        if (is_put(atomic_load(&shared->acknowledged[id])))
            operate(graph, id, atomic_load(&shared->acknowledged[id]));
    tern_graph_link(graph);
    found = recall(memory);
    tern_graph_close(graph);
    munmap(memory, length);
    return found;
}

static void unmake(void)
{
    munmap(object, length);
    munmap(shared, sizeof *shared);
}

/* `anew`: of a graph that the same vectors were put into one after the other. */
static void report(double recall_before, double recall_after, double anew)
{
    uint64_t searches = 0, missed = 0;

    for (unsigned i = 0; i < SEARCHERS; i++) {
        searches += atomic_load(&shared->readers[i].searches);
        missed += atomic_load(&shared->readers[i].walks_missed);
    }
    print_message("%llu searches, %llu walks that missed their id; recall %.4f, then %.4f; "
                  "built anew %.4f\n",
                  (unsigned long long)searches, (unsigned long long)missed, recall_before,
                  recall_after, anew);
    assert_true(searches > 0);
    assert_true(missed * 1000 <= searches); /* a walk is no scan */
}

/* Of walks against scans, both of the same object. */
static double recall(const uint8_t *memory)
{
    enum { QUERIES = 500 };
    struct tern_collection collection;
    struct tern_search_scratch *scratch;
    uint64_t seed = 99;
    unsigned right = 0, expected = 0;

    assert_int_equal(tern_collection_open(&collection, memory, length, NULL), 0);
    assert_int_equal(tern_search_scratch_new(&scratch, collection.capacity, DIM), 0);
    for (unsigned q = 0; q < QUERIES; q++) {
        float query[DIM];
        struct tern_search asked = {.query = query, .k = K, .ef = 24};
        struct tern_search_hit walked[K], scanned[K];
        unsigned walks, scans;

        for (unsigned i = 0; i < DIM; i++)
            query[i] = 10 * tern_graph_object_normal(&seed);
        walks = tern_search_run(&collection, scratch, &asked, walked);
        asked.exact = true;
        scans = tern_search_run(&collection, scratch, &asked, scanned);
        expected += scans;
        for (unsigned i = 0; i < scans; i++)
            for (unsigned j = 0; j < walks; j++)
                right += walked[j].slot == scanned[i].slot;
    }
    tern_search_scratch_free(scratch);
    return (double)right / expected;
}

static void threads(TERN_TEST_STATE)
{
    struct tern_graph *graph = make(400);
    double before = recall(object);
    uint64_t seed = 3, until_ns = tern_clock_now_ns() + race_ns();
    pthread_t thread[SEARCHERS];

    for (uintptr_t i = 0; i < SEARCHERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, searcher_thread, (void *)i), 0);
    while (tern_clock_now_ns() < until_ns)
        for (unsigned i = 0; i < 100; i++)
            write_one(graph, &seed);
    atomic_store(&shared->stop, true);
    for (unsigned i = 0; i < SEARCHERS; i++)
        pthread_join(thread[i], NULL);
    for (unsigned i = 0; i < 3; i++)
        tern_graph_settle(graph);
    tern_graph_check(graph, "after the threads");
    assert_int_equal(atomic_load(&graph->header->deleted_count), 0);
    report(before, recall(object), recall_anew());
    tern_graph_close(graph);
    unmake();
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *asked = getenv(name);

    return asked == NULL ? otherwise : strtoull(asked, NULL, 10);
}

static void killed_writers(TERN_TEST_STATE)
{
    uint64_t kills = number_of("TERN_RACE_KILLS", 30), seed = 17;
    uint32_t ids = (uint32_t)number_of("TERN_RACE_IDS", 1500);
    struct tern_graph *graph;
    double before;
    pid_t searcher[SEARCHERS];

    assert_true(ids <= IDS_MAX);
    graph = make(ids);
    before = recall(object);
    tern_graph_close(graph);
    for (unsigned i = 0; i < SEARCHERS; i++)
        searcher[i] = race_start(searcher_process, i);
    for (uint64_t i = 0; i < kills; i++) {
        uint64_t opened = atomic_load(&shared->opened);
        pid_t writer = race_start(writer_process, i + 1);

        /* Most are killed at work, some while they take over. */
        while (i % 4 != 0 && atomic_load(&shared->opened) == opened &&
               waitpid(writer, NULL, WNOHANG) == 0)
            sched_yield();
        race_pause(&seed, 20000);
        if (race_end(writer))
            fail_msg("writer %llu saw something wrong", (unsigned long long)i);
    }
    atomic_store(&shared->stop, true);
    for (unsigned i = 0; i < SEARCHERS; i++) {
        int status;

        assert_int_equal(waitpid(searcher[i], &status, 0), searcher[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(tern_graph_open(&graph, object, length, &host, NULL), 0);
    take_over(graph);
    for (unsigned i = 0; i < 3; i++)
        tern_graph_settle(graph);
    tern_graph_check(graph, "after the kills");
    print_message("%llu kills, %u vectors: ", (unsigned long long)kills, ids);
    report(before, recall(object), recall_anew());
    tern_graph_close(graph);
    unmake();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads), cmocka_unit_test(killed_writers)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
