#include "controlplane/ctl/figures.h"

#include "controlplane/ctl/print.h"

static const struct {
    const char *key, *heading;
    double fraction;
    bool narrow; /* also where there is little room */
} quantiles[] = {{"p50_ns", ">p50", 0.5, true},          {"p90_ns", ">p90", 0.9, true},
                 {"p99_ns", ">p99", 0.99, true},         {"p999_ns", ">p99.9", 0.999, true},
                 {"p9999_ns", ">p99.99", 0.9999, false}, {"max_ns", ">max", 1.0, true}};
#define QUANTILES TERN_COUNT(quantiles)

static const struct {
    const char *name, *text;
} stages[] = {
#define X(name, text) {#name, text},
    TERN_STAGES(X)
#undef X
};

static uint64_t mean_ns(const struct tern_histogram_sum *stage)
{
    return stage->total != 0 ? stage->sum_ns / stage->total : 0;
}

/* The cells of one stage; returns how many. */
static unsigned stage_cells(const struct tern_seat_sums *sums, unsigned index,
                            enum tern_figures_width width,
                            char texts[TERN_PRINT_COLUMNS][TERN_PRINT_TEXT],
                            const char *cells[TERN_PRINT_COLUMNS])
{
    const struct tern_histogram_sum *stage = &sums->stages[index];
    unsigned count = 0;

    cells[count++] = stages[index].name;
    if (width != TERN_FIGURES_NARROW) {
        cells[count] = tern_print_count(texts[count], stage->total);
        count++;
    }
    cells[count] =
        index > TERN_STAGE_total /* `other` is no part of the whole */
            ? ""
            : tern_print_share(texts[count], tern_rates_share(sums, (enum tern_stage)index));
    count++;
    cells[count] = tern_print_ns(texts[count], mean_ns(stage));
    count++;
    for (unsigned q = 0; q < QUANTILES; q++) {
        if (width == TERN_FIGURES_NARROW && !quantiles[q].narrow)
            continue;
        cells[count] =
            tern_print_ns(texts[count], tern_histogram_quantile(stage, quantiles[q].fraction));
        count++;
    }
    if (width == TERN_FIGURES_MEANING)
        cells[count++] = stages[index].text;
    return count;
}

void tern_figures_stages(FILE *to, const struct tern_seat_sums *sums, enum tern_figures_width width)
{
    const char *cells[TERN_PRINT_COLUMNS] = {"stage"};
    char texts[TERN_PRINT_COLUMNS][TERN_PRINT_TEXT];
    struct tern_print_table table;
    unsigned columns = 1;

    if (width != TERN_FIGURES_NARROW)
        cells[columns++] = ">count";
    cells[columns++] = ">share";
    cells[columns++] = ">mean";
    for (unsigned q = 0; q < QUANTILES; q++)
        if (width != TERN_FIGURES_NARROW || quantiles[q].narrow)
            cells[columns++] = quantiles[q].heading;
    if (width == TERN_FIGURES_MEANING)
        cells[columns++] = "meaning";
    tern_print_table_begin(&table, columns, cells);
    table.to = to;
    for (unsigned i = 0; i < TERN_STAGE_COUNT; i++)
        if (sums->stages[i].total != 0 && stage_cells(sums, i, width, texts, cells) == columns)
            tern_print_table_row(&table, cells);
    tern_print_table_end(&table);
}

void tern_figures_stages_json(struct tern_json *json, const struct tern_seat_sums *sums)
{
    tern_json_object(json, "stages");
    for (unsigned i = 0; i < TERN_STAGE_COUNT; i++) {
        const struct tern_histogram_sum *stage = &sums->stages[i];

        tern_json_object(json, stages[i].name);
        tern_json_u64(json, "count", stage->total);
        tern_json_double(json, "mean_ns",
                         stage->total != 0 ? (double)stage->sum_ns / (double)stage->total : 0);
        for (unsigned q = 0; q < QUANTILES; q++)
            tern_json_u64(json, quantiles[q].key,
                          tern_histogram_quantile(stage, quantiles[q].fraction));
        if (i <= TERN_STAGE_total)
            tern_json_double(json, "share", tern_rates_share(sums, (enum tern_stage)i));
        tern_json_object_end(json);
    }
    tern_json_object_end(json);
}

static double share_of(const struct tern_seat_sums *sums, uint64_t count)
{
    return sums->decisions != 0 ? (double)count / (double)sums->decisions : 0;
}

void tern_figures_verdicts(FILE *to, const struct tern_seat_sums *sums)
{
    const struct {
        const char *name;
        uint64_t count;
        bool always;
    } parts[] = {{"allow", sums->allowed, true},        {"deny", sums->denied, true},
                 {"challenge", sums->challenged, true}, {"undecided", sums->undecided, false},
                 {"by no rule", sums->unruled, true},   {"degraded", sums->degraded, false}};
    char share[TERN_PRINT_TEXT];

    for (unsigned i = 0; i < TERN_COUNT(parts); i++)
        if (parts[i].always || parts[i].count != 0)
            fprintf(to, "%s%s %s", i == 0 ? "" : "  ", parts[i].name,
                    tern_print_share(share, share_of(sums, parts[i].count)));
    fputc('\n', to);
}

void tern_figures_verdicts_json(struct tern_json *json, const struct tern_seat_sums *sums)
{
    tern_json_object(json, "verdicts");
    tern_json_double(json, "allow", share_of(sums, sums->allowed));
    tern_json_double(json, "deny", share_of(sums, sums->denied));
    tern_json_double(json, "challenge", share_of(sums, sums->challenged));
    tern_json_double(json, "undecided", share_of(sums, sums->undecided));
    tern_json_double(json, "by_no_rule", share_of(sums, sums->unruled));
    tern_json_double(json, "degraded", share_of(sums, sums->degraded));
    tern_json_object_end(json);
}

#define BAR 10u

/* "▇▇▇▇······": full for a CPU's worth. */
static const char *bar_of(char text[TERN_PRINT_TEXT], double share)
{
    unsigned full = share > 0 ? (unsigned)(share * BAR + 0.5) : 0;
    char *at = text;

    for (unsigned i = 0; i < BAR; i++)
        at = stpcpy(at, i < full ? "▇" : "·");
    return text;
}

void tern_figures_loops(FILE *to, const struct tern_rates *rates)
{
    static const char *const headings[] = {">pid", ">loop", ">generation",  "busy",
                                           ">",    ">spin", ">decisions/s", ">requests/s"};
    struct tern_print_table table;

    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    table.to = to;
    for (unsigned i = 0; i < rates->loop_count; i++) {
        const struct tern_rates_loop *loop = &rates->loops[i];
        char pid[TERN_PRINT_TEXT], index[TERN_PRINT_TEXT], generation[TERN_PRINT_TEXT];
        char bar[TERN_PRINT_TEXT], busy[TERN_PRINT_TEXT], spin[TERN_PRINT_TEXT];
        char decisions[TERN_PRINT_TEXT], requests[TERN_PRINT_TEXT];

        snprintf(pid, sizeof pid, "%u", loop->pid);
        snprintf(index, sizeof index, "%u", loop->loop);
        snprintf(generation, sizeof generation, "%llu", (unsigned long long)loop->generation);
        tern_print_table_row(
            &table,
            (const char *const[]){
                pid, index, loop->generation != 0 ? generation : "none", bar_of(bar, loop->busy),
                loop->busy < 0 ? "?" : tern_print_share(busy, loop->busy),
                loop->spin < 0 ? "?" : tern_print_share(spin, loop->spin),
                tern_print_rate(decisions, tern_rates_per_s(rates, loop->decisions)),
                tern_print_rate(requests, tern_rates_per_s(rates, loop->requests))});
    }
    tern_print_table_end(&table);
}

void tern_figures_loops_json(struct tern_json *json, const struct tern_rates *rates)
{
    tern_json_array(json, "loops");
    for (unsigned i = 0; i < rates->loop_count; i++) {
        const struct tern_rates_loop *loop = &rates->loops[i];

        tern_json_object(json, NULL);
        tern_json_u64(json, "seat", loop->seat);
        tern_json_u64(json, "pid", loop->pid);
        tern_json_u64(json, "loop", loop->loop);
        tern_json_u64(json, "generation", loop->generation);
        if (loop->busy < 0) {
            tern_json_null(json, "busy");
            tern_json_null(json, "spin");
        } else {
            tern_json_double(json, "busy", loop->busy);
            tern_json_double(json, "spin", loop->spin);
        }
        tern_json_double(json, "decisions_per_s", tern_rates_per_s(rates, loop->decisions));
        tern_json_double(json, "requests_per_s", tern_rates_per_s(rates, loop->requests));
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
}

const char *tern_figures_rule_mode(uint8_t kind)
{
    switch (kind) {
    case TERN_RULE_SLOT_LIVE:
        return "live";
    case TERN_RULE_SLOT_SHADOW:
        return "shadow";
    default:
        return "";
    }
}

void tern_figures_rules(FILE *to, const struct tern_rates *rates, unsigned limit)
{
    const bool live = rates->seconds > 0;
    const char *headings[] = {"rule", "mode", live ? ">hits/s" : ">hits", ">share", ">since start"};
    struct tern_print_table table;
    unsigned shown = 0;

    tern_print_table_begin(&table, live ? 5 : 4, headings);
    table.to = to;
    for (unsigned i = 0; i < rates->rule_count && shown < limit; i++, shown++) {
        const struct tern_rates_rule *rule = &rates->rules[i];
        char hits[TERN_PRINT_TEXT], share[TERN_PRINT_TEXT], total[TERN_PRINT_TEXT];

        tern_print_table_row(
            &table,
            (const char *const[]){rule->id, tern_figures_rule_mode(rule->kind),
                                  live ? tern_print_rate(hits, tern_rates_per_s(rates, rule->hits))
                                       : tern_print_count(hits, rule->hits),
                                  tern_print_share(share, share_of(&rates->sums, rule->hits)),
                                  tern_print_count(total, rule->before + rule->hits)});
    }
    tern_print_table_end(&table);
    if (shown < rates->rule_count)
        fprintf(to, "… and %u more\n", rates->rule_count - shown);
}

void tern_figures_rules_json(struct tern_json *json, const struct tern_rates *rates, unsigned limit)
{
    tern_json_array(json, "rules");
    for (unsigned i = 0; i < rates->rule_count && i < limit; i++) {
        const struct tern_rates_rule *rule = &rates->rules[i];

        tern_json_object(json, NULL);
        tern_json_string(json, "id", rule->id);
        tern_json_string(json, "mode",
                         rule->kind == TERN_RULE_SLOT_NONE ? NULL
                                                           : tern_figures_rule_mode(rule->kind));
        tern_json_u64(json, "hits", rule->before + rule->hits);
        if (rates->seconds > 0)
            tern_json_double(json, "per_s", tern_rates_per_s(rates, rule->hits));
        tern_json_double(json, "share", share_of(&rates->sums, rule->hits));
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
}
