#include "shared/log_line.h"

#include "shared/buffer.h"
#include "shared/clock.h"

#include <time.h>
#include <unistd.h>

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

/* The line itself needs no memory: what is said about a lack of it comes out, as text at worst. */
void tern_log_line(const struct tern_log_form *form, enum tern_log_level level, const char *format,
                   va_list arguments)
{
    static const char *const levels[] = {"info", "warning", "error"};
    static const char *const priorities[] = {"<6>", "<4>", "<3>"}; /* of syslog */
    const char *priority = form->to_journal ? priorities[level] : "";
    char message[2048], line[6 * sizeof message + 256], time[TERN_TIME_TEXT]; /* \u00XX */
    struct tern_buffer json = {0};
    int length;

    vsnprintf(message, sizeof message, format, arguments);
    tern_time_format(tern_clock_wall_us(), time);
    if (form->format == TERN_LOG_JSON &&
        tern_buffer_json_string(&json, message, strlen(message)) == 0) {
        length = snprintf(line, sizeof line,
                          "%s{\"time\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"level\":\"%s\","
                          "\"message\":%.*s}\n",
                          priority, time, form->process, (int)getpid(), levels[level],
                          (int)json.length, (const char *)json.data);
    } else {
        for (char *c = message; *c != '\0'; c++)
            if ((unsigned char)*c < ' ' || *c == 0x7f)
                *c = '?';
        length = snprintf(line, sizeof line, "%s%s %s[%d] %s: %s\n", priority, time, form->process,
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
