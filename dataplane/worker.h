/* A request loop: one thread, one ring, its connections, and the generation it serves. */
#ifndef TERN_DATAPLANE_WORKER_H
#define TERN_DATAPLANE_WORKER_H

#include "dataplane/backend.h"
#include "dataplane/connection.h"
#include "dataplane/decide.h"
#include "dataplane/offer.h"
#include "dataplane/park.h"
#include "dataplane/pool.h"
#include "dataplane/search.h"
#include "dataplane/timing.h"
#include "dataplane/wheel.h"
#include "shared/board.h"
#include "shared/clock.h"
#include "shared/limits.h"
#include "shared/view.h"

#include <pthread.h>

struct tern_server;

struct tern_worker {
    struct tern_server *server;
    unsigned index;
    const struct tern_backend *backend;
    void *backend_state;

    /* what it serves */
    struct tern_adopter adopter;
    uint32_t era;                            /* of what it serves, 0: nothing yet */
    const struct tern_settings *settings;    /* of what it serves; before, as at start */
    struct tern_search_scratch *now_scratch; /* for the collections of what it serves */
    uint32_t max_frame_bytes;
    uint32_t connection_limit;
    uint64_t idle_ns, half_frame_ns;

    /* what it works on */
    struct tern_vector vector;
    struct tern_connection *dirty;
    struct tern_connection_queue batches; /* TERN_WAIT_BATCH */
    struct tern_connection_queue held;    /* TERN_WAIT_SHARE */
    struct tern_connection_table connections;
    struct tern_pool pool;
    struct tern_wheel wheel;
    struct tern_searching searching;
    bool searches;           /* the rules of what it serves may search */
    uint64_t search_left_ns; /* of this turn's share for searches */
    uint64_t searched_ns;    /* what this turn's searches took */
    struct tern_park park;

    /* what it tells */
    struct tern_loop_board *board;
    uint64_t now_ns;         /* when the events of this turn were collected */
    uint64_t wall_offset_ns; /* wall clock − monotonic, refreshed every second */
    uint64_t second_ns;
    struct tern_timing timing;
    uint32_t queued; /* requests that a vector, a batch or a helper took, ever; wraps */
    uint64_t explain_tokens, explain_second;
    const uint64_t *heap_bytes; /* the allocator's own count for this thread, NULL: it keeps none */

    int listeners[TERN_LISTEN_MAX];
    unsigned listener_count;
    bool accepting;
    bool accept_starved; /* out of descriptors: tried again by the clock */
    bool draining;
    uint64_t drain_deadline_ns;
    uint64_t drain_quiet_ns;
    uint64_t spin_ns;
    pthread_t thread;
    bool started;
    struct tern_error error; /* why it could not start */

    /* read by other threads */
    int wake_fd TERN_ALIGNED(64);
    _Atomic uint32_t sleeping;
    _Atomic uint32_t state; /* enum tern_worker_state */
    clockid_t cpu_clock;    /* of its thread; valid while RUNNING */
};

enum tern_worker_state {
    TERN_WORKER_STARTING = 0,
    TERN_WORKER_RUNNING,
    TERN_WORKER_FAILED,
    TERN_WORKER_ENDED,
};

/* Everything the loop needs that can fail and must not happen later. `worker` is zeroed;
 * housekeeping may already be looking at it. Free it also when this fails. */
int tern_worker_prepare(struct tern_worker *worker, struct tern_server *server, unsigned index,
                        struct tern_error *error);
/* One turn of the loop: what its thread does for ever. For tests, which are the thread themselves,
 * after the backend's `open`. */
void tern_worker_turn(struct tern_worker *worker);
/* Prepares the loop, then starts its thread. */
int tern_worker_start(struct tern_worker *worker, struct tern_server *server, unsigned index,
                      struct tern_error *error);
/* Waits for the thread. */
void tern_worker_join(struct tern_worker *worker);
/* Frees everything, also after a start that failed; housekeeping, which wakes loops, has ended. */
void tern_worker_free(struct tern_worker *worker);

/* From any thread: makes a sleeping loop look around. */
void tern_worker_wake(struct tern_worker *worker);

/* Called when another generation is served, whose settings may want other tokens (admission.c):
 * connections whose token is not valid any more have to show one. */
void tern_worker_change_tokens(struct tern_worker *worker, const struct tern_settings *before,
                               const struct tern_settings *now);
/* Notes whether a new connection has to show a token, and until when. */
void tern_worker_greet(struct tern_worker *worker, struct tern_connection *connection);
/* What a HELLO brought; false when it does not open the door. */
bool tern_worker_admit(struct tern_worker *worker, struct tern_connection *connection,
                       const uint8_t *token, size_t length);

/* Called when another generation is served: connections whose ids it does not share are told
 * (former.c, as the next two). */
void tern_worker_change_schema(struct tern_worker *worker);
/* The schema of a connection that was opened under another era; NULL when it is kept no more. */
const struct tern_former *tern_worker_former(const struct tern_worker *worker,
                                             const struct tern_connection *connection);
/* The present id of a table or collection that the connection knows as `id`; 0: there is none. */
unsigned tern_worker_table(const struct tern_worker *worker,
                           const struct tern_connection *connection, unsigned id);
unsigned tern_worker_collection(const struct tern_worker *worker,
                                const struct tern_connection *connection, unsigned id);
/* tern_decode_item for such a connection. May decide what waits in the vector. */
int tern_worker_decode_former(struct tern_worker *worker, const struct tern_connection *connection,
                              const uint8_t *bytes, size_t length, unsigned item,
                              struct tern_facts *facts, size_t *space_used,
                              struct tern_decode_failure *failure);

/* Decodes an item under the connection's schema into present facts. */
static inline int tern_worker_decode_item(struct tern_worker *worker,
                                          const struct tern_connection *connection,
                                          const uint8_t *bytes, size_t length, unsigned item,
                                          struct tern_facts *facts, size_t *space_used,
                                          struct tern_decode_failure *failure)
{
    if (TERN_LIKELY(connection->era == worker->era))
        return tern_decode_item(&worker->adopter.now->decoder, bytes, length, item, facts,
                                worker->vector.space, space_used, failure);
    return tern_worker_decode_former(worker, connection, bytes, length, item, facts, space_used,
                                     failure);
}

/* Called by the turn (these and all below are of traffic.c). */
/* Lets those go on that wait for a share of searches (tern_worker_hold), in turn, as far as the
 * share goes. Comes first: what is left after it is for requests that arrive now. */
void tern_worker_run_held(struct tern_worker *worker);
/* Gives the large batches their share of the turn, in turn. */
void tern_worker_run_batches(struct tern_worker *worker);
/* Closes the connections whose time is up. */
void tern_worker_expire(struct tern_worker *worker);
/* Everything that became due for the touched connections: run on, send, pause, read on, end. */
void tern_worker_settle(struct tern_worker *worker);

/* Called by the backend. */
void tern_worker_accepted(struct tern_worker *worker, int fd);
/* Out of descriptors or memory: accepting stopped and is tried again a little later. */
void tern_worker_accept_failed(struct tern_worker *worker, int error);
/* `length` bytes, 0 for the client's end, or a negative errno. */
void tern_worker_received(struct tern_worker *worker, struct tern_connection *connection,
                          const uint8_t *bytes, int length);
/* So many bytes of connection->sending went out, or a negative errno. */
void tern_worker_sent(struct tern_worker *worker, struct tern_connection *connection, int length);
void tern_worker_released(struct tern_worker *worker, struct tern_connection *connection);

/* The clock, for what only the stage times need: stands still when nothing is timed. */
static inline uint64_t tern_worker_clock(const struct tern_worker *worker)
{
    return TERN_LIKELY(!worker->timing.off) ? tern_clock_now_ns() : worker->now_ns;
}

/* Called by request.c, batch.c and admission.c. */
/* Looks at the connection's timeouts again after one came nearer. */
void tern_worker_watch(struct tern_worker *worker, struct tern_connection *connection);
void tern_worker_close(struct tern_worker *worker, struct tern_connection *connection);
/* The connection's next frame may search and has to wait for another turn, with all behind it: the
 * frame stays, and nobody else searches in this turn. */
void tern_worker_hold(struct tern_worker *worker, struct tern_connection *connection);
/* Answers what it has so far, then ends the connection from our side. */
void tern_worker_linger(struct tern_worker *worker, struct tern_connection *connection);
/* Puts the connection on the list of those looked at when the turn ends. */
static inline void tern_worker_touch(struct tern_worker *worker, struct tern_connection *connection)
{
    if (!connection->dirty) {
        connection->dirty = true;
        connection->next = worker->dirty;
        worker->dirty = connection;
    }
}

#endif
