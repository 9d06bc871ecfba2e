/* One thread's part of a hold: what it decides with, its pin in the page, its view of the schema.
 */
#include "clients/c/local/local.h"

#include "shared/clock.h"

#define LOOK_NS 100000000u /* how often a replaced arena is looked for */

/* ---- the schema ---- */

static void copy_name(struct tern_client_name *name, uint16_t id, uint8_t type, uint32_t dim,
                      const char *text, uint8_t length)
{
    *name = (struct tern_client_name){.id = id, .type = type, .name_length = length, .dim = dim};
    memcpy(name->name, text, length);
}

/* The view's schema as clients know it. Only when it differs is anything allocated. */
static int take_schema(struct tern_local_context *context, const struct tern_view *view)
{
    const struct tern_schema *from = view->schema;
    const struct tern_schema_field *fields = tern_schema_fields(from);
    const struct tern_schema_table *tables = tern_schema_tables(from);
    const struct tern_schema_collection *collections = tern_schema_collections(from);
    struct tern_client_schema schema = {
        .hash = from->hash,
        .generation = view->generation,
        .max_frame_bytes = view->settings->max_frame_bytes,
        .field_count = from->field_count,
        .table_count = from->table_count,
        .collection_count = from->collection_count,
        .serial = context->schema.serial,
    };
    struct tern_client_name *names = context->names;

    if (names == NULL || context->schema.hash != from->hash) {
        names = calloc((size_t)from->field_count + from->table_count + from->collection_count + 1,
                       sizeof *names);
        if (names == NULL)
            return TERN_ENOMEM;
        for (unsigned i = 0; i < from->field_count; i++)
            copy_name(&names[i], fields[i].id, fields[i].type, fields[i].dim, fields[i].name,
                      fields[i].name_length);
        for (unsigned i = 0; i < from->table_count; i++)
            copy_name(&names[from->field_count + i], tables[i].id, tables[i].key_type, 0,
                      tables[i].name, tables[i].name_length);
        for (unsigned i = 0; i < from->collection_count; i++)
            copy_name(&names[from->field_count + from->table_count + i], collections[i].id,
                      TERN_TYPE_VECTOR, collections[i].dim, collections[i].name,
                      collections[i].name_length);
    }
    schema.fields = names;
    schema.tables = names + from->field_count;
    schema.collections = schema.tables + from->table_count;
    if (names != context->names) {
        if (context->names != NULL && !tern_client_schema_extends(&context->schema, &schema))
            schema.serial++;
        free(context->names);
        context->names = names;
    }
    context->schema = schema;
    return 0;
}

/* ---- adopting ---- */

static void leave_part(struct tern_local_context *context)
{
    if (context->join == NULL)
        return;
    atomic_store_explicit(&context->part->reader.pin, 0, memory_order_release);
    context->join->used &= ~(1u << context->part_index);
    tern_local_join_release(context->join);
    context->join = NULL;
}

/* A part in the page that speaks for the offer's arena. */
static void enter_part(struct tern_local_context *context, struct tern_local_join *join)
{
    if (context->join == join)
        return;
    leave_part(context);
    context->part_index = tern_local_join_take(join);
    context->part = &join->map.page->contexts[context->part_index];
    context->join = join;
}

static int adopt_locked(struct tern_local_context *context, struct tern_error *error)
{
    struct tern_local_offer *offer =
        atomic_load_explicit(&context->local->current, memory_order_relaxed);
    struct tern_local_offer *old = context->offer;
    int code;

    if (offer == old)
        return 0;
    code = take_schema(context, offer->view);
    if (code == 0)
        code = tern_scratch_prepare(context->scratch, offer->view->rules);
    if (code != 0)
        return tern_error_set(error, code, "no memory for the names of a schema and for patterns");
    enter_part(context, offer->join);
    /* The offer is pinned as long as it is current, which it is while we hold the lock: from here
     * on it is also by us. */
    atomic_store_explicit(&context->part->reader.pin, offer->view->root_offset,
                          memory_order_release);
    atomic_store_explicit(&context->part->reader.generation, offer->view->generation,
                          memory_order_relaxed);
    offer->references++;
    context->offer = offer;
    if (old != NULL)
        tern_local_offer_release(old);
    context->facts_bytes =
        tern_align_up(tern_facts_bytes(offer->decoder.slot_count), TERN_CACHE_LINE);
    for (unsigned i = 0; i < TERN_VECTOR_WIDTH; i++)
        context->items[i] =
            (struct tern_facts *)((uint8_t *)context->facts + i * context->facts_bytes);
    return 1;
}

int tern_local_adopt(struct tern_local_context *context, struct tern_error *error)
{
    int code;

    pthread_mutex_lock(&context->local->lock);
    code = adopt_locked(context, error);
    pthread_mutex_unlock(&context->local->lock);
    return code;
}

void tern_local_rest(struct tern_local_context *context)
{
    if (context->offer == NULL)
        return;
    pthread_mutex_lock(&context->local->lock);
    atomic_store_explicit(&context->part->reader.pin, 0, memory_order_release);
    tern_local_offer_release(context->offer);
    context->offer = NULL;
    pthread_mutex_unlock(&context->local->lock);
}

/* Of the arena that the context's offer keeps mapped. Every publication begins a new epoch. */
static uint64_t epoch_of(const struct tern_local_context *context)
{
    return atomic_load_explicit(&tern_arena_envelope(&context->join->arena)->epoch,
                                memory_order_acquire);
}

int tern_local_refresh(struct tern_local_context *context, struct tern_error *error)
{
    struct tern_local *local = context->local;
    const struct tern_local_join *join = context->join;
    uint64_t now_ns = tern_clock_ns(CLOCK_MONOTONIC_COARSE), epoch = epoch_of(context);
    int code, adopted;

    if (epoch == context->seen_epoch && now_ns - context->looked_ns < LOOK_NS)
        return tern_local_ready(context, error);
    if (pthread_mutex_trylock(&local->preparing) != 0)
        return tern_local_ready(context, error);
    code = tern_local_prepare(local, error);
    pthread_mutex_unlock(&local->preparing);
    if (code < 0)
        return code;
    adopted = tern_local_ready(context, error);
    if (adopted >= 0) {
        /* read before the root was: what is published later is looked for again */
        context->seen_epoch = context->join == join ? epoch : TERN_EPOCH_IDLE;
        context->looked_ns = now_ns;
    }
    return adopted;
}

/* ---- open and close ---- */

static int open_context(struct tern_local_context *context, struct tern_error *error)
{
    size_t facts_bytes = tern_align_up(tern_facts_bytes(TERN_FIELDS_MAX), TERN_CACHE_LINE);

    context->facts = aligned_alloc(TERN_CACHE_LINE, TERN_VECTOR_WIDTH * facts_bytes);
    context->space = malloc((size_t)TERN_VECTOR_WIDTH * TERN_DECODE_ITEM_BYTES);
    if (context->facts == NULL || context->space == NULL ||
        tern_scratch_new(&context->scratch) != 0)
        return tern_error_set(error, TERN_ENOMEM, "no memory for a context");
    memset(context->facts, 0, TERN_VECTOR_WIDTH * facts_bytes);
    return tern_local_adopt(context, error);
}

int tern_local_context_open(struct tern_local *local, struct tern_local_context **context,
                            struct tern_error *error)
{
    struct tern_local_context *opened = calloc(1, sizeof *opened);
    bool full;
    int code;

    if (opened == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for a context");
    opened->local = local;
    pthread_mutex_lock(&local->lock);
    full = local->contexts == TERN_READER_CONTEXTS_MAX;
    local->contexts += !full;
    pthread_mutex_unlock(&local->lock);
    if (full) {
        free(opened);
        return tern_error_set(error, TERN_ELIMIT, "a hold has at most %u contexts",
                              TERN_READER_CONTEXTS_MAX);
    }
    code = open_context(opened, error);
    if (code < 0) {
        tern_local_context_close(opened);
        return code;
    }
    *context = opened;
    return 0;
}

void tern_local_context_close(struct tern_local_context *context)
{
    struct tern_local *local;

    if (context == NULL)
        return;
    local = context->local;
    pthread_mutex_lock(&local->lock);
    if (context->offer != NULL)
        tern_local_offer_release(context->offer);
    leave_part(context);
    local->contexts--;
    pthread_mutex_unlock(&local->lock);
    if (context->scratch != NULL)
        tern_scratch_free(context->scratch);
    tern_search_scratch_free(context->search_scratch);
    free(context->filter);
    tern_buffer_free(&context->payload.places);
    tern_buffer_free(&context->payload.bytes);
    tern_buffer_free(&context->json);
    free(context->names);
    free(context->facts);
    free(context->space);
    free(context);
}

/* ---- what it is ---- */

uint64_t tern_local_generation(const struct tern_local_context *context)
{
    return context->offer == NULL ? 0 : context->offer->view->generation;
}

const struct tern_client_schema *tern_local_schema(const struct tern_local_context *context)
{
    return &context->schema;
}

int tern_local_field(const struct tern_local_context *context, const char *name)
{
    return tern_client_names_find(context->schema.fields, context->schema.field_count, name);
}

int tern_local_table(const struct tern_local_context *context, const char *name)
{
    return tern_client_names_find(context->schema.tables, context->schema.table_count, name);
}
