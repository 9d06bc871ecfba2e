/* The echo server on io_uring, with the structure of ternd's own loop: multishot accept and recv, a
 * buffer ring, frames handled where they were received, one send in flight a connection and a
 * second buffer filling, one enter a turn, spinning before sleeping. */
#include "perf/load/meter.h"
#include "perf/load/run.h"
#include "shared/wire.h"

#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENTRIES      1024u
#define CQ_ENTRIES   8192u
#define BUFFERS      512u
#define BUFFER_BYTES (16u << 10)
#define BUFFER_GROUP 0
#define PEERS_MAX    20000u
#define OUT_FIRST    (64u << 10)
#define OUT_MAX      (64u << 20) /* of one that does not read: then it is closed */
#define CQES_A_TURN  256u
#define SLEEP_NS     100000000 /* a signal is seen after this long at most */

enum event {
    EVENT_ACCEPT,
    EVENT_RECV,
    EVENT_SEND,
};

struct bytes {
    uint8_t *data;
    size_t capacity, length;
};

struct peer {
    int fd; /* −1: free */
    uint32_t generation;
    unsigned outstanding; /* requests that have not had their last completion */
    bool closing, dirty, sending;
    struct bytes spill; /* the start of a frame whose rest has not come */
    struct bytes filling, flying;
    size_t flown;
};

struct echo {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    uint8_t *memory;
    struct peer *peers;
    uint32_t *free_peers;
    unsigned free_count;
    uint32_t *dirty;
    unsigned dirty_count;
    unsigned returned; /* buffers given back this turn */
    int listener;
};

static uint64_t tag(enum event event, uint32_t index, uint32_t generation)
{
    return (uint64_t)event << 56 | (uint64_t)(generation & 0xffffff) << 32 | index;
}

static struct io_uring_sqe *next_sqe(struct echo *echo)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&echo->ring);

    while (sqe == NULL) {
        io_uring_submit(&echo->ring);
        sqe = io_uring_get_sqe(&echo->ring);
    }
    return sqe;
}

static bool append(struct bytes *bytes, const void *data, size_t length)
{
    if (length > bytes->capacity - bytes->length) {
        size_t capacity = bytes->capacity == 0 ? OUT_FIRST : bytes->capacity * 2;
        uint8_t *larger;

        while (capacity - bytes->length < length)
            capacity *= 2;
        larger = capacity > OUT_MAX ? NULL : realloc(bytes->data, capacity);
        if (larger == NULL)
            return false;
        bytes->data = larger;
        bytes->capacity = capacity;
    }
    if (length > 0)
        memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
    return true;
}

static void arm_accept(struct echo *echo)
{
    struct io_uring_sqe *sqe = next_sqe(echo);

    io_uring_prep_multishot_accept(sqe, echo->listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, tag(EVENT_ACCEPT, 0, 0));
}

static void arm_recv(struct echo *echo, struct peer *peer)
{
    struct io_uring_sqe *sqe = next_sqe(echo);

    io_uring_prep_recv_multishot(sqe, peer->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    io_uring_sqe_set_data64(sqe, tag(EVENT_RECV, (uint32_t)(peer - echo->peers), peer->generation));
    peer->outstanding++;
}

static void arm_send(struct echo *echo, struct peer *peer)
{
    struct io_uring_sqe *sqe = next_sqe(echo);

    io_uring_prep_send(sqe, peer->fd, peer->flying.data + peer->flown,
                       peer->flying.length - peer->flown, MSG_WAITALL | MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, tag(EVENT_SEND, (uint32_t)(peer - echo->peers), peer->generation));
    peer->sending = true;
    peer->outstanding++;
}

/* An armed recv keeps the socket open past close(): shut it down, and close at the last completion.
 */
static void begin_close(struct peer *peer)
{
    if (peer->closing)
        return;
    peer->closing = true;
    shutdown(peer->fd, SHUT_RDWR);
}

static void end_close(struct echo *echo, struct peer *peer)
{
    if (!peer->closing || peer->outstanding > 0 || peer->dirty)
        return;
    close(peer->fd);
    free(peer->spill.data);
    free(peer->filling.data);
    free(peer->flying.data);
    *peer = (struct peer){.fd = -1, .generation = peer->generation + 1};
    echo->free_peers[echo->free_count++] = (uint32_t)(peer - echo->peers);
}

/* Appends the whole frames of `bytes` to the output; returns how many bytes they have, or SIZE_MAX
 * when they are no frames or the output is full. */
static size_t echo_frames(struct peer *peer, const uint8_t *bytes, size_t length)
{
    size_t at = 0;

    while (length - at >= TERN_FRAME_HEADER) {
        struct tern_frame frame = tern_frame_load(bytes + at);
        size_t whole = TERN_FRAME_HEADER + (size_t)frame.body_length;

        if (frame.magic != TERN_WIRE_MAGIC || frame.body_length > TERN_MAX_FRAME_DEFAULT)
            return SIZE_MAX;
        if (whole > length - at)
            break;
        if (!append(&peer->filling, bytes + at, whole))
            return SIZE_MAX;
        at += whole;
    }
    return at;
}

static void take(struct echo *echo, struct peer *peer, const uint8_t *bytes, size_t length)
{
    size_t used;

    if (peer->spill.length > 0) {
        /* Straddling frames are completed in the spill; with it all that came. */
        if (!append(&peer->spill, bytes, length)) {
            begin_close(peer);
            return;
        }
        used = echo_frames(peer, peer->spill.data, peer->spill.length);
        if (used != SIZE_MAX && used > 0) {
            memmove(peer->spill.data, peer->spill.data + used, peer->spill.length - used);
            peer->spill.length -= used;
        }
    } else {
        used = echo_frames(peer, bytes, length);
        if (used != SIZE_MAX && !append(&peer->spill, bytes + used, length - used))
            used = SIZE_MAX;
    }
    if (used == SIZE_MAX) {
        begin_close(peer);
        return;
    }
    if (peer->filling.length > 0 && !peer->dirty) {
        peer->dirty = true;
        echo->dirty[echo->dirty_count++] = (uint32_t)(peer - echo->peers);
    }
}

static void on_accept(struct echo *echo, const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0) {
        if (echo->free_count == 0) {
            close(cqe->res);
        } else {
            struct peer *peer = &echo->peers[echo->free_peers[--echo->free_count]];
            int on = 1;

            peer->fd = cqe->res;
            setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            arm_recv(echo, peer);
        }
    }
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        arm_accept(echo);
}

static void on_recv(struct echo *echo, struct peer *peer, const struct io_uring_cqe *cqe)
{
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        uint8_t *buffer = echo->memory + (size_t)id * BUFFER_BYTES;

        if (cqe->res > 0 && !peer->closing)
            take(echo, peer, buffer, (size_t)cqe->res);
        io_uring_buf_ring_add(echo->buffers, buffer, BUFFER_BYTES, (unsigned short)id,
                              (int)(BUFFERS - 1), (int)echo->returned++);
    }
    if (cqe->res == 0 || (cqe->res < 0 && cqe->res != -ENOBUFS))
        begin_close(peer);
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
        peer->outstanding--;
        if (!peer->closing)
            arm_recv(echo, peer); /* after the buffers of this turn are back */
    }
}

static void on_send(struct echo *echo, struct peer *peer, const struct io_uring_cqe *cqe)
{
    peer->outstanding--;
    peer->sending = false;
    if (cqe->res < 0) {
        begin_close(peer);
        return;
    }
    peer->flown += (size_t)cqe->res;
    if (peer->flown < peer->flying.length) {
        if (!peer->closing)
            arm_send(echo, peer);
        return;
    }
    peer->flying.length = peer->flown = 0;
    if (peer->filling.length > 0 && !peer->dirty) {
        peer->dirty = true;
        echo->dirty[echo->dirty_count++] = (uint32_t)(peer - echo->peers);
    }
}

static unsigned reap(struct echo *echo)
{
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;

    io_uring_for_each_cqe(&echo->ring, head, cqe)
    {
        enum event event = (enum event)(cqe->user_data >> 56);
        struct peer *peer = &echo->peers[(uint32_t)cqe->user_data];

        if (++count > CQES_A_TURN) {
            count--;
            break;
        }
        if (event == EVENT_ACCEPT) {
            on_accept(echo, cqe);
            continue;
        }
        /* A peer is not reused while anything is outstanding, so the generation always fits. */
        assert((cqe->user_data >> 32 & 0xffffff) == (peer->generation & 0xffffff));
        if (event == EVENT_RECV)
            on_recv(echo, peer, cqe);
        else
            on_send(echo, peer, cqe);
        end_close(echo, peer);
    }
    io_uring_cq_advance(&echo->ring, count);
    if (echo->returned > 0)
        io_uring_buf_ring_advance(echo->buffers, (int)echo->returned);
    echo->returned = 0;
    return count;
}

static void flush(struct echo *echo)
{
    unsigned count = echo->dirty_count;

    echo->dirty_count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct peer *peer = &echo->peers[echo->dirty[i]];

        peer->dirty = false;
        if (!peer->closing && !peer->sending) {
            struct bytes filled = peer->filling;

            peer->filling = peer->flying;
            peer->flying = filled;
            arm_send(echo, peer);
        }
        end_close(echo, peer);
    }
}

static bool work_waits(struct echo *echo)
{
    return io_uring_sq_ready(&echo->ring) > 0 || io_uring_cq_ready(&echo->ring) > 0 ||
           (IO_URING_READ_ONCE(*echo->ring.sq.kflags) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

static void loop(struct echo *echo, const struct load_options *options)
{
    uint64_t idle_since_ns = 0;

    while (!load_stopped()) {
        unsigned count = reap(echo);

        flush(echo);
        if (count > 0)
            idle_since_ns = 0;
        if (work_waits(echo)) {
            io_uring_submit_and_get_events(&echo->ring);
            continue;
        }
        if (options->spin) {
            __builtin_ia32_pause();
            continue;
        }
        if (options->spin_us > 0) {
            uint64_t now_ns = load_now_ns();

            if (idle_since_ns == 0)
                idle_since_ns = now_ns;
            if (now_ns - idle_since_ns < options->spin_us * 1000ull) {
                __builtin_ia32_pause();
                continue;
            }
        }
        struct __kernel_timespec timeout = {.tv_nsec = SLEEP_NS};
        struct io_uring_cqe *cqe;

        io_uring_submit_and_wait_timeout(&echo->ring, &cqe, 1, &timeout, NULL);
        idle_since_ns = 0;
    }
}

static int set_up(struct echo *echo)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                 IORING_SETUP_CLAMP,
        .cq_entries = CQ_ENTRIES,
    };
    struct io_uring_buf_reg registration = {.ring_entries = BUFFERS, .bgid = BUFFER_GROUP};
    size_t ring_bytes = BUFFERS * sizeof(struct io_uring_buf);
    int code = io_uring_queue_init_params(ENTRIES, &echo->ring, &params);

    if (code != 0)
        return code;
    io_uring_register_ring_fd(&echo->ring);
    echo->buffers =
        mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    echo->memory = malloc((size_t)BUFFERS * BUFFER_BYTES);
    echo->peers = calloc(PEERS_MAX, sizeof *echo->peers);
    echo->free_peers = calloc(PEERS_MAX, sizeof *echo->free_peers);
    echo->dirty = calloc(PEERS_MAX, sizeof *echo->dirty);
    if (echo->buffers == MAP_FAILED || echo->memory == NULL || echo->peers == NULL ||
        echo->free_peers == NULL || echo->dirty == NULL)
        return -ENOMEM;
    registration.ring_addr = (uintptr_t)echo->buffers;
    code = io_uring_register_buf_ring(&echo->ring, &registration, 0);
    if (code != 0)
        return code;
    io_uring_buf_ring_init(echo->buffers);
    for (unsigned i = 0; i < BUFFERS; i++)
        io_uring_buf_ring_add(echo->buffers, echo->memory + (size_t)i * BUFFER_BYTES, BUFFER_BYTES,
                              (unsigned short)i, (int)(BUFFERS - 1), (int)i);
    io_uring_buf_ring_advance(echo->buffers, (int)BUFFERS);
    for (unsigned i = 0; i < PEERS_MAX; i++) {
        echo->peers[i].fd = -1;
        echo->free_peers[i] = PEERS_MAX - 1 - i;
    }
    echo->free_count = PEERS_MAX;
    return 0;
}

int load_echo_uring(const struct load_options *options, int listener)
{
    static struct echo echo;
    int code = set_up(&echo);

    if (code != 0) {
        fprintf(stderr, "tern-load: io_uring: %s\n", strerror(-code));
        return 2;
    }
    echo.listener = listener;
    arm_accept(&echo);
    loop(&echo, options);
    io_uring_queue_exit(&echo.ring);
    for (unsigned i = 0; i < PEERS_MAX; i++) {
        if (echo.peers[i].fd < 0)
            continue;
        close(echo.peers[i].fd);
        free(echo.peers[i].spill.data);
        free(echo.peers[i].filling.data);
        free(echo.peers[i].flying.data);
    }
    munmap(echo.buffers, BUFFERS * sizeof(struct io_uring_buf));
    free(echo.memory);
    free(echo.peers);
    free(echo.free_peers);
    free(echo.dirty);
    return 0;
}
