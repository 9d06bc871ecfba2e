/* Bytes out and in. One rule keeps two full pipes from waiting for each other: whoever waits to
 * send also reads. */
#include "clients/c/client.h"
#include "shared/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

int tern_client_buffer_grow(struct tern_client_buffer *buffer, size_t capacity)
{
    uint8_t *data;

    if (capacity <= buffer->capacity)
        return 0;
    data = realloc(buffer->data, capacity);
    if (data == NULL)
        return TERN_ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int tern_client_break(struct tern_client *client, int code, const char *why)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->going_away = false;
    client->out.start = client->out.end = 0;
    client->in.start = client->in.end = 0;
    for (unsigned i = 0; i < client->options.pipeline; i++) {
        struct tern_client_slot *slot = &client->slots[i];

        if (slot->id != 0 && !slot->done)
            tern_client_slot_fail(client, slot, code, why, strlen(why));
    }
    return code;
}

static int break_with(struct tern_client *client, int code, const char *why,
                      struct tern_error *error)
{
    tern_error_set(error, code, "%s: %s", client->address, why);
    return tern_client_break(client, code, why);
}

/* Takes every whole frame; moves the rest of a split one to the front when the end is near. */
static int take_frames(struct tern_client *client, struct tern_error *error)
{
    struct tern_client_buffer *in = &client->in;

    while (in->end - in->start >= TERN_FRAME_HEADER) {
        struct tern_frame frame = tern_frame_load(in->data + in->start);
        size_t whole = TERN_FRAME_HEADER + (size_t)frame.body_length;

        if (frame.magic != TERN_WIRE_MAGIC)
            return break_with(client, TERN_ECORRUPT, "the other side does not speak tern", error);
        if (whole > in->capacity)
            return break_with(client, TERN_ECORRUPT, "a reply is over the frame limit", error);
        if (in->end - in->start < whole) {
            if (in->start + whole > in->capacity) {
                memmove(in->data, in->data + in->start, in->end - in->start);
                in->end -= in->start;
                in->start = 0;
            }
            return 0;
        }
        in->start += whole; /* before delivery: a break resets the buffer */
        if (tern_client_deliver(client, frame, in->data + in->start - frame.body_length) != 0)
            return break_with(client, TERN_ECORRUPT, "a reply is malformed", error);
    }
    if (in->start == in->end) {
        in->start = in->end = 0;
    } else if (in->capacity - in->start < TERN_FRAME_HEADER) {
        memmove(in->data, in->data + in->start, in->end - in->start);
        in->end -= in->start;
        in->start = 0;
    }
    return 0;
}

/* Reads once. TERN_EAGAIN when nothing is there. */
static int fill(struct tern_client *client, struct tern_error *error)
{
    struct tern_client_buffer *in = &client->in;

    for (;;) {
        ssize_t got = recv(client->fd, in->data + in->end, in->capacity - in->end, MSG_DONTWAIT);

        if (got > 0) {
            in->end += (size_t)got;
            client->active_ns = tern_clock_now_ns();
            return take_frames(client, error);
        }
        if (got == 0)
            return break_with(client, TERN_ECLOSED, "the server closed the connection", error);
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return TERN_EAGAIN;
        if (errno != EINTR)
            return break_with(client, TERN_ECLOSED, strerror(errno), error);
    }
}

/* 0 when one of `events` may have come, TERN_ETIMEDOUT. */
static int wait_for(struct tern_client *client, short events, uint64_t deadline_ns, short *came)
{
    for (;;) {
        struct pollfd pollfd = {.fd = client->fd, .events = events};
        uint64_t now = tern_clock_now_ns();
        struct timespec timeout;
        int ready;

        if (now >= deadline_ns)
            return TERN_ETIMEDOUT;
        timeout.tv_sec = (time_t)((deadline_ns - now) / 1000000000u);
        timeout.tv_nsec = (long)((deadline_ns - now) % 1000000000u);
        ready = ppoll(&pollfd, 1, &timeout, NULL);
        if (ready > 0) {
            *came = pollfd.revents;
            return 0;
        }
    }
}

int tern_client_push(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error)
{
    struct tern_client_buffer *out = &client->out;

    while (out->start < out->end) {
        ssize_t sent = send(client->fd, out->data + out->start, out->end - out->start,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        short came = 0;

        if (sent > 0) {
            out->start += (size_t)sent;
            continue;
        }
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            return break_with(client, TERN_ECLOSED, strerror(errno), error);
        /* A frame may be half sent, so a connection that does not take the rest is lost. */
        if (wait_for(client, POLLIN | POLLOUT, deadline_ns, &came) != 0)
            return break_with(client, TERN_ETIMEDOUT, "the server does not read", error);
        if ((came & (POLLIN | POLLHUP | POLLERR)) != 0) {
            int code = fill(client, error);

            if (code != 0 && code != TERN_EAGAIN)
                return code;
        }
    }
    out->start = out->end = 0;
    client->active_ns = tern_clock_now_ns();
    return 0;
}

int tern_client_put(struct tern_client *client, struct tern_frame frame, const uint8_t *trace,
                    const void *body, uint64_t deadline_ns, struct tern_error *error)
{
    struct tern_client_buffer *out = &client->out;
    size_t trace_length = trace == NULL ? 0 : TERN_TRACE_BYTES;
    size_t body_length = frame.body_length;
    uint8_t *at;

    if (body_length + trace_length > client->schema.max_frame_bytes)
        return tern_error_set(error, TERN_ELIMIT,
                              "the request has %zu bytes, the server takes at most %u",
                              body_length + trace_length, client->schema.max_frame_bytes);
    if (TERN_FRAME_HEADER + trace_length + body_length > out->capacity - out->end) {
        int code = tern_client_push(client, deadline_ns, error);

        if (code != 0)
            return code;
    }
    frame.body_length = (uint32_t)(trace_length + body_length);
    at = out->data + out->end;
    tern_frame_store(at, frame);
    at += TERN_FRAME_HEADER;
    if (trace_length != 0)
        memcpy(at, trace, trace_length);
    if (body_length != 0)
        memcpy(at + trace_length, body, body_length);
    out->end += TERN_FRAME_HEADER + trace_length + body_length;
    return 0;
}

int tern_client_pull(struct tern_client *client, uint64_t deadline_ns, struct tern_error *error)
{
    short came;
    int code;

    if (client->options.spin_us != 0) {
        uint64_t until = tern_clock_now_ns() + client->options.spin_us * 1000ull;

        until = tern_min_u64(until, deadline_ns);
        do {
            code = fill(client, error);
            if (code != TERN_EAGAIN)
                return code;
            __builtin_ia32_pause();
        } while (tern_clock_now_ns() < until);
    }
    do {
        if (wait_for(client, POLLIN, deadline_ns, &came) != 0)
            return tern_error_set(error, TERN_ETIMEDOUT, "%s: no reply in time", client->address);
        code = fill(client, error);
    } while (code == TERN_EAGAIN);
    return code;
}

int tern_client_poll(struct tern_client *client, struct tern_error *error)
{
    int code = fill(client, error);

    return code == TERN_EAGAIN ? 0 : code;
}
