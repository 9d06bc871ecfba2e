#include "shared/rules/intervals.h"

int tern_intervals_open(struct tern_intervals *intervals, const void *data, size_t length,
                        bool wide, uint32_t class_count, struct tern_error *error)
{
    const struct tern_intervals_header *header = data;
    struct tern_intervals opened;
    uint64_t index_bytes, needed;

    if (length < sizeof *header || (uintptr_t)data % 8 != 0)
        return tern_error_set(error, TERN_ECORRUPT, "intervals: %zu bytes are too few", length);
    index_bytes = tern_align_up(((uint64_t)header->bucket_count + 1) * sizeof(uint32_t), 8);
    needed = sizeof *header + index_bytes +
             (uint64_t)header->count * (sizeof(uint32_t) + (wide ? 16 : 8));
    if (header->wide != (wide ? 1u : 0u) || header->count == 0 || needed > length ||
        header->bucket_count == 0 || header->shift > 63)
        return tern_error_set(error, TERN_ECORRUPT, "intervals: counts do not fit the length");
    opened.index = (const uint32_t *)(header + 1);
    opened.starts = (const uint64_t *)((const uint8_t *)(header + 1) + index_bytes);
    opened.lows = wide ? opened.starts + header->count : NULL;
    opened.classes = (const uint32_t *)(opened.starts + (wide ? 2 : 1) * (size_t)header->count);
    opened.count = header->count;
    opened.shift = header->shift;
    opened.last_bucket = header->bucket_count - 1;
    if (opened.starts[0] != 0 || (wide && opened.lows[0] != 0))
        return tern_error_set(error, TERN_ECORRUPT, "intervals: the first does not start at 0");
    for (uint32_t i = 0; i < opened.count; i++)
        if (opened.classes[i] >= class_count)
            return tern_error_set(error, TERN_ECORRUPT, "intervals: class %u of %u",
                                  opened.classes[i], class_count);
    for (uint32_t i = 0; i <= header->bucket_count; i++)
        if (opened.index[i] == 0 || opened.index[i] > opened.count ||
            (i > 0 && opened.index[i] < opened.index[i - 1]))
            return tern_error_set(error, TERN_ECORRUPT, "intervals: index entry %u", i);
    *intervals = opened;
    return 0;
}
