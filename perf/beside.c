/* Searches in this process (libtern-local) while the writer of the other process is kept busy:
 * searches a second against those of the same collection at rest.
 *
 *     build/perf-beside --run-dir DIR --control-pid PID --fill N [--collection docs]
 *         [--vectors FILE --queries FILE] [--rounds 3] [--seconds 2] [--reader-cpu 0]
 *         [--writer-cpu 1] [--recalls 500] [--ef N] [--only-rest] [--multiply]
 *         [--first N]
 *
 * The searching thread is alone on its CPU; a second thread shares the other one with tern-control
 * and always has its batches in flight: vectors that replace those of the same ids, in turn, so
 * that the collection keeps its size. A round is rest, busy, writing, writing, busy, rest. Busy is
 * the second thread computing in its registers: what the CPUs take of each other whoever runs
 * there. Before each rest the writer has nothing left to link, mend or sweep.
 *
 * With --only-rest nothing is written (but for a --fill other than 0), and a round is one rest:
 * what searches take without a server in between.
 *
 * --first N fills as if so many had been written before: with the "next" of a run that is over,
 * what the collection held then.
 *
 * --multiply makes as many vectors as are needed of those in the file: with noise, synthetic.
 *
 * Prints one line of JSON: for each kind of turn searches a second by the clock and by the thread's
 * own CPU time, their times, the mean length of the tail and number of tombstones; vectors written
 * a second and tern-control's share of its CPU meanwhile; recall@10 against exact searches before
 * and after. */
#include "clients/c/local/local.h"
#include "clients/c/tern_vectors.h"
#include "perf/points.h"
#include "perf/program.h"
#include "shared/clock.h"

#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#define K           10u
#define IN_FLIGHT   32u
#define BATCH       64u
#define TIMES_MAX   2000000u
#define SETTLE_S    60.0
#define QUERIES_MAX 10000u

enum turn { REST, BUSY, WRITING, TURNS, END };

struct options {
    const char *run_dir, *collection, *vectors, *queries;
    uint32_t fill, recalls, ef;
    uint64_t first;
    unsigned rounds, reader_cpu, writer_cpu;
    int control_pid;
    double seconds;
    bool only_rest, multiply;
};

/* All turns of one kind. */
struct measured {
    double wall_s, cpu_s, control_s;
    uint64_t searches, written, tail, tombstones, looks;
    float *times_us;
};

static struct options options = {.collection = "docs",
                                 .recalls = 500,
                                 .rounds = 3,
                                 .seconds = 2,
                                 .reader_cpu = 0,
                                 .writer_cpu = 1};
static struct points points, queries;
static _Atomic int wanted, doing; /* enum turn: of the second thread */
static _Atomic uint64_t acknowledged;
static struct measured measured[TURNS];
static uint64_t checksum;

static void pin(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        perror("perf-beside: not pinned");
}

/* --- The other side --- */

struct writer {
    struct tern_vectors *vectors;
    uint64_t next; /* an id is this modulo the fill */
};

static void collect(struct writer *writer)
{
    struct tern_vectors_ack ack;
    struct tern_error error;

    if (tern_vectors_collect(writer->vectors, &ack, &error) != 0)
        program_fail("no acknowledgement", error.message);
    if (ack.rc != 0)
        program_fail("refused", ack.message);
    atomic_fetch_add_explicit(&acknowledged, ack.written, memory_order_relaxed);
}

/* One more batch; waits until there is room for it. Each pass over the ids brings other vectors. */
static void put(struct writer *writer, uint32_t count)
{
    struct tern_vectors_item items[BATCH];
    struct tern_error error;
    int rc;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = writer->next + i;

        items[i] = (struct tern_vectors_item){
            .id = at % options.fill, .values = points_at(&points, (uint32_t)(at % points.count))};
    }
    while ((rc = tern_vectors_upsert(writer->vectors, items, count, NULL, &error)) == TERN_EAGAIN)
        collect(writer);
    if (rc != 0)
        program_fail("cannot write", error.message);
    writer->next += count;
}

static void drain(struct writer *writer)
{
    while (tern_vectors_in_flight(writer->vectors) != 0)
        collect(writer);
}

/* Some millisecond of arithmetic. */
static void compute(void)
{
    static _Atomic uint64_t sink; /* so that it is not left out */
    uint64_t seed = atomic_load_explicit(&sink, memory_order_relaxed);

    for (unsigned i = 0; i < 500000; i++)
        (void)program_random(&seed);
    atomic_store_explicit(&sink, seed, memory_order_relaxed);
}

static void *other_main(void *argument)
{
    struct writer *writer = argument;
    int turn;

    pin(options.writer_cpu);
    while ((turn = atomic_load_explicit(&wanted, memory_order_acquire)) != END) {
        if (turn != WRITING)
            drain(writer);
        atomic_store_explicit(&doing, turn, memory_order_release);
        if (turn == WRITING)
            put(writer, BATCH);
        else if (turn == BUSY)
            compute();
        else
            nanosleep(&(const struct timespec){.tv_nsec = 1000000}, NULL);
    }
    drain(writer);
    return NULL;
}

/* --- This side --- */

static double seconds_of(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* utime + stime of tern-control. */
static double control_seconds(void)
{
    char path[64], text[1024];
    unsigned long user = 0, kernel = 0;
    const char *end;
    FILE *file;
    size_t length;

    snprintf(path, sizeof path, "/proc/%d/stat", options.control_pid);
    file = fopen(path, "r");
    if (file == NULL)
        return 0;
    length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    end = strrchr(text, ')');
    if (end == NULL ||
        sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        return 0;
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static const struct tern_collection_header *header_of(const struct tern_local_context *context,
                                                      int collection)
{
    return context->offer->view->collections[collection].header;
}

static uint32_t tail_length(const struct tern_collection_header *header)
{
    uint64_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);

    return (uint32_t)(tail >> 32) - (uint32_t)tail;
}

/* Waits until the second thread does that. */
static void begin(enum turn turn)
{
    atomic_store_explicit(&wanted, turn, memory_order_release);
    while (atomic_load_explicit(&doing, memory_order_acquire) != (int)turn)
        nanosleep(&(const struct timespec){.tv_nsec = 1000000}, NULL);
}

static void settle(const struct tern_collection_header *header)
{
    double until = seconds_of(CLOCK_MONOTONIC) + SETTLE_S;

    while (tail_length(header) != 0 ||
           atomic_load_explicit(&header->deleted_count, memory_order_relaxed) != 0) {
        if (seconds_of(CLOCK_MONOTONIC) > until)
            program_fail("settle", "the writer still has something to mend after a minute");
        nanosleep(&(const struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static unsigned search(struct tern_local_context *context, int collection, uint32_t query,
                       bool exact, struct tern_client_hit *hits)
{
    struct tern_client_search asked = {.collection = collection,
                                       .dim = queries.dim,
                                       .vector = points_at(&queries, query % queries.count),
                                       .k = K,
                                       .ef = options.ef,
                                       .flags = exact ? TERN_SEARCH_EXACT : 0};
    struct tern_error error;
    unsigned count = 0;

    if (tern_local_search(context, &asked, hits, &count, &error) != 0)
        program_fail("cannot search", error.message);
    return count;
}

static void run_turn(struct tern_local_context *context, int collection, enum turn turn)
{
    const struct tern_collection_header *header = header_of(context, collection);
    struct measured *into = &measured[turn];
    static uint32_t query;
    struct tern_client_hit hits[K];
    double began, cpu, control, ended;
    uint64_t written, before_ns;

    begin(turn);
    if (turn == WRITING) { /* the first batches find an empty queue */
        double until = seconds_of(CLOCK_MONOTONIC) + options.seconds / 4;

        while (seconds_of(CLOCK_MONOTONIC) < until)
            search(context, collection, query++, false, hits);
    } else {
        settle(header);
    }
    control = control_seconds();
    written = atomic_load_explicit(&acknowledged, memory_order_relaxed);
    began = seconds_of(CLOCK_MONOTONIC);
    cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    before_ns = tern_clock_now_ns();
    do {
        for (unsigned i = 0; i < 32; i++) {
            unsigned count = search(context, collection, query++, false, hits);
            uint64_t now_ns = tern_clock_now_ns();

            checksum = checksum * 31 + (count > 0 ? hits[0].id : 0);
            if (into->searches < TIMES_MAX)
                into->times_us[into->searches] = (float)(now_ns - before_ns) / 1e3f;
            into->searches++;
            before_ns = now_ns;
        }
        into->tail += tail_length(header);
        into->tombstones += atomic_load_explicit(&header->deleted_count, memory_order_relaxed);
        into->looks++;
        ended = seconds_of(CLOCK_MONOTONIC);
    } while (ended < began + options.seconds);
    into->wall_s += ended - began;
    into->cpu_s += seconds_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
    into->control_s += control_seconds() - control;
    into->written += atomic_load_explicit(&acknowledged, memory_order_relaxed) - written;
}

static double recall(struct tern_local_context *context, int collection)
{
    struct tern_client_hit near[K], exact[K];
    unsigned found = 0, all = 0;

    for (uint32_t q = 0; q < options.recalls; q++) {
        unsigned count = search(context, collection, q, false, near);
        unsigned right = search(context, collection, q, true, exact);

        all += right;
        for (unsigned i = 0; i < right; i++)
            for (unsigned j = 0; j < count; j++)
                found += exact[i].id == near[j].id;
    }
    return all == 0 ? 1 : (double)found / all;
}

static int compare(const void *a, const void *b)
{
    const float *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static void print_turn(const char *name, struct measured *of)
{
    uint64_t kept = tern_min_u64(of->searches, TIMES_MAX);

    qsort(of->times_us, kept, sizeof *of->times_us, compare);
    printf("\"%s\": {\"qps\": %.1f, \"qps_cpu\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"tail\": %.1f, \"tombstones\": %.1f, \"written_per_s\": %.1f, "
           "\"control_cpu\": %.3f}, ",
           name, (double)of->searches / of->wall_s, (double)of->searches / of->cpu_s,
           (double)of->times_us[kept / 2], (double)of->times_us[kept * 99 / 100],
           (double)of->tail / (double)of->looks, (double)of->tombstones / (double)of->looks,
           (double)of->written / of->wall_s, of->control_s / of->wall_s);
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"run-dir", required_argument, NULL, 'd'},    {"control-pid", required_argument, NULL, 'p'},
        {"fill", required_argument, NULL, 'f'},       {"collection", required_argument, NULL, 'c'},
        {"vectors", required_argument, NULL, 'v'},    {"queries", required_argument, NULL, 'q'},
        {"rounds", required_argument, NULL, 'r'},     {"seconds", required_argument, NULL, 's'},
        {"reader-cpu", required_argument, NULL, 'R'}, {"writer-cpu", required_argument, NULL, 'W'},
        {"recalls", required_argument, NULL, 'n'},    {"ef", required_argument, NULL, 'e'},
        {"only-rest", no_argument, NULL, 'o'},        {"multiply", no_argument, NULL, 'm'},
        {"first", required_argument, NULL, 'F'},      {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (option) {
        case 'd':
            options.run_dir = optarg;
            break;
        case 'p':
            options.control_pid = (int)strtol(optarg, NULL, 10);
            break;
        case 'f':
            options.fill = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            options.collection = optarg;
            break;
        case 'v':
            options.vectors = optarg;
            break;
        case 'q':
            options.queries = optarg;
            break;
        case 'r':
            options.rounds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'R':
            options.reader_cpu = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'W':
            options.writer_cpu = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'e':
            options.ef = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            options.only_rest = true;
            break;
        case 'F':
            options.first = strtoull(optarg, NULL, 10);
            break;
        case 'm':
            options.multiply = true;
            break;
        case 'n':
            options.recalls = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        default:
            exit(2);
        }
    if (options.run_dir == NULL || options.rounds == 0 || options.seconds <= 0 ||
        (!options.only_rest && (options.control_pid <= 0 || options.fill < BATCH)) ||
        (options.fill != 0 && (options.vectors == NULL) != (options.queries == NULL))) {
        fputs("perf-beside: needs --run-dir, --control-pid, a --fill of 64 or more, --rounds and "
              "--seconds; --vectors and --queries only together\n",
              stderr);
        exit(2);
    }
}

static void prepare_points(uint32_t dim)
{
    uint32_t count = options.only_rest && options.first == 0 ? options.fill : 2 * options.fill;

    queries = options.queries != NULL ? points_read(options.queries, dim, QUERIES_MAX)
                                      : points_generate(1000, dim, 2);
    if (count == 0)
        return;
    points = options.vectors != NULL ? points_read(options.vectors, dim, count)
                                     : points_generate(count, dim, 1);
    if (options.multiply && points.count < count)
        points_multiply(&points, count, 4);
    points_shuffle(points, 3);
    if (points.count < options.fill || (count > options.fill && points.count == options.fill))
        program_fail("vectors", "there are too few of them to fill, and then to replace that");
}

static double fill(struct writer *writer)
{
    double began = seconds_of(CLOCK_MONOTONIC);

    if (options.fill == 0)
        return 0;
    writer->next = options.first;
    while (writer->next < options.first + options.fill)
        put(writer, (uint32_t)tern_min_u64(BATCH, options.first + options.fill - writer->next));
    drain(writer);
    return options.fill / (seconds_of(CLOCK_MONOTONIC) - began);
}

int main(int argc, char **argv)
{
    static const enum turn round[] = {REST, BUSY, WRITING, WRITING, BUSY, REST};
    const struct tern_vectors_options flight = {.timeout_ms = 60000, .in_flight = IN_FLIGHT};
    struct tern_local_context *context = NULL;
    struct tern_local *local = NULL;
    struct writer writer = {0};
    struct tern_error error;
    char address[TERN_PATH_MAX];
    double fill_rate, before, after;
    pthread_t other;
    int collection;

    parse(argc, argv);
    snprintf(address, sizeof address, "unix://%s/control.sock", options.run_dir);
    if (tern_vectors_open(address, options.collection, &flight, &writer.vectors, &error) != 0 ||
        tern_local_open(options.run_dir, NULL, &local, &error) != 0 ||
        tern_local_context_open(local, &context, &error) != 0)
        program_fail("cannot open", error.message);
    collection = tern_local_collection(context, options.collection);
    if (collection < 0)
        program_fail("no collection", options.collection);
    prepare_points(tern_vectors_collection(writer.vectors)->dim);
    for (unsigned i = 0; i < TURNS; i++)
        if ((measured[i].times_us = malloc(TIMES_MAX * sizeof(float))) == NULL)
            program_fail("times", "no memory");
    fill_rate = fill(&writer);
    settle(header_of(context, collection));
    pin(options.reader_cpu);
    before = recall(context, collection);
    atomic_store(&doing, END);
    if (pthread_create(&other, NULL, other_main, &writer) != 0)
        program_fail("thread", "cannot start");
    for (unsigned i = 0; i < options.rounds; i++)
        for (size_t t = 0; t < (options.only_rest ? 1 : TERN_COUNT(round)); t++)
            run_turn(context, collection, round[t]);
    atomic_store_explicit(&wanted, END, memory_order_release);
    pthread_join(other, NULL);
    settle(header_of(context, collection));
    after = recall(context, collection);
    printf("{");
    print_turn("rest", &measured[REST]);
    if (!options.only_rest) {
        print_turn("busy", &measured[BUSY]);
        print_turn("writing", &measured[WRITING]);
    }
    printf("\"filled\": %u, \"fill_per_s\": %.1f, \"next\": %llu, \"recall_before\": %.5f, "
           "\"recall_after\": %.5f, \"checksum\": \"%016llx\"}\n",
           options.fill, fill_rate, (unsigned long long)writer.next, before, after,
           (unsigned long long)checksum);
    tern_local_context_close(context);
    tern_local_close(local);
    tern_vectors_close(writer.vectors);
    for (unsigned i = 0; i < TURNS; i++)
        free(measured[i].times_us);
    points_free(&points);
    points_free(&queries);
    return 0;
}
