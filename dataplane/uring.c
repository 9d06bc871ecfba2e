/* The io_uring backend: the only user of liburing. One ring a loop, made and used by its thread:
 * multishot accept, multishot receive into a ring of provided buffers, one send a connection. */
#include "dataplane/backend.h"

#include "dataplane/connection.h"
#include "dataplane/worker.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* Small enough that an unprivileged user's 8 MB of locked memory hold dozens of rings. */
#define SQ_ENTRIES 1024u
#define CQ_ENTRIES 8192u
/* Receives under way at once; few enough that they stay in the cache. Power of two. */
#define BUFFERS      128u
#define BUFFER_GROUP 0

#define SETUP_FLAGS                                                                                \
    (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |         \
     IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP)

enum operation {
    OPERATION_ACCEPT = 1, /* index: of the listener */
    OPERATION_RECEIVE,
    OPERATION_SEND,
    OPERATION_CANCEL,
    OPERATION_WAKE,
    OPERATION_IGNORE,
};

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffer_ring;
    size_t buffer_ring_bytes;
    uint8_t *buffers;
    int returned; /* buffers given back in this reap, not yet shown to the kernel */
    bool accept_armed[TERN_LISTEN_MAX];
};

/* user_data: operation, the connection's slot and the generation of its owner. */
static uint64_t tag_of(enum operation operation, uint32_t index, uint32_t generation)
{
    assert(index < 1u << 24);
    return (uint64_t)operation << 56 | (uint64_t)index << 32 | generation;
}

static enum operation operation_of(uint64_t tag)
{
    return (enum operation)(tag >> 56);
}

static struct io_uring_sqe *next_sqe(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

    while (sqe == NULL) {
        io_uring_submit(&uring->ring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

static void *map_pages(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

static void arm_wake(struct tern_worker *worker, struct uring *uring)
{
    struct io_uring_sqe *sqe = next_sqe(uring);

    io_uring_prep_poll_multishot(sqe, worker->wake_fd, POLLIN);
    io_uring_sqe_set_data64(sqe, tag_of(OPERATION_WAKE, 0, 0));
}

static int open_ring(struct io_uring *ring)
{
    struct io_uring_params parameters = {.flags = SETUP_FLAGS, .cq_entries = CQ_ENTRIES};

    return io_uring_queue_init_params(SQ_ENTRIES, ring, &parameters);
}

static int open_buffers(struct uring *uring)
{
    struct io_uring_buf_reg registration = {.ring_entries = BUFFERS, .bgid = BUFFER_GROUP};
    int code;

    uring->buffer_ring_bytes = tern_align_up(BUFFERS * sizeof(struct io_uring_buf), TERN_PAGE);
    uring->buffer_ring = map_pages(uring->buffer_ring_bytes);
    uring->buffers = map_pages((size_t)BUFFERS * TERN_RECEIVE_BYTES);
    if (uring->buffer_ring == NULL || uring->buffers == NULL)
        return -ENOMEM;
    registration.ring_addr = (uintptr_t)uring->buffer_ring;
    code = io_uring_register_buf_ring(&uring->ring, &registration, 0);
    if (code < 0)
        return code;
    io_uring_buf_ring_init(uring->buffer_ring);
    for (unsigned i = 0; i < BUFFERS; i++)
        io_uring_buf_ring_add(uring->buffer_ring, uring->buffers + (size_t)i * TERN_RECEIVE_BYTES,
                              TERN_RECEIVE_BYTES, (unsigned short)i,
                              io_uring_buf_ring_mask(BUFFERS), (int)i);
    io_uring_buf_ring_advance(uring->buffer_ring, BUFFERS);
    return 0;
}

static void unmap_buffers(struct uring *uring)
{
    if (uring->buffer_ring != NULL)
        munmap(uring->buffer_ring, uring->buffer_ring_bytes);
    if (uring->buffers != NULL)
        munmap(uring->buffers, (size_t)BUFFERS * TERN_RECEIVE_BYTES);
}

static int open_uring(struct uring *uring)
{
    int code = open_ring(&uring->ring);

    if (code < 0)
        return code;
    code = open_buffers(uring);
    if (code < 0) {
        io_uring_queue_exit(&uring->ring);
        unmap_buffers(uring);
    }
    return code;
}

static void close_uring(struct uring *uring)
{
    io_uring_queue_exit(&uring->ring);
    unmap_buffers(uring);
}

static const char *reason_of(int error)
{
    switch (error) {
    case EPERM:
    case EACCES:
        return "io_uring is not permitted here (a seccomp profile or kernel.io_uring_disabled)";
    case ENOSYS:
        return "the kernel has no io_uring";
    case EINVAL:
        return "the kernel's io_uring is older than 6.1";
    case ENOMEM:
        return "no memory for a ring (RLIMIT_MEMLOCK)";
    default:
        return strerror(error);
    }
}

/* Opens as many rings as there will be loops, and closes them: what is refused is refused now,
 * while there is a choice. */
static int probe(unsigned loop_count, char *reason, size_t size)
{
    struct uring *urings = calloc(loop_count, sizeof *urings);
    unsigned opened = 0;
    int code = urings != NULL ? 0 : -ENOMEM;

    while (code == 0 && opened < loop_count) {
        code = open_uring(&urings[opened]);
        if (code == 0)
            opened++;
    }
    while (opened > 0)
        close_uring(&urings[--opened]);
    free(urings);
    if (code < 0) {
        snprintf(reason, size, "%s", reason_of(-code));
        return TERN_ENOTSUP;
    }
    return 0;
}

static int open_backend(struct tern_worker *worker, struct tern_error *error)
{
    struct uring *uring = calloc(1, sizeof *uring);
    int code;

    if (uring == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for a ring");
    code = open_uring(uring);
    if (code < 0) {
        free(uring);
        return tern_error_set(error, TERN_ENOTSUP, "loop %u: %s", worker->index, reason_of(-code));
    }
    /* Saves the look-up of the descriptor in every call; all goes on without it. */
    io_uring_register_ring_fd(&uring->ring);
    io_uring_ring_dontfork(&uring->ring);
    worker->backend_state = uring;
    arm_wake(worker, uring);
    return 0;
}

static void close_backend(struct tern_worker *worker)
{
    struct uring *uring = worker->backend_state;

    close_uring(uring);
    free(uring);
    worker->backend_state = NULL;
}

static bool kernel_has_work(const struct io_uring *ring)
{
    return (IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) !=
           0;
}

static bool is_ready(struct tern_worker *worker)
{
    struct uring *uring = worker->backend_state;

    return io_uring_sq_ready(&uring->ring) > 0 || kernel_has_work(&uring->ring) ||
           io_uring_cq_ready(&uring->ring) > 0;
}

static void enter(struct tern_worker *worker, uint64_t wait_ns)
{
    struct uring *uring = worker->backend_state;
    struct io_uring *ring = &uring->ring;
    struct io_uring_cqe *cqe;

    /* Whatever these return is seen by the next reap: what was not submitted stays queued. */
    if (wait_ns == 0) {
        if (io_uring_sq_ready(ring) > 0 || kernel_has_work(ring))
            io_uring_submit_and_get_events(ring);
    } else if (wait_ns == TERN_WAIT_FOREVER) {
        io_uring_submit_and_wait(ring, 1);
    } else {
        struct __kernel_timespec timeout = {.tv_sec = (int64_t)(wait_ns / 1000000000u),
                                            .tv_nsec = (int64_t)(wait_ns % 1000000000u)};

        io_uring_submit_and_wait_timeout(ring, &cqe, 1, &timeout, NULL);
    }
}

/* ---- accepting ---- */

static void accept_all(struct tern_worker *worker)
{
    struct uring *uring = worker->backend_state;

    worker->accepting = true;
    for (unsigned i = 0; i < worker->listener_count; i++) {
        struct io_uring_sqe *sqe;

        if (uring->accept_armed[i])
            continue;
        sqe = next_sqe(uring);
        io_uring_prep_multishot_accept(sqe, worker->listeners[i], NULL, NULL, SOCK_CLOEXEC);
        io_uring_sqe_set_data64(sqe, tag_of(OPERATION_ACCEPT, i, 0));
        uring->accept_armed[i] = true;
    }
}

static void accept_stop(struct tern_worker *worker)
{
    struct uring *uring = worker->backend_state;

    worker->accepting = false;
    for (unsigned i = 0; i < worker->listener_count; i++) {
        struct io_uring_sqe *sqe;

        if (!uring->accept_armed[i])
            continue;
        sqe = next_sqe(uring);
        io_uring_prep_cancel64(sqe, tag_of(OPERATION_ACCEPT, i, 0), 0);
        io_uring_sqe_set_data64(sqe, tag_of(OPERATION_IGNORE, 0, 0));
    }
}

static void on_accept(struct tern_worker *worker, struct uring *uring, unsigned listener,
                      const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0)
        tern_worker_accepted(worker, cqe->res);
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    uring->accept_armed[listener] = false;
    if (!worker->accepting)
        return;
    if (cqe->res >= 0 || cqe->res == -ECONNABORTED || cqe->res == -EINTR)
        accept_all(worker);
    else
        tern_worker_accept_failed(worker, -cqe->res);
}

/* ---- connections ---- */

static uint64_t connection_tag(enum operation operation, const struct tern_connection *connection)
{
    return tag_of(operation, connection->index, connection->generation);
}

static void receive(struct tern_worker *worker, struct tern_connection *connection)
{
    struct io_uring_sqe *sqe = next_sqe(worker->backend_state);

    assert(!connection->receiving);
    io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    io_uring_sqe_set_data64(sqe, connection_tag(OPERATION_RECEIVE, connection));
    connection->receiving = true;
    connection->references++;
}

static void receive_stop(struct tern_worker *worker, struct tern_connection *connection)
{
    struct io_uring_sqe *sqe;

    if (!connection->receiving || connection->cancelling)
        return;
    sqe = next_sqe(worker->backend_state);
    io_uring_prep_cancel64(sqe, connection_tag(OPERATION_RECEIVE, connection), 0);
    io_uring_sqe_set_data64(sqe, connection_tag(OPERATION_CANCEL, connection));
    connection->cancelling = true;
    connection->references++;
}

static void send_output(struct tern_worker *worker, struct tern_connection *connection)
{
    struct io_uring_sqe *sqe = next_sqe(worker->backend_state);

    assert(!connection->sending_now);
    io_uring_prep_send(sqe, connection->fd, connection->sending.data + connection->sending_start,
                       connection->sending_end - connection->sending_start,
                       MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data64(sqe, connection_tag(OPERATION_SEND, connection));
    connection->sending_now = true;
    connection->references++;
}

static void finish(struct tern_worker *worker, struct tern_connection *connection)
{
    /* Closing the descriptor would not end an armed receive; breaking the connection does. */
    if (connection->references > 0)
        shutdown(connection->fd, SHUT_RDWR);
    else
        tern_worker_released(worker, connection);
}

static void return_buffer(struct uring *uring, unsigned id)
{
    io_uring_buf_ring_add(uring->buffer_ring, uring->buffers + (size_t)id * TERN_RECEIVE_BYTES,
                          TERN_RECEIVE_BYTES, (unsigned short)id, io_uring_buf_ring_mask(BUFFERS),
                          uring->returned++);
}

static void on_receive(struct tern_worker *worker, struct uring *uring,
                       struct tern_connection *connection, const struct io_uring_cqe *cqe)
{
    int result = cqe->res;

    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        connection->receiving = false;
        tern_worker_touch(worker, connection);
    }
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

        tern_worker_received(worker, connection, uring->buffers + (size_t)id * TERN_RECEIVE_BYTES,
                             result);
        return_buffer(uring, id);
    } else if (result != -ENOBUFS && result != -ECANCELED && result != -EINTR) {
        tern_worker_received(worker, connection, NULL, result);
    }
}

static void on_connection(struct tern_worker *worker, struct uring *uring, enum operation operation,
                          const struct io_uring_cqe *cqe)
{
    uint32_t index = (cqe->user_data >> 32) & 0xffffff;
    struct tern_connection *connection = &worker->connections.all[index];

    /* The slot is not given back while anything is in flight, so this is always its owner. */
    assert(index < worker->connections.used && connection->generation == (uint32_t)cqe->user_data);
    switch (operation) {
    case OPERATION_RECEIVE:
        on_receive(worker, uring, connection, cqe);
        break;
    case OPERATION_SEND:
        connection->sending_now = false;
        tern_worker_sent(worker, connection, cqe->res);
        break;
    default:
        connection->cancelling = false;
        break;
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        connection->references--;
        if (connection->state == TERN_CONNECTION_CLOSING)
            tern_worker_touch(worker, connection);
    }
}

static unsigned reap(struct tern_worker *worker)
{
    struct uring *uring = worker->backend_state;
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;

    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        enum operation operation = operation_of(cqe->user_data);

        if (count == TERN_EVENTS_PER_TURN)
            break;
        count++;
        if (TERN_LIKELY(operation != OPERATION_ACCEPT && operation < OPERATION_WAKE))
            on_connection(worker, uring, operation, cqe);
        else if (operation == OPERATION_ACCEPT)
            on_accept(worker, uring, (cqe->user_data >> 32) & 0xffffff, cqe);
        else if (operation == OPERATION_WAKE && !(cqe->flags & IORING_CQE_F_MORE))
            arm_wake(worker, uring);
    }
    /* Items in the vector point into the buffers, so they are decided before the kernel gets these
     * back. */
    tern_worker_decide(worker);
    io_uring_cq_advance(&uring->ring, count);
    if (uring->returned > 0) {
        io_uring_buf_ring_advance(uring->buffer_ring, uring->returned);
        uring->returned = 0;
    }
    return count;
}

const struct tern_backend tern_backend_uring = {
    .name = "io_uring",
    .probe = probe,
    .open = open_backend,
    .close = close_backend,
    .sends_late = true,
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
