#include "controlplane/compile/rows.h"

#define CLEAN UINT32_MAX

struct tern_rows_unit { /* the unit at hand */
    uint32_t index;
    uint32_t first_row, class_count;
    uint32_t leaf_count;
    uint32_t *leaves;              /* its leaves */
    uint32_t *atom_leaves_start;   /* per atom + 1 */
    uint32_t *atom_leaves;         /* positions in `leaves` */
    uint8_t *truth;                /* per atom */
    uint8_t *leaf_truth;           /* per position */
    uint8_t *leaf_dirty;           /* per position */
    struct tern_list dirty_leaves; /* u32 positions */
    uint8_t *stack;                /* for tern_leaf_truth */
    struct tern_mask *places;      /* per place (block × 2 + down): the mask of flipped bits */
    uint32_t *counts;              /* per place: bits set */
    uint32_t *pooled;              /* per place: index in masks, CLEAN when it must be looked up */
    uint64_t *filled;              /* bitmap over places: not empty */
    size_t filled_words;
    struct tern_list row; /* struct tern_delta: scratch */
};

static const struct tern_leaf *leaves_of(const struct tern_rows *rows)
{
    return rows->normal->leaves.data;
}

int tern_rows_start(struct tern_rows *rows, const struct tern_normal *normal, uint64_t limit_bytes,
                    bool survey)
{
    const struct tern_conjunction *conjunctions = normal->conjunctions.data;
    const uint32_t *terms = normal->terms.data;
    size_t leaf_count = normal->leaves.count;
    uint32_t *fill;

    memset(rows, 0, sizeof *rows);
    rows->normal = normal;
    rows->limit_bytes = limit_bytes;
    rows->bit_count = survey ? 0 : (uint32_t)normal->conjunctions.count;
    rows->block_count = (rows->bit_count + TERN_BLOCK_BITS - 1) / TERN_BLOCK_BITS;
    rows->leaf_based = calloc(leaf_count + 1, 1);
    rows->leaf_missing = calloc(leaf_count + 1, 1);
    rows->leaf_possible = calloc(leaf_count + 1, 1);
    rows->leaf_certain = malloc(leaf_count + 1);
    rows->leaf_bits_start = calloc(leaf_count + 2, sizeof *rows->leaf_bits_start);
    rows->leaf_bits = calloc(normal->terms.count + 1, sizeof *rows->leaf_bits);
    rows->needs = calloc((size_t)rows->bit_count + 1, sizeof *rows->needs);
    fill = calloc(leaf_count + 1, sizeof *fill);
    if (rows->leaf_based == NULL || rows->leaf_missing == NULL || rows->leaf_possible == NULL ||
        rows->leaf_certain == NULL || rows->leaf_bits_start == NULL || rows->leaf_bits == NULL ||
        rows->needs == NULL || fill == NULL) {
        free(fill);
        tern_rows_free(rows);
        return TERN_ENOMEM;
    }
    memset(rows->leaf_certain, 1, leaf_count + 1);
    for (uint32_t bit = 0; bit < rows->bit_count; bit++)
        for (uint32_t i = 0; i < conjunctions[bit].term_count; i++)
            rows->leaf_bits_start[terms[conjunctions[bit].first_term + i] + 1]++;
    for (size_t i = 0; i < leaf_count; i++) {
        if (leaves_of(rows)[i].residual)
            rows->leaf_bits_start[i + 1] = 0;
        rows->leaf_bits_start[i + 1] += rows->leaf_bits_start[i];
        fill[i] = rows->leaf_bits_start[i];
    }
    for (uint32_t bit = 0; bit < rows->bit_count; bit++)
        for (uint32_t i = 0; i < conjunctions[bit].term_count; i++) {
            uint32_t leaf = terms[conjunctions[bit].first_term + i];

            if (!leaves_of(rows)[leaf].residual)
                rows->leaf_bits[fill[leaf]++] = bit;
        }
    free(fill);
    return 0;
}

/* Returns whether the bit is set now. */
static bool flip_bit(struct tern_rows_unit *unit, uint32_t bit, uint32_t place)
{
    uint64_t *word = &unit->places[place].words[bit % TERN_BLOCK_BITS / 64];
    uint64_t mask = 1ull << (bit & 63);

    *word ^= mask;
    unit->pooled[place] = CLEAN;
    if (*word & mask) {
        if (unit->counts[place]++ == 0)
            unit->filled[place / 64] |= 1ull << (place & 63);
    } else if (--unit->counts[place] == 0) {
        unit->filled[place / 64] &= ~(1ull << (place & 63));
    }
    return (*word & mask) != 0;
}

static void flip_bits(struct tern_rows *rows, uint32_t leaf, bool down)
{
    for (uint32_t i = rows->leaf_bits_start[leaf]; i < rows->leaf_bits_start[leaf + 1]; i++) {
        uint32_t bit = rows->leaf_bits[i], place = bit / TERN_BLOCK_BITS * 2 + down;
        bool set = flip_bit(rows->unit, bit, place);

        if (rows->costs != NULL)
            tern_costs_flip(rows->costs, leaf, bit, place, set);
    }
}

void tern_rows_flip(struct tern_rows *rows, uint32_t bit)
{
    flip_bit(rows->unit, bit, bit / TERN_BLOCK_BITS * 2);
}

static void update_leaf(struct tern_rows *rows, uint32_t position)
{
    struct tern_rows_unit *unit = rows->unit;
    uint32_t leaf = unit->leaves[position];
    bool truth = tern_leaf_truth(&leaves_of(rows)[leaf], unit->truth, unit->stack);

    if (truth != (bool)unit->leaf_truth[position]) {
        unit->leaf_truth[position] = truth;
        flip_bits(rows, leaf, rows->leaf_based[leaf]);
    }
}

/* Which leaves belong to the unit, and which of them name each atom. */
static int index_leaves(struct tern_rows *rows, size_t atom_count)
{
    struct tern_rows_unit *unit = rows->unit;
    const struct tern_leaf *leaves = leaves_of(rows);
    size_t named = 0, longest = 1;
    uint32_t *fill;

    for (uint32_t i = 0; i < rows->normal->leaves.count; i++)
        if (leaves[i].unit == unit->index && !leaves[i].residual)
            unit->leaf_count++;
    unit->leaves = calloc(unit->leaf_count + 1, sizeof *unit->leaves);
    unit->atom_leaves_start = calloc(atom_count + 2, sizeof *unit->atom_leaves_start);
    if (unit->leaves == NULL || unit->atom_leaves_start == NULL)
        return TERN_ENOMEM;
    unit->leaf_count = 0;
    for (uint32_t i = 0; i < rows->normal->leaves.count; i++) {
        if (leaves[i].unit != unit->index || leaves[i].residual)
            continue;
        unit->leaves[unit->leaf_count++] = i;
        longest = tern_max_u64(longest, leaves[i].length);
        for (uint32_t j = 0; j < leaves[i].length; j++)
            if ((leaves[i].postfix[j] & TERN_POSTFIX_OP) == 0) {
                unit->atom_leaves_start[leaves[i].postfix[j] + 1]++;
                named++;
            }
    }
    fill = calloc(atom_count + 1, sizeof *fill);
    unit->stack = malloc(longest);
    unit->atom_leaves = calloc(named + 1, sizeof *unit->atom_leaves);
    unit->leaf_truth = calloc(unit->leaf_count + 1, 1);
    unit->leaf_dirty = calloc(unit->leaf_count + 1, 1);
    if (fill == NULL || unit->stack == NULL || unit->atom_leaves == NULL ||
        unit->leaf_truth == NULL || unit->leaf_dirty == NULL) {
        free(fill);
        return TERN_ENOMEM;
    }
    for (size_t i = 0; i < atom_count; i++) {
        unit->atom_leaves_start[i + 1] += unit->atom_leaves_start[i];
        fill[i] = unit->atom_leaves_start[i];
    }
    for (uint32_t i = 0; i < unit->leaf_count; i++) {
        const struct tern_leaf *leaf = &leaves[unit->leaves[i]];

        for (uint32_t j = 0; j < leaf->length; j++)
            if ((leaf->postfix[j] & TERN_POSTFIX_OP) == 0)
                unit->atom_leaves[fill[leaf->postfix[j]]++] = i;
    }
    free(fill);
    return 0;
}

int tern_rows_unit(struct tern_rows *rows, uint32_t index, uint32_t class_count, uint32_t there,
                   uint32_t *first_row)
{
    const struct tern_compiled_unit *compiled =
        (const struct tern_compiled_unit *)rows->normal->units.data + index;
    size_t places = (size_t)rows->block_count * 2;
    struct tern_rows_unit *unit = calloc(1, sizeof *unit);

    if (unit == NULL)
        return TERN_ENOMEM;
    assert(rows->unit == NULL);
    rows->unit = unit;
    unit->index = index;
    unit->class_count = class_count;
    unit->first_row = (uint32_t)rows->class_rows.count;
    unit->filled_words = (places + 63) / 64;
    unit->truth = calloc(compiled->atoms.count + 1, 1);
    unit->places = calloc(places + 1, sizeof *unit->places);
    unit->counts = calloc(places + 1, sizeof *unit->counts);
    unit->pooled = malloc((places + 1) * sizeof *unit->pooled);
    unit->filled = calloc(unit->filled_words + 1, sizeof *unit->filled);
    if (unit->truth == NULL || unit->places == NULL || unit->counts == NULL ||
        unit->pooled == NULL || unit->filled == NULL ||
        index_leaves(rows, compiled->atoms.count) != 0 ||
        tern_list_reserve(&rows->class_rows, class_count, sizeof(struct tern_class_row)) != 0)
        return TERN_ENOMEM;
    memset(unit->pooled, 0xff, (places + 1) * sizeof *unit->pooled);
    memset((struct tern_class_row *)rows->class_rows.data + unit->first_row, 0,
           class_count * sizeof(struct tern_class_row));
    rows->class_rows.count += class_count;

    /* the base row is that of class 1; what it lacks, ups must bring */
    if (there != UINT32_MAX)
        unit->truth[there] = 1;
    for (uint32_t i = 0; i < unit->leaf_count; i++) {
        uint32_t leaf = unit->leaves[i];

        rows->leaf_based[leaf] = tern_leaf_truth(&leaves_of(rows)[leaf], unit->truth, unit->stack);
        unit->leaf_truth[i] = rows->leaf_based[leaf];
        if (!rows->leaf_based[leaf])
            for (uint32_t j = rows->leaf_bits_start[leaf]; j < rows->leaf_bits_start[leaf + 1]; j++)
                rows->needs[rows->leaf_bits[j]]++;
    }
    if (there != UINT32_MAX)
        unit->truth[there] = 0;
    for (uint32_t i = 0; i < unit->leaf_count; i++)
        update_leaf(rows, i);
    for (uint32_t i = 0; i < unit->leaf_count; i++) {
        rows->leaf_missing[unit->leaves[i]] = unit->leaf_truth[i];
        rows->leaf_possible[unit->leaves[i]] = unit->leaf_truth[i];
        rows->leaf_certain[unit->leaves[i]] = unit->leaf_truth[i];
    }
    *first_row = unit->first_row;
    return 0;
}

int tern_rows_toggle(struct tern_rows *rows, uint32_t atom)
{
    struct tern_rows_unit *unit = rows->unit;
    uint32_t end = unit->atom_leaves_start[atom + 1];

    unit->truth[atom] ^= 1;
    for (uint32_t i = unit->atom_leaves_start[atom]; i < end; i++) {
        uint32_t position = unit->atom_leaves[i], *slot;

        if (unit->leaf_dirty[position])
            continue;
        slot = tern_list_push(&unit->dirty_leaves, sizeof *slot);
        if (slot == NULL)
            return TERN_ENOMEM;
        *slot = position;
        unit->leaf_dirty[position] = 1;
    }
    return 0;
}

/* The number of the mask at a place, which is stored when it is new. */
static int pool_mask(struct tern_rows *rows, uint32_t place, uint32_t *index)
{
    const struct tern_mask *mask = &rows->unit->places[place];
    bool added;
    uint32_t *found = tern_digest_map_put(&rows->mask_map, tern_digest_of(mask, sizeof *mask),
                                          (uint32_t)rows->mask_map.count, &added);

    if (found == NULL)
        return TERN_ENOMEM;
    *index = *found;
    if (added && rows->costs != NULL) {
        tern_costs_place(rows->costs, place, rows->unit->counts[place], sizeof *mask);
    } else if (added) {
        struct tern_mask *slot = tern_list_push(&rows->masks, sizeof *slot);

        if (slot == NULL)
            return TERN_ENOMEM;
        memcpy(slot, mask, sizeof *mask);
    }
    return 0;
}

/* The row of the current state as a list of deltas in order of their places. */
static int gather_row(struct tern_rows *rows)
{
    struct tern_rows_unit *unit = rows->unit;

    unit->row.count = 0;
    for (size_t word = 0; word < unit->filled_words; word++) {
        for (uint64_t left = unit->filled[word]; left != 0; left &= left - 1) {
            uint32_t place = (uint32_t)(word * 64 + (size_t)__builtin_ctzll(left));
            struct tern_delta *delta = tern_list_push(&unit->row, sizeof *delta);

            if (delta == NULL)
                return TERN_ENOMEM;
            if (unit->pooled[place] == CLEAN && pool_mask(rows, place, &unit->pooled[place]) != 0)
                return TERN_ENOMEM;
            *delta = (struct tern_delta){place, unit->pooled[place]};
        }
    }
    return 0;
}

static void update_dirty_leaves(struct tern_rows *rows)
{
    struct tern_rows_unit *unit = rows->unit;
    const uint32_t *dirty = unit->dirty_leaves.data;

    for (size_t i = 0; i < unit->dirty_leaves.count; i++) {
        uint32_t leaf = unit->leaves[dirty[i]];
        uint8_t before = unit->leaf_truth[dirty[i]];

        unit->leaf_dirty[dirty[i]] = 0;
        update_leaf(rows, dirty[i]);
        rows->leaf_possible[leaf] |= unit->leaf_truth[dirty[i]];
        rows->leaf_certain[leaf] &= unit->leaf_truth[dirty[i]];
        if (rows->costs == NULL)
            continue;
        if (unit->leaf_truth[dirty[i]] != before)
            tern_costs_turn(rows->costs, leaf, !before);
        tern_costs_leaf(rows->costs, leaf, /* one row more, because of them */
                        (sizeof(struct tern_class_row) << TERN_COSTS_SHIFT) /
                            unit->dirty_leaves.count);
    }
    unit->dirty_leaves.count = 0;
}

/* The row of the current state, as far as it is new, on the accounts of the bits in it. */
static int measure_row(struct tern_rows *rows)
{
    const struct tern_delta *deltas;
    bool added;

    if (!tern_costs_sampled(rows->costs))
        return 0;
    if (gather_row(rows) != 0)
        return TERN_ENOMEM;
    deltas = rows->unit->row.data;
    if (tern_digest_map_put(&rows->row_map,
                            tern_digest_of(deltas, rows->unit->row.count * sizeof *deltas), 0,
                            &added) == NULL)
        return TERN_ENOMEM;
    for (size_t i = 0; i < rows->unit->row.count && added; i++)
        tern_costs_place(rows->costs, deltas[i].place, rows->unit->counts[deltas[i].place],
                         sizeof *deltas);
    tern_costs_spent(rows->costs, rows->unit->row.count);
    return 0;
}

int tern_rows_class(struct tern_rows *rows, uint32_t class)
{
    struct tern_rows_unit *unit = rows->unit;
    struct tern_class_row *row =
        (struct tern_class_row *)rows->class_rows.data + unit->first_row + class;
    const struct tern_delta *deltas;
    uint32_t *found;
    bool added;

    assert(class < unit->class_count);
    update_dirty_leaves(rows);
    if (rows->costs != NULL)
        return measure_row(rows);
    if (gather_row(rows) != 0)
        return TERN_ENOMEM;
    deltas = unit->row.data;
    if (unit->row.count == 0)
        return 0;
    found = tern_digest_map_put(&rows->row_map,
                                tern_digest_of(deltas, unit->row.count * sizeof *deltas),
                                (uint32_t)rows->deltas.count, &added);
    if (found == NULL)
        return TERN_ENOMEM;
    if (added) {
        if (rows->deltas.count + unit->row.count > UINT32_MAX ||
            tern_list_reserve(&rows->deltas, unit->row.count, sizeof *deltas) != 0)
            return TERN_ENOMEM;
        memcpy((struct tern_delta *)rows->deltas.data + rows->deltas.count, deltas,
               unit->row.count * sizeof *deltas);
        rows->deltas.count += unit->row.count;
    }
    *row =
        (struct tern_class_row){*found, (uint32_t)unit->row.count, deltas[0].place, deltas[0].mask};
    return tern_rows_bytes(rows) > rows->limit_bytes ? TERN_ELIMIT : 0;
}

void tern_rows_unit_end(struct tern_rows *rows)
{
    struct tern_rows_unit *unit = rows->unit;

    if (unit == NULL)
        return;
    for (uint32_t i = 0; unit->leaves != NULL && unit->leaf_truth != NULL && i < unit->leaf_count;
         i++) {
        uint32_t leaf = unit->leaves[i];

        assert(rows->leaf_possible != NULL && rows->leaf_based != NULL);
        rows->leaf_possible[leaf] |= rows->leaf_based[leaf];
        if (rows->costs == NULL)
            continue;
        tern_costs_settle(rows->costs, leaf, unit->leaf_truth[i]);
        if (unit->leaf_truth[i] != rows->leaf_based[leaf])
            flip_bits(rows, leaf, rows->leaf_based[leaf]); /* settles the account of its bits */
    }
    if (rows->costs != NULL)
        tern_costs_unit_end(rows->costs);
    free(unit->leaves);
    free(unit->atom_leaves_start);
    free(unit->atom_leaves);
    free(unit->truth);
    free(unit->leaf_truth);
    free(unit->leaf_dirty);
    tern_list_free(&unit->dirty_leaves);
    free(unit->stack);
    free(unit->places);
    free(unit->counts);
    free(unit->pooled);
    free(unit->filled);
    tern_list_free(&unit->row);
    free(unit);
    rows->unit = NULL;
}

/* The needs of one block's bits as masks: level i holds the bits whose need is above i. */
static int finish_block(struct tern_rows *rows, uint32_t index)
{
    uint32_t first = index * TERN_BLOCK_BITS, levels = 0;
    struct tern_block *block = tern_list_push(&rows->blocks, sizeof *block);
    bool always = false;

    if (block == NULL)
        return TERN_ENOMEM;
    for (uint32_t i = 0; i < TERN_BLOCK_BITS; i++) {
        uint32_t bit = first + i, need = bit < rows->bit_count ? rows->needs[bit] : 1;

        always |= need == 0;
        levels = need > levels ? need : levels;
    }
    *block = (struct tern_block){.first_need = (uint32_t)rows->masks.count, .level_count = levels};
    for (uint32_t level = 0; level < levels; level++) {
        struct tern_mask *mask = tern_list_push(&rows->masks, sizeof *mask);

        if (mask == NULL)
            return TERN_ENOMEM;
        memset(mask, 0, sizeof *mask);
        for (uint32_t i = 0; i < TERN_BLOCK_BITS; i++) {
            uint32_t bit = first + i, need = bit < rows->bit_count ? rows->needs[bit] : 1;

            if (need > level)
                mask->words[i / 64] |= 1ull << (i & 63);
        }
    }
    if (always) {
        uint32_t *slot = tern_list_push(&rows->always, sizeof *slot);

        if (slot == NULL)
            return TERN_ENOMEM;
        *slot = index;
    }
    return 0;
}

int tern_rows_finish(struct tern_rows *rows)
{
    int status = 0;

    for (uint32_t i = 0; i < rows->block_count && status == 0; i++)
        status = finish_block(rows, i);
    if (status == 0 && tern_rows_bytes(rows) > rows->limit_bytes)
        status = TERN_ELIMIT;
    return status;
}

void tern_rows_measure(struct tern_rows *rows, struct tern_costs *costs)
{
    rows->costs = costs;
    rows->limit_bytes = UINT64_MAX;
}

uint64_t tern_rows_bytes(const struct tern_rows *rows)
{
    return rows->masks.count * sizeof(struct tern_mask) +
           rows->deltas.count * sizeof(struct tern_delta) +
           rows->class_rows.count * sizeof(struct tern_class_row);
}

void tern_rows_free(struct tern_rows *rows)
{
    tern_rows_unit_end(rows);
    tern_list_free(&rows->masks);
    tern_list_free(&rows->deltas);
    tern_list_free(&rows->class_rows);
    tern_list_free(&rows->blocks);
    tern_list_free(&rows->always);
    tern_digest_map_free(&rows->mask_map);
    tern_digest_map_free(&rows->row_map);
    free(rows->leaf_based);
    free(rows->leaf_missing);
    free(rows->leaf_possible);
    free(rows->leaf_certain);
    free(rows->leaf_bits_start);
    free(rows->leaf_bits);
    free(rows->needs);
    memset(rows, 0, sizeof *rows);
}
