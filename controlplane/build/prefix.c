#include "controlplane/build/prefix.h"

#include "controlplane/build/trie.h"
#include "shared/tables/prefix.h"

static tern_build_key key_of_v6(struct tern_address address)
{
    return (tern_build_key)address.high << 64 | address.low;
}

static tern_build_key key_of_v4(struct tern_address address)
{
    return (tern_build_key)(uint32_t)address.low << 96;
}

int tern_prefix_builder_add(struct tern_prefix_builder *builder,
                            const struct tern_address_range *range, uint32_t value)
{
    bool is_v4 = tern_address_is_v4(range->first);
    struct tern_prefix_family *family = is_v4 ? &builder->v4 : &builder->v6;
    struct tern_prefix_row *row;

    if (tern_address_compare(range->first, range->last) > 0 ||
        (is_v4 && !tern_address_is_v4(range->last)) || value > TERN_PREFIX_VALUE_MAX)
        return TERN_EINVAL;
    if (family->row_count >= UINT32_MAX - 1)
        return TERN_ELIMIT;
    if (family->row_count == family->row_capacity) {
        size_t capacity = family->row_capacity == 0 ? 64 : 2 * family->row_capacity;

        row = realloc(family->rows, capacity * sizeof *row);
        if (row == NULL)
            return TERN_ENOMEM;
        family->rows = row;
        family->row_capacity = capacity;
    }
    row = &family->rows[family->row_count++];
    row->value = value;
    row->first = is_v4 ? key_of_v4(range->first) : key_of_v6(range->first);
    row->last = is_v4 ? key_of_v4(range->last) | ~(tern_build_key)0 >> 32 : key_of_v6(range->last);
    return 0;
}

/* ---- resolve: sort, then sweep --------------------------------------------------------------- */

/* What the sort moves: the leading bits decide most comparisons without touching the rows. */
struct order {
    uint64_t high;
    uint32_t row;
};

/* By first, then last, then row. */
static bool comes_before(const struct tern_prefix_row *rows, const struct order *a,
                         const struct order *b)
{
    const struct tern_prefix_row *left = &rows[a->row], *right = &rows[b->row];

    if (a->high != b->high)
        return a->high < b->high;
    if (left->first != right->first)
        return left->first < right->first;
    if (left->last != right->last)
        return left->last < right->last;
    return a->row < b->row;
}

static void merge(const struct tern_prefix_row *rows, struct order *order, struct order *spare,
                  size_t middle, size_t count)
{
    size_t left = 0, right = middle, at = 0;

    memcpy(spare, order, middle * sizeof *order);
    while (left < middle && right < count)
        order[at++] =
            comes_before(rows, &order[right], &spare[left]) ? order[right++] : spare[left++];
    memcpy(order + at, spare + left, (middle - left) * sizeof *order);
}

/* A merge sort that leaves alone what is in order: sources mostly are. */
static void sort_order(const struct tern_prefix_row *rows, struct order *order, struct order *spare,
                       size_t count)
{
    for (size_t width = 1; width < count; width *= 2)
        for (size_t at = 0; at + width < count; at += 2 * width)
            if (comes_before(rows, &order[at + width], &order[at + width - 1]))
                merge(rows, order + at, spare, width,
                      count - at < 2 * width ? count - at : 2 * width);
}

/* The ranges that hold the sweep's position, the winner on top: a binary heap of row numbers.
 * Ranges that have ended stay until they come to the top. */
struct heap {
    const struct tern_prefix_row *rows;
    uint32_t *items;
    size_t count;
};

static bool wins(const struct tern_prefix_row *rows, uint32_t a, uint32_t b)
{
    tern_build_key a_size = rows[a].last - rows[a].first;
    tern_build_key b_size = rows[b].last - rows[b].first;

    return a_size != b_size ? a_size < b_size : a > b;
}

static void heap_push(struct heap *heap, uint32_t row)
{
    size_t at = heap->count++;

    while (at > 0 && wins(heap->rows, row, heap->items[(at - 1) / 2])) {
        heap->items[at] = heap->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->items[at] = row;
}

static void heap_pop(struct heap *heap)
{
    uint32_t row = heap->items[--heap->count];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && wins(heap->rows, heap->items[child + 1], heap->items[child]))
            child++;
        if (!wins(heap->rows, heap->items[child], row))
            break;
        heap->items[at] = heap->items[child];
        at = child;
    }
    heap->items[at] = row;
}

/* From `start` on, until the next call, `value` wins. The caller has reserved room. */
static void emit(struct tern_prefix_family *family, tern_build_key start, uint32_t value)
{
    struct tern_prefix_segment *segments = family->segments;
    size_t count = family->segment_count;

    if (count > 0 && segments[count - 1].start == start)
        count--;
    if (count == 0 || segments[count - 1].value != value)
        segments[count++] = (struct tern_prefix_segment){.start = start, .value = value};
    family->segment_count = count;
}

static void sweep(struct tern_prefix_family *family, const struct order *order, size_t count,
                  struct heap *heap)
{
    const struct tern_prefix_row *rows = family->rows;
    tern_build_key at = 0;
    size_t next = 0;

    emit(family, 0, TERN_PREFIX_NONE);
    while (next < count || heap->count > 0) {
        const struct tern_prefix_row *top;

        if (heap->count == 0)
            at = rows[order[next].row].first;
        while (next < count && rows[order[next].row].first == at)
            heap_push(heap, order[next++].row);
        while (heap->count > 0 && rows[heap->items[0]].last < at)
            heap_pop(heap);
        if (heap->count == 0) {
            emit(family, at, TERN_PREFIX_NONE);
            continue;
        }
        top = &rows[heap->items[0]];
        emit(family, at, top->value);
        if (next < count && rows[order[next].row].first <= top->last)
            at = rows[order[next].row].first;
        else if (top->last == ~(tern_build_key)0)
            break; /* the end of the family; nothing begins or ends past it */
        else
            at = top->last + 1;
    }
}

static int resolve_family(struct tern_prefix_family *family, uint64_t *overlaps)
{
    size_t count = family->row_count, kept = 0;
    struct order *order = malloc((count + 1) * sizeof *order);
    struct order *spare = malloc((count + 1) * sizeof *spare);
    struct heap heap = {.rows = family->rows, .items = malloc((count + 1) * sizeof *heap.items)};
    int status = TERN_ENOMEM;

    /* A range begins at most one segment and ends with at most one. */
    family->segment_count = 0;
    family->segments = malloc((2 * count + 1) * sizeof *family->segments);
    if (order == NULL || spare == NULL || heap.items == NULL || family->segments == NULL)
        goto done;
    for (size_t i = 0; i < count; i++)
        order[i] =
            (struct order){.high = (uint64_t)(family->rows[i].first >> 64), .row = (uint32_t)i};
    sort_order(family->rows, order, spare, count);
    for (size_t i = 0; i < count; i++) {
        const struct tern_prefix_row *row = &family->rows[order[i].row];

        if (kept > 0 && family->rows[order[kept - 1].row].first == row->first &&
            family->rows[order[kept - 1].row].last == row->last)
            kept--;
        order[kept++] = order[i];
    }
    *overlaps += count - kept;
    sweep(family, order, kept, &heap);
    free(family->rows);
    family->rows = NULL;
    family->row_count = family->row_capacity = 0;
    status = 0;
done:
    free(order);
    free(spare);
    free(heap.items);
    return status;
}

int tern_prefix_builder_resolve(struct tern_prefix_builder *builder)
{
    int status = resolve_family(&builder->v4, &builder->overlaps);

    return status != 0 ? status : resolve_family(&builder->v6, &builder->overlaps);
}

/* ---- pack ------------------------------------------------------------------------------------ */

/* A direct index costs its size whatever the table: only where it is small beside it. */
static unsigned root_bits(size_t segment_count, unsigned most)
{
    if (segment_count >= 16384)
        return most;
    return segment_count >= 256 ? most - TERN_PREFIX_STRIDE : 0;
}

/* The segments of IPv6 with 2000::/3 blotted out: what the direct index does not cover. */
static int segments_outside(const struct tern_prefix_family *family, tern_build_key first,
                            tern_build_key last, struct tern_prefix_family *outside)
{
    bool covered = false; /* the hole has its segment */

    outside->segments = malloc((family->segment_count + 2) * sizeof *outside->segments);
    if (outside->segments == NULL)
        return TERN_ENOMEM;
    for (size_t i = 0; i < family->segment_count; i++) {
        const struct tern_prefix_segment *segment = &family->segments[i];
        bool ends = i + 1 == family->segment_count;
        tern_build_key end = ends ? ~(tern_build_key)0 : family->segments[i + 1].start - 1;

        if (segment->start < first)
            emit(outside, segment->start, segment->value);
        if (end >= first && !covered) {
            emit(outside, first, TERN_PREFIX_NONE);
            covered = true;
        }
        if (end > last)
            emit(outside, segment->start > last ? segment->start : last + 1, segment->value);
    }
    return 0;
}

static int pack_v6(const struct tern_prefix_family *family, struct tern_trie *trie, unsigned bits,
                   uint32_t *root, uint32_t *other)
{
    const tern_build_key first = (tern_build_key)1 << 125; /* 2000:: */
    struct tern_prefix_family outside = {0};
    int status;

    if (bits == 0)
        return tern_trie_pack(trie, family->segments, family->segment_count, 0, 0, 0, other);
    status = tern_trie_pack(trie, family->segments, family->segment_count, first, 3, bits, root);
    if (status == 0)
        status = segments_outside(family, first, first | ~(tern_build_key)0 >> 3, &outside);
    if (status == 0)
        status = tern_trie_pack(trie, outside.segments, outside.segment_count, 0, 0, 0, other);
    free(outside.segments);
    return status;
}

int tern_prefix_builder_pack(const struct tern_prefix_builder *builder, uint32_t range_count,
                             uint32_t value_limit, struct tern_buffer *out)
{
    struct tern_prefix_header header = {
        .magic = TERN_PREFIX_MAGIC,
        .range_count = range_count,
        .value_limit = value_limit,
        .root4_bits = (uint8_t)root_bits(builder->v4.segment_count, TERN_PREFIX_ROOT4_BITS),
        .root6_bits = (uint8_t)root_bits(builder->v6.segment_count, TERN_PREFIX_ROOT6_BITS),
        .root4_offset = sizeof header,
    };
    uint64_t root4_bytes = 4ull << header.root4_bits;
    uint64_t root6_bytes = header.root6_bits == 0 ? 0 : 4ull << header.root6_bits;
    uint32_t *roots;
    struct tern_trie trie = {0};
    size_t start = out->length;
    int status;

    header.root6_offset = tern_align_up(header.root4_offset + root4_bytes, TERN_CACHE_LINE);
    header.nodes_offset = tern_align_up(header.root6_offset + root6_bytes, TERN_CACHE_LINE);
    roots = calloc(1, header.nodes_offset - sizeof header);
    if (roots == NULL)
        return TERN_ENOMEM;
    status = tern_trie_pack(&trie, builder->v4.segments, builder->v4.segment_count, 0, 0,
                            header.root4_bits, roots);
    if (status == 0)
        status =
            pack_v6(&builder->v6, &trie, header.root6_bits,
                    roots + (header.root6_offset - sizeof header) / sizeof *roots, &header.other6);
    header.nodes_bytes = trie.nodes.length;
    if (status == 0 && (tern_buffer_append(out, &header, sizeof header) != 0 ||
                        tern_buffer_append(out, roots, header.nodes_offset - sizeof header) != 0 ||
                        tern_buffer_append(out, trie.nodes.data, trie.nodes.length) != 0))
        status = TERN_ENOMEM;
    if (status != 0)
        out->length = start;
    tern_trie_free(&trie);
    free(roots);
    return status;
}

void tern_prefix_builder_free(struct tern_prefix_builder *builder)
{
    free(builder->v4.rows);
    free(builder->v4.segments);
    free(builder->v6.rows);
    free(builder->v6.segments);
    *builder = (struct tern_prefix_builder){0};
}
