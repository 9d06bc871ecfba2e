#include "controlplane/api.h"

#include "controlplane/log.h"
#include "controlplane/message.h"
#include "controlplane/reply.h"
#include "controlplane/writes.h"
#include "shared/clock.h"
#include "shared/proto/tern.pb-c.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES      65536u             /* per turn and connection: nobody fills a turn alone */
#define HALF_FRAME_US   (10 * 1000000ull)  /* a request once begun arrives within */
#define STALLED_US      (30 * 1000000ull)  /* a reply is taken within */
#define IDLE_US         (300 * 1000000ull) /* without a request or a job */
#define UNSENT_MOST     65536u /* replies that were not taken, beyond which no request is looked at */
#define HISTORY_DEFAULT 50u
#define FAILURE_SEARCH  64u /* newest rows among which the last failure is looked for */

struct connection {
    int fd; /* −1: free */
    uint64_t id;
    uint32_t uid, pid;
    struct tern_buffer in, out;
    size_t sent;        /* of `out` */
    bool pending;       /* a job of this connection is queued or runs */
    bool held;          /* its next request is a write that has to wait for others */
    unsigned writes;    /* batches whose acknowledgements are to come */
    bool closing;       /* once `out` is sent */
    uint64_t sequence;  /* of the builder's state last told */
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
    if (connection->pending)
        tern_builder_cancel(api->options.builder, connection->id);
    if (connection->writes != 0)
        tern_collections_forget(api->options.collections, connection->id);
    close(connection->fd);
    tern_buffer_free(&connection->in);
    tern_buffer_free(&connection->out);
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
        .id = ++api->next_id,
        .uid = (uint32_t)peer.uid,
        .pid = (uint32_t)peer.pid,
        .active_us = tern_clock_now_us(),
    };
}

static uint64_t served_generation(struct tern_api *api)
{
    struct tern_pipeline_status status = {0};

    tern_pipeline_status(api->options.pipeline, &status);
    return status.generation;
}

static int answer_status(struct tern_api *api, struct connection *connection)
{
    struct tern_history_query query = {.limit = 1, .live_only = true};
    struct tern_history_row *live = NULL, *recent = NULL;
    struct tern_pipeline_status pipeline = {0};
    struct tern_builder_state builder;
    struct tern_drain_status log;
    unsigned live_count = 0, recent_count = 0;
    struct tern_collection_status collections[2 * TERN_COLLECTIONS_MAX]; /* one beside each */
    struct tern_sources_copy sources = {0};
    struct tern_error error;
    int rc;
    struct tern_reply_status status = {
        .directories = api->options.directories,
        .started_at_us = api->options.started_at_us,
        .pipeline = &pipeline,
        .builder = &builder,
    };

    tern_pipeline_status(api->options.pipeline, &pipeline);
    tern_builder_state(api->options.builder, &builder);
    if (api->options.drain != NULL) {
        tern_drain_status(api->options.drain, &log);
        status.decision_log = &log;
    }
    if (api->options.collections != NULL) {
        status.collection_count =
            tern_collections_status(api->options.collections, collections, TERN_COUNT(collections));
        status.collections = collections;
    }
    /* A status without its history is still worth having. */
    if (tern_store_history(api->options.store, &query, &live, &live_count, &error) != 0)
        tern_control_log(TERN_LOG_ERROR, "%s", error.message);
    else if (live_count != 0)
        status.last_publish = &live[0];
    /* What fails by a timer stands with its source. */
    query = (struct tern_history_query){.limit = FAILURE_SEARCH, .no_refreshes = true};
    if (tern_store_history(api->options.store, &query, &recent, &recent_count, &error) != 0)
        tern_control_log(TERN_LOG_ERROR, "%s", error.message);
    /* A restore only covers a failure; it does not mend it. */
    for (unsigned i = 0; i < recent_count; i++) {
        if (recent[i].state == TERN_HISTORY_FAILED)
            status.last_failure = &recent[i];
        if (recent[i].state == TERN_HISTORY_FAILED ||
            (recent[i].state == TERN_HISTORY_LIVE && recent[i].kind != TERN_HISTORY_RESTORE))
            break;
    }
    status.sources = &sources;
    rc = tern_sources_copy(api->options.sources, &sources);
    if (rc == 0)
        rc = tern_reply_status(&connection->out, &status);
    tern_sources_copy_free(&sources);
    tern_history_free(live, live_count);
    tern_history_free(recent, recent_count);
    return rc;
}

static int answer_history(struct tern_api *api, struct connection *connection,
                          const Tern__Control__HistoryRequest *request)
{
    const struct tern_history_query query = {
        .limit = request->limit != 0 ? request->limit : HISTORY_DEFAULT,
        .generation = request->generation,
        .with_text = request->with_text,
        .live_only = request->live_only,
    };
    struct tern_history_row *rows = NULL;
    struct tern_error error;
    unsigned count = 0;
    int rc = tern_store_history(api->options.store, &query, &rows, &count, &error);

    if (rc != 0)
        return tern_reply_failure(&connection->out, rc, error.message);
    rc = tern_reply_history(&connection->out, rows, count, served_generation(api));
    tern_history_free(rows, count);
    if (rc == TERN_ELIMIT)
        rc = tern_reply_failure(&connection->out, rc, "that much history does not fit one reply");
    return rc;
}

static int submit(struct tern_api *api, struct connection *connection, struct tern_job *job)
{
    char message[128];
    int rc;

    job->owner = connection->id;
    job->uid = connection->uid;
    job->pid = connection->pid;
    rc = tern_builder_submit(api->options.builder, job);
    if (rc == 0) {
        connection->pending = true;
        connection->sequence = 0;
        return 0;
    }
    tern_job_free(job);
    snprintf(message, sizeof message, "busy: %u jobs are waiting already; try again later",
             TERN_JOBS_WAITING_MAX);
    return tern_reply_failure(&connection->out, rc, message);
}

static struct tern_job *new_job(enum tern_job_kind kind, const char *message)
{
    struct tern_job *job = calloc(1, sizeof *job);

    if (job == NULL)
        return NULL;
    job->kind = kind;
    job->message = strdup(message);
    if (job->message == NULL) {
        free(job);
        return NULL;
    }
    return job;
}

static int begin_apply(struct tern_api *api, struct connection *connection,
                       const Tern__Control__ApplyRequest *request)
{
    struct tern_job *job;

    if (request->path[0] != '/')
        return tern_reply_failure(&connection->out, TERN_EINVAL,
                                  "apply needs the absolute path of a configuration");
    job = new_job(TERN_JOB_APPLY, request->message);
    if (job == NULL)
        return TERN_ENOMEM;
    job->dry_run = request->dry_run;
    job->force_change = request->force_change;
    job->new_schema = request->new_schema;
    job->path = strdup(request->path);
    if (job->path == NULL) {
        tern_job_free(job);
        return TERN_ENOMEM;
    }
    return submit(api, connection, job);
}

static int begin_rollback(struct tern_api *api, struct connection *connection,
                          const Tern__Control__RollbackRequest *request)
{
    struct tern_job *job = new_job(TERN_JOB_ROLLBACK, request->message);

    if (job == NULL)
        return TERN_ENOMEM;
    job->generation = request->generation;
    job->rules_only = request->rules_only;
    return submit(api, connection, job);
}

static int begin_resume(struct tern_api *api, struct connection *connection,
                        const Tern__Control__ResumeRequest *request)
{
    struct tern_job *job = new_job(TERN_JOB_RESUME, request->message);

    return job != NULL ? submit(api, connection, job) : TERN_ENOMEM;
}

static int begin_drop(struct tern_api *api, struct connection *connection,
                      const Tern__Control__DropRequest *request)
{
    struct tern_job *job = new_job(TERN_JOB_DROP, request->message);

    if (job == NULL)
        return TERN_ENOMEM;
    job->dry_run = request->count_only;
    job->collection = strdup(request->collection);
    if (job->collection == NULL) {
        tern_job_free(job);
        return TERN_ENOMEM;
    }
    return submit(api, connection, job);
}

static int answer_audit(struct tern_api *api, struct connection *connection,
                        const Tern__Control__AuditRequest *request)
{
    struct tern_audit_row *rows = NULL;
    struct tern_error error;
    unsigned count = 0;
    int rc = tern_store_audits(api->options.store,
                               request->limit != 0 ? request->limit : HISTORY_DEFAULT, &rows,
                               &count, &error);

    if (rc != 0)
        return tern_reply_failure(&connection->out, rc, error.message);
    rc = tern_reply_audit(&connection->out, rows, count);
    tern_audit_free(rows, count);
    if (rc == TERN_ELIMIT)
        rc = tern_reply_failure(&connection->out, rc, "that many records do not fit one reply");
    return rc;
}

/* What became of a write's submission: 0, TERN_EAGAIN when it is not to be taken yet, or an error.
 */
static int submitted(struct connection *connection, int rc)
{
    if (rc == 0)
        connection->writes++;
    connection->held = rc == TERN_EAGAIN;
    return rc == TERN_EREFUSED ? 0 : rc;
}

static int answer(struct tern_api *api, struct connection *connection, const uint8_t *data,
                  size_t length)
{
    struct tern_collections *collections = api->options.collections;
    Tern__Control__Request *request = tern__control__request__unpack(NULL, length, data);
    int rc;

    if (request == NULL) {
        connection->closing = true;
        return tern_reply_failure(&connection->out, TERN_EINVAL,
                                  "this is no request of tern's API");
    }
    switch (request->body_case) {
    case TERN__CONTROL__REQUEST__BODY_APPLY:
        rc = begin_apply(api, connection, request->apply);
        break;
    case TERN__CONTROL__REQUEST__BODY_STATUS:
        rc = answer_status(api, connection);
        break;
    case TERN__CONTROL__REQUEST__BODY_HISTORY:
        rc = answer_history(api, connection, request->history);
        break;
    case TERN__CONTROL__REQUEST__BODY_ROLLBACK:
        rc = begin_rollback(api, connection, request->rollback);
        break;
    case TERN__CONTROL__REQUEST__BODY_RESUME:
        rc = begin_resume(api, connection, request->resume);
        break;
    case TERN__CONTROL__REQUEST__BODY_AUDIT:
        rc = answer_audit(api, connection, request->audit);
        break;
    case TERN__CONTROL__REQUEST__BODY_UPSERT:
        rc = submitted(connection, tern_writes_upsert(collections, connection->id, request->upsert,
                                                      &connection->out));
        break;
    case TERN__CONTROL__REQUEST__BODY_DELETE:
        rc = submitted(connection, tern_writes_delete(collections, connection->id, request->delete_,
                                                      &connection->out));
        break;
    case TERN__CONTROL__REQUEST__BODY_COLLECTION:
        rc = tern_writes_describe(collections, request->collection->name, &connection->out);
        break;
    case TERN__CONTROL__REQUEST__BODY_DROP:
        rc = begin_drop(api, connection, request->drop);
        break;
    case TERN__CONTROL__REQUEST__BODY_VECTOR:
        rc = tern_writes_lookup(collections, request->vector, &connection->out);
        break;
    default:
        rc = tern_reply_failure(&connection->out, TERN_ENOTSUP,
                                "this tern-control does not know that request");
    }
    tern__control__request__free_unpacked(request, NULL);
    return rc;
}

/* Answers the requests that have arrived whole, in their order, as long as the client takes the
 * replies. Anything that fails here ends the connection. */
static int take_requests(struct tern_api *api, struct connection *connection)
{
    while (!connection->pending && !connection->closing && !connection->held &&
           connection->writes < TERN_COLLECTION_OWNER_MAX && connection->out.length < UNSENT_MOST) {
        size_t frame;
        int rc = tern_message_peek(connection->in.data, connection->in.length, &frame);

        if (rc == TERN_EAGAIN)
            return 0;
        if (rc == TERN_ELIMIT) {
            connection->closing = true;
            return tern_reply_failure(&connection->out, rc, "a request is longer than 16 MiB");
        }
        rc = answer(api, connection, connection->in.data + TERN_MESSAGE_HEADER,
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
    while (connection->sent < connection->out.length) {
        ssize_t bytes = send(connection->fd, connection->out.data + connection->sent,
                             connection->out.length - connection->sent, MSG_NOSIGNAL);

        if (bytes < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : TERN_ECLOSED;
        connection->sent += (size_t)bytes;
        connection->active_us = tern_clock_now_us();
    }
    connection->sent = 0;
    connection->out.length = 0;
    return connection->closing ? TERN_ECLOSED : 0;
}

static bool is_overdue(const struct connection *connection, uint64_t now_us)
{
    uint64_t quiet_us = now_us - connection->active_us;

    if (connection->out.length != 0)
        return quiet_us > STALLED_US;
    if (connection->pending || connection->held || connection->writes != 0)
        return false;
    return quiet_us > (connection->in.length != 0 ? HALF_FRAME_US : IDLE_US);
}

static struct connection *find(struct tern_api *api, uint64_t id)
{
    for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX; i++)
        if (api->connections[i].fd >= 0 && api->connections[i].id == id)
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
            connection->pending = false;
            if (tern_reply_job(&connection->out, job) != 0)
                drop(api, connection);
        }
        tern_job_free(job);
    }
    tern_builder_state(api->options.builder, &state);
    for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX; i++) {
        struct connection *connection = &api->connections[i];

        if (connection->fd < 0 || !connection->pending || connection->out.length != 0 ||
            connection->sequence == state.sequence)
            continue;
        connection->sequence = state.sequence;
        if (tern_reply_progress(&connection->out, &state, state.owner != connection->id) != 0)
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
        connection->writes--;
        if (tern_writes_acknowledge(&connection->out, &ack) != 0)
            drop(api, connection);
    }
    for (unsigned i = 0; i < TERN_API_CONNECTIONS_MAX && any; i++)
        api->connections[i].held = false;
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
                .events = (short)(POLLIN | (connection->out.length != 0 ? POLLOUT : 0)),
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
