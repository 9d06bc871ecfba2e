/* A sample of a table's rows small enough to keep, from which it can be told how many rows another
 * table has of the same: the K smallest hashes of distinct rows (a theta sketch; Dasgupta, Lang,
 * Rhodes and Thaler 2016). Exact up to K rows; beyond, shares come out with a standard deviation of
 * at most 1/(2√K), 0.8 %. */
#ifndef TERN_BUILD_SKETCH_H
#define TERN_BUILD_SKETCH_H

#include "shared/buffer.h"

#define TERN_SKETCH_ROWS 4096u /* K */

struct tern_sketch {  /* zero-initialise */
    uint64_t *hashes; /* ascending once finished */
    uint32_t count;
    uint64_t below; /* every row with a smaller hash is in it; 0: every row is */
};
void tern_sketch_free(struct tern_sketch *sketch);

/* Adds a row by its hash; the same row again changes nothing. 0 or TERN_ENOMEM. */
int tern_sketch_add(struct tern_sketch *sketch, uint64_t hash);
/* Call once, after the last row. */
void tern_sketch_finish(struct tern_sketch *sketch);

/* Whether it holds every row, so that comparing two such is exact. */
bool tern_sketch_is_whole(const struct tern_sketch *sketch);
/* The share of rows, of those in `before`, that `now` lacks or has besides, whichever is more: a
 * row that is altered is one of both. 0.2 is a fifth; 0 when `before` has none. Both finished. A
 * guess when one has many times the rows of the other: their numbers say more then. */
double tern_sketch_change(const struct tern_sketch *before, const struct tern_sketch *now);

/* To bytes, and back; TERN_ECORRUPT for what cannot be one. */
int tern_sketch_save(const struct tern_sketch *sketch, struct tern_buffer *out);
int tern_sketch_load(const uint8_t *data, size_t length, struct tern_sketch *sketch);

#endif
