#include "controlplane/ctl/instance.h"

#include "controlplane/directory.h"
#include "controlplane/log.h"
#include "controlplane/message.h"
#include "shared/arena.h"
#include "shared/clock.h"
#include "shared/token.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_US (10 * 1000000ull)

int tern_ctl_fail(const struct tern_error *error)
{
    fprintf(stderr, "ternctl: %s\n", error->message);
    switch (error->code) {
    case TERN_EUNREACHABLE:
    case TERN_ETIMEDOUT:
    case TERN_ECLOSED:
        return TERN_EXIT_UNREACHABLE;
    default:
        return TERN_EXIT_REFUSED;
    }
}

/* An instance is a directory in which tern-control has once taken its lock. */
static bool is_instance(const char *base, const char *name)
{
    char path[PATH_MAX];

    if (name[0] == '.')
        return false;
    snprintf(path, sizeof path, "%s/%s/%s", base, name, TERN_CONTROL_LOCK);
    return access(path, F_OK) == 0;
}

static int find_only(const char *base, char **run_dir, struct tern_error *error)
{
    DIR *directory = opendir(base);
    char names[256] = "", *found = NULL;
    const struct dirent *entry;
    unsigned count = 0;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        size_t used = strlen(names);

        if (!is_instance(base, entry->d_name))
            continue;
        if (count++ == 0 && asprintf(&found, "%s/%s", base, entry->d_name) < 0)
            found = NULL;
        snprintf(names + used, sizeof names - used, "%s%.60s", used != 0 ? ", " : "",
                 entry->d_name);
    }
    if (directory != NULL)
        closedir(directory);
    if (count == 1 && found != NULL) {
        *run_dir = found;
        return 0;
    }
    free(found);
    if (count > 1)
        return tern_error_set(error, TERN_EINVAL,
                              "there are several instances in %s (%s); choose one with --run-dir",
                              base, names);
    return tern_error_set(
        error, TERN_EUNREACHABLE,
        "there is no instance in %s; is tern running? --run-dir names another place", base);
}

int tern_instance_find(const struct tern_invocation *invocation, char **run_dir,
                       struct tern_error *error)
{
    struct tern_directories directories = {0};
    char *base = NULL;
    int rc;

    if (invocation->run_dir != NULL) {
        rc = tern_directories_choose(NULL, invocation->run_dir, NULL, &directories, error);
        if (rc == 0) {
            *run_dir = directories.run_dir;
            free(directories.state_dir);
        }
        return rc;
    }
    rc = tern_directory_run_base(&base, error);
    if (rc == 0)
        rc = find_only(base, run_dir, error);
    free(base);
    return rc;
}

int tern_instance_read_arena(const char *run_dir, struct tern_instance_arena *out,
                             struct tern_error *error)
{
    struct tern_instance_arena read = {0};
    struct tern_arena arena;
    const struct tern_envelope *envelope;
    int rc = tern_arena_open(run_dir, &arena, error);

    if (rc != 0)
        return rc;
    envelope = tern_arena_envelope(&arena);
    read.size = arena.size;
    read.high_water = atomic_load_explicit(&envelope->high_water, memory_order_acquire);
    read.epoch = atomic_load_explicit(&envelope->epoch, memory_order_acquire);
    /* Offset and length are two words. One that is replaced between the two loads fails its checks,
     * and the next attempt sees the new pair; the joining lock keeps either from being freed. */
    for (int attempt = 0; attempt < 3 && !read.has_settings; attempt++) {
        uint64_t offset = atomic_load_explicit(&envelope->settings, memory_order_acquire);
        uint64_t length = atomic_load_explicit(&envelope->settings_length, memory_order_acquire);
        const void *bytes = offset != 0 ? tern_arena_at(&arena, offset, length, 8) : NULL;
        const struct tern_settings *settings;

        if (bytes != NULL && tern_settings_open(bytes, length, &settings, NULL) == 0) {
            read.settings = *settings;
            read.has_settings = true;
        }
    }
    tern_arena_close(&arena);
    *out = read;
    return 0;
}

static int connect_to(const char *address, const char *token, struct tern_client **client,
                      struct tern_error *error)
{
    const struct tern_client_options options = {
        .token = token, .name = "ternctl", .call_timeout_ms = 5000};

    return tern_client_open(address, &options, client, error);
}

static int connect_to_any(const struct tern_invocation *invocation, const char *token,
                          struct tern_client **client, struct tern_error *error)
{
    struct tern_instance_arena arena;
    char *run_dir = NULL;
    int rc;

    if (invocation->address != NULL)
        return connect_to(invocation->address, token, client, error);
    rc = tern_instance_find(invocation, &run_dir, error);
    if (rc != 0)
        return rc;
    rc = tern_instance_read_arena(run_dir, &arena, error);
    if (rc == TERN_ENOENT)
        rc = tern_error_set(error, TERN_EUNREACHABLE, "no tern has run in %s yet", run_dir);
    if (rc == 0 && (!arena.has_settings || arena.settings.listen_count == 0))
        rc = tern_error_set(error, TERN_EUNREACHABLE, "nothing has been published in %s yet",
                            run_dir);
    free(run_dir);
    if (rc != 0)
        return rc;
    rc = TERN_EUNREACHABLE;
    for (int tcp = 0; tcp <= 1 && rc != 0; tcp++)
        for (unsigned i = 0; i < arena.settings.listen_count && rc != 0; i++)
            if ((strncmp(arena.settings.listen[i], "tcp:", 4) == 0) == tcp)
                rc = connect_to(arena.settings.listen[i], token, client, error);
    return rc;
}

int tern_instance_connect(const struct tern_invocation *invocation, struct tern_client **client,
                          struct tern_error *error)
{
    char token[TERN_TOKEN_MAX + 1];
    int rc = tern_token_choose(invocation->token_file, token, error);

    if (rc == 0)
        rc = connect_to_any(invocation, token, client, error);
    explicit_bzero(token, sizeof token);
    return rc;
}

/* Waits until `fd` is ready for `events`; 0, TERN_ETIMEDOUT. */
static int await(int fd, short events, uint64_t timeout_us)
{
    uint64_t until_us = tern_clock_now_us() + timeout_us;

    for (;;) {
        struct pollfd polled = {.fd = fd, .events = events};
        uint64_t now_us = tern_clock_now_us();
        int wait_ms = timeout_us == 0      ? -1
                      : now_us >= until_us ? 0
                                           : (int)((until_us - now_us) / 1000 + 1);
        int ready = poll(&polled, 1, wait_ms);

        if (ready > 0)
            return 0;
        if (ready == 0 && wait_ms == 0)
            return TERN_ETIMEDOUT;
    }
}

static int send_request(int fd, const Tern__Control__Request *request, struct tern_error *error)
{
    struct tern_buffer out = {0};
    size_t sent = 0;
    int rc = tern_message_append(&out, &request->base);

    if (rc != 0)
        tern_error_set(error, rc, "the request cannot be made: %s", tern_error_text(rc));
    while (rc == 0 && sent < out.length) {
        ssize_t bytes = send(fd, out.data + sent, out.length - sent, MSG_NOSIGNAL);

        if (bytes >= 0)
            sent += (size_t)bytes;
        else if (errno != EAGAIN && errno != EINTR)
            /* It may have said why before it closed: the reply is looked for all the same. */
            break;
        else if (await(fd, POLLOUT, SEND_US) != 0)
            rc = tern_error_set(error, TERN_ETIMEDOUT, "tern-control does not take the request");
    }
    tern_buffer_free(&out);
    return rc;
}

static int receive_more(int fd, struct tern_buffer *in, uint64_t timeout_us,
                        struct tern_error *error)
{
    ssize_t bytes;

    if (tern_buffer_reserve(in, 65536) != 0)
        return tern_error_set(error, TERN_ENOMEM, "out of memory");
    bytes = recv(fd, in->data + in->length, 65536, 0);
    if (bytes > 0) {
        in->length += (size_t)bytes;
        return 0;
    }
    if (bytes == 0)
        return tern_error_set(error, TERN_ECLOSED, "tern-control went away before it answered");
    if (errno != EAGAIN && errno != EINTR)
        return tern_error_system(error, errno, "tern-control went away before it answered");
    if (await(fd, POLLIN, timeout_us) != 0)
        return tern_error_set(error, TERN_ETIMEDOUT, "tern-control did not answer within %.1f s",
                              (double)timeout_us / 1e6);
    return 0;
}

/* The next reply, whole. */
static int next_reply(int fd, struct tern_buffer *in, uint64_t timeout_us,
                      Tern__Control__Reply **reply, struct tern_error *error)
{
    size_t frame = 0;
    int rc;

    while ((rc = tern_message_peek(in->data, in->length, &frame)) == TERN_EAGAIN) {
        rc = receive_more(fd, in, timeout_us, error);
        if (rc != 0)
            return rc;
    }
    if (rc == 0)
        *reply = tern__control__reply__unpack(NULL, frame - TERN_MESSAGE_HEADER,
                                              in->data + TERN_MESSAGE_HEADER);
    if (rc != 0 || *reply == NULL)
        return tern_error_set(error, TERN_ECORRUPT, "tern-control's reply makes no sense");
    in->length -= frame;
    memmove(in->data, in->data + frame, in->length);
    return 0;
}

int tern_instance_ask(const char *run_dir, const Tern__Control__Request *request,
                      uint64_t timeout_us,
                      void (*note)(void *context, const Tern__Control__Reply *reply), void *context,
                      Tern__Control__Reply **out, struct tern_error *error)
{
    Tern__Control__Reply *reply = NULL;
    struct tern_buffer in = {0};
    struct tern_error cause;
    int fd, rc = tern_directory_connect(run_dir, TERN_CONTROL_SOCKET, &fd, &cause);

    if (rc == TERN_ENOENT || rc == TERN_EUNREACHABLE || rc == TERN_EAGAIN)
        return tern_error_set(error, TERN_EUNREACHABLE, "tern-control is not running in %s",
                              run_dir);
    if (rc != 0)
        return tern_error_set(error, rc, "%s", cause.message);
    rc = send_request(fd, request, error);
    while (rc == 0) {
        rc = next_reply(fd, &in, timeout_us, &reply, error);
        if (rc != 0 || (reply->body_case != TERN__CONTROL__REPLY__BODY_PROGRESS &&
                        reply->body_case != TERN__CONTROL__REPLY__BODY_DIAGNOSTIC))
            break;
        if (note != NULL)
            note(context, reply);
        tern__control__reply__free_unpacked(reply, NULL);
        reply = NULL;
    }
    tern_buffer_free(&in);
    close(fd);
    if (rc == 0)
        *out = reply;
    return rc;
}
