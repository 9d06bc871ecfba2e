/* shared/tables/domain.c and controlplane/build/domain.c. The oracle looks every parent name up in
 * the plain list. */
#include "tests/unit/section.h"

#include "controlplane/build/domain.h"
#include "shared/error.h"
#include "shared/tables/domain.h"

#define NAMES 400u

static unsigned make_name(char *name, unsigned labels_max, uint64_t *seed)
{
    static const char *const labels[] = {"a", "b", "c", "com", "www", "evil", "x-y", "example"};
    unsigned labels_count = 1 + (unsigned)(tern_test_random(seed) % labels_max);
    unsigned length = 0;

    for (unsigned i = 0; i < labels_count; i++)
        length += (unsigned)sprintf(name + length, "%s%s", i == 0 ? "" : ".",
                                    labels[tern_test_random(seed) % TERN_COUNT(labels)]);
    return length;
}

/* The value of the longest name in the list that is the host or a parent of it; the last of equals.
 */
static uint32_t walk(char names[][256], unsigned count, const char *host)
{
    for (const char *suffix = host; suffix != NULL;) {
        for (unsigned i = count; i-- > 0;)
            if (strcmp(names[i], suffix) == 0)
                return i;
        suffix = strchr(suffix, '.');
        if (suffix != NULL)
            suffix++;
    }
    return TERN_NOT_FOUND;
}

static uint32_t find(const struct tern_domain *domain, const char *host)
{
    uint64_t hashes[TERN_DOMAIN_LABELS_MAX];
    unsigned count = tern_domain_prefetch(domain, (const uint8_t *)host, strlen(host), hashes);

    return tern_domain_find(domain, hashes, count);
}

static struct test_section build(char names[][256], unsigned count, bool has_values)
{
    struct tern_domain_builder builder = {0};
    struct tern_buffer buffer = {0};

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(tern_domain_builder_add(&builder, names[i], strlen(names[i]), i), 0);
    assert_int_equal(tern_domain_builder_resolve(&builder, 8), 0);
    assert_int_equal(tern_domain_builder_pack(&builder, has_values, count, &buffer), 0);
    tern_domain_builder_free(&builder);
    return test_section_take(&buffer);
}

static void the_longest_parent_is_found(TERN_TEST_STATE)
{
    static char names[NAMES][256];
    uint64_t seed = 21;

    for (unsigned round = 0; round < 40; round++) {
        unsigned count = round * 10;
        struct tern_domain domain, set;
        struct test_section section, set_section;

        for (unsigned i = 0; i < count; i++)
            make_name(names[i], 1 + round % 6, &seed);
        section = build(names, count, true);
        set_section = build(names, count, false);
        assert_int_equal(tern_domain_open(&domain, section.data, section.length, NULL), 0);
        assert_int_equal(tern_domain_open(&set, set_section.data, set_section.length, NULL), 0);
        for (unsigned i = 0; i < 1000; i++) {
            char host[512];
            uint32_t expected;

            make_name(host, 8, &seed);
            if (i % 7 == 0) /* a near miss: not at a label's edge */
                memmove(host + 1, host, strlen(host) + 1);
            expected = walk(names, count, host);
            assert_int_equal(find(&domain, host), expected);
            assert_int_equal(find(&set, host) == 0, expected != TERN_NOT_FOUND);
        }
        free(section.data);
        free(set_section.data);
    }
}

static void odd_hosts_match_nothing(TERN_TEST_STATE)
{
    char names[][256] = {"com", "evil.com"};
    struct test_section section = build(names, 2, true);
    struct tern_domain domain;
    char deep[600] = "";

    assert_int_equal(tern_domain_open(&domain, section.data, section.length, NULL), 0);
    assert_int_equal(find(&domain, ""), TERN_NOT_FOUND);
    assert_int_equal(find(&domain, "."), TERN_NOT_FOUND);
    assert_int_equal(find(&domain, "com."), TERN_NOT_FOUND); /* not folded */
    assert_int_equal(find(&domain, "xcom"), TERN_NOT_FOUND);
    assert_int_equal(find(&domain, "..evil.com"), 1);
    for (unsigned i = 0; i < 200; i++)
        strcat(deep, "x.");
    strcat(deep, "com");
    assert_int_equal(find(&domain, deep), 0);
    free(section.data);
}

static void bad_names_are_refused(TERN_TEST_STATE)
{
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b"};
    struct tern_domain_builder builder = {0};
    char deep[100] = "x";

    for (size_t i = 0; i < TERN_COUNT(bad); i++)
        assert_int_equal(tern_domain_builder_add(&builder, bad[i], strlen(bad[i]), 0), TERN_EINVAL);
    for (unsigned i = 1; i < TERN_DOMAIN_LABELS_MAX; i++)
        strcat(deep, ".x");
    assert_int_equal(tern_domain_builder_add(&builder, deep, strlen(deep), 0), 0);
    strcat(deep, ".x");
    assert_int_equal(tern_domain_builder_add(&builder, deep, strlen(deep), 0), TERN_ELIMIT);
    tern_domain_builder_free(&builder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_parent_is_found),
        cmocka_unit_test(odd_hosts_match_nothing),
        cmocka_unit_test(bad_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
