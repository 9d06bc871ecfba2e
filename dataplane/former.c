#include "dataplane/former.h"

#include "dataplane/request.h"
#include "dataplane/server.h"

static size_t schema_bytes(const struct tern_schema *schema)
{
    return sizeof *schema + schema->field_count * sizeof(struct tern_schema_field) +
           schema->table_count * sizeof(struct tern_schema_table) +
           schema->collection_count * sizeof(struct tern_schema_collection);
}

static void map_fields(struct tern_former *former, const struct tern_schema *present)
{
    const struct tern_schema_field *fields = tern_schema_fields(former->schema);

    for (unsigned i = 0; i < former->schema->field_count; i++) {
        const struct tern_schema_field *now =
            tern_schema_find_field(present, fields[i].name, fields[i].name_length);

        if (now != NULL && now->type == fields[i].type && now->dim == fields[i].dim)
            former->fields[fields[i].id] = (uint8_t)now->id;
    }
}

static void map_tables(struct tern_former *former, const struct tern_schema *present)
{
    const struct tern_schema_table *tables = tern_schema_tables(former->schema);

    for (unsigned i = 0; i < former->schema->table_count; i++) {
        const struct tern_schema_table *now =
            tern_schema_find_table(present, tables[i].name, tables[i].name_length);

        if (now != NULL && now->kind == tables[i].kind && now->key_type == tables[i].key_type)
            former->tables[tables[i].id] = now->id;
    }
}

static void map_collections(struct tern_former *former, const struct tern_schema *present)
{
    const struct tern_schema_collection *collections = tern_schema_collections(former->schema);

    for (unsigned i = 0; i < former->schema->collection_count; i++) {
        const struct tern_schema_collection *now =
            tern_schema_find_collection(present, collections[i].name, collections[i].name_length);

        if (now != NULL && now->dim == collections[i].dim)
            former->collections[collections[i].id] = now->id;
    }
}

int tern_former_make(struct tern_former *former, uint32_t era, const struct tern_schema *schema,
                     const struct tern_schema *present, bool ignore_unknown,
                     struct tern_error *error)
{
    size_t bytes = schema_bytes(schema);

    *former = (struct tern_former){.era = era};
    former->schema = aligned_alloc(TERN_CACHE_LINE, tern_align_up(bytes, TERN_CACHE_LINE));
    former->tables = calloc(schema->table_count + 1u, sizeof *former->tables);
    if (former->schema == NULL || former->tables == NULL) {
        tern_former_clear(former);
        return tern_error_set(error, TERN_ENOMEM, "no memory for a former schema");
    }
    memcpy(former->schema, schema, bytes);
    tern_decoder_init(&former->decoder, former->schema, NULL, ignore_unknown);
    map_fields(former, present);
    map_tables(former, present);
    map_collections(former, present);
    return 0;
}

void tern_former_clear(struct tern_former *former)
{
    free(former->schema);
    free(former->tables);
    *former = (struct tern_former){0};
}

size_t tern_former_translate(const struct tern_former *former, const uint8_t *bytes, size_t length,
                             uint8_t *out)
{
    uint8_t *start = out;

    while (length >= 3) {
        size_t size = 3 + (size_t)tern_load_u16(bytes + 1);
        unsigned id = bytes[0];

        assert(size <= length);
        if (id == 0 || former->fields[id] != 0) { /* 0 is the decision key under every schema */
            memcpy(out, bytes, size);
            out[0] = former->fields[id];
            out += size;
        }
        bytes += size;
        length -= size;
    }
    return (size_t)(out - start);
}

/* ---- connections ---- */

const struct tern_former *tern_worker_former(const struct tern_worker *worker,
                                             const struct tern_connection *connection)
{
    const struct tern_offer *now = worker->adopter.now;

    for (unsigned i = 0; i < now->former_count; i++)
        if (now->formers[i].era == connection->era)
            return &now->formers[i];
    return NULL;
}

unsigned tern_worker_table(const struct tern_worker *worker,
                           const struct tern_connection *connection, unsigned id)
{
    const struct tern_former *former;

    if (connection->era == worker->era)
        return id <= worker->adopter.now->view->table_count ? id : 0;
    former = tern_worker_former(worker, connection);
    return former != NULL && id <= former->schema->table_count ? former->tables[id] : 0;
}

unsigned tern_worker_collection(const struct tern_worker *worker,
                                const struct tern_connection *connection, unsigned id)
{
    const struct tern_former *former;

    if (connection->era == worker->era)
        return id <= worker->adopter.now->view->collection_count ? id : 0;
    former = tern_worker_former(worker, connection);
    return former != NULL && id <= former->schema->collection_count ? former->collections[id] : 0;
}

int tern_worker_decode_former(struct tern_worker *worker, const struct tern_connection *connection,
                              const uint8_t *bytes, size_t length, unsigned item,
                              struct tern_facts *facts, size_t *space_used,
                              struct tern_decode_failure *failure)
{
    const struct tern_former *former = tern_worker_former(worker, connection);
    struct tern_vector *vector = &worker->vector;
    size_t space = *space_used, slot;
    uint8_t *translated;
    int ignored;

    if (former == NULL) {
        /* It was ended when its schema was forgotten; what was received before is refused. */
        failure->status = TERN_STATUS_BAD_FIELD;
        snprintf(failure->message, sizeof failure->message,
                 "the schema of this connection is too old: connect again");
        return TERN_EINVAL;
    }
    /* What is right is a matter of the old schema, with its ids in the message. */
    ignored = tern_decode_item(&former->decoder, bytes, length, item, vector->former_facts,
                               vector->space, &space, failure);
    if (ignored < 0)
        return ignored;
    /* A place for each slot: strings of the facts point there until the vector is decided. */
    slot = (size_t)((uint8_t *)facts - vector->facts) / vector->facts_bytes;
    translated = vector->former_space + slot * TERN_FORMER_ITEM_BYTES;
    length = tern_former_translate(former, bytes, length, translated);
    if (tern_decode_item(&worker->adopter.now->decoder, translated, length, item, facts,
                         vector->space, space_used, failure) < 0)
        return TERN_EINVAL;
    return ignored;
}

/* Tells the client that its ids are not those of new connections. */
static void say_goaway(struct tern_worker *worker, struct tern_connection *connection)
{
    static const char reason[] = "another schema is served: connect again, with HELLO";
    const struct tern_frame goaway = {.op = TERN_OP_GOAWAY};
    uint8_t *out =
        tern_reply_begin(worker, connection, &goaway, TERN_STATUS_OK, 4 + sizeof reason - 1);

    if (out == NULL)
        return;
    tern_store_u32(out, (uint32_t)(TERN_FORMER_DRAIN_NS / 1000000));
    memcpy(out + 4, reason, sizeof reason - 1);
    if (connection->until_ns == 0)
        connection->until_ns = worker->now_ns + TERN_FORMER_DRAIN_NS;
    tern_worker_watch(worker, connection);
}

void tern_worker_change_schema(struct tern_worker *worker)
{
    uint32_t before = worker->era, era = worker->adopter.now->era;

    if (era == before)
        return;
    worker->era = era;
    for (uint32_t i = 0; i < worker->connections.used; i++) {
        struct tern_connection *connection = &worker->connections.all[i];

        if (connection->state != TERN_CONNECTION_OPEN &&
            connection->state != TERN_CONNECTION_ENDING)
            continue;
        if (connection->era == 0) /* it was opened before anything was served */
            connection->era = era;
        else if (tern_worker_former(worker, connection) == NULL)
            tern_worker_linger(worker, connection);
        else if (connection->era == before && connection->state == TERN_CONNECTION_OPEN)
            say_goaway(worker, connection);
    }
}
