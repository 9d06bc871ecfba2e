/* The walk over the rows of one item, written once for every instruction set: included by
 * walk_scalar.c and walk_avx2.c, which define block_t, its operations and WALK_NAME.
 *
 * Blocks are visited in order of priority, and only those in which some unit's class differs from
 * its base row or in which a bit needs nothing. In a visited block, bit k is alive when no unit
 * brings it down and at least need(k) units bring it up; "at least i" is kept in counter i (a unary
 * counter of 512 columns at once), so the cost of a block follows the number of masks that fall
 * into it.
 *
 * SCAN units are lazy (docs/decisions/0014-scans.md): as long as a value has not been scanned, its
 * unit brings all ups that it could. The first survivor that depends on it has it scanned, and the
 * block is taken up again from that bit. */

static inline void finish_terminal(const struct tern_bit *bit, float sum,
                                   struct tern_verdict *verdict)
{
    *verdict = (struct tern_verdict){.action = bit->action,
                                     .tier = 1,
                                     .flags = bit->flags,
                                     .cause = bit->effect == TERN_EFFECT_DECIDE
                                                  ? TERN_CAUSE_RULE
                                                  : TERN_CAUSE_ESCALATION_UNAVAILABLE,
                                     .rule = bit->rule + 1,
                                     .score = bit->score != 0 ? bit->score : sum};
}

/* Only this thread writes the counter, so a load and a store make no lost update; others read it as
 * it goes (relaxed: a count orders nothing). */
static inline void count_hit(const struct tern_hits *hits, uint32_t rule)
{
    _Atomic uint64_t *counter;

    if (hits->counters == NULL)
        return;
    counter = &hits->counters[hits->slots[rule]];
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static inline void finish_open(const struct tern_rules *rules, float sum,
                               struct tern_verdict *verdict)
{
    for (uint32_t i = 0; i < rules->threshold_count; i++) {
        if (sum >= rules->thresholds[i].at) {
            *verdict = (struct tern_verdict){.action = (uint8_t)rules->thresholds[i].action,
                                             .tier = 1,
                                             .cause = TERN_CAUSE_THRESHOLD,
                                             .score = sum};
            return;
        }
    }
    *verdict = (struct tern_verdict){
        .action = rules->default_action, .cause = TERN_CAUSE_DEFAULT, .score = sum};
}

/* The cursor of a row that differs from its unit's base row. */
static inline void put_cursor(const struct tern_rules *rules, const struct tern_class_row *row,
                              struct tern_cursor *cursors, uint32_t *active)
{
    if (row->delta_count > 0)
        cursors[(*active)++] = (struct tern_cursor){
            row->first_place, row->first_mask, rules->deltas + row->first_delta + 1,
            rules->deltas + row->first_delta + row->delta_count};
}

static inline __attribute__((always_inline)) void put_class(const struct tern_rules *rules,
                                                            uint32_t unit, uint32_t class,
                                                            struct tern_cursor *cursors,
                                                            uint32_t *active)
{
    if (class == TERN_CLASS_BASE)
        return;
    if (tern_class_is_direct(class)) {
        struct tern_delta delta = tern_class_delta(class);

        cursors[(*active)++] = (struct tern_cursor){delta.place, delta.mask, NULL, NULL};
        return;
    }
    put_cursor(rules, &rules->unit_rows[unit][class], cursors, active);
}

/* Cursors of the rows of SCAN units: of the hits, or of all that is possible where the value has
 * not been scanned. */
static inline void put_scans(const struct tern_rules *rules, const struct tern_room *room,
                             const uint32_t *classes, uint32_t unscanned,
                             struct tern_cursor *cursors, uint32_t *active)
{
    for (uint32_t i = 0; i < rules->scan_count; i++) {
        const struct tern_scan *scan = &rules->scans[i];

        if (classes[scan->unit] == TERN_CLASS_MISSING)
            continue; /* nothing hits */
        if (i < TERN_LAZY_MAX && unscanned >> i & 1)
            for (uint32_t level = 0; level < scan->level_count; level++)
                put_cursor(rules, &scan->levels[level], cursors, active);
        else
            for (uint32_t hit = 0; hit < room->hits[i].count; hit++)
                put_cursor(rules, &scan->hits[room->hits[i].atoms[hit]], cursors, active);
    }
}

static inline __attribute__((always_inline)) uint32_t
put_cursors(const struct tern_rules *rules, const struct tern_room *room, const uint32_t *classes,
            uint32_t unscanned, struct tern_cursor *cursors)
{
    uint32_t active = 0;

    for (uint32_t i = 0; i < rules->unit_count; i++)
        put_class(rules, i, classes[i], cursors, &active);
    put_scans(rules, room, classes, unscanned, cursors, &active);
    return active;
}

/* Moves the cursor to its first delta at or behind `place`; false when there is none. */
static inline bool seek_cursor(struct tern_cursor *cursor, uint32_t place)
{
    size_t count = (size_t)(cursor->end - cursor->rest);
    const struct tern_delta *base = cursor->rest;

    if (cursor->place >= place)
        return true;
    while (count > 0) {
        size_t half = count / 2;

        if (base[half].place < place) {
            base += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    if (base == cursor->end)
        return false;
    cursor->place = base->place;
    cursor->mask = base->mask;
    cursor->rest = base + 1;
    return true;
}

/* A survivor of `block` asks for a lazy unit: scans it and starts over in that block. Only bits
 * that name the unit change, and only from alive to dead. */
static __attribute__((noinline)) uint32_t
scan_lazily(const struct tern_rules *rules, struct tern_scratch *scratch,
            const struct tern_facts *facts, const uint32_t *classes, uint32_t lazy, uint32_t block)
{
    uint32_t index = (uint32_t)__builtin_ctz(lazy), active; /* the first is the cheapest */
    struct tern_cursor *cursors = scratch->room->cursors;

    tern_room_scan(scratch->room, index, facts);
    scratch->unscanned &= ~(1u << index);
    active = put_cursors(rules, scratch->room, classes, scratch->unscanned, cursors);
    for (uint32_t i = 0; i < active;)
        if (seek_cursor(&cursors[i], block * 2))
            i++;
        else
            cursors[i] = cursors[--active];
    return active;
}

/* Which lazy scans are open for this item; those that are not lazy are done. */
static __attribute__((noinline)) uint32_t start_scans(const struct tern_rules *rules,
                                                      struct tern_room *room,
                                                      const struct tern_facts *facts,
                                                      const uint32_t *classes)
{
    uint32_t unscanned = 0;

    for (uint32_t i = 0; i < rules->scan_count; i++) {
        if (classes[rules->scans[i].unit] == TERN_CLASS_MISSING)
            continue;
        if (i < TERN_LAZY_MAX)
            unscanned |= 1u << i;
        else
            tern_room_scan(room, i, facts);
    }
    return unscanned;
}

/* Leaves out the first `skip` bits of a block. */
static inline unsigned drop_bits(uint64_t words[8], unsigned filled, unsigned skip)
{
    for (unsigned word = 0; word < skip / 64; word++)
        words[word] = 0;
    words[skip / 64] &= ~0ull << (skip & 63);
    filled &= ~0u << (skip / 64);
    return words[skip / 64] != 0 ? filled : filled & ~(1u << (skip / 64));
}

WALK_TARGET void WALK_NAME(const struct tern_rules *rules, struct tern_scratch *scratch,
                           const struct tern_facts *facts, const uint32_t *classes,
                           struct tern_verdict *verdict)
{
    struct tern_cursor *cursors = scratch->cursors;
    struct tern_mask_words *counters = scratch->counters;
    struct tern_candidate candidate = tern_candidate_of(facts, classes);
    uint32_t always = 0, last = UINT32_MAX; /* last: the rule of the bit before */
    uint32_t from = 0;                      /* bits before it are done with */
    uint32_t active;
    float sum = 0;

    scratch->unscanned = 0;
    if (rules->scan_count > 0) {
        cursors = scratch->room->cursors;
        scratch->unscanned = start_scans(rules, scratch->room, facts, classes);
    }
    active = put_cursors(rules, scratch->room, classes, scratch->unscanned, cursors);
    for (;;) {
        uint32_t block = always < rules->always_count ? rules->always[always] : UINT32_MAX;
        uint32_t ups = 0, levels, checked, counted;
        unsigned filled; /* bitmap of the words with a bit alive */
        const struct tern_mask_words *needs;
        block_t down = block_zero(), alive;
        uint64_t words[8];

        for (uint32_t i = 0; i < active; i++)
            block = cursors[i].place / 2 < block ? cursors[i].place / 2 : block;
        if (block == UINT32_MAX)
            break;
        always += always < rules->always_count && rules->always[always] == block;
        needs = rules->masks + rules->blocks[block].first_need;
        levels = rules->blocks[block].level_count;
        for (uint32_t i = 0; i < active;) {
            struct tern_cursor *cursor = &cursors[i];

            if (cursor->place / 2 != block) {
                i++;
                continue;
            }
            if (cursor->place & 1) {
                down = block_or(down, block_load(&rules->masks[cursor->mask]));
            } else {
                block_t mask = block_load(&rules->masks[cursor->mask]);

                /* nobody needs to know of more ups than the block's highest need */
                counted = ups < levels ? ups : levels - (levels > 0);
                for (uint32_t level = counted; level > 0; level--) {
                    block_t carry = block_and(block_load(&counters[level - 1]), mask);

                    if (level == ups)
                        block_store(&counters[level], carry);
                    else
                        block_store(&counters[level],
                                    block_or(block_load(&counters[level]), carry));
                }
                if (ups++ > 0)
                    mask = block_or(block_load(&counters[0]), mask);
                block_store(&counters[0], mask);
            }
            if (cursor->rest < cursor->end) {
                cursor->place = cursor->rest->place;
                cursor->mask = cursor->rest->mask;
                cursor->rest++;
            } else {
                *cursor = cursors[--active];
            }
        }
        checked = levels < ups ? levels : ups;
        alive = block_not(down);
        for (uint32_t level = 0; level < checked; level++)
            alive = block_and(alive, block_or(block_load(&counters[level]),
                                              block_not(block_load(&needs[level]))));
        if (levels > ups)
            alive = block_and(alive, block_not(block_load(&needs[ups])));
        filled = block_filled_words(alive);
        if (filled == 0)
            continue;
        block_to_words(alive, words);
        if (TERN_UNLIKELY(from > block * TERN_BLOCK_BITS))
            filled = drop_bits(words, filled, from - block * TERN_BLOCK_BITS);
        for (; filled != 0; filled &= filled - 1) {
            unsigned word = (unsigned)__builtin_ctz(filled);

            for (uint64_t left = words[word]; left != 0; left &= left - 1) {
                uint32_t index =
                    block * TERN_BLOCK_BITS + word * 64 + (unsigned)__builtin_ctzll(left);
                const struct tern_bit bit = tern_rules_bit(rules, index);
                uint32_t lazy = bit.lazy & scratch->unscanned;

                if (bit.rule == last) /* several of its conjunctions may hold */
                    continue;
                if (bit.residual != 0 && !tern_checks_hold(rules, &candidate, bit.residual - 1))
                    continue;
                if (TERN_UNLIKELY(lazy != 0)) {
                    active = scan_lazily(rules, scratch, facts, classes, lazy, block);
                    always -= always > 0 && rules->always[always - 1] == block;
                    from = index;
                    goto again;
                }
                last = bit.rule;
                count_hit(&scratch->hits, bit.rule);
                if (bit.effect == TERN_EFFECT_ADD) {
                    sum += bit.score;
                } else if (!(bit.effect & TERN_EFFECT_SHADOW)) {
                    finish_terminal(&bit, sum, verdict);
                    return;
                }
            }
        }
    again:;
    }
    finish_open(rules, sum, verdict);
}
