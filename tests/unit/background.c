#include "tests/unit/unit.h"

#include "shared/background.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

struct seen {
    int status, policy, nice;
};

static void *begin(void *argument)
{
    struct seen *seen = argument;

    seen->status = tern_background_begin(7);
    seen->policy = sched_getscheduler(0);
    seen->nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    return NULL;
}

static void the_calling_thread_yields_and_no_other(TERN_TEST_STATE)
{
    int before = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    struct seen seen = {0};
    pthread_t thread;

    if (before > 7)
        skip(); /* nicer already: getting less so takes privileges */
    assert_int_equal(pthread_create(&thread, NULL, begin, &seen), 0);
    pthread_join(thread, NULL);
    assert_int_equal(seen.status, 0);
    assert_int_equal(seen.policy, SCHED_BATCH);
    assert_int_equal(seen.nice, 7);
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid)), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_calling_thread_yields_and_no_other)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
