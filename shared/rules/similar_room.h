/* The inside of a thread's room for searches, between similar_open.c and similar.c. */
#ifndef TERN_RULES_SIMILAR_ROOM_H
#define TERN_RULES_SIMILAR_ROOM_H

#include "shared/rules/evaluate.h"
#include "shared/rules/similar.h"

struct tern_ballot { /* one value and what votes for it */
    struct tern_payload_value value;
    double weight;
};

struct tern_similar_room {
    struct tern_search_scratch *scratch; /* fits every collection that is served */
    float *query;                        /* the item's vector, aligned */
    struct tern_search_hit *hits;        /* TERN_SEARCH_K_MAX at most, of the search at hand */
    float *similarities;                 /* likewise */
    struct tern_ballot *ballots;         /* likewise, of the vote at hand */
    uint16_t *places;                    /* 1 + ballot by hash of its value; twice as many */
    struct tern_similar_result *results; /* of all units */
    struct tern_searched searched;
    struct tern_similar_outcome outcomes[]; /* by index of the scan; their results are ours */
};

/* Room in `places` for a vote of `k` neighbours: a power of two, at most half of it in use. */
static inline uint32_t tern_similar_places(uint32_t k)
{
    uint32_t places = 16;

    while (places < 2 * k)
        places *= 2;
    return places;
}

#endif
