#include "clients/c/tern_vectors.h"

#include "clients/c/client.h"
#include "clients/c/control.h"
#include "shared/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS   10000
#define IN_FLIGHT    8
#define RECEIVE_STEP 16384

struct tern_vectors {
    int fd; /* −1: broken */
    char *name, *address;
    struct tern_vectors_options options;
    struct tern_vectors_collection collection;
    uint64_t ticket; /* of the last batch */
    unsigned in_flight;
    struct tern_control_buffer out, in;
};

static uint64_t deadline_of(const struct tern_vectors *writer)
{
    return tern_clock_now_ns() + (uint64_t)writer->options.timeout_ms * 1000000;
}

static int grow(struct tern_control_buffer *in)
{
    uint8_t *data;

    if (in->capacity - in->length >= RECEIVE_STEP)
        return 0;
    data = realloc(in->data, in->capacity + 2 * RECEIVE_STEP);
    if (data == NULL)
        return TERN_ENOMEM;
    in->data = data;
    in->capacity += 2 * RECEIVE_STEP;
    return 0;
}

/* Closes. Acknowledgements that have come before are still collected. */
static int break_off(struct tern_vectors *writer, int code, const char *why,
                     struct tern_error *error)
{
    ssize_t bytes = writer->fd >= 0 && code == TERN_ECLOSED;

    while (bytes > 0 && grow(&writer->in) == 0) {
        bytes = recv(writer->fd, writer->in.data + writer->in.length, RECEIVE_STEP, MSG_DONTWAIT);
        if (bytes > 0)
            writer->in.length += (size_t)bytes;
    }
    if (writer->fd >= 0)
        close(writer->fd);
    writer->fd = -1;
    return tern_error_set(error, code, "%s: %s", writer->address, why);
}

/* Waits until the socket is ready; 0 or TERN_ETIMEDOUT. */
static int await(const struct tern_vectors *writer, short events, uint64_t deadline_ns)
{
    for (;;) {
        struct pollfd polled = {.fd = writer->fd, .events = events};
        uint64_t now_ns = tern_clock_now_ns();
        int ready;

        if (now_ns >= deadline_ns)
            return TERN_ETIMEDOUT;
        ready = poll(&polled, 1, (int)((deadline_ns - now_ns) / 1000000 + 1));
        if (ready > 0)
            return 0;
    }
}

/* Acknowledgements are small and few enough to wait in the socket, so that sending never has to
 * read. */
static int push(struct tern_vectors *writer, struct tern_error *error)
{
    uint64_t deadline_ns = deadline_of(writer);
    size_t sent = 0;

    while (sent < writer->out.length) {
        ssize_t bytes = send(writer->fd, writer->out.data + sent, writer->out.length - sent,
                             MSG_NOSIGNAL | MSG_DONTWAIT);

        if (bytes >= 0) {
            sent += (size_t)bytes;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return break_off(writer, TERN_ECLOSED, "tern-control has closed the connection", error);
        if (await(writer, POLLOUT, deadline_ns) != 0)
            /* Half a frame cannot be taken back. */
            return break_off(writer, TERN_ETIMEDOUT, "tern-control takes nothing", error);
    }
    writer->out.length = 0;
    return 0;
}

static int receive(struct tern_vectors *writer, uint64_t deadline_ns, struct tern_error *error)
{
    ssize_t bytes;

    if (grow(&writer->in) != 0)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    for (;;) {
        bytes = recv(writer->fd, writer->in.data + writer->in.length, RECEIVE_STEP, MSG_DONTWAIT);
        if (bytes > 0) {
            writer->in.length += (size_t)bytes;
            return 0;
        }
        if (bytes == 0 || (errno != EAGAIN && errno != EINTR))
            return break_off(
                writer, TERN_ECLOSED,
                "tern-control went away; what was not acknowledged may or may not have "
                "been written",
                error);
        if (await(writer, POLLIN, deadline_ns) != 0)
            return tern_error_set(error, TERN_ETIMEDOUT, "%s: no answer within %u ms",
                                  writer->address, (unsigned)writer->options.timeout_ms);
    }
}

/* The next reply that is one of ours. */
static int hear(struct tern_vectors *writer, struct tern_control_reply *reply,
                struct tern_error *error)
{
    uint64_t deadline_ns = deadline_of(writer);
    struct tern_control_buffer *in = &writer->in;
    size_t frame;
    int rc;

    do {
        while ((rc = tern_control_peek(in->data, in->length, &frame)) == TERN_EAGAIN) {
            if (writer->fd < 0)
                return tern_error_set(
                    error, TERN_ECLOSED,
                    "%s: tern-control went away; what was not acknowledged may or "
                    "may not have been written",
                    writer->address);
            rc = receive(writer, deadline_ns, error);
            if (rc != 0)
                return rc;
        }
        if (rc == 0)
            rc = tern_control_read(in->data + 4, frame - 4, reply);
        if (rc != 0)
            return break_off(writer, TERN_ECORRUPT, "the other side does not speak tern", error);
        in->length -= frame;
        memmove(in->data, in->data + frame, in->length);
    } while (reply->kind == TERN_CONTROL_OTHER);
    return 0;
}

static int ask(struct tern_vectors *writer, struct tern_error *error)
{
    struct tern_control_reply reply;
    int rc = tern_control_put_question(&writer->out, writer->name);

    if (rc != 0)
        return tern_error_set(error, rc, "out of memory");
    rc = push(writer, error);
    /* It may have said why before it closed. */
    if (rc != 0 && rc != TERN_ECLOSED)
        return rc;
    if (rc == 0)
        rc = hear(writer, &reply, error);
    if (rc != 0)
        return rc;
    if (reply.kind == TERN_CONTROL_FAILURE)
        return tern_error_set(error, reply.ack.rc, "%s", reply.ack.message);
    if (reply.kind != TERN_CONTROL_COLLECTION)
        return break_off(writer, TERN_ECORRUPT, "the other side does not speak tern", error);
    writer->collection = reply.collection;
    return 0;
}

int tern_vectors_open(const char *address, const char *collection,
                      const struct tern_vectors_options *options, struct tern_vectors **out,
                      struct tern_error *error)
{
    struct tern_vectors *writer = calloc(1, sizeof *writer);
    int rc = 0;

    if (writer == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    writer->fd = -1;
    if (options != NULL)
        writer->options = *options;
    if (writer->options.timeout_ms == 0)
        writer->options.timeout_ms = TIMEOUT_MS;
    if (writer->options.in_flight == 0)
        writer->options.in_flight = IN_FLIGHT;
    writer->name = strdup(collection);
    writer->address = strdup(address);
    if (writer->name == NULL || writer->address == NULL)
        rc = tern_error_set(error, TERN_ENOMEM, "out of memory");
    else if (writer->options.in_flight > TERN_VECTORS_FLIGHT_MAX || strlen(collection) > 255)
        rc = tern_error_set(error, TERN_EINVAL, "%s",
                            strlen(collection) > 255 ? "a collection's name is at most 63 bytes"
                                                     : "in_flight is at most 32");
    else if (strncmp(address, "unix://", 7) != 0)
        rc = tern_error_set(error, TERN_EINVAL,
                            "address \"%s\": expected unix:///RUN_DIR/control.sock", address);
    if (rc == 0)
        rc = tern_client_dial(address, deadline_of(writer), &writer->fd, error);
    if (rc == 0)
        rc = ask(writer, error);
    if (rc != 0) {
        tern_vectors_close(writer);
        return rc;
    }
    *out = writer;
    return 0;
}

void tern_vectors_close(struct tern_vectors *writer)
{
    if (writer == NULL)
        return;
    if (writer->fd >= 0)
        close(writer->fd);
    free(writer->out.data);
    free(writer->in.data);
    free(writer->name);
    free(writer->address);
    free(writer);
}

const struct tern_vectors_collection *tern_vectors_collection(const struct tern_vectors *writer)
{
    return &writer->collection;
}

static int check_batch(const struct tern_vectors *writer, unsigned count, struct tern_error *error)
{
    if (writer->fd < 0)
        return tern_error_set(error, TERN_ECLOSED, "%s: the connection is broken", writer->address);
    if (count == 0 || count > TERN_VECTORS_BATCH_MAX)
        return tern_error_set(error, TERN_ELIMIT, "a batch has 1 to %u vectors or ids, not %u",
                              TERN_VECTORS_BATCH_MAX, count);
    if (writer->in_flight >= writer->options.in_flight)
        return tern_error_set(error, TERN_EAGAIN, "%u batches are not collected yet",
                              writer->in_flight);
    return 0;
}

/* `rc`: whether there is a frame to send. */
static int send_batch(struct tern_vectors *writer, int rc, uint64_t *ticket,
                      struct tern_error *error)
{
    if (rc == TERN_ELIMIT)
        return tern_error_set(error, rc, "the batch is larger than 8 MiB; send fewer at once");
    if (rc != 0)
        return tern_error_set(error, rc, "out of memory");
    writer->ticket++;
    rc = push(writer, error);
    if (rc != 0)
        return rc;
    writer->in_flight++;
    if (ticket != NULL)
        *ticket = writer->ticket;
    return 0;
}

int tern_vectors_upsert(struct tern_vectors *writer, const struct tern_vectors_item *items,
                        unsigned count, uint64_t *ticket, struct tern_error *error)
{
    int rc = check_batch(writer, count, error);

    if (rc != 0)
        return rc;
    rc = tern_control_put_upsert(&writer->out, &writer->collection, writer->name,
                                 writer->ticket + 1, items, count);
    return send_batch(writer, rc, ticket, error);
}

int tern_vectors_delete(struct tern_vectors *writer, const uint64_t *ids, unsigned count,
                        uint64_t *ticket, struct tern_error *error)
{
    int rc = check_batch(writer, count, error);

    if (rc != 0)
        return rc;
    rc = tern_control_put_delete(&writer->out, writer->name, writer->ticket + 1, ids, count);
    return send_batch(writer, rc, ticket, error);
}

int tern_vectors_collect(struct tern_vectors *writer, struct tern_vectors_ack *ack,
                         struct tern_error *error)
{
    struct tern_control_reply reply;
    int rc;

    if (writer->in_flight == 0)
        return tern_error_set(error, TERN_ENOENT, "nothing is in flight");
    rc = hear(writer, &reply, error);
    if (rc != 0)
        return rc;
    if (reply.kind == TERN_CONTROL_FAILURE)
        return break_off(writer, reply.ack.rc != 0 ? reply.ack.rc : TERN_ECORRUPT,
                         reply.ack.message, error);
    if (reply.kind != TERN_CONTROL_ACKNOWLEDGEMENT)
        return break_off(writer, TERN_ECORRUPT, "the other side does not speak tern", error);
    writer->in_flight--;
    *ack = reply.ack;
    return 0;
}

bool tern_vectors_waiting(const struct tern_vectors *writer)
{
    size_t frame;

    return writer->in_flight != 0 &&
           tern_control_peek(writer->in.data, writer->in.length, &frame) == 0;
}

unsigned tern_vectors_in_flight(const struct tern_vectors *writer)
{
    return writer->in_flight;
}

int tern_vectors_fd(const struct tern_vectors *writer)
{
    return writer->fd;
}
