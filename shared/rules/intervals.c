#include "shared/rules/intervals.h"

static size_t interval_bytes(uint32_t form)
{
    return form == TERN_INTERVALS_SHORT  ? sizeof(struct tern_interval_short)
           : form == TERN_INTERVALS_LONG ? sizeof(struct tern_interval)
                                         : sizeof(struct tern_interval_wide);
}

static uint32_t class_at(const struct tern_intervals *intervals, uint32_t index)
{
    return intervals->brief != NULL    ? intervals->brief[index].class
           : intervals->narrow != NULL ? intervals->narrow[index].class
                                       : intervals->wide[index].class;
}

static bool starts_at_0(const struct tern_intervals *intervals)
{
    return intervals->brief != NULL ? intervals->brief[0].start == 0
           : intervals->narrow != NULL
               ? intervals->narrow[0].start == 0
               : (intervals->wide[0].start.high | intervals->wide[0].start.low) == 0;
}

int tern_intervals_open(struct tern_intervals *intervals, const void *data, size_t length,
                        bool wide, const struct tern_class_bounds *bounds, struct tern_error *error)
{
    const struct tern_intervals_header *header = data;
    struct tern_intervals opened = {0};
    uint64_t index_bytes;
    const void *first;

    if (length < sizeof *header || (uintptr_t)data % 8 != 0)
        return tern_error_set(error, TERN_ECORRUPT, "intervals: %zu bytes are too few", length);
    index_bytes = tern_align_up(((uint64_t)header->bucket_count + 1) * sizeof(uint32_t), 8);
    if (header->form < TERN_INTERVALS_SHORT || header->form > TERN_INTERVALS_WIDE ||
        wide != (header->form == TERN_INTERVALS_WIDE) || header->count == 0 ||
        sizeof *header + index_bytes + header->count * interval_bytes(header->form) > length ||
        header->bucket_count == 0 || header->shift > 63)
        return tern_error_set(error, TERN_ECORRUPT, "intervals: counts do not fit the length");
    first = (const uint8_t *)(header + 1) + index_bytes;
    opened.brief = header->form == TERN_INTERVALS_SHORT ? first : NULL;
    opened.narrow = header->form == TERN_INTERVALS_LONG ? first : NULL;
    opened.wide = header->form == TERN_INTERVALS_WIDE ? first : NULL;
    opened.index = (const uint32_t *)(header + 1);
    opened.base = header->base;
    opened.count = header->count;
    opened.shift = header->shift;
    opened.last_bucket = header->bucket_count - 1;
    if (!starts_at_0(&opened))
        return tern_error_set(error, TERN_ECORRUPT, "intervals: the first does not start at 0");
    for (uint32_t i = 0; i < opened.count; i++)
        if (!tern_class_fits(bounds, class_at(&opened, i)))
            return tern_error_set(error, TERN_ECORRUPT, "intervals: class %u of %u",
                                  class_at(&opened, i), bounds->class_count);
    for (uint32_t i = 0; i <= header->bucket_count; i++)
        if (opened.index[i] == 0 || opened.index[i] > opened.count ||
            (i > 0 && opened.index[i] < opened.index[i - 1]))
            return tern_error_set(error, TERN_ECORRUPT, "intervals: index entry %u", i);
    *intervals = opened;
    return 0;
}
