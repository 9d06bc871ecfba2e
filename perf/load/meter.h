/* What a run measures, and how it is told. */
#ifndef TERN_LOAD_METER_H
#define TERN_LOAD_METER_H

#include "perf/load/options.h"

/* Log-linear like shared/histogram.h, but with 128 steps an octave: a percentile is right within
 * 0.8 %, because two servers are compared by the ratio of theirs. */
#define LOAD_STEPS   128u
#define LOAD_BUCKETS (34u * LOAD_STEPS)

struct load_histogram {
    uint64_t counts[LOAD_BUCKETS];
    uint64_t total;
    uint64_t sum_ns;
    uint64_t max_ns;
};

static inline unsigned load_histogram_bucket(uint64_t ns)
{
    unsigned octave;

    if (ns < 2 * LOAD_STEPS)
        return (unsigned)ns;
    octave = 63 - (unsigned)__builtin_clzll(ns); /* at least 8 */
    if (octave >= 40)
        return LOAD_BUCKETS - 1;
    return (octave - 6) * LOAD_STEPS + (unsigned)((ns >> (octave - 7)) & (LOAD_STEPS - 1));
}

static inline void load_histogram_add(struct load_histogram *histogram, uint64_t ns)
{
    histogram->counts[load_histogram_bucket(ns)]++;
    histogram->total++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

/* The value below or at which `fraction` of the samples lie, in ns; 0 when empty. */
uint64_t load_histogram_quantile(const struct load_histogram *histogram, double fraction);

#define LOAD_STATUSES 16u

struct load_second { /* --per-second: requests meant for one second */
    struct load_histogram latency;
    uint64_t failed;
};

struct load_meter {
    uint64_t sent;
    uint64_t replies; /* whole answers, good or bad, in the measured time */
    uint64_t failed;  /* a status other than OK, or none at all */
    uint64_t wrong;   /* not what --expect or --check-same says */
    uint64_t statuses[LOAD_STATUSES];
    uint64_t reconnects;
    uint64_t blocked; /* open loop: could not be sent on time because the server had not answered */
    uint64_t bytes_out, bytes_in;
    uint64_t checksum; /* sum over the answers, so that their order does not matter */
    uint64_t started_ns, ended_ns;
    double server_cpu_s, client_cpu_s;
    bool server_cpu_known;
    uint64_t gap_ns;             /* the longest time without a good answer */
    struct load_second *seconds; /* NULL: not asked for */
    unsigned second_count;
    struct load_histogram latency;
    struct load_histogram
        lag; /* open loop: sent after the intended time by the client's own fault */
};

/* Of a request meant for that time. */
static inline struct load_second *load_meter_second(struct load_meter *meter, uint64_t intended_ns)
{
    uint64_t index = (intended_ns - meter->started_ns) / 1000000000u;

    return &meter->seconds[index < meter->second_count ? index : meter->second_count - 1];
}

/* Requests that an open loop means to send in the measured time. */
double load_offered(const struct load_options *options, double seconds);

uint64_t load_now_ns(void);
/* CPU time of a process (utime + stime of /proc/PID/stat) in seconds; negative when it is gone. */
double load_process_cpu_s(int pid);
/* Of this process. */
double load_own_cpu_s(void);

/* NULL when the run counts, else why it does not. */
const char *load_meter_invalid(const struct load_meter *meter, const struct load_options *options);

void load_meter_print(const struct load_meter *meter, const struct load_options *options);

#endif
