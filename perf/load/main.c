/* tern-load: measures a server, and is the peers it is measured against. */
#include "perf/load/options.h"
#include "perf/load/run.h"
#include "perf/load/source.h"

#include <signal.h>

static atomic_bool stopped;

static void on_signal(int number)
{
    (void)number;
    atomic_store_explicit(&stopped, true, memory_order_relaxed);
}

void load_stop_on_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a wait must end */

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool load_stopped(void)
{
    return atomic_load_explicit(&stopped, memory_order_relaxed);
}

void load_stop_wait(void)
{
    sigset_t these, before;

    /* Blocked while it is looked for, so that none comes between the look and the sleep. */
    sigemptyset(&these);
    sigaddset(&these, SIGINT);
    sigaddset(&these, SIGTERM);
    sigprocmask(SIG_BLOCK, &these, &before);
    while (!load_stopped())
        sigsuspend(&before);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static int write_frames(const struct load_options *options)
{
    struct load_source source;
    struct tern_error error = {0};
    int code = load_source_open(options, &source, &error);

    if (code == 0) {
        code = load_source_write(&source, options->out, &error);
        if (code == 0)
            printf("%u frames\n", source.count);
        load_source_free(&source);
    }
    if (code != 0)
        fprintf(stderr, "tern-load: %s\n", error.message);
    return code == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
    struct load_options options;

    if (!load_options_parse(argc, argv, &options))
        return 2;
    if (strcmp(options.command, "run") == 0)
        return load_run(&options);
    if (strcmp(options.command, "frames") == 0)
        return write_frames(&options);
    if (strcmp(options.command, "idle") == 0)
        return load_idle(&options);
    if (strcmp(options.command, "echo") == 0)
        return load_echo(&options);
    return load_fill(&options);
}
