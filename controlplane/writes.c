#include "controlplane/writes.h"

#include "controlplane/message.h"
#include "controlplane/reply.h"
#include "shared/schema.h"

static int append(struct tern_buffer *out, uint64_t ticket, const struct tern_collection_ack *ack,
                  uint32_t refused)
{
    Tern__Control__Acknowledgement body = TERN__CONTROL__ACKNOWLEDGEMENT__INIT;
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;

    body.ticket = ticket;
    body.seq = ack->seq;
    body.written = ack->written;
    body.removed = ack->removed;
    body.code = ack->rc;
    body.refused = refused;
    if (ack->rc != 0)
        body.message = tern_message_text(ack->error.message);
    reply.body_case = TERN__CONTROL__REPLY__BODY_ACKNOWLEDGEMENT;
    reply.acknowledgement = &body;
    return tern_message_append(out, &reply.base);
}

int tern_writes_acknowledge(struct tern_buffer *out, const struct tern_collection_ack *ack)
{
    return append(out, ack->ticket, ack, 0);
}

/* Says why nothing was submitted. `refused` counts from 1. */
static int refuse(struct tern_buffer *out, uint64_t ticket, const struct tern_error *error,
                  uint32_t refused)
{
    const struct tern_collection_ack ack = {.rc = error->code, .error = *error};
    int rc = append(out, ticket, &ack, refused);

    return rc == 0 ? TERN_EREFUSED : rc;
}

/* --- Payload --- */

static bool is_present(const ProtobufCBinaryData *bits, size_t index)
{
    return bits->len == 0 || (bits->data[index / 8] >> (index % 8) & 1) != 0;
}

/* How many values the list for `type` has; the other lists must be empty. */
static size_t count_values(const Tern__Control__PayloadColumn *column, uint8_t type, bool *others)
{
    const size_t counts[] = {column->n_strings, column->n_numbers, column->n_integers,
                             column->n_floats};
    unsigned own = type == TERN_TYPE_STRING ? 0
                   : type == TERN_TYPE_I64  ? 2
                   : type == TERN_TYPE_F32  ? 3
                                            : 1;

    *others = false;
    for (unsigned i = 0; i < TERN_COUNT(counts); i++)
        *others |= i != own && counts[i] != 0;
    return counts[own];
}

static const char *list_name(uint8_t type)
{
    return type == TERN_TYPE_STRING ? "strings"
           : type == TERN_TYPE_I64  ? "integers"
           : type == TERN_TYPE_F32  ? "floats"
                                    : "numbers";
}

/* Values of one column into every row; `values` are those of the first row. */
static int take_column(const Tern__Control__PayloadColumn *column, uint8_t type, size_t count,
                       struct tern_graph_value *values, unsigned stride, struct tern_error *error)
{
    bool others;
    size_t given = count_values(column, type, &others);

    if (others)
        return tern_error_set(error, TERN_EINVAL,
                              "payload %.63s is a %s: its values belong into `%s`", column->name,
                              tern_type_name((enum tern_type)type), list_name(type));
    if (given != count)
        return tern_error_set(
            error, TERN_EINVAL,
            "payload %.63s has %zu values for %zu ids; `present` says which count", column->name,
            given, count);
    if (column->present.len != 0 && column->present.len != (count + 7) / 8)
        return tern_error_set(
            error, TERN_EINVAL,
            "payload %.63s: `present` has %zu bytes, a bit for each of %zu ids is "
            "%zu",
            column->name, column->present.len, count, (count + 7) / 8);
    for (size_t i = 0; i < count; i++, values += stride) {
        values->present = is_present(&column->present, i);
        if (type == TERN_TYPE_STRING) {
            /* Whatever is too long is told so by the check that follows. */
            values->string.bytes = (const char *)column->strings[i].data;
            values->string.length = (uint32_t)tern_min_u64(column->strings[i].len, UINT32_MAX);
        } else if (type == TERN_TYPE_I64) {
            values->i64 = column->integers[i];
        } else if (type == TERN_TYPE_F32) {
            values->f32 = column->floats[i];
        } else {
            values->u64 = column->numbers[i];
        }
    }
    return 0;
}

static int take_payload(const Tern__Control__Upsert *request, const struct tern_graph_shape *shape,
                        struct tern_graph_value *values, struct tern_error *error)
{
    uint32_t seen = 0;
    int rc = 0;

    for (size_t i = 0; i < request->n_payload && rc == 0; i++) {
        const Tern__Control__PayloadColumn *column = request->payload[i];
        unsigned index = 0;

        while (index < shape->column_count && strcmp(shape->columns[index].name, column->name) != 0)
            index++;
        if (index == shape->column_count)
            return tern_error_set(error, TERN_EINVAL, "collection %.63s has no payload '%.63s'",
                                  request->collection, column->name);
        if (seen & 1u << index)
            return tern_error_set(error, TERN_EINVAL, "payload %.63s is given twice", column->name);
        seen |= 1u << index;
        rc = take_column(column, shape->columns[index].type, request->n_ids, values + index,
                         shape->column_count, error);
    }
    return rc;
}

/* --- Batches --- */

static int check_count(size_t count, struct tern_error *error)
{
    if (count != 0 && count <= TERN_COLLECTION_BATCH_MAX)
        return 0;
    return tern_error_set(error, TERN_ELIMIT, "a batch has 1 to %u ids, not %zu",
                          TERN_COLLECTION_BATCH_MAX, count);
}

static int no_vectors(const char *name, struct tern_error *error)
{
    return tern_error_set(error, TERN_ENOENT,
                          "there is no collection '%.63s': this tern keeps no vectors", name);
}

static int find_spec(struct tern_collections *collections, const char *name,
                     struct tern_collection_spec *spec, struct tern_error *error)
{
    if (collections == NULL)
        return no_vectors(name, error);
    return tern_collections_describe(collections, name, spec, error);
}

static int submit(struct tern_collections *collections, uint64_t owner, const char *name,
                  uint64_t ticket, const struct tern_collection_write *writes, unsigned count,
                  struct tern_buffer *out)
{
    struct tern_error error, cause;
    uint32_t bad = UINT32_MAX;
    int rc = tern_collections_submit(collections, name, owner, ticket, writes, count, &bad, &cause);

    if (rc == 0 || rc == TERN_EAGAIN || rc == TERN_ENOMEM)
        return rc;
    if (bad == UINT32_MAX)
        return refuse(out, ticket, &cause, 0);
    tern_error_set(&error, rc, "id %llu: %.400s", (unsigned long long)writes[bad].id,
                   cause.message);
    return refuse(out, ticket, &error, bad + 1);
}

static int make_upsert(struct tern_collections *collections, const Tern__Control__Upsert *request,
                       const struct tern_graph_shape *shape, uint64_t owner,
                       struct tern_buffer *out)
{
    unsigned count = (unsigned)request->n_ids;
    struct tern_collection_write *writes = calloc(count, sizeof *writes);
    struct tern_graph_value *values =
        calloc((size_t)count * (shape->column_count + 1), sizeof *values);
    struct tern_error error;
    int rc = writes != NULL && values != NULL ? 0 : TERN_ENOMEM;

    if (rc == 0) {
        rc = take_payload(request, shape, values, &error);
        if (rc != 0)
            rc = refuse(out, request->ticket, &error, 0);
    }
    for (unsigned i = 0; i < count && rc == 0; i++)
        writes[i] = (struct tern_collection_write){
            .id = request->ids[i],
            /* protobuf-c has allocated them: they are aligned. */
            .vector = (const float *)(const void *)request->vectors.data + (size_t)i * shape->dim,
            .payload = values + (size_t)i * shape->column_count,
        };
    if (rc == 0)
        rc = submit(collections, owner, request->collection, request->ticket, writes, count, out);
    free(values);
    free(writes);
    return rc;
}

int tern_writes_upsert(struct tern_collections *collections, uint64_t owner,
                       const Tern__Control__Upsert *request, struct tern_buffer *out)
{
    struct tern_collection_spec spec;
    struct tern_error error;
    size_t bytes;
    int rc = check_count(request->n_ids, &error);

    if (rc == 0)
        rc = find_spec(collections, request->collection, &spec, &error);
    if (rc != 0)
        return refuse(out, request->ticket, &error, 0);
    bytes = request->n_ids * spec.shape.dim * sizeof(float);
    if (request->vectors.len != bytes) {
        tern_error_set(&error, TERN_EINVAL,
                       "collection %.63s has vectors of %u values: %zu ids take %zu bytes, not %zu",
                       request->collection, (unsigned)spec.shape.dim, request->n_ids, bytes,
                       request->vectors.len);
        return refuse(out, request->ticket, &error, 0);
    }
    return make_upsert(collections, request, &spec.shape, owner, out);
}

int tern_writes_delete(struct tern_collections *collections, uint64_t owner,
                       const Tern__Control__Delete *request, struct tern_buffer *out)
{
    struct tern_collection_spec spec;
    struct tern_collection_write *writes;
    struct tern_error error;
    int rc = check_count(request->n_ids, &error);

    if (rc == 0)
        rc = find_spec(collections, request->collection, &spec, &error);
    if (rc != 0)
        return refuse(out, request->ticket, &error, 0);
    writes = calloc(request->n_ids, sizeof *writes);
    if (writes == NULL)
        return TERN_ENOMEM;
    for (size_t i = 0; i < request->n_ids; i++)
        writes[i].id = request->ids[i];
    rc = submit(collections, owner, request->collection, request->ticket, writes,
                (unsigned)request->n_ids, out);
    free(writes);
    return rc;
}

/* --- What a collection takes --- */

static const char *metric_name(enum tern_metric metric)
{
    return metric == TERN_METRIC_COSINE ? "cosine" : metric == TERN_METRIC_L2 ? "l2" : "dot";
}

/* The columns of a shape; the messages point into it. */
static size_t list_columns(const struct tern_graph_shape *shape,
                           Tern__Control__CollectionColumn columns[TERN_PAYLOAD_COLUMNS_MAX],
                           Tern__Control__CollectionColumn *list[TERN_PAYLOAD_COLUMNS_MAX])
{
    for (unsigned i = 0; i < shape->column_count; i++) {
        tern__control__collection_column__init(&columns[i]);
        columns[i].name = tern_message_text(shape->columns[i].name);
        columns[i].type = tern_message_text(tern_type_name((enum tern_type)shape->columns[i].type));
        list[i] = &columns[i];
    }
    return shape->column_count;
}

int tern_writes_describe(struct tern_collections *collections, const char *name,
                         struct tern_buffer *out)
{
    Tern__Control__Collection body = TERN__CONTROL__COLLECTION__INIT;
    Tern__Control__CollectionColumn columns[TERN_PAYLOAD_COLUMNS_MAX],
        *list[TERN_PAYLOAD_COLUMNS_MAX];
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
    struct tern_collection_spec spec;
    struct tern_error error;
    int rc = find_spec(collections, name, &spec, &error);

    if (rc != 0)
        return tern_reply_failure(out, rc, error.message);
    body.name = spec.name;
    body.id = spec.id;
    body.dim = spec.shape.dim;
    body.metric = tern_message_text(metric_name(spec.shape.metric));
    body.capacity = spec.shape.capacity;
    body.n_columns = list_columns(&spec.shape, columns, list);
    body.columns = list;
    reply.body_case = TERN__CONTROL__REPLY__BODY_COLLECTION;
    reply.collection = &body;
    return tern_message_append(out, &reply.base);
}

/* --- What was written --- */

/* A column's one value; the message points into `value`. */
struct one_value {
    Tern__Control__PayloadColumn column;
    ProtobufCBinaryData string;
    uint64_t number;
    int64_t integer;
    float real;
};

static void put_value(struct one_value *one, const struct tern_graph_column *column,
                      const struct tern_graph_value *value)
{
    Tern__Control__PayloadColumn *message = &one->column;

    tern__control__payload_column__init(message);
    message->name = tern_message_text(column->name);
    if (column->type == TERN_TYPE_STRING) {
        one->string = (ProtobufCBinaryData){
            .len = value->string.length, .data = (uint8_t *)tern_message_text(value->string.bytes)};
        message->strings = &one->string;
        message->n_strings = 1;
    } else if (column->type == TERN_TYPE_I64) {
        one->integer = value->i64;
        message->integers = &one->integer;
        message->n_integers = 1;
    } else if (column->type == TERN_TYPE_F32) {
        one->real = value->f32;
        message->floats = &one->real;
        message->n_floats = 1;
    } else {
        one->number = value->u64;
        message->numbers = &one->number;
        message->n_numbers = 1;
    }
}

int tern_writes_lookup(struct tern_collections *collections,
                       const Tern__Control__VectorRequest *request, struct tern_buffer *out)
{
    Tern__Control__Vector body = TERN__CONTROL__VECTOR__INIT;
    Tern__Control__PayloadColumn *list[TERN_PAYLOAD_COLUMNS_MAX];
    Tern__Control__CollectionColumn columns[TERN_PAYLOAD_COLUMNS_MAX],
        *column_list[TERN_PAYLOAD_COLUMNS_MAX];
    Tern__Control__Reply reply = TERN__CONTROL__REPLY__INIT;
    struct one_value values[TERN_PAYLOAD_COLUMNS_MAX];
    struct tern_collection_vector found;
    struct tern_error error;
    int rc = collections == NULL ? no_vectors(request->collection, &error)
                                 : tern_collections_lookup(collections, request->collection,
                                                           request->id, &found, &error);

    if (rc != 0)
        return tern_reply_failure(out, rc, error.message);
    for (unsigned i = 0; i < found.spec.shape.column_count; i++) {
        if (!found.values[i].present)
            continue;
        put_value(&values[body.n_payload], &found.spec.shape.columns[i], &found.values[i]);
        list[body.n_payload] = &values[body.n_payload].column;
        body.n_payload++;
    }
    body.id = request->id;
    body.seq = found.seq;
    body.values.len = found.dim * sizeof(float);
    body.values.data = (uint8_t *)(uintptr_t)found.vector; /* read only */
    body.payload = list;
    body.n_columns = list_columns(&found.spec.shape, columns, column_list);
    body.columns = column_list;
    reply.body_case = TERN__CONTROL__REPLY__BODY_VECTOR;
    reply.vector = &body;
    rc = tern_message_append(out, &reply.base);
    tern_collection_vector_free(&found);
    return rc;
}
