/* The slow matcher of regular expressions. The comparison of tests/reference holds it against
 * hyperscan on random expressions and values; here is what it must know, and of what it must say
 * that it does not. */
#include "tests/unit/unit.h"

#include "controlplane/compile/regex.h"

static void matches(const char *pattern, const char *value, bool expected)
{
    struct tern_regex *regex = NULL;

    if (tern_regex_new(&regex, pattern, strlen(pattern)) != 0)
        fail_msg("%s: not known", pattern);
    if (tern_regex_matches(regex, value, strlen(value)) != expected)
        fail_msg("%s on '%s' is not %d", pattern, value, expected);
    tern_regex_free(regex);
}

static void refuses(const char *pattern, int status)
{
    struct tern_regex *regex = NULL;
    int got = tern_regex_new(&regex, pattern, strlen(pattern));

    if (got != status)
        fail_msg("%s: %d", pattern, got);
}

/* A byte of value 0 is one like the others, also where C's own functions end. */
static void a_nul_begins_a_range(TERN_TEST_STATE)
{
    static const char pattern[] = "[\\\0-0]"; /* a backslash, the NUL, to '0' */
    struct tern_regex *regex = NULL;

    assert_int_equal(tern_regex_new(&regex, pattern, sizeof pattern - 1), 0);
    assert_true(tern_regex_matches(regex, "+", 1));
    assert_true(tern_regex_matches(regex, "\0", 1));
    assert_false(tern_regex_matches(regex, "1", 1));
    tern_regex_free(regex);
}

static void matches_what_is_written(TERN_TEST_STATE)
{
    matches("bot", "Googlebot/2", true);
    matches("bot", "Googlebo", false);
    matches("^bot$", "bot", true);
    matches("^bot$", "bot\n", true); /* $: also before a last newline */
    matches("^bot\\z", "bot\n", false);
    matches("^bot$", "robot", false);
    matches("[wW]get", "Wget", true);
    matches("[^a-c]x", "dx", true);
    matches("[^a-c]x", "ax", false);
    matches("[]x]y", "]y", true);
    matches("[[:digit:]]{3}", "a123", true);
    matches("[[:digit:]]{3}", "a12b3", false);
    matches("a{2,3}c", "aac", true);
    matches("^a{2,3}c", "aaaac", false);
    matches("a{1,2", "a{1,2", true); /* no repetition, so itself */
    matches("colou?r", "color", true);
    matches("(a|bc)+d", "xbcad", true);
    matches("(a|bc)+d", "xbd", false);
    matches("a|b|c$", "xc", true);
    matches("\\bfoo\\b", "a foo b", true);
    matches("\\bfoo\\b", "afoo b", false);
    matches("\\Bfoo", "afoo", true);
    matches("(?i)FoO", "xfOo", true);
    matches("(?i:f)oo", "Foo", true);
    matches("(?i:f)oo", "FOO", false);
    matches("a.b", "a\nb", false);
    matches("(?s)a.b", "a\nb", true);
    matches("\\d+\\.\\d+", "v10.2", true);
    matches("\\x41\\x{42}", "xAB", true);
    matches("AdsBot-Google([^-]|$)", "AdsBot-Google", true);
    matches("AdsBot-Google([^-]|$)", "AdsBot-Google-Mobile", false);
    matches("(?:a(?#comment)b)(?P<name>c)", "abc", true);
    matches("^1.*$|\\b[a-z]", "Mozilla/5.3 (like Gecko)", true);
    matches("x*$", "", true);
}

static void says_what_it_does_not_know(TERN_TEST_STATE)
{
    refuses("(a)\\1", TERN_ENOTSUP);
    refuses("(?=a)b", TERN_ENOTSUP);
    refuses("(?<=a)b", TERN_ENOTSUP);
    refuses("a++", TERN_ENOTSUP);
    refuses("\\p{L}", TERN_ENOTSUP);
    refuses("(*UTF8)a", TERN_ENOTSUP);
    refuses("((a{1,30}){1,30}){1,30}", TERN_ENOTSUP);
    refuses("a{3000}", TERN_ENOTSUP);
    refuses("(a", TERN_EINVAL);
    refuses("a)", TERN_EINVAL);
    refuses("[a", TERN_EINVAL);
    refuses("*a", TERN_EINVAL);
    refuses("a\\", TERN_EINVAL);
}

/* Nothing that is thrown at it makes it read or write where it must not, or takes forever. */
static void survives_anything(TERN_TEST_STATE)
{
    static const char letters[] = "ab01(()))[]{},*+?|^$.\\\\xdwsbi:?P<>-";
    uint64_t seed = 20261128;

    for (unsigned round = 0; round < 20000; round++) {
        char pattern[24];
        uint8_t value[64];
        size_t length = tern_test_random(&seed) % sizeof pattern;
        struct tern_regex *regex = NULL;

        for (size_t i = 0; i < length; i++)
            pattern[i] = letters[tern_test_random(&seed) % (sizeof letters - 1)];
        if (tern_regex_new(&regex, pattern, length) != 0)
            continue;
        length = tern_regex_sample(regex, &seed, value, sizeof value);
        assert_true(length <= sizeof value);
        tern_regex_matches(regex, value, length);
        tern_regex_free(regex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_what_is_written),
        cmocka_unit_test(a_nul_begins_a_range),
        cmocka_unit_test(says_what_it_does_not_know),
        cmocka_unit_test(survives_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
