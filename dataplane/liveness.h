/* Tells the service manager how ternd does: ready once a generation is served, then alive for as
 * long as every loop turns. Belongs to the main thread. */
#ifndef TERN_DATAPLANE_LIVENESS_H
#define TERN_DATAPLANE_LIVENESS_H

#include "dataplane/server.h"
#include "shared/notify.h"

struct tern_liveness {
    struct tern_notify notify;
    bool ready;
    uint64_t asked_us;                   /* when the loops were last asked to turn; 0: never */
    uint64_t iterations[TERN_LOOPS_MAX]; /* of each then */
};

/* How long the main thread may sleep between two looks, −1 for ever. */
int tern_liveness_pause_ms(const struct tern_liveness *liveness);

/* One look: announces readiness; pings the watchdog when every loop has turned since it was last
 * asked to, and asks again. A loop that does not turn stops the pings, and so ternd is restarted.
 */
void tern_liveness_look(struct tern_liveness *liveness, const struct tern_server *server);

#endif
