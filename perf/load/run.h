#ifndef TERN_LOAD_RUN_H
#define TERN_LOAD_RUN_H

#include "perf/load/options.h"
#include "shared/error.h"

/* Each is one command of tern-load. They return the process's exit code and report on standard
 * error. */
int load_run(const struct load_options *options);
int load_idle(const struct load_options *options);
int load_fill(const struct load_options *options);
int load_echo(const struct load_options *options);
int load_echo_uring(const struct load_options *options, int listener);
int load_echo_epoll(const struct load_options *options, int listener);

/* Set by SIGINT and SIGTERM. */
void load_stop_on_signals(void);
bool load_stopped(void);
/* Sleeps until they come. */
void load_stop_wait(void);

#endif
