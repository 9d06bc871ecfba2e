#include "dataplane/log.h"

#include "shared/notify.h"

static struct tern_log_form form = {.process = "ternd"};

void tern_log_setup_form(bool json)
{
    form.format = json ? TERN_LOG_JSON : TERN_LOG_TEXT;
    form.to_journal = tern_notify_is_journal();
}

void tern_log(enum tern_log_level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    tern_log_line(&form, level, format, arguments);
    va_end(arguments);
}
