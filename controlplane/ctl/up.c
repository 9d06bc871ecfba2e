/* ternctl up: both processes in the foreground, whichever dies is started again. */
#include "controlplane/ctl/command.h"
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/report.h"
#include "controlplane/ctl/seats.h"
#include "controlplane/directory.h"
#include "controlplane/log.h"
#include "shared/clock.h"
#include "shared/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUICK_US         1000000           /* a life shorter than this is a quick death */
#define QUICK_FREE       3                 /* so many in a row are restarted at once */
#define BACKOFF_FIRST_US 100000            /* then this, doubling */
#define BACKOFF_LAST_US  5000000           /* up to this */
#define STOP_US          (10 * 1000000ull) /* to end by themselves */
#define PROBE_US         5000              /* between two looks whether requests are answered */

#define ARGUMENTS_MAX 12

enum { CONTROL, DATA, CHILDREN };

struct child {
    const char *name;
    char path[PATH_MAX];
    const char *arguments[ARGUMENTS_MAX + 1]; /* ended by NULL */
    unsigned argument_count;
    bool resumes; /* tern-control has --resume */
    pid_t pid;    /* 0: not running */
    uint64_t started_us;
    uint64_t restart_us; /* when it is not running */
    unsigned quick_deaths;
};

struct supervisor {
    struct tern_directories directories;
    char config_path[PATH_MAX];
    struct child children[CHILDREN];
    pid_t probe;     /* looks whether requests are answered; 0 when it has said so */
    bool data_waits; /* ternd starts once tern-control has done what the start asks for */
    int signal_fd;
    bool ready;
    bool stopping;
    bool failed; /* the exit code is 1 */
    struct tern_notify notify;
};

static void add_argument(struct child *child, const char *text)
{
    assert(child->argument_count < ARGUMENTS_MAX);
    child->arguments[child->argument_count++] = text;
}

static void add_option(struct child *child, const char *name, const char *value)
{
    add_argument(child, name);
    add_argument(child, value);
}

/* Beside our own binary, else wherever PATH finds it. */
static void find_binary(struct child *child)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    snprintf(child->path, sizeof child->path, "%s", child->name);
    if (length <= 0)
        return;
    self[length] = '\0';
    slash = strrchr(self, '/');
    if (slash == NULL || (size_t)(slash - self) + 2 + strlen(child->name) > sizeof self)
        return;
    strcpy(slash + 1, child->name);
    if (access(self, X_OK) == 0)
        memcpy(child->path, self, strlen(self) + 1);
}

/* In the new process: die with the supervisor, and be deaf to the terminal's signals, which the
 * supervisor forwards in its own order. */
static void begin_child(pid_t parent, int death_signal)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, death_signal);
    if (getppid() != parent)
        _exit(1);
}

static void start_child(struct child *child)
{
    pid_t parent = getpid(), pid = fork();

    child->started_us = tern_clock_now_us();
    if (pid == 0) {
        begin_child(parent, SIGTERM);
        execvp(child->path, (char *const *)(uintptr_t)child->arguments);
        fprintf(stderr, "ternctl: cannot run %s: %s\n", child->path, strerror(errno));
        _exit(127);
    }
    if (pid < 0) {
        tern_control_log(TERN_LOG_ERROR, "cannot start %s: %s", child->name, strerror(errno));
        child->restart_us = child->started_us + BACKOFF_FIRST_US;
        return;
    }
    child->pid = pid;
}

/* Requests that this instance's ternd processes have counted. */
static uint64_t requests_counted(const char *run_dir)
{
    struct tern_seats seats = {0};
    uint64_t requests = 0;

    if (tern_seats_read(run_dir, &seats, NULL) != 0)
        return 0;
    for (unsigned i = 0; i < seats.count; i++)
        requests += seats.items[i].sums->requests;
    tern_seats_free(&seats);
    return requests;
}

/* One PING to a listen address. Whoever answers must be ours: another program, even another tern,
 * may hold that address while our ternd still tries to get it. */
static bool answers(const char *run_dir)
{
    const struct tern_invocation invocation = {.run_dir = run_dir};
    uint64_t before = requests_counted(run_dir);
    struct tern_client *client = NULL;
    struct tern_error error;
    bool answered = false;
    int rc = tern_instance_connect(&invocation, &client, &error);

    /* It wants a token that we have not got: an answer as well. */
    if (rc == TERN_EACCES)
        return requests_counted(run_dir) > before;
    if (rc != 0)
        return false;
    if (tern_client_ping(client, NULL) == 0)
        answered = requests_counted(run_dir) > before;
    tern_client_close(client);
    return answered;
}

/* One look: 0 answered (while ternd waits: the start's work is done), TERN_EAGAIN not yet,
 * TERN_EREFUSED it never will be. */
static int probe_once(const struct supervisor *supervisor, struct tern_error *error)
{
    const char *run_dir = supervisor->directories.run_dir;
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__StatusRequest body = TERN__CONTROL__STATUS_REQUEST__INIT;
    Tern__Control__Reply *reply = NULL;
    int rc = TERN_EAGAIN;

    request.body_case = TERN__CONTROL__REQUEST__BODY_STATUS;
    request.status = &body;
    if (tern_instance_ask(run_dir, &request, PROBE_US * 200, NULL, NULL, &reply, error) != 0)
        return rc;
    if (reply->body_case == TERN__CONTROL__REPLY__BODY_STATUS && !reply->status->starting) {
        const Tern__Control__Status *status = reply->status;

        if (status->generation == 0) {
            rc = tern_error_set(error, TERN_EREFUSED, "%s",
                                status->last_failure != NULL ? status->last_failure->reason
                                                             : "nothing is served");
        } else if (supervisor->data_waits) {
            rc = 0;
        } else if (answers(run_dir)) {
            printf("ready: generation %llu, tern-control %u",
                   (unsigned long long)status->generation, status->pid);
            for (size_t i = 0; i < status->n_seats; i++)
                printf(", ternd %u (%s)", status->seats[i]->pid, status->seats[i]->backend);
            printf(", run directory %s\n", run_dir);
            fflush(stdout);
            rc = 0;
        }
    }
    tern__control__reply__free_unpacked(reply, NULL);
    return rc;
}

/* A process of its own, so that waiting for answers never delays a restart or a signal. */
static void start_probe(struct supervisor *supervisor)
{
    const struct timespec pause = {.tv_nsec = PROBE_US * 1000};
    pid_t parent = getpid(), pid = fork();
    struct tern_error error;
    int rc;

    if (pid != 0) {
        supervisor->probe = pid;
        return;
    }
    begin_child(parent, SIGKILL);
    while ((rc = probe_once(supervisor, &error)) == TERN_EAGAIN)
        nanosleep(&pause, NULL);
    if (rc != 0)
        fprintf(stderr, "ternctl: nothing can be served: %s\n", error.message);
    _exit(rc == 0 ? 0 : 1);
}

static void stop(struct supervisor *supervisor, int signal)
{
    supervisor->stopping = true;
    for (unsigned i = 0; i < CHILDREN; i++)
        if (supervisor->children[i].pid > 0)
            kill(supervisor->children[i].pid, signal);
    if (supervisor->probe > 0)
        kill(supervisor->probe, SIGKILL);
}

static void fail(struct supervisor *supervisor)
{
    if (supervisor->stopping)
        return;
    supervisor->failed = true;
    stop(supervisor, SIGTERM);
}

static void describe_death(char *text, size_t size, int status)
{
    if (WIFSIGNALED(status))
        snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(text, size, "exited with %d", WEXITSTATUS(status));
}

static void child_died(struct supervisor *supervisor, struct child *child, int status)
{
    uint64_t now_us = tern_clock_now_us(), pause_us = 0;
    pid_t pid = child->pid;
    char how[96];

    child->pid = 0;
    if (supervisor->stopping)
        return;
    describe_death(how, sizeof how, status);
    /* What refuses to start will do so again; what was killed will not. */
    if (!supervisor->ready && !WIFSIGNALED(status)) {
        tern_control_log(TERN_LOG_ERROR, "%s (pid %d) %s before anything was served", child->name,
                         (int)pid, how);
        fail(supervisor);
        return;
    }
    child->quick_deaths = now_us - child->started_us < QUICK_US ? child->quick_deaths + 1 : 0;
    if (child->quick_deaths > QUICK_FREE) {
        unsigned doublings = (unsigned)tern_min_u64(child->quick_deaths - QUICK_FREE - 1, 10);

        pause_us = tern_min_u64((uint64_t)BACKOFF_FIRST_US << doublings, BACKOFF_LAST_US);
    }
    /* The configuration of the command line is for the first start: by now another may have been
     * applied, or the file be half edited. */
    if (child == &supervisor->children[CONTROL] && supervisor->ready && !child->resumes) {
        add_argument(child, "--resume");
        child->resumes = true;
    }
    child->restart_us = now_us + pause_us;
    if (pause_us == 0)
        start_child(child);
    tern_control_log(TERN_LOG_WARNING, "%s (pid %d) %s; %s", child->name, (int)pid, how,
                     pause_us == 0 ? "started again" : "starting again after a pause");
}

static void probe_ended(struct supervisor *supervisor, bool answered)
{
    if (supervisor->stopping)
        return;
    if (!answered) {
        fail(supervisor);
    } else if (supervisor->data_waits) {
        supervisor->data_waits = false; /* it is due now */
        start_probe(supervisor);
    } else {
        supervisor->ready = true;
        tern_notify_say(&supervisor->notify, "READY=1");
    }
}

static void reap(struct supervisor *supervisor)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == supervisor->probe) {
            supervisor->probe = 0;
            probe_ended(supervisor, WIFEXITED(status) && WEXITSTATUS(status) == 0);
            continue;
        }
        for (unsigned i = 0; i < CHILDREN; i++)
            if (pid == supervisor->children[i].pid)
                child_died(supervisor, &supervisor->children[i], status);
    }
}

static void take_signals(struct supervisor *supervisor)
{
    struct signalfd_siginfo info;

    while (read(supervisor->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(supervisor);
        else
            /* The second time means now. */
            stop(supervisor, supervisor->stopping ? SIGKILL : SIGTERM);
    }
}

static bool is_alive(const struct supervisor *supervisor)
{
    for (unsigned i = 0; i < CHILDREN; i++)
        if (supervisor->children[i].pid > 0)
            return true;
    return supervisor->probe > 0;
}

/* Starts what is due and says how long nothing else is, in ms. */
static int restart_due(struct supervisor *supervisor)
{
    uint64_t now_us = tern_clock_now_us();
    int wait_ms = -1;

    for (unsigned i = 0; i < CHILDREN; i++) {
        struct child *child = &supervisor->children[i];

        if (i == DATA && supervisor->data_waits)
            continue;
        if (child->pid == 0 && child->restart_us <= now_us)
            start_child(child);
        if (child->pid == 0) {
            int left_ms = (int)((child->restart_us - now_us) / 1000) + 1;

            wait_ms = wait_ms < 0 || left_ms < wait_ms ? left_ms : wait_ms;
        }
    }
    return wait_ms;
}

static void supervise(struct supervisor *supervisor)
{
    uint64_t stop_us = 0;

    /* Not for the children: who ends `up` ends both, and it restarts them itself. */
    tern_notify_open(&supervisor->notify);
    start_probe(supervisor);
    while (!supervisor->stopping || is_alive(supervisor)) {
        struct pollfd polled = {.fd = supervisor->signal_fd, .events = POLLIN};
        int wait_ms;

        if (!supervisor->stopping) {
            wait_ms = restart_due(supervisor);
        } else {
            uint64_t now_us = tern_clock_now_us();

            if (stop_us == 0)
                stop_us = now_us + STOP_US;
            if (now_us >= stop_us) {
                tern_control_log(TERN_LOG_WARNING, "killing what did not end within %llu s",
                                 (unsigned long long)(STOP_US / 1000000));
                stop(supervisor, SIGKILL);
                stop_us = now_us + STOP_US;
            }
            wait_ms = (int)((stop_us - now_us) / 1000) + 1;
        }
        if (poll(&polled, 1, wait_ms) > 0)
            take_signals(supervisor);
    }
}

static int open_signals(struct supervisor *supervisor, struct tern_error *error)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    supervisor->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return supervisor->signal_fd < 0 ? tern_error_system(error, errno, "cannot listen to signals")
                                     : 0;
}

static void plan_children(struct supervisor *supervisor, const struct tern_invocation *invocation)
{
    struct child *control = &supervisor->children[CONTROL], *data = &supervisor->children[DATA];
    const char *log = invocation->log != NULL ? invocation->log : "text";

    control->name = "tern-control";
    add_argument(control, "tern-control");
    add_option(control, "--config", supervisor->config_path);
    add_option(control, "--run-dir", supervisor->directories.run_dir);
    add_option(control, "--state-dir", supervisor->directories.state_dir);
    add_option(control, "--log", log);
    find_binary(control);
    data->name = "ternd";
    add_argument(data, "ternd");
    add_option(data, "--run-dir", supervisor->directories.run_dir);
    add_option(data, "--log", log);
    if (invocation->backend != NULL)
        add_option(data, "--backend", invocation->backend);
    find_binary(data);
}

/* ternd takes its listen addresses and the number of its loops when it starts, from what the arena
 * says then. An arena left by an earlier run with others would mislead it. */
static bool must_wait(const struct tern_config *config, const char *run_dir)
{
    struct tern_instance_arena arena;

    if (tern_instance_read_arena(run_dir, &arena, NULL) != 0 || !arena.has_settings)
        return false; /* ternd itself waits for the first settings */
    if (arena.settings.workers != config->workers || arena.settings.helpers != config->helpers ||
        arena.settings.listen_count != config->listen_count)
        return true;
    for (unsigned i = 0; i < config->listen_count; i++)
        if (strcmp(arena.settings.listen[i], config->listen[i].text) != 0)
            return true;
    return false;
}

/* Everything that can be refused before a process is started. */
static int prepare(struct supervisor *supervisor, const struct tern_invocation *invocation,
                   struct tern_error *error)
{
    struct tern_diagnostics diagnostics = {0};
    struct tern_config *config = NULL;
    const char *path = invocation->arguments[0];
    int lock_fd, rc = 0;

    if (realpath(path, supervisor->config_path) == NULL)
        return tern_error_system(error, errno, "cannot find %s", path);
    if (!tern_ctl_check_config(supervisor->config_path, &config, &diagnostics))
        rc = tern_error_set(error, TERN_EINVAL, "%s: %zu error%s; nothing was started", path,
                            diagnostics.error_count, diagnostics.error_count == 1 ? "" : "s");
    tern_report_diagnostics(&diagnostics);
    if (rc == 0)
        rc = tern_directories_choose(config->instance.text, invocation->run_dir,
                                     invocation->state_dir, &supervisor->directories, error);
    if (rc == 0)
        supervisor->data_waits = must_wait(config, supervisor->directories.run_dir);
    tern_diagnostics_free(&diagnostics);
    tern_config_free(config);
    if (rc == 0)
        rc = tern_directories_make(&supervisor->directories, error);
    /* Held until we end; children do not inherit it. */
    if (rc == 0)
        rc = tern_directory_lock(supervisor->directories.run_dir, TERN_UP_LOCK, "ternctl up",
                                 &lock_fd, error);
    if (rc == 0)
        rc = open_signals(supervisor, error);
    return rc;
}

int tern_ctl_up(const struct tern_invocation *invocation)
{
    struct supervisor *supervisor = calloc(1, sizeof *supervisor);
    enum tern_log_format format = TERN_LOG_TEXT;
    struct tern_error error;
    int code;

    if (supervisor == NULL)
        return TERN_EXIT_REFUSED;
    if (invocation->log != NULL && !tern_log_parse_format(invocation->log, &format)) {
        fprintf(stderr, "ternctl: --log takes text or json, not '%s'\n", invocation->log);
        free(supervisor);
        return TERN_EXIT_USAGE;
    }
    tern_log_setup("ternctl", format);
    umask(0027);
    if (prepare(supervisor, invocation, &error) != 0) {
        fprintf(stderr, "ternctl: %s\n", error.message);
        code = TERN_EXIT_REFUSED;
    } else {
        plan_children(supervisor, invocation);
        supervise(supervisor);
        code = supervisor->failed ? TERN_EXIT_REFUSED : TERN_EXIT_OK;
    }
    tern_directories_free(&supervisor->directories);
    free(supervisor);
    return code;
}
