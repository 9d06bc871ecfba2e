/* Requests that ask about the generation or its tables: HELLO, LOOKUP, DESCRIBE, EXPLAIN. */
#include "dataplane/request.h"

#include "shared/buffer.h"

#define EXPLAINS_PER_SECOND 100u /* each allocates and walks all rules; a diagnosis needs a few */

/* ---- HELLO ---- */

static size_t entry_bytes(unsigned name_length)
{
    return 2 + 1 + 1 + 4 + 1 + name_length;
}

static uint8_t *put_entry(uint8_t *out, uint16_t id, uint8_t type, uint32_t dim, const char *name,
                          uint8_t name_length)
{
    tern_store_u16(out, id);
    out[2] = type;
    out[3] = 0;
    tern_store_u32(out + 4, dim);
    out[8] = name_length;
    memcpy(out + 9, name, name_length);
    return out + 9 + name_length;
}

/* u16 version, u8 token length, token, u8 name length, name; anything in an empty body is default.
 */
static const char *check_hello(const uint8_t *body, size_t length)
{
    size_t at = 2;

    if (length > TERN_HELLO_MAX)
        return "a HELLO has at most 512 bytes";
    if (length < 4)
        return "a HELLO has a version, a token and a name";
    at += 1 + (size_t)body[at];
    if (at >= length)
        return "the token reaches past the body";
    at += 1 + (size_t)body[at];
    if (at > length)
        return "the name reaches past the body";
    if (at < length)
        return "bytes follow the name";
    return NULL;
}

/* What the connection's ids mean. One whose schema is not kept any more is about to be ended. */
static const struct tern_schema *schema_of(const struct tern_worker *worker,
                                           const struct tern_connection *connection)
{
    const struct tern_former *former =
        connection->era == worker->era ? NULL : tern_worker_former(worker, connection);

    return former != NULL ? former->schema : worker->adopter.now->view->schema;
}

void tern_query_hello(struct tern_worker *worker, struct tern_connection *connection,
                      const struct tern_frame *frame, const uint8_t *body, size_t length)
{
    const struct tern_schema *schema = schema_of(worker, connection);
    const struct tern_schema_field *fields = tern_schema_fields(schema);
    const struct tern_schema_table *tables = tern_schema_tables(schema);
    const struct tern_schema_collection *collections = tern_schema_collections(schema);
    const char *complaint = check_hello(body, length);
    size_t bytes = 2 + 2 + 4 + 8 + 8 + 3 * 2;
    uint8_t *out;

    if (complaint != NULL) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME, complaint);
        return;
    }
    if (tern_load_u16(body) != TERN_WIRE_VERSION) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_UNSUPPORTED,
                          "this server speaks version 1");
        return;
    }
    if (!tern_worker_admit(worker, connection, body + 3, body[2])) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_UNAUTHENTICATED,
                          body[2] == 0 ? "this server wants a token" : "the token is not valid");
        tern_worker_linger(worker, connection);
        return;
    }
    for (unsigned i = 0; i < schema->field_count; i++)
        bytes += entry_bytes(fields[i].name_length);
    for (unsigned i = 0; i < schema->table_count; i++)
        bytes += entry_bytes(tables[i].name_length);
    for (unsigned i = 0; i < schema->collection_count; i++)
        bytes += entry_bytes(collections[i].name_length);
    out = tern_reply_begin(worker, connection, frame, TERN_STATUS_OK, bytes);
    if (out == NULL)
        return;
    tern_store_u16(out, TERN_WIRE_VERSION);
    tern_store_u16(out + 2, 0);
    tern_store_u32(out + 4, worker->max_frame_bytes);
    tern_store_u64(out + 8, worker->adopter.now->view->generation);
    tern_store_u64(out + 16, schema->hash);
    out += 24;
    tern_store_u16(out, schema->field_count);
    out += 2;
    for (unsigned i = 0; i < schema->field_count; i++)
        out = put_entry(out, fields[i].id, fields[i].type, fields[i].dim, fields[i].name,
                        fields[i].name_length);
    tern_store_u16(out, schema->table_count);
    out += 2;
    for (unsigned i = 0; i < schema->table_count; i++)
        out = put_entry(out, tables[i].id, tables[i].key_type, 0, tables[i].name,
                        tables[i].name_length);
    tern_store_u16(out, schema->collection_count);
    out += 2;
    for (unsigned i = 0; i < schema->collection_count; i++)
        out = put_entry(out, collections[i].id, TERN_TYPE_VECTOR, collections[i].dim,
                        collections[i].name, collections[i].name_length);
}

/* ---- LOOKUP ---- */

/* Walks the record's columns; writes them where `out` is given. Returns the body's bytes. */
static size_t put_record(const struct tern_records *records, uint32_t index, uint8_t *out)
{
    unsigned count = tern_records_column_count(records);
    size_t at = 4;

    if (out != NULL) {
        tern_store_u16(out, (uint16_t)count);
        tern_store_u16(out + 2, 0);
    }
    for (unsigned i = 0; i < count; i++) {
        enum tern_type type = (enum tern_type)tern_records_column(records, i)->type;
        union tern_value value;
        uint8_t scratch[16];
        const uint8_t *bytes = scratch;
        size_t length = 0;

        if (tern_records_value(records, index, i, &value))
            bytes = tern_encode_value(type, &value, scratch, &length);
        else
            type = TERN_TYPE_NONE;
        if (out != NULL) {
            out[at] = (uint8_t)type;
            tern_store_u16(out + at + 1, (uint16_t)length);
            memcpy(out + at + 3, bytes, length);
        }
        at += 3 + length;
    }
    return at;
}

void tern_query_lookup(struct tern_worker *worker, struct tern_connection *connection,
                       const struct tern_frame *frame, const uint8_t *body, size_t length)
{
    const struct tern_view *view = worker->adopter.now->view;
    const struct tern_schema_table *schema_table;
    const struct tern_table *table;
    struct tern_decode_field key_field;
    union tern_value key;
    const char *expected;
    size_t space_used = 0;
    unsigned id;
    uint32_t found;
    bool is_map;
    uint8_t *out;

    tern_counter_add(&worker->board->counters.lookups, 1);
    if (length < 4 || length - 4 != tern_load_u16(body + 2)) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME,
                          "a LOOKUP has a table, a key length and the key");
        return;
    }
    id = tern_worker_table(worker, connection, tern_load_u16(body));
    if (id == 0) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_NOT_FOUND,
                          "there is no such table");
        return;
    }
    table = &view->tables[id];
    schema_table = &tern_schema_tables(view->schema)[id - 1];
    key_field = tern_decode_field_of((enum tern_type)schema_table->key_type,
                                     schema_table->key_flags, 0, TERN_STRING_MAX);
    if (schema_table->kind == TERN_TABLE_PATTERN_SET) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_UNSUPPORTED,
                          "a pattern set is not looked up by key");
        return;
    }
    expected = tern_decode_value(&key_field, body + 4, length - 4, &key, worker->vector.space,
                                 &space_used);
    if (expected != NULL) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FIELD, expected);
        return;
    }
    found = tern_table_find(table, &key);
    if (found == TERN_NOT_FOUND) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_NOT_FOUND, "no such key");
        return;
    }
    is_map =
        schema_table->kind == TERN_TABLE_EXACT_MAP || schema_table->kind == TERN_TABLE_PREFIX_MAP;
    out = tern_reply_begin(worker, connection, frame, TERN_STATUS_OK,
                           is_map ? put_record(&table->records, found, NULL) : 4);
    if (out == NULL)
        return;
    if (is_map)
        put_record(&table->records, found, out);
    else
        memset(out, 0, 4);
}

/* ---- DESCRIBE ---- */

static size_t column_bytes(const struct tern_collection_header *header)
{
    size_t bytes = 0;

    for (unsigned c = 0; c < header->column_count; c++)
        bytes += 2 + header->columns[c].name_length;
    return bytes;
}

/* u8 kind, u16 id. */
static void describe_collection(struct tern_worker *worker, struct tern_connection *connection,
                                const struct tern_frame *frame, const uint8_t *body)
{
    const struct tern_view *view = worker->adopter.now->view;
    const struct tern_collection_header *header;
    struct tern_describe_collection reply = {.id = tern_load_u16(body + 1)};
    unsigned id = tern_worker_collection(worker, connection, reply.id);
    uint8_t *out;

    if (body[0] != TERN_DESCRIBE_COLLECTION || id == 0) {
        tern_reply_status(
            worker, connection, frame,
            body[0] == TERN_DESCRIBE_COLLECTION ? TERN_STATUS_NOT_FOUND : TERN_STATUS_UNSUPPORTED,
            body[0] == TERN_DESCRIBE_COLLECTION ? "there is no such collection"
                                                : "DESCRIBE knows rules and collections");
        return;
    }
    header = view->collections[id].header;
    if (header == NULL) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_NOT_READY,
                          "the collection is not there yet");
        return;
    }
    reply.metric = header->metric;
    reply.quantize = header->quantize;
    reply.dim = header->dim;
    reply.capacity = header->vector_capacity;
    reply.vectors = atomic_load_explicit(&header->live_count, memory_order_relaxed);
    reply.ef = atomic_load_explicit(&header->ef_search, memory_order_relaxed);
    reply.columns = (uint16_t)header->column_count;
    out = tern_reply_begin(worker, connection, frame, TERN_STATUS_OK,
                           sizeof reply + column_bytes(header));
    if (out == NULL)
        return;
    memcpy(out, &reply, sizeof reply);
    out += sizeof reply;
    for (unsigned c = 0; c < header->column_count; c++) {
        const struct tern_payload_column *column = &header->columns[c];

        out[0] = column->type;
        out[1] = column->name_length;
        memcpy(out + 2, column->name, column->name_length);
        out += 2 + column->name_length;
    }
}

static void describe_rules(struct tern_worker *worker, struct tern_connection *connection,
                           const struct tern_frame *frame, const uint8_t *body, size_t length)
{
    const struct tern_rules *rules = worker->adopter.now->view->rules;
    struct tern_describe_reply reply = {.total = tern_rules_count(rules), .first = 1};
    size_t bytes = sizeof reply, name_length;
    uint32_t last;
    uint8_t *out;

    if (length == 4)
        reply.first = tern_load_u32(body);
    if ((length != 0 && length != 4) || reply.first == 0) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME,
                          "a DESCRIBE has no body, the index of a rule, from 1, or 3 and the id of "
                          "a collection");
        return;
    }
    for (last = reply.first; last <= reply.total && reply.count < UINT16_MAX; last++) {
        tern_rules_name(rules, last, &name_length);
        if (bytes + 2 + name_length > worker->max_frame_bytes)
            break;
        bytes += 2 + name_length;
        reply.count++;
    }
    out = tern_reply_begin(worker, connection, frame, TERN_STATUS_OK, bytes);
    if (out == NULL)
        return;
    memcpy(out, &reply, sizeof reply);
    out += sizeof reply;
    for (uint32_t i = reply.first; i < last; i++) {
        const char *name = tern_rules_name(rules, i, &name_length);

        out[0] = (uint8_t)tern_rules_action(rules, i);
        out[1] = (uint8_t)name_length;
        memcpy(out + 2, name, name_length);
        out += 2 + name_length;
    }
}

void tern_query_describe(struct tern_worker *worker, struct tern_connection *connection,
                         const struct tern_frame *frame, const uint8_t *body, size_t length)
{
    if (length == 3)
        describe_collection(worker, connection, frame, body);
    else
        describe_rules(worker, connection, frame, body, length);
}

/* ---- EXPLAIN ---- */

void tern_query_explain(struct tern_worker *worker, struct tern_connection *connection,
                        const struct tern_frame *frame, const uint8_t *body, size_t length)
{
    struct tern_vector *vector = &worker->vector;
    struct tern_decode_failure failure;
    struct tern_searched searched;
    struct tern_buffer json = {0};
    uint64_t second = worker->now_ns / 1000000000u;
    size_t space_used = 0;
    uint8_t *out;
    int code;

    if (tern_load_u16(body) != 1) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_UNSUPPORTED,
                          "EXPLAIN takes one item");
        return;
    }
    if (length < 4 || (size_t)tern_load_u16(body + 2) != length - 4) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_BAD_FRAME,
                          "the item's length is not the body's");
        return;
    }
    if (second != worker->explain_second) {
        worker->explain_second = second;
        worker->explain_tokens = EXPLAINS_PER_SECOND;
    }
    if (worker->explain_tokens == 0) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_OVERLOADED,
                          "too many explanations in this second");
        return;
    }
    worker->explain_tokens--;
    if (tern_worker_decode_item(worker, connection, body + 4, length - 4, 0,
                                tern_vector_slot(vector, 0), &space_used, &failure) < 0) {
        tern_reply_status(worker, connection, frame, failure.status, failure.message);
        return;
    }
    searched = tern_scratch_searched(vector->scratch);
    code = tern_rules_explain(worker->adopter.now->view->rules, vector->scratch, vector->items[0],
                              &json);
    tern_worker_charge(worker, searched);
    if (code < 0) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_INTERNAL, tern_error_text(code));
    } else if (json.length > worker->max_frame_bytes) {
        tern_reply_status(worker, connection, frame, TERN_STATUS_TOO_LARGE,
                          "the explanation is larger than a frame may be");
    } else {
        out = tern_reply_begin(worker, connection, frame, TERN_STATUS_OK, json.length);
        if (out != NULL)
            memcpy(out, json.data, json.length);
    }
    tern_buffer_free(&json);
}
