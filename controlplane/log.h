/* What the control plane's programs tell the operator: one line on standard error per event. */
#ifndef TERN_LOG_H
#define TERN_LOG_H

#include "shared/log_line.h"

/* "text" or "json"; false for anything else. */
bool tern_log_parse_format(const char *text, enum tern_log_format *format);

/* Call once, before the first line. `process` must outlive all logging. */
void tern_log_setup(const char *process, enum tern_log_format format);

/* Thread-safe. */
void tern_control_log(enum tern_log_level level, const char *format, ...) TERN_PRINTF(2, 3);

#endif
