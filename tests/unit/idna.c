/* Names in punycode against libidn2, which the request path cannot use. */
#include "tests/unit/unit.h"

#include "shared/error.h"
#include "shared/host.h"
#include "shared/idna.h"

#include <idn2.h>

static size_t put_point(uint32_t point, char *out)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* True when libidn2 takes the name for one; then ours has to be the same. */
static bool agrees(const char *name)
{
    uint8_t ours[TERN_IDNA_BYTES_MAX + 1];
    char *theirs = NULL;
    size_t length = 0;
    int status;

    if (idn2_to_ascii_8z(name, &theirs, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
        return false;
    status = tern_idna_to_ascii((const uint8_t *)name, strlen(name), ours, &length);
    ours[length] = '\0';
    if (status != 0 || strcmp((const char *)ours, theirs) != 0)
        fail_msg("'%s': %d, '%s', libidn2 says '%s'", name, status, ours, theirs);
    idn2_free(theirs);
    return true;
}

static void every_code_point_is_mapped_as_libidn2_does(TERN_TEST_STATE)
{
    unsigned names = 0;

    for (uint32_t point = 0x80; point < 0x110000; point++) {
        char name[16] = "a";
        size_t end;

        if (point >= 0xd800 && point < 0xe000)
            continue;
        end = 1 + put_point(point, name + 1);
        name[end] = 'b';
        names += agrees(name);
    }
    /* Unicode 14 has so many that may stand in a name, or become something that may. */
    assert_in_range(names, 120000, 200000);
}

/* Letters, marks, syllables and full stops mixed: order, composition, labels. */
static void random_names_are_as_libidn2_says(TERN_TEST_STATE)
{
    static const uint32_t letters[] = {
        'a',    'e',    'o',    'z',     '.',    0xe4,    0xc9,    0xdf,   0x301,
        0x308,  0x323,  0x327,  0x328,   0x345,  0x303,   0x31b,   0x1100, 0x1161,
        0x11a8, 0xac00, 0xac01, 0x1eaf,  0x1ed9, 0x3b1,   0x3c2,   0x391,  0x430,
        0x5d0,  0x915,  0x93c,  0x958,   0x3042, 0x3099,  0xff76,  0xff9e, 0x4e2d,
        0xff21, 0x3002, 0x2160, 0x1d400, 0xad,   0x110b9, 0x110ba, '-',    '1'};
    uint64_t seed = 99;
    unsigned names = 0;

    for (unsigned i = 0; i < 60000; i++) {
        uint64_t random = seed + i;
        unsigned count = 1 + (unsigned)(tern_test_random(&random) % 12);
        char name[64];
        size_t end = 0;

        for (unsigned j = 0; j < count; j++)
            end += put_point(letters[tern_test_random(&random) % TERN_COUNT(letters)], name + end);
        name[end] = '\0';
        names += agrees(name);
    }
    assert_in_range(names, 5000, 60000);
}

static int convert(const char *name, size_t length)
{
    uint8_t *in = malloc(length + 1),
            *out = malloc(TERN_IDNA_BYTES_MAX); /* watched by sanitizers */
    size_t out_length = 0;
    int status;

    assert_non_null(in);
    assert_non_null(out);
    memcpy(in, name, length);
    status = tern_idna_to_ascii(in, length, out, &out_length);
    if (status == 0) {
        assert_true(out_length <= TERN_IDNA_BYTES_MAX);
        for (size_t i = 0; i < out_length; i++)
            assert_true(out[i] < 0x80);
    }
    free(in);
    free(out);
    return status;
}

static void what_has_no_form_is_refused(TERN_TEST_STATE)
{
    char name[TERN_IDNA_INPUT_MAX + 2];

    assert_int_equal(convert("\xc3", 1), TERN_EINVAL);
    assert_int_equal(convert("\xc0\xae", 2), TERN_EINVAL);
    assert_int_equal(convert("\xed\xa0\x80", 3), TERN_EINVAL);
    assert_int_equal(convert("\xf4\x90\x80\x80", 4), TERN_EINVAL);
    for (size_t i = 0; i + 1 < sizeof name; i += 2)
        memcpy(name + i, "\xc3\xbc", 2);
    assert_int_equal(convert(name, 40), 0);
    assert_int_equal(convert(name, 128), TERN_EINVAL); /* a label of 64 */
    assert_int_equal(convert(name, TERN_IDNA_INPUT_MAX + 2), TERN_EINVAL);
    for (size_t i = 0; i < 90; i += 2)
        memcpy(name + i, "\xcc\x81", 2);
    assert_int_equal(convert(name, 80), TERN_EINVAL); /* forty marks in a row */
    for (size_t i = 0; i + 3 < TERN_IDNA_INPUT_MAX; i += 4)
        memcpy(name + i, "\xc3\xbc..", 4);
    assert_int_equal(convert(name, TERN_IDNA_INPUT_MAX), TERN_EINVAL); /* a name of more than 253 */
    for (size_t i = 0; i + 2 < TERN_IDNA_INPUT_MAX; i += 3)
        memcpy(name + i, "\xef\xb7\xba", 3); /* one code point that is eighteen */
    assert_int_equal(convert(name, TERN_IDNA_INPUT_MAX - 2), TERN_EINVAL);
}

/* Whatever bytes come: a result that fits and is ASCII, or none. */
static void any_bytes_are_survived(TERN_TEST_STATE)
{
    uint64_t random = 31337;
    unsigned converted = 0;

    for (unsigned i = 0; i < 100000; i++) {
        size_t length = tern_test_random(&random) % 80, end = 0;
        char name[100];

        while (end < length)
            if (tern_test_random(&random) % 10 == 0)
                name[end++] = (char)tern_test_random(&random);
            else
                end += put_point((uint32_t)(tern_test_random(&random) % 0x2000), name + end);
        converted += convert(name, end) == 0;
    }
    assert_in_range(converted, 1000, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_mapped_as_libidn2_does),
        cmocka_unit_test(random_names_are_as_libidn2_says),
        cmocka_unit_test(what_has_no_form_is_refused),
        cmocka_unit_test(any_bytes_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
