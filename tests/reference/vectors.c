#include "tests/reference/world.h"

#include <math.h>

/* The similarities of these vectors are exact in f32: coordinates are ±1, and there are 16. */

static const char *const labels[] = {"DE", "US", "user1", "", "/p1/x", "longer than others"};
static const struct {
    const char *name;
    enum tern_metric metric;
    enum tern_quantize quantize;
} collection_list[WORLD_COLLECTIONS] = {
    {"docs", TERN_METRIC_COSINE, TERN_QUANTIZE_INT8},
    {"near", TERN_METRIC_L2, TERN_QUANTIZE_NONE},
    {"mass", TERN_METRIC_DOT, TERN_QUANTIZE_INT8},
    {"unserved", TERN_METRIC_COSINE, TERN_QUANTIZE_NONE},
};
static const struct tern_graph_column columns[] = {{"label", TERN_TYPE_STRING},
                                                   {"tier", TERN_TYPE_U32},
                                                   {"age", TERN_TYPE_I64},
                                                   {"vip", TERN_TYPE_BOOL},
                                                   {"big", TERN_TYPE_U64}};

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Every fifth is like the ones before it but for a sign or two. */
void world_vector_values(uint64_t number, float values[WORLD_DIM])
{
    uint64_t signs = mix(number / 5 % 8), turned = mix(number);

    if (number % 5 > 1)
        signs ^= 1ull << turned % 16;
    if (number % 5 > 3)
        signs ^= 1ull << turned / 16 % 16;
    for (unsigned i = 0; i < WORLD_DIM; i++)
        values[i] = signs >> i & 1 ? 1 : -1;
}

static int allocate(void *context, uint64_t offset, uint64_t length, struct tern_error *error)
{
    (void)context, (void)offset, (void)length, (void)error;
    return 0;
}

static uint64_t grace_begin(void *context)
{
    (void)context;
    return 1;
}

static bool grace_over(void *context, uint64_t number)
{
    (void)context, (void)number;
    return true; /* nobody searches meanwhile */
}

static const struct tern_graph_host host = {NULL, allocate, grace_begin, grace_over};

static void put(struct world *world, enum world_collection collection, uint64_t seq,
                const struct world_vector *vector)
{
    struct tern_graph_value values[TERN_COUNT(columns)];
    struct tern_error error = {0};
    int status;

    memset(values, 0, sizeof values);
    for (unsigned i = 0; i < TERN_COUNT(columns); i++) {
        const struct tern_payload_value *value = &vector->payload[i];

        values[i].present = value->type != TERN_TYPE_NONE;
        if (value->type == TERN_TYPE_STRING) {
            values[i].string.bytes = (const char *)value->string.bytes;
            values[i].string.length = value->string.length;
        } else {
            values[i].u64 = value->u64;
        }
    }
    status =
        tern_graph_put(world->graphs[collection], vector->id, seq, vector->values, values, &error);
    assert(status == 0);
    (void)status;
}

static void make_payload(uint64_t number, struct tern_payload_value payload[])
{
    const char *label = labels[number % TERN_COUNT(labels)];

    memset(payload, 0, TERN_COUNT(columns) * sizeof *payload);
    for (unsigned i = 0; i < TERN_COUNT(columns); i++)
        if (mix(number + 1000 * i) % 8 != 0)
            payload[i].type = columns[i].type;
    payload[0].string.bytes = (const uint8_t *)label;
    payload[0].string.length = (uint32_t)strlen(label);
    payload[1].u64 = number % 3;
    payload[2].i64 = (int64_t)(number % 5) - 2;
    payload[3].u64 = number & 1;
    payload[4].u64 = number % 4 == 0 ? UINT64_MAX : number % 7;
}

static void make_collection(struct world *world, enum world_collection id)
{
    struct tern_graph_shape shape = {.dim = WORLD_DIM,
                                     .metric = collection_list[id - 1].metric,
                                     .quantize = collection_list[id - 1].quantize,
                                     .m = 8,
                                     .capacity = 4096,
                                     .column_count = TERN_COUNT(columns)};
    const struct tern_graph_parameters parameters = {64, 64, 1000};
    const char *name = collection_list[id - 1].name;
    static const uint8_t store_id[16] = {1};
    struct tern_error error = {0};
    uint64_t length;
    int status;

    memcpy(shape.columns, columns, sizeof columns);
    world->collections[id - 1] = (struct tern_config_collection){
        .name = {.text = name, .length = strlen(name), .place = {"world.yaml", 1, 1}},
        .shape = shape,
        .parameters = parameters};
    if (id == WORLD_UNSERVED)
        return;
    length = tern_align_up(tern_graph_length(&shape), TERN_PAGE);
    world->objects[id] = aligned_alloc(TERN_PAGE, length);
    assert(world->objects[id] != NULL);
    memset(world->objects[id], 0, length);
    status =
        tern_graph_format(world->objects[id], length, &shape, &parameters, store_id, &host, &error);
    assert(status == 0);
    status = tern_graph_open(&world->graphs[id], world->objects[id], length, &host, &error);
    assert(status == 0);
    (void)status;
    for (unsigned i = 0; i < WORLD_VECTORS; i++) {
        struct world_vector *vector = &world->vectors[id][i];

        vector->id = mix(i + 100 * id) % 1000 * WORLD_VECTORS + i;
        vector->is_live = true;
        world_vector_values(mix(i + id) % 40, vector->values);
        make_payload(mix(i * id), vector->payload);
        put(world, id, i + 1, vector);
    }
    world->served[id] = *tern_graph_collection(world->graphs[id]);
}

void world_vector_put(struct world *world, enum world_collection collection, unsigned index,
                      const struct world_vector *vector)
{
    struct world_vector *old = &world->vectors[collection][index];
    uint64_t id = old->id, seq = 0;

    tern_graph_find(world->graphs[collection], id, &seq);
    *old = *vector;
    old->id = id;
    old->is_live = true;
    put(world, collection, seq + 1000, old);
}

void world_vector_remove(struct world *world, enum world_collection collection, unsigned index)
{
    struct world_vector *vector = &world->vectors[collection][index];
    uint64_t seq = 0;

    tern_graph_find(world->graphs[collection], vector->id, &seq);
    tern_graph_remove(world->graphs[collection], vector->id, seq + 1000);
    vector->is_live = false;
}

/* --- looked at one by one --- */

static float similarity(enum tern_metric metric, const float *a, const float *b)
{
    double dot = 0, apart = 0, length_a = 0, length_b = 0;

    for (unsigned i = 0; i < WORLD_DIM; i++) {
        dot += (double)a[i] * (double)b[i];
        apart += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        length_a += (double)a[i] * (double)a[i];
        length_b += (double)b[i] * (double)b[i];
    }
    switch (metric) {
    case TERN_METRIC_L2:
        return 1.0f / (1.0f + (float)sqrt(apart));
    case TERN_METRIC_DOT:
        return (float)dot;
    default:
        return (float)(dot / (sqrt(length_a) * sqrt(length_b)));
    }
}

static unsigned nearest(void *context, unsigned collection, const uint8_t *query, unsigned k,
                        struct tern_reference_neighbour *neighbours)
{
    const struct world *world = context;
    const struct world_vector *vectors = world->vectors[collection];
    unsigned count = 0;
    float values[WORLD_DIM];

    memcpy(values, query, sizeof values);
    for (unsigned i = 0; world->graphs[collection] != NULL && i < WORLD_VECTORS; i++) {
        struct tern_reference_neighbour made = {
            similarity(collection_list[collection - 1].metric, values, vectors[i].values), i};
        unsigned at = count;

        if (!vectors[i].is_live)
            continue;
        while (at > 0 && (neighbours[at - 1].similarity < made.similarity ||
                          (neighbours[at - 1].similarity == made.similarity &&
                           vectors[neighbours[at - 1].handle].id > vectors[i].id)))
            at--;
        if (at == k)
            continue;
        count += count < k;
        memmove(&neighbours[at + 1], &neighbours[at], (count - at - 1) * sizeof *neighbours);
        neighbours[at] = made;
    }
    return count;
}

static struct tern_payload_value value_of(void *context, unsigned collection,
                                          const struct tern_reference_neighbour *neighbour,
                                          const char *column)
{
    const struct world *world = context;
    unsigned i = 0;

    while (strcmp(columns[i].name, column) != 0)
        i++;
    return world->vectors[collection][neighbour->handle].payload[i];
}

static bool sample(void *context, unsigned collection, uint64_t random, uint8_t *vector)
{
    const struct world *world = context;

    memcpy(vector, world->vectors[collection][random % WORLD_VECTORS].values,
           WORLD_DIM * sizeof(float));
    return world->graphs[collection] != NULL;
}

void world_collections_make(struct world *world)
{
    for (unsigned id = 1; id <= WORLD_COLLECTIONS; id++)
        make_collection(world, (enum world_collection)id);
    world->source = (struct tern_reference_vectors){world, nearest, value_of, sample};
}

void world_collections_free(struct world *world)
{
    for (unsigned id = 1; id <= WORLD_COLLECTIONS; id++) {
        if (world->graphs[id] != NULL)
            tern_graph_close(world->graphs[id]);
        free(world->objects[id]);
    }
}
