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

static void *stay_prompt(void *argument)
{
    struct seen *seen = argument;

    if (setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 3) != 0)
        return NULL;
    seen->status = tern_background_stay_prompt();
    seen->policy = sched_getscheduler(0);
    seen->nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    return NULL;
}

static void a_prompt_thread_keeps_its_priority(TERN_TEST_STATE)
{
    struct seen seen = {.status = -1};
    pthread_t thread;

    if (getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid)) > 3)
        skip();
    assert_int_equal(pthread_create(&thread, NULL, stay_prompt, &seen), 0);
    pthread_join(thread, NULL);
    assert_int_equal(seen.status, 0);
    assert_int_equal(seen.policy, sched_getscheduler(0));
    assert_int_equal(seen.nice, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_calling_thread_yields_and_no_other),
                                       cmocka_unit_test(a_prompt_thread_keeps_its_priority)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
