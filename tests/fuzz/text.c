/* Any bytes normalized and folded: what must hold of a canonical form. The first byte is the steps.
 */
#include "tests/fuzz/fuzz.h"

#include "shared/host.h"
#include "shared/limits.h"
#include "shared/normalize.h"

/* Exactly as much memory as is promised, so that a sanitizer sees what goes past it. */
static uint8_t *take(const uint8_t *bytes, size_t length, size_t room)
{
    uint8_t *taken = malloc(room + 1);

    FUZZ_CHECK(taken != NULL);
    if (length > 0)
        memcpy(taken, bytes, length);
    return taken;
}

static void normalize(unsigned steps, const uint8_t *in, size_t length)
{
    uint8_t *out = take(NULL, 0, length), *same = take(in, length, length);
    size_t out_length = tern_normalize(steps, in, length, out);

    FUZZ_CHECK(out_length <= length);
    FUZZ_CHECK(tern_normalize(steps, same, length, same) == out_length);
    FUZZ_CHECK(memcmp(same, out, out_length) == 0);
    if (tern_normalize_is_normal(steps, in, length))
        FUZZ_CHECK(out_length == length && memcmp(in, out, length) == 0);
    if ((steps & TERN_NORMALIZE_PERCENT_DECODE) == 0) { /* once is enough */
        FUZZ_CHECK(tern_normalize(steps, out, out_length, same) == out_length);
        FUZZ_CHECK(memcmp(same, out, out_length) == 0);
    }
    if (steps & TERN_NORMALIZE_MERGE_SLASHES)
        FUZZ_CHECK(memmem(out, out_length, "//", 2) == NULL);
    if (steps & TERN_NORMALIZE_DOT_SEGMENTS)
        FUZZ_CHECK(memmem(out, out_length, "/./", 3) == NULL &&
                   memmem(out, out_length, "/../", 4) == NULL);
    free(out);
    free(same);
}

static void fold(const uint8_t *in, size_t length)
{
    uint8_t *out = take(NULL, 0, length + TERN_HOST_GROWTH);
    uint8_t *same = take(in, length, length + TERN_HOST_GROWTH);
    size_t out_length, same_length;

    tern_host_fold(in, length, out, &out_length);
    tern_host_fold(same, length, same, &same_length);
    FUZZ_CHECK(out_length <= length + TERN_HOST_GROWTH);
    FUZZ_CHECK(same_length == out_length && memcmp(same, out, out_length) == 0);
    if (tern_host_is_folded(in, length))
        FUZZ_CHECK(out_length == length && memcmp(in, out, length) == 0);
    for (size_t i = 0; i < out_length; i++)
        FUZZ_CHECK(out[i] < 'A' || out[i] > 'Z');
    free(out);
    free(same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > TERN_STRING_MAX)
        return 0;
    normalize(data[0] & 31, data + 1, size - 1);
    fold(data + 1, size - 1);
    return 0;
}
