/* One vector as it was written, for whoever asks for it by its id. Read from the store beside the
 * thread: it waits for no commit, and for no object to be taken over. */
#include "controlplane/collections/payload.h"
#include "controlplane/collections/state.h"

/* The values in the order of the columns that the collection has now. */
static int decode(const struct tern_vector_row *row, const struct tern_graph_shape *shape,
                  struct tern_collection_vector *found, struct tern_error *error)
{
    const struct tern_graph_column *from;
    int8_t matches[TERN_PAYLOAD_COLUMNS_MAX];
    unsigned from_count;
    int rc = tern_vector_store_columns(found->store,
                                       tern_payload_shape(row->payload, row->payload_length), &from,
                                       &from_count, error);

    if (rc != 0)
        return rc;
    tern_payload_match(from, from_count, shape->columns, shape->column_count, matches);
    if (tern_payload_decode(row->payload, row->payload_length, from, from_count, matches,
                            shape->column_count, found->values) != 0)
        return tern_error_set(error, TERN_ECORRUPT, "the payload of vector %llu cannot be read",
                              (unsigned long long)row->id);
    return 0;
}

int tern_collections_lookup(struct tern_collections *collections, const char *name, uint64_t id,
                            struct tern_collection_vector *out, struct tern_error *error)
{
    struct tern_collection_vector found = {0};
    struct tern_vector_row row;
    uint32_t number;
    int rc = tern_collections_describe(collections, name, &found.spec, error);

    if (rc == 0)
        rc = tern_vector_store_peek(collections->state_dir, &found.store, error);
    if (rc != 0)
        return rc;
    number = tern_vector_store_find_collection(found.store, name);
    rc = number == 0 ? tern_error_set(error, TERN_ENOENT, "collection %s has no vector %llu",
                                      found.spec.name, (unsigned long long)id)
                     : tern_vector_store_find(found.store, number, id, &row, error);
    if (rc == 0)
        rc = decode(&row, &found.spec.shape, &found, error);
    if (rc != 0) {
        tern_vector_store_close(found.store);
        return rc;
    }
    found.seq = row.seq;
    found.vector = row.vector;
    found.dim = row.dim;
    *out = found;
    return 0;
}

void tern_collection_vector_free(struct tern_collection_vector *vector)
{
    tern_vector_store_close(vector->store);
}
