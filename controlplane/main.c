/* tern-control: configuration in, published out. Options, start and stop; the work is in builder.c
 * (publishing) and api.c (answering). */
#include "controlplane/api.h"
#include "controlplane/builder.h"
#include "controlplane/decisions/drain.h"
#include "controlplane/directory.h"
#include "controlplane/log.h"
#include "shared/background.h"
#include "shared/clock.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_BYTES_DEFAULT                                                                        \
    (4ull << 30)                    /* of a new arena when the configuration cannot be read        \
                                     */
#define STOP_GRACE_US       2000000 /* for a job that is just ending */
#define READING_PATIENCE_MS 250     /* of the API with a history that another program locks */

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2 };

static const char help[] =
    "usage: tern-control [options]\n"
    "\n"
    "Builds and publishes what ternd serves, and answers ternctl on RUN_DIR/control.sock.\n"
    "\n"
    "  --config FILE     apply this configuration at the start; when that fails and nothing is "
    "served,\n"
    "                    the last good generation is published again\n"
    "  --resume          leave alone what is served already (a restart after a crash)\n"
    "  --run-dir DIR     default: /run/tern/INSTANCE, or below $XDG_RUNTIME_DIR for an ordinary "
    "user\n"
    "  --state-dir DIR   default: /var/lib/tern/INSTANCE, or below $XDG_STATE_HOME for an "
    "ordinary\n"
    "                    user; RUN_DIR/state when only --run-dir is given\n"
    "  --log FORMAT      text (default) or json, on standard error\n"
    "  --help, --version\n"
    "\n"
    "INSTANCE is the configuration's. SIGTERM and SIGINT end it; ternd goes on serving.\n"
    "Exit codes: 0 stopped as asked, 1 cannot run, 2 usage.\n";

struct options {
    const char *config, *run_dir, *state_dir;
    bool resume;
};

/* 0 to go on, else the exit code + 1. */
static int parse_options(int argc, char **argv, struct options *options)
{
    enum { CONFIG = 256, RESUME, RUN_DIR, STATE_DIR, LOG, HELP, VERSION };
    static const struct option known[] = {{"config", required_argument, NULL, CONFIG},
                                          {"resume", no_argument, NULL, RESUME},
                                          {"run-dir", required_argument, NULL, RUN_DIR},
                                          {"state-dir", required_argument, NULL, STATE_DIR},
                                          {"log", required_argument, NULL, LOG},
                                          {"help", no_argument, NULL, HELP},
                                          {"version", no_argument, NULL, VERSION},
                                          {0}};
    enum tern_log_format format = TERN_LOG_TEXT;
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case CONFIG:
            options->config = optarg;
            break;
        case RESUME:
            options->resume = true;
            break;
        case RUN_DIR:
            options->run_dir = optarg;
            break;
        case STATE_DIR:
            options->state_dir = optarg;
            break;
        case LOG:
            if (!tern_log_parse_format(optarg, &format)) {
                fprintf(stderr, "tern-control: --log takes text or json, not %s\n", optarg);
                return EXIT_USAGE + 1;
            }
            break;
        case HELP:
            fputs(help, stdout);
            return 1;
        case VERSION:
            puts("tern-control " TERN_VERSION);
            return 1;
        default:
            fputs("tern-control: see tern-control --help\n", stderr);
            return EXIT_USAGE + 1;
        }
    }
    if (optind != argc || (options->config == NULL && options->run_dir == NULL)) {
        fputs(optind != argc ? "tern-control: takes no arguments, only options; see --help\n"
                             : "tern-control: needs --config or --run-dir; see --help\n",
              stderr);
        return EXIT_USAGE + 1;
    }
    tern_log_setup("tern-control", format);
    return 0;
}

/* Everything that is open while tern-control runs, in the order it is opened. */
struct control {
    struct tern_directories directories;
    char *config_path; /* absolute, NULL when not given */
    uint64_t arena_bytes;
    int stop_fd, wake_fd, lock_fd;
    struct tern_store *store;         /* the builder's */
    struct tern_store *reading_store; /* the API's */
    struct tern_drain *drain;
    struct tern_pipeline *pipeline;
    struct tern_collections *collections; /* NULL: vectors cannot be written */
    struct tern_sources *sources;
    struct tern_builder *builder;
    struct tern_api *api;
    uint64_t started_at_us;
    struct tern_notify notify;
};

/* What must be known before anything is opened: the instance's name and the size of a new arena.
 * The start's job reads the configuration again and reports what is wrong with it. */
static int look_at_config(struct control *control, const struct options *options,
                          struct tern_error *error)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    int rc;

    control->arena_bytes = ARENA_BYTES_DEFAULT;
    if (options->config != NULL) {
        control->config_path = realpath(options->config, NULL);
        if (control->config_path == NULL && options->config[0] == '/')
            control->config_path = strdup(options->config);
        if (control->config_path == NULL)
            return tern_error_system(error, errno, "cannot find %s", options->config);
        if (tern_config_read(control->config_path, &config, &diagnostics) == 0)
            control->arena_bytes = config->arena_bytes;
        else if (options->run_dir == NULL)
            tern_control_log(TERN_LOG_ERROR, "%s:%u:%u: %s", control->config_path,
                             diagnostics.items[0].place.line, diagnostics.items[0].place.column,
                             diagnostics.items[0].message);
    }
    rc = tern_directories_choose(config != NULL ? config->instance.text : NULL, options->run_dir,
                                 options->state_dir, &control->directories, error);
    tern_diagnostics_free(&diagnostics);
    tern_config_free(config);
    return rc;
}

static int open_descriptors(struct control *control, struct tern_error *error)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    /* Before any thread starts, so that every one inherits the mask. */
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    control->stop_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control->stop_fd < 0 || control->wake_fd < 0)
        return tern_error_system(error, errno, "cannot make descriptors");
    return 0;
}

static void expect(void *context, const struct tern_view *view)
{
    tern_drain_expect(context, view);
}

/* Publishing does not hang on a log: a full disk is told, and lived with. */
static void start_drain(struct control *control, const char *run_dir, const char *state_dir)
{
    struct tern_error error;

    if (tern_drain_start(run_dir, state_dir, &control->drain, &error) != 0)
        tern_control_log(TERN_LOG_ERROR, "there is no decision log until the next start: %s",
                         error.message);
}

static int open_pipeline(struct control *control, struct tern_error *error)
{
    struct tern_pipeline_options options = {
        .run_dir = control->directories.run_dir,
        .state_dir = control->directories.state_dir,
        .arena_bytes = control->arena_bytes,
        .serving = control->drain != NULL ? expect : NULL,
        .context = control->drain,
    };
    struct tern_pipeline_status status = {0};
    unsigned settled = 0;
    int rc = tern_store_secret(control->store, options.instance_secret, error);

    if (rc == 0)
        rc = tern_store_numbers(control->store, &options.numbers, error);
    if (rc == 0)
        rc = tern_pipeline_open(&options, &control->pipeline, error);
    explicit_bzero(options.instance_secret, sizeof options.instance_secret);
    if (rc != 0)
        return rc;
    tern_pipeline_status(control->pipeline, &status);
    if (status.replaced[0] != '\0')
        tern_control_log(TERN_LOG_WARNING,
                         "the arena found could not be taken over and is replaced: %s",
                         status.replaced);
    rc = tern_store_settle(control->store, status.generation, &settled, error);
    if (rc == 0 && settled != 0)
        tern_control_log(TERN_LOG_WARNING,
                         "settled %u publish%s that a crash had interrupted; generation "
                         "%llu is served",
                         settled, settled == 1 ? "" : "es", (unsigned long long)status.generation);
    return rc;
}

/* What is served goes on being served without the store of vectors: it is told, and what needs it
 * is refused. */
static void start_collections(struct control *control)
{
    const struct tern_graph_host host = tern_pipeline_host(control->pipeline);
    const struct tern_collections_options options = {
        .state_dir = control->directories.state_dir, .host = &host, .wake_fd = control->wake_fd};
    struct tern_error unusable = {0}, error = {0};

    if (tern_collections_start(&options, &control->collections, &unusable) != 0)
        tern_control_log(TERN_LOG_ERROR, "vectors cannot be written until the next start: %s",
                         unusable.message);
    if (tern_pipeline_attach(control->pipeline, control->collections, &unusable, &error) != 0)
        tern_control_log(TERN_LOG_WARNING, "%s: it is built anew from the store", error.message);
}

static int submit_start(struct control *control, bool resume, struct tern_error *error)
{
    struct tern_job *job = calloc(1, sizeof *job);
    int rc;

    if (job == NULL)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    job->kind = TERN_JOB_START;
    job->resume = resume;
    job->uid = (uint32_t)geteuid();
    job->pid = (uint32_t)getpid();
    job->path = control->config_path;
    control->config_path = NULL;
    rc = tern_builder_submit(control->builder, job);
    assert(rc == 0); /* the queue is empty */
    return rc;
}

static int open_all(struct control *control, const struct options *options,
                    struct tern_error *error)
{
    const char *run_dir, *state_dir;
    int rc = open_descriptors(control, error);

    if (rc == 0)
        rc = look_at_config(control, options, error);
    if (rc == 0)
        rc = tern_directories_make(&control->directories, error);
    run_dir = control->directories.run_dir;
    state_dir = control->directories.state_dir;
    if (rc == 0)
        rc = tern_directory_lock(run_dir, TERN_CONTROL_LOCK, "tern-control", &control->lock_fd,
                                 error);
    if (rc == 0)
        rc = tern_store_open(state_dir, &control->store, error);
    if (rc == 0)
        rc = tern_store_open(state_dir, &control->reading_store, error);
    /* The API answers other questions while the history is locked. */
    if (rc == 0)
        tern_store_set_patience(control->reading_store, READING_PATIENCE_MS);
    if (rc == 0)
        start_drain(control, run_dir, state_dir);
    if (rc == 0)
        rc = open_pipeline(control, error);
    if (rc == 0)
        start_collections(control);
    if (rc == 0 &&
        tern_sources_new(tern_clock_now_ns() ^ (uint64_t)getpid(), &control->sources) != 0)
        rc = tern_error_set(error, TERN_ENOMEM, "out of memory");
    if (rc == 0) {
        const struct tern_builder_options builder = {
            .pipeline = control->pipeline,
            .store = control->store,
            .sources = control->sources,
            .collections = control->collections,
            .wake_fd = control->wake_fd,
        };

        rc = tern_builder_start(&builder, &control->builder, error);
    }
    /* The start's job is queued before the socket is there: whoever asks finds it begun. */
    if (rc == 0)
        rc = submit_start(control, options->resume, error);
    if (rc == 0) {
        const struct tern_api_options api = {.directories = &control->directories,
                                             .pipeline = control->pipeline,
                                             .builder = control->builder,
                                             .collections = control->collections,
                                             .store = control->reading_store,
                                             .sources = control->sources,
                                             .drain = control->drain,
                                             .wake_fd = control->wake_fd,
                                             .started_at_us = control->started_at_us,
                                             .notify = &control->notify};

        rc = tern_api_open(&api, &control->api, error);
    }
    return rc;
}

static void close_all(struct control *control)
{
    tern_api_close(control->api);
    if (control->builder != NULL && !tern_builder_stop(control->builder, STOP_GRACE_US)) {
        /* A kill at any instant is safe for arena and history, so this is too; waiting for a build
         * of minutes is not what SIGTERM asks for. */
        tern_control_log(TERN_LOG_WARNING, "stopping in the middle of a build, which is abandoned");
        _exit(0);
    }
    tern_collections_stop(control->collections);
    tern_drain_stop(control->drain);
    if (control->pipeline != NULL)
        tern_pipeline_close(control->pipeline);
    tern_sources_free(control->sources);
    tern_store_close(control->store);
    tern_store_close(control->reading_store);
    tern_directories_free(&control->directories);
    free(control->config_path);
    tern_notify_close(&control->notify);
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct control control = {.stop_fd = -1, .wake_fd = -1, .lock_fd = -1, .notify.fd = -1};
    struct tern_error error = {0};
    int rc = parse_options(argc, argv, &options);

    if (rc != 0)
        return rc - 1;
    umask(0027);
    control.started_at_us = tern_clock_wall_us();
    tern_notify_open(&control.notify);
    rc = open_all(&control, &options, &error);
    if (rc == 0) {
        tern_control_log(TERN_LOG_INFO,
                         "tern-control " TERN_VERSION ", run directory %s, state directory %s",
                         control.directories.run_dir, control.directories.state_dir);
        tern_notify_say(&control.notify, "READY=1\nSTATUS=run directory %s",
                        control.directories.run_dir);
        /* Every request and every acknowledgement passes through this thread. */
        (void)tern_background_stay_prompt();
        tern_api_serve(control.api, control.stop_fd);
        tern_control_log(TERN_LOG_INFO, "stopping");
        tern_notify_say(&control.notify, "STOPPING=1");
    } else {
        tern_control_log(TERN_LOG_ERROR, "%s", error.message);
    }
    close_all(&control);
    return rc == 0 ? 0 : EXIT_REFUSED;
}
