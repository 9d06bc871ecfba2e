/* Vectors for programs that measure: rows of f32 from a file, or generated. */
#ifndef TERN_PERF_POINTS_H
#define TERN_PERF_POINTS_H

#include "shared/base.h"

struct points {
    float *values; /* row by row */
    uint32_t count, dim;
};

/* A normal number. */
float points_normal(uint64_t *seed);

/* Normal numbers around a hundred centers, the same for the same seed. */
struct points points_generate(uint32_t count, uint32_t dim, uint64_t seed);
/* At most `most` rows of a file; ends the program when there are none. */
struct points points_read(const char *path, uint32_t dim, uint32_t most);
/* Until there are `count`: the same rows again, each time with other noise of a fifth of a row's
 * size. Synthetic, of real structure. */
void points_multiply(struct points *points, uint32_t count, uint64_t seed);
/* Into an order that only the seed decides: files are often sorted. */
void points_shuffle(struct points points, uint64_t seed);
void points_free(struct points *points);

static inline const float *points_at(const struct points *points, uint32_t index)
{
    return points->values + (size_t)index * points->dim;
}

#endif
