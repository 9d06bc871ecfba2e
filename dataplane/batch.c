/* A DECIDE of more items than a vector, or whose searches may take more than a turn's share, is
 * worked on a slice a turn, so that nobody else waits for it. Its frame stays in the connection's
 * kept input; every slice answers with a frame of its own, all but the last flagged MORE.
 * Everything is validated before anything is decided. */
#include "dataplane/request.h"

#include "dataplane/clock.h"
#include "dataplane/server.h"

#define SLICE_ITEMS_MAX 1024u /* bounds a reply frame to 32 KiB with DETAIL */

static void refuse(struct tern_worker *worker, struct tern_connection *connection,
                   const struct tern_frame *frame, enum tern_status status, const char *message)
{
    connection->waits = TERN_WAIT_NONE;
    worker->timing.others++;
    tern_reply_status(worker, connection, frame, status, message);
}

/* Decodes up to a vector of items into the slots, at least one, fewer when their searches may take
 * `search_ns`. Returns how many, or TERN_EINVAL with `failure` filled in. */
static int decode_some(struct tern_worker *worker, struct tern_connection *connection,
                       const uint8_t *body, size_t length, uint64_t search_ns,
                       struct tern_decode_failure *failure)
{
    struct tern_batch *batch = &connection->batch;
    struct tern_vector *vector = &worker->vector;
    uint64_t cost_ns = 0;
    size_t space_used = 0;
    int done = 0;

    vector->started_ns = tern_worker_clock(worker);
    while (done < (int)TERN_VECTOR_WIDTH && batch->item < batch->count &&
           (done == 0 || cost_ns < search_ns)) {
        size_t item_bytes;
        int ignored;

        if (length - batch->at < 2 ||
            (item_bytes = tern_load_u16(body + batch->at)) > length - batch->at - 2) {
            failure->status = TERN_STATUS_BAD_FRAME;
            snprintf(failure->message, sizeof failure->message, "item %u reaches past the body",
                     batch->item);
            return TERN_EINVAL;
        }
        ignored = tern_worker_decode_item(worker, connection, body + batch->at + 2, item_bytes,
                                          batch->item, tern_vector_slot(vector, (unsigned)done),
                                          &space_used, failure);
        if (ignored < 0)
            return TERN_EINVAL;
        if (!batch->validated && ignored > 0)
            tern_counter_add(&worker->board->counters.unknown_fields, (unsigned)ignored);
        batch->at += (uint32_t)(2 + item_bytes);
        batch->item++;
        if (worker->searches)
            cost_ns += tern_rules_search_cost_ns(worker->adopter.now->view->rules,
                                                 tern_vector_slot(vector, (unsigned)done));
        done++;
    }
    return done;
}

static void validate_slice(struct tern_worker *worker, struct tern_connection *connection,
                           const struct tern_frame *frame, const uint8_t *body, size_t length,
                           uint64_t until_ns)
{
    struct tern_batch *batch = &connection->batch;
    struct tern_decode_failure failure;
    uint64_t begun_ns = tern_worker_clock(worker);

    do {
        if (decode_some(worker, connection, body, length, UINT64_MAX, &failure) < 0) {
            refuse(worker, connection, frame, failure.status, failure.message);
            return;
        }
    } while (batch->item < batch->count && tern_clock_now_ns() < until_ns);
    batch->decode_ns += tern_worker_clock(worker) - begun_ns;
    if (batch->item < batch->count)
        return;
    if (batch->at != length) {
        refuse(worker, connection, frame, TERN_STATUS_BAD_FRAME, "bytes follow the last item");
        return;
    }
    batch->validated = true;
    batch->item = 0;
    batch->at = 2;
}

static void decide_slice(struct tern_worker *worker, struct tern_connection *connection,
                         const struct tern_frame *frame, const uint8_t *body, size_t length,
                         uint64_t until_ns)
{
    struct tern_batch *batch = &connection->batch;
    size_t item_bytes = frame->flags & TERN_REQUEST_DETAIL ? 32 : 16;
    unsigned most = batch->count - batch->item, in_frame = 0;
    uint32_t start = connection->output_end;
    struct tern_decide_reply reply = {0};
    struct tern_vector *vector = &worker->vector;
    struct tern_decode_failure failure;
    struct tern_frame header;
    uint64_t ended_ns = 0;
    uint8_t *out;
    int done;

    if (most > SLICE_ITEMS_MAX)
        most = SLICE_ITEMS_MAX;
    out = tern_reply_begin(worker, connection, frame, TERN_STATUS_OK,
                           sizeof reply + most * item_bytes);
    if (out == NULL)
        return;
    do {
        unsigned first = batch->item;

        done =
            decode_some(worker, connection, body, length, worker->server->search_turn_ns, &failure);
        if (done < 0)
            break;
        tern_worker_decide_slots(worker, (unsigned)done, first, frame->request_id, frame->flags,
                                 frame->flags & TERN_REQUEST_TRACE ? body - TERN_TRACE_BYTES : NULL,
                                 out + sizeof reply + in_frame * item_bytes);
        in_frame += (unsigned)done;
        batch->decode_ns += vector->decoded_ns - vector->started_ns;
        batch->tier1_ns += vector->decided_ns - vector->decoded_ns;
        ended_ns = tern_worker_clock(worker);
        batch->encode_ns += ended_ns - vector->decided_ns;
    } while (batch->item < batch->count && in_frame + TERN_VECTOR_WIDTH <= most &&
             tern_clock_now_ns() < until_ns);

    if (batch->item == batch->count && done >= 0) {
        connection->waits = TERN_WAIT_NONE;
        tern_timing_add_batch(&worker->timing, worker->board->stages, batch->arrived_ns, ended_ns,
                              batch->decode_ns, batch->tier1_ns, batch->encode_ns);
    }
    if (in_frame == 0) {
        connection->output_end = start;
    } else {
        reply.count = (uint16_t)in_frame;
        memcpy(out, &reply, sizeof reply);
        header = tern_frame_load(out - TERN_FRAME_HEADER);
        header.body_length = (uint32_t)(sizeof reply + in_frame * item_bytes);
        header.flags = connection->waits == TERN_WAIT_BATCH ? TERN_REPLY_MORE : 0;
        tern_frame_store(out - TERN_FRAME_HEADER, header);
        connection->output_end = start + TERN_FRAME_HEADER + header.body_length;
    }
    /* A generation adopted between two slices may refuse what the one before found valid (a smaller
     * `max`, unknown fields): the refusal is then the last frame. */
    if (done < 0)
        refuse(worker, connection, frame, failure.status, failure.message);
}

void tern_batch_notice(struct tern_connection *connection)
{
    struct tern_batch *batch = &connection->batch;
    const uint8_t *bytes = connection->input.data + connection->input_start;
    size_t unread = tern_connection_unread(connection);

    /* Every frame is looked at once, whatever comes in how many pieces. */
    while (!batch->cancelled && unread >= (size_t)batch->noticed + TERN_FRAME_HEADER) {
        struct tern_frame frame = tern_frame_load(bytes + batch->noticed);
        size_t whole = TERN_FRAME_HEADER + (size_t)frame.body_length;

        if (frame.magic != TERN_WIRE_MAGIC || unread - batch->noticed < whole)
            return; /* refused in its turn, or not complete */
        batch->cancelled = frame.op == TERN_OP_CANCEL && frame.flags == 0 && frame.status == 0 &&
                           frame.body_length == 4 &&
                           tern_load_u32(bytes + batch->noticed + TERN_FRAME_HEADER) ==
                               tern_frame_load(bytes).request_id;
        batch->noticed += (uint32_t)whole;
    }
}

bool tern_batch_run(struct tern_worker *worker, struct tern_connection *connection,
                    uint64_t until_ns)
{
    struct tern_batch *batch = &connection->batch;
    const uint8_t *bytes = connection->input.data + connection->input_start;
    struct tern_frame frame = tern_frame_load(bytes);
    const uint8_t *body = bytes + batch->body;
    size_t length = TERN_FRAME_HEADER + (size_t)frame.body_length - batch->body;

    assert(connection->waits == TERN_WAIT_BATCH && worker->vector.count == 0);
    if (batch->cancelled)
        refuse(worker, connection, &frame, TERN_STATUS_CANCELLED, "cancelled");
    else if (!batch->validated)
        validate_slice(worker, connection, &frame, body, length, until_ns);
    else
        decide_slice(worker, connection, &frame, body, length, until_ns);
    if (connection->state == TERN_CONNECTION_CLOSING)
        return true;
    if (connection->waits == TERN_WAIT_BATCH)
        return false;
    tern_connection_forget(&worker->pool, connection, batch->frame_bytes);
    return true;
}
