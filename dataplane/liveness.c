#include "dataplane/liveness.h"

#include "shared/clock.h"

#define FIRST_LOOK_MS 20 /* until something is served: a manager waits for it */

int tern_liveness_pause_ms(const struct tern_liveness *liveness)
{
    if (liveness->notify.fd < 0)
        return -1;
    if (!liveness->ready)
        return FIRST_LOOK_MS;
    /* Four looks in the time allowed: asked, turned, seen, and one to spare. */
    return liveness->notify.watchdog_us == 0
               ? -1
               : (int)tern_max_u64(liveness->notify.watchdog_us / 4000, 1);
}

static void announce(struct tern_liveness *liveness, const struct tern_server *server)
{
    for (unsigned i = 0; i < server->worker_count; i++)
        if (atomic_load_explicit(&server->workers[i].adopter.reader->generation,
                                 memory_order_relaxed) == 0)
            return;
    liveness->ready = true;
    tern_notify_say(&liveness->notify, "READY=1\nSTATUS=serving with %u loop%s",
                    server->worker_count, server->worker_count == 1 ? "" : "s");
}

static uint64_t iterations_of(const struct tern_server *server, unsigned loop)
{
    return atomic_load_explicit(&server->workers[loop].board->counters.iterations,
                                memory_order_relaxed);
}

/* A loop that sleeps has no reason to turn until it is woken. */
static void ask(struct tern_liveness *liveness, const struct tern_server *server)
{
    liveness->asked_us = tern_clock_now_us();
    for (unsigned i = 0; i < server->worker_count; i++) {
        liveness->iterations[i] = iterations_of(server, i);
        tern_worker_wake(&server->workers[i]);
    }
}

static bool all_have_turned(const struct tern_liveness *liveness, const struct tern_server *server)
{
    for (unsigned i = 0; i < server->worker_count; i++)
        if (iterations_of(server, i) == liveness->iterations[i])
            return false;
    return true;
}

void tern_liveness_look(struct tern_liveness *liveness, const struct tern_server *server)
{
    if (liveness->notify.fd < 0)
        return;
    if (!liveness->ready)
        announce(liveness, server);
    if (!liveness->ready || liveness->notify.watchdog_us == 0)
        return;
    if (liveness->asked_us == 0) {
        ask(liveness, server);
    } else if (all_have_turned(liveness, server)) {
        tern_notify_say(&liveness->notify, "WATCHDOG=1");
        ask(liveness, server);
    }
}
