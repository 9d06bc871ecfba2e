#include "perf/load/source.h"

#include "clients/c/tern.h"
#include "perf/load/builder.h"
#include "perf/load/csv.h"
#include "shared/address.h"
#include "shared/schema.h"

#include <errno.h>

int load_builder_add(struct load_builder *builder, const void *bytes, size_t length)
{
    struct load_span span = {builder->bytes.length, (uint32_t)length};

    if (tern_buffer_append(&builder->bytes, bytes, length) != 0 ||
        tern_buffer_append(&builder->frames, &span, sizeof span) != 0)
        return TERN_ENOMEM;
    if (length > builder->longest)
        builder->longest = (uint32_t)length;
    return 0;
}

/* --- Requests in CSV ----------------------------------------------------------------------------
 */

struct column {
    uint8_t id;
    uint8_t type;
};

static const struct {
    const char *name;
    uint8_t type;
} type_names[] = {
    {"ip", TERN_TYPE_IP},     {"string", TERN_TYPE_STRING}, {"host", TERN_TYPE_STRING},
    {"u64", TERN_TYPE_U64},   {"i64", TERN_TYPE_I64},       {"f32", TERN_TYPE_F32},
    {"bool", TERN_TYPE_BOOL},
};

/* Looks `name` up in "ip:ip,host:string,…". */
static int column_from_list(const char *list, const char *name, size_t length,
                            struct column *column, struct tern_error *error)
{
    unsigned id = 1;

    for (const char *at = list; *at != '\0'; id++) {
        size_t entry = strcspn(at, ",");
        const char *colon = memchr(at, ':', entry);

        if (colon == NULL || id > TERN_FIELDS_MAX)
            return tern_error_set(error, TERN_EINVAL,
                                  "--fields %s: expected name:type,… of at most %u", list,
                                  TERN_FIELDS_MAX);
        if ((size_t)(colon - at) == length && memcmp(at, name, length) == 0) {
            size_t type = entry - length - 1;

            for (size_t i = 0; i < TERN_COUNT(type_names); i++) {
                if (strlen(type_names[i].name) == type &&
                    memcmp(type_names[i].name, colon + 1, type) == 0) {
                    *column = (struct column){(uint8_t)id, type_names[i].type};
                    return 0;
                }
            }
            return tern_error_set(
                error, TERN_EINVAL,
                "--fields: type \"%.*s\": expected ip, string, host, u64, i64, f32 or bool",
                (int)type, colon + 1);
        }
        at += entry + (at[entry] == ',');
    }
    return tern_error_set(error, TERN_EINVAL, "column \"%.*s\" is not among --fields %s",
                          (int)length, name, list);
}

static int column_from_schema(const struct tern_client_schema *schema, const char *name,
                              size_t length, struct column *column, struct tern_error *error)
{
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct tern_client_name *field = &schema->fields[i];

        if (field->name_length == length && memcmp(field->name, name, length) == 0) {
            *column = (struct column){(uint8_t)field->id, field->type};
            return 0;
        }
    }
    return tern_error_set(error, TERN_EINVAL, "the server has no field \"%.*s\"", (int)length,
                          name);
}

/* The wire form of a cell. `scratch` has 16 bytes. */
static int cell_to_bytes(uint8_t type, const char *text, size_t length, uint8_t *scratch,
                         const void **bytes, size_t *bytes_length)
{
    struct tern_address address;
    char number[64];
    char *end = NULL;

    *bytes = scratch;
    if (type == TERN_TYPE_STRING) {
        *bytes = text;
        *bytes_length = length;
        return length <= UINT16_MAX ? 0 : TERN_ELIMIT;
    }
    if (type == TERN_TYPE_IP) {
        if (tern_address_parse(text, length, &address) != 0)
            return TERN_EINVAL;
        *bytes_length = tern_address_to_bytes(address, scratch);
        return 0;
    }
    if (length == 0 || length >= sizeof number)
        return TERN_EINVAL;
    memcpy(number, text, length);
    number[length] = '\0';
    errno = 0;
    switch (type) {
    case TERN_TYPE_U64:
        if (number[0] == '-')
            return TERN_EINVAL;
        tern_store_u64(scratch, strtoull(number, &end, 10));
        *bytes_length = 8;
        break;
    case TERN_TYPE_I64:
        tern_store_u64(scratch, (uint64_t)strtoll(number, &end, 10));
        *bytes_length = 8;
        break;
    case TERN_TYPE_F32:
        tern_store_f32(scratch, strtof(number, &end));
        *bytes_length = 4;
        break;
    case TERN_TYPE_BOOL:
        scratch[0] = number[0] == 't' || number[0] == '1';
        *bytes_length = 1;
        end = number + length;
        if (strcmp(number, "true") != 0 && strcmp(number, "false") != 0 &&
            strcmp(number, "1") != 0 && strcmp(number, "0") != 0)
            return TERN_EINVAL;
        break;
    default:
        return TERN_ENOTSUP;
    }
    return errno == 0 && *end == '\0' ? 0 : TERN_EINVAL;
}

/* Appends the row as an item; an empty cell is a missing field. */
static int append_item(struct tern_buffer *body, const struct load_csv *csv,
                       const struct column *columns, unsigned column_count,
                       struct tern_error *error)
{
    size_t start = body->length;
    uint8_t head[3] = {0};

    if (tern_buffer_append(body, head, 2) != 0)
        return TERN_ENOMEM;
    for (unsigned i = 0; i < column_count && i < csv->count; i++) {
        uint8_t scratch[16];
        const void *bytes;
        size_t length;

        if (csv->lengths[i] == 0)
            continue;
        if (cell_to_bytes(columns[i].type, csv->cells[i], csv->lengths[i], scratch, &bytes,
                          &length) != 0)
            return tern_error_set(error, TERN_EINVAL, "line %u, column %u: \"%.*s\" is no %s",
                                  csv->line, i + 1, (int)tern_min_u64(csv->lengths[i], 64),
                                  csv->cells[i], tern_type_name(columns[i].type));
        head[0] = columns[i].id;
        tern_store_u16(head + 1, (uint16_t)length);
        if (tern_buffer_append(body, head, sizeof head) != 0 ||
            tern_buffer_append(body, bytes, length) != 0)
            return TERN_ENOMEM;
    }
    if (body->length - start - 2 > UINT16_MAX)
        return tern_error_set(error, TERN_ELIMIT, "line %u: an item is at most 65535 bytes",
                              csv->line);
    tern_store_u16(body->data + start, (uint16_t)(body->length - start - 2));
    return 0;
}

/* `frame` holds header, count and `items` items: completes and adds it. */
static int finish_frame(struct load_builder *builder, struct tern_buffer *frame, unsigned items,
                        struct tern_error *error)
{
    struct tern_frame header = {.magic = TERN_WIRE_MAGIC, .op = TERN_OP_DECIDE};

    if (frame->length - TERN_FRAME_HEADER > TERN_MAX_FRAME_LIMIT)
        return tern_error_set(error, TERN_ELIMIT, "a frame of %zu bytes is over the limit",
                              frame->length);
    header.body_length = (uint32_t)(frame->length - TERN_FRAME_HEADER);
    tern_frame_store(frame->data, header);
    tern_store_u16(frame->data + TERN_FRAME_HEADER, (uint16_t)items);
    return load_builder_add(builder, frame->data, frame->length);
}

static int build_requests(struct load_builder *builder, const struct load_options *options,
                          struct load_csv *csv, const struct tern_client_schema *schema,
                          struct tern_error *error)
{
    struct column columns[LOAD_CSV_COLUMNS];
    struct tern_buffer frame = {0};
    unsigned column_count, items = 0;
    int code = load_csv_next(csv, error);

    if (code == 0)
        return tern_error_set(error, TERN_EINVAL, "%s is empty", options->requests_path);
    if (code < 0)
        return code;
    column_count = csv->count;
    for (unsigned i = 0; i < column_count; i++) {
        code = schema != NULL
                   ? column_from_schema(schema, csv->cells[i], csv->lengths[i], &columns[i], error)
                   : column_from_list(options->fields, csv->cells[i], csv->lengths[i], &columns[i],
                                      error);
        if (code != 0)
            return code;
    }
    while (code >= 0) {
        code = load_csv_next(csv, error);
        if (code < 0)
            break;
        if (items == options->items || (code == 0 && items > 0)) {
            int finished = finish_frame(builder, &frame, items, error);

            items = 0;
            if (finished != 0)
                code = finished;
        }
        if (code <= 0)
            break;
        if (items == 0) {
            frame.length = 0;
            if (tern_buffer_append_zero(&frame, TERN_FRAME_HEADER + 2) != 0) {
                code = TERN_ENOMEM;
                break;
            }
        }
        code = append_item(&frame, csv, columns, column_count, error);
        items++;
    }
    tern_buffer_free(&frame);
    return code;
}

static int from_requests(struct load_builder *builder, const struct load_options *options,
                         struct tern_error *error)
{
    struct tern_client_options client_options = {.token = options->token, .name = "tern-load"};
    struct tern_client *client = NULL;
    struct load_csv csv;
    int code = load_csv_open(options->requests_path, &csv, error);

    if (code != 0)
        return code;
    if (options->fields == NULL)
        code = tern_client_open(options->target, &client_options, &client, error);
    if (code == 0)
        code = build_requests(builder, options, &csv,
                              client == NULL ? NULL : tern_client_schema(client), error);
    tern_client_close(client);
    load_csv_free(&csv);
    return code;
}

/* --- Other sources ------------------------------------------------------------------------------
 */

static int from_frames(struct load_builder *builder, const char *path, struct tern_error *error)
{
    FILE *file = fopen(path, "re");
    struct tern_buffer frame = {0};
    uint8_t prefix[4];
    int code = 0;
    size_t got = 0;

    if (file == NULL)
        return tern_error_system(error, errno, "%s", path);
    while (code == 0 && (got = fread(prefix, 1, sizeof prefix, file)) == sizeof prefix) {
        uint32_t length = tern_load_u32(prefix);

        if (length < TERN_FRAME_HEADER || length > TERN_FRAME_HEADER + TERN_MAX_FRAME_LIMIT) {
            code = tern_error_set(error, TERN_EINVAL, "%s: a frame of %u bytes", path, length);
            break;
        }
        frame.length = 0;
        code = tern_buffer_append_zero(&frame, length);
        if (code == 0 && fread(frame.data, 1, length, file) != length)
            code = tern_error_set(error, TERN_EINVAL, "%s ends within a frame", path);
        if (code == 0)
            code = load_builder_add(builder, frame.data, length);
    }
    if (code == 0 && got != 0)
        code = tern_error_set(error, TERN_EINVAL, "%s ends within a length", path);
    tern_buffer_free(&frame);
    fclose(file);
    return code;
}

static int generated(struct load_builder *builder, const struct load_options *options)
{
    uint32_t length = options->protocol == LOAD_ECHO ? options->frame_bytes : TERN_FRAME_HEADER;
    struct tern_frame header = {.magic = TERN_WIRE_MAGIC, .op = TERN_OP_PING};
    uint8_t *frame = calloc(1, length);
    int code;

    if (frame == NULL)
        return TERN_ENOMEM;
    header.body_length = length - TERN_FRAME_HEADER;
    tern_frame_store(frame, header);
    code = load_builder_add(builder, frame, length);
    free(frame);
    return code;
}

size_t load_key_format(char text[LOAD_KEY_BYTES], unsigned index)
{
    return (size_t)snprintf(text, LOAD_KEY_BYTES, "key:%012u", index);
}

/* GETs of the keys in a random order. */
static int gets(struct load_builder *builder, const struct load_options *options)
{
    uint64_t seed = options->seed;
    int code = 0;

    for (unsigned i = 0; code == 0 && i < options->keys; i++) {
        char key[LOAD_KEY_BYTES], command[64];
        size_t length = load_key_format(key, (unsigned)(load_random(&seed) % options->keys));
        int written = options->protocol == LOAD_MEMCACHED
                          ? snprintf(command, sizeof command, "get %s\r\n", key)
                          : snprintf(command, sizeof command, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n",
                                     length, key);

        code = load_builder_add(builder, command, (size_t)written);
    }
    return code;
}

static int read_expectations(const char *path, struct load_source *source, struct tern_error *error)
{
    struct load_csv csv;
    uint32_t count = 0;
    int code = load_csv_open(path, &csv, error);

    if (code != 0)
        return code;
    source->expected = calloc(source->count, sizeof *source->expected);
    if (source->expected == NULL)
        code = TERN_ENOMEM;
    else
        code = load_csv_next(&csv, error);
    while (code > 0 && (code = load_csv_next(&csv, error)) > 0 && count < source->count) {
        struct load_expectation *expected = &source->expected[count++];
        unsigned action;

        for (action = TERN_ALLOW; action <= TERN_UNDECIDED; action++) {
            const char *name = tern_action_name((enum tern_action)action);

            if (strlen(name) == csv.lengths[0] && memcmp(name, csv.cells[0], csv.lengths[0]) == 0)
                break;
        }
        expected->action = (uint8_t)action;
        expected->rule = LOAD_RULE_ANY;
        if (action > TERN_UNDECIDED)
            code = tern_error_set(error, TERN_EINVAL, "%s:%u: \"%.*s\" is no action", path,
                                  csv.line, (int)csv.lengths[0], csv.cells[0]);
        if (csv.count > 1 && csv.lengths[1] > 0)
            expected->rule = (uint32_t)strtoul(csv.cells[1], NULL, 10);
    }
    if (code == 0 && count != source->count)
        code = tern_error_set(error, TERN_EINVAL, "%s has %u rows for %u frames", path, count,
                              source->count);
    load_csv_free(&csv);
    return code < 0 ? code : 0;
}

int load_source_open(const struct load_options *options, struct load_source *source,
                     struct tern_error *error)
{
    struct load_builder builder = {0};
    int code;

    if (error != NULL)
        error->message[0] = '\0';
    if (options->protocol == LOAD_RESP || options->protocol == LOAD_MEMCACHED)
        code = gets(&builder, options);
    else if (options->frames_path != NULL)
        code = from_frames(&builder, options->frames_path, error);
    else if (options->search != NULL)
        code = load_searches_build(&builder, options, error);
    else if (options->requests_path != NULL)
        code = from_requests(&builder, options, error);
    else
        code = generated(&builder, options);
    if (code == 0 && builder.frames.length == 0)
        code = tern_error_set(error, TERN_EINVAL, "there is no request to send");
    if (code == TERN_ENOMEM)
        tern_error_set(error, TERN_ENOMEM, "no memory for the frames");
    *source = (struct load_source){
        .bytes = builder.bytes.data,
        .frames = (struct load_span *)builder.frames.data,
        .count = (uint32_t)(builder.frames.length / sizeof(struct load_span)),
        .longest = builder.longest,
    };
    if (code == 0 && options->expect_path != NULL)
        code = read_expectations(options->expect_path, source, error);
    if (code != 0)
        load_source_free(source);
    return code;
}

int load_source_write(const struct load_source *source, const char *path, struct tern_error *error)
{
    FILE *file = fopen(path, "we");
    bool failed = false;

    if (file == NULL)
        return tern_error_system(error, errno, "%s", path);
    for (uint32_t i = 0; i < source->count && !failed; i++) {
        const struct load_span *frame = &source->frames[i];

        failed = fwrite(&frame->length, 4, 1, file) != 1 ||
                 fwrite(source->bytes + frame->offset, frame->length, 1, file) != 1;
    }
    if (fclose(file) != 0 || failed)
        return tern_error_system(error, errno, "%s", path);
    return 0;
}

void load_source_free(struct load_source *source)
{
    free(source->bytes);
    free(source->frames);
    free(source->expected);
    *source = (struct load_source){0};
}
