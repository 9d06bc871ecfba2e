#include "tests/unit/unit.h"

#include "shared/error.h"

#include <errno.h>

static void texts_are_distinct_and_total(TERN_TEST_STATE)
{
    for (int a = -17; a <= -1; a++) {
        assert_string_not_equal(tern_error_text(a), "unknown error");
        for (int b = -17; b < a; b++)
            assert_string_not_equal(tern_error_text(a), tern_error_text(b));
    }
    assert_string_equal(tern_error_text(0), "success");
    assert_string_equal(tern_error_text(-1000), "unknown error");
}

static void system_errors_keep_their_reason(TERN_TEST_STATE)
{
    struct tern_error error;

    assert_int_equal(tern_error_system(&error, ENOSPC, "cannot grow %s", "x"), TERN_ENOSPC);
    assert_string_equal(error.message, "cannot grow x: No space left on device");
    assert_int_equal(tern_error_system(NULL, EACCES, "quiet"), TERN_EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_distinct_and_total),
        cmocka_unit_test(system_errors_keep_their_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
