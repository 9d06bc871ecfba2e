#include "tests/unit/unit.h"

#include "shared/error.h"
#include "shared/number.h"

#include <float.h>
#include <inttypes.h>

static void assert_u64(const char *text, int code, uint64_t expected)
{
    uint64_t value = 77;

    assert_int_equal(tern_number_parse_u64(text, strlen(text), &value), code);
    assert_int_equal(value, code == 0 ? expected : 77);
}

static void assert_i64(const char *text, int code, int64_t expected)
{
    int64_t value = 77;

    assert_int_equal(tern_number_parse_i64(text, strlen(text), &value), code);
    assert_int_equal(value, code == 0 ? expected : 77);
}

static void assert_f32(const char *text, int code, float expected)
{
    float value = 77;

    assert_int_equal(tern_number_parse_f32(text, strlen(text), &value), code);
    if (code != 0)
        expected = 77;
    assert_memory_equal(&value, &expected, sizeof value); /* tells −0 from 0 */
}

static void whole_numbers_are_strict(TERN_TEST_STATE)
{
    assert_u64("0", 0, 0);
    assert_u64("007", 0, 7);
    assert_u64("18446744073709551615", 0, UINT64_MAX);
    assert_u64("00000000000000000000000001", 0, 1);
    assert_u64("18446744073709551616", TERN_ELIMIT, 0);
    assert_u64("99999999999999999999999", TERN_ELIMIT, 0);
    assert_u64("", TERN_EINVAL, 0);
    assert_u64("-1", TERN_EINVAL, 0);
    assert_u64("+1", TERN_EINVAL, 0);
    assert_u64(" 1", TERN_EINVAL, 0);
    assert_u64("1 ", TERN_EINVAL, 0);
    assert_u64("1e3", TERN_EINVAL, 0);
    assert_u64("0x10", TERN_EINVAL, 0);

    assert_i64("-9223372036854775808", 0, INT64_MIN);
    assert_i64("9223372036854775807", 0, INT64_MAX);
    assert_i64("+5", 0, 5);
    assert_i64("-0", 0, 0);
    assert_i64("-9223372036854775809", TERN_ELIMIT, 0);
    assert_i64("9223372036854775808", TERN_ELIMIT, 0);
    assert_i64("-", TERN_EINVAL, 0);
    assert_i64("--1", TERN_EINVAL, 0);
    assert_i64("", TERN_EINVAL, 0);
}

static void decimals_are_strict(TERN_TEST_STATE)
{
    assert_f32("0", 0, 0.0f);
    assert_f32("-0", 0, 0.0f);
    assert_f32("-0.0e5", 0, 0.0f);
    assert_f32("1", 0, 1.0f);
    assert_f32("0.2", 0, 0.2f);
    assert_f32("-12.5", 0, -12.5f);
    assert_f32(".5", 0, 0.5f);
    assert_f32("5.", 0, 5.0f);
    assert_f32("1e3", 0, 1000.0f);
    assert_f32("1E-3", 0, 0.001f);
    assert_f32("3.4028234e38", 0, FLT_MAX);
    assert_f32("1e-60", 0, 0.0f);
    assert_f32("1e-999999999999", 0, 0.0f);
    assert_f32("1e39", TERN_ELIMIT, 0);
    assert_f32("-1e400", TERN_ELIMIT, 0);
    assert_f32("123456789012345678901234567890", 0, 123456789012345678901234567890.0f);
    assert_f32("0.000000000000000000000000000000000000000000001401298464324817", 0, 1.4e-45f);
    assert_f32("", TERN_EINVAL, 0);
    assert_f32(".", TERN_EINVAL, 0);
    assert_f32("+", TERN_EINVAL, 0);
    assert_f32("1e", TERN_EINVAL, 0);
    assert_f32("1e+", TERN_EINVAL, 0);
    assert_f32("1.2.3", TERN_EINVAL, 0);
    assert_f32("1,5", TERN_EINVAL, 0);
    assert_f32("nan", TERN_EINVAL, 0);
    assert_f32("inf", TERN_EINVAL, 0);
    assert_f32("0x1p3", TERN_EINVAL, 0);
    assert_f32("1 ", TERN_EINVAL, 0);
}

/* The quick way and the C library agree on numbers of every shape. */
static void decimals_round_as_the_library_does(TERN_TEST_STATE)
{
    uint64_t seed = 1;

    for (int i = 0; i < 100000; i++) {
        uint64_t bits = tern_test_random(&seed);
        char text[64];
        float value, expected;

        snprintf(text, sizeof text, "%s%" PRIu64 ".%" PRIu64 "e%d", bits & 1 ? "-" : "",
                 tern_test_random(&seed) >> (bits % 64), bits >> (bits >> 8 & 63),
                 (int)(bits >> 16 & 31) - 16);
        expected = (float)strtod(text, NULL);
        if (tern_number_parse_f32(text, strlen(text), &value) != 0 || value != expected)
            fail_msg("%s is not %.9g", text, (double)expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_strict),
        cmocka_unit_test(decimals_are_strict),
        cmocka_unit_test(decimals_round_as_the_library_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
