/* collections: vectors that are searched by likeness; what makes their objects, and what changes in
 * place. */
#include "controlplane/config/quantity.h"
#include "controlplane/config/reader.h"

/* ---- Payload ---- */

struct column { /* as it is read; names first */
    struct tern_text name;
    enum tern_type type;
};

static bool type_is_possible(enum tern_type type, uint8_t flags)
{
    return flags == 0 &&
           (type == TERN_TYPE_STRING || type == TERN_TYPE_BOOL || type == TERN_TYPE_U32 ||
            type == TERN_TYPE_U64 || type == TERN_TYPE_I64 || type == TERN_TYPE_F32);
}

static void read_column(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                        void *element)
{
    struct column *column = element;
    struct tern_text text = {0};
    enum tern_type type;
    uint8_t flags;
    uint32_t dim;

    /* what a vector has besides its payload, in files that are ingested and in answers */
    if (strcmp(column->name.text, "id") == 0 || strcmp(column->name.text, "vector") == 0)
        TERN_CONFIG_ERROR(
            reader, column->name.place,
            "every vector has '%s' besides its payload: the column needs another name",
            column->name.text);
    tern_config_read_text(reader, &(struct tern_config_key){.name = column->name.text}, node,
                          &text);
    if (text.text == NULL || !tern_config_read_type(reader, &text, true, &type, &flags, &dim))
        return;
    if (!type_is_possible(type, flags))
        TERN_CONFIG_ERROR(reader, text.place,
                          "a payload cannot hold %s; it holds string, bool, u32, u64, i64 or f32",
                          text.text);
    else
        column->type = type;
}

static void read_payload(struct tern_config_reader *reader, const struct tern_config_key *key,
                         const struct tern_yaml_node *node, void *member)
{
    struct tern_graph_shape *shape = &((struct tern_config_collection *)member)->shape;
    unsigned count = 0;
    const struct column *columns =
        tern_config_read_named(reader, key, node, "payload column", sizeof *columns,
                               TERN_PAYLOAD_COLUMNS_MAX, read_column, &count);

    for (unsigned i = 0; columns != NULL && i < count; i++) {
        struct tern_graph_column *column = &shape->columns[i];

        snprintf(column->name, sizeof column->name, "%s",
                 columns[i].name.text != NULL ? columns[i].name.text : "");
        column->type = (uint8_t)columns[i].type;
    }
    shape->column_count = count;
}

/* ---- Single keys ---- */

static void read_u32(struct tern_config_reader *reader, const struct tern_config_key *key,
                     const struct tern_yaml_node *node, void *member)
{
    uint64_t value = *(uint32_t *)member;

    assert(key->maximum <= UINT32_MAX);
    tern_config_read_count(reader, key, node, &value);
    *(uint32_t *)member = (uint32_t)value;
}

static void read_source(struct tern_config_reader *reader, const struct tern_config_key *key,
                        const struct tern_yaml_node *node, void *member)
{
    struct tern_config_collection *collection = member;

    tern_config_read_text(reader, key, node, &collection->source);
    if (collection->source.text != NULL)
        collection->source_path = tern_config_resolve(reader, &collection->source);
}

/* ---- A collection ---- */

static const struct tern_config_choice metrics[] = {
    {"cosine", TERN_METRIC_COSINE}, {"l2", TERN_METRIC_L2}, {"dot", TERN_METRIC_DOT}, {NULL, 0}};
static const struct tern_config_choice quantizers[] = {
    {"none", TERN_QUANTIZE_NONE}, {"int8", TERN_QUANTIZE_INT8}, {NULL, 0}};

enum {
    KEY_DIM,
    KEY_METRIC,
    KEY_M,
    KEY_EF_CONSTRUCT,
    KEY_EF_SEARCH,
    KEY_FULL_SCAN,
    KEY_QUANTIZE,
    KEY_CAPACITY,
    KEY_PAYLOAD,
    KEY_SOURCE,
};

#define SHAPE(member_name)      offsetof(struct tern_config_collection, shape.member_name)
#define PARAMETERS(member_name) offsetof(struct tern_config_collection, parameters.member_name)
static const struct tern_config_key collection_keys[] = {
    [KEY_DIM] = {.name = "dim",
                 .read = read_u32,
                 .offset = SHAPE(dim),
                 .required = true,
                 .minimum = 1,
                 .maximum = TERN_DIM_MAX},
    [KEY_METRIC] = {.name = "metric",
                    .read = tern_config_read_choice,
                    .offset = SHAPE(metric),
                    .choices = metrics},
    [KEY_M] = {.name = "m",
               .read = read_u32,
               .offset = SHAPE(m),
               .minimum = TERN_M_MIN,
               .maximum = TERN_M_MAX},
    [KEY_EF_CONSTRUCT] = {.name = "ef_construct",
                          .read = read_u32,
                          .offset = PARAMETERS(ef_construct),
                          .minimum = TERN_M_MIN,
                          .maximum = TERN_SEARCH_EF_MAX},
    [KEY_EF_SEARCH] = {.name = "ef_search",
                       .read = read_u32,
                       .offset = PARAMETERS(ef_search),
                       .minimum = 1,
                       .maximum = TERN_SEARCH_EF_MAX},
    [KEY_FULL_SCAN] = {.name = "full_scan_vectors",
                       .read = read_u32,
                       .offset = PARAMETERS(full_scan),
                       .maximum = TERN_COLLECTION_CAPACITY_MAX},
    [KEY_QUANTIZE] = {.name = "quantize",
                      .read = tern_config_read_choice,
                      .offset = SHAPE(quantize),
                      .choices = quantizers},
    [KEY_CAPACITY] = {.name = "capacity",
                      .read = read_u32,
                      .offset = SHAPE(capacity),
                      .minimum = 1,
                      .maximum = TERN_COLLECTION_CAPACITY_MAX},
    [KEY_PAYLOAD] = {.name = "payload", .read = read_payload},
    [KEY_SOURCE] = {.name = "source", .read = read_source},
};
#undef SHAPE
#undef PARAMETERS

static void read_collection(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                            void *element)
{
    struct tern_config_collection *collection = element;
    char what[TERN_NAME_MAX + 24];

    snprintf(what, sizeof what, "collection '%s'", collection->name.text);
    collection->shape = (struct tern_graph_shape){
        .metric = TERN_METRIC_COSINE, .quantize = TERN_QUANTIZE_INT8, .m = 16, .capacity = 1000000};
    collection->parameters =
        (struct tern_graph_parameters){.ef_search = 64, .ef_construct = 128, .full_scan = 10000};
    tern_config_read_mapping(reader, node, what, collection_keys, TERN_COUNT(collection_keys),
                             collection);
    if (collection->parameters.ef_construct < collection->shape.m)
        TERN_CONFIG_ERROR(reader, node->place,
                          "'ef_construct' is %u in %s, less than 'm' (%u): a vector cannot be "
                          "linked to more others than are looked at",
                          collection->parameters.ef_construct, what, collection->shape.m);
}

void tern_config_read_collections(struct tern_config_reader *reader,
                                  const struct tern_config_key *key,
                                  const struct tern_yaml_node *node, void *member)
{
    struct tern_config *config = member;

    config->collections =
        tern_config_read_named(reader, key, node, "collection", sizeof *config->collections,
                               TERN_COLLECTIONS_MAX, read_collection, &config->collection_count);
}

/* ---- Across sections ---- */

/* Rules name collections beside fields and tables. */
static void check_name(struct tern_config_reader *reader, const struct tern_text *name)
{
    const struct tern_config *config = reader->config;

    tern_config_check_word(reader, name, "collection");
    for (unsigned i = 0; i < config->field_count; i++)
        if (strcmp(config->fields[i].name.text, name->text) == 0)
            TERN_CONFIG_ERROR(reader, name->place,
                              "collection '%s' has the name of a field (line %u)", name->text,
                              config->fields[i].name.place.line);
    for (unsigned i = 0; i < config->table_count; i++)
        if (strcmp(config->tables[i].name.text, name->text) == 0)
            TERN_CONFIG_ERROR(reader, name->place,
                              "collection '%s' has the name of a table (line %u)", name->text,
                              config->tables[i].name.place.line);
}

/* Rounded up to what people would write. */
static uint64_t round_up(uint64_t bytes)
{
    return tern_align_up(bytes, bytes < 1ull << 30 ? 64ull << 20 : 1ull << 30);
}

/* What collections reserve is known before anything is built: the arena has to have it, and should
 * have room to build the largest of them anew beside itself, and for everything else. */
static void check_room(struct tern_config_reader *reader)
{
    const struct tern_config *config = reader->config;
    const struct tern_config_collection *first = NULL;
    uint64_t reserved = 0, largest = 0;

    for (unsigned i = 0; i < config->collection_count; i++) {
        const struct tern_config_collection *collection = &config->collections[i];
        uint64_t length;

        if (collection->shape.dim == 0)
            return; /* its own error has been reported */
        length = tern_align_up(tern_graph_length(&collection->shape), TERN_EXTENT);
        reserved += length;
        largest = tern_max_u64(largest, length);
        if (first == NULL && reserved + TERN_EXTENT > config->arena_bytes)
            first = collection;
    }
    if (first != NULL) {
        char arena[TERN_QUANTITY_TEXT], needed[TERN_QUANTITY_TEXT], enough[TERN_QUANTITY_TEXT];

        tern_quantity_format_size(config->arena_bytes, arena);
        tern_quantity_format_size(tern_align_up(reserved, 1u << 20), needed);
        tern_quantity_format_size(round_up(reserved + largest + (64u << 20)), enough);
        TERN_CONFIG_ERROR(
            reader, first->name.place,
            "collection '%s' does not fit 'arena' (%s): all collections reserve %s of "
            "address space at their 'capacity'; 'arena: %s' would have room to build "
            "the largest anew beside itself as well",
            first->name.text, arena, needed, enough);
    }
}

void tern_config_check_collections(struct tern_config_reader *reader)
{
    const struct tern_config *config = reader->config;

    for (unsigned i = 0; i < config->collection_count; i++)
        check_name(reader, &config->collections[i].name);
    check_room(reader);
}
