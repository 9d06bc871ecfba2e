/* The table of spellings in tests/data/bypass.txt: what a rule compares. */
#include "tests/unit/unit.h"

#include "shared/address.h"
#include "shared/host.h"
#include "shared/normalize.h"

#include <stdio.h>

/* "\xHH" and "\\" in place. Returns the length. */
static size_t unescape(char *text)
{
    char *in = text, *out = text;

    while (*in != '\0') {
        if (in[0] == '\\' && in[1] == 'x') {
            char digits[3] = {in[2], in[3], 0};

            *out++ = (char)strtoul(digits, NULL, 16);
            in += 4;
        } else {
            in += in[0] == '\\' && in[1] == '\\';
            *out++ = *in++;
        }
    }
    return (size_t)(out - text);
}

static size_t canonical(const char *kind, const char *text, size_t length, char *out)
{
    struct tern_address address;

    if (strcmp(kind, "path") == 0)
        return tern_normalize(31, (const uint8_t *)text, length, (uint8_t *)out);
    if (strcmp(kind, "host") == 0) {
        tern_host_fold((const uint8_t *)text, length, (uint8_t *)out, &length);
        return length;
    }
    assert_string_equal(kind, "ip");
    assert_int_equal(tern_address_parse(text, length, &address), 0);
    tern_address_format(address, out);
    return strlen(out);
}

static void every_spelling_is_seen_through(TERN_TEST_STATE)
{
    const char *root = getenv("TERN_SOURCE_ROOT");
    char path[512], line[512];
    unsigned rows = 0;
    FILE *file;

    if (root == NULL)
        fail_msg("TERN_SOURCE_ROOT is not set; `meson test` sets it");
    snprintf(path, sizeof path, "%s/tests/data/bypass.txt", root);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        char *rest = line, *kind, *attempt, *expected, out[512 + TERN_HOST_GROWTH];
        size_t attempt_length, expected_length, length;

        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0')
            continue;
        kind = strsep(&rest, "\t");
        attempt = strsep(&rest, "\t");
        expected = strsep(&rest, "\t");
        assert_non_null(expected);
        attempt_length = unescape(attempt);
        expected_length = unescape(expected);
        length = canonical(kind, attempt, attempt_length, out);
        if (length != expected_length || memcmp(out, expected, length) != 0)
            fail_msg("%s %s: gives \"%.*s\", not \"%s\"", kind, attempt, (int)length, out,
                     expected);
        rows++;
    }
    fclose(file);
    assert_in_range(rows, 100, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_spelling_is_seen_through)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
