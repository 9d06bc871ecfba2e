/* ternctl wait: until every live ternd serves a generation. */
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/seats.h"
#include "controlplane/log.h"
#include "shared/clock.h"

#include <time.h>

#define LOOK_NS 2000000 /* the board has no bell; looking costs the data plane nothing */

static bool is_served(const struct tern_seats *seats, uint64_t generation, uint64_t *lowest)
{
    *lowest = seats->count != 0 ? UINT64_MAX : 0;
    for (unsigned i = 0; i < seats->count; i++)
        *lowest = tern_min_u64(*lowest, seats->items[i].generation);
    return seats->count != 0 && *lowest >= generation;
}

int tern_ctl_wait(const struct tern_invocation *invocation)
{
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    uint64_t until_us = tern_clock_now_us() + invocation->timeout_us, lowest = 0;
    struct tern_seats seats = {0};
    struct tern_error error;
    char *run_dir = NULL;
    int rc;

    if ((invocation->given & TERN_CTL_GENERATION) == 0) {
        fputs("ternctl: wait needs --generation N\n", stderr);
        return TERN_EXIT_USAGE;
    }
    if (tern_instance_find(invocation, &run_dir, &error) != 0)
        return tern_ctl_fail(&error);
    for (;;) {
        bool served = false;

        rc = tern_seats_read(run_dir, &seats, &error);
        if (rc == 0)
            served = is_served(&seats, invocation->generation, &lowest);
        tern_seats_free(&seats);
        if (served || tern_clock_now_us() >= until_us)
            break;
        nanosleep(&pause, NULL);
    }
    free(run_dir);
    if (rc != 0)
        return tern_ctl_fail(&error);
    if (lowest >= invocation->generation && lowest != 0)
        return TERN_EXIT_OK;
    fprintf(stderr,
            "ternctl: generation %llu is not served by every ternd; the oldest one serves %llu\n",
            (unsigned long long)invocation->generation, (unsigned long long)lowest);
    return TERN_EXIT_REFUSED;
}
