/* A graph that is an array: what tests of the collections put behind the thread, so that they can
 * look into it and make it fail. Its objects live in the memory they are given, as real ones do. */
#ifndef TERN_TESTS_GRAPH_DOUBLE_H
#define TERN_TESTS_GRAPH_DOUBLE_H

#include "controlplane/build/graph.h"

#define GRAPH_DOUBLE_STRING 24u

struct graph_double_entry {
    uint64_t id, seq;
    bool live;
    float first, last; /* of the vector */
    struct {
        bool present;
        uint64_t number;
        char text[GRAPH_DOUBLE_STRING];
    } values[TERN_PAYLOAD_COLUMNS_MAX];
};

struct graph_double_object {
    struct tern_collection_header header;
    _Atomic uint32_t count;
    struct graph_double_entry entries[];
};

/* The live entry of `id` in the object, or NULL. */
const struct graph_double_entry *graph_double_find(const void *object, uint64_t id);
/* Puts that succeed before every further one is TERN_ENOSPC; −1: all. */
void graph_double_fail_after(int puts);
/* While held, puts and removals wait. */
void graph_double_hold(bool held);
/* So many units of background work come with the next put, each of which takes GRAPH_DOUBLE_UNIT_US
 * from a budget; `during` is called within the first one. There is none until then. */
#define GRAPH_DOUBLE_UNIT_US 50u
void graph_double_give_work(unsigned units, void (*during)(void));
/* How many of them were done when the last put came. */
unsigned graph_double_units_before_put(void);

#endif
