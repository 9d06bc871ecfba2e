#include "dataplane/log.h"

#include "dataplane/clock.h"

#include <stdarg.h>
#include <unistd.h>

static bool use_json;

void tern_log_use_json(bool json)
{
    use_json = json;
}

static const char *level_name(enum tern_log_level level)
{
    switch (level) {
    case TERN_LOG_INFO:
        return "info";
    case TERN_LOG_WARNING:
        return "warning";
    case TERN_LOG_ERROR:
        break;
    }
    return "error";
}

/* Appends `text` to `line` with what JSON wants escaped; cuts it where the line is full. */
static size_t append_escaped(char *line, size_t used, size_t size, const char *text)
{
    for (; *text != '\0' && used + 8 < size; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte == '"' || byte == '\\') {
            line[used++] = '\\';
            line[used++] = (char)byte;
        } else if (byte < 0x20) {
            used += (size_t)snprintf(line + used, size - used, "\\u%04x", byte);
        } else {
            line[used++] = (char)byte;
        }
    }
    return used;
}

void tern_log(enum tern_log_level level, const char *format, ...)
{
    char message[1024];
    char line[2200];
    size_t used;
    va_list arguments;
    uint64_t now_ms = tern_clock_ns(CLOCK_REALTIME) / 1000000;
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    char at[40];

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    gmtime_r(&seconds, &utc);
    used = strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(at + used, sizeof at - used, ".%03uZ", (unsigned)(now_ms % 1000));

    if (use_json) {
        used =
            (size_t)snprintf(line, sizeof line,
                             "{\"at\":\"%s\",\"level\":\"%s\",\"process\":\"ternd\",\"message\":\"",
                             at, level_name(level));
        used = append_escaped(line, used, sizeof line - 4, message);
        used += (size_t)snprintf(line + used, sizeof line - used, "\"}\n");
    } else {
        used = (size_t)snprintf(line, sizeof line, "%s ternd %s: %s\n", at, level_name(level),
                                message);
    }
    /* One write a line, so that lines of several threads do not mix. There is nobody to tell when
     * standard error is gone. */
    if (write(STDERR_FILENO, line, used) < 0)
        return;
}
