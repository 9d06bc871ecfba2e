/* A line of a log, the same from every process: one event, text or a JSON object. Library code does
 * not log; the processes' own log.h say what they write with this. */
#ifndef TERN_LOG_LINE_H
#define TERN_LOG_LINE_H

#include "shared/base.h"

#include <stdarg.h>

enum tern_log_level {
    TERN_LOG_INFO,
    TERN_LOG_WARNING,
    TERN_LOG_ERROR,
};

enum tern_log_format {
    TERN_LOG_TEXT, /* 2026-11-22T08:15:04.123Z tern-control[42] info: message */
    TERN_LOG_JSON, /* {"time":…,"process":…,"pid":…,"level":…,"message":…} */
};

struct tern_log_form {
    const char *process;
    enum tern_log_format format;
    bool to_journal; /* tern_notify_is_journal: lines begin with their level */
};

/* Writes the line to standard error with one write(2), so that lines of several threads and
 * processes do not mix. Control characters in the message are replaced, so that no source of a
 * message can forge a line; a long one is cut. Thread-safe. */
void tern_log_line(const struct tern_log_form *form, enum tern_log_level level, const char *format,
                   va_list arguments) TERN_PRINTF(3, 0);

/* "2026-11-22T08:15:04.123Z" of µs since 1970. */
#define TERN_TIME_TEXT 32
void tern_time_format(uint64_t at_us, char text[TERN_TIME_TEXT]);

#endif
