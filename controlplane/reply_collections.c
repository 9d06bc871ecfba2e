/* Collections of vectors in messages of the control API. */
#include "controlplane/message.h"
#include "controlplane/reply.h"

static const char *change_name(enum tern_collection_change change)
{
    static const char *const names[] = {[TERN_COLLECTION_SAME] = "same",
                                        [TERN_COLLECTION_ADJUSTED] = "adjusted",
                                        [TERN_COLLECTION_ADDED] = "added",
                                        [TERN_COLLECTION_REBUILT] = "rebuilt"};

    return names[change];
}

int tern_reply_collection_results(const struct tern_apply_result *result,
                                  Tern__Control__CollectionResult **items,
                                  Tern__Control__CollectionResult ***list)
{
    *items = calloc(result->collection_count + 1u, sizeof **items);
    *list = calloc(result->collection_count + 1u, sizeof **list);
    if (*items == NULL || *list == NULL)
        return TERN_ENOMEM;
    for (unsigned i = 0; i < result->collection_count; i++) {
        const struct tern_apply_collection *from = &result->collections[i];
        Tern__Control__CollectionResult *to = &(*items)[i];

        tern__control__collection_result__init(to);
        to->name = tern_message_text(from->name);
        to->change = tern_message_text(change_name(from->change));
        to->capacity = from->capacity;
        to->reserved_bytes = from->reserved_bytes;
        to->vectors = from->vectors;
        to->build_ms = from->build_ms;
        to->error = tern_message_text(from->error);
        (*list)[i] = to;
    }
    return 0;
}

static void fill_status(Tern__Control__CollectionStatus *to,
                        const struct tern_collection_status *from)
{
    tern__control__collection_status__init(to);
    to->name = tern_message_text(from->name);
    to->id = from->id;
    to->served = from->served;
    to->filling = from->filling;
    to->done = from->done;
    to->total = from->total;
    to->rate = from->rate;
    if (from->filling && from->rate > 0 && from->total > from->done)
        to->left_ms = (uint64_t)((double)(from->total - from->done) * 1000 / from->rate);
    to->live = from->live;
    to->deleted = from->deleted;
    to->tail = from->tail;
    to->capacity = from->capacity;
    to->bytes = from->bytes;
    to->payload_bytes = from->payload_bytes;
    to->stored_seq = from->stored_seq;
    to->applied_seq = from->applied_seq;
    to->writes_waiting = from->writes_waiting;
    to->commit_p99_us = from->commit_p99_us;
    to->ack_p99_us = from->ack_p99_us;
    to->skipped = from->skipped;
    to->error = tern_message_text(from->error);
}

int tern_reply_collection_statuses(const struct tern_collection_status *statuses, unsigned count,
                                   Tern__Control__CollectionStatus **items,
                                   Tern__Control__CollectionStatus ***list)
{
    *items = calloc(count + 1u, sizeof **items);
    *list = calloc(count + 1u, sizeof **list);
    if (*items == NULL || *list == NULL)
        return TERN_ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        fill_status(&(*items)[i], &statuses[i]);
        (*list)[i] = &(*items)[i];
    }
    return 0;
}
