#include "shared/vector/distance.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define KERNEL_TARGET   __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define KERNEL_FUNCTION static inline __attribute__((always_inline, target("avx2,bmi,bmi2,popcnt")))
#define KERNEL_NAME     "avx2"

/* maddubs takes an unsigned and a signed factor: |q| and c with q's sign. Two products of at most
 * 127 · 127 fit 16 bits, so nothing saturates (−128 is no code; the 8 bytes of a line's header may
 * hold it, but q is 0 there and the sign of 0 makes 0). */
KERNEL_FUNCTION __m256i add_products(__m256i sum, __m256i magnitude, __m256i sign,
                                     const uint8_t *line)
{
    __m256i values = _mm256_load_si256((const __m256i *)(const void *)line);
    __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(values, sign));

    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

KERNEL_FUNCTION void code_dots(const struct tern_probe *probe, const uint8_t *const lines[4],
                               uint32_t bytes, int32_t dots[4])
{
    __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256()};
    __m256i pairs, fours;

    for (uint32_t i = 0; i < bytes; i += 32) {
        __m256i sign = _mm256_load_si256((const __m256i *)(const void *)(probe->code + i));
        __m256i magnitude =
            _mm256_load_si256((const __m256i *)(const void *)(probe->magnitude + i));

        sums[0] = add_products(sums[0], magnitude, sign, lines[0] + i);
        sums[1] = add_products(sums[1], magnitude, sign, lines[1] + i);
        sums[2] = add_products(sums[2], magnitude, sign, lines[2] + i);
        sums[3] = add_products(sums[3], magnitude, sign, lines[3] + i);
    }
    pairs = _mm256_hadd_epi32(sums[0], sums[1]);
    fours = _mm256_hadd_epi32(pairs, _mm256_hadd_epi32(sums[2], sums[3]));
    _mm_storeu_si128((__m128i *)(void *)dots, _mm_add_epi32(_mm256_castsi256_si128(fours),
                                                            _mm256_extracti128_si256(fours, 1)));
}

KERNEL_FUNCTION float add_up(const __m256 sums[4])
{
    __m256 lanes = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));

    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
}

KERNEL_FUNCTION __m256 term(const float *query, const float *values, bool squares)
{
    __m256 q = _mm256_loadu_ps(query), v = _mm256_loadu_ps(values);
    __m256 difference = _mm256_sub_ps(q, v);

    return squares ? _mm256_mul_ps(difference, difference) : _mm256_mul_ps(q, v);
}

KERNEL_FUNCTION float float_sum(const float *query, const uint8_t *line, uint32_t bytes,
                                bool squares)
{
    const float *values = (const float *)(const void *)line;
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                      _mm256_setzero_ps()};
    uint32_t count = bytes / (uint32_t)sizeof *values, i = 0;

    for (; i + 32 <= count; i += 32)
        for (unsigned s = 0; s < 4; s++)
            sums[s] = _mm256_add_ps(sums[s], term(query + i + s * 8, values + i + s * 8, squares));
    for (unsigned s = 0; s < 3; s++)
        if (i + s * 8 < count)
            sums[s] = _mm256_add_ps(sums[s], term(query + i + s * 8, values + i + s * 8, squares));
    return add_up(sums);
}

#include "shared/vector/kernel.h"

const struct tern_kernel *tern_kernel_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                   __builtin_cpu_supports("bmi2")
               ? &kernel
               : NULL;
}
#else
const struct tern_kernel *tern_kernel_avx2(void)
{
    return NULL;
}
#endif
