/* ternctl stats: counters, stage times, verdicts and hits of rules, read from the board. */
#include "controlplane/ctl/figures.h"
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/print.h"
#include "controlplane/log.h"
#include "shared/clock.h"

static void counters_json(struct tern_json *json, const struct tern_seat_sums *sums)
{
    tern_json_object(json, "counters");
#define X(name, text) tern_json_u64(json, #name, sums->name);
    TERN_COUNTERS(X)
#undef X
    tern_json_object_end(json);
}

static void rates_json(struct tern_json *json, const struct tern_rates *rates)
{
    tern_json_object(json, "rates");
#define X(name, text) tern_json_double(json, #name, tern_rates_per_s(rates, rates->sums.name));
    TERN_COUNTERS(X)
#undef X
    tern_json_object_end(json);
}

static void interval_json(struct tern_json *json, const struct tern_rates *rates)
{
    tern_json_object(json, "interval");
    tern_json_double(json, "seconds", rates->seconds);
    tern_json_u64(json, "seats_started", rates->started);
    tern_json_u64(json, "seats_ended", rates->ended);
    rates_json(json, rates);
    tern_figures_verdicts_json(json, &rates->sums);
    tern_figures_stages_json(json, &rates->sums);
    tern_figures_loops_json(json, rates);
    tern_json_object_end(json);
}

static void seats_json(struct tern_json *json, const struct tern_seats *seats)
{
    tern_json_array(json, "seats");
    for (unsigned i = 0; i < seats->count; i++) {
        const struct tern_seat_copy *seat = &seats->items[i];

        tern_json_object(json, NULL);
        tern_json_u64(json, "seat", seat->seat);
        tern_json_u64(json, "pid", seat->pid);
        tern_json_u64(json, "generation", seat->generation);
        tern_json_time(json, "started_at", seat->started_at_us);
        counters_json(json, seat->sums);
        tern_figures_stages_json(json, seat->sums);
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
}

static void print_json(const struct tern_invocation *invocation, const struct tern_seats *seats,
                       const struct tern_rates *total, const struct tern_rates *rates)
{
    unsigned limit = invocation->given & TERN_CTL_LIMIT ? invocation->limit : UINT32_MAX;
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    counters_json(&json, &total->sums);
    tern_figures_verdicts_json(&json, &total->sums);
    tern_figures_stages_json(&json, &total->sums);
    if (rates != NULL)
        interval_json(&json, rates);
    if (invocation->given & TERN_CTL_RULES)
        tern_figures_rules_json(&json, rates != NULL ? rates : total, limit);
    seats_json(&json, seats);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static void print_counters(const struct tern_rates *total, const struct tern_rates *rates)
{
    static const char *const headings[] = {"counter", ">value", "meaning"};
    static const char *const with_rates[] = {"counter", ">value", ">a second", "meaning"};
    struct tern_print_table table;
    char value[TERN_PRINT_TEXT], rate[TERN_PRINT_TEXT];

    if (rates == NULL)
        tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    else
        tern_print_table_begin(&table, TERN_COUNT(with_rates), with_rates);
#define X(name, text)                                                                              \
    tern_print_count(value, total->sums.name);                                                     \
    if (rates == NULL)                                                                             \
        tern_print_table_row(&table, (const char *const[]){#name, value, text});                   \
    else                                                                                           \
        tern_print_table_row(                                                                      \
            &table, (const char *const[]){                                                         \
                        #name, value,                                                              \
                        tern_print_rate(rate, tern_rates_per_s(rates, rates->sums.name)), text});
    TERN_COUNTERS(X)
#undef X
    tern_print_table_end(&table);
}

static void print_text(const struct tern_invocation *invocation, const struct tern_seats *seats,
                       const struct tern_rates *total, const struct tern_rates *rates)
{
    const struct tern_rates *shown = rates != NULL ? rates : total;

    printf("%u ternd process%s", seats->count, seats->count == 1 ? "" : "es");
    if (rates != NULL)
        printf("; verdicts, stages and loops of the last %.1f s", rates->seconds);
    if (rates != NULL && rates->started > 0)
        printf(" (%u started in it)", rates->started);
    puts("\n");
    print_counters(total, rates);
    putchar('\n');
    tern_figures_verdicts(stdout, &shown->sums);
    putchar('\n');
    tern_figures_stages(stdout, &shown->sums, TERN_FIGURES_MEANING);
    if (rates != NULL) {
        putchar('\n');
        tern_figures_loops(stdout, rates);
    }
    if (invocation->given & TERN_CTL_RULES) {
        putchar('\n');
        tern_figures_rules(stdout, shown, invocation->limit);
    }
}

int tern_ctl_stats(const struct tern_invocation *invocation)
{
    bool twice = (invocation->given & TERN_CTL_INTERVAL) != 0;
    struct tern_seats before = {0}, seats = {0};
    struct tern_rates *total = NULL, *rates = NULL;
    int code = TERN_EXIT_OK;

    if (twice) {
        code = tern_ctl_read_seats(invocation, true, &before);
        if (code == TERN_EXIT_OK)
            tern_ctl_pause(invocation->interval_us);
    }
    if (code == TERN_EXIT_OK)
        code = tern_ctl_read_seats(invocation, true, &seats);
    if (code == TERN_EXIT_OK && (tern_rates_between(NULL, &seats, &total) != 0 ||
                                 (twice && tern_rates_between(&before, &seats, &rates) != 0))) {
        fputs("ternctl: out of memory\n", stderr);
        code = TERN_EXIT_REFUSED;
    }
    if (code == TERN_EXIT_OK && invocation->json)
        print_json(invocation, &seats, total, rates);
    else if (code == TERN_EXIT_OK)
        print_text(invocation, &seats, total, rates);
    tern_rates_free(rates);
    tern_rates_free(total);
    tern_seats_free(&before);
    tern_seats_free(&seats);
    return code;
}
