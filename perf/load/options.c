#include "perf/load/options.h"

#include "shared/token.h"

#include <errno.h>
#include <limits.h>
#include <strings.h>

static const char help_text[] =
    "tern-load measures a server and is the peers it is measured against.\n"
    "\n"
    "  tern-load run --target ADDRESS [--protocol NAME] …              measure\n"
    "  tern-load frames --requests FILE.csv --out FILE …               requests to frames, for "
    "--frames\n"
    "  tern-load idle --target ADDRESS --idle N …                      open so many, be silent\n"
    "  tern-load echo --listen ADDRESS [--backend io_uring|epoll] …    serve frames back "
    "unchanged\n"
    "  tern-load fill --target ADDRESS --protocol resp|memcached …     set the keys that run gets\n"
    "\n"
    "An ADDRESS is tcp://host:port or unix:///path. A protocol is tern, resp, echo or memcached.\n"
    "\n"
    "Load\n"
    "  --connections N       default 1\n"
    "  --idle N              further connections that have said PING once and then nothing\n"
    "                        (tern, echo, resp)\n"
    "  --depth N             closed loop: in flight on each connection, default 1\n"
    "  --rate N              open loop: N requests a second over all connections, latency from "
    "the\n"
    "                        intended send time; the client's own lag is measured, and a run in "
    "which\n"
    "                        it matters is marked invalid\n"
    "  --schedule fixed|poisson   of the open loop, default poisson\n"
    "  --spike N, --spike-at S, --spike-for S   N times the rate, from S seconds after the warm-up "
    "on\n"
    "  --per-second          of the open loop: latencies and failures of each second as well\n"
    "  --duration S, --count N, --warmup S   default 5 s, no count, 1 s\n"
    "  --spin                look for replies without sleeping\n"
    "  --cpu N               run on this CPU only\n"
    "  --seed N              of the schedule and of the keys, default 1\n"
    "\n"
    "Requests (tern and echo; without any: PING)\n"
    "  --requests FILE.csv   header row of field names, one request a row, '-' for standard input\n"
    "  --fields ip:ip,host:string,…   ids in this order; without it the server is asked\n"
    "  --items N             rows a frame, default 1\n"
    "  --frames FILE         as `tern-load frames` wrote them: u32 length, frame, …\n"
    "  --search COLLECTION --vectors FILE   SEARCH, a vector of the collection's dimensions a time "
    "from\n"
    "                        a file of f32; --k N, default 10, --ef N, default the collection's,\n"
    "                        --filter TEXT\n"
    "  --frame-bytes N       echo without requests: length of the generated frame, default 32\n"
    "  --token TEXT, --token-file FILE   for HELLO on every connection; default $TERN_TOKEN, if "
    "any\n"
    "Requests (resp, memcached)\n"
    "  --keys N, --value-bytes N   default 100000 keys, values of 16 bytes\n"
    "\n"
    "Checks\n"
    "  --expect FILE.csv     header `action` or `action,rule`; a row for each frame, in order\n"
    "  --check-same          an answer must equal the first one to the same frame\n"
    "  Any failed or wrong answer makes the exit code 1.\n"
    "\n"
    "Report\n"
    "  --server-pid PID      CPU time a request of that process\n"
    "  --json                one object\n"
    "\n"
    "Echo\n"
    "  --spin-us N           before sleeping, default 0; --spin for ever\n";

static bool complain(const char *name, const char *value, const char *expected)
{
    fprintf(stderr, "tern-load: %s %s: expected %s\n", name, value, expected);
    return false;
}

static bool parse_unsigned(const char *name, const char *value, unsigned long long least,
                           unsigned long long most, unsigned long long *into)
{
    char expected[64];
    char *end;
    unsigned long long number;

    errno = 0;
    number = strtoull(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || value[0] == '-' || number < least ||
        number > most) {
        snprintf(expected, sizeof expected, "a number from %llu to %llu", least, most);
        return complain(name, value, expected);
    }
    *into = number;
    return true;
}

static bool parse_double(const char *name, const char *value, double *into)
{
    char *end;
    double number = strtod(value, &end);

    if (end == value || *end != '\0' || !(number >= 0 && number <= 1e9))
        return complain(name, value, "a number from 0 to 1e9");
    *into = number;
    return true;
}

static bool parse_choice(const char *name, const char *value, const char *const *choices,
                         unsigned *into)
{
    char expected[96] = "";

    for (unsigned i = 0; choices[i] != NULL; i++) {
        if (strcasecmp(value, choices[i]) == 0) {
            *into = i;
            return true;
        }
        if (i > 0)
            strcat(expected, " or ");
        strcat(expected, choices[i]);
    }
    return complain(name, value, expected);
}

enum kind {
    TEXT,
    NUMBER,
    LONG,
    SIGNED,
    REAL,
    SWITCH,
    CHOICE,
};

static const char *const protocols[] = {"tern", "resp", "echo", "memcached", NULL};
static const char *const backends[] = {"io_uring", "epoll", NULL};
static const char *const schedules[] = {"fixed", "poisson", NULL};

static const struct option {
    const char *name;
    enum kind kind;
    size_t offset;
    unsigned long long least, most;
    const char *const *choices;
} options_table[] = {
#define AT(member) offsetof(struct load_options, member)
    {"--target", TEXT, AT(target), 0, 0, NULL},
    {"--listen", TEXT, AT(listen), 0, 0, NULL},
    {"--out", TEXT, AT(out), 0, 0, NULL},
    {"--protocol", CHOICE, AT(protocol), 0, 0, protocols},
    {"--backend", CHOICE, AT(backend), 0, 0, backends},
    {"--connections", NUMBER, AT(connections), 1, 20000, NULL},
    {"--idle", NUMBER, AT(idle), 0, 100000, NULL},
    {"--depth", NUMBER, AT(depth), 1, 65536, NULL},
    {"--rate", REAL, AT(rate), 0, 0, NULL},
    {"--schedule", CHOICE, AT(poisson), 0, 0, schedules},
    {"--spike", REAL, AT(spike), 0, 0, NULL},
    {"--spike-at", REAL, AT(spike_at_s), 0, 0, NULL},
    {"--spike-for", REAL, AT(spike_for_s), 0, 0, NULL},
    {"--per-second", SWITCH, AT(per_second), 0, 0, NULL},
    {"--duration", REAL, AT(duration_s), 0, 0, NULL},
    {"--warmup", REAL, AT(warmup_s), 0, 0, NULL},
    {"--count", LONG, AT(count), 1, ULLONG_MAX, NULL},
    {"--spin", SWITCH, AT(spin), 0, 0, NULL},
    {"--spin-us", NUMBER, AT(spin_us), 0, 1000000, NULL},
    {"--cpu", SIGNED, AT(cpu), 0, 1023, NULL},
    {"--frames", TEXT, AT(frames_path), 0, 0, NULL},
    {"--requests", TEXT, AT(requests_path), 0, 0, NULL},
    {"--fields", TEXT, AT(fields), 0, 0, NULL},
    {"--items", NUMBER, AT(items), 1, 4096, NULL},
    {"--frame-bytes", NUMBER, AT(frame_bytes), 16, 1 << 20, NULL},
    {"--search", TEXT, AT(search), 0, 0, NULL},
    {"--vectors", TEXT, AT(vectors_path), 0, 0, NULL},
    {"--k", NUMBER, AT(k), 1, UINT16_MAX, NULL},
    {"--ef", NUMBER, AT(ef), 0, UINT16_MAX, NULL},
    {"--filter", TEXT, AT(filter), 0, 0, NULL},
    {"--expect", TEXT, AT(expect_path), 0, 0, NULL},
    {"--check-same", SWITCH, AT(check_same), 0, 0, NULL},
    {"--token", TEXT, AT(token), 0, 0, NULL},
    {"--token-file", TEXT, AT(token_file), 0, 0, NULL},
    {"--keys", NUMBER, AT(keys), 1, 100000000, NULL},
    {"--value-bytes", NUMBER, AT(value_bytes), 1, 65536, NULL},
    {"--seed", LONG, AT(seed), 0, ULLONG_MAX, NULL},
    {"--server-pid", SIGNED, AT(server_pid), 1, INT_MAX, NULL},
    {"--json", SWITCH, AT(json), 0, 0, NULL},
};

static bool store(struct load_options *options, const struct option *option, const char *value)
{
    void *at = (char *)options + option->offset;
    unsigned long long number = 0;
    unsigned choice = 0;

    switch (option->kind) {
    case TEXT:
        *(const char **)at = value;
        return true;
    case REAL:
        return parse_double(option->name, value, at);
    case SWITCH:
        *(bool *)at = true;
        return true;
    case CHOICE:
        if (!parse_choice(option->name, value, option->choices, &choice))
            return false;
        if (option->choices == schedules)
            *(bool *)at = choice == 1;
        else
            memcpy(at, &choice, sizeof choice); /* an enumeration */
        return true;
    case NUMBER:
    case SIGNED:
    case LONG:
        if (!parse_unsigned(option->name, value, option->least, option->most, &number))
            return false;
        if (option->kind == LONG)
            *(uint64_t *)at = number;
        else
            *(unsigned *)at = (unsigned)number; /* SIGNED members hold no more than INT_MAX */
        return true;
    }
    return false;
}

/* From the command line, a file, or the environment. */
static bool choose_token(struct load_options *options)
{
    struct tern_error error;

    if (options->token != NULL)
        return strlen(options->token) <= TERN_TOKEN_MAX ||
               complain("--token", "", "at most 255 bytes");
    if (tern_token_choose(options->token_file, options->token_text, &error) != 0) {
        fprintf(stderr, "tern-load: %s\n", error.message);
        return false;
    }
    options->token = options->token_text;
    return true;
}

static bool require(const struct load_options *options)
{
    bool run = strcmp(options->command, "run") == 0;
    bool idle = strcmp(options->command, "idle") == 0;
    int sources = (options->frames_path != NULL) + (options->requests_path != NULL) +
                  (options->search != NULL);

    if ((run || idle || strcmp(options->command, "fill") == 0) && options->target == NULL)
        return complain(options->command, "", "--target ADDRESS");
    if (strcmp(options->command, "echo") == 0 && options->listen == NULL)
        return complain(options->command, "", "--listen ADDRESS");
    if (strcmp(options->command, "frames") == 0 &&
        ((options->requests_path == NULL && options->search == NULL) || options->out == NULL))
        return complain(options->command, "",
                        "--requests FILE.csv or --search COLLECTION, and --out FILE");
    if (strcmp(options->command, "frames") == 0 && options->fields == NULL &&
        options->target == NULL)
        return complain(options->command, "", "--fields or a --target to ask");
    if (sources > 1)
        return complain("--frames, --requests, --search", "", "one of them");
    if ((options->search != NULL) != (options->vectors_path != NULL))
        return complain("--search and --vectors", "", "both");
    if (options->search != NULL && (options->target == NULL || options->protocol != LOAD_TERN))
        return complain("--search", options->search, "a --target that is a tern");
    if (options->expect_path != NULL && options->protocol != LOAD_TERN)
        return complain("--expect", options->expect_path, "--protocol tern with it");
    if (strcmp(options->command, "fill") == 0 && options->protocol != LOAD_RESP &&
        options->protocol != LOAD_MEMCACHED)
        return complain("fill", "", "--protocol resp or memcached with it");
    if (idle && options->idle == 0)
        return complain("idle", "", "--idle N");
    if (options->idle > 0 && options->protocol == LOAD_MEMCACHED)
        return complain("--idle", "", "--protocol tern, echo or resp with it");
    if ((options->per_second || options->spike_for_s > 0) &&
        (options->rate <= 0 || options->count > 0 || options->duration_s > 3600))
        return complain("--per-second and --spike", "",
                        "--rate and a --duration of an hour at most with them");
    if (options->spike_for_s > 0 && options->spike <= 0)
        return complain("--spike-for", "", "--spike N with it");
    if (options->expect_path != NULL && options->items != 1)
        return complain("--expect", options->expect_path, "--items 1 with it");
    return true;
}

bool load_options_parse(int argc, char **argv, struct load_options *options)
{
    static const char *const commands[] = {"run", "frames", "idle", "echo", "fill", NULL};
    unsigned command;

    *options = (struct load_options){
        .connections = 1,
        .depth = 1,
        .poisson = true,
        .duration_s = 5,
        .warmup_s = 1,
        .cpu = -1,
        .items = 1,
        .k = 10,
        .frame_bytes = 32,
        .keys = 100000,
        .value_bytes = 16,
        .seed = 1,
    };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help_text, stdout);
            exit(0);
        }
    }
    if (argc < 2)
        return complain("command", "", "run, frames, idle, echo or fill; see --help");
    if (!parse_choice("command", argv[1], commands, &command))
        return false;
    options->command = commands[command];

    for (int i = 2; i < argc; i++) {
        const struct option *option = NULL;

        for (size_t j = 0; j < TERN_COUNT(options_table); j++)
            if (strcmp(argv[i], options_table[j].name) == 0)
                option = &options_table[j];
        if (option == NULL)
            return complain("option", argv[i], "one that --help lists");
        if (option->kind != SWITCH && i + 1 == argc)
            return complain(option->name, "", "a value");
        if (!store(options, option, option->kind == SWITCH ? NULL : argv[++i]))
            return false;
    }
    return require(options) && choose_token(options);
}
