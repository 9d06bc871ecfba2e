/* Answers in bulk: matched to their requests, checked, counted. */
#ifndef TERN_LOAD_ANSWER_H
#define TERN_LOAD_ANSWER_H

#include "perf/load/connection.h"

/* Takes every whole answer from in_start on; `used` is how many bytes they had. False when the
 * other side does not speak the protocol. */
bool load_answers_take(struct load_run *run, struct load_connection *connection, uint64_t now_ns,
                       size_t *used);

#endif
