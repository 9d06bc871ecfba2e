#include "shared/background.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000 /* the least there is */

/* struct sched_attr of the kernel, of which Debian 12's C library knows nothing. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

int tern_background_begin(int nice)
{
    const struct attributes attributes = {
        .size = sizeof attributes, .policy = SCHED_BATCH, .nice = nice, .runtime_ns = SLICE_NS};

    return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0 ? 0 : errno;
}

int tern_background_stay_prompt(void)
{
    struct attributes attributes = {.size = sizeof attributes};

    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0)
        return errno;
    attributes.runtime_ns = SLICE_NS;
    return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0 ? 0 : errno;
}
