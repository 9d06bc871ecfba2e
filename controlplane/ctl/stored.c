#include "controlplane/ctl/stored.h"

int tern_stored_ask(const struct tern_invocation *invocation, const char *collection, uint64_t id,
                    Tern__Control__Reply **out, struct tern_error *error)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__VectorRequest body = TERN__CONTROL__VECTOR_REQUEST__INIT;
    Tern__Control__Reply *reply = NULL;
    char *run_dir = NULL;
    int rc = tern_instance_find(invocation, &run_dir, error);

    if (rc != 0)
        return rc;
    body.collection = (char *)(uintptr_t)collection; /* protobuf-c only reads it */
    body.id = id;
    request.body_case = TERN__CONTROL__REQUEST__BODY_VECTOR;
    request.vector = &body;
    rc = tern_instance_ask(run_dir, &request, invocation->timeout_us, NULL, NULL, &reply, error);
    free(run_dir);
    if (rc != 0)
        return rc;
    if (reply->body_case == TERN__CONTROL__REPLY__BODY_FAILURE)
        rc = tern_error_set(error, reply->failure->code != 0 ? reply->failure->code : TERN_EREFUSED,
                            "%s", reply->failure->message);
    else if (reply->body_case != TERN__CONTROL__REPLY__BODY_VECTOR)
        rc = tern_error_set(error, TERN_ECORRUPT, "tern-control's reply makes no sense");
    if (rc != 0)
        tern__control__reply__free_unpacked(reply, NULL);
    else
        *out = reply;
    return rc;
}

static bool is_bool(const Tern__Control__Vector *vector, const char *name)
{
    for (size_t i = 0; i < vector->n_columns; i++)
        if (strcmp(vector->columns[i]->name, name) == 0)
            return strcmp(vector->columns[i]->type, "bool") == 0;
    return false;
}

static void put_value(struct tern_json *json, const char *key, const Tern__Control__Vector *vector,
                      const Tern__Control__PayloadColumn *column)
{
    if (column->n_strings != 0)
        tern_json_text(json, key, column->strings[0].data, column->strings[0].len);
    else if (column->n_integers != 0)
        tern_json_i64(json, key, column->integers[0]);
    else if (column->n_floats != 0)
        tern_json_float(json, key, column->floats[0]);
    else if (column->n_numbers != 0 && is_bool(vector, column->name))
        tern_json_bool(json, key, column->numbers[0] != 0);
    else if (column->n_numbers != 0)
        tern_json_u64(json, key, column->numbers[0]);
    else
        tern_json_null(json, key);
}

static const Tern__Control__PayloadColumn *find_value(const Tern__Control__Vector *vector,
                                                      const char *name)
{
    for (size_t i = 0; i < vector->n_payload; i++)
        if (strcmp(vector->payload[i]->name, name) == 0)
            return vector->payload[i];
    return NULL;
}

void tern_stored_json(struct tern_json *json, const char *key, const Tern__Control__Vector *vector)
{
    tern_json_object(json, key);
    tern_json_u64(json, "id", vector->id);
    tern_json_u64(json, "seq", vector->seq);
    tern_json_u64(json, "dim", vector->values.len / sizeof(float));
    tern_json_object(json, "payload");
    for (size_t i = 0; i < vector->n_columns; i++) {
        const Tern__Control__PayloadColumn *value = find_value(vector, vector->columns[i]->name);

        if (value != NULL)
            put_value(json, value->name, vector, value);
        else
            tern_json_null(json, vector->columns[i]->name);
    }
    tern_json_object_end(json);
    tern_json_object_end(json);
}

void tern_stored_print(const Tern__Control__Vector *vector)
{
    printf("vector %llu, write %llu", (unsigned long long)vector->id,
           (unsigned long long)vector->seq);
    for (size_t i = 0; i < vector->n_payload; i++) {
        struct tern_json json = {0};

        put_value(&json, NULL, vector, vector->payload[i]);
        printf("%s %s %.*s", i == 0 ? ":" : ",", vector->payload[i]->name, (int)json.buffer.length,
               (const char *)json.buffer.data);
        tern_buffer_free(&json.buffer);
    }
    putchar('\n');
}
