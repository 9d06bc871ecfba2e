#include "tests/unit/unit.h"

#include "controlplane/message.h"
#include "shared/error.h"
#include "shared/proto/tern.pb-c.h"

static void frames_survive_the_way(TERN_TEST_STATE)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT, *read;
    Tern__Control__ApplyRequest apply = TERN__CONTROL__APPLY_REQUEST__INIT;
    struct tern_buffer out = {0};
    size_t frame = 0;

    apply.path = (char *)"/etc/tern/edge.yaml";
    apply.dry_run = true;
    request.body_case = TERN__CONTROL__REQUEST__BODY_APPLY;
    request.apply = &apply;
    assert_int_equal(tern_message_append(&out, &request.base), 0);
    assert_int_equal(tern_message_append(&out, &request.base), 0);
    assert_int_equal(tern_message_peek(out.data, out.length, &frame), 0);
    assert_int_equal(frame * 2, out.length);
    read = tern__control__request__unpack(NULL, frame - 4, out.data + 4);
    assert_non_null(read);
    assert_int_equal(read->body_case, TERN__CONTROL__REQUEST__BODY_APPLY);
    assert_string_equal(read->apply->path, "/etc/tern/edge.yaml");
    assert_true(read->apply->dry_run);
    tern__control__request__free_unpacked(read, NULL);
    tern_buffer_free(&out);
}

static void half_frames_wait_for_more(TERN_TEST_STATE)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__HistoryRequest history = TERN__CONTROL__HISTORY_REQUEST__INIT;
    struct tern_buffer out = {0};
    size_t frame = 77;

    history.limit = 300;
    request.body_case = TERN__CONTROL__REQUEST__BODY_HISTORY;
    request.history = &history;
    assert_int_equal(tern_message_append(&out, &request.base), 0);
    assert_true(out.length > 4);
    for (size_t length = 0; length < out.length; length++)
        assert_int_equal(tern_message_peek(out.data, length, &frame), TERN_EAGAIN);
    assert_int_equal(frame, 77);
    tern_buffer_free(&out);
}

static void long_frames_are_refused_by_their_header(TERN_TEST_STATE)
{
    uint8_t header[4];
    size_t frame = 77;

    tern_store_u32(header, TERN_MESSAGE_MAX);
    assert_int_equal(tern_message_peek(header, 4, &frame), TERN_EAGAIN);
    tern_store_u32(header, TERN_MESSAGE_MAX + 1);
    assert_int_equal(tern_message_peek(header, 4, &frame), TERN_ELIMIT);
    tern_store_u32(header, UINT32_MAX);
    assert_int_equal(tern_message_peek(header, 4, &frame), TERN_ELIMIT);
    assert_int_equal(frame, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_survive_the_way),
        cmocka_unit_test(half_frames_wait_for_more),
        cmocka_unit_test(long_frames_are_refused_by_their_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
