/* An operator's bytes into the control API over its real socket, behind which a double publishes
 * numbers. Whatever was sent, the API answers others afterwards as before.
 *
 * The first byte says how the bytes are cut into sends. */
#include "tests/fuzz/fuzz.h"

#include "controlplane/api.h"
#include "controlplane/message.h"
#include "shared/proto/tern.pb-c.h"
#include "tests/unit/pipeline_double.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Jobs write history and log lines: enough of them is enough. */
#define JOBS_MAX 3000u

static struct tern_api *api;
static int stop_fd;

static void *serve(void *unused)
{
    (void)unused;
    tern_api_serve(api, stop_fd);
    return NULL;
}

static void start_api(void)
{
    static struct tern_directories directories;
    struct tern_store *writing, *reading;
    struct tern_builder_options builder_options;
    struct tern_api_options options;
    struct tern_builder *builder;
    struct tern_sources *sources;
    struct tern_error error;
    pthread_t thread;

    if (api != NULL)
        return;
    directories = (struct tern_directories){.run_dir = (char *)(uintptr_t)fuzz_directory(),
                                            .state_dir = (char *)(uintptr_t)fuzz_directory()};
    stop_fd = eventfd(0, EFD_CLOEXEC);
    pipeline_double_reset();
    FUZZ_CHECK(tern_store_open(fuzz_directory(), &writing, &error) == 0);
    FUZZ_CHECK(tern_store_open(fuzz_directory(), &reading, &error) == 0);
    FUZZ_CHECK(tern_sources_new(1, &sources) == 0);
    builder_options = (struct tern_builder_options){
        .store = writing, .sources = sources, .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    FUZZ_CHECK(tern_builder_start(&builder_options, &builder, &error) == 0);
    options = (struct tern_api_options){.directories = &directories,
                                        .builder = builder,
                                        .store = reading,
                                        .sources = sources,
                                        .wake_fd = builder_options.wake_fd};
    FUZZ_CHECK(tern_api_open(&options, &api, &error) == 0);
    FUZZ_CHECK(pthread_create(&thread, NULL, serve, NULL) == 0);
}

static int dial(void)
{
    struct tern_error error;
    int fd;

    FUZZ_CHECK(tern_directory_connect(fuzz_directory(), TERN_CONTROL_SOCKET, &fd, &error) == 0);
    return fd;
}

/* How many of the frames ask for a job. */
static unsigned count_jobs(const uint8_t *data, size_t size)
{
    unsigned jobs = 0;
    size_t frame;

    while (tern_message_peek(data, size, &frame) == 0) {
        Tern__Control__Request *request = tern__control__request__unpack(
            NULL, frame - TERN_MESSAGE_HEADER, data + TERN_MESSAGE_HEADER);

        jobs += request != NULL && request->body_case != TERN__CONTROL__REQUEST__BODY_STATUS &&
                request->body_case != TERN__CONTROL__REQUEST__BODY_HISTORY &&
                request->body_case != TERN__CONTROL__REQUEST__BODY_AUDIT;
        if (request != NULL)
            tern__control__request__free_unpacked(request, NULL);
        data += frame;
        size -= frame;
    }
    return jobs;
}

/* True when there is something to read within a time that only a dead server needs. The fuzzer's
 * own clock interrupts. */
static bool await(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    int ready;

    do
        ready = poll(&polled, 1, 20000);
    while (ready < 0 && errno == EINTR);
    return ready == 1 && (polled.revents & POLLIN) != 0;
}

/* Reads until the other side closes; false when it says nothing. */
static bool hear_out(int fd)
{
    uint8_t bytes[4096];
    ssize_t got;

    do {
        if (!await(fd))
            return false;
        got = recv(fd, bytes, sizeof bytes, 0);
    } while (got > 0 || (got < 0 && errno == EINTR));
    return true;
}

/* Somebody else's status, with an answer. */
static void check_others(void)
{
    static const uint8_t status[] = {2, 0, 0, 0, 0x12, 0};
    int fd = dial();

    FUZZ_CHECK(send(fd, status, sizeof status, MSG_NOSIGNAL) == sizeof status);
    FUZZ_CHECK(await(fd));
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned jobs, inputs;
    struct fuzz_input input = {data, size};
    size_t piece = fuzz_take(&input, 1) % 64 * 16 + 1;
    int fd;

    start_api();
    jobs += count_jobs(input.at, input.left);
    if (jobs > JOBS_MAX && count_jobs(input.at, input.left) > 0)
        return 0;
    fd = dial();
    while (input.left > 0) {
        size_t bytes = tern_min_u64(piece, input.left);

        /* a connection that has sent rubbish may be closed by now */
        if (send(fd, input.at, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
            break;
        input.at += bytes;
        input.left -= bytes;
    }
    shutdown(fd, SHUT_WR);
    FUZZ_CHECK(hear_out(fd));
    close(fd);
    if (inputs++ % 32 == 0)
        check_others();
    return 0;
}
