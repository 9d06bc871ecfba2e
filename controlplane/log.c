#include "controlplane/log.h"

#include "shared/notify.h"

static struct tern_log_form form = {.process = "tern"};

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
    form = (struct tern_log_form){process, format, tern_notify_is_journal()};
}

void tern_control_log(enum tern_log_level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    tern_log_line(&form, level, format, arguments);
    va_end(arguments);
}
