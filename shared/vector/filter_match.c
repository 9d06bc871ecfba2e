/* Evaluation of filters, 64 slots at a time: a bit each. */
#include "shared/schema.h"
#include "shared/vector/filter_program.h"

/* Shell 1959, with the gaps of Ciura 2001. */
unsigned tern_filter_tidy(struct tern_filter_range *ranges, unsigned count)
{
    static const unsigned gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    unsigned kept = 0;

    for (size_t g = 0; g < TERN_COUNT(gaps); g++) {
        unsigned gap = gaps[g];

        for (unsigned i = gap; i < count; i++) {
            struct tern_filter_range moved = ranges[i];
            unsigned at = i;

            for (; at >= gap && ranges[at - gap].first > moved.first; at -= gap)
                ranges[at] = ranges[at - gap];
            ranges[at] = moved;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (kept > 0 && ranges[i].first <= ranges[kept - 1].last)
            ranges[kept - 1].last = tern_max_u64(ranges[kept - 1].last, ranges[i].last);
        else
            ranges[kept++] = ranges[i];
    }
    return kept;
}

static bool bytes_hold(const struct tern_filter *filter, const struct tern_filter_node *node,
                       const uint8_t *bytes, size_t length)
{
    const struct tern_filter_string *strings = &filter->strings[node->first];
    const char *decoded = filter->decoded;

    switch (node->kind) {
    case TERN_FILTER_STARTS_WITH:
        return length >= strings->length &&
               memcmp(bytes, decoded + strings->offset, strings->length) == 0;
    case TERN_FILTER_ENDS_WITH:
        return length >= strings->length && memcmp(bytes + length - strings->length,
                                                   decoded + strings->offset, strings->length) == 0;
    case TERN_FILTER_CONTAINS:
        return memmem(bytes, length, decoded + strings->offset, strings->length) != NULL;
    default: /* equality with one of them */
        for (unsigned i = 0; i < node->count; i++)
            if (strings[i].length == length &&
                memcmp(bytes, decoded + strings[i].offset, length) == 0)
                return !node->negated;
        return node->negated;
    }
}

/* What the comparison says of the dictionary's string `number`; false when there is none. */
static bool string_holds(const struct tern_filter *filter, const struct tern_filter_node *node,
                         const struct tern_collection *collection, uint32_t number)
{
    const uint8_t *bytes;
    uint32_t length;

    return tern_collection_string(collection, number, &bytes, &length) &&
           bytes_hold(filter, node, bytes, length);
}

static bool in_ranges(const struct tern_filter_range *ranges, unsigned count, uint64_t key)
{
    unsigned low = 0;

    /* the last range that begins at or before the key */
    while (count - low > 1) {
        unsigned middle = low + (count - low) / 2;

        if (ranges[middle].first <= key)
            low = middle;
        else
            count = middle;
    }
    return count > 0 && key - ranges[low].first <= ranges[low].last - ranges[low].first;
}

/* A value of a payload; another thread may be writing it when its slot is no answer anyway. */
static inline uint32_t load_u32(const uint8_t *values, uint32_t slot)
{
    return __atomic_load_n((const uint32_t *)(const void *)values + slot, __ATOMIC_RELAXED);
}

static inline uint64_t load_u64(const uint8_t *values, uint32_t slot)
{
    return __atomic_load_n((const uint64_t *)(const void *)values + slot, __ATOMIC_RELAXED);
}

static inline uint64_t load_key(const uint8_t *values, uint8_t type, uint32_t slot)
{
    uint32_t bits;
    float number;

    switch (type) {
    case TERN_TYPE_U64:
        return load_u64(values, slot);
    case TERN_TYPE_I64:
        return tern_filter_key_of_i64((int64_t)load_u64(values, slot));
    case TERN_TYPE_F32:
        bits = load_u32(values, slot);
        memcpy(&number, &bits, sizeof number);
        return tern_filter_key_of_f32(number);
    case TERN_TYPE_BOOL:
        return __atomic_load_n(values + slot, __ATOMIC_RELAXED) != 0;
    default: /* u32, a string's number */
        return load_u32(values, slot);
    }
}

/* Which of the slots have a value in the column. */
static uint64_t present_bits(const struct tern_collection *collection, unsigned column,
                             const uint32_t *slots, unsigned count)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < count; i++)
        bits |=
            (uint64_t)(__atomic_load_n(&collection->present[slots[i]], __ATOMIC_RELAXED) >> column &
                       1)
            << i;
    return bits;
}

static inline uint64_t range_bits(const struct tern_filter_range *ranges, unsigned range_count,
                                  const uint8_t *values, uint8_t type, const uint32_t *slots,
                                  unsigned count)
{
    uint64_t bits = 0;

    if (range_count == 1) {
        uint64_t first = ranges->first, span = ranges->last - ranges->first;

        for (unsigned i = 0; i < count; i++)
            bits |= (uint64_t)(load_key(values, type, slots[i]) - first <= span) << i;
    } else if (range_count > 1) {
        for (unsigned i = 0; i < count; i++)
            bits |= (uint64_t)in_ranges(ranges, range_count, load_key(values, type, slots[i])) << i;
    }
    return bits;
}

/* The compiler makes a loop for each type of this. */
static uint64_t number_bits(const struct tern_filter *filter, const struct tern_filter_node *node,
                            const uint8_t *values, const uint32_t *slots, unsigned count)
{
    const struct tern_filter_range *ranges = &filter->ranges[node->first];

    switch (node->type) {
    case TERN_TYPE_U64:
        return range_bits(ranges, node->range_count, values, TERN_TYPE_U64, slots, count);
    case TERN_TYPE_I64:
        return range_bits(ranges, node->range_count, values, TERN_TYPE_I64, slots, count);
    case TERN_TYPE_F32:
        return range_bits(ranges, node->range_count, values, TERN_TYPE_F32, slots, count);
    case TERN_TYPE_BOOL:
        return range_bits(ranges, node->range_count, values, TERN_TYPE_BOOL, slots, count);
    default:
        return range_bits(ranges, node->range_count, values, TERN_TYPE_U32, slots, count);
    }
}

/* Strings that came into the dictionary after tern_filter_bind have to be looked at. */
static uint64_t correct_new_strings(const struct tern_filter *filter,
                                    const struct tern_filter_node *node,
                                    const struct tern_collection *collection, const uint8_t *values,
                                    const uint32_t *slots, uint64_t asked, uint64_t bits)
{
    for (; asked != 0; asked &= asked - 1) {
        unsigned i = (unsigned)__builtin_ctzll(asked);
        uint32_t number = load_u32(values, slots[i]);

        if (TERN_UNLIKELY(number >= filter->dictionary_count))
            bits = (bits & ~(1ull << i)) | (uint64_t)string_holds(filter, node, collection, number)
                                               << i;
    }
    return bits;
}

static uint64_t part_bits(const struct tern_filter *filter, const struct tern_filter_node *node,
                          const struct tern_collection *collection, const uint8_t *values,
                          const uint32_t *slots, uint64_t asked)
{
    /* A program belongs to one thread: what it remembers is no part of what it is. */
    uint32_t *memo = ((struct tern_filter *)(uintptr_t)filter)->memo[node - filter->nodes];
    uint64_t bits = 0;

    for (; asked != 0; asked &= asked - 1) {
        unsigned i = (unsigned)__builtin_ctzll(asked);
        uint32_t number = load_u32(values, slots[i]);
        uint32_t *known = &memo[number % TERN_FILTER_MEMO];

        if (*known == 0 || (*known - 1) >> 1 != number) {
            bool holds = string_holds(filter, node, collection, number);

            if (number >= filter->dictionary_count) { /* new: looked at each time */
                bits |= (uint64_t)holds << i;
                continue;
            }
            *known = (number << 1 | holds) + 1;
        }
        bits |= (uint64_t)((*known - 1) & 1) << i;
    }
    return bits;
}

static uint64_t leaf_bits(const struct tern_filter *filter, const struct tern_filter_node *node,
                          const struct tern_collection *collection, const uint32_t *slots,
                          unsigned count)
{
    const uint8_t *values = collection->base + collection->header->columns[node->column].offset;
    uint64_t present = present_bits(collection, node->column, slots, count), bits;

    if (node->kind == TERN_FILTER_EXISTS || present == 0)
        return present;
    if (node->kind != TERN_FILTER_RANGES)
        return part_bits(filter, node, collection, values, slots, present);
    bits = number_bits(filter, node, values, slots, count);
    if (node->negated)
        bits = ~bits;
    if (node->type == TERN_TYPE_STRING)
        bits = correct_new_strings(filter, node, collection, values, slots, present, bits);
    return bits & present;
}

static uint64_t evaluate(const struct tern_filter *filter, const struct tern_collection *collection,
                         const uint32_t *slots, unsigned count)
{
    uint64_t stack[TERN_FILTER_NODES_MAX];
    unsigned depth = 0;

    stack[0] = 0; /* is written by the first node: there is one */
    for (unsigned i = 0; i < filter->node_count; i++) {
        const struct tern_filter_node *node = &filter->nodes[i];

        switch (node->kind) {
        case TERN_FILTER_AND:
            for (unsigned n = 1; n < node->count; n++, depth--)
                stack[depth - 2] &= stack[depth - 1];
            break;
        case TERN_FILTER_OR:
            for (unsigned n = 1; n < node->count; n++, depth--)
                stack[depth - 2] |= stack[depth - 1];
            break;
        case TERN_FILTER_NOT:
            stack[depth - 1] = ~stack[depth - 1];
            break;
        default:
            stack[depth++] = leaf_bits(filter, node, collection, slots, count);
            break;
        }
    }
    return stack[0];
}

void tern_filter_bind(struct tern_filter *filter, const struct tern_collection *collection)
{
    uint32_t known =
        atomic_load_explicit(&collection->header->dictionary_count, memory_order_acquire);

    /* First: whatever it does not count is looked at by its bytes. */
    filter->dictionary_count = (uint32_t)tern_min_u64(known, 1u << 30); /* a bit is for the memo */
    for (unsigned i = 0; i < filter->node_count; i++) {
        struct tern_filter_node *node = &filter->nodes[i];
        struct tern_filter_range *ranges = &filter->ranges[node->first];
        unsigned found = 0;

        if (node->kind >= TERN_FILTER_STARTS_WITH)
            memset(filter->memo[i], 0, sizeof filter->memo[i]);
        if (node->kind != TERN_FILTER_RANGES || node->type != TERN_TYPE_STRING)
            continue;
        for (unsigned n = 0; n < node->count; n++) {
            const struct tern_filter_string *string = &filter->strings[node->first + n];
            uint32_t number;

            if (tern_collection_find_string(collection,
                                            (const uint8_t *)filter->decoded + string->offset,
                                            string->length, &number))
                ranges[found++] = (struct tern_filter_range){number, number};
        }
        node->range_count = (uint16_t)tern_filter_tidy(ranges, found);
    }
}

void tern_filter_match(const void *context, const struct tern_collection *collection,
                       const uint32_t *slots, unsigned count, uint8_t *matches)
{
    const struct tern_filter *filter = context;

    while (count > 0) {
        unsigned now = (unsigned)tern_min_u64(count, 64);
        uint64_t bits = evaluate(filter, collection, slots, now);

        for (unsigned i = 0; i < now; i++)
            matches[i] = bits >> i & 1;
        slots += now;
        matches += now;
        count -= now;
    }
}
