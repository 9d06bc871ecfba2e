#include "tests/unit/unit.h"

#include "controlplane/config/difference.h"

#define RULES_MAX 64

struct rules {
    struct tern_config config;
    struct tern_config_rule rules[RULES_MAX];
    char names[RULES_MAX][8];
};

/* "abc" → three rules with those letters as ids; an upper-case letter has another expression. */
static struct rules *make(const char *ids)
{
    struct rules *made = calloc(1, sizeof *made);

    for (; *ids != '\0'; ids++) {
        unsigned i = made->config.rule_count++;
        struct tern_config_rule *rule = &made->rules[i];

        snprintf(made->names[i], sizeof made->names[i], "%c", *ids | 32);
        rule->id = (struct tern_text){.text = made->names[i], .length = 1};
        rule->when = (struct tern_text){.text = (*ids & 32) ? "x == 1" : "x == 2", .length = 6};
    }
    made->config.rules = made->rules;
    return made;
}

/* The differences as text: "+c -a ~b >d". */
static void expect(const char *old_ids, const char *new_ids, const char *expected)
{
    static const char signs[] = {'+', '-', '~', '>'};
    struct rules *old = make(old_ids), *new = make(new_ids);
    struct tern_rule_differences differences;
    char text[256] = "";

    assert_int_equal(tern_rules_compare(&old->config, &new->config, &differences), 0);
    for (unsigned i = 0; i < differences.count; i++) {
        char one[16];

        snprintf(one, sizeof one, "%s%c%s", i != 0 ? " " : "", signs[differences.items[i].change],
                 differences.items[i].id);
        strcat(text, one);
    }
    assert_string_equal(text, expected);
    tern_rule_differences_free(&differences);
    free(old);
    free(new);
}

static void changes_are_found_by_id(TERN_TEST_STATE)
{
    expect("", "", "");
    expect("abc", "abc", "");
    expect("", "ab", "+a +b");
    expect("ab", "", "-a -b");
    expect("abc", "aBc", "~b");
    expect("abc", "abxc", "+x");
    expect("abc", "ac", "-b");
    expect("abc", "bcx", "-a +x");
}

static void only_what_moved_is_moved(TERN_TEST_STATE)
{
    expect("abcd", "bcda", ">a");
    expect("abcd", "dabc", ">d");
    expect("abcd", "acbd", ">c");
    expect("abcd", "Cabd", "~c >c");
    expect("abcde", "xbcdae", "+x >a");
}

/* Against a slow oracle: the fewest moves is the length less the longest increasing subsequence. */
static void moves_are_the_fewest(TERN_TEST_STATE)
{
    static const char letters[] = "abcdefghijkl";
    uint64_t seed = 42;

    for (int round = 0; round < 500; round++) {
        char shuffled[sizeof letters];
        unsigned longest = 0, run[sizeof letters], moved = 0, count = sizeof letters - 1;
        struct rules *old = make(letters), *new;
        struct tern_rule_differences differences;

        memcpy(shuffled, letters, sizeof letters);
        for (unsigned i = count - 1; i > 0; i--) {
            unsigned j = (unsigned)(tern_test_random(&seed) % (i + 1));
            char swapped = shuffled[i];

            shuffled[i] = shuffled[j];
            shuffled[j] = swapped;
        }
        for (unsigned i = 0; i < count; i++) {
            run[i] = 1;
            for (unsigned j = 0; j < i; j++)
                if (shuffled[j] < shuffled[i] && run[j] + 1 > run[i])
                    run[i] = run[j] + 1;
            longest = run[i] > longest ? run[i] : longest;
        }
        new = make(shuffled);
        assert_int_equal(tern_rules_compare(&old->config, &new->config, &differences), 0);
        for (unsigned i = 0; i < differences.count; i++) {
            assert_int_equal(differences.items[i].change, TERN_RULE_MOVED);
            moved++;
        }
        assert_int_equal(moved, count - longest);
        tern_rule_differences_free(&differences);
        free(old);
        free(new);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_found_by_id),
        cmocka_unit_test(only_what_moved_is_moved),
        cmocka_unit_test(moves_are_the_fewest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
