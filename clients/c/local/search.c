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

/* Within the epoch: slots that are found stay what they are until it is left. */
static int run(struct tern_local_context *context, const struct tern_collection *collection,
               const struct tern_client_search *asked, struct tern_client_hit *hits,
               unsigned *count, struct tern_error *error)
{
    struct tern_search_filter filter;
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
    *count = tern_search_run(collection, context->search_scratch, &search, context->hits);
    for (unsigned i = 0; i < *count; i++)
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
    if ((search->flags & ~(unsigned)TERN_SEARCH_EXACT) != 0)
        return tern_error_set(error, TERN_ENOTSUP, "hits come without their payload here");
    code = prepare(context, collection, error);
    if (code != 0)
        return code;
    envelope = tern_arena_envelope(&context->join->arena);
    tern_reader_enter(&context->part->reader, envelope);
    code = run(context, collection, search, hits, count, error);
    tern_reader_leave(&context->part->reader);
    return code;
}

int tern_local_collection(const struct tern_local_context *context, const char *name)
{
    return tern_client_names_find(context->schema.collections, context->schema.collection_count,
                                  name);
}
