/* A small world for rule sets: fields of every type, tables of every kind, built for real, and a
 * way to compile and open a configuration over them. Shared by the property test and the benchmark.
 */
#ifndef TERN_TESTS_REFERENCE_WORLD_H
#define TERN_TESTS_REFERENCE_WORLD_H

#include "controlplane/build/graph.h"
#include "controlplane/compile/compile.h"
#include "controlplane/compile/reference.h"
#include "shared/rules/evaluate.h"

enum world_field { /* ids */
                   WORLD_IP = 1,
                   WORLD_HOST,
                   WORLD_PATH,
                   WORLD_USER,
                   WORLD_DELTA,
                   WORLD_RATIO,
                   WORLD_SECURE,
                   WORLD_PEER,
                   WORLD_AGENT,
                   WORLD_SHAPE, /* vector(WORLD_DIM) */
                   WORLD_FIELDS = WORLD_SHAPE,
                   WORLD_HOST_RAW, /* slots of untouched values */
                   WORLD_PATH_RAW,
                   WORLD_SLOTS = WORLD_PATH_RAW,
};

enum world_table {                     /* ids */
                   WORLD_BAD_NETS = 1, /* prefix_set */
                   WORLD_ASN,       /* prefix_map by ip: number u32, country string, weight f32 */
                   WORLD_BAD_HOSTS, /* domain_set */
                   WORLD_USERS,     /* exact_map by user: trust f32, age i64, name string, vip bool,
                                       home ip */
                   WORLD_TOKENS,    /* exact_set of string */
                   WORLD_IDS,       /* exact_set of u64 */
                   WORLD_PATHS, /* exact_map of string, joined by nothing: score i64, hits u64 */
                   WORLD_PEERS, /* exact_map by peer: note string */
                   WORLD_BOTS,  /* pattern_set */
                   WORLD_TABLES = WORLD_BOTS,
};

#define WORLD_DIM 16
#define WORLD_VECTORS                                                                              \
    30 /* a collection's; no more than a search ranks, so that ties are in order */

enum world_collection { /* ids */
                        WORLD_DOCS =
                            1,      /* cosine: label string, tier u32, age i64, vip bool, big u64 */
                        WORLD_NEAR, /* l2: likewise */
                        WORLD_MASS, /* dot: likewise */
                        WORLD_UNSERVED, /* cosine: likewise; no object */
                        WORLD_COLLECTIONS = WORLD_UNSERVED,
};

struct world_vector { /* what a collection holds, for whoever looks at it one by one */
    uint64_t id;
    bool is_live;
    float values[WORLD_DIM];
    struct tern_payload_value payload[5]; /* in the order of the columns */
};

struct world {
    struct tern_config_field fields[WORLD_SLOTS];
    struct tern_config_table tables[WORLD_TABLES];
    struct tern_config_column columns[WORLD_TABLES][5];
    struct tern_table opened[WORLD_TABLES + 1];
    void *images[WORLD_TABLES + 1];
    uint8_t hashes[WORLD_TABLES + 1][16];
    struct tern_config_collection collections[WORLD_COLLECTIONS];
    struct tern_collection served[WORLD_COLLECTIONS + 1]; /* no header: not served */
    struct tern_graph *graphs[WORLD_COLLECTIONS + 1];
    void *objects[WORLD_COLLECTIONS + 1];
    struct world_vector vectors[WORLD_COLLECTIONS + 1][WORLD_VECTORS];
    struct tern_reference_vectors source; /* of them, one by one */
    struct tern_schema *schema;
};

/* Builds the tables with about `scale` rows each (16 at least). Asserts on failure. */
void world_make(struct world *world, uint32_t scale);
void world_free(struct world *world);

/* Gives the (otherwise empty) world the schema of another configuration. */
int world_schema(struct world *world, const struct tern_config *config);

/* The part of world_make and world_free that makes collections. */
void world_collections_make(struct world *world);
void world_collections_free(struct world *world);

/* Puts another vector and payload in the place of the one with that index, or removes it. */
void world_vector_put(struct world *world, enum world_collection collection, unsigned index,
                      const struct world_vector *vector);
void world_vector_remove(struct world *world, enum world_collection collection, unsigned index);

/* The values of vector `number` of every collection: ±1, some alike, some equal. */
void world_vector_values(uint64_t number, float values[WORLD_DIM]);

/* A rule whose texts are taken as they are and must outlive the configuration. */
struct tern_config_rule world_rule(const char *id, const char *when);

/* The configuration of these rules over the world (rules_bytes 1 GiB, default allow). */
struct tern_config world_config(struct world *world, struct tern_config_rule *rules,
                                unsigned rule_count);

struct world_rules { /* a compiled and opened rule set */
    struct tern_compiled compiled;
    void *section;
    void **classes, **patterns;
    struct tern_rules *rules;
};

/* Compiles and opens. Prints diagnostics and returns the code on failure (but nothing on
 * TERN_ELIMIT, which callers try for). */
int world_compile(struct world *world, const struct tern_config *config,
                  struct world_rules *compiled);
void world_rules_free(struct world_rules *compiled);

/* Opens the sections of a compiled rule set, of which `section` is the rules section. */
int world_open(const struct world *world, const struct world_rules *compiled, const void *section,
               size_t length, struct tern_rules **rules, struct tern_error *error);

/* Values that hit the tables: key `number` of the world's table in its field. Strings live in
 * static storage of `text` (64 bytes), as do vectors. */
union tern_value world_key(enum world_field field, uint64_t number, uint8_t text[64]);

union world_facts { /* one item: room for the values that follow the head, raw slots included */
    struct tern_facts head;
    uint8_t room[sizeof(struct tern_facts) + (WORLD_SLOTS + 1) * sizeof(union tern_value)];
};
void world_set_string(union world_facts *facts, enum world_field field, const char *text);

#endif
