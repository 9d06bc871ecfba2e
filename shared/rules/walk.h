/* The walk over the rows of one item, written once for every instruction set: included by
 * walk_scalar.c and walk_avx2.c, which define block_t, its operations and WALK_NAME.
 *
 * Blocks are visited in order of priority, and only those in which some unit's class differs from
 * its base row or in which a bit needs nothing. In a visited block, bit k is alive when no unit
 * brings it down and at least need(k) units bring it up; "at least i" is kept in counter i (a unary
 * counter of 512 columns at once), so the cost of a block follows the number of masks that fall
 * into it. */

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
static inline void count_hit(const struct tern_hits *hits, const struct tern_bit *bit)
{
    _Atomic uint64_t *counter;

    if (hits->counters == NULL)
        return;
    counter = &hits->counters[hits->slots[bit->rule]];
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

WALK_TARGET void WALK_NAME(const struct tern_rules *rules, struct tern_scratch *scratch,
                           const struct tern_facts *facts, const uint32_t *classes,
                           struct tern_verdict *verdict)
{
    struct tern_cursor *cursors = scratch->cursors;
    struct tern_mask_words *counters = scratch->counters;
    struct tern_candidate candidate = tern_candidate_of(facts, classes);
    uint32_t active = 0, always = 0, last = UINT32_MAX; /* last: the rule of the bit before */
    float sum = 0;

    for (uint32_t i = 0; i < rules->unit_count; i++) {
        const struct tern_class_row *row = &rules->unit_rows[i][classes[i]];

        if (row->delta_count > 0)
            cursors[active++] = (struct tern_cursor){
                row->first_place, row->first_mask, rules->deltas + row->first_delta + 1,
                rules->deltas + row->first_delta + row->delta_count};
    }
    for (;;) {
        uint32_t block = always < rules->always_count ? rules->always[always] : UINT32_MAX;
        uint32_t ups = 0, levels, checked;
        unsigned filled; /* bitmap of the words with a bit alive */
        const struct tern_mask_words *needs;
        block_t down = block_zero(), alive;
        uint64_t words[8];

        for (uint32_t i = 0; i < active; i++)
            block = cursors[i].place / 2 < block ? cursors[i].place / 2 : block;
        if (block == UINT32_MAX)
            break;
        always += always < rules->always_count && rules->always[always] == block;
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

                for (uint32_t level = ups; level > 0; level--) {
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
        needs = rules->masks + rules->blocks[block].first_need;
        levels = rules->blocks[block].level_count;
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
        for (; filled != 0; filled &= filled - 1) {
            unsigned word = (unsigned)__builtin_ctz(filled);

            for (uint64_t left = words[word]; left != 0; left &= left - 1) {
                const struct tern_bit *bit = &rules->bits[block * TERN_BLOCK_BITS + word * 64 +
                                                          (unsigned)__builtin_ctzll(left)];

                if (bit->rule == last) /* several of its conjunctions may hold */
                    continue;
                if (bit->residual != 0 && !tern_checks_hold(rules, &candidate, bit->residual - 1))
                    continue;
                last = bit->rule;
                count_hit(&scratch->hits, bit);
                if (bit->effect == TERN_EFFECT_ADD) {
                    sum += bit->score;
                } else if (!(bit->effect & TERN_EFFECT_SHADOW)) {
                    finish_terminal(bit, sum, verdict);
                    return;
                }
            }
        }
    }
    finish_open(rules, sum, verdict);
}
