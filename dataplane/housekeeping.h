/* The thread that keeps house: it does for the loops whatever may block, allocate or fail. It hears
 * the control plane's bell, validates and prepares announced generations, answers in the seat,
 * offers them to the loops, frees what no loop holds any more, notes what the loops use of their
 * CPUs, and follows when the arena is replaced. */
#ifndef TERN_DATAPLANE_HOUSEKEEPING_H
#define TERN_DATAPLANE_HOUSEKEEPING_H

#include "dataplane/server.h"
#include "dataplane/slots.h"

struct tern_housekeeping {
    struct tern_server *server;
    struct tern_reader *reader;
    struct tern_arena *arena;     /* the current one; offers refer to theirs */
    struct tern_arena *old_arena; /* replaced, until no offer refers to it */
    struct tern_offer *current;   /* of the published root, or what was it last */
    struct tern_offer *candidate; /* announced, not published yet */
    struct tern_offer *withdrawn; /* list: freed when no loop holds them */
    struct tern_slots slots;      /* of the board, for the hits of rules */
    uint32_t last_era;            /* highest ever given */
    uint64_t refused_seq;         /* root that could not be prepared; not tried again */
    pthread_t thread;
    _Atomic bool stopping;
    bool started;
};

/* Takes over `arena` (heap, also when it fails) and does the first round before it returns, so that
 * loops which start afterwards serve at once when something is published. */
int tern_housekeeping_start(struct tern_housekeeping *housekeeping, struct tern_server *server,
                            struct tern_arena *arena, struct tern_error *error);

/* Ends the thread and frees everything; the loops have ended. */
void tern_housekeeping_stop(struct tern_housekeeping *housekeeping);

#endif
