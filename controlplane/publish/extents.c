#include "controlplane/publish/extents.h"

#include "shared/limits.h"

void tern_extents_init(struct tern_extents *extents, uint64_t first, uint64_t end)
{
    *extents = (struct tern_extents){.first = first, .end = end};
}

void tern_extents_free(struct tern_extents *extents)
{
    free(extents->items);
    *extents = (struct tern_extents){0};
}

/* Index of the first extent at or past `offset`. */
static size_t lower_bound(const struct tern_extents *extents, uint64_t offset)
{
    size_t low = 0, high = extents->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (extents->items[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int insert_at(struct tern_extents *extents, size_t at, struct tern_extent extent)
{
    if (extents->count == extents->capacity) {
        size_t capacity = extents->capacity ? extents->capacity * 2 : 64;
        struct tern_extent *items = realloc(extents->items, capacity * sizeof *items);

        if (items == NULL)
            return TERN_ENOMEM;
        extents->items = items;
        extents->capacity = capacity;
    }
    memmove(&extents->items[at + 1], &extents->items[at],
            (extents->count - at) * sizeof *extents->items);
    extents->items[at] = extent;
    extents->count++;
    return 0;
}

int tern_extents_allocate(struct tern_extents *extents, uint64_t length, uint64_t *offset)
{
    uint64_t alignment = length >= TERN_EXTENT ? TERN_EXTENT : TERN_PAGE;
    uint64_t from = extents->first;

    if (length == 0 || length > extents->end)
        return TERN_ENOSPC;
    length = tern_align_up(length, TERN_PAGE);
    for (size_t i = 0; i <= extents->count; i++) {
        uint64_t at = tern_align_up(from, alignment);
        uint64_t gap_end = i < extents->count ? extents->items[i].offset : extents->end;

        if (at < gap_end && gap_end - at >= length) {
            int result =
                insert_at(extents, i,
                          (struct tern_extent){
                              .offset = at, .length = length, .state = TERN_EXTENT_BUILDING});
            if (result == 0)
                *offset = at;
            return result;
        }
        if (i < extents->count)
            from = extents->items[i].offset + extents->items[i].length;
    }
    return TERN_ENOSPC;
}

int tern_extents_reserve(struct tern_extents *extents, uint64_t length, uint64_t *offset)
{
    int result = tern_extents_allocate(extents, tern_align_up(length, TERN_EXTENT), offset);

    if (result == 0)
        tern_extents_find(extents, *offset)->reserved = true;
    return result;
}

int tern_extents_insert(struct tern_extents *extents, uint64_t offset, uint64_t length,
                        enum tern_extent_state state)
{
    size_t at = lower_bound(extents, offset);
    const struct tern_extent *next = at < extents->count ? &extents->items[at] : NULL;
    const struct tern_extent *previous = at > 0 ? &extents->items[at - 1] : NULL;

    if (length == 0 || offset < extents->first || offset % TERN_PAGE != 0 ||
        !tern_range_inside(offset, length, extents->end))
        return TERN_ECORRUPT;
    length = tern_align_up(length, TERN_PAGE);
    if (next != NULL && next->offset == offset)
        return next->length == length ? 0 : TERN_ECORRUPT;
    if ((previous != NULL && previous->offset + previous->length > offset) ||
        (next != NULL && offset + length > next->offset))
        return TERN_ECORRUPT;
    return insert_at(extents, at,
                     (struct tern_extent){.offset = offset, .length = length, .state = state});
}

int tern_extents_retire_gaps(struct tern_extents *extents, uint64_t high_water, uint64_t epoch)
{
    uint64_t from = extents->first;

    high_water = tern_min_u64(tern_align_up(high_water, TERN_PAGE), extents->end);
    for (size_t i = 0; i <= extents->count; i++) {
        uint64_t gap_end = i < extents->count ? extents->items[i].offset : high_water;

        gap_end = tern_min_u64(gap_end, high_water);
        if (from < gap_end) {
            int result = insert_at(extents, i,
                                   (struct tern_extent){.offset = from,
                                                        .length = gap_end - from,
                                                        .state = TERN_EXTENT_RETIRED,
                                                        .epoch = epoch});
            if (result != 0)
                return result;
            i++; /* past what was just inserted: it stands before the extent that ended the gap */
        }
        if (i < extents->count)
            from = extents->items[i].offset + extents->items[i].length;
    }
    return 0;
}

struct tern_extent *tern_extents_find(struct tern_extents *extents, uint64_t offset)
{
    size_t at = lower_bound(extents, offset);

    return at < extents->count && extents->items[at].offset == offset ? &extents->items[at] : NULL;
}

void tern_extents_remove(struct tern_extents *extents, uint64_t offset)
{
    size_t at = lower_bound(extents, offset);

    assert(at < extents->count && extents->items[at].offset == offset);
    memmove(&extents->items[at], &extents->items[at + 1],
            (extents->count - at - 1) * sizeof *extents->items);
    extents->count--;
}

static bool is_reservation(const struct tern_extent *extent)
{
    return extent->reserved && extent->state != TERN_EXTENT_RETIRED;
}

uint64_t tern_extents_bytes(const struct tern_extents *extents, enum tern_extent_state state)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < extents->count; i++)
        if (extents->items[i].state == state && !is_reservation(&extents->items[i]))
            bytes += extents->items[i].length;
    return bytes;
}

uint64_t tern_extents_reserved_bytes(const struct tern_extents *extents)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < extents->count; i++)
        if (is_reservation(&extents->items[i]))
            bytes += extents->items[i].length;
    return bytes;
}
