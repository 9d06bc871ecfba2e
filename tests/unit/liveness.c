/* What the service manager hears: ready once every loop serves, alive as long as every loop turns.
 */
#include "tests/unit/unit.h"

#include "dataplane/liveness.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LOOPS = 3 };

static struct fixture {
    struct tern_server server;
    struct tern_worker workers[LOOPS];
    struct tern_loop_board boards[LOOPS];
    struct tern_reader readers[LOOPS];
    struct tern_liveness liveness;
    int manager;
} * f;

static int set_up(void **state)
{
    int ends[2];

    (void)state;
    f = aligned_alloc(TERN_PAGE, tern_align_up(sizeof *f, TERN_PAGE));
    assert_non_null(f);
    memset(f, 0, sizeof *f);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends), 0);
    f->manager = ends[0];
    f->liveness.notify = (struct tern_notify){.fd = ends[1], .watchdog_us = 8000};
    f->server.workers = f->workers;
    f->server.worker_count = LOOPS;
    for (unsigned i = 0; i < LOOPS; i++) {
        f->workers[i].board = &f->boards[i];
        f->workers[i].adopter.reader = &f->readers[i];
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(f->manager);
    tern_notify_close(&f->liveness.notify);
    free(f);
    return 0;
}

/* The next thing said, "" for silence. */
static const char *heard(void)
{
    static char text[512];
    ssize_t length = recv(f->manager, text, sizeof text - 1, 0);

    text[length < 0 ? 0 : length] = '\0';
    return text;
}

static void turn(unsigned loop)
{
    tern_counter_add(&f->boards[loop].counters.iterations, 1);
}

static void serve(unsigned loop)
{
    atomic_store(&f->readers[loop].generation, 7);
}

static void look(void)
{
    tern_liveness_look(&f->liveness, &f->server);
}

static void it_is_ready_when_the_last_loop_serves(TERN_TEST_STATE)
{
    look();
    assert_string_equal(heard(), "");
    assert_in_range(tern_liveness_pause_ms(&f->liveness), 1, 100);
    serve(0);
    serve(2);
    look();
    assert_string_equal(heard(), "");
    serve(1);
    look();
    assert_string_equal(heard(), "READY=1\nSTATUS=serving with 3 loops");
    assert_int_equal(tern_liveness_pause_ms(&f->liveness),
                     2); /* a quarter of the watchdog's time */
    look();
    assert_string_equal(heard(), "");
}

static void a_loop_that_hangs_silences_it(TERN_TEST_STATE)
{
    for (unsigned i = 0; i < LOOPS; i++)
        serve(i);
    look();
    heard();
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < LOOPS; i++)
            turn(i);
        look();
        assert_string_equal(heard(), "WATCHDOG=1");
    }
    for (unsigned round = 0; round < 3; round++) { /* loop 1 hangs */
        turn(0);
        turn(2);
        look();
        assert_string_equal(heard(), "");
    }
    turn(1);
    look();
    assert_string_equal(heard(), "WATCHDOG=1");
}

static void without_a_manager_nothing_is_looked_at(TERN_TEST_STATE)
{
    tern_notify_close(&f->liveness.notify);
    f->server.workers = NULL;
    look();
    assert_int_equal(tern_liveness_pause_ms(&f->liveness), -1);
}

/* ---- The socket and the environment ---- */

static void open_with(const char *name, const char *watchdog, const char *pid,
                      struct tern_notify *notify)
{
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", watchdog, 1);
    if (pid != NULL)
        setenv("WATCHDOG_PID", pid, 1);
    tern_notify_open(notify);
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
}

static void the_environment_says_whom_to_tell(TERN_TEST_STATE)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct tern_notify notify;
    char name[64], pid[32], text[64];
    int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    int length = snprintf(name, sizeof name, "@tern-unit-notify-%d", (int)getpid());

    memcpy(address.sun_path, name, (size_t)length);
    address.sun_path[0] = '\0';
    assert_int_equal(bind(socket_fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length)),
                     0);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    open_with(name, "250000", pid, &notify);
    assert_true(notify.fd >= 0);
    assert_int_equal(notify.watchdog_us, 250000);
    tern_notify_say(&notify, "STATUS=%d", 42);
    assert_int_equal(recv(socket_fd, text, sizeof text, 0), 9);
    assert_memory_equal(text, "STATUS=42", 9);
    close(socket_fd);
    tern_notify_say(&notify, "STATUS=nobody hears this");
    tern_notify_close(&notify);

    open_with(name, "250000", "1", &notify); /* nobody there any more */
    assert_int_equal(notify.fd, -1);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const wrong[] = {"", "relative", "/", "@"};

        open_with(wrong[i], "1", NULL, &notify);
        assert_int_equal(notify.fd, -1);
        assert_int_equal(notify.watchdog_us, 0);
    }
    tern_notify_say(&notify, "READY=1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_ready_when_the_last_loop_serves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loop_that_hangs_silences_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_manager_nothing_is_looked_at, set_up, tear_down),
        cmocka_unit_test(the_environment_says_whom_to_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
