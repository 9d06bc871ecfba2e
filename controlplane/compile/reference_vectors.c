#include "controlplane/compile/reference_vectors.h"

/* Two values of one column. */
static bool same_value(const struct tern_payload_value *a, const struct tern_payload_value *b)
{
    if (a->type == TERN_TYPE_STRING)
        return a->string.length == b->string.length &&
               memcmp(a->string.bytes, b->string.bytes, a->string.length) == 0;
    return a->u64 == b->u64;
}

static union tern_value value_of(const struct tern_payload_value *payload)
{
    union tern_value value;

    memset(&value, 0, sizeof value);
    switch (payload->type) {
    case TERN_TYPE_STRING:
        value.string.bytes = payload->string.bytes;
        value.string.length = payload->string.length;
        break;
    case TERN_TYPE_I64:
        value.i64 = payload->i64;
        break;
    case TERN_TYPE_BOOL:
        value.boolean = payload->u64 != 0;
        break;
    default:
        value.u64 = payload->u64;
        break;
    }
    return value;
}

/* The value with the greatest sum of similarities; of equal ones that of the nearest neighbour. */
static bool majority(const struct tern_reference_vectors *vectors, unsigned collection,
                     const char *column, const struct tern_reference_neighbour *neighbours,
                     unsigned count, union tern_value *value)
{
    struct tern_payload_value *values = calloc(count, sizeof *values);
    double most = 0;

    for (unsigned i = 0; values != NULL && i < count; i++)
        if (neighbours[i].similarity > 0)
            values[i] = vectors->value(vectors->context, collection, &neighbours[i], column);
    for (unsigned i = 0; values != NULL && i < count; i++) {
        double sum = 0;

        for (unsigned j = 0; j < count && values[i].type != TERN_TYPE_NONE; j++)
            if (values[j].type != TERN_TYPE_NONE && same_value(&values[i], &values[j]))
                sum += (double)neighbours[j].similarity;
        if (sum > most) {
            most = sum;
            *value = value_of(&values[i]);
        }
    }
    free(values);
    return most > 0;
}

bool tern_reference_neighbours(const struct tern_reference_vectors *vectors,
                               const struct tern_config *config, const struct tern_operand *operand,
                               const union tern_value *query, union tern_value *value)
{
    struct tern_reference_neighbour neighbours[TERN_SEARCH_K_MAX];
    unsigned count, similar = 0;

    if (vectors == NULL)
        return false;
    count = vectors->nearest(vectors->context, operand->collection, query->string.bytes, operand->k,
                             neighbours);
    while (similar < count && neighbours[similar].similarity >= operand->min)
        similar++;
    if (similar == 0)
        return false;
    if (operand->column == TERN_COLUMN_SCORE) {
        memset(value, 0, sizeof *value);
        value->f32 = neighbours[0].similarity;
    }
    return operand->column < 0 ||
           majority(
               vectors, operand->collection,
               config->collections[operand->collection - 1].shape.columns[operand->column].name,
               neighbours, similar, value);
}

void tern_reference_sample_vector(const struct tern_reference_vectors *vectors,
                                  const struct tern_config *config, unsigned id, uint64_t *random,
                                  uint8_t *scratch, union tern_value *value)
{
    uint32_t dim = config->fields[id - 1].dim;
    unsigned first = config->collection_count > 0
                         ? (unsigned)(tern_reference_random(random) % config->collection_count)
                         : 0;
    bool made = false;

    value->string.bytes = scratch;
    value->string.length = dim * (uint32_t)sizeof(float);
    for (unsigned i = 0; vectors != NULL && !made && i < config->collection_count; i++) {
        unsigned at = (first + i) % config->collection_count;

        if (config->collections[at].shape.dim == dim && tern_reference_random(random) % 8 != 0)
            made =
                vectors->sample(vectors->context, at + 1, tern_reference_random(random), scratch);
    }
    for (uint32_t i = 0; !made && i < dim; i++) {
        float number = (float)(int64_t)(tern_reference_random(random) % 2001) / 1000.0f - 1.0f;

        memcpy(scratch + i * sizeof number, &number, sizeof number);
    }
    for (uint64_t i = tern_reference_random(random) % 4; made && i > 0; i--) {
        uint64_t at = tern_reference_random(random) % dim * sizeof(float);

        scratch[at + sizeof(float) - 1] ^= 0x80; /* the sign */
    }
}
