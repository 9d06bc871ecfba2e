#include "controlplane/ctl/rates.h"

static const struct tern_seat_copy *find_seat(const struct tern_seats *seats,
                                              const struct tern_seat_copy *like)
{
    for (unsigned i = 0; seats != NULL && i < seats->count; i++) {
        const struct tern_seat_copy *seat = &seats->items[i];

        if (seat->seat == like->seat && seat->pid == like->pid &&
            seat->started_at_us == like->started_at_us && seat->loop_count == like->loop_count)
            return seat;
    }
    return NULL;
}

/* Counters of one seat only grow, but a copy is not made at one instant. */
static uint64_t grown(uint64_t before, uint64_t after)
{
    return after > before ? after - before : 0;
}

static void add_histogram(struct tern_histogram_sum *into, const struct tern_histogram_sum *before,
                          const struct tern_histogram_sum *after)
{
    for (unsigned i = 0; i < TERN_HISTOGRAM_BUCKETS; i++) {
        uint64_t count = grown(before != NULL ? before->counts[i] : 0, after->counts[i]);

        into->counts[i] += count;
        into->total += count;
    }
    into->sum_ns += grown(before != NULL ? before->sum_ns : 0, after->sum_ns);
}

static void add_sums(struct tern_seat_sums *into, const struct tern_seat_sums *before,
                     const struct tern_seat_sums *after)
{
#define X(name, text) into->name += grown(before != NULL ? before->name : 0, after->name);
    TERN_COUNTERS(X)
#undef X
    for (unsigned i = 0; i < TERN_STAGE_COUNT; i++)
        add_histogram(&into->stages[i], before != NULL ? &before->stages[i] : NULL,
                      &after->stages[i]);
}

/* What a loop was busy with between two notes of its CPU time; nothing without two. */
static void measure_loop(struct tern_rates_loop *loop, const struct tern_seat_loop *before,
                         const struct tern_seat_loop *after)
{
    double noted_ns = (double)grown(before->usage_at_ns, after->usage_at_ns), cpu, spin;

    if (before->usage_at_ns == 0 || noted_ns == 0)
        return;
    /* Spinning is counted as it goes on, CPU time in notes: their intervals differ a little. */
    cpu = (double)grown(before->cpu_ns, after->cpu_ns) / noted_ns;
    spin = (double)grown(before->spin_ns, after->spin_ns) / noted_ns;
    cpu = cpu > 1 ? 1 : cpu;
    loop->spin = spin > cpu ? cpu : spin;
    loop->busy = cpu - loop->spin;
}

/* `before` NULL: counts from zero. */
static void add_loop(struct tern_rates *rates, const struct tern_seat_copy *seat, unsigned index,
                     const struct tern_seat_loop *before)
{
    static const struct tern_seat_loop zero = {0};
    const struct tern_seat_loop *after = &seat->loops[index];
    const struct tern_seat_loop *from = before != NULL ? before : &zero;
    struct tern_rates_loop *loop = &rates->loops[rates->loop_count++];

    *loop = (struct tern_rates_loop){.seat = seat->seat,
                                     .loop = index,
                                     .pid = seat->pid,
                                     .generation = after->generation,
                                     .busy = -1,
                                     .spin = -1,
                                     .requests = grown(from->requests, after->requests),
                                     .decisions = grown(from->decisions, after->decisions)};
    measure_loop(loop, from, after);
}

/* Slots of a seat never change their rule, so the same index is the same rule. */
static void add_rules(struct tern_rates *rates, const struct tern_seat_copy *before,
                      const struct tern_seat_copy *after)
{
    for (unsigned i = 0; i < after->rule_count; i++) {
        const struct tern_seat_rule *rule = &after->rules[i];
        struct tern_rates_rule *added = &rates->rules[rates->rule_count];
        uint64_t had = before != NULL && i < before->rule_count ? before->rules[i].hits : 0;

        if (rule->kind == TERN_RULE_SLOT_NONE && rule->hits == 0)
            continue;
        memcpy(added->id, rule->id, sizeof added->id);
        added->kind = rule->kind;
        added->hits = grown(had, rule->hits);
        added->before = rule->hits - added->hits;
        rates->rule_count++;
    }
}

static int by_id(const void *a, const void *b)
{
    const struct tern_rates_rule *left = a, *right = b;
    int order = strcmp(left->id, right->id);

    return order != 0 ? order : left->kind - right->kind;
}

static int by_hits(const void *a, const void *b)
{
    const struct tern_rates_rule *left = a, *right = b;

    if (left->hits != right->hits)
        return left->hits < right->hits ? 1 : -1;
    if (left->before != right->before)
        return left->before < right->before ? 1 : -1;
    return by_id(a, b);
}

/* The same rule of several seats becomes one entry. */
static void join_rules(struct tern_rates *rates)
{
    unsigned kept = 0;

    if (rates->rule_count == 0)
        return;
    qsort(rates->rules, rates->rule_count, sizeof *rates->rules, by_id);
    for (unsigned i = 1; i < rates->rule_count; i++) {
        struct tern_rates_rule *last = &rates->rules[kept];

        if (by_id(last, &rates->rules[i]) == 0) {
            last->hits += rates->rules[i].hits;
            last->before += rates->rules[i].before;
        } else {
            rates->rules[++kept] = rates->rules[i];
        }
    }
    rates->rule_count = kept + 1;
    qsort(rates->rules, rates->rule_count, sizeof *rates->rules, by_hits);
}

int tern_rates_between(const struct tern_seats *before, const struct tern_seats *after,
                       struct tern_rates **out)
{
    struct tern_rates *rates = calloc(1, sizeof *rates);
    size_t rules = 1;

    for (unsigned i = 0; i < after->count; i++)
        rules += after->items[i].rule_count;
    if (rates != NULL)
        rates->rules = calloc(rules, sizeof *rates->rules);
    if (rates == NULL || rates->rules == NULL) {
        free(rates);
        return TERN_ENOMEM;
    }
    if (before != NULL)
        rates->seconds = (double)grown(before->at_ns, after->at_ns) / 1e9;
    for (unsigned i = 0; i < after->count; i++) {
        const struct tern_seat_copy *seat = &after->items[i], *same = find_seat(before, seat);

        rates->started += before != NULL && same == NULL;
        add_sums(&rates->sums, same != NULL ? same->sums : NULL, seat->sums);
        for (unsigned loop = 0; loop < seat->loop_count; loop++)
            add_loop(rates, seat, loop, same != NULL ? &same->loops[loop] : NULL);
        add_rules(rates, same, seat);
    }
    for (unsigned i = 0; before != NULL && i < before->count; i++)
        rates->ended += find_seat(after, &before->items[i]) == NULL;
    join_rules(rates);
    *out = rates;
    return 0;
}

void tern_rates_free(struct tern_rates *rates)
{
    if (rates == NULL)
        return;
    free(rates->rules);
    free(rates);
}

double tern_rates_per_s(const struct tern_rates *rates, uint64_t count)
{
    return rates->seconds > 0 ? (double)count / rates->seconds : 0;
}

double tern_rates_share(const struct tern_seat_sums *sums, enum tern_stage stage)
{
    uint64_t whole_ns = sums->stages[TERN_STAGE_total].sum_ns;

    return whole_ns != 0 ? (double)sums->stages[stage].sum_ns / (double)whole_ns : 0;
}

double tern_rates_covered(const struct tern_seat_sums *sums)
{
    double covered = 0;

    for (unsigned i = 0; i < TERN_STAGE_total; i++)
        covered += tern_rates_share(sums, (enum tern_stage)i);
    return covered;
}
