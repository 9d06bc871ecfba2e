/* Connections that say one thing, hear the answer and are silent from then on. */
#include "perf/load/idle.h"

#include "perf/load/run.h"
#include "perf/load/socket.h"

#include <sys/resource.h>
#include <unistd.h>

void load_descriptors_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int open_one(const struct load_options *options, int *fd, struct tern_error *error)
{
    int code = load_socket_connect(options->target, fd, error);

    if (code != 0)
        return code;
    if (options->protocol == LOAD_TERN && options->token[0] != '\0')
        code = load_socket_introduce(*fd, options->token, error);
    if (code == 0)
        code = options->protocol == LOAD_RESP ? load_socket_ping_resp(*fd, error)
                                              : load_socket_ping(*fd, error);
    if (code != 0)
        close(*fd);
    return code;
}

int load_idle_open(struct load_idle *idle, const struct load_options *options,
                   struct tern_error *error)
{
    idle->fds = calloc(options->idle + 1u, sizeof *idle->fds);
    if (idle->fds == NULL)
        return tern_error_set(error, TERN_ENOMEM, "no memory for idle connections");
    while (idle->count < options->idle) {
        int code = open_one(options, &idle->fds[idle->count], error);

        if (code != 0)
            return code;
        idle->count++;
    }
    return 0;
}

void load_idle_close(struct load_idle *idle)
{
    for (unsigned i = 0; i < idle->count; i++)
        load_socket_abort(idle->fds[i]);
    free(idle->fds);
    *idle = (struct load_idle){0};
}

int load_idle(const struct load_options *options)
{
    struct load_idle idle = {0};
    struct tern_error error = {0};
    int code = load_pin(options->cpu, &error);

    load_descriptors_raise();
    load_stop_on_signals();
    if (code == 0)
        code = load_idle_open(&idle, options, &error);
    if (code == 0) {
        printf("ready %u\n", idle.count);
        fflush(stdout);
        load_stop_wait();
    } else {
        fprintf(stderr, "tern-load: %s\n", error.message);
    }
    load_idle_close(&idle);
    return code == 0 ? 0 : 2;
}
