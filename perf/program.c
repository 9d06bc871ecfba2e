#include "perf/program.h"

#include <errno.h>

void program_fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
    exit(1);
}

void *program_memory(size_t bytes)
{
    void *memory = NULL;

    if (posix_memalign(&memory, TERN_PAGE, tern_align_up(bytes + 1, TERN_PAGE)) != 0)
        program_fail("memory", "there is none");
    return memory;
}

uint64_t program_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t program_random(uint64_t *seed)
{
    return program_mix(*seed += 0x9e3779b97f4a7c15ull);
}

static int compare_floats(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;

    return (left > right) - (left < right);
}

double program_quantile(float *values, size_t count, double fraction)
{
    qsort(values, count, sizeof *values, compare_floats);
    return values[(size_t)(fraction * (double)(count - 1))];
}

double program_median(const double *values, unsigned count)
{
    float copy[64];

    assert(count <= TERN_COUNT(copy));
    for (unsigned i = 0; i < count; i++)
        copy[i] = (float)values[i];
    return program_quantile(copy, count, 0.5);
}
