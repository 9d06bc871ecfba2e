/* What the torture tests share: how long they run, a run directory, processes that die with the
 * test. TERN_RACE_SECONDS=N lets each test run for N seconds instead of two. */
#ifndef TERN_TESTS_RACE_H
#define TERN_TESTS_RACE_H

#include "tests/unit/unit.h"

#include "shared/clock.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char run_dir[64];

static inline uint64_t race_ns(void)
{
    const char *seconds = getenv("TERN_RACE_SECONDS");
    uint64_t asked = seconds == NULL ? 0 : strtoull(seconds, NULL, 10);

    return (asked == 0 ? 2 : asked) * 1000000000u;
}

static inline int race_make_run_dir(TERN_TEST_STATE)
{
    strcpy(run_dir, "/dev/shm/tern-race-XXXXXX");
    return mkdtemp(run_dir) == NULL ? -1 : 0;
}

static inline int race_remove_run_dir(TERN_TEST_STATE)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", run_dir);
    return system(command);
}

static inline pid_t race_start(void (*run)(uint64_t seed), uint64_t seed)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives a failed test */
        run(seed);
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

/* Kills it and tells whether it had ended by itself before: with something wrong. */
static inline bool race_end(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status);
}

/* Lets up to `most_us` pass: the instant at which something is done to the others, not a wait. */
static inline void race_pause(uint64_t *seed, uint64_t most_us)
{
    const struct timespec pause = {.tv_nsec = (long)(tern_test_random(seed) % (most_us * 1000))};

    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL); /* pause between looks */
}

#endif
