#include "tests/unit/unit.h"

#include "controlplane/ctl/command.h"

static const struct tern_command command = {
    .name = "apply",
    .arguments = "CONFIG",
    .minimum = 1,
    .maximum = 1,
    .options =
        TERN_CTL_RUN_DIR | TERN_CTL_MESSAGE | TERN_CTL_JSON | TERN_CTL_TIMEOUT | TERN_CTL_LIMIT,
};

static char *arguments[16];
static struct tern_error error;

#define PARSE(invocation, ...)                                                                     \
    parse((invocation), (char *[]){__VA_ARGS__},                                                   \
          (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)))

static int parse(struct tern_invocation *invocation, char **argv, int argc)
{
    *invocation = (struct tern_invocation){.arguments = arguments};
    return tern_invocation_parse(&command, argc, argv, invocation, &error);
}

static void options_and_arguments_mix(TERN_TEST_STATE)
{
    struct tern_invocation invocation;

    assert_int_equal(PARSE(&invocation, "--json", "a.yaml", "--run-dir=/x", "-m", "why"), 0);
    assert_true(invocation.json);
    assert_string_equal(invocation.run_dir, "/x");
    assert_string_equal(invocation.message, "why");
    assert_int_equal(invocation.argument_count, 1);
    assert_string_equal(invocation.arguments[0], "a.yaml");

    assert_int_equal(PARSE(&invocation, "-mwhy", "--run-dir", "/y", "--", "--json"), 0);
    assert_false(invocation.json);
    assert_string_equal(invocation.message, "why");
    assert_string_equal(invocation.run_dir, "/y");
    assert_string_equal(invocation.arguments[0], "--json");

    /* an empty value is a value; a lone dash is an argument */
    assert_int_equal(PARSE(&invocation, "--message=", "-"), 0);
    assert_string_equal(invocation.message, "");
    assert_string_equal(invocation.arguments[0], "-");
}

static void help_needs_no_arguments(TERN_TEST_STATE)
{
    struct tern_invocation invocation;

    assert_int_equal(PARSE(&invocation, "--help"), 0);
    assert_true(invocation.given & TERN_CTL_HELP);
    assert_int_equal(PARSE(&invocation, "-h"), 0);
}

static void mistakes_are_named(TERN_TEST_STATE)
{
    struct tern_invocation invocation;

    assert_int_equal(PARSE(&invocation, "--json"), TERN_EINVAL);
    assert_string_equal(error.message, "apply needs CONFIG");
    assert_int_equal(PARSE(&invocation, "a", "b"), TERN_EINVAL);
    assert_string_equal(error.message, "apply does not take 'b'");
    assert_int_equal(PARSE(&invocation, "a", "--nonsense"), TERN_EINVAL);
    assert_string_equal(error.message, "apply has no option '--nonsense'");
    /* an option of another command, and a prefix of one of ours */
    assert_int_equal(PARSE(&invocation, "a", "--dry-run"), TERN_EINVAL);
    assert_int_equal(PARSE(&invocation, "a", "--run=/x"), TERN_EINVAL);
    assert_int_equal(PARSE(&invocation, "a", "--json=yes"), TERN_EINVAL);
    assert_string_equal(error.message, "--json takes no value");
    assert_int_equal(PARSE(&invocation, "a", "--run-dir"), TERN_EINVAL);
    assert_string_equal(error.message, "--run-dir needs a value (DIR)");
    assert_int_equal(PARSE(&invocation, "a", "--timeout", "5"), TERN_EINVAL);
    assert_int_equal(PARSE(&invocation, "a", "-n", "5000"), TERN_EINVAL);
    assert_int_equal(PARSE(&invocation, "a", "-n", "-1"), TERN_EINVAL);
}

static void numbers_and_durations(TERN_TEST_STATE)
{
    static const char *const bad[] = {
        "", "5", "ms", "-5s", "5 s", "5sec", "99999999999999999999s", "18446744073709551615h"};
    uint64_t value = 7;

    assert_int_equal(tern_ctl_parse_duration("250us", &value), 0);
    assert_int_equal(value, 250);
    assert_int_equal(tern_ctl_parse_duration("10ms", &value), 0);
    assert_int_equal(value, 10000);
    assert_int_equal(tern_ctl_parse_duration("5s", &value), 0);
    assert_int_equal(value, 5000000);
    assert_int_equal(tern_ctl_parse_duration("2m", &value), 0);
    assert_int_equal(value, 120000000);
    for (unsigned i = 0; i < TERN_COUNT(bad); i++) {
        value = 7;
        assert_int_equal(tern_ctl_parse_duration(bad[i], &value), TERN_EINVAL);
        assert_int_equal(value, 7);
    }
    assert_int_equal(tern_ctl_parse_number("18446744073709551615", &value), 0);
    assert_true(value == UINT64_MAX);
    assert_int_equal(tern_ctl_parse_number("18446744073709551616", &value), TERN_EINVAL);
    assert_int_equal(tern_ctl_parse_number(" 1", &value), TERN_EINVAL);
    assert_int_equal(tern_ctl_parse_number("+1", &value), TERN_EINVAL);
    assert_int_equal(tern_ctl_parse_number("1x", &value), TERN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_arguments_mix),
        cmocka_unit_test(help_needs_no_arguments),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(numbers_and_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
