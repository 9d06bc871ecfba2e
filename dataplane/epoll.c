/* The epoll backend: where io_uring is not allowed, and as its control in benchmarks. Sockets are
 * non-blocking; output is sent at once and only what does not fit waits for EPOLLOUT. */
#include "dataplane/backend.h"

#include "dataplane/connection.h"
#include "dataplane/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_EVENT 64u

enum kind {
    KIND_CONNECTION = 1,
    KIND_LISTENER,
    KIND_WAKE,
};

struct epoll {
    int fd;
    int ready; /* events collected and not yet reaped */
    struct epoll_event events[TERN_EVENTS_PER_TURN];
    uint8_t buffer[TERN_RECEIVE_BYTES];
};

static uint64_t tag_of(enum kind kind, uint32_t index, uint32_t generation)
{
    return (uint64_t)kind << 56 | (uint64_t)index << 32 | generation;
}

static int probe(unsigned loop_count, char *reason, size_t size)
{
    (void)loop_count;
    (void)reason;
    (void)size;
    return 0;
}

static int open_backend(struct tern_worker *worker, struct tern_error *error)
{
    struct epoll *epoll = calloc(1, sizeof *epoll);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = tag_of(KIND_WAKE, 0, 0)};

    if (epoll == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for epoll");
    epoll->fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll->fd < 0 || epoll_ctl(epoll->fd, EPOLL_CTL_ADD, worker->wake_fd, &event) < 0) {
        int code = tern_error_system(error, errno, "loop %u: cannot set epoll up", worker->index);

        if (epoll->fd >= 0)
            close(epoll->fd);
        free(epoll);
        return code;
    }
    worker->backend_state = epoll;
    return 0;
}

static void close_backend(struct tern_worker *worker)
{
    struct epoll *epoll = worker->backend_state;

    close(epoll->fd);
    free(epoll);
    worker->backend_state = NULL;
}

static void collect(struct epoll *epoll, uint64_t wait_ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(wait_ns / 1000000000u),
                               .tv_nsec = (long)(wait_ns % 1000000000u)};
    int count;

    if (wait_ns == 0)
        count = epoll_wait(epoll->fd, epoll->events, TERN_EVENTS_PER_TURN, 0);
    else
        count = epoll_pwait2(epoll->fd, epoll->events, TERN_EVENTS_PER_TURN,
                             wait_ns == TERN_WAIT_FOREVER ? NULL : &timeout, NULL);
    epoll->ready = count > 0 ? count : 0;
}

static bool is_ready(struct tern_worker *worker)
{
    struct epoll *epoll = worker->backend_state;

    if (epoll->ready == 0)
        collect(epoll, 0);
    return epoll->ready > 0;
}

static void enter(struct tern_worker *worker, uint64_t wait_ns)
{
    struct epoll *epoll = worker->backend_state;

    if (epoll->ready == 0)
        collect(epoll, wait_ns);
}

/* ---- accepting ---- */

static void accept_all(struct tern_worker *worker)
{
    struct epoll *epoll = worker->backend_state;

    worker->accepting = true;
    for (unsigned i = 0; i < worker->listener_count; i++) {
        /* Exclusive: of the loops that share a Unix listener one wakes. */
        struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE,
                                    .data.u64 = tag_of(KIND_LISTENER, i, 0)};

        if (epoll_ctl(epoll->fd, EPOLL_CTL_ADD, worker->listeners[i], &event) < 0 &&
            errno != EEXIST)
            tern_worker_accept_failed(worker, errno);
    }
}

static void accept_stop(struct tern_worker *worker)
{
    struct epoll *epoll = worker->backend_state;

    worker->accepting = false;
    for (unsigned i = 0; i < worker->listener_count; i++)
        epoll_ctl(epoll->fd, EPOLL_CTL_DEL, worker->listeners[i], NULL);
}

static void on_listener(struct tern_worker *worker, unsigned listener)
{
    for (unsigned i = 0; i < ACCEPTS_PER_EVENT && worker->accepting; i++) {
        int fd = accept4(worker->listeners[listener], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            tern_worker_accepted(worker, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            int error = errno;

            /* Level-triggered, it would fire for ever: it is armed again by the clock. */
            accept_stop(worker);
            tern_worker_accept_failed(worker, error);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

/* ---- connections ---- */

static void want(struct tern_worker *worker, struct tern_connection *connection, uint32_t events)
{
    struct epoll *epoll = worker->backend_state;
    struct epoll_event event = {
        .events = events,
        .data.u64 = tag_of(KIND_CONNECTION, connection->index, connection->generation)};
    int operation = connection->references > 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (connection->references > 0 && connection->events == events)
        return;
    if (epoll_ctl(epoll->fd, operation, connection->fd, &event) < 0) {
        tern_worker_close(worker, connection);
        return;
    }
    connection->references = 1; /* registered */
    connection->events = events;
}

static void receive(struct tern_worker *worker, struct tern_connection *connection)
{
    connection->receiving = true;
    want(worker, connection, connection->events | EPOLLIN);
}

static void receive_stop(struct tern_worker *worker, struct tern_connection *connection)
{
    connection->receiving = false;
    want(worker, connection, connection->events & ~(uint32_t)EPOLLIN);
}

static void send_output(struct tern_worker *worker, struct tern_connection *connection)
{
    while (connection->sending_start < connection->sending_end) {
        ssize_t sent = send(connection->fd, connection->sending.data + connection->sending_start,
                            connection->sending_end - connection->sending_start, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            connection->sending_now = true;
            want(worker, connection, connection->events | EPOLLOUT);
            return;
        }
        tern_worker_sent(worker, connection, sent < 0 ? -errno : (int)sent);
        if (connection->state == TERN_CONNECTION_CLOSING)
            return;
    }
}

static void finish(struct tern_worker *worker, struct tern_connection *connection)
{
    struct epoll *epoll = worker->backend_state;

    if (connection->references > 0)
        epoll_ctl(epoll->fd, EPOLL_CTL_DEL, connection->fd, NULL);
    connection->references = 0;
    /* Later events of this reap carry the old generation and are passed over. */
    shutdown(connection->fd, SHUT_RDWR);
    tern_worker_released(worker, connection);
}

static void on_connection(struct tern_worker *worker, struct epoll *epoll,
                          struct tern_connection *connection, uint32_t events)
{
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) && connection->sending_now) {
        connection->sending_now = false;
        want(worker, connection, connection->events & ~(uint32_t)EPOLLOUT);
        tern_worker_touch(worker, connection); /* goes on sending when the turn ends */
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        ssize_t length;

        if (!connection->receiving && !(events & (EPOLLERR | EPOLLHUP)))
            return;
        length = recv(connection->fd, epoll->buffer, sizeof epoll->buffer, 0);
        if (length < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
        tern_worker_received(worker, connection, epoll->buffer, length < 0 ? -errno : (int)length);
        tern_worker_decide(worker); /* before the buffer is used again */
    }
}

static unsigned reap(struct tern_worker *worker)
{
    struct epoll *epoll = worker->backend_state;
    int count = epoll->ready;

    epoll->ready = 0;
    for (int i = 0; i < count; i++) {
        uint64_t tag = epoll->events[i].data.u64;
        uint32_t index = (tag >> 32) & 0xffffff;
        struct tern_connection *connection;

        switch ((enum kind)(tag >> 56)) {
        case KIND_LISTENER:
            on_listener(worker, index);
            break;
        case KIND_CONNECTION:
            connection = &worker->connections.all[index];
            if (connection->generation == (uint32_t)tag &&
                connection->state != TERN_CONNECTION_FREE &&
                connection->state != TERN_CONNECTION_CLOSING)
                on_connection(worker, epoll, connection, epoll->events[i].events);
            break;
        case KIND_WAKE:
            break;
        }
    }
    return (unsigned)count;
}

const struct tern_backend tern_backend_epoll = {
    .name = "epoll",
    .probe = probe,
    .open = open_backend,
    .close = close_backend,
    .ready = is_ready,
    .enter = enter,
    .reap = reap,
    .accept = accept_all,
    .accept_stop = accept_stop,
    .receive = receive,
    .receive_stop = receive_stop,
    .send = send_output,
    .finish = finish,
};
