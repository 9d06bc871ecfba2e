#include "tests/unit/unit.h"

#include "controlplane/config/settings.h"
#include "shared/settings.h"

static void built_settings_open_as_configured(TERN_TEST_STATE)
{
    struct tern_text listen[] = {{.text = "tcp://127.0.0.1:7400", .length = 20},
                                 {.text = "unix:///run/x", .length = 13}};
    struct tern_config config = {
        .instance = {.text = "edge", .length = 4},
        .listen = listen,
        .listen_count = 2,
        .workers = 3,
        .limits = {1 << 20, 300000000, 10000000, 10000, 10000, 64 << 20},
        .ignore_unknown_fields = true,
    };
    const struct tern_settings *settings = NULL;
    struct tern_diagnostics diagnostics = {0};
    static const uint8_t secret[32] = "an instance's secret";
    struct tern_buffer out = {0};
    struct tern_error error;

    assert_int_equal(tern_settings_build(&config, secret, &out, &diagnostics), 0);
    assert_int_equal(tern_settings_open(out.data, out.length, &settings, &error), 0);
    assert_int_equal(settings->workers, 3);
    assert_int_equal(settings->listen_count, 2);
    assert_string_equal(settings->listen[0], "tcp://127.0.0.1:7400");
    assert_string_equal(settings->listen[1], "unix:///run/x");
    assert_string_equal(settings->instance, "edge");
    assert_int_equal(settings->idle_us, 300000000);
    assert_int_equal(settings->half_frame_us, 10000000);
    assert_int_equal(settings->deadline_us, 10000);
    assert_int_equal(settings->max_frame_bytes, 1 << 20);
    assert_int_equal(settings->connections, 10000);
    assert_int_equal(settings->ignore_unknown_fields, 1);
    tern_buffer_free(&out);
}

static const struct tern_settings valid = {.workers = 1,
                                           .idle_us = 1,
                                           .half_frame_us = 1,
                                           .deadline_us = 1,
                                           .max_frame_bytes = 1 << 20,
                                           .connections = 1};

static void assert_corrupt(const struct tern_settings *bytes, size_t length)
{
    const struct tern_settings *settings = NULL;
    struct tern_error error = {0};

    assert_int_equal(tern_settings_open(bytes, length, &settings, &error), TERN_ECORRUPT);
    assert_null(settings);
    assert_non_null(strstr(error.message, "settings"));
}

static void what_no_builder_writes_is_corrupt(TERN_TEST_STATE)
{
    const struct tern_settings *settings = NULL;
    struct tern_settings bytes = valid;

    assert_int_equal(tern_settings_open(&bytes, sizeof bytes, &settings, NULL), 0);
    assert_corrupt(&bytes, sizeof bytes - 1);
    assert_corrupt(&bytes, 0);
#define BREAK(member, value)                                                                       \
    bytes = valid;                                                                                 \
    bytes.member = value;                                                                          \
    assert_corrupt(&bytes, sizeof bytes)
    BREAK(workers, 0);
    BREAK(workers, TERN_LOOPS_MAX + 1);
    BREAK(listen_count, TERN_LISTEN_MAX + 1);
    BREAK(max_frame_bytes, 15);
    BREAK(max_frame_bytes, TERN_MAX_FRAME_LIMIT + 1);
    BREAK(connections, 0);
    BREAK(idle_us, 0);
    BREAK(half_frame_us, 0);
    BREAK(deadline_us, 0);
    BREAK(ignore_unknown_fields, 2);
#undef BREAK
    bytes = valid;
    memset(bytes.instance, 'x', sizeof bytes.instance);
    assert_corrupt(&bytes, sizeof bytes);
    bytes = valid;
    bytes.listen_count = 2;
    memset(bytes.listen[1], 'x', sizeof bytes.listen[1]);
    assert_corrupt(&bytes, sizeof bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_settings_open_as_configured),
        cmocka_unit_test(what_no_builder_writes_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
