/* Memory of one compilation: taken piece by piece, freed all at once. Belongs to one thread. */
#ifndef TERN_COMPILE_REGION_H
#define TERN_COMPILE_REGION_H

#include "shared/base.h"
#include "shared/error.h"

struct tern_region_chunk;

struct tern_region { /* zero-initialise to start */
    struct tern_region_chunk *chunks;
    uint8_t *next;
    size_t left;
};

/* `bytes` zeroed bytes aligned to 16, or NULL when memory is out. Valid until tern_region_free. */
void *tern_region_take(struct tern_region *region, size_t bytes);
void tern_region_free(struct tern_region *region);
/* Forgets everything taken but keeps one chunk for what comes next. */
void tern_region_reset(struct tern_region *region);

/* A growing array of elements of one size on the heap; zero-initialise, free with tern_list_free.
 */
struct tern_list {
    void *data;
    size_t count;
    size_t capacity;
};

/* Room for one more element of `size` bytes; returns it (uninitialised), or NULL when memory is
 * out. */
void *tern_list_push(struct tern_list *list, size_t size);
/* Makes room for `more` further elements without adding them. 0 or TERN_ENOMEM. */
int tern_list_reserve(struct tern_list *list, size_t more, size_t size);
void tern_list_free(struct tern_list *list);

#endif
