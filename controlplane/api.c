#include "controlplane/api.h"

#include "controlplane/log.h"
#include "controlplane/message.h"
#include "controlplane/reply.h"
#include "controlplane/requests.h"
#include "controlplane/writes.h"
#include "shared/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES    65536u             /* per turn and connection: nobody fills a turn alone */
#define HALF_FRAME_US (10 * 1000000ull)  /* a request once begun arrives within */
#define STALLED_US    (30 * 1000000ull)  /* a reply is taken within */
#define IDLE_US       (300 * 1000000ull) /* without a request or a job */
#define UNSENT_MOST   65536u /* replies that were not taken, beyond which no request is looked at */

struct connection {
    int fd; /* −1: free */
    struct tern_asker asker;
    struct tern_buffer in;
    size_t sent;        /* of asker.out */
    uint64_t active_us; /* the last byte in or out */
};

struct tern_api {
    struct tern_api_options options;
    int listener;
    uint64_t next_id;
    struct connection connections[TERN_API_CONNECTIONS_MAX];
};

int tern_api_open(const struct tern_api_options *options, struct tern_api **out,
                  struct tern_error *error)
{
    struct tern_api *api = calloc(1, sizeof *api);
    int rc;

    if (api == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    api->options = *options;
    for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX; i++)
        api->connections[i].fd = -1;
    rc = tern_directory_listen(options->directories->run_dir, TERN_CONTROL_SOCKET, &api->listener,
                               error);
    if (rc != 0) {
        free(api);
        return rc;
    }
    *out = api;
    return 0;
}

static void drop(struct tern_api *api, struct connection *connection)
{
    if (connection->fd < 0)
        return;
    if (connection->asker.pending)
        tern_builder_cancel(api->options.builder, connection->asker.id);
    if (connection->asker.writes != 0)
        tern_collections_forget(api->options.collections, connection->asker.id);
    close(connection->fd);
    tern_buffer_free(&connection->in);
    tern_buffer_free(&connection->asker.out);
    *connection = (struct connection){.fd = -1};
}

void tern_api_close(struct tern_api *api)
{
    char path[PATH_MAX];

    if (api == NULL)
        return;
    for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX; i++)
        drop(api, &api->connections[i]);
    snprintf(path, sizeof path, "%s/%s", api->options.directories->run_dir, TERN_CONTROL_SOCKET);
    unlink(path);
    close(api->listener);
    free(api);
}

/* A connection that is not taken gets its reason, as far as it fits into the socket at once. */
static void refuse(int fd, int code, const char *message)
{
    struct tern_buffer out = {0};

    if (tern_reply_failure(&out, code, message) == 0 &&
        send(fd, out.data, out.length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        tern_control_log(TERN_LOG_WARNING, "a refused client of the API did not hear why: %s",
                         strerror(errno));
    tern_buffer_free(&out);
    close(fd);
}

static void accept_one(struct tern_api *api)
{
    int fd = accept4(api->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct connection *connection = NULL;
    struct ucred peer;
    socklen_t length = sizeof peer;
    char message[128];

    if (fd < 0)
        return;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
        close(fd);
        return;
    }
    if (peer.uid != geteuid() && peer.uid != 0) {
        snprintf(message, sizeof message,
                 "uid %u may not control this tern: only uid %u and root may", (unsigned)peer.uid,
                 (unsigned)geteuid());
        tern_control_log(TERN_LOG_WARNING, "%s (pid %d)", message, (int)peer.pid);
        refuse(fd, TERN_EACCES, message);
        return;
    }
    for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX && connection == NULL; i++)
        if (api->connections[i].fd < 0)
            connection = &api->connections[i];
    if (connection == NULL) {
        snprintf(message, sizeof message, "the control API serves at most %u connections",
                 TERN_API_CONNECTIONS_MAX);
        refuse(fd, TERN_EBUSY, message);
        return;
    }
    *connection = (struct connection){
        .fd = fd,
        .asker = {.id = ++api->next_id, .uid = (uint32_t)peer.uid, .pid = (uint32_t)peer.pid},
        .active_us = tern_clock_now_us(),
    };
}

/* Answers the requests that have arrived whole, in their order, as long as the client takes the
 * replies. Anything that fails here ends the connection. */
static int take_requests(struct tern_api *api, struct connection *connection)
{
    while (!connection->asker.pending && !connection->asker.closing && !connection->asker.held &&
           connection->asker.writes < TERN_COLLECTION_OWNER_MAX &&
           connection->asker.out.length < UNSENT_MOST) {
        size_t frame;
        int rc = tern_message_peek(connection->in.data, connection->in.length, &frame);

        if (rc == TERN_EAGAIN)
            return 0;
        if (rc == TERN_ELIMIT) {
            connection->asker.closing = true;
            return tern_reply_failure(&connection->asker.out, rc,
                                      "a request is longer than 16 MiB");
        }
        rc = tern_requests_answer(&api->options, &connection->asker,
                                  connection->in.data + TERN_MESSAGE_HEADER,
                                  frame - TERN_MESSAGE_HEADER);
        if (rc == TERN_EAGAIN)
            return 0;
        if (rc != 0)
            return rc;
        connection->in.length -= frame;
        memmove(connection->in.data, connection->in.data + frame, connection->in.length);
    }
    return 0;
}

static int receive(struct connection *connection)
{
    ssize_t bytes;

    /* One whole frame is enough to hold; the rest waits in the socket. */
    if (connection->in.length > TERN_MESSAGE_MAX + TERN_MESSAGE_HEADER)
        return 0;
    if (tern_buffer_reserve(&connection->in, READ_BYTES) != 0)
        return TERN_ENOMEM;
    bytes = recv(connection->fd, connection->in.data + connection->in.length, READ_BYTES, 0);
    if (bytes == 0)
        return TERN_ECLOSED;
    if (bytes < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : TERN_ECLOSED;
    connection->in.length += (size_t)bytes;
    connection->active_us = tern_clock_now_us();
    return 0;
}

static int transmit(struct connection *connection)
{
    while (connection->sent < connection->asker.out.length) {
        ssize_t bytes = send(connection->fd, connection->asker.out.data + connection->sent,
                             connection->asker.out.length - connection->sent, MSG_NOSIGNAL);

        if (bytes < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : TERN_ECLOSED;
        connection->sent += (size_t)bytes;
        connection->active_us = tern_clock_now_us();
    }
    connection->sent = 0;
    connection->asker.out.length = 0;
    return connection->asker.closing ? TERN_ECLOSED : 0;
}

static bool is_overdue(const struct connection *connection, uint64_t now_us)
{
    uint64_t quiet_us = now_us - connection->active_us;

    if (connection->asker.out.length != 0)
        return quiet_us > STALLED_US;
    if (connection->asker.pending || connection->asker.held || connection->asker.writes != 0)
        return false;
    return quiet_us > (connection->in.length != 0 ? HALF_FRAME_US : IDLE_US);
}

static struct connection *find(struct tern_api *api, uint64_t id)
{
    for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX; i++)
        if (api->connections[i].fd >= 0 && api->connections[i].asker.id == id)
            return &api->connections[i];
    return NULL;
}

/* Hands results and progress of the builder to whoever waits for them. Progress is skipped while an
 * earlier piece is unsent: a slow reader gets fewer, not late ones. */
static void relay_builder(struct tern_api *api)
{
    struct tern_builder_state state;
    struct tern_job *job;

    while ((job = tern_builder_collect(api->options.builder)) != NULL) {
        struct connection *connection = find(api, job->owner);

        if (connection != NULL) {
            connection->asker.pending = false;
            if (tern_reply_job(&connection->asker.out, job) != 0)
                drop(api, connection);
        }
        tern_job_free(job);
    }
    tern_builder_state(api->options.builder, &state);
    for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX; i++) {
        struct connection *connection = &api->connections[i];

        if (connection->fd < 0 || !connection->asker.pending || connection->asker.out.length != 0 ||
            connection->asker.sequence == state.sequence)
            continue;
        connection->asker.sequence = state.sequence;
        if (tern_reply_progress(&connection->asker.out, &state,
                                state.owner != connection->asker.id) != 0)
            drop(api, connection);
    }
}

/* Hands acknowledgements to whoever waits for them. Each makes room for a write that was held. */
static void relay_writes(struct tern_api *api)
{
    struct tern_collection_ack ack;
    bool any = false;

    while (api->options.collections != NULL &&
           tern_collections_collect(api->options.collections, &ack)) {
        struct connection *connection = find(api, ack.owner);

        any = true;
        if (connection == NULL)
            continue;
        connection->asker.writes--;
        if (tern_writes_acknowledge(&connection->asker.out, &ack) != 0)
            drop(api, connection);
    }
    for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX && any; i++)
        api->connections[i].asker.held = false;
}

static void turn(struct tern_api *api, struct connection *connection, short events)
{
    int rc = 0;

    if (events & (POLLERR | POLLNVAL))
        rc = TERN_ECLOSED;
    if (rc == 0 && (events & (POLLIN | POLLHUP)))
        rc = receive(connection);
    if (rc == 0)
        rc = take_requests(api, connection);
    if (rc == 0)
        rc = transmit(connection);
    /* What was sent may have made room for the next request. */
    if (rc == 0)
        rc = take_requests(api, connection);
    if (rc != 0 || is_overdue(connection, tern_clock_now_us()))
        drop(api, connection);
}

/* Tells the watchdog, when it is due, that this loop turns. Returns how long the loop may sleep. */
static int keep_alive(const struct tern_api *api, uint64_t *next_us, int pause_ms)
{
    const struct tern_notify *notify = api->options.notify;
    uint64_t now_us = tern_clock_now_us();
    int left_ms;

    if (notify == NULL || notify->watchdog_us == 0)
        return pause_ms;
    if (now_us >= *next_us) {
        tern_notify_say(notify, "WATCHDOG=1");
        *next_us = now_us + notify->watchdog_us / 3;
    }
    left_ms = (int)((*next_us - now_us) / 1000) + 1;
    return pause_ms < 0 || left_ms < pause_ms ? left_ms : pause_ms;
}

void tern_api_serve(struct tern_api *api, int stop_fd)
{
    enum { STOP, WAKE, LISTENER, FIRST };
    struct pollfd polled[FIRST + TERN_API_CONNECTIONS_MAX] = {
        [STOP] = {.fd = stop_fd, .events = POLLIN},
        [WAKE] = {.fd = api->options.wake_fd, .events = POLLIN},
        [LISTENER] = {.fd = api->listener, .events = POLLIN},
    };
    uint64_t alive_us = 0;

    for (;;) {
        bool any = false;

        for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX; i++) {
            const struct connection *connection = &api->connections[i];

            any |= connection->fd >= 0;
            polled[FIRST + i] = (struct pollfd){
                .fd = connection->fd,
                .events = (short)(POLLIN | (connection->asker.out.length != 0 ? POLLOUT : 0)),
            };
            /* A whole frame is held and cannot be answered yet: reading on would spin. */
            if (connection->in.length > TERN_MESSAGE_MAX + TERN_MESSAGE_HEADER)
                polled[FIRST + i].events &= ~POLLIN;
        }
        if (poll(polled, TERN_COUNT(polled), keep_alive(api, &alive_us, any ? 1000 : -1)) < 0) {
            if (errno == EINTR)
                continue;
            tern_control_log(TERN_LOG_ERROR, "poll: %s", strerror(errno));
            return;
        }
        if (polled[STOP].revents != 0)
            return;
        if (polled[WAKE].revents != 0) {
            uint64_t count;

            if (read(api->options.wake_fd, &count, sizeof count) > 0) {
                relay_builder(api);
                relay_writes(api);
            }
        }
        for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX; i++)
            if (api->connections[i].fd >= 0)
                turn(api, &api->connections[i],
                     polled[FIRST + i].fd == api->connections[i].fd ? polled[FIRST + i].revents
                                                                    : 0);
        if (polled[LISTENER].revents != 0)
            accept_one(api);
    }
}
