#include "controlplane/log.h"

#include "shared/buffer.h"
#include "shared/clock.h"
#include "shared/notify.h"

#include <stdarg.h>
#include <time.h>
#include <unistd.h>

static const char *log_process = "tern";
static enum tern_log_format log_format = TERN_LOG_TEXT;
static bool log_to_journal;

bool tern_log_parse_format(const char *text, enum tern_log_format *format)
{
    if (strcmp(text, "text") == 0)
        *format = TERN_LOG_TEXT;
    else if (strcmp(text, "json") == 0)
        *format = TERN_LOG_JSON;
    else
        return false;
    return true;
}

void tern_log_setup(const char *process, enum tern_log_format format)
{
    log_process = process;
    log_format = format;
    log_to_journal = tern_notify_is_journal();
}

void tern_time_format(uint64_t at_us, char text[TERN_TIME_TEXT])
{
    time_t seconds = (time_t)(at_us / 1000000);
    struct tm parts;
    size_t used;

    if (gmtime_r(&seconds, &parts) == NULL) {
        snprintf(text, TERN_TIME_TEXT, "?");
        return;
    }
    used = strftime(text, TERN_TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + used, TERN_TIME_TEXT - used, ".%03uZ", (unsigned)(at_us / 1000 % 1000));
}

/* Written by hand rather than through tern_buffer: a message about memory must not need any. */
void tern_control_log(enum tern_log_level level, const char *format, ...)
{
    static const char *const levels[] = {"info", "warning", "error"};
    static const char *const priorities[] = {"<6>", "<4>", "<3>"}; /* of syslog */
    const char *priority = log_to_journal ? priorities[level] : "";
    char message[2048], line[3 * sizeof message], time[TERN_TIME_TEXT];
    struct tern_buffer json = {0};
    va_list arguments;
    int length;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    tern_time_format(tern_clock_wall_us(), time);
    if (log_format == TERN_LOG_JSON &&
        tern_buffer_json_string(&json, message, strlen(message)) == 0) {
        length = snprintf(line, sizeof line,
                          "%s{\"time\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"level\":\"%s\","
                          "\"message\":%.*s}\n",
                          priority, time, log_process, (int)getpid(), levels[level],
                          (int)json.length, (const char *)json.data);
    } else {
        for (char *c = message; *c != '\0'; c++)
            if ((unsigned char)*c < ' ' || *c == 0x7f)
                *c = '?';
        length = snprintf(line, sizeof line, "%s%s %s[%d] %s: %s\n", priority, time, log_process,
                          (int)getpid(), levels[level], message);
    }
    tern_buffer_free(&json);
    if (length > 0) {
        size_t bytes = tern_min_u64((uint64_t)length, sizeof line - 1);

        line[bytes - 1] = '\n';
        /* Nobody is left to be told when standard error cannot be written. */
        if (write(STDERR_FILENO, line, bytes) < 0)
            return;
    }
}
