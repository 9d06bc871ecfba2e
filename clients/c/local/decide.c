/* Requests to decisions, as dataplane/request.c and dataplane/batch.c do it for frames: decoded and
 * validated as a whole by the same decoder, decided in vectors by the same evaluator. */
#include "clients/c/local/local.h"

/* Where decoding stands in a request's body. */
struct position {
    const uint8_t *body;
    size_t length, at;
    unsigned item, count;
};

static struct position first_item(const uint8_t *body, size_t length)
{
    return (struct position){.body = body, .length = length, .at = 2, .count = tern_load_u16(body)};
}

static int refuse(struct tern_local_context *context, const char *message, struct tern_error *error)
{
    tern_counter_add(&context->part->refused, 1);
    return tern_error_set(error, TERN_EINVAL, "%s", message);
}

/* Decodes up to a vector of items. Returns how many, or TERN_EINVAL. */
static int decode_some(struct tern_local_context *context, struct position *position,
                       struct tern_error *error)
{
    size_t space_used = 0;
    unsigned done = 0;

    for (; done < TERN_VECTOR_WIDTH && position->item < position->count; done++) {
        /* The builder wrote the lengths: they are right. */
        size_t item_bytes = tern_load_u16(position->body + position->at);
        struct tern_facts *facts =
            (struct tern_facts *)((uint8_t *)context->facts + done * context->facts_bytes);
        struct tern_decode_failure failure;

        assert(position->at + 2 + item_bytes <= position->length);
        if (tern_decode_item(&context->offer->decoder, position->body + position->at + 2,
                             item_bytes, position->item, facts, context->space, &space_used,
                             &failure) < 0)
            return refuse(context, failure.message, error);
        position->at += 2 + item_bytes;
        position->item++;
    }
    return (int)done;
}

/* Decisions that search collections, which change in place, stay in one epoch meanwhile; all else
 * that is read is held by the pin. */
static void enter(struct tern_local_context *context)
{
    if (tern_rules_search(context->offer->view->rules))
        tern_reader_enter(&context->part->reader, tern_arena_envelope(&context->join->arena));
}

static void leave(struct tern_local_context *context)
{
    if (tern_rules_search(context->offer->view->rules))
        tern_reader_leave(&context->part->reader);
}

static void decide_some(struct tern_local_context *context, unsigned count,
                        struct tern_decision *decisions)
{
    const struct tern_view *view = context->offer->view;
    struct tern_reader_context *part = context->part;

    enter(context);
    tern_rules_decide(view->rules, context->scratch, context->items, count, context->verdicts);
    leave(context);
    for (unsigned i = 0; i < count; i++) {
        decisions[i] = (struct tern_decision){
            .verdict = context->verdicts[i],
            .generation = (uint32_t)view->generation,
            .decision_key = context->items[i]->decision_key,
            .answered = true,
        };
        tern_counter_add(&part->actions[context->verdicts[i].action & 3], 1);
    }
    tern_counter_add(&part->decisions, count);
}

/* Ready to use, and the request's body. */
static int begin(struct tern_local_context *context, const struct tern_request *request,
                 struct position *position, struct tern_error *error)
{
    const uint8_t *body;
    size_t length;
    int code = tern_local_ready(context, error);

    if (code >= 0)
        code = tern_request_body(request, &context->schema, &body, &length, error);
    if (code < 0)
        return code;
    *position = first_item(body, length);
    return 0;
}

int tern_local_decide(struct tern_local_context *context, const struct tern_request *request,
                      struct tern_decision *decisions, struct tern_error *error)
{
    struct position position;
    int done, code = begin(context, request, &position, error);

    if (code < 0)
        return code;
    if (position.count > TERN_VECTOR_WIDTH) {
        struct position ahead = position;

        while (ahead.item < ahead.count)
            if (decode_some(context, &ahead, error) < 0)
                return TERN_EINVAL;
    }
    while (position.item < position.count) {
        unsigned first = position.item;

        done = decode_some(context, &position, error);
        if (done < 0)
            return done;
        decide_some(context, (unsigned)done, decisions + first);
    }
    return 0;
}

int tern_local_explain(struct tern_local_context *context, const struct tern_request *request,
                       const char **json, size_t *length, struct tern_error *error)
{
    struct position position;
    int code = begin(context, request, &position, error);

    if (code < 0)
        return code;
    if (position.count != 1)
        return tern_error_set(error, TERN_EINVAL, "an explanation is of one item, not %u",
                              position.count);
    code = decode_some(context, &position, error);
    if (code < 0)
        return code;
    context->json.length = 0;
    enter(context);
    code = tern_rules_explain(context->offer->view->rules, context->scratch, context->items[0],
                              &context->json);
    leave(context);
    if (code < 0)
        return tern_error_set(error, code, "no explanation: %s", tern_error_text(code));
    *json = (const char *)context->json.data;
    *length = context->json.length;
    return 0;
}
