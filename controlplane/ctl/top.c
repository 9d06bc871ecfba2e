/* ternctl top: what tern is doing, live. Reads the board and nothing else. */
#include "controlplane/ctl/figures.h"
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/screen.h"
#include "controlplane/log.h"
#include "shared/clock.h"

#include <signal.h>

#define INTERVAL_DEFAULT_US  1000000u
#define INTERVAL_LEAST_US    100000u
#define INTERVAL_MOST_US     60000000u
#define RULES_WITHOUT_SCREEN 20u

struct view {
    const char *run_dir;
    uint64_t interval_us;
    struct tern_instance_arena arena; /* has_settings false: not there */
    struct tern_seats before, now;
    struct tern_rates *rates;  /* NULL: not two looks yet */
    struct tern_error problem; /* why the last look failed; code 0: it did not */
};

static int look(struct view *view)
{
    struct tern_seats seats = {0};
    int rc = tern_seats_read_rules(view->run_dir, &seats, &view->problem);

    if (rc != 0)
        return rc;
    view->problem.code = 0;
    if (tern_instance_read_arena(view->run_dir, &view->arena, NULL) != 0)
        view->arena.has_settings = false;
    tern_rates_free(view->rates);
    view->rates = NULL;
    tern_seats_free(&view->before);
    view->before = view->now;
    view->now = seats;
    /* Without an earlier look: since the start, shown without rates. */
    return tern_rates_between(view->before.at_ns != 0 ? &view->before : NULL, &view->now,
                              &view->rates);
}

static void view_free(struct view *view)
{
    tern_rates_free(view->rates);
    tern_seats_free(&view->before);
    tern_seats_free(&view->now);
}

/* ---- the parts, from the top ---- */

static void write_head(FILE *to, const struct view *view)
{
    uint64_t generation = view->now.count != 0 ? UINT64_MAX : 0, newest = 0, started_us = 0;
    uint64_t opened = 0, closed = 0;
    char text[TERN_PRINT_TEXT];

    for (unsigned i = 0; i < view->now.count; i++) {
        const struct tern_seat_copy *seat = &view->now.items[i];

        generation = tern_min_u64(generation, seat->generation);
        newest = tern_max_u64(newest, seat->generation);
        started_us = tern_max_u64(started_us, seat->started_at_us);
        opened += seat->sums->connections_opened;
        closed += seat->sums->connections_closed;
    }
    fprintf(to, "\1tern %s", view->arena.has_settings ? view->arena.settings.instance : "");
    if (view->now.count == 0)
        fputs("   no ternd is alive", to);
    else
        fprintf(to, "   generation %llu   %u ternd up %s", (unsigned long long)newest,
                view->now.count, tern_print_age(text, started_us));
    if (newest != generation)
        fprintf(to, "   a loop still serves %llu", (unsigned long long)generation);
    if (view->now.count != 0)
        fprintf(to, "   %s connections",
                tern_print_count(text, opened > closed ? opened - closed : 0));
    fprintf(to, "   every %.1f s\n", (double)view->interval_us / 1e6);
    if (view->problem.code != 0)
        fprintf(to, "\1%s\n", view->problem.message);
}

static void write_rates(FILE *to, const struct tern_rates *rates)
{
    const struct tern_seat_sums *sums = &rates->sums;
    char decisions[TERN_PRINT_TEXT], requests[TERN_PRINT_TEXT], in[TERN_PRINT_TEXT],
        out[TERN_PRINT_TEXT];

    if (rates->seconds > 0)
        fprintf(to, "%s decisions/s   %s requests/s   in %s/s   out %s/s\n",
                tern_print_rate(decisions, tern_rates_per_s(rates, sums->decisions)),
                tern_print_rate(requests, tern_rates_per_s(rates, sums->requests)),
                tern_print_bytes(in, (uint64_t)tern_rates_per_s(rates, sums->bytes_in)),
                tern_print_bytes(out, (uint64_t)tern_rates_per_s(rates, sums->bytes_out)));
    else
        fprintf(to, "%s decisions   %s requests\n", tern_print_count(decisions, sums->decisions),
                tern_print_count(requests, sums->requests));
}

/* Where requests were lost or refused, if anywhere. */
static void write_drops(FILE *to, const struct tern_rates *rates)
{
    const struct tern_seat_sums *sums = &rates->sums;
    const struct {
        const char *name;
        uint64_t count;
    } drops[] = {
        {"overloaded", sums->overloaded},
        {"malformed", sums->bad_frames},
        {"bad fields", sums->bad_fields},
        {"unsupported", sums->unsupported},
        {"not ready", sums->not_ready},
        {"connections refused", sums->connections_refused},
        {"half frames", sums->timeouts_half_frame},
        {"stalled clients", sums->timeouts_stalled},
        {"without a token", sums->unauthenticated},
    };
    bool any = false;
    char count[TERN_PRINT_TEXT];

    fputs(rates->seconds > 0 ? "dropped a second:" : "dropped:", to);
    for (unsigned i = 0; i < TERN_COUNT(drops); i++) {
        if (drops[i].count == 0)
            continue;
        fprintf(to, "%s %s %s", any ? "," : "",
                rates->seconds > 0 ? tern_print_rate(count, tern_rates_per_s(rates, drops[i].count))
                                   : tern_print_count(count, drops[i].count),
                drops[i].name);
        any = true;
    }
    fputs(any ? "\n" : " nothing\n", to);
}

/* A table whose first line, the headings, is bold. */
static void write_bold(FILE *to, void (*table)(FILE *to, const struct view *view, unsigned limit),
                       const struct view *view, unsigned limit)
{
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);

    if (memory == NULL)
        return;
    table(memory, view, limit);
    if (fclose(memory) == 0 && length > 0)
        fprintf(to, "\n\1%s", text);
    free(text);
}

static void stages_table(FILE *to, const struct view *view, unsigned limit)
{
    (void)limit;
    tern_figures_stages(to, &view->rates->sums, TERN_FIGURES_NARROW);
}

static void loops_table(FILE *to, const struct view *view, unsigned limit)
{
    (void)limit;
    tern_figures_loops(to, view->rates);
}

static void rules_table(FILE *to, const struct view *view, unsigned limit)
{
    tern_figures_rules(to, view->rates, limit);
}

static void write_view(FILE *to, const struct view *view, unsigned rules)
{
    write_head(to, view);
    if (view->rates == NULL || view->now.count == 0)
        return;
    write_rates(to, view->rates);
    tern_figures_verdicts(to, &view->rates->sums);
    write_drops(to, view->rates);
    write_bold(to, stages_table, view, 0);
    write_bold(to, loops_table, view, 0);
    write_bold(to, rules_table, view, rules);
}

/* ---- with a terminal ---- */

static void draw(struct tern_screen *screen, const struct view *view)
{
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);

    if (to == NULL)
        return;
    write_view(to, view, screen->rows);
    if (fclose(to) == 0) {
        /* The last line says how to leave. */
        unsigned rows = screen->rows--;

        tern_screen_draw(screen, text, length);
        screen->rows = rows;
        tern_screen_foot(screen, " q quits   + - interval   space looks now");
    }
    free(text);
}

static void on_key(struct view *view, int key)
{
    if (key == '+' && view->interval_us * 2 <= INTERVAL_MOST_US)
        view->interval_us *= 2;
    else if (key == '-' && view->interval_us / 2 >= INTERVAL_LEAST_US)
        view->interval_us /= 2;
}

static int run_live(struct view *view, unsigned *signal)
{
    struct tern_screen screen;
    struct tern_error error;
    uint64_t next_ns = tern_clock_now_ns() + INTERVAL_LEAST_US * 1000;
    bool on = true;

    if (tern_screen_open(&screen, &error) != 0)
        return tern_ctl_fail(&error);
    draw(&screen, view);
    while (on) {
        int key;

        switch (tern_screen_wait(&screen, next_ns, &key)) {
        case TERN_SCREEN_END:
            *signal = (unsigned)key;
            on = false;
            break;
        case TERN_SCREEN_RESIZED:
            break;
        case TERN_SCREEN_KEY:
            on_key(view, key);
            if (key != ' ')
                break;
            /* fall through */
        case TERN_SCREEN_TIME:
            look(view); /* what fails is shown, and tried again */
            next_ns = tern_clock_now_ns() + view->interval_us * 1000;
            break;
        }
        if (on)
            draw(&screen, view);
    }
    tern_screen_close(&screen);
    return TERN_EXIT_OK;
}

/* ---- without one ---- */

/* Two looks, printed once. */
static int run_once(struct view *view)
{
    char *text = NULL, *to;
    size_t length = 0;
    FILE *memory;

    fputs("ternctl: standard output is no terminal: one look; for machines there is `ternctl stats "
          "--interval 1s --json`\n",
          stderr);
    tern_ctl_pause(view->interval_us);
    if (look(view) != 0)
        return tern_ctl_fail(&view->problem);
    memory = open_memstream(&text, &length);
    if (memory == NULL)
        return TERN_EXIT_REFUSED;
    write_view(memory, view, RULES_WITHOUT_SCREEN);
    if (fclose(memory) == 0) {
        to = text;
        for (size_t i = 0; i < length; i++) /* nothing is bold here */
            if (text[i] != '\1')
                *to++ = text[i];
        fwrite(text, 1, (size_t)(to - text), stdout);
    }
    free(text);
    return TERN_EXIT_OK;
}

int tern_ctl_top(const struct tern_invocation *invocation)
{
    struct view *view = calloc(1, sizeof *view);
    struct tern_error error;
    char *run_dir = NULL;
    unsigned signal = 0;
    int code;

    if (invocation->json) { /* one look, as `stats` writes it */
        struct tern_invocation stats = *invocation;

        stats.given |= TERN_CTL_INTERVAL | TERN_CTL_RULES;
        if (stats.interval_us == 0)
            stats.interval_us = INTERVAL_DEFAULT_US;
        free(view);
        return tern_ctl_stats(&stats);
    }
    if (view == NULL) {
        fputs("ternctl: out of memory\n", stderr);
        return TERN_EXIT_REFUSED;
    }
    if (tern_instance_find(invocation, &run_dir, &error) != 0) {
        free(view);
        return tern_ctl_fail(&error);
    }
    view->run_dir = run_dir;
    view->interval_us =
        invocation->interval_us != 0 ? invocation->interval_us : INTERVAL_DEFAULT_US;
    if (look(view) != 0)
        code = tern_ctl_fail(&view->problem);
    else
        code = tern_screen_possible() ? run_live(view, &signal) : run_once(view);
    view_free(view);
    free(view);
    free(run_dir);
    /* Whoever sent the signal sees that it worked; Ctrl-C is a way to quit. */
    if (signal != 0 && signal != SIGINT)
        raise((int)signal);
    return code;
}
