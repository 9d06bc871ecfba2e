#include "dataplane/park.h"

#include "dataplane/helper.h"
#include "dataplane/request.h"
#include "dataplane/server.h"

int tern_park_open(struct tern_park *park, struct tern_lane *lanes, unsigned lane_count,
                   struct tern_error *error)
{
    size_t count = (size_t)lane_count * TERN_RING_SLOTS;

    *park = (struct tern_park){
        .lanes = lanes, .lane_count = lane_count, .next_deadline_ns = UINT64_MAX};
    if (count == 0)
        return 0;
    park->all = calloc(count, sizeof *park->all);
    if (park->all == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %zu parked requests", count);
    for (size_t i = 0; i < count; i++) {
        park->all[i].next = park->free;
        park->free = &park->all[i];
    }
    return 0;
}

void tern_park_close(struct tern_park *park, struct tern_pool *pool)
{
    for (size_t i = 0; park->all != NULL && i < (size_t)park->lane_count * TERN_RING_SLOTS; i++) {
        tern_pool_give(pool, &park->all[i].body);
        tern_pool_give(pool, &park->all[i].reply);
    }
    free(park->all);
    *park = (struct tern_park){0};
}

struct tern_parked *tern_park_take(struct tern_worker *worker, size_t length, size_t reply_room)
{
    struct tern_park *park = &worker->park;
    struct tern_parked *parked = park->free;
    struct tern_lane *lane = NULL;

    for (unsigned i = 0; i < park->lane_count; i++)
        if (lane == NULL || park->lanes[i].outstanding < lane->outstanding)
            lane = &park->lanes[i];
    if (parked == NULL || lane == NULL || lane->outstanding == TERN_RING_SLOTS)
        return NULL;
    reply_room = tern_max_u64(reply_room, TERN_PARKED_MESSAGE);
    if (tern_pool_take(&worker->pool, length, &parked->body) != 0)
        return NULL;
    if (tern_pool_take(&worker->pool, reply_room, &parked->reply) != 0) {
        tern_pool_give(&worker->pool, &parked->body);
        return NULL;
    }
    park->free = parked->next;
    parked->lane = lane;
    parked->length = (uint32_t)length;
    parked->reply_room = (uint32_t)reply_room;
    return parked;
}

void tern_park_send(struct tern_worker *worker, struct tern_connection *connection,
                    struct tern_parked *parked)
{
    struct tern_park *park = &worker->park;
    struct tern_lane *lane = parked->lane;

    atomic_store_explicit(&parked->abandoned, false, memory_order_relaxed);
    parked->connection = connection;
    parked->previous = NULL;
    parked->next = connection->parked;
    if (parked->next != NULL)
        parked->next->previous = parked;
    connection->parked = parked;
    lane->outstanding++;
    park->outstanding++;
    park->next_deadline_ns = tern_min_u64(park->next_deadline_ns, parked->deadline_ns);
    worker->queued++;                     /* counted where it ends */
    tern_ring_push(&lane->asked, parked); /* P1 */
    tern_helper_wake(&worker->server->helpers[lane - park->lanes]);
}

bool tern_park_has_answers(const struct tern_park *park)
{
    for (unsigned i = 0; i < park->lane_count; i++)
        if (park->lanes[i].outstanding > 0 && !tern_ring_is_empty(&park->lanes[i].answered))
            return true;
    return false;
}

/* Takes it off its connection; from here on nobody waits for it. */
static void unlink_parked(struct tern_parked *parked)
{
    if (parked->previous != NULL)
        parked->previous->next = parked->next;
    else
        parked->connection->parked = parked->next;
    if (parked->next != NULL)
        parked->next->previous = parked->previous;
    parked->connection = NULL;
    atomic_store_explicit(&parked->abandoned, true, memory_order_relaxed);
}

/* Answers for a request that has not come back. */
static void give_up(struct tern_worker *worker, struct tern_parked *parked, enum tern_status status,
                    const char *message)
{
    struct tern_connection *connection = parked->connection;

    unlink_parked(parked);
    worker->timing.others++;
    tern_reply_status(worker, connection, &parked->frame, status, message);
}

static void reply(struct tern_worker *worker, struct tern_parked *parked)
{
    struct tern_connection *connection = parked->connection;
    uint8_t *out;

    unlink_parked(parked);
    tern_reply_count(worker, parked->status);
    out = tern_reply_begin(worker, connection, &parked->frame, parked->status, parked->reply_bytes);
    if (out == NULL)
        return;
    tern_store_u32(out - TERN_FRAME_HEADER + offsetof(struct tern_frame, tail), parked->generation);
    memcpy(out, parked->reply.data, parked->reply_bytes);
}

static void keep_time(struct tern_worker *worker, const struct tern_parked *parked)
{
    struct tern_histogram *stages = worker->board->stages;

    if (worker->timing.off)
        return;
    tern_histogram_add(&stages[parked->queue_stage], parked->begun_ns - parked->arrived_ns, 1);
    tern_histogram_add(&stages[parked->work_stage], parked->ended_ns - parked->begun_ns, 1);
    /* A turn begins before what it collects has ended, if only just. */
    tern_histogram_add(&stages[TERN_STAGE_other],
                       tern_max_u64(worker->now_ns, parked->ended_ns) - parked->arrived_ns, 1);
}

void tern_park_collect(struct tern_worker *worker)
{
    struct tern_park *park = &worker->park;

    for (unsigned i = 0; i < park->lane_count; i++) {
        struct tern_lane *lane = &park->lanes[i];
        struct tern_parked *parked;

        while (lane->outstanding > 0 && (parked = tern_ring_pop(&lane->answered)) != NULL) {
            lane->outstanding--;
            park->outstanding--;
            if (parked->connection != NULL) {
                keep_time(worker, parked);
                reply(worker, parked);
            }
            tern_pool_give(&worker->pool, &parked->body);
            tern_pool_give(&worker->pool, &parked->reply);
            parked->next = park->free;
            park->free = parked;
        }
    }
    if (park->outstanding == 0)
        park->next_deadline_ns = UINT64_MAX;
}

void tern_park_expire(struct tern_worker *worker)
{
    struct tern_park *park = &worker->park;

    if (TERN_LIKELY(worker->now_ns < park->next_deadline_ns))
        return;
    park->next_deadline_ns = UINT64_MAX;
    for (size_t i = 0; i < (size_t)park->lane_count * TERN_RING_SLOTS; i++) {
        struct tern_parked *parked = &park->all[i];

        if (parked->connection == NULL)
            continue;
        if (worker->now_ns >= parked->deadline_ns)
            give_up(worker, parked, TERN_STATUS_DEADLINE, "the deadline has passed");
        else
            park->next_deadline_ns = tern_min_u64(park->next_deadline_ns, parked->deadline_ns);
    }
}

bool tern_park_cancel(struct tern_worker *worker, struct tern_connection *connection, uint32_t id)
{
    for (struct tern_parked *parked = connection->parked; parked != NULL; parked = parked->next) {
        if (parked->frame.request_id == id) {
            give_up(worker, parked, TERN_STATUS_CANCELLED, "cancelled");
            return true;
        }
    }
    return false;
}

void tern_park_forget(struct tern_worker *worker, struct tern_connection *connection)
{
    (void)worker;
    while (connection->parked != NULL)
        unlink_parked(connection->parked);
}

void tern_parked_fail(struct tern_parked *parked, enum tern_status status, const char *message)
{
    size_t length = tern_min_u64(strlen(message), parked->reply_room);

    parked->status = (uint8_t)status;
    parked->reply_bytes = (uint32_t)length;
    memcpy(parked->reply.data, message, length);
}
