/* The process: its seat, its loops, the thread that keeps house, and what they share. */
#ifndef TERN_DATAPLANE_SERVER_H
#define TERN_DATAPLANE_SERVER_H

#include "dataplane/backend.h"
#include "dataplane/helper.h"
#include "dataplane/listener.h"
#include "dataplane/worker.h"
#include "shared/arena.h"
#include "shared/board.h"
#include "shared/settings.h"

struct tern_server {
    const char *run_dir;
    struct tern_settings settings; /* as at start: loops and addresses */
    struct tern_board_map board;
    unsigned seat_index;
    struct tern_seat *seat;
    const struct tern_backend *backend;
    bool spin;      /* there are more CPUs than loops */
    bool no_stages; /* requests are not timed */
    bool no_hits;   /* hits of rules are not counted */

    struct tern_listeners listeners;
    struct tern_worker *workers;
    unsigned worker_count;
    struct tern_helper *helpers;
    unsigned helper_count;
    struct tern_lane *lanes; /* worker_count × helper_count */
    uint64_t search_turn_ns; /* what searches may take of a loop's turn: TERN_SEARCH_TURN_NS */
    uint64_t gather_ns;      /* how long answers wait for those behind them: TERN_GATHER_NS */

    /* written by housekeeping, read by the loops */
    /* what is published and what is announced: a loop serves whichever the root names */
    _Atomic(const struct tern_offer *) offers[TERN_OFFERS] TERN_ALIGNED(64);
    _Atomic bool draining;
    /* of all loops */
    _Atomic uint32_t connections TERN_ALIGNED(64);
};

#define TERN_DRAIN_NS 2000000000ull /* until everything is closed, answered or not */
#define TERN_DRAIN_QUIET_NS                                                                        \
    50000000ull /* a client silent for so long after GOAWAY has had its say */

#endif
