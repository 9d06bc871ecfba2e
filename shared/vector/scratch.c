#include "shared/vector/scratch.h"

static void *aligned(size_t bytes)
{
    size_t rounded = (size_t)tern_align_up(bytes, TERN_CACHE_LINE);
    void *memory = aligned_alloc(TERN_CACHE_LINE, rounded);

    if (memory != NULL)
        memset(memory, 0, rounded);
    return memory;
}

int tern_search_scratch_new(struct tern_search_scratch **scratch, uint32_t capacity, uint32_t dim)
{
    struct tern_search_scratch *made = calloc(1, sizeof *made);
    size_t words = ((size_t)capacity + 63) / 64;
    size_t floats = (size_t)tern_align_up(dim, TERN_FLOAT_BLOCK);
    size_t code = tern_collection_code_stride(dim, TERN_QUANTIZE_INT8);

    if (made == NULL)
        return TERN_ENOMEM;
    made->capacity = capacity;
    made->dim = dim;
    made->kernel = tern_kernel_choose();
    /* What grows with the capacity stays untouched, and without pages, until searches use it. */
    made->seen.words = calloc(words + 1, sizeof *made->seen.words);
    made->seen.undo = malloc(((size_t)capacity + 1) * sizeof *made->seen.undo);
    made->values = aligned(floats * sizeof *made->values);
    made->code = aligned(code);
    made->magnitude = aligned(code);
    made->line = aligned(code);
    made->pool = aligned(TERN_SEARCH_EF_MAX * sizeof *made->pool);
    made->passing = aligned(TERN_SEARCH_EF_MAX * sizeof *made->passing);
    made->fresh = aligned(TERN_RERANK_MAX * sizeof *made->fresh);
    made->ranked = aligned(TERN_RERANK_MAX * sizeof *made->ranked);
    made->places = aligned(TERN_SCRATCH_PLACES * sizeof *made->places);
    if (made->seen.words == NULL || made->seen.undo == NULL || made->passing == NULL ||
        made->values == NULL || made->code == NULL || made->magnitude == NULL ||
        made->line == NULL || made->pool == NULL || made->fresh == NULL || made->ranked == NULL ||
        made->places == NULL) {
        tern_search_scratch_free(made);
        return TERN_ENOMEM;
    }
    *scratch = made;
    return 0;
}

void tern_search_scratch_free(struct tern_search_scratch *scratch)
{
    if (scratch == NULL)
        return;
    free(scratch->seen.words);
    free(scratch->seen.undo);
    free(scratch->passing);
    free(scratch->values);
    free(scratch->code);
    free(scratch->magnitude);
    free(scratch->line);
    free(scratch->pool);
    free(scratch->fresh);
    free(scratch->ranked);
    free(scratch->places);
    free(scratch);
}

bool tern_search_scratch_fits(const struct tern_search_scratch *scratch,
                              const struct tern_collection *collection)
{
    return collection->capacity <= scratch->capacity && collection->dim <= scratch->dim;
}
