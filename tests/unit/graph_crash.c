/* A kill -9 at every single store: the object is mapped read-only, each store into it faults, is
 * let through by single-stepping its instruction, and what lies there then is taken as what the
 * killed writer left. Every such image is searched as readers do, who go on during the crash, and
 * opened as the next writer does: nothing that was acknowledged may be missing or wrong, the graph
 * must be whole, and the interrupted write, made again, must lead where it would have led. */
#define _GNU_SOURCE 1
#include "tests/unit/unit.h"

#include "tests/unit/graph_check.h"
#include "tests/unit/graph_object.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)

enum { DIM = 4, IDS = 24, SLOTS = 160 };
#define TRAP_FLAG 0x100

struct plain { /* what was acknowledged */
    bool present[IDS];
    uint64_t seq[IDS];
    float vector[IDS][DIM];
};

struct operation { /* what is under way */
    bool put, remove;
    uint64_t id, seq;
    float vector[DIM];
};

static uint64_t seed;
static struct tern_graph_shape shape;
static const struct tern_graph_parameters parameters = {64, 16, 0};
static uint8_t *object, *image;
static uint64_t length;
static struct tern_graph *graph;
static struct tern_search_scratch *scratch; /* of the searches in images */
static struct plain plain;
static struct operation under_way;
static uint64_t stores, graces;
static bool is_grace_over;

/* ---- the host ---- */

static int allocate(TERN_UNUSED void *context, TERN_UNUSED uint64_t offset,
                    TERN_UNUSED uint64_t bytes, TERN_UNUSED struct tern_error *error)
{
    return 0;
}

static uint64_t grace_begin(TERN_UNUSED void *context)
{
    return ++graces;
}

static bool grace_over(TERN_UNUSED void *context, TERN_UNUSED uint64_t number)
{
    return is_grace_over;
}

static bool always_over(TERN_UNUSED void *context, TERN_UNUSED uint64_t number)
{
    return true;
}

static const struct tern_graph_host host = {
    .allocate = allocate, .grace_begin = grace_begin, .grace_over = grace_over};
static const struct tern_graph_host next_host = {
    .allocate = allocate, .grace_begin = grace_begin, .grace_over = always_over};

static void *map_object(void)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

/* ---- images ---- */

static void copy_array(uint64_t offset, uint64_t bytes)
{
    memcpy(image + offset, object + offset, bytes);
}

static void take_image(void)
{
    const struct tern_collection_header *header = (const void *)object;

    copy_array(0, sizeof *header);
    copy_array(header->links, (uint64_t)SLOTS * header->links_stride);
    copy_array(header->upper, (uint64_t)SLOTS * header->upper_stride);
    copy_array(header->code, (uint64_t)SLOTS * header->code_stride);
    copy_array(header->vector, (uint64_t)SLOTS * header->vector_stride);
    copy_array(header->meta, (uint64_t)SLOTS * sizeof(struct tern_vector_meta));
    copy_array(header->present, (uint64_t)SLOTS * sizeof(uint16_t));
}

static bool is_value(const float *vector, uint64_t id, const struct tern_collection *collection,
                     uint32_t slot)
{
    const float *stored = tern_collection_vector(collection, slot);
    bool same = collection->meta[slot].id == id;

    for (unsigned i = 0; i < DIM; i++)
        same = same && stored[i] == vector[i];
    return same;
}

/* What a search gives against what was acknowledged; of the operation under way, before or after.
 */
static void check_hits(const struct tern_collection *collection, const struct tern_search_hit *hits,
                       unsigned count, const char *kind)
{
    bool found[IDS] = {false};

    for (unsigned i = 0; i < count; i++) {
        uint64_t id = hits[i].id;
        bool is_under_way = (under_way.put || under_way.remove) && under_way.id == id;

        if (id >= IDS || found[id])
            fail_msg("store %llu: %s finds id %llu, which is not there or twice",
                     (unsigned long long)stores, kind, (unsigned long long)id);
        found[id] = true;
        if (!(plain.present[id] && is_value(plain.vector[id], id, collection, hits[i].slot)) &&
            !(is_under_way && under_way.put &&
              is_value(under_way.vector, id, collection, hits[i].slot)))
            fail_msg("store %llu: %s finds a wrong value of id %llu", (unsigned long long)stores,
                     kind, (unsigned long long)id);
    }
    for (uint64_t id = 0; id < IDS; id++)
        if (plain.present[id] && !found[id] && !(under_way.remove && under_way.id == id))
            fail_msg("store %llu: %s does not find id %llu", (unsigned long long)stores, kind,
                     (unsigned long long)id);
}

static void search_image(const struct tern_collection *collection)
{
    static const float query[DIM] = {0.5f, 0.25f};

    for (unsigned exact = 0; exact < 2; exact++) {
        struct tern_search asked = {.query = query, .k = 2 * IDS, .ef = SLOTS, .exact = exact != 0};
        struct tern_search_hit hits[2 * IDS];
        unsigned count = tern_search_run(collection, scratch, &asked, hits);

        check_hits(collection, hits, count, exact != 0 ? "a scan" : "a walk");
    }
}

/* The same operation once more, as a replay from the store makes it. */
static void repeat(struct tern_graph *next)
{
    if (under_way.put)
        assert_int_equal(
            tern_graph_put(next, under_way.id, under_way.seq, under_way.vector, NULL, NULL), 0);
    if (under_way.remove)
        (void)tern_graph_remove(next, under_way.id, under_way.seq);
}

static void check_repeated(struct tern_graph *next)
{
    for (uint64_t id = 0; id < IDS; id++) {
        bool present = plain.present[id];
        uint64_t seq = plain.seq[id], known = 0;

        if (under_way.id == id && (under_way.put || under_way.remove)) {
            present = under_way.put;
            seq = under_way.seq;
        }
        assert_int_equal(tern_graph_find(next, id, &known), present);
        if (present)
            assert_int_equal(known, seq);
    }
}

static void check_image(void)
{
    struct tern_collection collection;
    struct tern_graph *next;
    struct tern_error error = {0};
    char where[32];

    take_image();
    assert_int_equal(tern_collection_open(&collection, image, length, NULL), 0);
    search_image(&collection);
    if (tern_graph_open(&next, image, length, &next_host, &error) != 0)
        fail_msg("store %llu: %s", (unsigned long long)stores, error.message);
    snprintf(where, sizeof where, "store %llu", (unsigned long long)stores);
    tern_graph_check(next, where);
    search_image(&collection);
    if (stores % 2 == 0) { /* the work first, or the write first */
        tern_graph_settle(next);
        tern_graph_check(next, where);
    }
    repeat(next);
    check_repeated(next);
    tern_graph_settle(next);
    tern_graph_check(next, where);
    assert_int_equal(atomic_load(&next->header->deleted_count), 0);
    tern_graph_close(next);
}

/* ---- stores ---- */

static void protect(int protection)
{
    if (mprotect(object, length, protection) != 0)
        abort();
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    uint8_t *at = info->si_addr;
    ucontext_t *machine = context;

    if (at < object || at >= object + length) {
        signal(number, SIG_DFL); /* a fault like any other */
        return;
    }
    protect(PROT_READ | PROT_WRITE);
    machine->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_step(TERN_UNUSED int number, TERN_UNUSED siginfo_t *info, void *context)
{
    ucontext_t *machine = context;

    machine->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    stores++;
    check_image();
    protect(PROT_READ);
}

static void catch_stores(bool caught)
{
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO | SA_NODEFER};

    sigaction(SIGSEGV, &fault, NULL);
    sigaction(SIGTRAP, &step, NULL);
    protect(caught ? PROT_READ : PROT_READ | PROT_WRITE);
}

/* ---- the writer ---- */

static void put_or_remove(uint64_t seq)
{
    struct operation operation = {.id = tern_test_random(&seed) % IDS, .seq = seq};

    /* Now more and more, now fewer and fewer, down to none. */
    operation.remove = tern_test_random(&seed) % 8 < (seq / 64 % 2 == 0 ? 2u : 7u);
    for (unsigned i = 0; i < IDS && operation.remove && !plain.present[operation.id]; i++)
        operation.id = (operation.id + 1) % IDS;
    operation.put = !operation.remove;
    for (unsigned i = 0; i < DIM; i++)
        operation.vector[i] = tern_graph_object_normal(&seed);
    if (tern_test_random(&seed) % 6 == 0) /* equal to another */
        memcpy(operation.vector, plain.vector[tern_test_random(&seed) % IDS],
               sizeof operation.vector);
    under_way = operation;
    repeat(graph);
    plain.present[operation.id] = operation.put;
    plain.seq[operation.id] = seq;
    memcpy(plain.vector[operation.id], operation.vector, sizeof operation.vector);
    under_way = (struct operation){.put = false};
}

static void step(uint64_t seq)
{
    switch (tern_test_random(&seed) % 8) {
    case 0:
        tern_graph_link(graph);
        break;
    case 1:
        for (uint64_t i = tern_test_random(&seed) % 8; i > 0; i--)
            (void)tern_graph_work(graph, 0); /* one piece of it */
        break;
    case 2:
        is_grace_over = tern_test_random(&seed) % 2 == 0;
        tern_graph_settle(graph);
        break;
    default:
        put_or_remove(seq);
        break;
    }
}

static void every_store(TERN_TEST_STATE)
{
    const char *asked = getenv("TERN_CRASH_STEPS");
    unsigned steps = asked == NULL ? 1000 : (unsigned)strtoul(asked, NULL, 10);
    static const uint8_t store_id[16] = "the test's own";
    struct tern_collection_header *header;

    shape = (struct tern_graph_shape){.dim = DIM,
                                      .metric = TERN_METRIC_L2,
                                      .quantize = TERN_QUANTIZE_INT8,
                                      .m = 4,
                                      .capacity = IDS};
    length = tern_graph_length(&shape);
    object = map_object();
    header = (void *)object;
    image = map_object();
    assert_int_equal(tern_graph_format(object, length, &shape, &parameters, store_id, &host, NULL),
                     0);
    /* The object's id is random, and levels are drawn from it. */
    memset(header->object_id, 0, sizeof header->object_id);
    memcpy(header->object_id, &seed, sizeof seed);
    header->checksum = tern_collection_checksum(header);
    assert_int_equal(tern_graph_open(&graph, object, length, &host, NULL), 0);
    assert_int_equal(tern_search_scratch_new(&scratch, tern_graph_collection(graph)->capacity, DIM),
                     0);
    catch_stores(true);
    for (uint64_t seq = 1; seq <= steps; seq++) {
        step(seq);
        assert_true(tern_graph_slot_count(graph) < SLOTS);
    }
    catch_stores(false);
    print_message("%llu stores of %u steps\n", (unsigned long long)stores, steps);
    assert_true(stores > 10ull * steps);
    tern_graph_close(graph);
    tern_search_scratch_free(scratch);
    munmap(object, length);
    munmap(image, length);
}

#else

static uint64_t seed;

static void every_store(TERN_TEST_STATE)
{
    seed++;
    print_message("stores are caught on x86-64 only\n");
    skip();
}

#endif

int main(void)
{
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    return 77; /* one thread, and everything happens within a signal's handler: nothing to see */
#endif
#endif
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_store)};

    const char *asked = getenv("TERN_CRASH_SEED");

    seed = asked == NULL ? 7 : strtoull(asked, NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
