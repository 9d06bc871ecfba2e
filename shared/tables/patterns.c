#include "shared/tables/patterns.h"

int tern_patterns_open(struct tern_patterns *patterns, const void *index, size_t length,
                       struct tern_error *error)
{
    const struct tern_patterns_index *header = index;
    const struct tern_pattern_entry *entries = (const void *)(header + 1);

    if (length < sizeof *header || (uintptr_t)index % 8 != 0 ||
        header->count > (length - sizeof *header) / sizeof *entries ||
        header->bytes != length - sizeof *header - header->count * sizeof *entries)
        return tern_error_set(error, TERN_ECORRUPT, "patterns: %zu bytes are not what they say",
                              length);
    for (uint32_t i = 0; i < header->count; i++)
        if (!tern_range_inside(entries[i].offset, entries[i].length, header->bytes))
            return tern_error_set(error, TERN_ECORRUPT, "patterns: entry %u of %u is out of bounds",
                                  i, header->count);
    *patterns =
        (struct tern_patterns){entries, (const uint8_t *)(entries + header->count), header->count};
    return 0;
}
