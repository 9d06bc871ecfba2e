/* What ternd says on standard error, as text or one JSON object a line. Never called on the request
 * path: only main, housekeeping and a loop's start and end write. Thread-safe. */
#ifndef TERN_DATAPLANE_LOG_H
#define TERN_DATAPLANE_LOG_H

#include "shared/log_line.h"

/* Chooses the form of all later lines, and looks whether they go to the journal; call it before
 * other threads start. */
void tern_log_setup_form(bool json);

void tern_log(enum tern_log_level level, const char *format, ...) TERN_PRINTF(2, 3);

#endif
