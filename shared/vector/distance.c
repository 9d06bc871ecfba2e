#include "shared/vector/distance.h"

#include <float.h>
#include <math.h>

const struct tern_kernel *tern_kernel_choose(void)
{
    const struct tern_kernel *kernel = tern_kernel_avx512();

    if (kernel == NULL)
        kernel = tern_kernel_avx2();
    return kernel != NULL ? kernel : tern_kernel_scalar();
}

enum tern_space tern_space_of_vectors(const struct tern_collection *collection)
{
    return collection->metric == TERN_METRIC_L2 ? TERN_SPACE_FLOAT_L2 : TERN_SPACE_FLOAT_DOT;
}

enum tern_space tern_space_of_graph(const struct tern_collection *collection)
{
    if (collection->quantize == TERN_QUANTIZE_NONE)
        return tern_space_of_vectors(collection);
    return collection->metric == TERN_METRIC_L2 ? TERN_SPACE_CODE_L2 : TERN_SPACE_CODE_DOT;
}

/* Twice the length of the longest is how far two can be apart; its square must stay a float. */
#define SQUARED_MAX (FLT_MAX / 4)

int tern_vector_check(const float *vector, uint32_t dim, struct tern_error *error)
{
    double squared = 0;

    for (uint32_t i = 0; i < dim; i++) {
        if (!isfinite(vector[i]))
            return tern_error_set(error, TERN_EINVAL, "value %u of the vector is not finite",
                                  i + 1);
        squared += (double)vector[i] * (double)vector[i];
    }
    if (squared > (double)SQUARED_MAX)
        return tern_error_set(error, TERN_EINVAL,
                              "the vector is too long: the sum of its squares is over %g",
                              (double)SQUARED_MAX);
    return 0;
}

float tern_vector_prepare(const struct tern_collection *collection, const float *vector,
                          float *values)
{
    uint32_t dim = collection->dim;
    double squared = 0, length;

    for (uint32_t i = 0; i < dim; i++)
        squared += (double)vector[i] * (double)vector[i];
    length = sqrt(squared);
    memcpy(values, vector, dim * sizeof *values);
    if (collection->metric == TERN_METRIC_COSINE && length > 0)
        for (uint32_t i = 0; i < dim; i++)
            values[i] = (float)((double)values[i] * (1 / length));
    memset(values + dim, 0, (tern_align_up(dim, TERN_FLOAT_BLOCK) - dim) * sizeof *values);
    return (float)(collection->metric == TERN_METRIC_L2 ? squared : length);
}

/* Symmetric, one scale a vector, nothing clipped: a scale for all, or one that clips, costs more
 * recall than the eighth bit is worth. */
void tern_vector_encode(const struct tern_collection *collection, const float *values,
                        uint8_t *line)
{
    struct tern_vector_code *code = (struct tern_vector_code *)(void *)line;
    uint32_t dim = collection->dim, largest_bits = 0;
    float largest, scale, inverse;
    int64_t squared = 0;

    for (uint32_t i = 0; i < dim; i++) {
        uint32_t bits =
            tern_load_u32(&values[i]) & 0x7fffffff; /* ordered like the absolute value */

        if (bits > largest_bits)
            largest_bits = bits;
    }
    largest = tern_load_f32(&largest_bits);
    scale = largest / 127.0f;
    inverse = largest > FLT_MIN * 1024 ? 127.0f / largest : 0; /* less than that is 0 */
    for (uint32_t i = 0; i < dim; i++) {
        /* Adding 1.5 · 2^23 leaves the nearest integer in the lowest bits, as at most 127 is added.
         */
        float shifted = values[i] * inverse + 12582912.0f;
        int32_t value = (int32_t)(tern_load_u32(&shifted) - 0x4b400000u);

        code->values[i] = (int8_t)value;
        squared += (uint32_t)(value * value);
    }
    memset(code->values + dim, 0, collection->code_stride - sizeof *code - dim);
    /* The code stands for a vector of its own. Under cosine that one is given length 1, under l2
     * its own squared length is kept: the distance of two codes is then the exact one of what they
     * stand for, and an error along the vector, which all neighbours share, has no weight. */
    if (collection->metric == TERN_METRIC_COSINE)
        scale = squared > 0 ? (float)(1 / sqrt((double)squared)) : 0;
    code->scale = scale;
    code->squared = collection->metric == TERN_METRIC_L2
                        ? (float)((double)scale * (double)scale * (double)squared)
                        : 0;
}

void tern_probe_of_code(const struct tern_collection *collection, const uint8_t *line,
                        const float *values, int8_t *code, uint8_t *magnitude,
                        struct tern_probe *probe)
{
    const struct tern_vector_code *stored = (const struct tern_vector_code *)(const void *)line;

    *probe = (struct tern_probe){.values = values, .code = code, .magnitude = magnitude};
    if (line == NULL)
        return;
    probe->scale = collection->metric == TERN_METRIC_L2 ? -2 * stored->scale : -stored->scale;
    memcpy(code, line, collection->code_stride);
    memset(code, 0, sizeof *stored);
    for (uint32_t i = 0; i < collection->code_stride; i++)
        magnitude[i] = (uint8_t)(code[i] < 0 ? -code[i] : code[i]);
}

float tern_vector_score(const struct tern_collection *collection, float distance)
{
    /* + 0: the negative of a similarity of 0 is 0, not −0. */
    return collection->metric == TERN_METRIC_L2 ? sqrtf(fmaxf(distance, 0)) : 0.0f - distance;
}
