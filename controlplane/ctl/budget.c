/* ternctl budget: where the time of a request goes, whether that is stable, and how often it is too
 * much. */
#include "controlplane/ctl/figures.h"
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/print.h"
#include "controlplane/log.h"

#define INTERVAL_DEFAULT_US 1000000u

/* One interval; what is shown of it. */
struct window {
    double seconds;
    uint64_t requests;
    uint64_t p50_ns, p99_ns, p999_ns;
    double over;
};

struct budget {
    uint64_t budget_ns;
    const char *source; /* where that number is from */
    unsigned seats;
    unsigned restarts;
    struct tern_rates *all;    /* since each process started */
    struct tern_rates *recent; /* all windows together */
    struct window *windows;
    unsigned window_count;
};

static struct window window_of(const struct tern_rates *rates, uint64_t budget_ns)
{
    const struct tern_histogram_sum *total = &rates->sums.stages[TERN_STAGE_total];

    return (struct window){
        .seconds = rates->seconds,
        .requests = total->total,
        .p50_ns = tern_histogram_quantile(total, 0.5),
        .p99_ns = tern_histogram_quantile(total, 0.99),
        .p999_ns = tern_histogram_quantile(total, 0.999),
        .over = tern_histogram_above(total, budget_ns),
    };
}

/* --budget, else what the configuration promises. */
static int find_budget(const struct tern_invocation *invocation, struct budget *budget)
{
    struct tern_instance_arena arena;
    struct tern_error error;
    char *run_dir = NULL;
    int rc;

    if (invocation->budget_us != 0) {
        budget->budget_ns = invocation->budget_us * 1000;
        budget->source = "--budget";
        return TERN_EXIT_OK;
    }
    rc = tern_instance_find(invocation, &run_dir, &error);
    if (rc == 0)
        rc = tern_instance_read_arena(run_dir, &arena, &error);
    free(run_dir);
    if (rc == TERN_ENOENT || (rc == 0 && !arena.has_settings)) {
        fputs("ternctl: nothing is published, so there is no limits.deadline; give --budget\n",
              stderr);
        return TERN_EXIT_UNREACHABLE;
    }
    if (rc != 0)
        return tern_ctl_fail(&error);
    budget->budget_ns = arena.settings.deadline_us * 1000;
    budget->source = "limits.deadline";
    return TERN_EXIT_OK;
}

static int out_of_memory(void)
{
    fputs("ternctl: out of memory\n", stderr);
    return TERN_EXIT_REFUSED;
}

/* Looks `windows` + 1 times. */
static int measure(const struct tern_invocation *invocation, struct budget *budget)
{
    uint64_t pause_us =
        invocation->interval_us != 0 ? invocation->interval_us : INTERVAL_DEFAULT_US;
    struct tern_seats first = {0}, last = {0};
    int code = tern_ctl_read_seats(invocation, false, &first);
    struct tern_seats before = first; /* shared until the first window is over */

    budget->windows = calloc(invocation->windows, sizeof *budget->windows);
    if (code == TERN_EXIT_OK && budget->windows == NULL)
        code = out_of_memory();
    for (unsigned i = 0; i < invocation->windows && code == TERN_EXIT_OK; i++) {
        struct tern_rates *rates = NULL;

        tern_ctl_pause(pause_us);
        code = tern_ctl_read_seats(invocation, false, &last);
        if (code != TERN_EXIT_OK)
            break;
        if (tern_rates_between(&before, &last, &rates) != 0) {
            code = out_of_memory();
        } else {
            budget->windows[budget->window_count++] = window_of(rates, budget->budget_ns);
            budget->restarts += rates->started;
        }
        tern_rates_free(rates);
        if (i > 0)
            tern_seats_free(&before);
        before = last;
    }
    budget->seats = before.count;
    if (code == TERN_EXIT_OK && (tern_rates_between(&first, &before, &budget->recent) != 0 ||
                                 tern_rates_between(NULL, &before, &budget->all) != 0))
        code = out_of_memory();
    if (budget->window_count > 0)
        tern_seats_free(&before);
    tern_seats_free(&first);
    return code;
}

struct spread {
    unsigned windows; /* with requests */
    uint64_t least_ns, most_ns;
};

/* How far p99 moves between windows. */
static struct spread spread_of(const struct budget *budget)
{
    struct spread spread = {0};

    for (unsigned i = 0; i < budget->window_count; i++) {
        const struct window *window = &budget->windows[i];

        if (window->requests == 0)
            continue;
        if (spread.windows == 0 || window->p99_ns < spread.least_ns)
            spread.least_ns = window->p99_ns;
        if (window->p99_ns > spread.most_ns)
            spread.most_ns = window->p99_ns;
        spread.windows++;
    }
    return spread;
}

static double tail_ratio(const struct window *window)
{
    return window->p50_ns != 0 ? (double)window->p999_ns / (double)window->p50_ns : 0;
}

static double over_share(const struct window *window)
{
    return window->requests != 0 ? window->over / (double)window->requests : 0;
}

static void period_json(struct tern_json *json, const char *key, const struct tern_rates *rates,
                        uint64_t budget_ns)
{
    struct window window = window_of(rates, budget_ns);

    tern_json_object(json, key);
    tern_json_u64(json, "requests", window.requests);
    if (rates->seconds > 0) {
        tern_json_double(json, "seconds", rates->seconds);
        tern_json_double(json, "requests_per_s", tern_rates_per_s(rates, window.requests));
    }
    tern_json_double(json, "over_budget", window.over);
    tern_json_double(json, "over_budget_share", over_share(&window));
    tern_json_double(json, "tail_ratio", tail_ratio(&window));
    tern_json_double(json, "adds_up", tern_rates_covered(&rates->sums));
    tern_figures_stages_json(json, &rates->sums);
    tern_json_object_end(json);
}

static void print_json(const struct budget *budget)
{
    struct spread spread = spread_of(budget);
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    tern_json_u64(&json, "budget_ns", budget->budget_ns);
    tern_json_string(&json, "budget_from", budget->source);
    tern_json_u64(&json, "seats", budget->seats);
    tern_json_u64(&json, "seats_started", budget->restarts);
    period_json(&json, "recent", budget->recent, budget->budget_ns);
    period_json(&json, "since_start", budget->all, budget->budget_ns);
    tern_json_array(&json, "windows");
    for (unsigned i = 0; i < budget->window_count; i++) {
        const struct window *window = &budget->windows[i];

        tern_json_object(&json, NULL);
        tern_json_double(&json, "seconds", window->seconds);
        tern_json_u64(&json, "requests", window->requests);
        tern_json_u64(&json, "p50_ns", window->p50_ns);
        tern_json_u64(&json, "p99_ns", window->p99_ns);
        tern_json_u64(&json, "p999_ns", window->p999_ns);
        tern_json_double(&json, "over_budget", window->over);
        tern_json_object_end(&json);
    }
    tern_json_array_end(&json);
    tern_json_object(&json, "stability");
    tern_json_u64(&json, "p99_least_ns", spread.least_ns);
    tern_json_u64(&json, "p99_most_ns", spread.most_ns);
    tern_json_double(&json, "p99_spread",
                     spread.least_ns != 0 ? (double)spread.most_ns / (double)spread.least_ns : 0);
    tern_json_object_end(&json);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static void print_over(const struct window *window, const char *when)
{
    char requests[TERN_PRINT_TEXT], over[TERN_PRINT_TEXT], share[TERN_PRINT_TEXT];

    printf("over the budget %s: %s of %s requests (%s)", when,
           tern_print_count(over, (uint64_t)(window->over + 0.5)),
           tern_print_count(requests, window->requests),
           tern_print_share(share, over_share(window)));
    if (window->requests != 0)
        printf("; p99.9 is %.1f times p50", tail_ratio(window));
    putchar('\n');
}

static void print_text(const struct budget *budget)
{
    struct window recent = window_of(budget->recent, budget->budget_ns);
    struct window all = window_of(budget->all, budget->budget_ns);
    struct spread spread = spread_of(budget);
    char limit[TERN_PRINT_TEXT], rate[TERN_PRINT_TEXT], least[TERN_PRINT_TEXT],
        most[TERN_PRINT_TEXT];

    printf("budget of a request: %s (%s)\n", tern_print_ns(limit, budget->budget_ns),
           budget->source);
    printf("%u ternd process%s, %u window%s of %.1f s: %s requests a second\n\n", budget->seats,
           budget->seats == 1 ? "" : "es", budget->window_count,
           budget->window_count == 1 ? "" : "s",
           budget->recent->seconds / (budget->window_count != 0 ? budget->window_count : 1),
           tern_print_rate(rate, tern_rates_per_s(budget->recent, recent.requests)));
    if (recent.requests == 0)
        puts("no request came; since the start:\n");
    tern_figures_stages(stdout, recent.requests != 0 ? &budget->recent->sums : &budget->all->sums,
                        TERN_FIGURES_FULL);
    if (all.requests == 0)
        return;
    putchar('\n');
    if (recent.requests != 0) {
        printf("the stages add up to %.1f %% of the total\n",
               100 * tern_rates_covered(&budget->recent->sums));
        print_over(&recent, "now");
    }
    print_over(&all, "since the start");
    if (spread.windows > 1)
        printf("p99 from window to window: %s to %s (×%.2f)\n",
               tern_print_ns(least, spread.least_ns), tern_print_ns(most, spread.most_ns),
               spread.least_ns != 0 ? (double)spread.most_ns / (double)spread.least_ns : 0);
    if (budget->restarts > 0)
        printf("%u ternd started meanwhile: what it counts begins there\n", budget->restarts);
}

int tern_ctl_budget(const struct tern_invocation *invocation)
{
    struct budget budget = {0};
    int code = find_budget(invocation, &budget);

    if (code == TERN_EXIT_OK)
        code = measure(invocation, &budget);
    if (code == TERN_EXIT_OK && invocation->json)
        print_json(&budget);
    else if (code == TERN_EXIT_OK)
        print_text(&budget);
    tern_rates_free(budget.all);
    tern_rates_free(budget.recent);
    free(budget.windows);
    return code;
}
