/* What a request resembles: one search of a collection for all that rules ask of a field's
 * neighbours there, when a rule still needs it. Private to shared/rules.
 *
 * Collections change all the time: what a search finds, and so the verdict that rests on it, is of
 * its moment. Whoever decides by rules that search (tern_rules_search) stays in a reader's epoch
 * meanwhile (shared/vector/search.h). */
#ifndef TERN_RULES_SIMILAR_H
#define TERN_RULES_SIMILAR_H

#include "shared/error.h"
#include "shared/facts.h"
#include "shared/rules/similar_format.h"
#include "shared/vector/search.h"

struct tern_scan_hits;

struct tern_similar {
    const struct tern_collection *collection; /* NULL: none is served */
    uint32_t dim;
    uint32_t k, vote_count, test_count;
    const struct tern_similar_vote *votes;
    const struct tern_similar_test *tests;
    const struct tern_similar_range *ranges;
    const struct tern_text_span *strings;
    const uint8_t *bytes;
    int16_t columns[]; /* by vote, of the collection; -1: it has no such column now */
};

/* Validates the `length` bytes of a unit at `data` (8-byte aligned), whose atoms are numbered below
 * `atom_count` and whose field has `dim` dimensions. `collection` outlives the result, which
 * tern_similar_close frees; NULL: none is served. TERN_ECORRUPT, TERN_ENOMEM. */
int tern_similar_open(struct tern_similar **similar, const void *data, uint64_t length,
                      uint32_t atom_count, uint32_t dim, const struct tern_collection *collection,
                      struct tern_error *error);
void tern_similar_close(struct tern_similar *similar);

/* What the neighbours say of one column, the winner. */
struct tern_similar_result {
    uint32_t found; /* neighbours that the vote is of */
    bool voted;
    struct tern_payload_value value;
    double weight; /* of all that voted, the winner's share: above 0, at most 1 */
};

/* What one thread needs for the searches of one rule set, and what the last ones found. */
struct tern_similar_room;

/* For the `count` units of `similars` (NULL where a scan is none of these): results are by the same
 * index. Allocates. 0 or TERN_ENOMEM. */
int tern_similar_room_new(struct tern_similar_room **room,
                          const struct tern_similar *const similars[], unsigned count);
void tern_similar_room_free(struct tern_similar_room *room);

/* Searches with the item's vector and puts the atoms that hit into `hits`. Allocates nothing,
 * cannot fail: a vector that cannot be compared (not finite) has no neighbours. */
void tern_similar_run(const struct tern_similar *similar, struct tern_similar_room *room,
                      unsigned index, const union tern_value *value, struct tern_scan_hits *hits);

/* Of the last run of `index`: the best similarity among `found` neighbours, how long the search
 * took, and the results by vote. */
struct tern_similar_outcome {
    uint32_t found;
    float score;
    uint64_t search_ns;
    struct tern_similar_result *results;
};
struct tern_similar_outcome tern_similar_outcome(const struct tern_similar_room *room,
                                                 unsigned index);

#endif
