#include "shared/rules/check.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define WALK_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define OPERATION   static inline __attribute__((always_inline, target("avx2,bmi,bmi2,popcnt")))

typedef struct {
    __m256i low, high;
} block_t;

OPERATION block_t block_zero(void)
{
    return (block_t){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

OPERATION block_t block_load(const struct tern_mask_words *from)
{
    return (block_t){_mm256_loadu_si256((const __m256i *)(const void *)&from->words[0]),
                     _mm256_loadu_si256((const __m256i *)(const void *)&from->words[4])};
}

OPERATION void block_store(struct tern_mask_words *to, block_t block)
{
    _mm256_storeu_si256((__m256i *)(void *)&to->words[0], block.low);
    _mm256_storeu_si256((__m256i *)(void *)&to->words[4], block.high);
}

OPERATION block_t block_or(block_t a, block_t b)
{
    return (block_t){_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}

OPERATION block_t block_and(block_t a, block_t b)
{
    return (block_t){_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}

OPERATION block_t block_not(block_t a)
{
    const __m256i ones = _mm256_set1_epi32(-1);

    return (block_t){_mm256_xor_si256(a.low, ones), _mm256_xor_si256(a.high, ones)};
}

OPERATION unsigned block_filled_words(block_t a)
{
    const __m256i zero = _mm256_setzero_si256();
    int low = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a.low, zero)));
    int high = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a.high, zero)));

    return (unsigned)(low | high << 4) ^ 0xff;
}

OPERATION void block_to_words(block_t a, uint64_t words[8])
{
    _mm256_storeu_si256((__m256i *)(void *)words, a.low);
    _mm256_storeu_si256((__m256i *)(void *)(words + 4), a.high);
}

#define WALK_NAME tern_rules_walk_avx2
#include "shared/rules/walk.h"
#endif
