/* The control API, the builder and its jobs, over a real socket; the pipeline behind them is a
 * double that publishes numbers and can be told to fail or to take its time. */
#include "tests/unit/unit.h"

#include "controlplane/message.h"
#include "shared/proto/tern.pb-c.h"
#include "tests/unit/control_thread.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- A tern-control in a thread -----------------------------------------------------------------
 */

static char directory[FOLDER_PATH], config_path[96], broken_path[96];

static struct control_thread control;

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void start_control(const char *path, bool resume)
{
    struct tern_job *job = calloc(1, sizeof *job);

    control_thread_open(&control, directory, eventfd(0, EFD_NONBLOCK));
    job->kind = TERN_JOB_START;
    job->path = path != NULL ? strdup(path) : NULL;
    job->resume = resume;
    assert_int_equal(tern_builder_submit(control.builder, job), 0);
    control_thread_serve(&control, NULL);
}

static void stop_control(void)
{
    control_thread_stop(&control);
    close(control.wake_fd);
}

static int set_up(TERN_TEST_STATE)
{
    if (folder_make(directory) != 0)
        return -1;
    snprintf(config_path, sizeof config_path, "%s/good.yaml", directory);
    snprintf(broken_path, sizeof broken_path, "%s/broken.yaml", directory);
    write_file(config_path, "tern: 1\ninstance: unit\nlisten: [ \"tcp://127.0.0.1:7400\" ]\n"
                            "fields: { ip: ip }\nrules: []\ndefault: allow\n");
    write_file(broken_path, "tern: 1\nnonsense: 2\n");
    pipeline_double_reset();
    return 0;
}

static int tear_down(TERN_TEST_STATE)
{
    return folder_remove(directory);
}

/* --- A client -----------------------------------------------------------------------------------
 */

static int dial(void)
{
    struct tern_error error = {0};
    int fd = -1;

    if (tern_directory_connect(directory, TERN_CONTROL_SOCKET, &fd, &error) != 0)
        fail_msg("%s", error.message);
    return fd;
}

static void send_all(int fd, const void *data, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        struct pollfd polled = {.fd = fd, .events = POLLOUT};
        ssize_t bytes = send(fd, (const uint8_t *)data + sent, length - sent, MSG_NOSIGNAL);

        if (bytes > 0)
            sent += (size_t)bytes;
        else if (errno == EAGAIN)
            assert_int_equal(poll(&polled, 1, 10000), 1);
        else
            return; /* the other side has closed: what it says is checked by the caller */
    }
}

static void ask(int fd, const Tern__Control__Request *request)
{
    struct tern_buffer out = {0};

    assert_int_equal(tern_message_append(&out, &request->base), 0);
    send_all(fd, out.data, out.length);
    tern_buffer_free(&out);
}

/* The next reply; NULL when the other side closed. Fails the test after ten seconds of silence. */
static Tern__Control__Reply *hear(int fd)
{
    uint8_t header[4], *body;
    size_t got = 0, want = sizeof header;
    Tern__Control__Reply *reply;

    body = header;
    for (;;) {
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        ssize_t bytes;

        if (got == want && body == header) {
            want = tern_load_u32(header);
            got = 0;
            body = malloc(want + 1);
            assert_non_null(body);
        }
        if (got == want)
            break;
        assert_int_equal(poll(&polled, 1, 10000), 1);
        bytes = recv(fd, body + got, want - got, 0);
        if (bytes <= 0)
            return NULL;
        got += (size_t)bytes;
    }
    reply = tern__control__reply__unpack(NULL, want, body);
    free(body);
    assert_non_null(reply);
    return reply;
}

/* The reply that ends a request; counts the diagnostics before it. */
static Tern__Control__Reply *hear_final(int fd, unsigned *diagnostics)
{
    *diagnostics = 0;
    for (;;) {
        Tern__Control__Reply *reply = hear(fd);

        assert_non_null(reply);
        if (reply->body_case == TERN__CONTROL__REPLY__BODY_DIAGNOSTIC)
            ++*diagnostics;
        else if (reply->body_case != TERN__CONTROL__REPLY__BODY_PROGRESS)
            return reply;
        tern__control__reply__free_unpacked(reply, NULL);
    }
}

static void ask_apply(int fd, const char *path)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__ApplyRequest apply = TERN__CONTROL__APPLY_REQUEST__INIT;

    apply.path = (char *)(uintptr_t)path;
    request.body_case = TERN__CONTROL__REQUEST__BODY_APPLY;
    request.apply = &apply;
    ask(fd, &request);
}

static Tern__Control__Reply *status_on(int fd)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__StatusRequest status = TERN__CONTROL__STATUS_REQUEST__INIT;
    Tern__Control__Reply *reply;

    request.body_case = TERN__CONTROL__REQUEST__BODY_STATUS;
    request.status = &status;
    ask(fd, &request);
    reply = hear(fd);
    assert_non_null(reply);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_STATUS);
    return reply;
}

/* Asks until the start's job is over. */
static Tern__Control__Reply *status_started(int fd)
{
    for (;;) {
        Tern__Control__Reply *reply = status_on(fd);

        if (!reply->status->starting)
            return reply;
        tern__control__reply__free_unpacked(reply, NULL);
        poll(NULL, 0, 1);
    }
}

static void expect_started(uint64_t generation)
{
    int fd = dial();
    Tern__Control__Reply *reply = status_started(fd);

    assert_int_equal(reply->status->generation, generation);
    tern__control__reply__free_unpacked(reply, NULL);
    close(fd);
}

/* --- Tests --------------------------------------------------------------------------------------
 */

static void apply_is_followed_and_recorded(TERN_TEST_STATE)
{
    Tern__Control__Reply *reply;
    unsigned diagnostics;
    int fd;

    start_control(config_path, false);
    expect_started(1);
    fd = dial();
    ask_apply(fd, config_path);
    reply = hear_final(fd, &diagnostics);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_PUBLISHED);
    assert_int_equal(reply->published->generation, 2);
    assert_int_equal(reply->published->live_generation, 1);
    tern__control__reply__free_unpacked(reply, NULL);

    pipeline_double.fail = TERN_EINVAL;
    ask_apply(fd, config_path);
    reply = hear_final(fd, &diagnostics);
    assert_int_equal(diagnostics, 1);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_FAILURE);
    assert_string_equal(reply->failure->message, "table x: 1 bad row");
    tern__control__reply__free_unpacked(reply, NULL);

    reply = status_on(fd);
    assert_int_equal(reply->status->generation, 2);
    assert_int_equal(reply->status->last_publish->generation, 2);
    assert_string_equal(reply->status->last_failure->reason, "table x: 1 bad row");
    tern__control__reply__free_unpacked(reply, NULL);

    /* a success mends it */
    pipeline_double.fail = 0;
    ask_apply(fd, config_path);
    tern__control__reply__free_unpacked(hear_final(fd, &diagnostics), NULL);
    reply = status_on(fd);
    assert_null(reply->status->last_failure);
    tern__control__reply__free_unpacked(reply, NULL);
    close(fd);
    stop_control();
}

static void broken_configurations_are_placed(TERN_TEST_STATE)
{
    Tern__Control__Reply *reply;
    unsigned diagnostics;
    int fd;

    start_control(config_path, false);
    fd = dial();
    ask_apply(fd, broken_path);
    reply = hear_final(fd, &diagnostics);
    assert_true(diagnostics > 0);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_FAILURE);
    tern__control__reply__free_unpacked(reply, NULL);
    ask_apply(fd, "relative.yaml");
    reply = hear_final(fd, &diagnostics);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_FAILURE);
    tern__control__reply__free_unpacked(reply, NULL);
    close(fd);
    stop_control();
}

static void status_answers_during_a_build(TERN_TEST_STATE)
{
    Tern__Control__Reply *reply;
    unsigned diagnostics;
    int builder, other;

    start_control(config_path, false);
    expect_started(1);
    pipeline_double_hold(true);
    builder = dial();
    ask_apply(builder, config_path);
    pipeline_double_await_holding();
    other = dial();
    reply = status_on(other);
    assert_non_null(reply->status->build);
    assert_string_equal(reply->status->build->step, "table x");
    assert_int_equal(reply->status->build->permille, 500);
    assert_int_equal(reply->status->generation, 1);
    tern__control__reply__free_unpacked(reply, NULL);
    pipeline_double_hold(false);
    tern__control__reply__free_unpacked(hear_final(builder, &diagnostics), NULL);
    reply = status_on(other);
    assert_null(reply->status->build);
    assert_int_equal(reply->status->generation, 2);
    tern__control__reply__free_unpacked(reply, NULL);
    close(builder);
    close(other);
    stop_control();
}

static void the_queue_is_bounded_and_forgets_the_gone(TERN_TEST_STATE)
{
    int clients[TERN_JOBS_WAITING_MAX + 1], late;
    Tern__Control__Reply *reply;
    unsigned diagnostics;

    start_control(config_path, false);
    expect_started(1);
    pipeline_double_hold(true);
    for (unsigned i = 0; i < TERN_COUNT(clients); i++) {
        clients[i] = dial();
        ask_apply(clients[i], config_path);
        if (i == 0)
            pipeline_double_await_holding();
        /* each has heard that it waits or runs before the next one asks */
        reply = hear(clients[i]);
        assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_PROGRESS);
        tern__control__reply__free_unpacked(reply, NULL);
    }
    late = dial();
    ask_apply(late, config_path);
    reply = hear_final(late, &diagnostics);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_FAILURE);
    assert_int_equal(reply->failure->code, TERN_EBUSY);
    tern__control__reply__free_unpacked(reply, NULL);

    /* all but the first two go away: their jobs never run */
    for (unsigned i = 2; i < TERN_COUNT(clients); i++)
        close(clients[i]);
    for (;;) {
        uint32_t waiting;

        reply = status_on(late);
        waiting = reply->status->build->waiting;
        tern__control__reply__free_unpacked(reply, NULL);
        if (waiting == 1)
            break;
        poll(NULL, 0, 1);
    }
    pipeline_double_hold(false);
    for (unsigned i = 0; i < 2; i++) {
        reply = hear_final(clients[i], &diagnostics);
        assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_PUBLISHED);
        tern__control__reply__free_unpacked(reply, NULL);
        close(clients[i]);
    }
    assert_int_equal(pipeline_double.generation, 3);
    close(late);
    stop_control();
}

static void is_refused_and_closed(const void *bytes, size_t length, int code)
{
    int fd = dial();
    Tern__Control__Reply *reply;

    send_all(fd, bytes, length);
    reply = hear(fd);
    assert_int_equal(reply->failure->code, code);
    tern__control__reply__free_unpacked(reply, NULL);
    assert_null(hear(fd));
    close(fd);
}

static void rubbish_closes_only_its_own_connection(TERN_TEST_STATE)
{
    static const uint8_t too_long[] = {0, 0, 0, 0x7f, 1, 2, 3};
    static const uint8_t no_message[] = {5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t empty[] = {0, 0, 0, 0};
    Tern__Control__Reply *reply;
    int good, bad, half;

    start_control(config_path, false);
    expect_started(1);
    good = dial();
    half = dial();
    send_all(half, "\x10\x00", 2);

    is_refused_and_closed(too_long, sizeof too_long, TERN_ELIMIT);
    is_refused_and_closed(no_message, sizeof no_message, TERN_EINVAL);

    /* a request of no known kind is answered, and the connection goes on */
    bad = dial();
    send_all(bad, empty, sizeof empty);
    reply = hear(bad);
    assert_int_equal(reply->failure->code, TERN_ENOTSUP);
    tern__control__reply__free_unpacked(reply, NULL);
    tern__control__reply__free_unpacked(status_on(bad), NULL);
    close(bad);

    tern__control__reply__free_unpacked(status_on(good), NULL);
    close(good);
    close(half);
    stop_control();
}

static void connections_are_bounded(TERN_TEST_STATE)
{
    int clients[TERN_API_CONNECTIONS_MAX], late;
    Tern__Control__Reply *reply;

    start_control(config_path, false);
    expect_started(1);
    for (unsigned i = 0; i < TERN_COUNT(clients); i++) {
        clients[i] = dial();
        tern__control__reply__free_unpacked(status_on(clients[i]), NULL);
    }
    late = dial();
    reply = hear(late);
    assert_int_equal(reply->failure->code, TERN_EBUSY);
    tern__control__reply__free_unpacked(reply, NULL);
    close(late);
    tern__control__reply__free_unpacked(status_on(clients[0]), NULL);
    for (unsigned i = 0; i < TERN_COUNT(clients); i++)
        close(clients[i]);
    stop_control();
}

static void start_does_not_burn_generations(TERN_TEST_STATE)
{
    start_control(config_path, false);
    expect_started(1);
    stop_control();

    /* the arena still serves it and nothing has changed */
    pipeline_double.unchanged = true;
    start_control(config_path, false);
    expect_started(1);
    stop_control();

    /* a source has changed */
    pipeline_double.unchanged = false;
    start_control(config_path, false);
    expect_started(2);
    stop_control();

    /* a crash: whatever the file says now, what is served stays */
    write_file(config_path, "half edited");
    start_control(config_path, true);
    expect_started(2);
    assert_int_equal(pipeline_double.restores, 0);
    stop_control();
}

static void a_failed_start_serves_the_last_good_one(TERN_TEST_STATE)
{
    Tern__Control__Reply *reply;
    int fd;

    start_control(config_path, false);
    expect_started(1);
    stop_control();

    /* a reboot: the arena is gone, and a source with it */
    pipeline_double.generation = 0;
    pipeline_double.fail = TERN_ENOENT;
    start_control(config_path, false);
    expect_started(1);
    assert_int_equal(pipeline_double.restores, 1);
    assert_int_equal(pipeline_double.restored, 1);
    fd = dial();
    reply = status_on(fd);
    assert_string_equal(reply->status->last_failure->reason, "table x: 1 bad row");
    assert_string_equal(reply->status->last_publish->kind, "restore");
    tern__control__reply__free_unpacked(reply, NULL);
    close(fd);
    stop_control();
}

static void nothing_to_restore_is_said(TERN_TEST_STATE)
{
    Tern__Control__Reply *reply;
    int fd;

    start_control(broken_path, false);
    fd = dial();
    reply = status_started(fd);
    assert_int_equal(reply->status->generation, 0);
    assert_non_null(reply->status->last_failure);
    assert_null(reply->status->last_publish);
    tern__control__reply__free_unpacked(reply, NULL);
    close(fd);
    assert_int_equal(pipeline_double.restores, 0);
    stop_control();
}

static Tern__Control__Reply *roll_back(int fd, uint64_t generation)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__RollbackRequest body = TERN__CONTROL__ROLLBACK_REQUEST__INIT;
    unsigned diagnostics;

    body.generation = generation;
    request.body_case = TERN__CONTROL__REQUEST__BODY_ROLLBACK;
    request.rollback = &body;
    ask(fd, &request);
    return hear_final(fd, &diagnostics);
}

static void rollback_means_the_one_before(TERN_TEST_STATE)
{
    Tern__Control__Reply *reply;
    unsigned diagnostics;
    int fd;

    start_control(config_path, false);
    expect_started(1);
    fd = dial();
    reply = roll_back(fd, 0);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_FAILURE);
    tern__control__reply__free_unpacked(reply, NULL);
    ask_apply(fd, config_path);
    tern__control__reply__free_unpacked(hear_final(fd, &diagnostics), NULL);

    reply = roll_back(fd, 0);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_PUBLISHED);
    assert_int_equal(reply->published->generation, 3);
    assert_int_equal(reply->published->restored_from, 1);
    tern__control__reply__free_unpacked(reply, NULL);
    reply = roll_back(fd, 2);
    assert_int_equal(reply->published->restored_from, 2);
    tern__control__reply__free_unpacked(reply, NULL);
    reply = roll_back(fd, 4);
    assert_int_equal(reply->body_case, TERN__CONTROL__REPLY__BODY_FAILURE);
    assert_string_equal(reply->failure->message, "generation 4 is the one served");
    tern__control__reply__free_unpacked(reply, NULL);
    reply = roll_back(fd, 99);
    assert_string_equal(reply->failure->message,
                        "generation 99 was never served; see ternctl history");
    tern__control__reply__free_unpacked(reply, NULL);
    close(fd);
    stop_control();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(apply_is_followed_and_recorded),
        TEST(broken_configurations_are_placed),
        TEST(status_answers_during_a_build),
        TEST(the_queue_is_bounded_and_forgets_the_gone),
        TEST(rubbish_closes_only_its_own_connection),
        TEST(connections_are_bounded),
        TEST(start_does_not_burn_generations),
        TEST(a_failed_start_serves_the_last_good_one),
        TEST(nothing_to_restore_is_said),
        TEST(rollback_means_the_one_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
