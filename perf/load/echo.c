/* A server that sends every frame back unchanged: what is left of a decision server when the
 * deciding is taken out. The ceiling that ternd is measured against, with either backend. */
#include "perf/load/idle.h"
#include "perf/load/run.h"
#include "perf/load/socket.h"
#include "shared/wire.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define IN_BYTES   (256u << 10)
#define OUT_BYTES  (4u << 20)
_Static_assert(OUT_BYTES >= TERN_FRAME_HEADER + TERN_MAX_FRAME_DEFAULT, "a frame fits");

struct peer {
    int fd;
    uint8_t *in, *out;
    size_t in_end, out_start, out_end;
    size_t in_capacity;
    struct peer *next, **link; /* all of them, to be freed at the end */
};

static void peer_free(struct peer *peer)
{
    *peer->link = peer->next;
    if (peer->next != NULL)
        peer->next->link = peer->link;
    close(peer->fd);
    free(peer->in);
    free(peer->out);
    free(peer);
}

static struct peer *peer_new(int fd, struct peer **all)
{
    struct peer *peer = calloc(1, sizeof *peer);

    if (peer == NULL)
        return NULL;
    peer->fd = fd;
    peer->in_capacity = IN_BYTES + TERN_FRAME_HEADER + TERN_MAX_FRAME_DEFAULT;
    peer->in = malloc(peer->in_capacity);
    peer->out = malloc(OUT_BYTES);
    if (peer->in == NULL || peer->out == NULL) {
        free(peer->in);
        free(peer->out);
        free(peer);
        return NULL;
    }
    peer->next = *all;
    peer->link = all;
    if (peer->next != NULL)
        peer->next->link = &peer->next;
    *all = peer;
    return peer;
}

/* Moves whole frames from in to out as far as there is room. False: these are no frames. */
static bool echo_frames(struct peer *peer)
{
    size_t at = 0;

    while (peer->in_end - at >= TERN_FRAME_HEADER) {
        struct tern_frame frame = tern_frame_load(peer->in + at);
        size_t whole = TERN_FRAME_HEADER + (size_t)frame.body_length;

        if (frame.magic != TERN_WIRE_MAGIC || frame.body_length > TERN_MAX_FRAME_DEFAULT)
            return false;
        if (whole > peer->in_end - at || whole > OUT_BYTES - peer->out_end)
            break;
        memcpy(peer->out + peer->out_end, peer->in + at, whole);
        peer->out_end += whole;
        at += whole;
    }
    memmove(peer->in, peer->in + at, peer->in_end - at);
    peer->in_end -= at;
    return true;
}

static bool peer_send(struct peer *peer)
{
    while (peer->out_start < peer->out_end) {
        ssize_t sent = send(peer->fd, peer->out + peer->out_start, peer->out_end - peer->out_start,
                            MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        peer->out_start += (size_t)sent;
    }
    peer->out_start = peer->out_end = 0;
    return true;
}

/* False: the connection is over. */
static bool serve(struct peer *peer, unsigned events)
{
    bool full = peer->out_end > 0;

    if ((events & EPOLLOUT) != 0 && !peer_send(peer))
        return false;
    if (full && peer->out_end == 0 && !(echo_frames(peer) && peer_send(peer)))
        return false;
    if (peer->out_end == 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        ssize_t got =
            recv(peer->fd, peer->in + peer->in_end, peer->in_capacity - peer->in_end, MSG_DONTWAIT);

        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (got > 0) {
            peer->in_end += (size_t)got;
            return echo_frames(peer) && peer_send(peer);
        }
    }
    return true;
}

static void accept_all(int epoll, int listener, struct peer **all)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct peer *peer;
        struct epoll_event event = {.events = EPOLLIN};

        if (fd < 0)
            return;
        peer = peer_new(fd, all);
        if (peer == NULL) {
            close(fd);
            continue;
        }
        event.data.ptr = peer;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            peer_free(peer);
    }
}

int load_echo_epoll(const struct load_options *options, int listener)
{
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS_MAX];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct peer *all = NULL;
    uint64_t idle_turns = 0;

    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) {
        perror("tern-load: epoll");
        return 2;
    }
    while (!load_stopped()) {
        /* An empty epoll_wait costs about a third of a microsecond: near enough for a spin budget.
         */
        bool spin = options->spin || idle_turns < options->spin_us * 3ull;
        int count = epoll_wait(epoll, events, EVENTS_MAX, spin ? 0 : 100);

        idle_turns = count > 0 ? 0 : idle_turns + 1;
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = peer};

            if (peer == NULL) {
                accept_all(epoll, listener, &all);
                continue;
            }
            if (!serve(peer, events[i].events)) {
                peer_free(peer);
                continue;
            }
            if (peer->out_end > 0)
                wanted.events = EPOLLOUT; /* and no reading: back-pressure */
            if (peer->out_end > 0 || (events[i].events & EPOLLOUT) != 0)
                epoll_ctl(epoll, EPOLL_CTL_MOD, peer->fd, &wanted);
        }
    }
    while (all != NULL)
        peer_free(all);
    close(epoll);
    return 0;
}

int load_echo(const struct load_options *options)
{
    struct tern_error error = {0};
    char actual[128];
    int listener;
    int code = load_pin(options->cpu, &error);

    prctl(PR_SET_TIMERSLACK, 1);
    load_descriptors_raise();
    if (code == 0)
        code = load_socket_listen(options->listen, &listener, actual, &error);
    if (code != 0) {
        fprintf(stderr, "tern-load: %s\n", error.message);
        return 2;
    }
    load_stop_on_signals();
    printf("ready %s\n", actual);
    fflush(stdout);
    code = options->backend == LOAD_URING ? load_echo_uring(options, listener)
                                          : load_echo_epoll(options, listener);
    close(listener);
    if (strncmp(actual, "unix://", 7) == 0)
        unlink(actual + 7);
    return code;
}
