#include "tests/unit/unit.h"

#include "controlplane/config/config.h"
#include "controlplane/config/nearest.h"
#include "controlplane/config/quantity.h"
#include "controlplane/config/yaml.h"

/* ---- Places ---- */

/* Every '@'-marked letter of the texts in `yaml` must be found where it stands in the file: the
 * text's byte is looked for among all places, its line and column must hold the same byte. */
static void assert_places(const char *yaml)
{
    struct tern_memory nodes = {0}, texts = {0};
    struct tern_diagnostics diagnostics = {0};
    struct tern_yaml_node *root = NULL;
    const struct tern_text *text;
    unsigned checked = 0;

    assert_int_equal(tern_yaml_parse("f", yaml, strlen(yaml), &nodes, &texts, &diagnostics, &root),
                     0);
    text = &root->first->next->text;
    for (size_t i = 0; i < text->length; i++) {
        struct tern_place place = tern_text_place(text, i);
        const char *at = yaml;

        if (text->text[i] < '0' || text->text[i] > 'z')
            continue; /* letters and digits stand for themselves, unless escaped */
        for (uint32_t line = 1; line < place.line; line++)
            at = strchr(at, '\n') + 1;
        for (uint32_t column = 1; column < place.column; column++)
            do
                at++;
            while (((uint8_t)*at & 0xc0) == 0x80);
        if (*at == '\\') /* an escape begins where its character is */
            continue;
        if (*at != text->text[i])
            fail_msg("byte %zu ('%c') of \"%s\" is said to be at %u:%u, '%c'", i, text->text[i],
                     text->text, place.line, place.column, *at);
        checked++;
    }
    assert_true(checked > 5);
    tern_diagnostics_free(&diagnostics);
    tern_memory_free(&nodes);
    tern_memory_free(&texts);
}

static void bytes_are_found_where_they_stand(TERN_TEST_STATE)
{
    assert_places("k: abcdefgh ijk\n");
    assert_places("k: abcdef   \n   ghi\n\n   jkl mno\n");
    assert_places("k: 'abc''def''''ghi'\n");
    assert_places("k: 'abc  def\n   ghi\n\n\n   jkl'\n");
    assert_places("k: \"abc\\n\\x41def\\u00e9ghi\\\"jkl\"\n");
    assert_places("k: \"abc\\\n   def\\N\\_\\Lghi\\U0001F600jkl\"\n");
    assert_places("k: \"abcé über 日本 def\"\n");
    assert_places("k: |\n  abc def\n    ghi\n\n  jkl\n");
    assert_places("k: |-\n\n\n  abc def\n  ghi");
    assert_places("k: |2\n    abc def\n  ghi\n");
    assert_places("k: >\n  abc\n  def\n\n  ghi\n    jkl\n  mno\n");
    assert_places("k: >-\n  abc def\n\n\n  ghi\n");
    assert_places("k: |\r\n  abc def\r\n  ghi jkl\r\n");
    assert_places("# ü\nk: abc def ghi\n");
}

static void texts_made_by_hand_have_places(TERN_TEST_STATE)
{
    struct tern_text text = {
        .text = "ab  c\nde", .length = 8, .place = {.file = "f", .line = 3, .column = 7}};

    assert_int_equal(tern_text_place(&text, 4).column, 11);
    assert_int_equal(tern_text_place(&text, 7).line, 4);
    assert_int_equal(tern_text_place(&text, 7).column, 2);
    assert_int_equal(tern_text_place(&text, 99).column, 3);
}

/* ---- Quantities ---- */

static void assert_quantity(int (*parse)(const char *, size_t, uint64_t *), const char *text,
                            int code, uint64_t expected)
{
    uint64_t value = 99;

    if (parse(text, strlen(text), &value) != code || value != (code == 0 ? expected : 99))
        fail_msg("\"%s\" gives %llu", text, (unsigned long long)value);
}

static void quantities_have_units(TERN_TEST_STATE)
{
    assert_quantity(tern_quantity_size, "0", 0, 0);
    assert_quantity(tern_quantity_size, "512", 0, 512);
    assert_quantity(tern_quantity_size, "512B", 0, 512);
    assert_quantity(tern_quantity_size, "64KiB", 0, 65536);
    assert_quantity(tern_quantity_size, "4GiB", 0, 4ull << 30);
    assert_quantity(tern_quantity_size, "2TiB", 0, 2ull << 40);
    assert_quantity(tern_quantity_size, "4GB", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_size, "4 GiB", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_size, "4gib", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_size, "GiB", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_size, "-1", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_size, "1.5GiB", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_size, "16777216TiB", TERN_ELIMIT, 0);
    assert_quantity(tern_quantity_count, "10k", 0, 10000);
    assert_quantity(tern_quantity_count, "1M", 0, 1000000);
    assert_quantity(tern_quantity_count, "3G", 0, 3000000000);
    assert_quantity(tern_quantity_count, "1KiB", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_duration, "250us", 0, 250);
    assert_quantity(tern_quantity_duration, "10ms", 0, 10000);
    assert_quantity(tern_quantity_duration, "5s", 0, 5000000);
    assert_quantity(tern_quantity_duration, "5m", 0, 300000000);
    assert_quantity(tern_quantity_duration, "1h", 0, 3600000000);
    assert_quantity(tern_quantity_duration, "7d", 0, 604800000000);
    assert_quantity(tern_quantity_duration, "0", 0, 0);
    assert_quantity(tern_quantity_duration, "5", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_duration, "5min", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_duration, "", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_share, "20%", 0, 200);
    assert_quantity(tern_quantity_share, "0.5%", 0, 5);
    assert_quantity(tern_quantity_share, "150%", 0, 1500);
    assert_quantity(tern_quantity_share, "20", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_share, "%", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_share, ".5%", TERN_EINVAL, 0);
    assert_quantity(tern_quantity_share, "0.x%", TERN_EINVAL, 0);
}

static void quantities_print_as_they_parse(TERN_TEST_STATE)
{
    uint64_t seed = 3;

    for (int i = 0; i < 10000; i++) {
        uint64_t value = tern_test_random(&seed) >> (tern_test_random(&seed) % 64), back;
        char text[TERN_QUANTITY_TEXT];

        value = i % 2 ? value << (i % 40) : value / 1000 * (uint64_t)(i % 7 + 1);
        tern_quantity_format_size(value, text);
        assert_int_equal(tern_quantity_size(text, strlen(text), &back), 0);
        assert_int_equal(back, value);
        tern_quantity_format_duration(value, text);
        assert_int_equal(tern_quantity_duration(text, strlen(text), &back), 0);
        assert_int_equal(back, value);
    }
}

/* ---- Nearest names ---- */

static unsigned distance(const char *a, const char *b)
{
    return tern_nearest_distance(a, strlen(a), b, strlen(b), 60);
}

static void distances_count_single_mistakes(TERN_TEST_STATE)
{
    struct tern_nearest nearest = {.wanted = "tabels", .wanted_length = 6};

    assert_int_equal(distance("", ""), 0);
    assert_int_equal(distance("abc", ""), 3);
    assert_int_equal(distance("abc", "ABC"), 0);
    assert_int_equal(distance("abc", "abd"), 1);
    assert_int_equal(distance("abc", "acb"), 1);
    assert_int_equal(distance("abcd", "acbd"), 1);
    assert_int_equal(distance("abc", "xabc"), 1);
    assert_int_equal(distance("kitten", "sitting"), 3);
    assert_int_equal(tern_nearest_distance("kitten", 6, "sitting", 7, 2), 3);
    tern_nearest_offer(&nearest, "labels", 6);
    assert_string_equal(nearest.best, "labels");
    tern_nearest_offer(&nearest, "tables", 6);
    assert_int_equal(nearest.best_distance, 1);
    tern_nearest_offer(&nearest, "rules", 5);
    assert_int_equal(nearest.best_length, 6);
}

/* ---- Values ---- */

static int parse_value(enum tern_type type, uint8_t flags, const char *text,
                       union tern_value *value)
{
    static uint8_t scratch[TERN_STRING_MAX];
    struct tern_error error = {0};
    int result = tern_config_parse_value(type, flags, text, strlen(text), scratch, value, &error);

    assert_true(result == 0 || strstr(error.message, "expected") != NULL ||
                strstr(error.message, "at most") != NULL);
    return result;
}

static void values_are_parsed_by_type(TERN_TEST_STATE)
{
    char text[TERN_STRING_MAX + 2];
    union tern_value value;
    float second;

    assert_int_equal(parse_value(TERN_TYPE_IP, 0, "192.0.2.1", &value), 0);
    assert_true(tern_address_is_v4(value.address));
    assert_int_equal(parse_value(TERN_TYPE_IP, 0, "192.0.2", &value), TERN_EINVAL);
    assert_int_equal(parse_value(TERN_TYPE_STRING, 0, "NO", &value), 0);
    assert_memory_equal(value.string.bytes, "NO", 2);
    assert_int_equal(parse_value(TERN_TYPE_STRING, TERN_FIELD_HOST, "A.Example.:80", &value), 0);
    assert_int_equal(value.string.length, 9);
    assert_memory_equal(value.string.bytes, "a.example", 9);
    assert_int_equal(parse_value(TERN_TYPE_U64, 0, "18446744073709551615", &value), 0);
    assert_true(value.u64 == UINT64_MAX);
    assert_int_equal(parse_value(TERN_TYPE_U64, 0, "-1", &value), TERN_EINVAL);
    assert_int_equal(parse_value(TERN_TYPE_U32, 0, "4294967296", &value), TERN_EINVAL);
    assert_int_equal(parse_value(TERN_TYPE_I64, 0, "-5", &value), 0);
    assert_true(value.i64 == -5);
    assert_int_equal(parse_value(TERN_TYPE_F32, 0, "0.5", &value), 0);
    assert_true(value.f32 == 0.5f);
    assert_int_equal(parse_value(TERN_TYPE_F32, 0, "nan", &value), TERN_EINVAL);
    assert_int_equal(parse_value(TERN_TYPE_BOOL, 0, "true", &value), 0);
    assert_true(value.boolean);
    assert_int_equal(parse_value(TERN_TYPE_BOOL, 0, "yes", &value), TERN_EINVAL);
    assert_int_equal(parse_value(TERN_TYPE_VECTOR, 0, "1, -2.5,3", &value), 0);
    assert_int_equal(value.string.length, 12);
    memcpy(&second, value.string.bytes + 4, 4);
    assert_true(second == -2.5f);
    assert_int_equal(parse_value(TERN_TYPE_VECTOR, 0, "1,,2", &value), TERN_EINVAL);
    assert_int_equal(parse_value(TERN_TYPE_VECTOR, 0, "", &value), TERN_EINVAL);

    memset(text, 'a', sizeof text);
    text[TERN_STRING_MAX] = 0;
    assert_int_equal(parse_value(TERN_TYPE_STRING, TERN_FIELD_HOST, text, &value), 0);
    text[TERN_STRING_MAX] = 'a';
    text[TERN_STRING_MAX + 1] = 0;
    assert_int_equal(parse_value(TERN_TYPE_STRING, 0, text, &value), TERN_EINVAL);
    for (size_t i = 0; i < TERN_STRING_MAX; i++)
        text[i] = i % 2 ? ',' : '1';
    assert_int_equal(parse_value(TERN_TYPE_VECTOR, 0, text, &value), TERN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_found_where_they_stand),
        cmocka_unit_test(texts_made_by_hand_have_places),
        cmocka_unit_test(quantities_have_units),
        cmocka_unit_test(quantities_print_as_they_parse),
        cmocka_unit_test(distances_count_single_mistakes),
        cmocka_unit_test(values_are_parsed_by_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
