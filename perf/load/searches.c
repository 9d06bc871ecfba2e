#include "clients/c/tern.h"
#include "perf/load/builder.h"

#include <errno.h>

#define FRAMES_MAX 100000u

struct asked {
    uint16_t collection;
    uint32_t dim;
};

static int ask(const struct load_options *options, struct asked *asked, struct tern_error *error)
{
    const struct tern_client_options client_options = {.token = options->token,
                                                       .name = "tern-load"};
    const struct tern_client_schema *schema;
    struct tern_client *client = NULL;
    int code = tern_client_open(options->target, &client_options, &client, error);

    if (code != 0)
        return code;
    schema = tern_client_schema(client);
    code = tern_client_collection(client, options->search);
    for (unsigned i = 0; code >= 0 && i < schema->collection_count; i++)
        if (schema->collections[i].id == code)
            *asked = (struct asked){schema->collections[i].id, schema->collections[i].dim};
    tern_client_close(client);
    if (code < 0)
        return tern_error_set(error, TERN_ENOENT, "--search %s: %s has no such collection",
                              options->search, options->target);
    return 0;
}

/* Header, head and filter of `frame`; its vector is filled in for each. */
static int prepare(struct tern_buffer *frame, const struct load_options *options,
                   const struct asked *asked, struct tern_error *error)
{
    size_t vector_bytes = asked->dim * sizeof(float);
    size_t filter_length = options->filter == NULL ? 0 : strlen(options->filter);
    uint8_t *body;

    if (filter_length > UINT16_MAX)
        return tern_error_set(error, TERN_EINVAL, "--filter is %zu bytes", filter_length);
    if (tern_buffer_append_zero(frame, TERN_FRAME_HEADER + TERN_SEARCH_HEAD + vector_bytes) != 0)
        return TERN_ENOMEM;
    if (options->filter != NULL) {
        uint8_t length[2];

        tern_store_u16(length, (uint16_t)filter_length);
        if (tern_buffer_append(frame, length, sizeof length) != 0 ||
            tern_buffer_append(frame, options->filter, filter_length) != 0)
            return TERN_ENOMEM;
    }
    tern_frame_store(frame->data, (struct tern_frame){
                                      .magic = TERN_WIRE_MAGIC,
                                      .op = TERN_OP_SEARCH,
                                      .body_length = (uint32_t)(frame->length - TERN_FRAME_HEADER),
                                  });
    body = frame->data + TERN_FRAME_HEADER;
    tern_store_u16(body, asked->collection);
    tern_store_u16(body + 2, (uint16_t)options->k);
    tern_store_u16(body + 4, (uint16_t)options->ef);
    return 0;
}

int load_searches_build(struct load_builder *builder, const struct load_options *options,
                        struct tern_error *error)
{
    struct tern_buffer frame = {0};
    struct asked asked = {0};
    int code = ask(options, &asked, error);
    size_t got, row = 0;
    FILE *file;

    if (code != 0)
        return code;
    file = fopen(options->vectors_path, "re");
    if (file == NULL)
        return tern_error_system(error, errno, "%s", options->vectors_path);
    code = prepare(&frame, options, &asked, error);
    row = asked.dim * sizeof(float);
    for (unsigned i = 0; code == 0 && i < FRAMES_MAX; i++) {
        got = fread(frame.data + TERN_FRAME_HEADER + TERN_SEARCH_HEAD, 1, row, file);
        if (got == 0)
            break;
        if (got != row)
            code = tern_error_set(error, TERN_EINVAL,
                                  "%s ends within a vector: collection %s takes %u f32 for each",
                                  options->vectors_path, options->search, asked.dim);
        else
            code = load_builder_add(builder, frame.data, frame.length);
    }
    fclose(file);
    tern_buffer_free(&frame);
    return code;
}
