/* Requests that a loop has handed to a helper and whose connections go on meanwhile.
 *
 * A parked request holds its own bytes and room for its answer, and no pointer into the arena: the
 * helper resolves it in the generation that it serves. Its answer goes out when it comes, whatever
 * was asked before or after it; at its deadline, or when it is cancelled, its client is told at
 * once and what the helper still brings is dropped. */
#ifndef TERN_DATAPLANE_PARK_H
#define TERN_DATAPLANE_PARK_H

#include "dataplane/connection.h"
#include "dataplane/pool.h"
#include "shared/limits.h"
#include "shared/wire.h"

struct tern_helper;
struct tern_lane;
struct tern_worker;

#define TERN_PARKED_MESSAGE 288u

struct tern_parked {
    /* written by the loop before the helper gets it */
    struct tern_frame frame;
    struct tern_block body;  /* what `run` makes of it is between those who park and who run */
    struct tern_block reply; /* room for the answer's body */
    uint32_t length, reply_room;
    char name[TERN_NAME_MAX + 1]; /* of what it asks: ids may change their meaning meanwhile */
    uint64_t arrived_ns, deadline_ns;
    uint8_t queue_stage, work_stage; /* enum tern_stage: where its times are counted */
    void (*run)(struct tern_helper *helper, struct tern_parked *parked);
    /* written by the helper before the loop gets it back */
    uint8_t status; /* enum tern_status */
    uint32_t reply_bytes, generation;
    uint64_t begun_ns, ended_ns;
    /* nobody waits for it any more; relaxed, it only saves work */
    _Atomic bool abandoned;
    /* the loop's own */
    struct tern_lane *lane;
    struct tern_connection *connection;  /* NULL: abandoned */
    struct tern_parked *next, *previous; /* of the connection; next alone: free */
};

struct tern_park { /* a loop's; zeroed: nothing can be parked */
    struct tern_parked *all;
    struct tern_parked *free;
    struct tern_lane *lanes; /* one a helper */
    unsigned lane_count;
    uint32_t outstanding;
    uint64_t next_deadline_ns; /* at or before the earliest */
};

/* Off the request path. TERN_ENOMEM. */
int tern_park_open(struct tern_park *park, struct tern_lane *lanes, unsigned lane_count,
                   struct tern_error *error);
/* The helpers have ended. */
void tern_park_close(struct tern_park *park, struct tern_pool *pool);

/* A request to be filled in, with blocks for `length` bytes of body and `reply_room` of reply, on
 * the lane of the least busy helper; NULL when all lanes are full or memory is out. */
struct tern_parked *tern_park_take(struct tern_worker *worker, size_t length, size_t reply_room);
/* Hands it to its helper. The connection may go away before it comes back. */
void tern_park_send(struct tern_worker *worker, struct tern_connection *connection,
                    struct tern_parked *parked);

/* An answer waits for tern_park_collect. */
bool tern_park_has_answers(const struct tern_park *park);
/* Answers what has come back. */
void tern_park_collect(struct tern_worker *worker);
/* Answers DEADLINE where it is time. */
void tern_park_expire(struct tern_worker *worker);

/* Ends request `id` of the connection with CANCELLED; false when it is none. */
bool tern_park_cancel(struct tern_worker *worker, struct tern_connection *connection, uint32_t id);
/* The connection goes away. */
void tern_park_forget(struct tern_worker *worker, struct tern_connection *connection);

/* For helpers: the answer is a status with a message. */
void tern_parked_fail(struct tern_parked *parked, enum tern_status status, const char *message);

#endif
