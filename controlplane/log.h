/* What the control plane's programs tell the operator: one line on standard error per event,
 * written with one write(2), so that lines of several threads and processes do not mix. */
#ifndef TERN_LOG_H
#define TERN_LOG_H

#include "shared/base.h"

enum tern_log_level {
    TERN_LOG_INFO,
    TERN_LOG_WARNING,
    TERN_LOG_ERROR,
};

enum tern_log_format {
    TERN_LOG_TEXT, /* 2026-11-22T08:15:04.123Z tern-control[42] info: message */
    TERN_LOG_JSON, /* {"time":…,"process":…,"pid":…,"level":…,"message":…} */
};

/* "text" or "json"; false for anything else. */
bool tern_log_parse_format(const char *text, enum tern_log_format *format);

/* Call once, before the first line. `process` must outlive all logging. */
void tern_log_setup(const char *process, enum tern_log_format format);

/* Thread-safe. Control characters in the message are replaced, so that no source of a message can
 * forge a line. */
void tern_control_log(enum tern_log_level level, const char *format, ...) TERN_PRINTF(2, 3);

/* "2026-11-22T08:15:04.123Z" of µs since 1970. */
#define TERN_TIME_TEXT 32
void tern_time_format(uint64_t at_us, char text[TERN_TIME_TEXT]);

#endif
