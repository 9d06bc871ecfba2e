#include "shared/token.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int tern_token_check_length(const char *what, size_t length, struct tern_error *error)
{
    if (length >= TERN_TOKEN_MIN && length <= TERN_TOKEN_MAX)
        return 0;
    return tern_error_set(error, TERN_EINVAL,
                          "%.300s holds %s than %u bytes; a token has %u to %u (for instance: "
                          "openssl rand -hex 32)",
                          what, length < TERN_TOKEN_MIN ? "less" : "more",
                          length < TERN_TOKEN_MIN ? TERN_TOKEN_MIN : TERN_TOKEN_MAX, TERN_TOKEN_MIN,
                          TERN_TOKEN_MAX);
}

static int read_line(int fd, const char *path, char token[TERN_TOKEN_MAX + 1],
                     struct tern_error *error)
{
    char bytes[TERN_TOKEN_MAX + 3]; /* what is too long shows */
    struct stat status;
    ssize_t got;
    size_t length;
    int result;

    if (fstat(fd, &status) == 0 && !S_ISREG(status.st_mode))
        return tern_error_set(error, TERN_EINVAL, "%.300s is no regular file", path);
    got = read(fd, bytes, sizeof bytes);
    if (got < 0)
        return tern_error_system(error, errno, "cannot read %.300s", path);
    length = (size_t)got;
    if (length > 0 && bytes[length - 1] == '\n')
        length--;
    if (length > 0 && bytes[length - 1] == '\r')
        length--;
    result = tern_token_check_length(path, length, error);
    if (result == 0 && (memchr(bytes, '\0', length) != NULL || memchr(bytes, '\n', length) != NULL))
        result = tern_error_set(error, TERN_EINVAL, "%.300s is not one line of text", path);
    if (result == 0) {
        memcpy(token, bytes, length);
        token[length] = '\0';
    }
    explicit_bzero(bytes, sizeof bytes);
    return result;
}

int tern_token_read_file(const char *path, char token[TERN_TOKEN_MAX + 1], struct tern_error *error)
{
    /* Not blocking: a FIFO in place of a file is an error, not a hang. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int result;

    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %.300s", path);
    result = read_line(fd, path, token, error);
    close(fd);
    return result;
}

int tern_token_choose(const char *path, char token[TERN_TOKEN_MAX + 1], struct tern_error *error)
{
    const char *given = getenv("TERN_TOKEN");

    if (path != NULL)
        return tern_token_read_file(path, token, error);
    if (given != NULL && strlen(given) > TERN_TOKEN_MAX)
        return tern_token_check_length("TERN_TOKEN", strlen(given), error);
    snprintf(token, TERN_TOKEN_MAX + 1, "%s", given != NULL ? given : "");
    return 0;
}
