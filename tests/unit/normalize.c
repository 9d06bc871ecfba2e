/* The normalizer against slow and obvious twins; what it does to single spellings is in bypass.c.
 */
#include "tests/unit/unit.h"

#include "shared/normalize.h"
#include "shared/limits.h"

#include <ctype.h>

enum { EVERY = 31 };

/* ---- The twins ---- */

/* RFC 3986, 5.2.4, to the letter: two buffers and the cases A to E. */
static size_t twin_dots(const char *path, size_t length, char *out)
{
    char input[512];
    size_t end = 0;

    memcpy(input, path, length);
    input[length] = '\0';
    while (length > 0) {
        size_t cut = 0, stop;

        if (strncmp(input, "../", 3) == 0) { /* A */
            cut = 3;
        } else if (strncmp(input, "./", 2) == 0) {
            cut = 2;
        } else if (strncmp(input, "/./", 3) == 0) { /* B */
            cut = 2;
        } else if (strcmp(input, "/.") == 0) {
            strcpy(input, "/");
            length = 1;
            continue;
        } else if (strncmp(input, "/../", 4) == 0 || strcmp(input, "/..") == 0) { /* C */
            while (end > 0 && out[--end] != '/')
                ;
            if (input[3] == '\0') {
                strcpy(input, "/");
                length = 1;
                continue;
            }
            cut = 3;
        } else if (strcmp(input, ".") == 0 || strcmp(input, "..") == 0) { /* D */
            cut = length;
        } else { /* E */
            stop = input[0] == '/';
            while (stop < length && input[stop] != '/')
                stop++;
            memcpy(out + end, input, stop);
            end += stop;
            cut = stop;
        }
        memmove(input, input + cut, length - cut + 1);
        length -= cut;
    }
    return end;
}

static size_t twin(unsigned steps, const uint8_t *in, size_t length, uint8_t *out)
{
    char text[512], dots[512];
    size_t end = 0;

    for (size_t i = 0; i < length; i++) {
        if ((steps & TERN_NORMALIZE_STRIP_QUERY) && strchr("?#", in[i]) != NULL && in[i] != 0)
            break;
        if ((steps & TERN_NORMALIZE_PERCENT_DECODE) && in[i] == '%' && i + 2 < length &&
            isxdigit(in[i + 1]) && isxdigit(in[i + 2])) {
            char digits[3] = {(char)in[i + 1], (char)in[i + 2], 0};

            text[end++] = (char)strtoul(digits, NULL, 16);
            i += 2;
            continue;
        }
        text[end++] = (char)in[i];
    }
    if (steps & TERN_NORMALIZE_MERGE_SLASHES) {
        size_t kept = 0;

        for (size_t i = 0; i < end; i++)
            if (!(i > 0 && text[i] == '/' && text[i - 1] == '/'))
                dots[kept++] = text[i];
        memcpy(text, dots, kept);
        end = kept;
    }
    if (steps & TERN_NORMALIZE_DOT_SEGMENTS) {
        end = twin_dots(text, end, dots);
        memcpy(text, dots, end);
    }
    for (size_t i = 0; i < end; i++)
        out[i] = steps & TERN_NORMALIZE_LOWER && text[i] >= 'A' && text[i] <= 'Z'
                     ? (uint8_t)(text[i] + 'a' - 'A')
                     : (uint8_t)text[i];
    return end;
}

/* ---- Texts that are mostly about to be changed ---- */

static size_t random_text(uint64_t *random, uint8_t *out, size_t limit, bool nul)
{
    static const char *const pieces[] = {"/",    "//",   ".",   "..", "/.",  "/..", "/../",
                                         "/./",  "%2e",  "%2F", "%",  "%4",  "%41", "%%",
                                         "?",    "#",    "A",   "z",  "abc", "%25", "%3f",
                                         "\xc3", "\xff", ";",   "\\", "+",   "Q/q", "%c0%ae"};
    size_t length = 0, wanted = tern_test_random(random) % limit;
    bool tame = tern_test_random(random) % 3 == 0;

    while (length < wanted) {
        const char *piece = pieces[tern_test_random(random) % TERN_COUNT(pieces)];

        if (tame && tern_test_random(random) % 8 != 0)
            piece = "a";
        for (; *piece != '\0' && length < wanted; piece++)
            out[length++] = (uint8_t)*piece;
        if (nul && length < wanted && tern_test_random(random) % 16 == 0)
            out[length++] = 0;
    }
    return length;
}

static void assert_same(uint64_t seed, unsigned steps, const uint8_t *in, size_t in_length,
                        const uint8_t *actual, size_t actual_length, const uint8_t *expected,
                        size_t expected_length)
{
    if (actual_length != expected_length || memcmp(actual, expected, expected_length) != 0)
        fail_msg("seed %llu, steps %u: \"%.*s\" gives \"%.*s\", not \"%.*s\"",
                 (unsigned long long)seed, steps, (int)in_length, in, (int)actual_length, actual,
                 (int)expected_length, expected);
}

static void it_does_what_its_slow_twin_does(TERN_TEST_STATE)
{
    uint64_t seed = 77, changed = 0, untouched = 0;

    for (unsigned i = 0; i < 300000; i++) {
        uint64_t random = seed + i;
        unsigned steps = (unsigned)(tern_test_random(&random) % (EVERY + 1));
        uint8_t text[128], expected[128];
        /* The dots' twin works on strings that end with a NUL. */
        size_t length =
            random_text(&random, text, sizeof text, (steps & TERN_NORMALIZE_DOT_SEGMENTS) == 0);
        uint8_t *in = malloc(length + 1), *out = malloc(length + 1); /* watched by sanitizers */
        size_t expected_length = twin(steps, text, length, expected), out_length;
        bool same = expected_length == length && memcmp(expected, text, length) == 0;

        assert_non_null(in);
        assert_non_null(out);
        memcpy(in, text, length);
        out_length = tern_normalize(steps, in, length, out);
        assert_same(seed + i, steps, text, length, out, out_length, expected, expected_length);
        if (tern_normalize_is_normal(steps, in, length)) {
            untouched++;
            assert_true(same);
        }
        changed += !same;
        out_length = tern_normalize(steps, in, length, in);
        assert_same(seed + i, steps, text, length, in, out_length, expected, expected_length);
        free(in);
        free(out);
    }
    assert_in_range(changed, 10000, 300000);
    assert_in_range(untouched, 10000, 300000);
}

/* All but decoding: what was encoded twice would be decoded twice. */
static void twice_is_once(TERN_TEST_STATE)
{
    uint64_t random = 4711;

    for (unsigned i = 0; i < 200000; i++) {
        unsigned steps = (unsigned)(tern_test_random(&random) % (EVERY + 1));
        uint8_t text[100], once[100], again[100];
        size_t length = random_text(&random, text, sizeof text, true);
        size_t once_length = tern_normalize(steps, text, length, once);
        unsigned rest = memchr(once, '%', once_length) != NULL
                            ? steps & ~(unsigned)TERN_NORMALIZE_PERCENT_DECODE
                            : steps;

        /* An encoded '?' is a letter after decoding and a delimiter the second time. */
        if (steps & TERN_NORMALIZE_PERCENT_DECODE)
            rest &= ~(unsigned)TERN_NORMALIZE_STRIP_QUERY;
        assert_true(once_length <= length);
        assert_same(i, steps, once, once_length, again,
                    tern_normalize(rest, once, once_length, again), once, once_length);
    }
}

/* The check by sixteens sees each offence at every place of every length. */
static void nothing_hides_from_the_check(TERN_TEST_STATE)
{
    static const struct {
        const char *text;
        unsigned step;
    } offences[] = {{"%41", TERN_NORMALIZE_PERCENT_DECODE},
                    {"?", TERN_NORMALIZE_STRIP_QUERY},
                    {"#", TERN_NORMALIZE_STRIP_QUERY},
                    {"//", TERN_NORMALIZE_MERGE_SLASHES},
                    {"/./", TERN_NORMALIZE_DOT_SEGMENTS},
                    {"/../", TERN_NORMALIZE_DOT_SEGMENTS},
                    {"A", TERN_NORMALIZE_LOWER},
                    {"Z", TERN_NORMALIZE_LOWER}};

    for (size_t length = 0; length < 70; length++) {
        uint8_t *text = malloc(length + 1);

        assert_non_null(text);
        memset(text, 'a', length);
        assert_true(tern_normalize_is_normal(EVERY, text, length));
        for (size_t i = 0; i < TERN_COUNT(offences); i++) {
            size_t size = strlen(offences[i].text);

            for (size_t at = 0; at + size <= length; at++) {
                uint8_t *exact = malloc(length);

                assert_non_null(exact);
                memset(exact, 'a', length);
                memcpy(exact + at, offences[i].text, size);
                assert_false(tern_normalize_is_normal(EVERY, exact, length));
                assert_false(tern_normalize_is_normal(offences[i].step, exact, length));
                free(exact);
            }
        }
        free(text);
    }
}

static void long_values_take_linear_time(TERN_TEST_STATE)
{
    static uint8_t text[TERN_STRING_MAX], out[TERN_STRING_MAX];

    for (size_t i = 0; i + 5 <= sizeof text; i += 5)
        memcpy(text + i, i < sizeof text / 2 ? "/aaaa" : "/../a", 5);
    assert_true(tern_normalize(EVERY, text, sizeof text, out) <= sizeof text);
    memset(text, '/', sizeof text);
    assert_int_equal(tern_normalize(EVERY, text, sizeof text, out), 1);
    assert_int_equal(tern_normalize(EVERY, NULL, 0, out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_does_what_its_slow_twin_does),
        cmocka_unit_test(twice_is_once),
        cmocka_unit_test(nothing_hides_from_the_check),
        cmocka_unit_test(long_values_take_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
