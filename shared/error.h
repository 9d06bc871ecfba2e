/* Error codes. Functions return 0 or a negative TERN_E*; out-parameters stay untouched on failure.
 * Where a bare code would leave the reader guessing, the function also takes a `struct tern_error`
 * (may be NULL) and writes what went wrong, where, and what was expected. */
#ifndef TERN_ERROR_H
#define TERN_ERROR_H

#include "shared/base.h"

#define TERN_ERRORS(X)                                                                             \
    X(TERN_EINVAL, -1, "invalid argument or malformed input")                                      \
    X(TERN_ENOMEM, -2, "out of memory")                                                            \
    X(TERN_ENOSPC, -3, "out of space")                                                             \
    X(TERN_ENOENT, -4, "not found")                                                                \
    X(TERN_EEXIST, -5, "already exists")                                                           \
    X(TERN_EBUSY, -6, "in use")                                                                    \
    X(TERN_ECORRUPT, -7, "corrupt")                                                                \
    X(TERN_EABI, -8, "made by an incompatible build")                                              \
    X(TERN_EIO, -9, "input/output error")                                                          \
    X(TERN_ELIMIT, -10, "over a limit")                                                            \
    X(TERN_EREFUSED, -11, "refused")                                                               \
    X(TERN_ETIMEDOUT, -12, "timed out")                                                            \
    X(TERN_ECLOSED, -13, "closed by the other side")                                               \
    X(TERN_ENOTSUP, -14, "not supported")                                                          \
    X(TERN_EACCES, -15, "permission denied")                                                       \
    X(TERN_EAGAIN, -16, "try again")                                                               \
    X(TERN_EUNREACHABLE, -17, "not reachable")                                                     \
    X(TERN_ECANCELLED, -18, "cancelled")

enum tern_error_code {
#define X(name, value, text) name = value,
    TERN_ERRORS(X)
#undef X
};

struct tern_error {
    int code;
    char message[512];
};

/* The fixed English text of a code ("out of space"); "success" for 0, "unknown error" for others.
 */
const char *tern_error_text(int code);

/* Writes `code` and a formatted message into `error` (NULL: nothing) and returns `code`, so that a
 * failing function ends in one line: return tern_error_set(error, TERN_ENOSPC, "…", …); */
int tern_error_set(struct tern_error *error, int code, const char *format, ...) TERN_PRINTF(3, 4);

/* Like tern_error_set for a failed system call: picks the code from `saved_errno` and appends
 * strerror. */
int tern_error_system(struct tern_error *error, int saved_errno, const char *format, ...)
    TERN_PRINTF(3, 4);

#ifdef __clang_analyzer__
/* The analyser sees one file at a time; this tells it that these never return 0. */
#define tern_error_set(error, code, ...) ((void)(tern_error_set)(error, code, __VA_ARGS__), (code))
#define tern_error_system(error, saved_errno, ...)                                                 \
    ((void)(tern_error_system)(error, saved_errno, __VA_ARGS__), TERN_EIO)
#endif

#endif
