/* A request loop over real sockets with a collection, and a helper, without a process around them:
 * the test takes each turn itself. */
#ifndef TERN_TESTS_SEARCH_WORLD_H
#define TERN_TESTS_SEARCH_WORLD_H

#include "tests/unit/unit.h"

#include "dataplane/server.h"
#include "tests/unit/graph_object.h"

#define SEARCH_DIM       8u
#define SEARCH_SCRATCHES 3u   /* a loop and two helpers */
#define SEARCH_VECTORS   300u /* ids from 1000 on; l2 */

extern struct search_world {
    struct tern_graph_object object;
    float vectors[SEARCH_VECTORS * SEARCH_DIM];
    uint8_t *arena_bytes;
    struct tern_arena arena;
    struct {
        struct tern_schema schema;
        struct tern_schema_collection collections[2];
    } schema TERN_ALIGNED(64);
    struct tern_settings settings;
    struct tern_collection collections[3];
    struct tern_view view;
    struct tern_room *rooms[2];
    struct tern_offer offer;
    struct tern_server server;
    struct tern_worker *worker;
} world;

/* Payload of vector i: label (fraud, spam, ok by i % 3; none when i % 5 = 0), tenant i % 7, time
 * i × 1000. Collection 1 is "docs"; 2, "later", has no object. */
int search_make_world(void **state);
int search_free_world(void **state);
void search_describe(unsigned id, const char *name);

/* One loop. */
void search_make_server(unsigned helper_count, uint64_t search_turn_ns);
void search_end_server(void); /* nothing is parked, kept or connected any more */
void search_turn(void);
bool search_helper_turn(void);

int search_connect_client(void);
void search_close_client(int client);

struct search_body {
    uint8_t bytes[8 + 4 * SEARCH_DIM + 2 + TERN_FILTER_TEXT_MAX + 8];
    size_t length;
};

struct search_body search_body_of(unsigned collection, unsigned k, unsigned flags,
                                  const float *vector, const char *filter);
void search_send_frame(int client, enum tern_op op, uint32_t id, uint32_t deadline_us,
                       const void *body, size_t length);
void search_ask(int client, uint32_t id, uint32_t deadline_us, const struct search_body *body);

struct search_reply {
    struct tern_frame frame;
    uint8_t body[1 << 16];
};

bool search_has_reply(int client);
/* Asserts that the next reply is to `id` with that status. */
void search_read_reply(int client, uint32_t id, enum tern_status status,
                       struct search_reply *reply);

/* Asserts that the hits are the k nearest. */
void search_check_hits(const struct search_reply *reply, const float *query, unsigned k);
const float *search_some_query(unsigned number);

#endif
