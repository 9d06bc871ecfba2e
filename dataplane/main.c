/* ternd: answers requests from the published snapshot. Starts, waits for the control plane's first
 * word, serves, and ends on SIGTERM or SIGINT with everything received answered. */
#include "dataplane/housekeeping.h"
#include "dataplane/liveness.h"
#include "dataplane/log.h"
#include "dataplane/server.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define REPLACE_NS 10000000000ull /* for what another build left behind */
#define POLL_MS    5 /* until arena and settings are there: tern-control starts at the same time */

enum exit_code {
    EXIT_OK = 0,
    EXIT_REFUSED = 1,
    EXIT_USAGE = 2,
};

struct options {
    const char *run_dir;
    const char *backend; /* "auto", "io_uring", "epoll" */
    bool no_stages, no_hits;
};

static void print_help(void)
{
    puts("usage: ternd --run-dir DIR [--backend auto|io_uring|epoll] [--log text|json]\n"
         "\n"
         "The data plane of tern: answers requests from the snapshot that tern-control publishes "
         "in\n"
         "DIR. Usually started by `ternctl up`.\n"
         "\n"
         "  --run-dir DIR    where arena and board are; waits for them to appear\n"
         "  --backend NAME   auto (default): io_uring, or epoll where that is not available\n"
         "  --log FORM       text (default) or json, on standard error\n"
         "  --help           this text\n"
         "  --version        the version\n"
         "\n"
         "SIGTERM and SIGINT: stop accepting, answer everything received, exit 0.\n"
         "NOTIFY_SOCKET and WATCHDOG_USEC are those of sd_notify(3).");
}

/* Returns −1 to go on, or the exit code. */
static int parse_options(int count, char **arguments, struct options *options)
{
    static const struct option known[] = {
        {"run-dir", required_argument, NULL, 'r'}, {"backend", required_argument, NULL, 'b'},
        {"log", required_argument, NULL, 'l'},     {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},       {"no-stages", no_argument, NULL, 'n'},
        {"no-hits", no_argument, NULL, 'i'},       {0},
    };
    bool json = false;
    int option;

    *options = (struct options){.backend = "auto"};
    while ((option = getopt_long(count, arguments, "", known, NULL)) != -1) {
        switch (option) {
        case 'r':
            options->run_dir = optarg;
            break;
        case 'b':
            if (strcmp(optarg, "auto") != 0 && strcmp(optarg, "io_uring") != 0 &&
                strcmp(optarg, "epoll") != 0) {
                fprintf(stderr, "ternd: --backend %s: expected auto, io_uring or epoll\n", optarg);
                return EXIT_USAGE;
            }
            options->backend = optarg;
            break;
        case 'l':
            if (strcmp(optarg, "text") != 0 && strcmp(optarg, "json") != 0) {
                fprintf(stderr, "ternd: --log %s: expected text or json\n", optarg);
                return EXIT_USAGE;
            }
            json = strcmp(optarg, "json") == 0;
            break;
        case 'n': /* this and the next for perf/run measuring only; not in the help */
            options->no_stages = true;
            break;
        case 'i':
            options->no_hits = true;
            break;
        case 'h':
            print_help();
            return EXIT_OK;
        case 'v':
            puts("ternd " TERN_VERSION);
            return EXIT_OK;
        default:
            return EXIT_USAGE;
        }
    }
    if (optind < count) {
        fprintf(stderr, "ternd: unexpected argument %s\n", arguments[optind]);
        return EXIT_USAGE;
    }
    if (options->run_dir == NULL) {
        fprintf(stderr, "ternd: --run-dir is missing; see ternd --help\n");
        return EXIT_USAGE;
    }
    tern_log_setup_form(json);
    return -1;
}

static void on_bus_error(int signal)
{
    static const char message[] =
        "ternd error: bus error: the arena or the board lost a page (file truncated, or tmpfs "
        "full); ending so that a fresh process maps it anew\n";

    if (write(STDERR_FILENO, message, sizeof message - 1) < 0)
        _exit(128 + signal);
    _exit(128 + signal);
}

/* Signals come through a descriptor, except the one that must not return. */
static int open_signals(void)
{
    struct sigaction bus = {.sa_handler = on_bus_error};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;

    sigaction(SIGBUS, &bus, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Waits up to `ms` (−1: for ever); true when the process is asked to end. */
static bool asked_to_end(int signals, int ms)
{
    struct pollfd poller = {.fd = signals, .events = POLLIN};

    return poll(&poller, 1, ms) > 0;
}

/* The number of descriptors bounds the connections, and io_uring notes it when accepting starts. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* What another build left behind is replaced by the tern-control that starts with us: true while
 * there is hope of that. */
static bool may_be_replaced(int code, uint64_t since_ns)
{
    return code == TERN_EABI && tern_clock_now_ns() - since_ns < REPLACE_NS;
}

static int wait_for_arena(const char *run_dir, int signals, const struct tern_notify *notify,
                          struct tern_arena *arena, struct tern_error *error)
{
    uint64_t since_ns = tern_clock_now_ns();
    bool told = false;

    for (;;) {
        int code = tern_arena_open(run_dir, arena, error);

        if (code != TERN_ENOENT && !may_be_replaced(code, since_ns))
            return code;
        if (!told) {
            tern_log(TERN_LOG_INFO, "waiting for tern-control to make %s/arena%s%s", run_dir,
                     code == TERN_EABI ? ": " : "", code == TERN_EABI ? error->message : "");
            tern_notify_say(notify, "STATUS=waiting for tern-control");
        }
        told = true;
        if (asked_to_end(signals, POLL_MS))
            return TERN_ECLOSED;
    }
}

static int wait_for_board(const char *run_dir, int signals, struct tern_board_map *board,
                          struct tern_error *error)
{
    uint64_t since_ns = tern_clock_now_ns();
    bool told = false;

    for (;;) {
        int code = tern_board_open(run_dir, true, board, error);

        if (!may_be_replaced(code, since_ns))
            return code;
        if (!told)
            tern_log(TERN_LOG_INFO, "waiting for tern-control to replace the board: %s",
                     error->message);
        told = true;
        if (asked_to_end(signals, POLL_MS))
            return TERN_ECLOSED;
    }
}

/* Copies the newest settings out of the arena. They may be replaced meanwhile, so the copy counts
 * only when they were still the newest afterwards. TERN_EAGAIN: not there, or just replaced. */
static int copy_settings(const struct tern_arena *arena, struct tern_settings *settings,
                         struct tern_error *error)
{
    const struct tern_envelope *envelope = tern_arena_envelope(arena);
    uint64_t offset = atomic_load_explicit(&envelope->settings, memory_order_acquire);
    uint64_t length = atomic_load_explicit(&envelope->settings_length, memory_order_acquire);
    const struct tern_settings *checked;
    const void *section;
    int code;

    if (offset == 0)
        return TERN_EAGAIN;
    section = tern_arena_at(arena, offset, length, 8);
    if (section == NULL || length != sizeof *settings)
        return tern_error_set(error, TERN_ECORRUPT, "the arena's settings have %llu bytes, not %zu",
                              (unsigned long long)length, sizeof *settings);
    memcpy(settings, section, sizeof *settings);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&envelope->settings, memory_order_relaxed) != offset)
        return TERN_EAGAIN;
    code = tern_settings_open(settings, sizeof *settings, &checked, error);
    return code;
}

static int wait_for_settings(const struct tern_arena *arena, int signals,
                             struct tern_settings *settings, struct tern_error *error)
{
    bool told = false;

    for (;;) {
        int code = copy_settings(arena, settings, error);

        if (code != TERN_EAGAIN)
            return code;
        if (!told)
            tern_log(TERN_LOG_INFO, "waiting for tern-control to say how to serve");
        told = true;
        if (asked_to_end(signals, POLL_MS))
            return TERN_ECLOSED;
    }
}

static int choose_backend(struct tern_server *server, const char *wanted, struct tern_error *error)
{
    char reason[sizeof server->seat->backend_reason] = "asked for";
    bool automatic = strcmp(wanted, "auto") == 0;

    server->backend = &tern_backend_epoll;
    if (strcmp(wanted, "epoll") != 0) {
        if (tern_backend_uring.probe(server->worker_count, reason, sizeof reason) == 0) {
            server->backend = &tern_backend_uring;
            snprintf(reason, sizeof reason, "%s", automatic ? "available" : "asked for");
        } else if (!automatic) {
            return tern_error_set(error, TERN_ENOTSUP, "--backend io_uring: %s", reason);
        }
    }
    snprintf(server->seat->backend, sizeof server->seat->backend, "%s", server->backend->name);
    snprintf(server->seat->backend_reason, sizeof server->seat->backend_reason, "%s", reason);
    tern_log(TERN_LOG_INFO, "backend %s: %s", server->backend->name, reason);
    return 0;
}

/* Gives each loop a CPU of its own when one is left over for everybody else. */
static void pin_loops(struct tern_server *server)
{
    cpu_set_t allowed;
    int cpu = 0;

    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0 ||
        CPU_COUNT(&allowed) <= (int)server->worker_count)
        return;
    for (unsigned i = 0; i < server->worker_count; i++, cpu++) {
        cpu_set_t one;

        while (!CPU_ISSET(cpu, &allowed))
            cpu++;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(server->workers[i].thread, sizeof one, &one);
    }
}

static int start_loops(struct tern_server *server, int signals, struct tern_error *error)
{
    /* CPUs of the machine, not of our mask: a client on another CPU gains from a spinning loop, and
     * one that has to share ours makes the spin fail, which turns it off. */
    server->spin = sysconf(_SC_NPROCESSORS_ONLN) > (long)server->worker_count;
    for (unsigned i = 0; i < server->worker_count; i++) {
        int code = tern_worker_start(&server->workers[i], server, i, error);

        if (code < 0)
            return code;
    }
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct tern_worker *worker = &server->workers[i];
        uint32_t state;

        while ((state = atomic_load_explicit(&worker->state, memory_order_acquire)) ==
               TERN_WORKER_STARTING) {
            if (asked_to_end(signals, 1))
                return TERN_ECLOSED;
        }
        if (state == TERN_WORKER_FAILED) {
            *error = worker->error;
            return error->code;
        }
    }
    pin_loops(server);
    return 0;
}

/* Drains all loops and waits for them. */
static void stop_loops(struct tern_server *server)
{
    atomic_store_explicit(&server->seat->draining, 1, memory_order_release);
    atomic_store_explicit(&server->draining, true, memory_order_release);
    for (unsigned i = 0; i < server->worker_count; i++) {
        if (server->workers[i].started)
            tern_worker_wake(&server->workers[i]);
    }
    for (unsigned i = 0; i < server->worker_count; i++)
        tern_worker_join(&server->workers[i]);
}

/* With a seat: everything that is undone in reverse order. */
static int serve(struct tern_server *server, struct tern_arena *arena, const char *backend,
                 int signals, struct tern_liveness *liveness, struct tern_error *error)
{
    struct tern_housekeeping housekeeping = {0};
    int code = choose_backend(server, backend, error);

    if (code < 0)
        return code;
    server->workers =
        aligned_alloc(TERN_CACHE_LINE, server->worker_count * sizeof *server->workers);
    if (server->workers == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for %u loops", server->worker_count);
    memset(server->workers, 0, server->worker_count * sizeof *server->workers);
    code = tern_helpers_prepare(server, error);
    if (code == 0)
        code = tern_housekeeping_start(&housekeeping, server, arena, error);
    if (code == 0)
        code = tern_listeners_open(&server->listeners, &server->settings, server->worker_count,
                                   server->backend == &tern_backend_epoll, &server->board,
                                   server->seat_index, error);
    if (code == 0)
        code = tern_helpers_start(server, error);
    if (code == 0)
        code = start_loops(server, signals, error);
    if (code == 0) {
        for (unsigned i = 0; i < server->listeners.count; i++)
            tern_log(TERN_LOG_INFO, "listening on %s", server->listeners.all[i].address);
        tern_log(TERN_LOG_INFO, "serving with %u loop%s", server->worker_count,
                 server->worker_count == 1 ? "" : "s");
        do
            tern_liveness_look(liveness, server);
        while (!asked_to_end(signals, tern_liveness_pause_ms(liveness)));
        tern_log(TERN_LOG_INFO, "stopping");
        tern_notify_say(&liveness->notify, "STOPPING=1");
    }
    tern_listeners_unlink(&server->listeners);
    stop_loops(server);
    tern_helpers_stop(server);
    tern_listeners_close(&server->listeners);
    tern_housekeeping_stop(&housekeeping);
    for (unsigned i = 0; i < server->worker_count; i++)
        tern_worker_free(&server->workers[i]);
    tern_helpers_free(server);
    free(server->workers);
    return code;
}

static int run(struct tern_server *server, const struct options *options, int signals,
               struct tern_liveness *liveness, struct tern_error *error)
{
    struct tern_arena *arena = malloc(sizeof *arena);
    int code;

    if (arena == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory to start");
    code = wait_for_arena(options->run_dir, signals, &liveness->notify, arena, error);
    if (code < 0) {
        free(arena);
        return code;
    }
    code = wait_for_settings(arena, signals, &server->settings, error);
    if (code == 0)
        code = wait_for_board(options->run_dir, signals, &server->board, error);
    if (code < 0) {
        tern_arena_close(arena);
        free(arena);
        return code;
    }
    server->run_dir = options->run_dir;
    server->no_stages = options->no_stages;
    server->no_hits = options->no_hits;
    server->worker_count = server->settings.workers;
    server->helper_count = server->settings.helpers;
    server->search_turn_ns = TERN_SEARCH_TURN_NS;
    server->gather_ns = TERN_GATHER_NS;
    code = tern_seat_claim(&server->board, arena, server->worker_count, &server->seat_index, error);
    if (code == 0) {
        server->seat = &server->board.board->seats[server->seat_index];
        code = serve(server, arena, options->backend, signals, liveness, error);
    } else {
        tern_arena_close(arena);
        free(arena);
    }
    tern_board_close(&server->board);
    return code;
}

int main(int count, char **arguments)
{
    static struct tern_server server;
    static struct tern_liveness liveness;
    struct options options;
    struct tern_error error = {0};
    int signals, code = parse_options(count, arguments, &options);

    if (code >= 0)
        return code;
    signals = open_signals();
    if (signals < 0) {
        tern_log(TERN_LOG_ERROR, "cannot receive signals: %s", strerror(errno));
        return EXIT_REFUSED;
    }
    raise_descriptor_limit();
    tern_notify_open(&liveness.notify);
    code = run(&server, &options, signals, &liveness, &error);
    tern_notify_close(&liveness.notify);
    close(signals);
    if (code < 0 && code != TERN_ECLOSED) {
        tern_log(TERN_LOG_ERROR, "%s", error.message);
        return EXIT_REFUSED;
    }
    tern_log(TERN_LOG_INFO, "stopped");
    return EXIT_OK;
}
