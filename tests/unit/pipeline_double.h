/* Stands in for the pipeline behind the control API: it publishes numbers, and can be told to fail
 * or to take its time. Defines every function of controlplane/apply.h. */
#ifndef TERN_TESTS_PIPELINE_DOUBLE_H
#define TERN_TESTS_PIPELINE_DOUBLE_H

#include "controlplane/apply.h"

#include <pthread.h>

struct pipeline_double {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t generation;
    unsigned applies, restores;
    int fail;       /* the code of the next applies, 0: publish */
    bool unchanged; /* dry runs report no new bytes */
    bool hold;      /* applies wait */
    bool holding;
    uint64_t restored;
    const char *state_dir; /* where lists of generations are looked for */
};
extern struct pipeline_double pipeline_double;

void pipeline_double_reset(void);
void pipeline_double_hold(bool hold);
/* Until an apply waits. */
void pipeline_double_await_holding(void);

#endif
