/* "did you mean …": the valid name nearest to a misspelt one. */
#ifndef TERN_CONFIG_NEAREST_H
#define TERN_CONFIG_NEAREST_H

#include "shared/base.h"

/* A search over candidates; zero-initialise with the wanted name, offer names, read the result. */
struct tern_nearest {
    const char *wanted;
    size_t wanted_length;
    const char *best; /* NULL: nothing near enough */
    size_t best_length;
    unsigned best_distance;
};

/* Offers a candidate; the first of equally near ones stays. `name` must outlive the search. */
void tern_nearest_offer(struct tern_nearest *nearest, const char *name, size_t length);

/* `before` (a separator) and "did you mean 'x'?", or nothing. Returns `text`. */
#define TERN_NEAREST_HINT 96
const char *tern_nearest_hint(const struct tern_nearest *nearest, const char *before,
                              char text[TERN_NEAREST_HINT]);

/* Edit distance with transpositions of neighbours (Damerau 1964, optimal string alignment), letters
 * of either case being equal; `limit` + 1 when it is more than `limit`. */
unsigned tern_nearest_distance(const char *a, size_t a_length, const char *b, size_t b_length,
                               unsigned limit);

#endif
