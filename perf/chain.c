#include "perf/chain.h"

#include <time.h>

double tern_chain_now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

double tern_chain_measure(size_t bytes, size_t loads, uint64_t *checksum)
{
    size_t lines = bytes / TERN_CACHE_LINE < 2 ? 2 : bytes / TERN_CACHE_LINE;
    uint64_t random = 88172645463325252ull, at = 0;
    uint8_t *memory = NULL;
    double started, ended;

    if (posix_memalign((void **)&memory, TERN_CACHE_LINE, lines * TERN_CACHE_LINE) != 0)
        abort();
    /* One cycle through all lines (Sattolo 1986): each line holds the number of the next. */
    for (size_t i = 0; i < lines; i++)
        tern_store_u64(memory + i * TERN_CACHE_LINE, i);
    for (size_t i = lines - 1; i > 0; i--) {
        uint64_t other, here = tern_load_u64(memory + i * TERN_CACHE_LINE);
        size_t j;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        j = random % i;
        other = tern_load_u64(memory + j * TERN_CACHE_LINE);
        tern_store_u64(memory + i * TERN_CACHE_LINE, other);
        tern_store_u64(memory + j * TERN_CACHE_LINE, here);
    }
    for (size_t i = 0; i < (lines < loads ? lines : loads); i++)
        at = tern_load_u64(memory + at * TERN_CACHE_LINE);
    started = tern_chain_now_ns();
    for (size_t i = 0; i < loads; i++)
        at = tern_load_u64(memory + at * TERN_CACHE_LINE);
    ended = tern_chain_now_ns();
    *checksum += at;
    free(memory);
    return (ended - started) / (double)loads;
}
