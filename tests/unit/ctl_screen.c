#include "tests/unit/unit.h"

#include "controlplane/ctl/screen.h"

static char *render(const char *text, unsigned columns, unsigned rows)
{
    char *out = NULL;
    size_t length = 0;

    assert_int_equal(tern_screen_render(text, strlen(text), columns, rows, &out, &length), 0);
    assert_int_equal(strlen(out), length);
    return out;
}

static void lines_are_clipped_and_the_rest_erased(TERN_TEST_STATE)
{
    char *out = render("abcdef\n\1heading\nx\n", 4, 4);

    assert_string_equal(out, "\033[H"
                             "abcd\033[K\r\n"
                             "\033[1mhead\033[0m\033[K\r\n"
                             "x\033[K\r\n"
                             "\033[K");
    free(out);
}

static void what_does_not_fit_is_left_out(TERN_TEST_STATE)
{
    char *out = render("1\n2\n3\n", 10, 2);

    assert_string_equal(out, "\033[H1\033[K\r\n2\033[K");
    free(out);
    out = render("", 10, 1);
    assert_string_equal(out, "\033[H\033[K");
    free(out);
}

/* A character of several bytes takes one column and is never cut. */
static void characters_stay_whole(TERN_TEST_STATE)
{
    char *out = render("µ▇…abc\n", 4, 1);

    assert_string_equal(out, "\033[Hµ▇…a\033[K");
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_clipped_and_the_rest_erased),
        cmocka_unit_test(what_does_not_fit_is_left_out),
        cmocka_unit_test(characters_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
