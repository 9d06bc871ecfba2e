#include "shared/vector/distance.h"

#define KERNEL_TARGET
#define KERNEL_FUNCTION static inline __attribute__((always_inline))
#define KERNEL_NAME     "scalar"
#define SUMS            32

KERNEL_FUNCTION void code_dots(const struct tern_probe *probe, const uint8_t *const lines[4],
                               uint32_t bytes, int32_t dots[4])
{
    for (unsigned line = 0; line < 4; line++) {
        const int8_t *values = (const int8_t *)lines[line];
        int32_t sum = 0;

        for (uint32_t i = 0; i < bytes; i++)
            sum += probe->code[i] * values[i];
        dots[line] = sum;
    }
}

/* As the vector registers do it: four of eight lanes, (0 + 1) + (2 + 3), then lanes 0…3 + 4…7, then
 * (0 + 2) + (1 + 3). */
KERNEL_FUNCTION float add_up(const float sums[SUMS])
{
    float lanes[8];

    for (unsigned i = 0; i < 8; i++)
        lanes[i] = (sums[i] + sums[8 + i]) + (sums[16 + i] + sums[24 + i]);
    for (unsigned i = 0; i < 4; i++)
        lanes[i] += lanes[4 + i];
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

KERNEL_FUNCTION float float_sum(const float *query, const uint8_t *line, uint32_t bytes,
                                bool squares)
{
    const float *values = (const float *)(const void *)line;
    float partial[SUMS] = {0};

    for (uint32_t i = 0; i < bytes / sizeof *values; i++) {
        float difference = query[i] - values[i];

        partial[i % SUMS] += squares ? difference * difference : query[i] * values[i];
    }
    return add_up(partial);
}

#include "shared/vector/kernel.h"

const struct tern_kernel *tern_kernel_scalar(void)
{
    return &kernel;
}
