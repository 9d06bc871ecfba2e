/* From "tcp://host:port" or "unix:///path" to a connected, non-blocking socket. */
#include "clients/c/client.h"
#include "shared/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HOST_MAX 255

static int wait_connected(int fd, uint64_t deadline_ns)
{
    for (;;) {
        struct pollfd pollfd = {.fd = fd, .events = POLLOUT};
        uint64_t now = tern_clock_now_ns();
        int ready;

        if (now >= deadline_ns)
            return ETIMEDOUT;
        ready = poll(&pollfd, 1, (int)tern_min_u64((deadline_ns - now) / 1000000 + 1, INT32_MAX));
        if (ready < 0 && errno != EINTR)
            return errno;
        if (ready > 0) {
            int failure = 0;
            socklen_t length = sizeof failure;

            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0)
                return errno;
            return failure;
        }
    }
}

/* Returns 0 and the socket, or an errno. */
static int connect_one(int family, const struct sockaddr *address, socklen_t length,
                       uint64_t deadline_ns, int *connected)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int failure = 0;

    if (fd < 0)
        return errno;
    if (connect(fd, address, length) != 0)
        /* A full backlog of a Unix socket is EAGAIN, and poll would not wait for it. */
        failure = errno == EINPROGRESS || errno == EINTR ? wait_connected(fd, deadline_ns) : errno;
    if (failure != 0) {
        close(fd);
        return failure;
    }
    if (family != AF_UNIX) {
        int on = 1;

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    *connected = fd;
    return 0;
}

static int refuse_address(const char *address, struct tern_error *error)
{
    return tern_error_set(error, TERN_EINVAL,
                          "address \"%s\": expected tcp://host:port or unix:///path", address);
}

static int report(const char *address, int failure, struct tern_error *error)
{
    if (failure == ETIMEDOUT)
        return tern_error_set(error, TERN_ETIMEDOUT, "%s: connecting timed out", address);
    return tern_error_set(error, failure == EACCES ? TERN_EACCES : TERN_EUNREACHABLE, "%s: %s",
                          address, strerror(failure));
}

static int dial_unix(const char *address, const char *path, uint64_t deadline_ns, int *fd,
                     struct tern_error *error)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    int failure;

    if (length == 0)
        return refuse_address(address, error);
    if (length >= sizeof name.sun_path)
        return tern_error_set(error, TERN_EINVAL,
                              "address \"%s\": a socket's path is at most %zu bytes", address,
                              sizeof name.sun_path - 1);
    memcpy(name.sun_path, path, length);
    failure = connect_one(AF_UNIX, (struct sockaddr *)&name, sizeof name, deadline_ns, fd);
    return failure == 0 ? 0 : report(address, failure, error);
}

static int dial_tcp(const char *address, const char *rest, uint64_t deadline_ns, int *fd,
                    struct tern_error *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found, *each;
    const char *colon = strrchr(rest, ':');
    char host[HOST_MAX + 1];
    size_t length;
    char *end;
    long port;
    int failure = ECONNREFUSED;

    if (colon == NULL)
        return refuse_address(address, error);
    length = (size_t)(colon - rest);
    port = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || colon[1] < '0' || colon[1] > '9' || port < 1 ||
        port > 65535)
        return refuse_address(address, error);
    if (length >= 2 && rest[0] == '[' && rest[length - 1] == ']') {
        rest++;
        length -= 2;
    } else if (memchr(rest, ':', length) != NULL) {
        return refuse_address(address, error);
    }
    if (length == 0 || length > HOST_MAX)
        return refuse_address(address, error);
    memcpy(host, rest, length);
    host[length] = '\0';

    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return tern_error_set(error, TERN_EUNREACHABLE, "%s: the host's name does not resolve",
                              address);
    for (each = found; each != NULL; each = each->ai_next) {
        failure = connect_one(each->ai_family, each->ai_addr, each->ai_addrlen, deadline_ns, fd);
        if (failure == 0)
            break;
    }
    freeaddrinfo(found);
    return failure == 0 ? 0 : report(address, failure, error);
}

int tern_client_dial(const char *address, uint64_t deadline_ns, int *fd, struct tern_error *error)
{
    if (strncmp(address, "unix://", 7) == 0)
        return dial_unix(address, address + 7, deadline_ns, fd, error);
    if (strncmp(address, "tcp://", 6) == 0)
        return dial_tcp(address, address + 6, deadline_ns, fd, error);
    return refuse_address(address, error);
}
