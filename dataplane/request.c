#include "dataplane/request.h"

#include "dataplane/clock.h"
#include "dataplane/server.h"

#define KNOWN_FLAGS                                                                                \
    (TERN_REQUEST_WAIT | TERN_REQUEST_EXPLAIN | TERN_REQUEST_TRACE | TERN_REQUEST_FRESH |          \
     TERN_REQUEST_DETAIL)

static uint32_t generation_tail(const struct tern_worker *worker)
{
    return worker->adopter.now != NULL ? (uint32_t)worker->adopter.now->view->generation : 0;
}

uint8_t *tern_reply_begin(struct tern_worker *worker, struct tern_connection *connection,
                          const struct tern_frame *request, enum tern_status status,
                          size_t body_bytes)
{
    struct tern_frame frame = {.magic = TERN_WIRE_MAGIC,
                               .op = request->op,
                               .status = (uint8_t)status,
                               .body_length = (uint32_t)body_bytes,
                               .request_id = request->request_id,
                               .tail = generation_tail(worker)};
    uint8_t *out =
        tern_connection_reserve(&worker->pool, connection, TERN_FRAME_HEADER + body_bytes);

    if (out == NULL) {
        tern_counter_add(&worker->board->counters.overloaded, 1);
        tern_worker_close(worker, connection);
        return NULL;
    }
    tern_frame_store(out, frame);
    connection->output_end += (uint32_t)(TERN_FRAME_HEADER + body_bytes);
    tern_worker_touch(worker, connection);
    return out + TERN_FRAME_HEADER;
}

void tern_reply_count(struct tern_worker *worker, enum tern_status status)
{
    struct tern_counters *counters = &worker->board->counters;

    switch (status) {
    case TERN_STATUS_BAD_FRAME:
    case TERN_STATUS_TOO_LARGE:
        tern_counter_add(&counters->bad_frames, 1);
        break;
    case TERN_STATUS_BAD_FIELD:
        tern_counter_add(&counters->bad_fields, 1);
        break;
    case TERN_STATUS_UNSUPPORTED:
        tern_counter_add(&counters->unsupported, 1);
        break;
    case TERN_STATUS_NOT_READY:
        tern_counter_add(&counters->not_ready, 1);
        break;
    case TERN_STATUS_OVERLOADED:
        tern_counter_add(&counters->overloaded, 1);
        break;
    case TERN_STATUS_UNAUTHENTICATED:
        tern_counter_add(&counters->unauthenticated, 1);
        break;
    case TERN_STATUS_CANCELLED:
        tern_counter_add(&counters->cancelled, 1);
        break;
    case TERN_STATUS_DEADLINE:
        tern_counter_add(&counters->deadlines, 1);
        break;
    default:
        break;
    }
}

void tern_reply_status(struct tern_worker *worker, struct tern_connection *connection,
                       const struct tern_frame *request, enum tern_status status,
                       const char *message)
{
    size_t length = strlen(message);
    uint8_t *body;

    tern_reply_count(worker, status);
    body = tern_reply_begin(worker, connection, request, status, length);
    if (body != NULL)
        memcpy(body, message, length);
}

/* What a client may send before its token is seen is a HELLO or a PING, and neither is long. */
static inline uint32_t body_limit(const struct tern_worker *worker,
                                  const struct tern_connection *connection)
{
    return TERN_LIKELY(connection->token != TERN_TOKEN_MISSING) ? worker->max_frame_bytes
                                                                : TERN_HELLO_MAX;
}

static inline int64_t measure(const struct tern_worker *worker,
                              const struct tern_connection *connection, const uint8_t *bytes,
                              size_t length)
{
    uint32_t body_length;

    if (length > 0 && bytes[0] != TERN_WIRE_MAGIC)
        return -(int64_t)TERN_STATUS_BAD_FRAME;
    if (length < TERN_FRAME_HEADER)
        return 0;
    body_length = tern_load_u32(bytes + offsetof(struct tern_frame, body_length));
    if (body_length > body_limit(worker, connection))
        return -(int64_t)TERN_STATUS_TOO_LARGE;
    return (int64_t)TERN_FRAME_HEADER + body_length;
}

int64_t tern_request_measure(const struct tern_worker *worker,
                             const struct tern_connection *connection, const uint8_t *bytes,
                             size_t length)
{
    return measure(worker, connection, bytes, length);
}

void tern_request_refuse(struct tern_worker *worker, struct tern_connection *connection,
                         const uint8_t *bytes, size_t length, enum tern_status status)
{
    /* Where the magic is wrong nothing of the header can be believed: op and id are 0. */
    struct tern_frame frame = {0};
    char message[96];

    tern_worker_decide(worker);
    if (status == TERN_STATUS_TOO_LARGE) {
        assert(length >= TERN_FRAME_HEADER);
        frame = tern_frame_load(bytes);
        snprintf(message, sizeof message, "a body of %u bytes; the limit is %u%s",
                 frame.body_length, body_limit(worker, connection),
                 connection->token == TERN_TOKEN_MISSING ? " before HELLO" : "");
    } else {
        assert(length > 0);
        snprintf(message, sizeof message, "a frame starts with 0x%02x, not with 0x%02x",
                 TERN_WIRE_MAGIC, bytes[0]);
    }
    tern_reply_status(worker, connection, &frame, status, message);
    tern_worker_linger(worker, connection);
}

/* The frame stays and is worked on in slices (batch.c). */
static __attribute__((noinline)) void begin_batch(struct tern_worker *worker,
                                                  struct tern_connection *connection,
                                                  const struct tern_frame *frame, unsigned count)
{
    uint32_t body_offset = frame->flags & TERN_REQUEST_TRACE ? TERN_TRACE_BYTES : 0;

    tern_worker_decide(worker);
    connection->waits = TERN_WAIT_BATCH;
    connection->batch = (struct tern_batch){.count = (uint16_t)count,
                                            .arrived_ns = worker->now_ns,
                                            .at = 2,
                                            .body = TERN_FRAME_HEADER + body_offset,
                                            .frame_bytes = TERN_FRAME_HEADER + frame->body_length,
                                            .noticed = TERN_FRAME_HEADER + frame->body_length};
    worker->queued++;
}

/* Where rules may search: whether the frame's items, decoded behind those of the vector, go on in
 * this turn. If not, the frame stays: for another turn's share, or to be worked on in slices. */
static __attribute__((noinline)) bool take_share(struct tern_worker *worker,
                                                 struct tern_connection *connection,
                                                 const struct tern_frame *frame, unsigned count)
{
    const struct tern_rules *rules = worker->adopter.now->view->rules;
    struct tern_vector *vector = &worker->vector;
    uint64_t cost_ns = 0;

    for (unsigned i = 0; i < count; i++)
        cost_ns += tern_rules_search_cost_ns(rules, tern_vector_slot(vector, vector->count + i));
    if (cost_ns == 0)
        return true;
    if (worker->search_left_ns == 0) {
        tern_worker_hold(worker, connection);
        return false;
    }
    if (count > 1 && cost_ns > worker->server->search_turn_ns) {
        begin_batch(worker, connection, frame, count);
        return false;
    }
    vector->search_ns += cost_ns;
    if (vector->search_ns >= worker->search_left_ns)
        vector->width = 0;
    return true;
}

/* Decodes a DECIDE of at most a vector's width into the vector. Returns false when its frame stays:
 * it has to wait for a share of searches, or has become a batch. */
static bool decide_frame(struct tern_worker *worker, struct tern_connection *connection,
                         const struct tern_frame *frame, const uint8_t *body, size_t length,
                         unsigned count)
{
    struct tern_vector *vector = &worker->vector;
    struct tern_decode_failure failure;
    struct tern_group *group;
    size_t at = 2, space_used;
    uint64_t unknown = 0;

    if (vector->count + count > TERN_VECTOR_WIDTH)
        tern_worker_decide(worker);
    if (vector->count == 0)
        vector->started_ns = tern_worker_clock(worker);
    space_used = vector->space_used;
    for (unsigned i = 0; i < count; i++) {
        size_t item_bytes;
        int ignored;

        if (TERN_UNLIKELY(length - at < 2 ||
                          (item_bytes = tern_load_u16(body + at)) > length - at - 2)) {
            tern_worker_decide(worker);
            tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME,
                              "an item reaches past the body");
            return true;
        }
        ignored = tern_worker_decode_item(worker, connection, body + at + 2, item_bytes, i,
                                          tern_vector_slot(vector, vector->count + i), &space_used,
                                          &failure);
        if (TERN_UNLIKELY(ignored < 0)) {
            tern_worker_decide(worker);
            tern_reply_status(worker, connection, frame, failure.status, failure.message);
            return true;
        }
        unknown += (unsigned)ignored;
        at += 2 + item_bytes;
    }
    if (TERN_UNLIKELY(at != length)) {
        tern_worker_decide(worker);
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME,
                          "bytes follow the last item");
        return true;
    }
    if (TERN_UNLIKELY(worker->searches) && !take_share(worker, connection, frame, count))
        return false;
    if (TERN_UNLIKELY(unknown > 0))
        tern_counter_add(&worker->board->counters.unknown_fields, unknown);
    group = &vector->groups[vector->group_count++];
    group->connection = connection;
    group->trace = frame->flags & TERN_REQUEST_TRACE ? body - TERN_TRACE_BYTES : NULL;
    group->request_id = frame->request_id;
    group->flags = frame->flags;
    group->first = (uint8_t)vector->count;
    group->count = (uint8_t)count;
    worker->queued++;
    vector->count += count;
    vector->space_used = space_used;
    if (vector->count >= vector->width)
        tern_worker_decide(worker);
    return true;
}

/* A DECIDE whose flags are in order. Returns false when its frame stays. */
static bool run_decide(struct tern_worker *worker, struct tern_connection *connection,
                       const struct tern_frame *frame, const uint8_t *body, size_t length)
{
    unsigned count = length >= 2 ? tern_load_u16(body) : 0;

    if (TERN_UNLIKELY(count == 0 || count > TERN_ITEMS_MAX)) {
        tern_worker_decide(worker);
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME,
                          length < 2   ? "no item count"
                          : count == 0 ? "no items"
                                       : "more than 4096 items");
        return true;
    }
    if (TERN_UNLIKELY(frame->flags & TERN_REQUEST_EXPLAIN)) {
        tern_worker_decide(worker);
        if (worker->searches && worker->search_left_ns == 0) {
            tern_worker_hold(worker, connection);
            return false;
        }
        tern_query_explain(worker, connection, frame, body, length);
        return true;
    }
    if (TERN_LIKELY(count <= TERN_VECTOR_WIDTH))
        return decide_frame(worker, connection, frame, body, length, count);
    begin_batch(worker, connection, frame, count);
    return false;
}

/* What it may end is with a helper, or is a large batch, which was told when the frame arrived
 * (tern_batch_notice): in its turn no batch is under way any more. */
static void cancel(struct tern_worker *worker, struct tern_connection *connection,
                   const struct tern_frame *frame, const uint8_t *body, size_t length)
{
    if (length != 4 || tern_load_u32(body) == 0) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME,
                          "a CANCEL has the id of a request, not 0");
        return;
    }
    tern_park_cancel(worker, connection, tern_load_u32(body));
    if (connection->state != TERN_CONNECTION_CLOSING)
        tern_reply_begin(worker, connection, frame, TERN_STATUS_OK, 0);
}

/* Everything but DECIDE. What waits in the vector came first, so it is answered first. Returns
 * false when the frame stays. */
static bool run_other(struct tern_worker *worker, struct tern_connection *connection,
                      const struct tern_frame *frame, const uint8_t *body, size_t length)
{
    uint8_t *echo;

    tern_worker_decide(worker);
    switch (frame->op) {
    case TERN_OP_PING:
        echo = tern_reply_begin(worker, connection, frame, TERN_STATUS_OK, length);
        if (echo != NULL && length > 0)
            memcpy(echo, body, length);
        break;
    case TERN_OP_HELLO:
        tern_query_hello(worker, connection, frame, body, length);
        break;
    case TERN_OP_LOOKUP:
        tern_query_lookup(worker, connection, frame, body, length);
        break;
    case TERN_OP_DESCRIBE:
        tern_query_describe(worker, connection, frame, body, length);
        break;
    case TERN_OP_SEARCH:
        if (!tern_search_frame(worker, connection, frame, body, length))
            return false;
        tern_counter_add(&worker->board->counters.searches, 1);
        break;
    case TERN_OP_CANCEL:
        cancel(worker, connection, frame, body, length);
        break;
    default:
        tern_reply_status(worker, connection, frame, TERN_STATUS_UNSUPPORTED,
                          frame->op == TERN_OP_FEEDBACK
                              ? "this server does not serve that operation"
                              : "unknown operation");
        break;
    }
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
    uint8_t all = 0;

    for (size_t i = 0; i < length; i++)
        all |= bytes[i];
    return all == 0;
}

/* W3C Trace Context, section 3.2: ids of zeros are invalid. The version does not travel: it is 0.
 */
static const char *check_trace(const uint8_t *context, size_t length)
{
    if (length < TERN_TRACE_BYTES)
        return "the trace context has 25 bytes";
    if (is_zero(context, 16))
        return "the trace id is zero";
    if (is_zero(context + 16, 8))
        return "the parent id of the trace is zero";
    return NULL;
}

/* Runs one complete frame; false when it stays for later. */
static bool run_frame(struct tern_worker *worker, struct tern_connection *connection,
                      const struct tern_frame *frame, const uint8_t *body)
{
    size_t length = frame->body_length, offset = 0;
    bool ready = worker->adopter.now != NULL;

    if (TERN_LIKELY(
            frame->op == TERN_OP_DECIDE && ready && connection->token != TERN_TOKEN_MISSING &&
            frame->status == 0 &&
            (frame->flags & ~(TERN_REQUEST_DETAIL | TERN_REQUEST_FRESH | TERN_REQUEST_WAIT)) == 0))
        return run_decide(worker, connection, frame, body, length);

    tern_worker_decide(worker);
    if (!ready && frame->op != TERN_OP_PING) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_NOT_READY,
                          "no generation is published yet");
        return true;
    }
    if (frame->status != 0) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME,
                          "the status of a request is 0");
        return true;
    }
    if (frame->flags & ~KNOWN_FLAGS) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_UNSUPPORTED,
                          "unknown request flag");
        return true;
    }
    if (connection->token == TERN_TOKEN_MISSING && frame->op != TERN_OP_HELLO &&
        frame->op != TERN_OP_PING) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_UNAUTHENTICATED,
                          "this server wants a HELLO with a token first");
        return true;
    }
    if (frame->flags & TERN_REQUEST_TRACE) {
        const char *complaint = check_trace(body, length);

        if (complaint != NULL) {
            tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME, complaint);
            return true;
        }
        offset = TERN_TRACE_BYTES;
    }
    if (frame->op == TERN_OP_DECIDE)
        return run_decide(worker, connection, frame, body + offset, length - offset);
    return run_other(worker, connection, frame, body + offset, length - offset);
}

size_t tern_request_run(struct tern_worker *worker, struct tern_connection *connection,
                        const uint8_t *bytes, size_t length)
{
    size_t at = 0;
    uint32_t accepted = 0, queued = worker->queued;

    while (at < length && !tern_connection_is_blocked(connection)) {
        int64_t frame_bytes = measure(worker, connection, bytes + at, length - at);
        struct tern_frame frame;

        if (TERN_UNLIKELY(frame_bytes < 0)) {
            tern_request_refuse(worker, connection, bytes + at, length - at,
                                (enum tern_status) - frame_bytes);
            at = length;
            break;
        }
        if (frame_bytes == 0 || (uint64_t)frame_bytes > length - at)
            break;
        frame = tern_frame_load(bytes + at);
        if (!run_frame(worker, connection, &frame, bytes + at + TERN_FRAME_HEADER)) {
            accepted += connection->waits == TERN_WAIT_BATCH;
            break;
        }
        accepted++;
        at += (size_t)frame_bytes;
        if (TERN_UNLIKELY(connection->refused || connection->state == TERN_CONNECTION_CLOSING)) {
            at = length;
            break;
        }
    }
    tern_counter_add(&worker->board->counters.requests, accepted);
    worker->timing.others += accepted - (worker->queued - queued);
    return at;
}
