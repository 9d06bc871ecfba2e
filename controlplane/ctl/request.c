#include "controlplane/ctl/request.h"

#include "controlplane/config/config.h"
#include "controlplane/config/nearest.h"
#include "controlplane/ctl/json.h"

_Static_assert(TERN_CTL_SCRATCH >= TERN_VALUE_SCRATCH, "a host is folded into it");

int tern_ctl_value_bytes(enum tern_type type, const char *text, uint8_t *scratch,
                         const uint8_t **bytes, size_t *length, struct tern_error *error)
{
    union tern_value value = {0};
    int rc = tern_config_parse_value(type, 0, text, strlen(text), scratch, &value, error);

    if (rc != 0)
        return rc;
    switch (type) {
    case TERN_TYPE_STRING:
    case TERN_TYPE_VECTOR:
        *bytes = value.string.bytes;
        *length = value.string.length;
        return 0;
    case TERN_TYPE_IP:
        *length = tern_address_to_bytes(value.address, scratch);
        break;
    case TERN_TYPE_U64:
    case TERN_TYPE_I64:
        tern_store_u64(scratch, value.u64);
        *length = 8;
        break;
    case TERN_TYPE_F32:
        tern_store_f32(scratch, value.f32);
        *length = 4;
        break;
    case TERN_TYPE_BOOL:
        scratch[0] = value.boolean;
        *length = 1;
        break;
    default:
        return tern_error_set(error, TERN_EINVAL, "ternctl does not know this field's type (%d)",
                              (int)type);
    }
    *bytes = scratch;
    return 0;
}

static int unknown_field(const struct tern_client_schema *schema, const char *name,
                         struct tern_error *error)
{
    struct tern_nearest nearest = {.wanted = name, .wanted_length = strlen(name)};
    char hint[TERN_NEAREST_HINT];

    for (unsigned i = 0; i < schema->field_count; i++)
        tern_nearest_offer(&nearest, schema->fields[i].name, schema->fields[i].name_length);
    if (nearest.best != NULL)
        return tern_error_set(error, TERN_EINVAL, "there is no field '%s'%s", name,
                              tern_nearest_hint(&nearest, "; ", hint));
    return tern_error_set(error, TERN_EINVAL,
                          "there is no field '%s'; `ternctl check` and the "
                          "configuration's `fields:` list them",
                          name);
}

static int set_field(struct tern_request *request, const struct tern_client_name *field,
                     const char *text, uint8_t *scratch, struct tern_error *error)
{
    enum tern_type type = (enum tern_type)field->type;
    const uint8_t *bytes;
    struct tern_error cause;
    size_t length;
    int rc = tern_ctl_value_bytes(type, text, scratch, &bytes, &length, &cause);

    if (rc != 0)
        return tern_error_set(error, rc, "%s=%s: %s", field->name, text, cause.message);
    switch (type) {
    case TERN_TYPE_IP:
        rc = tern_item_set_ip(request, field->id, bytes, length);
        break;
    case TERN_TYPE_STRING:
        rc = tern_item_set_string(request, field->id, (const char *)bytes, length);
        break;
    case TERN_TYPE_U64:
        rc = tern_item_set_u64(request, field->id, tern_load_u64(bytes));
        break;
    case TERN_TYPE_I64:
        rc = tern_item_set_i64(request, field->id, (int64_t)tern_load_u64(bytes));
        break;
    case TERN_TYPE_F32:
        rc = tern_item_set_f32(request, field->id, tern_load_f32(bytes));
        break;
    case TERN_TYPE_BOOL:
        rc = tern_item_set_bool(request, field->id, bytes[0] != 0);
        break;
    case TERN_TYPE_VECTOR:
        if (length / 4 != field->dim)
            return tern_error_set(error, TERN_EINVAL, "%s takes %u numbers, %zu are given",
                                  field->name, (unsigned)field->dim, length / 4);
        rc = tern_item_set_vector(request, field->id, (const float *)(const void *)bytes,
                                  field->dim);
        break;
    default:
        rc = TERN_EINVAL;
    }
    if (rc != 0)
        return tern_error_set(error, rc, "%s cannot be set (given twice?)", field->name);
    return 0;
}

static int set_argument(struct tern_client *client, struct tern_request *request,
                        const char *argument, uint8_t *scratch, struct tern_error *error)
{
    const struct tern_client_schema *schema = tern_client_schema(client);
    const char *equals = strchr(argument, '=');
    char name[TERN_NAME_MAX + 1];

    if (equals == NULL || equals == argument || (size_t)(equals - argument) > TERN_NAME_MAX)
        return tern_error_set(error, TERN_EINVAL, "'%s' is not FIELD=VALUE", argument);
    memcpy(name, argument, (size_t)(equals - argument));
    name[equals - argument] = '\0';
    for (unsigned i = 0; i < schema->field_count; i++)
        if (strcmp(schema->fields[i].name, name) == 0)
            return set_field(request, &schema->fields[i], equals + 1, scratch, error);
    return unknown_field(schema, name, error);
}

int tern_ctl_request_build(struct tern_client *client, const struct tern_invocation *invocation,
                           struct tern_request **out, struct tern_error *error)
{
    /* Aligned for the floats of a vector. */
    uint8_t *scratch = aligned_alloc(64, tern_align_up(TERN_CTL_SCRATCH, 64));
    struct tern_request *request = NULL;
    int rc = scratch == NULL ? TERN_ENOMEM : tern_request_new(client, 0, &request);

    if (rc == 0)
        rc = tern_item_add(request);
    if (rc != 0) {
        tern_error_set(error, rc, "no request can be made: %s", tern_error_text(rc));
    } else if (invocation->given & TERN_CTL_KEY) {
        rc = tern_item_set_key(request, invocation->key);
        if (rc != 0)
            tern_error_set(error, rc, "the key cannot be set");
    }
    for (unsigned i = 0; i < invocation->argument_count && rc == 0; i++)
        rc = set_argument(client, request, invocation->arguments[i], scratch, error);
    free(scratch);
    if (rc != 0) {
        tern_request_free(request);
        return rc;
    }
    *out = request;
    return 0;
}

void tern_ctl_value_json(struct tern_json *json, const char *key,
                         const struct tern_client_column *value)
{
    char text[TERN_ADDRESS_TEXT];

    if (value->type == TERN_TYPE_STRING)
        tern_json_text(json, key, value->value, value->length);
    else if (value->type == TERN_TYPE_U32 && value->length == 4)
        tern_json_u64(json, key, tern_load_u32(value->value));
    else if (value->type == TERN_TYPE_U64 && value->length == 8)
        tern_json_u64(json, key, tern_load_u64(value->value));
    else if (value->type == TERN_TYPE_I64 && value->length == 8)
        tern_json_i64(json, key, (int64_t)tern_load_u64(value->value));
    else if (value->type == TERN_TYPE_F32 && value->length == 4)
        tern_json_float(json, key, tern_load_f32(value->value));
    else if (value->type == TERN_TYPE_BOOL && value->length == 1)
        tern_json_bool(json, key, value->value[0] != 0);
    else if (value->type == TERN_TYPE_IP && (value->length == 4 || value->length == 16))
        tern_json_string(
            json, key,
            (tern_address_format(value->length == 4 ? tern_address_from_4(value->value)
                                                    : tern_address_from_16(value->value),
                                 text),
             text));
    else
        tern_json_null(json, key);
}
