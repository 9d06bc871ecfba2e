/* What a commit of vectors takes by itself: the store of tern-control without anything around it,
 * while so many vectors arrive a second. All that are due make one transaction, as in the thread
 * that writes vectors. What perf/run upsert compares the way to an acknowledgement with.
 *
 *     build/perf/perf-commits [--rate 1000] [--seconds 5] [--dim 100] FOLDER
 *
 * FOLDER is there, empty, and on the disk in question. Prints one line of JSON. */
#include "controlplane/collections/vector_store.h"
#include "perf/program.h"
#include "shared/clock.h"

#include <getopt.h>
#include <sys/prctl.h>

static uint64_t rate = 1000;
static double seconds = 5;
static uint32_t dim = 100;
static const char *folder;

static void check(int rc, const struct tern_error *error)
{
    if (rc != 0)
        program_fail("store", error->message);
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {{"rate", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"dim", required_argument, NULL, 'd'},
                                          {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
        if (option == 'r')
            rate = strtoull(optarg, NULL, 10);
        else if (option == 's')
            seconds = strtod(optarg, NULL);
        else if (option == 'd')
            dim = (uint32_t)strtoul(optarg, NULL, 10);
        else
            exit(2);
    if (optind + 1 != argc || rate == 0 || seconds <= 0 || dim == 0 || dim > TERN_DIM_MAX) {
        fputs("perf-commits: needs a folder, a --rate, --seconds and a --dim\n", stderr);
        exit(2);
    }
    folder = argv[optind];
}

static void await(uint64_t at_ns)
{
    const struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000u),
                                .tv_nsec = (long)(at_ns % 1000000000u)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
        continue;
}

/* One transaction of the vectors `first` to `end`; how long it took. */
static uint64_t commit(struct tern_vector_store *store, uint32_t collection, uint64_t first,
                       uint64_t end, const float *vector)
{
    static const uint8_t payload[6]; /* no columns */
    uint64_t began_ns = tern_clock_now_ns(), seq;
    struct tern_error error;

    check(tern_vector_store_begin(store, &error), &error);
    for (uint64_t id = first; id < end; id++)
        check(tern_vector_store_put(store, collection, id, vector, dim, payload, sizeof payload,
                                    &seq, &error),
              &error);
    check(tern_vector_store_end(store, 0, &error), &error);
    return tern_clock_now_ns() - began_ns;
}

static int compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

int main(int argc, char **argv)
{
    uint64_t count, done = 0, commits = 0, began_ns, *took_ns;
    struct tern_vector_store *store = NULL;
    struct tern_error error;
    uint32_t collection;
    float *vector;

    parse(argc, argv);
    (void)prctl(PR_SET_TIMERSLACK, 1ul);
    count = tern_max_u64((uint64_t)((double)rate * seconds), 1);
    took_ns = calloc(count, sizeof *took_ns);
    vector = calloc(dim, sizeof *vector);
    if (took_ns == NULL || vector == NULL)
        return 1;
    check(tern_vector_store_open(folder, &store, &error), &error);
    check(tern_vector_store_collection(store, "docs", &collection, &error), &error);
    began_ns = tern_clock_now_ns();
    while (done < count) {
        uint64_t due;

        await(began_ns + done * 1000000000u / rate);
        due = (tern_clock_now_ns() - began_ns) * rate / 1000000000u + 1;
        due = tern_min_u64(tern_max_u64(due, done + 1), count);
        vector[done % dim] = (float)done;
        took_ns[commits++] = commit(store, collection, done, due, vector);
        done = due;
    }
    if (tern_vector_store_seq(store) != count)
        return 1;
    tern_vector_store_close(store);
    qsort(took_ns, commits, sizeof *took_ns, compare);
    printf("{\"vectors\": %llu, \"commits\": %llu, \"commit_us\": {\"p50\": %.1f, \"p99\": %.1f, "
           "\"max\": %.1f}}\n",
           (unsigned long long)count, (unsigned long long)commits,
           (double)took_ns[commits / 2] / 1e3, (double)took_ns[commits * 99 / 100] / 1e3,
           (double)took_ns[commits - 1] / 1e3);
    free(vector);
    free(took_ns);
    return 0;
}
