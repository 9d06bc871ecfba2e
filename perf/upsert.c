/* How long a vector takes from being sent to being acknowledged, while so many arrive a second, and
 * whether a search in another process finds it at once.
 *
 *     build/perf-upsert --control unix://RUN_DIR/control.sock --target tcp://127.0.0.1:7400
 *         [--collection docs] [--fill 0] [--rate 1000] [--seconds 5] [--seed 1]
 *
 * One thread sends on a schedule, one vector a batch, and collects; times count from when the
 * schedule said so, whatever was late (`late_us`: what had passed when it was sent). A second
 * thread asks ternd for each vector as soon as its acknowledgement is there: the nearest to itself
 * must be itself (what would have to wait long for that is left out, and counted). The first --fill
 * vectors are written as fast as they are taken. Prints one line of JSON. */
#include "clients/c/tern.h"
#include "clients/c/tern_vectors.h"
#include "perf/program.h"
#include "shared/clock.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>

#define IN_FLIGHT 32u
#define BATCH     256u
#define RING      64u /* acknowledged and not looked for yet; what comes beyond that is not */

struct options {
    const char *control, *target, *collection;
    uint64_t fill, rate, seed;
    double seconds;
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t first, end; /* of `ids`, modulo its size */
    uint64_t ids[RING];
    bool ended;
} found = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct options options = {.collection = "docs", .rate = 1000, .seed = 1, .seconds = 5};
static uint32_t dim;
static uint64_t searched, missed;
static uint64_t *search_ns;

/* The vector of an id, the same every time: normal, so that no two resemble each other. */
static void make_vector(uint64_t id, float *values)
{
    uint64_t state = options.seed * 0x9e3779b97f4a7c15ull + id * 0xbf58476d1ce4e5b9ull;

    for (uint32_t i = 0; i < dim; i++) {
        double sum = 0;

        for (unsigned k = 0; k < 4; k++) /* four uniform ones are normal enough */
            sum += (double)(program_random(&state) >> 11) / 9007199254740992.0 - 0.5;
        values[i] = (float)sum;
    }
}

static void collect(struct tern_vectors *vectors, struct tern_vectors_ack *ack)
{
    struct tern_error error;

    if (tern_vectors_collect(vectors, ack, &error) != 0)
        program_fail("no acknowledgement", error.message);
    if (ack->rc != 0)
        program_fail("refused", ack->message);
}

static double fill(struct tern_vectors *vectors)
{
    float *values = malloc(BATCH * dim * sizeof *values);
    struct tern_vectors_item items[BATCH];
    struct tern_vectors_ack ack;
    struct tern_error error;
    uint64_t began_ns = tern_clock_now_ns();

    for (uint64_t first = 0; first < options.fill; first += BATCH) {
        unsigned count = (unsigned)tern_min_u64(BATCH, options.fill - first);
        int rc;

        for (unsigned i = 0; i < count; i++) {
            make_vector(first + i, values + (size_t)i * dim);
            items[i] = (struct tern_vectors_item){first + i, values + (size_t)i * dim, NULL};
        }
        while ((rc = tern_vectors_upsert(vectors, items, count, NULL, &error)) == TERN_EAGAIN)
            collect(vectors, &ack);
        if (rc != 0)
            program_fail("cannot fill", error.message);
    }
    while (tern_vectors_in_flight(vectors) != 0)
        collect(vectors, &ack);
    free(values);
    return tern_clock_ms_since(began_ns) / 1e3;
}

/* --- The one that looks --- */

static void *search_main(void *argument)
{
    struct tern_client *client = argument;
    float *values = malloc(dim * sizeof *values);
    struct tern_client_search search = {.collection =
                                            tern_client_collection(client, options.collection),
                                        .dim = dim,
                                        .vector = values,
                                        .k = 1,
                                        .deadline_us = 1000000};

    for (;;) {
        struct tern_client_hit hit;
        struct tern_error error;
        uint64_t id, began_ns;
        unsigned count = 0;

        pthread_mutex_lock(&found.mutex);
        while (found.first == found.end && !found.ended)
            pthread_cond_wait(&found.changed, &found.mutex);
        if (found.first == found.end) {
            pthread_mutex_unlock(&found.mutex);
            break;
        }
        id = found.ids[found.first++ % RING];
        pthread_mutex_unlock(&found.mutex);
        make_vector(id, values);
        began_ns = tern_clock_now_ns();
        if (tern_client_search(client, &search, &hit, &count, &error) != 0)
            program_fail("cannot search", error.message);
        search_ns[searched++] = tern_clock_now_ns() - began_ns;
        missed += count == 0 || hit.id != id;
    }
    free(values);
    return NULL;
}

static void look_for(uint64_t id)
{
    pthread_mutex_lock(&found.mutex);
    if (found.end - found.first < RING)
        found.ids[found.end++ % RING] = id;
    pthread_cond_signal(&found.changed);
    pthread_mutex_unlock(&found.mutex);
}

/* --- The one that writes --- */

static void collect_one(struct tern_vectors *vectors, uint64_t first, const uint64_t *due_ns,
                        uint64_t *ack_ns, uint64_t *acknowledged)
{
    struct tern_vectors_ack ack;

    collect(vectors, &ack);
    ack_ns[*acknowledged] = tern_clock_now_ns() - due_ns[*acknowledged];
    look_for(first + *acknowledged);
    ++*acknowledged;
}

static void write_all(struct tern_vectors *vectors, uint64_t count, uint64_t *ack_ns,
                      uint64_t *late_ns)
{
    uint64_t *due_ns = malloc(count * sizeof *due_ns), sent = 0, acknowledged = 0,
             began_ns = tern_clock_now_ns();
    float *values = malloc(dim * sizeof *values);

    (void)prctl(PR_SET_TIMERSLACK, 1ul); /* or ppoll takes 50 µs more than it was told */
    while (acknowledged < count) {
        uint64_t now_ns = tern_clock_now_ns(),
                 next_ns = began_ns + sent * 1000000000ull / options.rate;
        bool full = tern_vectors_in_flight(vectors) == IN_FLIGHT;
        struct pollfd polled = {.fd = tern_vectors_fd(vectors), .events = POLLIN};
        struct tern_error error;

        if (sent < count && now_ns >= next_ns && !full) {
            const struct tern_vectors_item item = {options.fill + sent, values, NULL};

            make_vector(options.fill + sent, values);
            late_ns[sent] = now_ns - next_ns;
            due_ns[sent++] = next_ns;
            if (tern_vectors_upsert(vectors, &item, 1, NULL, &error) != 0)
                program_fail("cannot write", error.message);
            continue;
        }
        if (sent < count && !full) {
            const struct timespec wait = {.tv_nsec =
                                              (long)tern_min_u64(next_ns - now_ns, 999999999)};

            if (ppoll(&polled, 1, &wait, NULL) <= 0)
                continue;
        }
        collect_one(vectors, options.fill, due_ns, ack_ns, &acknowledged);
        /* Those that came with it lie in the client's buffer, where poll does not see them. */
        while (acknowledged < sent && tern_vectors_waiting(vectors))
            collect_one(vectors, options.fill, due_ns, ack_ns, &acknowledged);
    }
    free(due_ns);
    free(values);
}

static int compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

static void print_times(const char *name, uint64_t *ns, uint64_t count)
{
    qsort(ns, count, sizeof *ns, compare);
    printf(", \"%s\": {\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}", name,
           (double)ns[count / 2] / 1e3, (double)ns[count * 99 / 100] / 1e3,
           (double)ns[count - 1] / 1e3);
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"control", required_argument, NULL, 'c'},    {"target", required_argument, NULL, 't'},
        {"collection", required_argument, NULL, 'n'}, {"fill", required_argument, NULL, 'f'},
        {"rate", required_argument, NULL, 'r'},       {"seconds", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'e'},       {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (option) {
        case 'c':
            options.control = optarg;
            break;
        case 't':
            options.target = optarg;
            break;
        case 'n':
            options.collection = optarg;
            break;
        case 'f':
            options.fill = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            options.rate = strtoull(optarg, NULL, 10);
            break;
        case 's':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'e':
            options.seed = strtoull(optarg, NULL, 10);
            break;
        default:
            exit(2);
        }
    if (options.control == NULL || options.target == NULL || options.rate == 0 ||
        options.seconds <= 0) {
        fputs("perf-upsert: needs --control and --target, a --rate and --seconds\n", stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    const struct tern_vectors_options flight = {.timeout_ms = 60000, .in_flight = IN_FLIGHT};
    const struct tern_client_options patient = {.call_timeout_ms = 5000};
    struct tern_vectors *vectors = NULL;
    struct tern_client *client = NULL;
    struct tern_error error;
    uint64_t count, *ack_ns, *late_ns;
    pthread_t searcher;
    double filled_s;

    parse(argc, argv);
    if (tern_vectors_open(options.control, options.collection, &flight, &vectors, &error) != 0 ||
        tern_client_open(options.target, &patient, &client, &error) != 0)
        program_fail("cannot connect", error.message);
    dim = tern_vectors_collection(vectors)->dim;
    count = (uint64_t)((double)options.rate * options.seconds);
    count = count == 0 ? 1 : count;
    ack_ns = calloc(count, sizeof *ack_ns);
    late_ns = calloc(count, sizeof *late_ns);
    search_ns = calloc(count, sizeof *search_ns);
    filled_s = fill(vectors);
    if (ack_ns == NULL || late_ns == NULL || search_ns == NULL ||
        pthread_create(&searcher, NULL, search_main, client) != 0)
        program_fail("start", "no memory, or no thread");
    write_all(vectors, count, ack_ns, late_ns);
    pthread_mutex_lock(&found.mutex);
    found.ended = true;
    pthread_cond_signal(&found.changed);
    pthread_mutex_unlock(&found.mutex);
    pthread_join(searcher, NULL);
    printf("{\"filled\": %llu, \"filled_s\": %.3f, \"acknowledged\": %llu, \"searched\": %llu, "
           "\"missed\": %llu",
           (unsigned long long)options.fill, filled_s, (unsigned long long)count,
           (unsigned long long)searched, (unsigned long long)missed);
    print_times("ack_us", ack_ns, count);
    print_times("late_us", late_ns, count);
    print_times("search_us", search_ns, searched);
    puts("}");
    tern_vectors_close(vectors);
    tern_client_close(client);
    free(ack_ns);
    free(late_ns);
    free(search_ns);
    return missed != 0;
}
