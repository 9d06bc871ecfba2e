/* How long a thread that wakes waits for one that computes on the same CPU: the request loop beside
 * the builder or housekeeping, without anything of tern in it. For each way of computing beside it,
 * the waking thread sleeps a tenth of a millisecond and is busy for six hundredths, over and over;
 * how much later than asked it wakes is what its requests would wait.
 *
 * Usage: yield [--small] [CPU]. Prints a checksum: the number of ways. */
#include "shared/background.h"
#include "shared/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define SLEEP_NS    100000u
#define BUSY_NS     60000u
#define SAMPLES_MAX 200000u
#define ROUNDS      4 /* interleaved: whatever else the machine does hits all of them */

static const struct way {
    const char *name;
    bool computes, yields;
    int nice;
} ways[] = {
    {"nothing beside it", false, false, 0},  {"an ordinary thread", true, false, 0},
    {"background, nice 5", true, true, 5},   {"background, nice 10", true, true, 10},
    {"background, nice 19", true, true, 19},
};

static uint64_t late_ns[TERN_COUNT(ways)][SAMPLES_MAX];
static size_t counts[TERN_COUNT(ways)];
static _Atomic bool stopping;

static void *compute(void *argument)
{
    const struct way *way = argument;
    uint64_t sum = 1;

    if (way->yields && tern_background_begin(way->nice) != 0)
        fprintf(stderr, "%s: cannot yield\n", way->name);
    while (!atomic_load_explicit(&stopping, memory_order_relaxed))
        sum = sum * 31 + 7;
    return sum == 0 ? argument : NULL; /* or the compiler computes nothing */
}

static void wake_for(size_t way, uint64_t duration_ns)
{
    const struct timespec sleep = {.tv_nsec = SLEEP_NS};
    uint64_t end_ns = tern_clock_now_ns() + duration_ns;

    while (tern_clock_now_ns() < end_ns && counts[way] < SAMPLES_MAX) {
        uint64_t begin_ns = tern_clock_now_ns(), woken_ns;

        clock_nanosleep(CLOCK_MONOTONIC, 0, &sleep, NULL);
        woken_ns = tern_clock_now_ns();
        late_ns[way][counts[way]++] =
            woken_ns - begin_ns > SLEEP_NS ? woken_ns - begin_ns - SLEEP_NS : 0;
        while (tern_clock_now_ns() < woken_ns + BUSY_NS)
            ;
    }
}

static int measure(size_t way, uint64_t duration_ns)
{
    pthread_t thread;

    if (!ways[way].computes) {
        wake_for(way, duration_ns);
        return 0;
    }
    atomic_store_explicit(&stopping, false, memory_order_relaxed);
    if (pthread_create(&thread, NULL, compute, (void *)(uintptr_t)&ways[way]) != 0)
        return -1;
    wake_for(way, duration_ns);
    atomic_store_explicit(&stopping, true, memory_order_relaxed);
    pthread_join(thread, NULL);
    return 0;
}

static int compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

int main(int argc, char **argv)
{
    bool small = argc > 1 && strcmp(argv[1], "--small") == 0;
    const char *cpu = argc > 1 + small ? argv[1 + small] : NULL;
    uint64_t duration_ns = small ? 10000000 : 2000000000;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu != NULL ? (unsigned)strtoul(cpu, NULL, 10) : (unsigned)sched_getcpu(), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        perror("sched_setaffinity");
        return 1;
    }
    for (int round = 0; round < (small ? 1 : ROUNDS); round++)
        for (size_t way = 0; way < TERN_COUNT(ways); way++)
            if (measure(way, duration_ns) != 0)
                return 1;
    for (size_t way = 0; way < TERN_COUNT(ways); way++) {
        const uint64_t *sorted = late_ns[way];
        size_t count = counts[way];

        qsort(late_ns[way], count, sizeof late_ns[way][0], compare);
        printf("%-20s wakes late by %8.1f µs (p50) %9.1f (p99) %9.1f (p99.9)\n", ways[way].name,
               (double)sorted[count / 2] / 1e3, (double)sorted[count * 99 / 100] / 1e3,
               (double)sorted[count * 999 / 1000] / 1e3);
    }
    printf("checksum %zu\n", TERN_COUNT(ways));
    return 0;
}
