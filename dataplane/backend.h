/* What a request loop asks of the kernel interface below it: io_uring (uring.c) or epoll (epoll.c).
 *
 * The loop calls `enter` (which may sleep) and then `reap`, which delivers what has happened
 * through the tern_worker_* functions of worker.h. Everything is called by the loop's own thread.
 */
#ifndef TERN_DATAPLANE_BACKEND_H
#define TERN_DATAPLANE_BACKEND_H

#include "shared/base.h"
#include "shared/error.h"

struct tern_connection;
struct tern_worker;

#define TERN_EVENTS_PER_TURN 256u
#define TERN_RECEIVE_BYTES                                                                         \
    16384u /* one receive: a client at depth 64 fits, a greedy one takes turns */
#define TERN_WAIT_FOREVER UINT64_MAX

struct tern_backend {
    const char *name;
    bool sends_late; /* what `send` queues goes to the kernel with the next `enter` */
    /* Tells whether this machine and user can have it for `loop_count` loops; `reason` says why
     * not. */
    int (*probe)(unsigned loop_count, char *reason, size_t size);
    int (*open)(struct tern_worker *worker, struct tern_error *error);
    void (*close)(struct tern_worker *worker);

    /* True when enter(…, 0) would do or bring something; no system call with io_uring. */
    bool (*ready)(struct tern_worker *worker);
    /* Hands queued operations to the kernel and collects events; sleeps up to `wait_ns` for one. */
    void (*enter)(struct tern_worker *worker, uint64_t wait_ns);
    /* Delivers at most TERN_EVENTS_PER_TURN events; received bytes stay valid until it returns or
     * has called tern_worker_decide. Returns how many. */
    unsigned (*reap)(struct tern_worker *worker);

    /* Starts or stops accepting on all listeners of the loop. */
    void (*accept)(struct tern_worker *worker);
    void (*accept_stop)(struct tern_worker *worker);
    /* Starts or stops reading; stopping may still deliver what is under way. */
    void (*receive)(struct tern_worker *worker, struct tern_connection *connection);
    void (*receive_stop)(struct tern_worker *worker, struct tern_connection *connection);
    /* Sends connection->sending; ends in tern_worker_sent. One at a time. */
    void (*send)(struct tern_worker *worker, struct tern_connection *connection);
    /* Breaks the connection; tern_worker_released follows (perhaps at once) when nothing refers to
     * it any more. */
    void (*finish)(struct tern_worker *worker, struct tern_connection *connection);
};

extern const struct tern_backend tern_backend_uring;
extern const struct tern_backend tern_backend_epoll;

#endif
