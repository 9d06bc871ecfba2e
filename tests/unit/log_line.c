/* A line of a log: whole and one, whatever the message holds. */
#include "tests/unit/unit.h"

#include "shared/log_line.h"

#include <unistd.h>

static void log_it(const struct tern_log_form *form, enum tern_log_level level, const char *format,
                   ...) TERN_PRINTF(3, 4);
static void log_it(const struct tern_log_form *form, enum tern_log_level level, const char *format,
                   ...)
{
    va_list arguments;

    va_start(arguments, format);
    tern_log_line(form, level, format, arguments);
    va_end(arguments);
}

/* What was written to standard error meanwhile. */
static const char *logged(const struct tern_log_form *form, const char *message)
{
    static char text[32768];
    int ends[2], kept = dup(STDERR_FILENO);
    ssize_t length;

    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_it(form, TERN_LOG_WARNING, "%s", message);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(ends[1]);
    length = read(ends[0], text, sizeof text - 1);
    assert_true(length > 0);
    close(ends[0]);
    text[length] = '\0';
    assert_ptr_equal(strchr(text, '\n'), text + length - 1);
    return text;
}

static void nothing_forges_a_line(TERN_TEST_STATE)
{
    struct tern_log_form form = {.process = "ternd"};
    const char *line = logged(&form, "one\ntwo\x7f\x1b[2J");
    char end[64];

    snprintf(end, sizeof end, "Z ternd[%d] warning: one?two??[2J\n", (int)getpid());
    assert_string_equal(strchr(line, 'Z'), end);
    form.format = TERN_LOG_JSON;
    form.to_journal = true;
    line = logged(&form, "one\n\"two\"");
    assert_memory_equal(line, "<4>{\"time\":\"", 12);
    assert_non_null(strstr(line, "\"process\":\"ternd\""));
    assert_non_null(strstr(line, "\"level\":\"warning\",\"message\":\"one\\n\\\"two\\\"\"}\n"));
}

/* Every byte may become six. */
static void a_long_message_is_cut_and_not_its_line(TERN_TEST_STATE)
{
    struct tern_log_form form = {.process = "tern-control", .format = TERN_LOG_JSON};
    char message[10000];
    const char *line;

    memset(message, '\1', sizeof message - 1);
    message[sizeof message - 1] = '\0';
    line = logged(&form, message);
    assert_string_equal(line + strlen(line) - 9, "\\u0001\"}\n");
    form.format = TERN_LOG_TEXT;
    line = logged(&form, message);
    assert_string_equal(line + strlen(line) - 3, "??\n");
}

static void times_are_utc(TERN_TEST_STATE)
{
    char text[TERN_TIME_TEXT];

    tern_time_format(1795162504123456, text);
    assert_string_equal(text, "2026-11-20T08:15:04.123Z");
    tern_time_format(UINT64_MAX, text); /* some text */
    assert_true(strlen(text) < sizeof text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_forges_a_line),
        cmocka_unit_test(a_long_message_is_cut_and_not_its_line),
        cmocka_unit_test(times_are_utc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
