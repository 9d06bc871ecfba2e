#include "perf/load/connection.h"

#include "perf/load/answer.h"
#include "perf/load/socket.h"
#include "shared/wire.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_FIRST_NS 1000000ull
#define RETRY_LAST_NS  50000000ull

int load_connection_new(struct load_run *run, struct load_connection *connection)
{
    connection->fd = -1;
    connection->out = malloc(run->out_capacity);
    connection->in = malloc(run->in_capacity);
    connection->slots = calloc(run->slots_each, sizeof *connection->slots);
    connection->free_slots = calloc(run->slots_each, sizeof *connection->free_slots);
    if (connection->out == NULL || connection->in == NULL || connection->slots == NULL ||
        connection->free_slots == NULL)
        return TERN_ENOMEM;
    return 0;
}

void load_connection_free(struct load_connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    free(connection->out);
    free(connection->in);
    free(connection->slots);
    free(connection->free_slots);
}

int load_connection_open(struct load_run *run, struct load_connection *connection,
                         struct tern_error *error)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    int code = load_socket_connect(run->options->target, &connection->fd, error);

    if (code == 0 && run->options->protocol == LOAD_TERN && run->options->token[0] != '\0') {
        code = load_socket_introduce(connection->fd, run->options->token, error);
        if (code != 0) {
            close(connection->fd);
            connection->fd = -1;
        }
    }
    if (code != 0) {
        connection->retry_pause_ns =
            connection->retry_pause_ns == 0
                ? RETRY_FIRST_NS
                : tern_min_u64(connection->retry_pause_ns * 2, RETRY_LAST_NS);
        connection->retry_ns = load_now_ns() + connection->retry_pause_ns;
        return code;
    }
    connection->retry_pause_ns = 0;
    connection->wants_out = false;
    connection->out_start = connection->out_end = 0;
    connection->in_start = connection->in_end = 0;
    connection->first = 0;
    connection->in_flight = 0;
    connection->free_count = run->slots_each;
    for (uint32_t i = 0; i < run->slots_each; i++)
        connection->free_slots[i] = run->slots_each - 1 - i;
    if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        return tern_error_system(error, errno, "epoll");
    run->down--;
    return 0;
}

/* Everything it waited for has failed. It is opened again unless the run is over. */
static bool lose(struct load_run *run, struct load_connection *connection)
{
    close(connection->fd);
    connection->fd = -1;
    connection->retry_ns = 0;
    run->down++;
    run->in_flight -= connection->in_flight;
    run->meter.failed += connection->in_flight;
    connection->in_flight = 0;
    return false;
}

bool load_connection_append(struct load_run *run, struct load_connection *connection,
                            uint64_t intended_ns)
{
    const struct load_span *frame = &run->source->frames[run->next_frame];
    uint8_t *at = connection->out + connection->out_end;
    uint32_t slot;

    if (connection->in_flight == run->slots_each ||
        frame->length > run->out_capacity - connection->out_end)
        return false;
    memcpy(at, run->source->bytes + frame->offset, frame->length);
    if (load_in_order(run->options->protocol)) {
        slot = (connection->first + connection->in_flight) % run->slots_each;
    } else {
        slot = connection->free_slots[--connection->free_count];
        tern_store_u32(at + offsetof(struct tern_frame, request_id), slot + 1);
    }
    connection->slots[slot] =
        (struct load_slot){.intended_ns = intended_ns, .frame = run->next_frame};
    connection->out_end += frame->length;
    connection->in_flight++;
    run->in_flight++;
    run->meter.sent++;
    run->next_frame = run->next_frame + 1 == run->source->count ? 0 : run->next_frame + 1;
    return true;
}

static void ask_for_out(struct load_run *run, struct load_connection *connection, bool wants)
{
    struct epoll_event event = {.events = EPOLLIN | (wants ? (unsigned)EPOLLOUT : 0u),
                                .data.ptr = connection};

    if (connection->wants_out == wants)
        return;
    connection->wants_out = wants;
    epoll_ctl(run->epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

bool load_connection_send(struct load_run *run, struct load_connection *connection)
{
    connection->dirty = false;
    while (connection->out_start < connection->out_end) {
        ssize_t sent =
            send(connection->fd, connection->out + connection->out_start,
                 connection->out_end - connection->out_start, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                return lose(run, connection);
            ask_for_out(run, connection, true);
            return true;
        }
        connection->out_start += (size_t)sent;
        run->meter.bytes_out += run->measuring ? (uint64_t)sent : 0;
    }
    connection->out_start = connection->out_end = 0;
    ask_for_out(run, connection, false);
    return true;
}

bool load_connection_receive(struct load_run *run, struct load_connection *connection,
                             uint64_t *now_ns)
{
    ssize_t got = recv(connection->fd, connection->in + connection->in_end,
                       run->in_capacity - connection->in_end, MSG_DONTWAIT);
    size_t used;

    if (got <= 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        return lose(run, connection);
    }
    *now_ns = load_now_ns();
    connection->in_end += (size_t)got;
    run->meter.bytes_in += run->measuring ? (uint64_t)got : 0;
    if (!load_answers_take(run, connection, *now_ns, &used))
        return lose(run, connection);
    connection->in_start += used;
    if (connection->in_start == connection->in_end) {
        connection->in_start = connection->in_end = 0;
    } else if (connection->in_start > run->in_capacity / 2) {
        memmove(connection->in, connection->in + connection->in_start,
                connection->in_end - connection->in_start);
        connection->in_end -= connection->in_start;
        connection->in_start = 0;
    }
    return true;
}
