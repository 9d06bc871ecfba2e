#include "controlplane/build/sketch.h"

#include "shared/error.h"

#include <xxhash.h>

#define ROOM (4 * TERN_SKETCH_ROWS) /* sorted and cut when full: a few times for any table */

void tern_sketch_free(struct tern_sketch *sketch)
{
    free(sketch->hashes);
    *sketch = (struct tern_sketch){0};
}

static int compare_hashes(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

void tern_sketch_finish(struct tern_sketch *sketch)
{
    uint32_t kept = 0;

    if (sketch->count == 0)
        return;
    qsort(sketch->hashes, sketch->count, sizeof *sketch->hashes, compare_hashes);
    for (uint32_t i = 0; i < sketch->count; i++)
        if (kept == 0 || sketch->hashes[i] != sketch->hashes[kept - 1])
            sketch->hashes[kept++] = sketch->hashes[i];
    sketch->count = kept;
    if (kept > TERN_SKETCH_ROWS) {
        sketch->below = sketch->hashes[TERN_SKETCH_ROWS];
        sketch->count = TERN_SKETCH_ROWS;
    }
}

int tern_sketch_add(struct tern_sketch *sketch, uint64_t hash)
{
    if (sketch->below != 0 && hash >= sketch->below)
        return 0;
    if (sketch->hashes == NULL) {
        sketch->hashes = malloc(ROOM * sizeof *sketch->hashes);
        if (sketch->hashes == NULL)
            return TERN_ENOMEM;
    }
    if (sketch->count == ROOM)
        tern_sketch_finish(sketch);
    sketch->hashes[sketch->count++] = hash;
    return 0;
}

/* How many of the hashes are below `limit`, 0 for none of it. */
static uint32_t count_below(const struct tern_sketch *sketch, uint64_t limit)
{
    uint32_t count = sketch->count;

    while (limit != 0 && count > 0 && sketch->hashes[count - 1] >= limit)
        count--;
    return count;
}

bool tern_sketch_is_whole(const struct tern_sketch *sketch)
{
    return sketch->below == 0;
}

double tern_sketch_change(const struct tern_sketch *before, const struct tern_sketch *now)
{
    uint64_t limit = before->below;
    uint32_t old_count, new_count, common = 0, gone, added;

    /* Only where both know every row can they be compared. */
    if (now->below != 0 && (limit == 0 || now->below < limit))
        limit = now->below;
    old_count = count_below(before, limit);
    new_count = count_below(now, limit);
    for (uint32_t i = 0, k = 0; i < old_count && k < new_count;) {
        common += before->hashes[i] == now->hashes[k];
        if (before->hashes[i] <= now->hashes[k])
            i++;
        else
            k++;
    }
    if (old_count == 0)
        return 0;
    gone = old_count - common;
    added = new_count - common;
    return (double)(gone > added ? gone : added) / old_count;
}

/* u64 below, u64 count, the hashes, u64 checksum; little-endian as everything here. */
int tern_sketch_save(const struct tern_sketch *sketch, struct tern_buffer *out)
{
    const uint64_t head[2] = {sketch->below, sketch->count};
    size_t start = out->length;
    uint64_t checksum;
    int result = tern_buffer_append(out, head, sizeof head);

    if (result == 0 && sketch->count != 0)
        result = tern_buffer_append(out, sketch->hashes, sketch->count * sizeof *sketch->hashes);
    checksum = XXH3_64bits(out->data + start, out->length - start);
    return result == 0 ? tern_buffer_append(out, &checksum, sizeof checksum) : result;
}

int tern_sketch_load(const uint8_t *data, size_t length, struct tern_sketch *sketch)
{
    struct tern_sketch loaded = {0};
    uint64_t head[2], checksum;

    if (length < sizeof head + sizeof checksum)
        return TERN_ECORRUPT;
    memcpy(head, data, sizeof head);
    memcpy(&checksum, data + length - sizeof checksum, sizeof checksum);
    if (head[1] > TERN_SKETCH_ROWS ||
        length != sizeof head + head[1] * sizeof *loaded.hashes + sizeof checksum ||
        checksum != XXH3_64bits(data, length - sizeof checksum))
        return TERN_ECORRUPT;
    loaded.below = head[0];
    loaded.count = (uint32_t)head[1];
    loaded.hashes = malloc(loaded.count * sizeof *loaded.hashes + 1);
    if (loaded.hashes == NULL)
        return TERN_ENOMEM;
    memcpy(loaded.hashes, data + sizeof head, loaded.count * sizeof *loaded.hashes);
    *sketch = loaded;
    return 0;
}
