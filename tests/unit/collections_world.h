/* Collections over a private arena, the real store and the double of the graph; what the tests of
 * the thread share. */
#ifndef TERN_TESTS_COLLECTIONS_WORLD_H
#define TERN_TESTS_COLLECTIONS_WORLD_H

#include "tests/unit/unit.h"

#include "controlplane/collections/collections.h"
#include "tests/unit/folder.h"
#include "tests/unit/graph_double.h"

#define DIM 4u

struct collections_world {
    uint8_t *memory;
    uint64_t used, size;
};
extern struct collections_world world;
extern struct tern_collections *collections;
extern char state_directory[FOLDER_PATH], database_path[96];
extern int wake_fd; /* the eventfd of the collections */

/* Of a test: an empty state directory and arena. */
int set_up(void **state);
int tear_down(void **state);

void start(void);
void stop(void);
/* Of "docs", the only collection here. Columns: label (string), tenant (u32). */
struct tern_collection_spec make_spec(uint32_t dim, uint32_t capacity);
struct tern_collection_place new_place(const struct tern_collection_spec *spec);
/* Prepared and filled; and served as the only one. */
struct tern_collection_place prepare(const struct tern_collection_spec *spec);
struct tern_collection_place serve(const struct tern_collection_spec *spec);

/* The next acknowledgement; waits for it on the descriptor, as the API does. */
struct tern_collection_ack collect(void);
/* Until no object is filled. */
void await_current(void);
/* `vector` NULL: a removal. */
struct tern_collection_write put_of(uint64_t id, const float *vector,
                                    const struct tern_graph_value *payload);
/* Must be taken. */
void submit(uint64_t owner, uint64_t ticket, const struct tern_collection_write *writes,
            unsigned count);
/* Ids 0 … end − 1, of one vector and payload; acknowledged. */
void write_range(uint64_t end, const float *vector, const struct tern_graph_value *payload);
struct tern_collection_ack write_one(uint64_t id, const float *vector);

#endif
