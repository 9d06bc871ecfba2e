/* One connection of a run: what is on its way out, what has come in, and which answers it waits
 * for. */
#ifndef TERN_LOAD_CONNECTION_H
#define TERN_LOAD_CONNECTION_H

#include "perf/load/idle.h"
#include "perf/load/meter.h"
#include "perf/load/options.h"
#include "perf/load/source.h"

struct load_slot { /* a request in flight */
    uint64_t intended_ns;
    uint64_t answer; /* of the frames that came so far */
    uint32_t frame;
    bool failed; /* with a status */
};

struct load_connection {
    int fd;         /* −1: down */
    bool wants_out; /* EPOLLOUT is asked for */
    bool dirty;     /* has something to send that this turn appended */
    uint8_t *out, *in;
    size_t out_start, out_end, in_start, in_end;
    struct load_slot *slots;
    uint32_t *free_slots; /* tern and echo: a request's id is its slot's number + 1 */
    uint32_t free_count;
    uint32_t first; /* answers in order: slots are a ring from here */
    uint32_t in_flight;
    uint64_t retry_ns, retry_pause_ns;
};

struct load_run {
    const struct load_options *options;
    const struct load_source *source;
    struct load_meter meter;
    struct load_connection *connections;
    uint64_t *first_answers; /* --check-same: by frame, 0 none yet */
    uint32_t slots_each;
    size_t out_capacity, in_capacity;
    uint32_t next_frame;
    uint64_t in_flight;
    unsigned down; /* connections that are */
    struct load_idle idle;
    uint64_t last_good_ns;
    int epoll;
    bool measuring;
    bool draining;
};

/* Answers carry no id: they come in the order of the requests. */
static inline bool load_in_order(enum load_protocol protocol)
{
    return protocol == LOAD_RESP || protocol == LOAD_MEMCACHED;
}

int load_connection_new(struct load_run *run, struct load_connection *connection);
void load_connection_free(struct load_connection *connection);
/* Connects and joins the run's epoll. */
int load_connection_open(struct load_run *run, struct load_connection *connection,
                         struct tern_error *error);
/* Appends the run's next frame. False when no slot or no room is left. */
bool load_connection_append(struct load_run *run, struct load_connection *connection,
                            uint64_t intended_ns);
/* Sends what the socket takes. False: the connection broke, and what it waited for has failed. */
bool load_connection_send(struct load_run *run, struct load_connection *connection);
/* Reads once and takes every answer. The time of reading is written to `now_ns` when there was
 * something. False as above. */
bool load_connection_receive(struct load_run *run, struct load_connection *connection,
                             uint64_t *now_ns);

#endif
