#include "dataplane/log.h"

#include "dataplane/clock.h"
#include "shared/buffer.h"
#include "shared/notify.h"

#include <stdarg.h>
#include <unistd.h>

static bool use_json, to_journal;

void tern_log_setup_form(bool json)
{
    use_json = json;
    to_journal = tern_notify_is_journal();
}

static void format_time(char text[40])
{
    uint64_t now_ms = tern_clock_ns(CLOCK_REALTIME) / 1000000;
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    size_t used;

    gmtime_r(&seconds, &utc);
    used = strftime(text, 40, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + used, 40 - used, ".%03uZ", (unsigned)(now_ms % 1000));
}

/* The same lines as tern-control's (controlplane/log.c): whoever reads logs reads both. */
void tern_log(enum tern_log_level level, const char *format, ...)
{
    static const char *const levels[] = {"info", "warning", "error"};
    static const char *const priorities[] = {"<6>", "<4>", "<3>"}; /* of syslog */
    const char *priority = to_journal ? priorities[level] : "";
    char message[1024], line[3 * sizeof message], time[40];
    struct tern_buffer json = {0};
    va_list arguments;
    int length;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    format_time(time);
    if (use_json && tern_buffer_json_string(&json, message, strlen(message)) == 0) {
        length = snprintf(line, sizeof line,
                          "%s{\"time\":\"%s\",\"process\":\"ternd\",\"pid\":%d,\"level\":\"%s\","
                          "\"message\":%.*s}\n",
                          priority, time, (int)getpid(), levels[level], (int)json.length,
                          (const char *)json.data);
    } else {
        for (char *c = message; *c != '\0'; c++)
            if ((unsigned char)*c < ' ' || *c == 0x7f)
                *c = '?';
        length = snprintf(line, sizeof line, "%s%s ternd[%d] %s: %s\n", priority, time,
                          (int)getpid(), levels[level], message);
    }
    tern_buffer_free(&json);
    if (length > 0) {
        size_t bytes = tern_min_u64((uint64_t)length, sizeof line - 1);

        line[bytes - 1] = '\n';
        /* One write a line, so that lines of several threads do not mix. There is nobody to tell
         * when standard error is gone. */
        if (write(STDERR_FILENO, line, bytes) < 0)
            return;
    }
}
