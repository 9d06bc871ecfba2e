#include "shared/rules/intervals.h"

int tern_intervals_open(struct tern_intervals *intervals, const void *data, size_t length,
                        bool wide, const struct tern_class_bounds *bounds, struct tern_error *error)
{
    const struct tern_intervals_header *header = data;
    struct tern_intervals opened;
    uint64_t index_bytes, needed;

    if (length < sizeof *header || (uintptr_t)data % 8 != 0)
        return tern_error_set(error, TERN_ECORRUPT, "intervals: %zu bytes are too few", length);
    index_bytes = tern_align_up(((uint64_t)header->bucket_count + 1) * sizeof(uint32_t), 8);
    needed =
        sizeof *header + index_bytes +
        header->count * (wide ? sizeof(struct tern_interval_wide) : sizeof(struct tern_interval));
    if (header->wide != (wide ? 1u : 0u) || header->count == 0 || needed > length ||
        header->bucket_count == 0 || header->shift > 63)
        return tern_error_set(error, TERN_ECORRUPT, "intervals: counts do not fit the length");
    opened.index = (const uint32_t *)(header + 1);
    opened.narrow = (const void *)((const uint8_t *)(header + 1) + index_bytes);
    opened.wide = (const void *)opened.narrow;
    opened.count = header->count;
    opened.shift = header->shift;
    opened.last_bucket = header->bucket_count - 1;
    if (wide ? (opened.wide[0].start.high | opened.wide[0].start.low) != 0
             : opened.narrow[0].start != 0)
        return tern_error_set(error, TERN_ECORRUPT, "intervals: the first does not start at 0");
    for (uint32_t i = 0; i < opened.count; i++) {
        uint32_t class = wide ? opened.wide[i].class : opened.narrow[i].class;

        if (!tern_class_fits(bounds, class))
            return tern_error_set(error, TERN_ECORRUPT, "intervals: class %u of %u", class,
                                  bounds->class_count);
    }
    for (uint32_t i = 0; i <= header->bucket_count; i++)
        if (opened.index[i] == 0 || opened.index[i] > opened.count ||
            (i > 0 && opened.index[i] < opened.index[i - 1]))
            return tern_error_set(error, TERN_ECORRUPT, "intervals: index entry %u", i);
    *intervals = opened;
    return 0;
}
