/* Threads that do for the request loops what would hold a loop up: searches past their share of a
 * turn (search.c), and whatever else parks a request (park.h).
 *
 * Each loop has a lane with each helper: a ring of requests there, a ring of answers back. A helper
 * is a reader of the arena like a loop, with an epoch, a pin and a scratch of its own; it adopts a
 * generation when it wakes up and holds none while it sleeps.
 *
 *     helper sleeps   H1 asleep = 1                loop parks   P1 push into its lane
 *                     H2 fence(seq_cst)                         P2 fence(seq_cst)   pairs with H2
 *                     H3 any lane? stop? → stay up               P3 asleep: wake it
 *                     H4 sleep                      */
#ifndef TERN_DATAPLANE_HELPER_H
#define TERN_DATAPLANE_HELPER_H

#include "dataplane/offer.h"
#include "dataplane/ring.h"
#include "dataplane/search.h"

#include <pthread.h>

struct tern_server;

struct tern_lane {
    struct tern_ring asked;                /* the loop pushes struct tern_parked */
    struct tern_ring answered;             /* the helper pushes them back */
    uint32_t outstanding TERN_ALIGNED(64); /* the loop's: at most what a ring holds */
};

struct tern_helper {
    struct tern_server *server;
    unsigned index;
    struct tern_adopter adopter;
    struct tern_searching searching;
    uint64_t now_ns;
    pthread_t thread;
    bool started;
    /* read by the loops */
    _Atomic uint32_t asleep TERN_ALIGNED(64); /* a futex */
    _Atomic uint32_t stopping;
};

/* Makes server->helper_count helpers and the lanes, before loops and housekeeping know of them.
 * TERN_ENOMEM. */
int tern_helpers_prepare(struct tern_server *server, struct tern_error *error);
int tern_helpers_start(struct tern_server *server, struct tern_error *error);
/* Ends them; the loops have ended, so that nothing is asked any more. */
void tern_helpers_stop(struct tern_server *server);
void tern_helpers_free(struct tern_server *server);

/* After a push: wakes the helper if it sleeps. */
void tern_helper_wake(struct tern_helper *helper);

/* One round over all lanes; false when there was nothing to do. What its thread does for ever; for
 * tests, which are the thread themselves. */
bool tern_helper_turn(struct tern_helper *helper);

static inline struct tern_lane *tern_lane_of(struct tern_lane *lanes, unsigned helper_count,
                                             unsigned loop, unsigned helper)
{
    return &lanes[loop * helper_count + helper];
}

#endif
