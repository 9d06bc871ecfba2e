#include "tests/unit/unit.h"

#include "shared/buffer.h"
#include "shared/error.h"

static void appends_grow_and_keep_what_was_there(TERN_TEST_STATE)
{
    struct tern_buffer buffer = {0};

    for (unsigned i = 0; i < 5000; i++) {
        uint32_t value = i * 7;
        assert_int_equal(tern_buffer_append(&buffer, &value, sizeof value), 0);
    }
    assert_int_equal(buffer.length, 20000);
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(tern_load_u32(buffer.data + 4 * i), i * 7);
    assert_int_equal(tern_buffer_append(&buffer, "x", 1), 0);
    assert_int_equal(tern_buffer_align(&buffer, 64), 0);
    assert_int_equal(buffer.length, 20032);
    for (unsigned i = 20001; i < 20032; i++)
        assert_int_equal(buffer.data[i], 0);
    assert_int_equal(tern_buffer_align(&buffer, 64), 0);
    assert_int_equal(buffer.length, 20032);
    tern_buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(tern_buffer_append(&buffer, NULL, 0), 0);
    assert_int_equal(tern_buffer_printf(&buffer, "%s %d", "again", 1), 0);
    assert_int_equal(buffer.length, 7);
    assert_memory_equal(buffer.data, "again 1", 7);
    tern_buffer_free(&buffer);
}

static void an_impossible_size_is_refused(TERN_TEST_STATE)
{
    struct tern_buffer buffer = {0};

    assert_int_equal(tern_buffer_append(&buffer, "abc", 3), 0);
    assert_int_equal(tern_buffer_reserve(&buffer, SIZE_MAX - 1), TERN_ENOMEM);
    assert_int_equal(tern_buffer_reserve(&buffer, SIZE_MAX / 2), TERN_ENOMEM);
    assert_int_equal(buffer.length, 3);
    assert_memory_equal(buffer.data, "abc", 3);
    tern_buffer_free(&buffer);
}

static void check_json(const char *text, size_t length, const char *expected)
{
    struct tern_buffer buffer = {0};

    assert_int_equal(tern_buffer_json_string(&buffer, text, length), 0);
    assert_int_equal(tern_buffer_append(&buffer, "", 1), 0);
    assert_string_equal((char *)buffer.data, expected);
    tern_buffer_free(&buffer);
}

static void json_strings_are_quoted(TERN_TEST_STATE)
{
#define CHECK(text, expected) check_json(text, sizeof(text) - 1, expected)
    CHECK("", "\"\"");
    CHECK("plain", "\"plain\"");
    CHECK("a\"b\\c", "\"a\\\"b\\\\c\"");
    CHECK("\n\r\t\x01\x7f", "\"\\n\\r\\t\\u0001\\u007f\"");
    CHECK("a\0b", "\"a\\u0000b\"");
    CHECK("\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa6", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa6\"");
    CHECK("\xff", "\"\xef\xbf\xbd\"");
    CHECK("\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"");                 /* overlong */
    CHECK("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""); /* a surrogate */
    CHECK("\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"");                 /* cut short */
    CHECK("\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\"");                 /* U+10FFFF */
    CHECK("\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
#undef CHECK
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_grow_and_keep_what_was_there),
        cmocka_unit_test(an_impossible_size_is_refused),
        cmocka_unit_test(json_strings_are_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
