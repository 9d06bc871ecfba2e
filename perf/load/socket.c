#include "perf/load/socket.h"

#include "shared/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_MS 5000

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un path;
};

/* Numeric hosts only: a benchmark that waits for a resolver is none. */
static int parse(const char *text, union any_address *address, socklen_t *length,
                 struct tern_error *error)
{
    const char *rest = text + 6, *colon;
    char host[64];
    long port;
    char *end;

    memset(address, 0, sizeof *address);
    if (strncmp(text, "unix://", 7) == 0 && text[7] != '\0') {
        if (strlen(text + 7) >= sizeof address->path.sun_path)
            return tern_error_set(error, TERN_EINVAL, "%s: the path is too long", text);
        address->path.sun_family = AF_UNIX;
        strcpy(address->path.sun_path, text + 7);
        *length = sizeof address->path;
        return 0;
    }
    colon = strncmp(text, "tcp://", 6) == 0 ? strrchr(rest, ':') : NULL;
    if (colon == NULL || (size_t)(colon - rest) >= sizeof host)
        return tern_error_set(error, TERN_EINVAL,
                              "address \"%s\": expected tcp://ip:port or unix:///path", text);
    port = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || port < 0 || port > 65535)
        return tern_error_set(error, TERN_EINVAL, "address \"%s\": not a port", text);
    if (rest[0] == '[')
        snprintf(host, sizeof host, "%.*s", (int)(colon - rest) - 2, rest + 1);
    else
        snprintf(host, sizeof host, "%.*s", (int)(colon - rest), rest);
    if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)port);
        *length = sizeof address->v4;
        return 0;
    }
    if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons((uint16_t)port);
        *length = sizeof address->v6;
        return 0;
    }
    return tern_error_set(error, TERN_EINVAL, "address \"%s\": the host must be a number", text);
}

static void send_at_once(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on Unix sockets, rightly */
}

int load_socket_connect(const char *text, int *fd, struct tern_error *error)
{
    union any_address address;
    socklen_t length;
    int code = parse(text, &address, &length, error);
    int made;

    if (code != 0)
        return code;
    made = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made < 0)
        return tern_error_system(error, errno, "socket");
    if (connect(made, &address.any, length) != 0) {
        code = tern_error_system(error, errno, "%s", text);
        close(made);
        return code;
    }
    send_at_once(made);
    fcntl(made, F_SETFL, O_NONBLOCK);
    *fd = made;
    return 0;
}

/* All of it, or nothing worth having. */
static int receive(int fd, uint8_t *into, size_t length, struct tern_error *error)
{
    while (length > 0) {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (poll(&pollfd, 1, ANSWER_TIMEOUT_MS) <= 0)
            return tern_error_set(error, TERN_ETIMEDOUT, "no answer");
        got = recv(fd, into, length, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return tern_error_set(error, TERN_ECLOSED, "closed instead of an answer");
        if (got > 0) {
            into += got;
            length -= (size_t)got;
        }
    }
    return 0;
}

int load_socket_introduce(int fd, const char *token, struct tern_error *error)
{
    static const char name[] = "tern-load";
    uint8_t bytes[TERN_FRAME_HEADER + TERN_HELLO_MAX], *at = bytes + TERN_FRAME_HEADER;
    size_t token_length = strlen(token), name_length = strlen(name);
    struct tern_frame frame = {.magic = TERN_WIRE_MAGIC,
                               .op = TERN_OP_HELLO,
                               .body_length = (uint32_t)(4 + token_length + name_length),
                               .request_id = 1};
    size_t length = TERN_FRAME_HEADER + (size_t)frame.body_length;
    int code;

    tern_frame_store(bytes, frame);
    tern_store_u16(at, TERN_WIRE_VERSION);
    at[2] = (uint8_t)token_length;
    memcpy(at + 3, token, token_length);
    at[3 + token_length] = (uint8_t)name_length;
    memcpy(at + 4 + token_length, name, name_length);
    if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
        return tern_error_system(error, errno, "HELLO");
    code = receive(fd, bytes, TERN_FRAME_HEADER, error);
    if (code != 0)
        return code;
    frame = tern_frame_load(bytes);
    if (frame.status != TERN_STATUS_OK)
        return tern_error_set(error, TERN_EACCES, "HELLO: %s", tern_status_name(frame.status));
    for (size_t left = frame.body_length; code == 0 && left > 0;) {
        size_t some = tern_min_u64(left, sizeof bytes);

        code = receive(fd, bytes, some, error);
        left -= some;
    }
    return code;
}

int load_socket_ping(int fd, struct tern_error *error)
{
    struct tern_frame frame = {.magic = TERN_WIRE_MAGIC, .op = TERN_OP_PING, .request_id = 1};
    uint8_t bytes[TERN_FRAME_HEADER];
    int code;

    tern_frame_store(bytes, frame);
    if (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) != (ssize_t)sizeof bytes)
        return tern_error_system(error, errno, "PING");
    code = receive(fd, bytes, sizeof bytes, error);
    if (code != 0)
        return code;
    frame = tern_frame_load(bytes);
    return frame.op == TERN_OP_PING && frame.status == TERN_STATUS_OK && frame.body_length == 0
               ? 0
               : tern_error_set(error, TERN_EREFUSED, "PING: %s", tern_status_name(frame.status));
}

int load_socket_ping_resp(int fd, struct tern_error *error)
{
    static const char ask[] = "PING\r\n", pong[] = "+PONG\r\n";
    uint8_t bytes[sizeof pong - 1];
    int code;

    if (send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) != (ssize_t)sizeof ask - 1)
        return tern_error_system(error, errno, "PING");
    code = receive(fd, bytes, sizeof bytes, error);
    if (code == 0 && memcmp(bytes, pong, sizeof bytes) != 0)
        code = tern_error_set(error, TERN_EREFUSED, "PING: not answered with PONG");
    return code;
}

void load_socket_abort(int fd)
{
    const struct linger at_once = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

int load_socket_listen(const char *text, int *fd, char actual[128], struct tern_error *error)
{
    union any_address address;
    socklen_t length;
    int code = parse(text, &address, &length, error);
    int made, on = 1;
    char host[INET6_ADDRSTRLEN];

    if (code != 0)
        return code;
    made = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0)
        return tern_error_system(error, errno, "socket");
    if (address.any.sa_family == AF_UNIX) {
        struct stat found;

        if (lstat(address.path.sun_path, &found) == 0 && S_ISSOCK(found.st_mode))
            unlink(address.path.sun_path);
    } else {
        setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    if (bind(made, &address.any, length) != 0 || listen(made, 4096) != 0 ||
        getsockname(made, &address.any, &length) != 0) {
        code = tern_error_system(error, errno, "%s", text);
        close(made);
        return code;
    }
    if (address.any.sa_family == AF_INET)
        snprintf(actual, 128, "tcp://%s:%u",
                 inet_ntop(AF_INET, &address.v4.sin_addr, host, sizeof host),
                 ntohs(address.v4.sin_port));
    else if (address.any.sa_family == AF_INET6)
        snprintf(actual, 128, "tcp://[%s]:%u",
                 inet_ntop(AF_INET6, &address.v6.sin6_addr, host, sizeof host),
                 ntohs(address.v6.sin6_port));
    else
        snprintf(actual, 128, "%s", text);
    *fd = made;
    return 0;
}

int load_pin(int cpu, struct tern_error *error)
{
    cpu_set_t set;

    if (cpu < 0)
        return 0;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        return tern_error_system(error, errno, "CPU %d", cpu);
    return 0;
}
