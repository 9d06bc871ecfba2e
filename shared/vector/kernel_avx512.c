#include "shared/vector/distance.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define SET             "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,bmi,bmi2,popcnt"
#define KERNEL_TARGET   __attribute__((target(SET)))
#define KERNEL_FUNCTION static inline __attribute__((always_inline, target(SET)))
#define KERNEL_NAME     "avx512"

/* dpbusd takes an unsigned and a signed factor: |q| and c with q's sign. It adds four products to
 * 32 bits, and nothing saturates (−128, which the header of a line may hold, is its own negative,
 * and q is 0 there). */
KERNEL_FUNCTION __m512i add_products(__m512i sum, __m512i magnitude, __mmask64 negative,
                                     const uint8_t *line)
{
    __m512i values = _mm512_load_si512((const void *)line);
    __m512i turned = _mm512_mask_sub_epi8(values, negative, _mm512_setzero_si512(), values);

    return _mm512_dpbusd_epi32(sum, magnitude, turned);
}

KERNEL_FUNCTION __m256i half_of(__m512i sum)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
}

KERNEL_FUNCTION void code_dots(const struct tern_probe *probe, const uint8_t *const lines[4],
                               uint32_t bytes, int32_t dots[4])
{
    __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                       _mm512_setzero_si512()};
    __m256i pairs, fours;

    for (uint32_t i = 0; i < bytes; i += 64) {
        __mmask64 negative =
            _mm512_movepi8_mask(_mm512_load_si512((const void *)(probe->code + i)));
        __m512i magnitude = _mm512_load_si512((const void *)(probe->magnitude + i));

        sums[0] = add_products(sums[0], magnitude, negative, lines[0] + i);
        sums[1] = add_products(sums[1], magnitude, negative, lines[1] + i);
        sums[2] = add_products(sums[2], magnitude, negative, lines[2] + i);
        sums[3] = add_products(sums[3], magnitude, negative, lines[3] + i);
    }
    pairs = _mm256_hadd_epi32(half_of(sums[0]), half_of(sums[1]));
    fours = _mm256_hadd_epi32(pairs, _mm256_hadd_epi32(half_of(sums[2]), half_of(sums[3])));
    _mm_storeu_si128((__m128i *)(void *)dots, _mm_add_epi32(_mm256_castsi256_si128(fours),
                                                            _mm256_extracti128_si256(fours, 1)));
}

/* Partial sums 0…15 and 16…31. */
KERNEL_FUNCTION float add_up(__m512 low, __m512 high)
{
    __m256 lanes =
        _mm256_add_ps(_mm256_add_ps(_mm512_castps512_ps256(low), _mm512_extractf32x8_ps(low, 1)),
                      _mm256_add_ps(_mm512_castps512_ps256(high), _mm512_extractf32x8_ps(high, 1)));
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));

    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
}

/* Lanes that `some` leaves out are 0, which changes no sum: none is −0. */
KERNEL_FUNCTION __m512 term(const float *query, const float *values, __mmask16 some, bool squares)
{
    __m512 q = _mm512_maskz_loadu_ps(some, query), v = _mm512_maskz_loadu_ps(some, values);
    __m512 difference = _mm512_sub_ps(q, v);

    return squares ? _mm512_mul_ps(difference, difference) : _mm512_mul_ps(q, v);
}

KERNEL_FUNCTION float float_sum(const float *query, const uint8_t *line, uint32_t bytes,
                                bool squares)
{
    const float *values = (const float *)(const void *)line;
    __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
    uint32_t count = bytes / (uint32_t)sizeof *values, i = 0;

    for (; i + 32 <= count; i += 32) {
        low = _mm512_add_ps(low, term(query + i, values + i, 0xffff, squares));
        high = _mm512_add_ps(high, term(query + i + 16, values + i + 16, 0xffff, squares));
    }
    if (i < count) {
        uint32_t rest = (1u << (count - i)) - 1;

        low = _mm512_add_ps(low, term(query + i, values + i, (__mmask16)rest, squares));
        high = _mm512_add_ps(
            high, term(query + i + 16, values + i + 16, (__mmask16)(rest >> 16), squares));
    }
    return add_up(low, high);
}

#include "shared/vector/kernel.h"

const struct tern_kernel *tern_kernel_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512vnni") && tern_kernel_avx2() != NULL
               ? &kernel
               : NULL;
}
#else
const struct tern_kernel *tern_kernel_avx512(void)
{
    return NULL;
}
#endif
