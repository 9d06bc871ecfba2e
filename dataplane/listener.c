#include "dataplane/listener.h"

#include "dataplane/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096
#define IN_USE_WAIT_NS                                                                             \
    2000000000ull /* a killed process's ring may hold its sockets a little longer */
#define IN_USE_PAUSE_MS 5

union socket_name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

/* Splits "tcp://HOST:PORT" or "unix://PATH" into a socket address. */
static int parse_address(const char *address, union socket_name *name, socklen_t *length,
                         struct tern_error *error)
{
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon;
    char *end;
    unsigned long port;

    memset(name, 0, sizeof *name);
    if (strncmp(address, "unix://", 7) == 0) {
        size_t path_length = strlen(address + 7);

        if (path_length == 0 || path_length + 32 >= sizeof name->local.sun_path)
            return tern_error_set(error, TERN_EINVAL, "%s: a socket's path has 1 to %zu bytes",
                                  address, sizeof name->local.sun_path - 33);
        name->local.sun_family = AF_UNIX;
        memcpy(name->local.sun_path, address + 7, path_length + 1);
        *length = sizeof name->local;
        return 0;
    }
    if (strncmp(address, "tcp://", 6) != 0)
        return tern_error_set(error, TERN_EINVAL, "%s: expected tcp://ADDRESS:PORT or unix://PATH",
                              address);
    address += 6;
    colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= sizeof host)
        return tern_error_set(error, TERN_EINVAL, "tcp://%s: expected ADDRESS:PORT", address);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    errno = 0;
    port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || errno != 0 || port == 0 || port > 65535)
        return tern_error_set(error, TERN_EINVAL, "tcp://%s: a port is 1 to 65535", address);
    if (host[0] == '[') {
        size_t host_length = strlen(host);

        if (host[host_length - 1] == ']') {
            host[host_length - 1] = '\0';
            name->v6.sin6_family = AF_INET6;
            name->v6.sin6_port = htons((uint16_t)port);
            *length = sizeof name->v6;
            if (inet_pton(AF_INET6, host + 1, &name->v6.sin6_addr) == 1)
                return 0;
        }
    } else {
        name->v4.sin_family = AF_INET;
        name->v4.sin_port = htons((uint16_t)port);
        *length = sizeof name->v4;
        if (inet_pton(AF_INET, host, &name->v4.sin_addr) == 1)
            return 0;
    }
    return tern_error_set(error, TERN_EINVAL, "tcp://%s: not a numeric address", address);
}

/* True when another live process holds a seat on our board: it serves the same run directory. */
static bool has_sibling(const struct tern_board_map *board, unsigned own_seat, uint32_t pid)
{
    for (unsigned i = 0; i < TERN_SEATS_MAX; i++) {
        if (i != own_seat && tern_seat_is_live(board, i) &&
            (pid == 0 || board->board->seats[i].pid == pid))
            return true;
    }
    return false;
}

static int open_socket(int family, bool nonblocking)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
}

static int open_tcp(const union socket_name *name, socklen_t length, bool nonblocking, bool shared)
{
    int one = 1;
    int fd = open_socket(name->any.sa_family, nonblocking);

    if (fd < 0)
        return -1;
    /* Accepted sockets inherit TCP_NODELAY: a reply is one write and must not wait for another. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) ||
        (name->any.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0) ||
        bind(fd, &name->any, length) < 0 || listen(fd, BACKLOG) < 0) {
        int saved_errno = errno;

        close(fd);
        errno = saved_errno;
        return -1;
    }
    return fd;
}

/* Every loop listens on a socket of its own (SO_REUSEPORT) and the kernel spreads the clients. That
 * would also let two unrelated instances share a port by mistake, so the address is first taken
 * alone. */
static int listen_tcp(struct tern_listener *listener, const union socket_name *name,
                      socklen_t length, unsigned loop_count, bool nonblocking,
                      const struct tern_board_map *board, unsigned own_seat,
                      struct tern_error *error)
{
    uint64_t until_ns = tern_clock_now_ns() + IN_USE_WAIT_NS;

    for (;;) {
        int fd = open_tcp(name, length, nonblocking, false);

        if (fd >= 0) {
            close(fd);
            break;
        }
        if (errno != EADDRINUSE)
            return tern_error_system(error, errno, "cannot listen on %s", listener->address);
        if (has_sibling(board, own_seat, 0))
            break;
        if (tern_clock_now_ns() >= until_ns)
            return tern_error_set(error, TERN_EBUSY, "%s is in use by another process",
                                  listener->address);
        poll(NULL, 0, IN_USE_PAUSE_MS);
    }
    for (unsigned i = 0; i < loop_count; i++) {
        listener->fds[i] = open_tcp(name, length, nonblocking, true);
        if (listener->fds[i] < 0)
            return tern_error_system(error, errno, "cannot listen on %s", listener->address);
        listener->fd_count++;
    }
    return 0;
}

/* The process that answers at a Unix socket's path, 0 when nobody does. */
static uint32_t answering_pid(const union socket_name *name, socklen_t length)
{
    struct ucred peer = {0};
    socklen_t peer_length = sizeof peer;
    int fd = open_socket(AF_UNIX, true);

    if (fd < 0)
        return 0;
    /* EAGAIN: its backlog is full, so somebody is there, though unnamed. */
    if (connect(fd, &name->any, length) < 0)
        peer.pid = errno == EAGAIN ? -1 : 0;
    else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_length) < 0)
        peer.pid = -1;
    close(fd);
    return (uint32_t)peer.pid;
}

/* Bound under a temporary name and renamed: the path always leads to a listening socket. */
static int listen_unix(struct tern_listener *listener, const union socket_name *name,
                       socklen_t length, bool nonblocking, const struct tern_board_map *board,
                       unsigned own_seat, struct tern_error *error)
{
    union socket_name aside = *name;
    const char *path = name->local.sun_path;
    uint64_t until_ns = tern_clock_now_ns() + IN_USE_WAIT_NS;
    struct stat status;
    uint32_t pid;
    int fd, code;

    if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
        return tern_error_set(error, TERN_EEXIST, "%s exists and is not a socket", path);
    while ((pid = answering_pid(name, length)) != 0 && !has_sibling(board, own_seat, pid)) {
        if (tern_clock_now_ns() >= until_ns)
            return tern_error_set(error, TERN_EBUSY, "%s is in use by process %d",
                                  listener->address, (int)pid);
        poll(NULL, 0, IN_USE_PAUSE_MS);
    }
    fd = open_socket(AF_UNIX, nonblocking);
    if (fd < 0)
        return tern_error_system(error, errno, "cannot make a socket for %s", listener->address);
    snprintf(aside.local.sun_path, sizeof aside.local.sun_path, "%.*s.%d.new",
             (int)sizeof aside.local.sun_path - 32, path, (int)getpid());
    unlink(aside.local.sun_path);
    if (bind(fd, &aside.any, length) < 0 || listen(fd, BACKLOG) < 0 ||
        lstat(aside.local.sun_path, &status) < 0 || rename(aside.local.sun_path, path) < 0) {
        code = tern_error_system(error, errno, "cannot listen on %s", listener->address);
        unlink(aside.local.sun_path);
        close(fd);
        return code;
    }
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    listener->fds[0] = fd;
    listener->fd_count = 1;
    return 0;
}

int tern_listeners_open(struct tern_listeners *listeners, const struct tern_settings *settings,
                        unsigned loop_count, bool nonblocking, const struct tern_board_map *board,
                        unsigned own_seat, struct tern_error *error)
{
    int code = 0;

    memset(listeners, 0, sizeof *listeners);
    for (unsigned i = 0; i < settings->listen_count && code == 0; i++) {
        struct tern_listener *listener = &listeners->all[listeners->count++];
        union socket_name name;
        socklen_t length = 0;

        snprintf(listener->address, sizeof listener->address, "%s", settings->listen[i]);
        code = parse_address(listener->address, &name, &length, error);
        if (code < 0)
            break;
        listener->is_unix = name.any.sa_family == AF_UNIX;
        code = listener->is_unix
                   ? listen_unix(listener, &name, length, nonblocking, board, own_seat, error)
                   : listen_tcp(listener, &name, length, loop_count, nonblocking, board, own_seat,
                                error);
    }
    if (code < 0) {
        tern_listeners_unlink(listeners);
        tern_listeners_close(listeners);
    }
    return code;
}

void tern_listeners_unlink(struct tern_listeners *listeners)
{
    for (unsigned i = 0; i < listeners->count; i++) {
        struct tern_listener *listener = &listeners->all[i];
        const char *path = listener->address + strlen("unix://");
        struct stat status;

        if (listener->is_unix && listener->fd_count > 0 && lstat(path, &status) == 0 &&
            status.st_dev == listener->device && status.st_ino == listener->inode)
            unlink(path);
    }
}

void tern_listeners_close(struct tern_listeners *listeners)
{
    for (unsigned i = 0; i < listeners->count; i++) {
        struct tern_listener *listener = &listeners->all[i];

        for (unsigned k = 0; k < listener->fd_count; k++)
            close(listener->fds[k]);
        listener->fd_count = 0;
    }
    listeners->count = 0;
}
