#include "perf/points.h"

#include "perf/program.h"

#include <math.h>

#define CENTERS 100u

float points_normal(uint64_t *seed)
{
    double u = ((double)(program_random(seed) >> 11) + 1) / 9007199254740993.0;
    double v = (double)(program_random(seed) >> 11) / 9007199254740992.0;

    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

struct points points_generate(uint32_t count, uint32_t dim, uint64_t seed)
{
    struct points points = {program_memory(sizeof(float) * count * dim), count, dim};

    for (uint32_t i = 0; i < count; i++) {
        uint64_t center = 1000 + program_random(&seed) % CENTERS;

        for (uint32_t d = 0; d < dim; d++)
            points.values[(size_t)i * dim + d] = points_normal(&center) + points_normal(&seed);
    }
    return points;
}

struct points points_read(const char *path, uint32_t dim, uint32_t most)
{
    FILE *file = fopen(path, "rb");
    size_t row = sizeof(float) * dim;
    struct points points = {.dim = dim};
    long length = 0;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < (long)row)
        program_fail(path, "no vectors of so many dimensions");
    rewind(file);
    points.count = (uint32_t)tern_min_u64((size_t)length / row, most);
    points.values = program_memory(row * points.count);
    if (fread(points.values, row, points.count, file) != points.count)
        program_fail(path, "cannot be read");
    fclose(file);
    return points;
}

void points_multiply(struct points *points, uint32_t count, uint64_t seed)
{
    struct points more = {program_memory(sizeof(float) * count * points->dim), count, points->dim};

    for (uint32_t i = 0; i < count; i++) {
        const float *from = points_at(points, i % points->count);
        float *to = more.values + (size_t)i * points->dim, squares = 0, noise = 0;

        for (uint32_t d = 0; i >= points->count && d < points->dim; d++)
            squares += from[d] * from[d];
        if (i >= points->count)
            noise = 0.2f * sqrtf(squares / (float)points->dim);
        for (uint32_t d = 0; d < points->dim; d++)
            to[d] = noise == 0 ? from[d] : from[d] + noise * points_normal(&seed);
    }
    points_free(points);
    *points = more;
}

void points_shuffle(struct points points, uint64_t seed)
{
    for (uint32_t i = points.count - 1; i > 0; i--) {
        float *a = points.values + (size_t)i * points.dim;
        float *b = points.values + program_random(&seed) % (i + 1) * points.dim;

        for (uint32_t d = 0; d < points.dim; d++) {
            float kept = a[d];

            a[d] = b[d];
            b[d] = kept;
        }
    }
}

void points_free(struct points *points)
{
    free(points->values);
    *points = (struct points){0};
}
