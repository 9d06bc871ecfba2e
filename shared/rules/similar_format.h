/* The bytes of a SIMILAR unit: what is asked of the vectors that a field's vector resembles. They
 * stand where other units have their classifier: the header, then votes, tests, ranges, strings
 * (struct tern_text_span) and their bytes, each part behind the one before.
 *
 * The neighbours are the `k` nearest vectors of the collection (unit.table). Similarity is their
 * score as a search gives it; in l2 collections, whose score is a distance, 1 / (1 + score). */
#ifndef TERN_RULES_SIMILAR_FORMAT_H
#define TERN_RULES_SIMILAR_FORMAT_H

#include "shared/layout.h"
#include "shared/limits.h"
#include "shared/rules/text.h"

struct tern_similar_header {
    uint32_t k; /* of the search: the largest of the votes */
    uint32_t vote_count;
    uint32_t test_count;
    uint32_t range_count;
    uint32_t string_count;
    uint32_t byte_count;
    uint32_t reserved[2];
};
TERN_LAYOUT_SIZE(tern_similar_header, 32);
TERN_LAYOUT_FIELD(tern_similar_header, k, 0);
TERN_LAYOUT_FIELD(tern_similar_header, vote_count, 4);
TERN_LAYOUT_FIELD(tern_similar_header, test_count, 8);
TERN_LAYOUT_FIELD(tern_similar_header, range_count, 12);
TERN_LAYOUT_FIELD(tern_similar_header, string_count, 16);
TERN_LAYOUT_FIELD(tern_similar_header, byte_count, 20);
TERN_LAYOUT_FIELD(tern_similar_header, reserved, 24);

/* A column of the payload put to the vote: of the first `k` neighbours those of at least `min`
 * similarity vote for their value with it as their weight; one that is not above 0 and one without
 * a value have none. The value of most weight wins; of equal ones that of the nearest neighbour. */
struct tern_similar_vote {
    uint32_t k;
    float min;           /* -INFINITY: any */
    uint8_t type;        /* enum tern_type of the column; NONE: nothing is put to the vote */
    uint8_t name_length; /* 0 likewise */
    char name[TERN_NAME_MAX + 1];
    uint8_t reserved[6];
};
TERN_LAYOUT_SIZE(tern_similar_vote, 80);
TERN_LAYOUT_FIELD(tern_similar_vote, k, 0);
TERN_LAYOUT_FIELD(tern_similar_vote, min, 4);
TERN_LAYOUT_FIELD(tern_similar_vote, type, 8);
TERN_LAYOUT_FIELD(tern_similar_vote, name_length, 9);
TERN_LAYOUT_FIELD(tern_similar_vote, name, 10);
TERN_LAYOUT_FIELD(tern_similar_vote, reserved, 74);

enum tern_similar_kind {
    TERN_SIMILAR_FOUND = 1,  /* a neighbour is there */
    TERN_SIMILAR_VOTED = 2,  /* a value has won */
    TERN_SIMILAR_SCORE = 3,  /* the best similarity is in one of the ranges */
    TERN_SIMILAR_NUMBER = 4, /* the winner is */
    TERN_SIMILAR_EQUALS = 5, /* or is among the strings */
    TERN_SIMILAR_STARTS = 6, /* or starts with the string */
    TERN_SIMILAR_ENDS = 7,
};

/* An atom hits when one of its tests holds. */
struct tern_similar_test {
    uint32_t vote; /* which vote, or of which neighbours */
    uint32_t atom;
    uint8_t kind; /* enum tern_similar_kind */
    uint8_t reserved[3];
    uint32_t first; /* range or string; ascending from there on */
    uint32_t count;
    uint32_t reserved1;
};
TERN_LAYOUT_SIZE(tern_similar_test, 24);
TERN_LAYOUT_FIELD(tern_similar_test, vote, 0);
TERN_LAYOUT_FIELD(tern_similar_test, atom, 4);
TERN_LAYOUT_FIELD(tern_similar_test, kind, 8);
TERN_LAYOUT_FIELD(tern_similar_test, reserved, 9);
TERN_LAYOUT_FIELD(tern_similar_test, first, 12);
TERN_LAYOUT_FIELD(tern_similar_test, count, 16);
TERN_LAYOUT_FIELD(tern_similar_test, reserved1, 20);

struct tern_similar_range { /* inclusive, of order-preserving keys */
    uint64_t first;
    uint64_t last;
};
TERN_LAYOUT_SIZE(tern_similar_range, 16);
TERN_LAYOUT_FIELD(tern_similar_range, first, 0);
TERN_LAYOUT_FIELD(tern_similar_range, last, 8);

#endif
