/* Sets in a redis or memcached the keys that a run gets. */
#include "perf/load/meter.h"
#include "perf/load/run.h"
#include "perf/load/socket.h"
#include "perf/load/source.h"
#include "shared/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 1000u

static bool send_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

/* Every answer must be `ok`. */
static bool receive_oks(int fd, unsigned count, const char *ok)
{
    size_t length = strlen(ok), left = count * length, seen = 0;
    char bytes[4096];

    while (left > 0) {
        ssize_t got = recv(fd, bytes, tern_min_u64(left, sizeof bytes), 0);

        if (got <= 0)
            return false;
        for (ssize_t i = 0; i < got; i++, seen++)
            if (bytes[i] != ok[seen % length])
                return false;
        left -= (size_t)got;
    }
    return true;
}

static int append_set(struct tern_buffer *buffer, enum load_protocol protocol, unsigned index,
                      unsigned value_bytes)
{
    char key[LOAD_KEY_BYTES];
    size_t length = load_key_format(key, index);
    size_t start;
    int code = protocol == LOAD_MEMCACHED
                   ? tern_buffer_printf(buffer, "set %s 0 0 %u\r\n", key, value_bytes)
                   : tern_buffer_printf(buffer, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%u\r\n", length,
                                        key, value_bytes);

    start = buffer->length;
    if (code == 0)
        code = tern_buffer_append_zero(buffer, value_bytes);
    for (unsigned i = 0; code == 0 && i < value_bytes; i++)
        buffer->data[start + i] = (uint8_t)key[(i + index) % length];
    return code == 0 ? tern_buffer_append(buffer, "\r\n", 2) : code;
}

int load_fill(const struct load_options *options)
{
    struct tern_buffer buffer = {0};
    struct tern_error error = {0};
    const char *ok = options->protocol == LOAD_MEMCACHED ? "STORED\r\n" : "+OK\r\n";
    int fd = -1;
    int code = load_socket_connect(options->target, &fd, &error);

    if (code == 0)
        fcntl(fd, F_SETFL, 0);
    for (unsigned first = 0; code == 0 && first < options->keys; first += BATCH) {
        unsigned count = (unsigned)tern_min_u64(BATCH, options->keys - first);

        buffer.length = 0;
        for (unsigned i = 0; code == 0 && i < count; i++)
            code = append_set(&buffer, options->protocol, first + i, options->value_bytes);
        if (code == 0 && (!send_all(fd, buffer.data, buffer.length) || !receive_oks(fd, count, ok)))
            code = tern_error_set(&error, TERN_EIO, "%s did not take the keys", options->target);
    }
    if (fd >= 0)
        close(fd);
    tern_buffer_free(&buffer);
    if (code != 0) {
        fprintf(stderr, "tern-load: %s\n", error.message);
        return 2;
    }
    printf("%u keys\n", options->keys);
    return 0;
}
