/* ternctl log: what the decision log's files say, newest last, and what comes while one looks. The
 * lines are ours (controlplane/decisions/line.c), so a filter is a comparison of texts. */
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/print.h"
#include "controlplane/decisions/files.h"
#include "controlplane/directory.h"
#include "shared/verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT_US (5 * 1000000ull)
#define LOOK_MS    100 /* how often a followed file is looked at */
#define READ_BYTES (256u << 10)

struct viewer {
    const struct tern_invocation *invocation;
    int folder_fd;
    char wanted[3][TERN_NAME_MAX + 64]; /* texts that a line must have; empty: no matter */
    char *lines[4096];                  /* the last ones that match, newest first */
    unsigned count;
};
_Static_assert(TERN_COUNT(((struct viewer *)0)->lines) >= 4096, "as many as --limit allows");

static bool is_wanted(const struct viewer *viewer, const char *line, size_t length)
{
    for (unsigned i = 0; i < TERN_COUNT(viewer->wanted); i++)
        if (viewer->wanted[i][0] != '\0' &&
            memmem(line, length, viewer->wanted[i], strlen(viewer->wanted[i])) == NULL)
            return false;
    return length > 0;
}

/* What stands behind "name": in the line, without quotes; empty when it is not there. */
static const char *member(const char *line, size_t length, const char *name, char *out, size_t size)
{
    char key[48];
    const char *at, *end = line + length;
    size_t used = 0;
    bool quoted;

    snprintf(key, sizeof key, "\"%s\":", name);
    at = memmem(line, length, key, strlen(key));
    out[0] = '\0';
    if (at == NULL)
        return out;
    at += strlen(key);
    quoted = at < end && *at == '"';
    at += quoted;
    while (at < end && used + 1 < size && *at != (quoted ? '"' : ',') && *at != '}')
        out[used++] = *at++;
    out[used] = '\0';
    return out;
}

static void print_line(const char *line, size_t length)
{
    char time[40], action[16], rule[TERN_NAME_MAX + 2], score[32], key[24], generation[24];
    char cause[32], trace[64], lost[24];

    member(line, length, "time", time, sizeof time);
    if (strlen(time) > 20)
        time[10] = ' '; /* 2026-11-28 05:20:01.123456Z */
    if (*member(line, length, "lost", lost, sizeof lost) != '\0') {
        printf("%s  %s decisions were lost here\n", time, lost);
        return;
    }
    member(line, length, "rule", rule, sizeof rule);
    printf("%s  %-9s  %-24s  score %-6s  generation %s", time,
           member(line, length, "action", action, sizeof action),
           strcmp(rule, "null") == 0 ? member(line, length, "cause", cause, sizeof cause) : rule,
           member(line, length, "score", score, sizeof score),
           member(line, length, "generation", generation, sizeof generation));
    if (strcmp(member(line, length, "key", key, sizeof key), "0") != 0)
        printf("  key %s", key);
    if (*member(line, length, "trace", trace, sizeof trace) != '\0')
        printf("  trace %s", trace);
    putchar('\n');
}

static void show(const struct viewer *viewer, const char *line, size_t length)
{
    if (viewer->invocation->json) {
        fwrite(line, 1, length, stdout);
        putchar('\n');
    } else {
        print_line(line, length);
    }
}

/* Collects matching lines of one file from its end; `*size` is where whole lines end. */
static int collect(struct viewer *viewer, uint64_t number, uint64_t *size, struct tern_error *error)
{
    char name[TERN_LOG_FILE_NAME];
    struct stat status;
    const char *text, *end;
    int fd;

    tern_log_files_name(number, name);
    fd = openat(viewer->folder_fd, name, O_RDONLY | O_CLOEXEC);
    *size = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : tern_error_system(error, errno, "cannot open %s", name);
    if (fstat(fd, &status) != 0 || status.st_size == 0) {
        close(fd);
        return 0;
    }
    text = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (text == MAP_FAILED)
        return tern_error_system(error, errno, "cannot map %s", name);
    end = memrchr(text, '\n', (size_t)status.st_size);
    *size = end == NULL ? 0 : (uint64_t)(end + 1 - text);
    while (end != NULL && viewer->count < viewer->invocation->limit) {
        const char *before = memrchr(text, '\n', (size_t)(end - text));
        const char *line = before == NULL ? text : before + 1;

        if (is_wanted(viewer, line, (size_t)(end - line))) {
            viewer->lines[viewer->count] = strndup(line, (size_t)(end - line));
            if (viewer->lines[viewer->count] != NULL)
                viewer->count++;
        }
        end = before;
    }
    munmap((void *)(uintptr_t)text, (size_t)status.st_size);
    return 0;
}

static void show_collected(struct viewer *viewer)
{
    while (viewer->count > 0) {
        char *line = viewer->lines[--viewer->count];

        show(viewer, line, strlen(line));
        free(line);
    }
    fflush(stdout);
}

/* What has been appended behind `*at`. Returns how much. */
static uint64_t show_more(const struct viewer *viewer, int fd, uint64_t *at)
{
    static char bytes[READ_BYTES];
    ssize_t got = pread(fd, bytes, sizeof bytes, (off_t)*at);
    const char *line = bytes, *end;
    uint64_t before = *at;

    if (got <= 0)
        return 0;
    while ((end = memchr(line, '\n', (size_t)(bytes + got - line))) != NULL) {
        if (is_wanted(viewer, line, (size_t)(end - line)))
            show(viewer, line, (size_t)(end - line));
        *at += (uint64_t)(end + 1 - line);
        line = end + 1;
    }
    fflush(stdout);
    return *at - before;
}

/* The smallest number there is above `number`; 0: none. */
static uint64_t number_after(const struct viewer *viewer, uint64_t number)
{
    uint64_t *numbers = NULL, found = 0;
    size_t count = 0;

    if (tern_log_files_list(viewer->folder_fd, &numbers, &count, NULL) != 0)
        return 0;
    for (size_t i = 0; i < count && found == 0; i++)
        if (numbers[i] > number)
            found = numbers[i];
    free(numbers);
    return found;
}

/* For ever: whoever had enough sends a signal or closes our output. */
static int follow(const struct viewer *viewer, uint64_t number, uint64_t at)
{
    int fd = -1;

    while (!ferror(stdout)) {
        char name[TERN_LOG_FILE_NAME];
        uint64_t next;

        tern_log_files_name(number, name);
        if (fd < 0 && number != 0)
            fd = openat(viewer->folder_fd, name, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && show_more(viewer, fd, &at) > 0)
            continue;
        next = number_after(viewer, number);
        /* Once more: lines may have come between the last look and the next file's beginning. */
        if (next != 0 && (fd < 0 || show_more(viewer, fd, &at) == 0)) {
            if (fd >= 0)
                close(fd);
            fd = -1;
            number = next;
            at = 0;
        } else if (next == 0) {
            poll(NULL, 0, LOOK_MS);
        }
    }
    if (fd >= 0)
        close(fd);
    return TERN_EXIT_OK;
}

/* ---- where the files are ---- */

/* Asks tern-control, or with that dead the arena. */
static int find_directory(const struct tern_invocation *invocation, char *directory, size_t size,
                          struct tern_error *error)
{
    Tern__Control__Request request = TERN__CONTROL__REQUEST__INIT;
    Tern__Control__StatusRequest body = TERN__CONTROL__STATUS_REQUEST__INIT;
    Tern__Control__Reply *reply = NULL;
    struct tern_instance_arena arena = {0};
    struct tern_directories directories = {0};
    char *run_dir = NULL;
    int rc = tern_instance_find(invocation, &run_dir, error);

    if (rc != 0)
        return rc;
    request.body_case = TERN__CONTROL__REQUEST__BODY_STATUS;
    request.status = &body;
    directory[0] = '\0';
    if (tern_instance_ask(run_dir, &request, TIMEOUT_US, NULL, NULL, &reply, NULL) == 0 &&
        reply->body_case == TERN__CONTROL__REPLY__BODY_STATUS &&
        reply->status->decision_log != NULL) {
        snprintf(directory, size, "%s", reply->status->decision_log->directory);
    } else {
        if (tern_instance_read_arena(run_dir, &arena, NULL) == 0 && arena.has_settings)
            snprintf(directory, size, "%s", arena.settings.log_directory);
        if (directory[0] == '\0')
            rc = tern_directories_choose(arena.has_settings ? arena.settings.instance : NULL,
                                         run_dir, invocation->state_dir, &directories, error);
        if (directory[0] == '\0' && rc == 0)
            snprintf(directory, size, "%s/decisions", directories.state_dir);
        tern_directories_free(&directories);
    }
    tern__control__reply__free_unpacked(reply, NULL);
    free(run_dir);
    return rc;
}

static int set_filters(struct viewer *viewer, struct tern_error *error)
{
    const struct tern_invocation *invocation = viewer->invocation;
    static const char *const actions[] = {"allow", "deny", "challenge", "undecided"};
    bool known = invocation->action == NULL;

    for (unsigned i = 0; i < TERN_COUNT(actions) && !known; i++)
        known = strcmp(invocation->action, actions[i]) == 0;
    if (!known)
        return tern_error_set(error, TERN_EINVAL,
                              "--action takes allow, deny, challenge or undecided, not '%s'",
                              invocation->action);
    if (invocation->rule != NULL && strlen(invocation->rule) > TERN_NAME_MAX)
        return tern_error_set(error, TERN_EINVAL, "a rule's id has at most %u bytes",
                              TERN_NAME_MAX);
    if (invocation->action != NULL)
        snprintf(viewer->wanted[0], sizeof viewer->wanted[0], "\"action\":\"%s\"",
                 invocation->action);
    if (invocation->rule != NULL)
        snprintf(viewer->wanted[1], sizeof viewer->wanted[1], "\"rule\":\"%s\"", invocation->rule);
    if (invocation->given & TERN_CTL_KEY)
        snprintf(viewer->wanted[2], sizeof viewer->wanted[2], "\"key\":\"%llu\"",
                 (unsigned long long)invocation->key);
    return 0;
}

/* The last lines, and then perhaps those to come. */
static int view(struct viewer *viewer, struct tern_error *error)
{
    bool follows = (viewer->invocation->given & TERN_CTL_FOLLOW) != 0;
    uint64_t *numbers = NULL, newest = 0, newest_size = 0;
    size_t count = 0;
    int rc = tern_log_files_list(viewer->folder_fd, &numbers, &count, error);

    for (size_t i = count; rc == 0 && i-- > 0;) {
        uint64_t size = 0;

        if (i + 1 < count && viewer->count == viewer->invocation->limit)
            break;
        rc = collect(viewer, numbers[i], &size, error);
        if (i + 1 == count) {
            newest = numbers[i];
            newest_size = size;
        }
    }
    free(numbers);
    show_collected(viewer);
    return rc != 0   ? tern_ctl_fail(error)
           : follows ? follow(viewer, newest, newest_size)
                     : TERN_EXIT_OK;
}

int tern_ctl_log(const struct tern_invocation *invocation)
{
    struct viewer *viewer = calloc(1, sizeof *viewer);
    char directory[512];
    struct tern_error error;
    int code;

    if (viewer == NULL) {
        fputs("ternctl: out of memory\n", stderr);
        return TERN_EXIT_REFUSED;
    }
    viewer->invocation = invocation;
    if (set_filters(viewer, &error) != 0) {
        fprintf(stderr, "ternctl: %s\n", error.message);
        free(viewer);
        return TERN_EXIT_USAGE;
    }
    if (find_directory(invocation, directory, sizeof directory, &error) != 0) {
        free(viewer);
        return tern_ctl_fail(&error);
    }
    viewer->folder_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (viewer->folder_fd < 0) {
        fprintf(stderr, "ternctl: %s: %s (is there a 'decision_log:' in the configuration?)\n",
                directory, strerror(errno));
        free(viewer);
        return TERN_EXIT_REFUSED;
    }
    code = view(viewer, &error);
    close(viewer->folder_fd);
    free(viewer);
    return code;
}
