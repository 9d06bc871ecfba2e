#include "tests/unit/unit.h"

#include "shared/host.h"

static void assert_folds(const char *in, const char *expected)
{
    /* Exactly as long as it has to be, so that a sanitizer sees a write past it. */
    size_t length = strlen(in), out_length = SIZE_MAX;
    uint8_t *out = malloc(length + TERN_HOST_GROWTH), *same = malloc(length + TERN_HOST_GROWTH);

    assert_non_null(out);
    assert_non_null(same);
    tern_host_fold((const uint8_t *)in, length, out, &out_length);
    if (out_length != strlen(expected) || memcmp(out, expected, out_length) != 0)
        fail_msg("\"%s\" gives \"%.*s\", not \"%s\"", in, (int)out_length, out, expected);

    memcpy(same, in, length);
    if (tern_host_is_folded(same, length))
        assert_string_equal(in, expected);
    tern_host_fold(same, length, same, &out_length);
    assert_int_equal(out_length, strlen(expected));
    assert_memory_equal(same, expected, out_length);
    free(out);
    free(same);
}

static void case_dot_and_port_fold(TERN_TEST_STATE)
{
    assert_folds("", "");
    assert_folds("example.com", "example.com");
    assert_folds("WWW.Example.COM", "www.example.com");
    assert_folds("@AZ[`az{", "@az[`az{");
    assert_folds("example.com.", "example.com");
    assert_folds("example.com..", "example.com.");
    assert_folds("Example.com:443", "example.com");
    assert_folds("Example.com.:443", "example.com");
    assert_folds("example.com:", "example.com");
    assert_folds("example.com:http", "example.com:http");
    assert_folds(":80", "");
    assert_folds(".", "");
    assert_folds("1234", "1234");
    assert_folds("10.0.0.1:8080", "10.0.0.1");
}

static void addresses_keep_their_colons(TERN_TEST_STATE)
{
    assert_folds("2001:DB8::1", "2001:db8::1");
    assert_folds("::", "::");
    assert_folds("[2001:DB8::1]", "[2001:db8::1]");
    assert_folds("[2001:DB8::1]:443", "[2001:db8::1]");
    assert_folds("[::1]:", "[::1]");
    assert_folds("[::1", "[::1");
    assert_folds("[:1", "[:1");
    assert_folds("[", "[");
}

static void names_of_other_scripts_and_other_bytes(TERN_TEST_STATE)
{
    assert_folds("B\xc3\x9c"
                 "CHER.example",
                 "xn--bcher-kva.example");
    assert_folds("B\xc3"
                 "CHER.example",
                 "b\xc3"
                 "cher.example");
    assert_folds("a_b-c.D\x7f\x80\xff", "a_b-c.d\x7f\x80\xff");
    for (size_t length = 1; length < 300; length++) { /* across every vector width's tail */
        char in[300], out[300];
        memset(in, 'Q', length);
        memset(out, 'q', length);
        in[length] = out[length] = 0;
        assert_folds(in, out);
    }
}

/* Across every length, with the one byte that matters at every place. */
static void names_in_small_letters_are_folded(TERN_TEST_STATE)
{
    assert_true(tern_host_is_folded(NULL, 0));
    for (size_t length = 1; length < 70; length++) {
        uint8_t *in = malloc(length); /* a sanitizer sees a read past it */

        assert_non_null(in);
        memset(in, 'a', length);
        assert_true(tern_host_is_folded(in, length));
        for (size_t i = 0; i < length; i++) {
            in[i] = i + 1 < length ? '-' : 'z';
            assert_true(tern_host_is_folded(in, length));
            in[i] = i % 2 == 0 ? 'A' : 'Z';
            assert_false(tern_host_is_folded(in, length));
            in[i] = (uint8_t)(0x80 | i);
            assert_false(tern_host_is_folded(in, length));
            in[i] = 'a';
        }
        in[length - 1] = '.';
        assert_false(tern_host_is_folded(in, length));
        in[length - 1] = '0'; /* it may be a port's */
        assert_false(tern_host_is_folded(in, length));
        free(in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_dot_and_port_fold),
        cmocka_unit_test(addresses_keep_their_colons),
        cmocka_unit_test(names_of_other_scripts_and_other_bytes),
        cmocka_unit_test(names_in_small_letters_are_folded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
