#include "shared/error.h"

#undef tern_error_set
#undef tern_error_system

#include <errno.h>
#include <stdarg.h>

const char *tern_error_text(int code)
{
    switch (code) {
    case 0:
        return "success";
#define X(name, value, text)                                                                       \
    case name:                                                                                     \
        return text;
        TERN_ERRORS(X)
#undef X
    default:
        return "unknown error";
    }
}

int tern_error_set(struct tern_error *error, int code, const char *format, ...)
{
    assert(code < 0);
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->code = code;
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return code;
}

static int code_of_errno(int saved_errno)
{
    switch (saved_errno) {
    case ENOMEM:
        return TERN_ENOMEM;
    case ENOSPC:
    case EDQUOT:
        return TERN_ENOSPC;
    case ENOENT:
    case ENOTDIR:
        return TERN_ENOENT;
    case EEXIST:
        return TERN_EEXIST;
    case EBUSY:
    case EADDRINUSE:
        return TERN_EBUSY;
    case EACCES:
    case EPERM:
    case EROFS:
        return TERN_EACCES;
    case EAGAIN:
        return TERN_EAGAIN;
    case ETIMEDOUT:
        return TERN_ETIMEDOUT;
    case ECONNRESET:
    case EPIPE:
        return TERN_ECLOSED;
    case ECONNREFUSED:
        return TERN_EUNREACHABLE;
    case EINVAL:
        return TERN_EINVAL;
    case ENOSYS:
    case EOPNOTSUPP:
        return TERN_ENOTSUP;
    case EMFILE:
    case ENFILE:
        return TERN_ELIMIT;
    default:
        return TERN_EIO;
    }
}

int tern_error_system(struct tern_error *error, int saved_errno, const char *format, ...)
{
    int code = code_of_errno(saved_errno);

    if (error != NULL) {
        va_list arguments;
        int used;

        va_start(arguments, format);
        used = vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        error->code = code;
        if (used >= 0 && (size_t)used < sizeof error->message)
            snprintf(error->message + used, sizeof error->message - (size_t)used, ": %s",
                     strerror(saved_errno));
    }
    return code;
}
