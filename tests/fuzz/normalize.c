/* Values of requests into normal form: paths under any steps, hosts, names in punycode against
 * libidn2. The first byte says which. Buffers are as long as the contracts say and no longer. */
#include "tests/fuzz/fuzz.h"

#include "shared/host.h"
#include "shared/idna.h"
#include "shared/normalize.h"

#include <idn2.h>

static void *take(size_t bytes)
{
    void *block = malloc(bytes + (bytes == 0));

    FUZZ_CHECK(block != NULL);
    return block;
}

static bool has(const uint8_t *text, size_t length, const char *part)
{
    return memmem(text, length, part, strlen(part)) != NULL;
}

static bool has_capital(const uint8_t *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            return true;
    return false;
}

/* True when a segment between slashes is "." or "..". */
static bool has_dots(const uint8_t *text, size_t length)
{
    size_t start = 0;

    for (size_t i = 0; i <= length; i++) {
        if (i < length && text[i] != '/')
            continue;
        if ((i - start == 1 && text[start] == '.') ||
            (i - start == 2 && text[start] == '.' && text[start + 1] == '.'))
            return true;
        start = i + 1;
    }
    return false;
}

static void check_path(unsigned steps, const uint8_t *in, size_t length)
{
    uint8_t *out = take(length), *again = take(length);
    size_t made = tern_normalize(steps, in, length, out), remade;
    unsigned rest = steps & ~(unsigned)TERN_NORMALIZE_PERCENT_DECODE;

    FUZZ_CHECK(made <= length);
    memcpy(again, in, length); /* in place */
    FUZZ_CHECK(tern_normalize(steps, again, length, again) == made &&
               memcmp(again, out, made) == 0);
    if (tern_normalize_is_normal(steps, in, length))
        FUZZ_CHECK(made == length && memcmp(in, out, made) == 0);
    if (steps & TERN_NORMALIZE_LOWER)
        FUZZ_CHECK(!has_capital(out, made));
    if (steps & TERN_NORMALIZE_MERGE_SLASHES)
        FUZZ_CHECK(!has(out, made, "//"));
    if (steps & TERN_NORMALIZE_DOT_SEGMENTS)
        FUZZ_CHECK(!has_dots(out, made));
    /* what was encoded is a letter now, and would be cut */
    if (steps & TERN_NORMALIZE_PERCENT_DECODE)
        rest &= ~(unsigned)TERN_NORMALIZE_STRIP_QUERY;
    remade = tern_normalize(rest, out, made, again);
    FUZZ_CHECK(remade == made && memcmp(again, out, made) == 0);
    free(out);
    free(again);
}

static void check_host(const uint8_t *in, size_t length)
{
    uint8_t *out = take(length + TERN_HOST_GROWTH), *again = take(length + TERN_HOST_GROWTH);
    size_t made, remade;

    tern_host_fold(in, length, out, &made);
    FUZZ_CHECK(made <= length + TERN_HOST_GROWTH && !has_capital(out, made));
    FUZZ_CHECK(tern_host_without_port(in, length) <= length);
    memcpy(again, in, length);
    tern_host_fold(again, length, again, &remade);
    FUZZ_CHECK(remade == made && memcmp(again, out, made) == 0);
    if (tern_host_is_folded(in, length))
        FUZZ_CHECK(made == length && memcmp(in, out, made) == 0);
    free(out);
    free(again);
}

static void check_name(const uint8_t *in, size_t length)
{
    uint8_t *out = take(TERN_IDNA_BYTES_MAX);
    char *name = take(length + 1), *theirs = NULL;
    size_t made = 0;
    int status = tern_idna_to_ascii(in, length, out, &made);

    memcpy(name, in, length);
    name[length] = '\0';
    if (strlen(name) == length && length > 0 &&
        idn2_to_ascii_8z(name, &theirs, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK) {
        /* longer ones may have more marks in a row than ours takes */
        FUZZ_CHECK(status == 0 || length > 30);
        FUZZ_CHECK(status != 0 || (made == strlen(theirs) && memcmp(out, theirs, made) == 0));
        idn2_free(theirs);
    }
    free(name);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    unsigned choice = (unsigned)fuzz_take(&input, 1);
    uint8_t *in = take(input.left);

    memcpy(in, input.at, input.left);
    if (choice & 0x80)
        check_name(in, input.left);
    else if (choice & 0x40)
        check_host(in, input.left);
    else
        check_path(choice & 0x1f, in, input.left);
    free(in);
    return 0;
}
