#include "tests/unit/unit.h"

#include "controlplane/ctl/json.h"
#include "shared/error.h"

#include <math.h>

static struct tern_json_tree *parse(const char *text)
{
    struct tern_json_tree *tree = NULL;

    return tern_json_parse(text, strlen(text), &tree) == 0 ? tree : NULL;
}

static void what_is_written_reads_back(TERN_TEST_STATE)
{
    struct tern_json json = {0};
    struct tern_json_tree *tree = NULL;
    const struct tern_json_value *root, *list;

    tern_json_object(&json, NULL);
    tern_json_string(&json, "text", "a \"quoted\"\n\x01 \xc3\xa9 line");
    tern_json_u64(&json, "big", UINT64_MAX);
    tern_json_i64(&json, "small", INT64_MIN);
    tern_json_double(&json, "half", 0.5);
    tern_json_double(&json, "nan", 0.0 / (double)(json.buffer.length == 0));
    tern_json_bool(&json, "yes", true);
    tern_json_null(&json, "none");
    tern_json_array(&json, "list");
    tern_json_u64(&json, NULL, 1);
    tern_json_object(&json, NULL);
    tern_json_object_end(&json);
    tern_json_array_end(&json);
    tern_json_object_end(&json);
    assert_false(json.failed);
    assert_int_equal(tern_json_parse((const char *)json.buffer.data, json.buffer.length, &tree), 0);
    root = tern_json_root(tree);
    assert_string_equal(tern_json_get(root, "text")->text, "a \"quoted\"\n\x01 \xc3\xa9 line");
    assert_string_equal(tern_json_get(root, "big")->text, "18446744073709551615");
    assert_string_equal(tern_json_get(root, "small")->text, "-9223372036854775808");
    assert_true(tern_json_get(root, "half")->number == 0.5);
    assert_int_equal(tern_json_get(root, "nan")->kind, TERN_JSON_NULL);
    assert_true(tern_json_get(root, "yes")->boolean);
    assert_int_equal(tern_json_get(root, "none")->kind, TERN_JSON_NULL);
    list = tern_json_get(root, "list");
    assert_int_equal(list->kind, TERN_JSON_ARRAY);
    assert_true(list->child->number == 1);
    assert_int_equal(list->child->next->kind, TERN_JSON_OBJECT);
    assert_null(list->child->next->next);
    assert_null(tern_json_get(root, "missing"));
    assert_null(tern_json_get(list, "text"));
    tern_json_free(tree);
    tern_buffer_free(&json.buffer);
}

static void an_f32_reads_back(TERN_TEST_STATE)
{
    static const struct {
        float value;
        const char *text;
    } examples[] = {
        {0.014f, "0.014"},      {1, "1"}, {-0.1f, "-0.1"},         {16777216, "16777216"},
        {1e-45f, "1.4013e-45"}, {0, "0"}, {1.0f / 3, "0.33333334"}};
    uint64_t seed = 5;

    for (unsigned i = 0; i < 2000 + TERN_COUNT(examples); i++) {
        uint32_t bits = (uint32_t)tern_test_random(&seed);
        struct tern_json json = {0};
        float value;

        memcpy(&value, &bits, sizeof value);
        if (i < TERN_COUNT(examples))
            value = examples[i].value;
        tern_json_float(&json, NULL, value);
        assert_int_equal(tern_buffer_append(&json.buffer, "", 1), 0);
        if (i < TERN_COUNT(examples))
            assert_string_equal((const char *)json.buffer.data, examples[i].text);
        if (isfinite(value))
            assert_true(strtof((const char *)json.buffer.data, NULL) == value);
        else
            assert_string_equal((const char *)json.buffer.data, "null");
        tern_buffer_free(&json.buffer);
    }
}

static void escapes_become_utf8(TERN_TEST_STATE)
{
    struct tern_json_tree *tree = parse("\"\\u00e9\\ud83d\\ude00\\ud800x\\/\\t\"");

    assert_non_null(tree);
    assert_string_equal(tern_json_root(tree)->text, "\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbdx/\t");
    tern_json_free(tree);
}

static void rubbish_is_refused(TERN_TEST_STATE)
{
    static const char *const texts[] = {
        "",       "{",       "}",         "[1,]",     "{\"a\"}",  "{\"a\":}", "\"",    "\"\\",
        "\"\\\"", "\"\\x\"", "\"\\u12\"", "tru",      "1 2",      "[1 2]",    "{1:2}", "--1",
        "1e",     "nul",     "[[[",       "{\"a\":1", "\"\\u123", "[1}",      "\x01"};
    char deep[4 * TERN_JSON_DEPTH_MAX];

    for (unsigned i = 0; i < TERN_COUNT(texts); i++) {
        struct tern_json_tree *tree = (void *)1;

        if (tern_json_parse(texts[i], strlen(texts[i]), &tree) != TERN_EINVAL)
            fail_msg("took %s", texts[i]);
        assert_ptr_equal(tree, (void *)1);
    }
    memset(deep, '[', sizeof deep);
    assert_int_equal(tern_json_parse(deep, sizeof deep, &(struct tern_json_tree *){0}),
                     TERN_EINVAL);
}

/* Every prefix of a document, and every document with one byte changed, ends without a fault. */
static void damage_is_survived(TERN_TEST_STATE)
{
    static const char text[] = "{\"a\":[1,2.5e3,true,null,\"\\u00e9\\n\"],\"b\":{\"c\":\"d\"}}";
    uint64_t seed = 1;

    for (size_t length = 0; length < sizeof text; length++) {
        struct tern_json_tree *tree = NULL;
        char *copy = malloc(length + 1); /* of the exact size, for the address sanitizer */

        memcpy(copy, text, length);
        tern_json_parse(copy, length, &tree);
        tern_json_free(tree);
        free(copy);
    }
    for (int i = 0; i < 5000; i++) {
        struct tern_json_tree *tree = NULL;
        char *copy = malloc(sizeof text - 1);

        memcpy(copy, text, sizeof text - 1);
        copy[tern_test_random(&seed) % (sizeof text - 1)] = (char)tern_test_random(&seed);
        tern_json_parse(copy, sizeof text - 1, &tree);
        tern_json_free(tree);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back), cmocka_unit_test(an_f32_reads_back),
        cmocka_unit_test(escapes_become_utf8),        cmocka_unit_test(rubbish_is_refused),
        cmocka_unit_test(damage_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
