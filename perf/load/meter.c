#include "perf/load/meter.h"

#include "shared/wire.h"

#include <math.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* A run does not count when the client's own lag is a visible part of what it reports. */
#define LAG_SHARE_MAX     0.25
#define ACHIEVED_MIN      0.99
#define INVALID_LAG       "the client lagged: p99 of its lag is over a quarter of the p99 latency"
#define INVALID_ACHIEVED  "the offered rate was not reached"
#define INVALID_NO_ANSWER "nothing was answered"

uint64_t load_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double load_process_cpu_s(int pid)
{
    char path[64], text[1024], *field;
    unsigned long user = 0, system = 0;
    FILE *file;
    size_t got;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    file = fopen(path, "re");
    if (file == NULL)
        return -1;
    got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    field = strrchr(text, ')'); /* the name before it may hold anything */
    if (field == NULL || sscanf(field + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                                &user, &system) != 2)
        return -1;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double load_own_cpu_s(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static uint64_t bucket_upper_ns(unsigned bucket)
{
    unsigned octave;

    if (bucket < 2 * LOAD_STEPS)
        return bucket;
    octave = bucket / LOAD_STEPS + 6;
    return ((1ull << 7 | bucket % LOAD_STEPS) + 1) * (1ull << (octave - 7)) - 1;
}

uint64_t load_histogram_quantile(const struct load_histogram *histogram, double fraction)
{
    uint64_t wanted = (uint64_t)ceil(fraction * (double)histogram->total), seen = 0;

    if (histogram->total == 0)
        return 0;
    if (wanted == 0)
        wanted = 1;
    for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen >= wanted)
            return tern_min_u64(bucket_upper_ns(i), histogram->max_ns);
    }
    return histogram->max_ns;
}

static double seconds(const struct load_meter *meter)
{
    return (double)(meter->ended_ns - meter->started_ns) / 1e9;
}

double load_offered(const struct load_options *options, double measured_s)
{
    double spike_s = options->spike_for_s;

    if (options->spike_at_s + spike_s > measured_s)
        spike_s = measured_s > options->spike_at_s ? measured_s - options->spike_at_s : 0;
    return options->rate * (measured_s + (options->spike - 1) * spike_s);
}

const char *load_meter_invalid(const struct load_meter *meter, const struct load_options *options)
{
    double lag, latency;

    if (meter->replies == 0)
        return INVALID_NO_ANSWER;
    if (options->rate == 0)
        return NULL;
    lag = (double)load_histogram_quantile(&meter->lag, 0.99);
    latency = (double)load_histogram_quantile(&meter->latency, 0.99);
    if (lag > LAG_SHARE_MAX * latency)
        return INVALID_LAG;
    if ((double)meter->replies < ACHIEVED_MIN * load_offered(options, seconds(meter)))
        return INVALID_ACHIEVED;
    return NULL;
}

static const struct {
    const char *name;
    double fraction;
} quantiles[] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999},
};

static void print_histogram_json(const char *name, const struct load_histogram *histogram)
{
    printf("\"%s\": {", name);
    for (size_t i = 0; i < TERN_COUNT(quantiles); i++)
        printf("\"%s\": %llu, ", quantiles[i].name,
               (unsigned long long)load_histogram_quantile(histogram, quantiles[i].fraction));
    printf("\"max\": %llu, \"mean\": %.0f, \"samples\": %llu}",
           (unsigned long long)histogram->max_ns,
           histogram->total == 0 ? 0.0 : (double)histogram->sum_ns / (double)histogram->total,
           (unsigned long long)histogram->total);
}

static void print_histogram_text(const char *name, const struct load_histogram *histogram)
{
    printf("%-9s", name);
    for (size_t i = 0; i < TERN_COUNT(quantiles); i++)
        printf(" %s %.1f", quantiles[i].name,
               (double)load_histogram_quantile(histogram, quantiles[i].fraction) / 1e3);
    printf(" max %.1f us\n", (double)histogram->max_ns / 1e3);
}

static void print_seconds_json(const struct load_meter *meter)
{
    printf("\"per_second\": [");
    for (unsigned i = 0; i < meter->second_count; i++) {
        const struct load_second *second = &meter->seconds[i];

        printf(
            "%s{\"replies\": %llu, \"failed\": %llu, \"p50\": %llu, \"p99\": %llu, \"max\": %llu}",
            i == 0 ? "" : ", ", (unsigned long long)second->latency.total,
            (unsigned long long)second->failed,
            (unsigned long long)load_histogram_quantile(&second->latency, 0.5),
            (unsigned long long)load_histogram_quantile(&second->latency, 0.99),
            (unsigned long long)second->latency.max_ns);
    }
    printf("], ");
}

static void print_json(const struct load_meter *meter, const struct load_options *options,
                       const char *invalid)
{
    static const char *const protocols[] = {"tern", "resp", "echo", "memcached"};
    double requests = meter->replies == 0 ? 1 : (double)meter->replies;

    printf("{\"target\": \"%s\", \"protocol\": \"%s\", \"loop\": \"%s\", \"connections\": %u, ",
           options->target, protocols[options->protocol], options->rate > 0 ? "open" : "closed",
           options->connections);
    if (options->rate > 0)
        printf("\"offered\": %.0f, \"schedule\": \"%s\", \"blocked\": %llu, ", options->rate,
               options->poisson ? "poisson" : "fixed", (unsigned long long)meter->blocked);
    else
        printf("\"depth\": %u, ", options->depth);
    printf(
        "\"seconds\": %.3f, \"replies\": %llu, \"rps\": %.1f, \"failed\": %llu, \"wrong\": %llu, "
        "\"reconnects\": %llu, \"bytes_out\": %llu, \"bytes_in\": %llu, ",
        seconds(meter), (unsigned long long)meter->replies, (double)meter->replies / seconds(meter),
        (unsigned long long)meter->failed, (unsigned long long)meter->wrong,
        (unsigned long long)meter->reconnects, (unsigned long long)meter->bytes_out,
        (unsigned long long)meter->bytes_in);
    print_histogram_json("latency_ns", &meter->latency);
    printf(", ");
    if (options->rate > 0) {
        print_histogram_json("lag_ns", &meter->lag);
        printf(", ");
    }
    if (meter->seconds != NULL)
        print_seconds_json(meter);
    printf("\"statuses\": {");
    for (unsigned i = 0, some = 0; i < LOAD_STATUSES; i++)
        if (meter->statuses[i] != 0)
            printf("%s\"%s\": %llu", some++ ? ", " : "", tern_status_name(i),
                   (unsigned long long)meter->statuses[i]);
    printf("}, \"longest_gap_ns\": %llu, \"client_cpu_us\": %.4f, ",
           (unsigned long long)meter->gap_ns, meter->client_cpu_s * 1e6 / requests);
    if (meter->server_cpu_known)
        printf("\"server_cpu_us\": %.4f, ", meter->server_cpu_s * 1e6 / requests);
    printf("\"checksum\": \"%016llx\", \"valid\": %s", (unsigned long long)meter->checksum,
           invalid == NULL ? "true" : "false");
    if (invalid != NULL)
        printf(", \"invalid\": \"%s\"", invalid);
    printf("}\n");
}

static void print_text(const struct load_meter *meter, const struct load_options *options,
                       const char *invalid)
{
    double requests = meter->replies == 0 ? 1 : (double)meter->replies;

    printf("%llu replies in %.2f s: %.0f/s", (unsigned long long)meter->replies, seconds(meter),
           (double)meter->replies / seconds(meter));
    if (options->rate > 0)
        printf(" of %.0f/s offered", options->rate);
    printf("\n");
    print_histogram_text("latency", &meter->latency);
    if (options->rate > 0) {
        print_histogram_text("own lag", &meter->lag);
        if (meter->blocked > 0)
            printf("blocked   %llu requests waited for an answer before they could be sent\n",
                   (unsigned long long)meter->blocked);
    }
    for (unsigned i = 0; meter->seconds != NULL && i < meter->second_count; i++)
        printf("second %-2u %llu replies, %llu failed, p99 %.1f us\n", i,
               (unsigned long long)meter->seconds[i].latency.total,
               (unsigned long long)meter->seconds[i].failed,
               (double)load_histogram_quantile(&meter->seconds[i].latency, 0.99) / 1e3);
    printf("failed    %llu, wrong %llu, reconnects %llu, longest gap %.1f ms\n",
           (unsigned long long)meter->failed, (unsigned long long)meter->wrong,
           (unsigned long long)meter->reconnects, (double)meter->gap_ns / 1e6);
    for (unsigned i = 1; i < LOAD_STATUSES; i++)
        if (meter->statuses[i] != 0)
            printf("          %llu %s\n", (unsigned long long)meter->statuses[i],
                   tern_status_name(i));
    printf("cpu       client %.3f us/request", meter->client_cpu_s * 1e6 / requests);
    if (meter->server_cpu_known)
        printf(", server %.3f us/request", meter->server_cpu_s * 1e6 / requests);
    printf("\nchecksum  %016llx\n", (unsigned long long)meter->checksum);
    if (invalid != NULL)
        printf("INVALID   %s\n", invalid);
}

void load_meter_print(const struct load_meter *meter, const struct load_options *options)
{
    const char *invalid = load_meter_invalid(meter, options);

    if (options->json)
        print_json(meter, options, invalid);
    else
        print_text(meter, options, invalid);
}
