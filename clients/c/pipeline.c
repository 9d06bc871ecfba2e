/* Requests in flight: a fixed set of slots, replies scattered to the callers' arrays as they
 * arrive. */
#include "clients/c/client.h"

static void list_append(struct tern_client *client, struct tern_client_slot *slot)
{
    uint16_t index = (uint16_t)(slot - client->slots);

    slot->next = TERN_CLIENT_NONE;
    slot->previous = client->done_last;
    if (client->done_last == TERN_CLIENT_NONE)
        client->done_first = index;
    else
        client->slots[client->done_last].next = index;
    client->done_last = index;
}

static void list_remove(struct tern_client *client, struct tern_client_slot *slot)
{
    if (slot->previous == TERN_CLIENT_NONE)
        client->done_first = slot->next;
    else
        client->slots[slot->previous].next = slot->next;
    if (slot->next == TERN_CLIENT_NONE)
        client->done_last = slot->previous;
    else
        client->slots[slot->next].previous = slot->previous;
}

int tern_client_slots_new(struct tern_client *client)
{
    client->slots = calloc(client->options.pipeline, sizeof *client->slots);
    if (client->slots == NULL)
        return TERN_ENOMEM;
    for (unsigned i = 0; i < client->options.pipeline; i++)
        client->slots[i].next =
            i + 1 < client->options.pipeline ? (uint16_t)(i + 1) : TERN_CLIENT_NONE;
    client->free_first = 0;
    client->done_first = client->done_last = TERN_CLIENT_NONE;
    return 0;
}

struct tern_client_slot *tern_client_slot_take(struct tern_client *client)
{
    struct tern_client_slot *slot;
    uint16_t index = client->free_first;

    if (index == TERN_CLIENT_NONE)
        return NULL;
    slot = &client->slots[index];
    client->free_first = slot->next;
    client->in_flight++;
    /* Id 0 is the server's own, so the use count starts at 1 and skips 0 when it wraps. */
    slot->uses = (slot->uses + 1) & (UINT32_MAX >> TERN_CLIENT_SLOT_BITS);
    if (slot->uses == 0)
        slot->uses = 1;
    slot->id = slot->uses << TERN_CLIENT_SLOT_BITS | index;
    slot->done = false;
    slot->detail = false;
    slot->status = 0;
    slot->result = 0;
    slot->count = slot->remaining = 0;
    slot->decisions = NULL;
    slot->message[0] = '\0';
    return slot;
}

struct tern_client_slot *tern_client_slot_find(struct tern_client *client, uint32_t id)
{
    uint32_t index = id & (TERN_CLIENT_SLOTS_MAX - 1);

    if (id == 0 || index >= client->options.pipeline || client->slots[index].id != id)
        return NULL;
    return &client->slots[index];
}

void tern_client_slot_free(struct tern_client *client, struct tern_client_slot *slot)
{
    if (slot->done)
        list_remove(client, slot);
    slot->id = 0;
    slot->decisions = NULL;
    slot->next = client->free_first;
    client->free_first = (uint16_t)(slot - client->slots);
    client->in_flight--;
}

static void finish(struct tern_client *client, struct tern_client_slot *slot)
{
    slot->done = true;
    list_append(client, slot);
}

void tern_client_slot_fail(struct tern_client *client, struct tern_client_slot *slot, int code,
                           const char *message, size_t length)
{
    if (length >= sizeof slot->message)
        length = sizeof slot->message - 1;
    memcpy(slot->message, message, length);
    slot->message[length] = '\0';
    slot->result = code;
    finish(client, slot);
}

static int code_of_status(unsigned status)
{
    switch (status) {
    case TERN_STATUS_BAD_FRAME:
    case TERN_STATUS_BAD_FIELD:
        return TERN_EINVAL;
    case TERN_STATUS_UNSUPPORTED:
        return TERN_ENOTSUP;
    case TERN_STATUS_TOO_LARGE:
        return TERN_ELIMIT;
    case TERN_STATUS_UNAUTHENTICATED:
        return TERN_EACCES;
    case TERN_STATUS_OVERLOADED:
        return TERN_EBUSY;
    case TERN_STATUS_NOT_READY:
        return TERN_EAGAIN;
    case TERN_STATUS_DEADLINE:
        return TERN_ETIMEDOUT;
    case TERN_STATUS_NOT_FOUND:
        return TERN_ENOENT;
    case TERN_STATUS_CANCELLED:
        return TERN_ECANCELLED;
    default:
        return TERN_EIO;
    }
}

/* Scatters one frame's verdicts. Trailing bytes are a later version's. */
static int scatter(struct tern_client_slot *slot, struct tern_frame frame, const uint8_t *body)
{
    size_t each =
        sizeof(struct tern_decide_item) + (slot->detail ? sizeof(struct tern_decide_detail) : 0);
    struct tern_decide_reply head;

    if (frame.body_length < sizeof head)
        return TERN_ECORRUPT;
    memcpy(&head, body, sizeof head);
    if (head.count > slot->remaining || head.count * each > frame.body_length - sizeof head)
        return TERN_ECORRUPT;
    body += sizeof head;
    for (unsigned i = 0; i < head.count; i++, body += each) {
        struct tern_decide_item item;
        struct tern_decision *decision;

        memcpy(&item, body, sizeof item);
        if (item.item >= slot->count || slot->decisions[item.item].answered)
            return TERN_ECORRUPT;
        decision = &slot->decisions[item.item];
        decision->verdict = (struct tern_verdict){
            .action = item.action,
            .tier = item.tier,
            .flags = item.flags,
            .max_age_s = item.max_age_s,
            .rule = item.rule,
            .score = item.score,
        };
        decision->generation = frame.tail;
        if (slot->detail) {
            struct tern_decide_detail detail;

            memcpy(&detail, body + sizeof item, sizeof detail);
            decision->decision_key = detail.decision_key;
            decision->age_ms = detail.age_ms;
            decision->verdict.cause = detail.cause;
        }
        decision->answered = true;
    }
    slot->remaining = (uint16_t)(slot->remaining - head.count);
    return 0;
}

static void gather(struct tern_client *client, struct tern_frame frame, const uint8_t *body)
{
    struct tern_client_buffer *reply = &client->reply;

    if (frame.body_length > reply->capacity - reply->end) {
        client->reply_overflow = true;
        return;
    }
    memcpy(reply->data + reply->end, body, frame.body_length);
    reply->end += frame.body_length;
}

int tern_client_deliver(struct tern_client *client, struct tern_frame frame, const uint8_t *body)
{
    struct tern_client_slot *slot;
    int code = 0;

    if (frame.request_id == 0) {
        /* The server's own. An error without a request is followed by its close. */
        if (frame.op == TERN_OP_GOAWAY)
            client->going_away = true;
        return 0;
    }
    slot = tern_client_slot_find(client, frame.request_id);
    if (slot == NULL || slot->done)
        return 0; /* given up by its caller */
    if (frame.status != TERN_STATUS_OK) {
        slot->status = frame.status;
        tern_client_slot_fail(client, slot, code_of_status(frame.status), (const char *)body,
                              frame.body_length);
        return 0;
    }
    if (slot->decisions != NULL)
        code = scatter(slot, frame, body);
    else
        gather(client, frame, body);
    if (code != 0 || (frame.flags & TERN_REPLY_MORE) != 0)
        return code;
    if (slot->remaining != 0)
        return TERN_ECORRUPT;
    client->reply_generation = frame.tail;
    finish(client, slot);
    return 0;
}

/* Reports a slot that is done and frees it. */
static int settle(struct tern_client *client, struct tern_client_slot *slot,
                  struct tern_error *error)
{
    int result = slot->result;

    if (result != 0) {
        client->status = slot->status;
        if (slot->status != 0)
            tern_error_set(error, result, "%s: %s", tern_status_name(slot->status), slot->message);
        else
            tern_error_set(error, result, "%s: %s", client->address, slot->message);
    }
    tern_client_slot_free(client, slot);
    return result;
}

int tern_client_await(struct tern_client *client, struct tern_client_slot *slot,
                      uint64_t deadline_ns, struct tern_error *error)
{
    while (!slot->done) {
        int code = tern_client_push(client, deadline_ns, error);

        if (code == 0 && !slot->done)
            code = tern_client_pull(client, deadline_ns, error);
        if (code != 0 && !slot->done) {
            tern_client_slot_free(client, slot);
            return code;
        }
    }
    return settle(client, slot, error);
}

int tern_client_start(struct tern_client *client, const struct tern_request *request,
                      const struct tern_call *call, struct tern_decision *decisions,
                      uint64_t deadline_ns, struct tern_client_slot **started,
                      struct tern_error *error)
{
    static const struct tern_call plain;
    struct tern_client_slot *slot;
    struct tern_frame frame;
    int code;

    if (call == NULL)
        call = &plain;
    if ((call->flags & ~(TERN_REQUEST_WAIT | TERN_REQUEST_FRESH | TERN_REQUEST_DETAIL)) != 0)
        return tern_error_set(error, TERN_EINVAL, "flags 0x%x: only WAIT, FRESH and DETAIL",
                              call->flags);
    code = tern_client_ensure(client, deadline_ns, error);
    if (code != 0)
        return code;
    code = tern_request_check(request, &client->schema, error);
    if (code != 0)
        return code;
    slot = tern_client_slot_take(client);
    if (slot == NULL)
        return tern_error_set(error, TERN_EAGAIN, "%u requests are in flight: collect one first",
                              client->in_flight);
    frame = (struct tern_frame){
        .magic = TERN_WIRE_MAGIC,
        .op = TERN_OP_DECIDE,
        .flags = call->flags | (call->trace != NULL ? TERN_REQUEST_TRACE : 0),
        .body_length = request->length,
        .request_id = slot->id,
        .tail = call->deadline_us,
    };
    slot->detail = (call->flags & TERN_REQUEST_DETAIL) != 0;
    slot->count = slot->remaining = request->count;
    slot->decisions = decisions;
    for (unsigned i = 0; i < request->count; i++)
        decisions[i] = (struct tern_decision){0};
    code = tern_client_put(client, frame, call->trace, request->data, deadline_ns, error);
    if (code != 0) {
        tern_client_slot_free(client, slot);
        return code;
    }
    *started = slot;
    return 0;
}

int tern_client_submit(struct tern_client *client, const struct tern_request *request,
                       const struct tern_call *call, struct tern_decision *decisions, uint32_t *id,
                       struct tern_error *error)
{
    struct tern_client_slot *slot = NULL;
    int code = tern_client_start(client, request, call, decisions, tern_client_deadline_ns(client),
                                 &slot, error);

    if (code == 0)
        *id = slot->id;
    return code;
}

int tern_client_flush(struct tern_client *client, struct tern_error *error)
{
    if (client->fd < 0)
        return 0; /* what was in flight is done, with the reason */
    return tern_client_push(client, tern_client_deadline_ns(client), error);
}

int tern_client_collect(struct tern_client *client, uint32_t id, struct tern_error *error)
{
    struct tern_client_slot *slot = tern_client_slot_find(client, id);

    if (slot == NULL)
        return tern_error_set(error, TERN_ENOENT, "request %u is not in flight", id);
    return tern_client_await(client, slot, tern_client_deadline_ns(client), error);
}

int tern_client_collect_any(struct tern_client *client, uint32_t *id, struct tern_error *error)
{
    uint64_t deadline_ns = tern_client_deadline_ns(client);
    struct tern_client_slot *slot;

    if (client->in_flight == 0)
        return tern_error_set(error, TERN_ENOENT, "nothing is in flight");
    while (client->done_first == TERN_CLIENT_NONE) {
        int code = tern_client_push(client, deadline_ns, error);

        if (code == 0 && client->done_first == TERN_CLIENT_NONE)
            code = tern_client_pull(client, deadline_ns, error);
        if (code != 0 && client->done_first == TERN_CLIENT_NONE) {
            *id = 0;
            return code;
        }
    }
    slot = &client->slots[client->done_first];
    *id = slot->id;
    return settle(client, slot, error);
}

int tern_client_cancel(struct tern_client *client, uint32_t id, struct tern_error *error)
{
    const struct tern_frame frame = {.magic = TERN_WIRE_MAGIC,
                                     .op = TERN_OP_CANCEL,
                                     .body_length = 4,
                                     .request_id = TERN_CLIENT_CANCEL_ID};
    const struct tern_client_slot *slot = tern_client_slot_find(client, id);
    uint64_t deadline_ns = tern_client_deadline_ns(client);
    uint8_t body[4];
    int code;

    if (slot == NULL)
        return tern_error_set(error, TERN_ENOENT, "request %u is not in flight", id);
    if (slot->done)
        return 0;
    tern_store_u32(body, id);
    code = tern_client_put(client, frame, NULL, body, deadline_ns, error);
    return code != 0 ? code : tern_client_push(client, deadline_ns, error);
}

unsigned tern_client_in_flight(const struct tern_client *client)
{
    return client->in_flight;
}
