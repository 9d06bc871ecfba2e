/* Searches of collections: as dataplane/search.c does it for frames. */
#include "clients/c/local/local.h"

/* A scratch that fits; made by a context's first search of something larger. */
static int prepare(struct tern_local_context *context, const struct tern_collection *collection,
                   struct tern_error *error)
{
    struct tern_search_scratch *scratch;

    if (context->filter == NULL)
        context->filter = calloc(1, sizeof *context->filter);
    if (context->filter == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for a filter");
    if (context->search_scratch != NULL &&
        tern_search_scratch_fits(context->search_scratch, collection))
        return 0;
    if (tern_search_scratch_new(&scratch, collection->capacity, collection->dim) != 0)
        return tern_error_set(error, TERN_ENOMEM, "no memory to search");
    tern_search_scratch_free(context->search_scratch);
    context->search_scratch = scratch;
    return 0;
}

static int parse(struct tern_local_context *context, const struct tern_collection *collection,
                 const char *text, struct tern_search_filter *filter, struct tern_error *error)
{
    struct tern_filter_failure failure;

    if (tern_filter_parse(context->filter, collection, text, strlen(text), &failure) != 0)
        return tern_error_set(error, TERN_EINVAL, "filter, byte %u: %s", failure.offset,
                              failure.message);
    tern_filter_bind(context->filter, collection);
    *filter = (struct tern_search_filter){tern_filter_match, context->filter};
    return 0;
}

/* A value as it goes over the wire: u8 type, u16 length, bytes. */
static int copy_value(struct tern_buffer *out, const struct tern_payload_value *value)
{
    size_t length = value->type == TERN_TYPE_NONE     ? 0
                    : value->type == TERN_TYPE_STRING ? value->string.length
                                                      : tern_collection_column_width(value->type);
    uint8_t head[3] = {value->type};
    int code;

    tern_store_u16(head + 1, (uint16_t)length);
    code = tern_buffer_append(out, head, sizeof head);
    if (code != 0 || length == 0)
        return code;
    /* Of a number the low bytes, or all. */
    return tern_buffer_append(out,
                              value->type == TERN_TYPE_STRING ? (const void *)value->string.bytes
                                                              : (const void *)&value->u64,
                              length);
}

/* Copies what the hits carry: their slots may be used again once the epoch is left. */
static int copy_payload(struct tern_local_context *context,
                        const struct tern_collection *collection, unsigned count,
                        struct tern_error *error)
{
    const struct tern_collection_header *header = collection->header;
    struct tern_local_payload *payload = &context->payload;
    unsigned columns = header->column_count;
    int code = 0;

    payload->bytes.length = payload->places.length = 0;
    for (unsigned i = 0; i < count; i++) {
        for (unsigned c = 0; c < columns && code == 0; c++) {
            struct tern_payload_value value =
                tern_collection_payload(collection, context->hits[i].slot, c);
            uint32_t place = (uint32_t)payload->bytes.length; /* 1,000 × 16 × 1 KiB at most */

            code = tern_buffer_append(&payload->places, &place, sizeof place);
            if (code == 0)
                code = copy_value(&payload->bytes, &value);
        }
    }
    if (code != 0)
        return tern_error_set(error, code, "no memory for the payload");
    for (unsigned c = 0; c < columns; c++) {
        payload->name_lengths[c] = header->columns[c].name_length;
        memcpy(payload->names[c], header->columns[c].name, header->columns[c].name_length);
    }
    payload->columns = columns;
    payload->count = count;
    return 0;
}

/* Within the epoch: slots that are found stay what they are until it is left. */
static int run(struct tern_local_context *context, const struct tern_collection *collection,
               const struct tern_client_search *asked, struct tern_client_hit *hits,
               unsigned *count, struct tern_error *error)
{
    bool with_payload = (asked->flags & TERN_SEARCH_PAYLOAD) != 0;
    struct tern_search_filter filter;
    unsigned found;
    struct tern_search search = {.query = asked->vector,
                                 .k = asked->k,
                                 .ef = asked->ef,
                                 .exact = (asked->flags & TERN_SEARCH_EXACT) != 0};
    int code = tern_search_check(collection, &search, error);

    if (code == 0 && asked->filter != NULL) {
        code = parse(context, collection, asked->filter, &filter, error);
        search.filter = &filter;
    }
    if (code != 0)
        return code;
    found = tern_search_run(collection, context->search_scratch, &search, context->hits);
    if (with_payload)
        code = copy_payload(context, collection, found, error);
    if (code != 0)
        return code;
    *count = found;
    for (unsigned i = 0; i < found; i++)
        hits[i] = (struct tern_client_hit){context->hits[i].id, context->hits[i].score};
    return 0;
}

int tern_local_search(struct tern_local_context *context, const struct tern_client_search *search,
                      struct tern_client_hit *hits, unsigned *count, struct tern_error *error)
{
    const struct tern_envelope *envelope;
    const struct tern_collection *collection;
    int code = tern_local_ready(context, error);

    if (code < 0)
        return code;
    if (search->collection < 1 || search->collection > (int)context->offer->view->collection_count)
        return tern_error_set(error, TERN_ENOENT, "there is no collection %d", search->collection);
    collection = &context->offer->view->collections[search->collection];
    if (collection->header == NULL)
        return tern_error_set(error, TERN_EAGAIN, "the collection is not there yet");
    if (search->dim != collection->dim)
        return tern_error_set(error, TERN_EINVAL,
                              "a vector of this collection has %u dimensions, not %u",
                              collection->dim, search->dim);
    if ((search->flags & ~(unsigned)(TERN_SEARCH_EXACT | TERN_SEARCH_PAYLOAD)) != 0)
        return tern_error_set(error, TERN_ENOTSUP, "unknown flags 0x%x", (unsigned)search->flags);
    context->payload.columns = context->payload.count = 0;
    code = prepare(context, collection, error);
    if (code != 0)
        return code;
    envelope = tern_arena_envelope(&context->join->arena);
    tern_reader_enter(&context->part->reader, envelope);
    code = run(context, collection, search, hits, count, error);
    tern_reader_leave(&context->part->reader);
    return code;
}

unsigned tern_local_payload_columns(const struct tern_local_context *context)
{
    return context->payload.columns;
}

int tern_local_payload_name(const struct tern_local_context *context, unsigned column,
                            const char **name, size_t *length)
{
    if (column >= context->payload.columns)
        return TERN_EINVAL;
    *name = context->payload.names[column];
    *length = context->payload.name_lengths[column];
    return 0;
}

int tern_local_payload(const struct tern_local_context *context, unsigned hit, unsigned column,
                       struct tern_client_column *value)
{
    const struct tern_local_payload *payload = &context->payload;
    const uint8_t *at;
    uint32_t place;

    if (hit >= payload->count || column >= payload->columns)
        return TERN_EINVAL;
    memcpy(&place, payload->places.data + ((size_t)hit * payload->columns + column) * sizeof place,
           sizeof place);
    at = payload->bytes.data + place;
    *value = (struct tern_client_column){
        .type = at[0], .length = tern_load_u16(at + 1), .value = at + 3};
    return 0;
}

int tern_local_collection(const struct tern_local_context *context, const char *name)
{
    return tern_client_names_find(context->schema.collections, context->schema.collection_count,
                                  name);
}
