/* ternctl stats: the board, read directly. */
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/seats.h"
#include "controlplane/log.h"

static const struct {
    const char *key, *heading;
    double fraction;
} quantiles[] = {{"p50_ns", ">p50", 0.5},         {"p90_ns", ">p90", 0.9},
                 {"p99_ns", ">p99", 0.99},        {"p999_ns", ">p99.9", 0.999},
                 {"p9999_ns", ">p99.99", 0.9999}, {"max_ns", ">max", 1.0}};

static const struct {
    const char *name, *text;
} stage_texts[] = {
#define X(name, text) {#name, text},
    TERN_STAGES(X)
#undef X
};

static void sums_json(struct tern_json *json, const struct tern_seat_sums *sums)
{
    tern_json_object(json, "counters");
#define X(name, text) tern_json_u64(json, #name, sums->name);
    TERN_COUNTERS(X)
#undef X
    tern_json_object_end(json);
    tern_json_object(json, "stages");
    for (unsigned i = 0; i < TERN_STAGE_COUNT; i++) {
        const struct tern_histogram_sum *stage = &sums->stages[i];

        tern_json_object(json, stage_texts[i].name);
        tern_json_u64(json, "count", stage->total);
        tern_json_double(json, "mean_ns",
                         stage->total != 0 ? (double)stage->sum_ns / (double)stage->total : 0);
        for (unsigned q = 0; q < TERN_COUNT(quantiles); q++)
            tern_json_u64(json, quantiles[q].key,
                          tern_histogram_quantile(stage, quantiles[q].fraction));
        tern_json_object_end(json);
    }
    tern_json_object_end(json);
}

static void stats_json(const struct tern_seats *seats, const struct tern_seat_sums *total)
{
    struct tern_json json = {0};

    tern_json_object(&json, NULL);
    sums_json(&json, total);
    tern_json_array(&json, "seats");
    for (unsigned i = 0; i < seats->count; i++) {
        tern_json_object(&json, NULL);
        tern_json_u64(&json, "seat", seats->items[i].seat);
        tern_json_u64(&json, "pid", seats->items[i].pid);
        tern_json_u64(&json, "generation", seats->items[i].generation);
        tern_json_time(&json, "started_at", seats->items[i].started_at_us);
        sums_json(&json, seats->items[i].sums);
        tern_json_object_end(&json);
    }
    tern_json_array_end(&json);
    tern_json_object_end(&json);
    tern_json_print(&json);
}

static void print_counters(const struct tern_seat_sums *sums)
{
    static const char *const headings[] = {"counter", ">value", "meaning"};
    struct tern_print_table table;
    char value[TERN_PRINT_TEXT];

    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
#define X(name, text)                                                                              \
    tern_print_table_row(&table,                                                                   \
                         (const char *const[]){#name, tern_print_count(value, sums->name), text});
    TERN_COUNTERS(X)
#undef X
    tern_print_table_end(&table);
}

static void print_stages(const struct tern_seat_sums *sums)
{
    const char *headings[2 + TERN_COUNT(quantiles) + 1] = {"stage", ">count"};
    struct tern_print_table table;

    for (unsigned q = 0; q < TERN_COUNT(quantiles); q++)
        headings[2 + q] = quantiles[q].heading;
    headings[2 + TERN_COUNT(quantiles)] = "meaning";
    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (unsigned i = 0; i < TERN_STAGE_COUNT; i++) {
        char count[TERN_PRINT_TEXT], times[TERN_COUNT(quantiles)][TERN_PRINT_TEXT];
        const char *cells[TERN_COUNT(headings)] = {stage_texts[i].name};

        cells[1] = tern_print_count(count, sums->stages[i].total);
        for (unsigned q = 0; q < TERN_COUNT(quantiles); q++)
            cells[2 + q] = tern_print_ns(
                times[q], tern_histogram_quantile(&sums->stages[i], quantiles[q].fraction));
        cells[2 + TERN_COUNT(quantiles)] = stage_texts[i].text;
        if (sums->stages[i].total != 0)
            tern_print_table_row(&table, cells);
    }
    tern_print_table_end(&table);
}

static int read_seats(const struct tern_invocation *invocation, struct tern_seats *seats)
{
    char *run_dir = NULL;
    struct tern_error error;
    int rc = tern_instance_find(invocation, &run_dir, &error);

    if (rc == 0)
        rc = tern_seats_read(run_dir, seats, &error);
    free(run_dir);
    return rc != 0 ? tern_ctl_fail(&error) : TERN_EXIT_OK;
}

int tern_ctl_stats(const struct tern_invocation *invocation)
{
    struct tern_seats seats = {0};
    struct tern_seat_sums *total = calloc(1, sizeof *total);
    int code = total == NULL ? TERN_EXIT_REFUSED : read_seats(invocation, &seats);

    if (code == TERN_EXIT_OK) {
        for (unsigned i = 0; i < seats.count; i++)
            tern_seat_sums_add(total, seats.items[i].sums);
        if (invocation->json) {
            stats_json(&seats, total);
        } else {
            printf("%u ternd process%s\n\n", seats.count, seats.count == 1 ? "" : "es");
            print_counters(total);
            putchar('\n');
            print_stages(total);
        }
    }
    tern_seats_free(&seats);
    free(total);
    return code;
}
