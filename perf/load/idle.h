/* Connections that say one thing, hear the answer and are silent from then on. */
#ifndef TERN_LOAD_IDLE_H
#define TERN_LOAD_IDLE_H

#include "perf/load/options.h"
#include "shared/error.h"

struct load_idle {
    int *fds;
    unsigned count;
};

/* Opens `options->idle` connections (`idle` zeroed before). Each has had an answer before the next
 * is opened: the server knows all of them. On an error those that are open stay with `idle`. */
int load_idle_open(struct load_idle *idle, const struct load_options *options,
                   struct tern_error *error);
/* Closes them with a reset, which leaves no port waiting behind. */
void load_idle_close(struct load_idle *idle);

/* Descriptors for all of them, when the system lets us. */
void load_descriptors_raise(void);

#endif
