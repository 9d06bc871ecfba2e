/* ternctl support-dump: what somebody who helps from afar needs to know, in one archive. */
#include "controlplane/ctl/command.h"
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"
#include "controlplane/ctl/print.h"
#include "controlplane/ctl/tar.h"
#include "shared/buffer.h"
#include "shared/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PART_BYTES_MAX                                                                             \
    (4u << 20) /* of one file in the archive; what is longer is cut, and says so */
#define COMMAND_US    (15 * 1000000ull)
#define DIRECTORY_MAX 200 /* entries listed */
#define HISTORY_ROWS  "200"

struct dump {
    const char *run_dir;
    FILE *to;
    uint64_t time_s;
    struct tern_buffer manifest;
    uint64_t generation;
    long pids[2]; /* ternd, tern-control; 0 when it is not known */
    uint64_t bytes;
    int failed; /* the archive cannot be written */
};

static void note(struct dump *dump, const char *name, size_t bytes, const char *remark)
{
    char text[TERN_PRINT_TEXT];

    fprintf(stderr, "%-24s %s%s%s\n", name, tern_print_bytes(text, bytes),
            remark[0] != '\0' ? ", " : "", remark);
    tern_buffer_printf(&dump->manifest, "%-24s %zu bytes%s%s\n", name, bytes,
                       remark[0] != '\0' ? ", " : "", remark);
}

static void add(struct dump *dump, const char *name, const struct tern_buffer *part,
                const char *remark)
{
    char path[TERN_TAR_NAME_MAX + 1];
    size_t length = tern_min_u64(part->length, PART_BYTES_MAX);

    snprintf(path, sizeof path, "tern-support/%s", name);
    if (dump->failed == 0)
        dump->failed = tern_tar_add(dump->to, path, part->data, length, dump->time_s);
    dump->bytes += length;
    note(dump, name, length, length < part->length ? "cut" : remark);
}

/* ---- What ternctl itself can tell ---- */

/* In the new process: this program again, as one who types. */
static void run_self(const char *const *arguments, int out)
{
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

    dup2(nothing, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execv("/proc/self/exe", (char *const *)(uintptr_t)arguments);
    _exit(127);
}

/* Reads until the other side closes (true), the time is over, or there is more than anybody wants.
 */
static bool collect(int from, struct tern_buffer *part)
{
    uint64_t until_us = tern_clock_now_us() + COMMAND_US;
    uint64_t now_us;

    while ((now_us = tern_clock_now_us()) < until_us && part->length <= PART_BYTES_MAX) {
        struct pollfd poller = {.fd = from, .events = POLLIN};
        uint8_t bytes[16384];
        ssize_t length;

        if (poll(&poller, 1, (int)((until_us - now_us) / 1000) + 1) <= 0)
            continue;
        length = read(from, bytes, sizeof bytes);
        if (length <= 0)
            return true;
        if (tern_buffer_append(part, bytes, (size_t)length) != 0)
            return false;
    }
    return false;
}

/* Runs `ternctl COMMAND … --run-dir RUN_DIR`; `part` gets what it prints. */
static void ask(struct dump *dump, const char *name, const char *command, const char *argument,
                bool json, struct tern_buffer *part)
{
    const char *arguments[10] = {"ternctl", command};
    unsigned count = 2;
    int ends[2], status = 0;
    char remark[64] = "";
    pid_t pid;

    if (argument != NULL)
        arguments[count++] = argument;
    if (json)
        arguments[count++] = "--json";
    if (strcmp(command, "history") == 0 || strcmp(command, "audit") == 0) {
        arguments[count++] = "--limit";
        arguments[count++] = HISTORY_ROWS;
    }
    arguments[count++] = "--run-dir";
    arguments[count++] = dump->run_dir;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    pid = fork();
    if (pid == 0)
        run_self(arguments, ends[1]);
    close(ends[1]);
    if (pid > 0) {
        if (!collect(ends[0], part))
            kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
            snprintf(remark, sizeof remark, "exit code %d", WEXITSTATUS(status));
        else if (WIFSIGNALED(status))
            snprintf(remark, sizeof remark, "not ended by itself");
    }
    close(ends[0]);
    add(dump, name, part, remark);
}

/* The generation and the two processes, from the status that was just taken. */
static void read_status(struct dump *dump, const struct tern_buffer *status)
{
    const struct tern_json_value *root, *value;
    struct tern_json_tree *tree = NULL;

    if (tern_json_parse((const char *)status->data, status->length, &tree) != 0)
        return;
    root = tern_json_root(tree);
    value = tern_json_get(root, "generation");
    if (value != NULL && value->kind == TERN_JSON_NUMBER)
        dump->generation = (uint64_t)value->number;
    value = tern_json_get(tern_json_get(root, "dataplane"), "pid");
    if (value != NULL && value->kind == TERN_JSON_NUMBER)
        dump->pids[0] = (long)value->number;
    value = tern_json_get(tern_json_get(root, "controlplane"), "pid");
    if (value != NULL && value->kind == TERN_JSON_NUMBER)
        dump->pids[1] = (long)value->number;
    tern_json_free(tree);
}

static void ask_all(struct dump *dump)
{
    static const struct {
        const char *name, *command, *argument;
        bool json;
    } questions[] = {
        {"status.txt", "status", NULL, false},
        {"stats.json", "stats", "--rules", true},
        {"stats-1s.json", "stats", "--interval=1s", true},
        {"readers.json", "readers", NULL, true},
        {"history.json", "history", NULL, true},
        {"audit.json", "audit", NULL, true},
    };
    struct tern_buffer part = {0};
    char number[32];

    ask(dump, "status.json", "status", NULL, true, &part);
    read_status(dump, &part);
    for (size_t i = 0; i < TERN_COUNT(questions); i++) {
        part.length = 0;
        ask(dump, questions[i].name, questions[i].command, questions[i].argument, questions[i].json,
            &part);
    }
    if (dump->generation != 0) { /* with its configuration, as written */
        part.length = 0;
        snprintf(number, sizeof number, "%llu", (unsigned long long)dump->generation);
        ask(dump, "generation.json", "history", number, true, &part);
    }
    tern_buffer_free(&part);
}

/* ---- What the machine can tell ---- */

static void append_file(struct tern_buffer *part, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t limit = part->length + PART_BYTES_MAX / 8;
    uint8_t bytes[4096];
    ssize_t length;

    tern_buffer_printf(part, "==> %s\n", path);
    if (fd < 0) {
        tern_buffer_printf(part, "%s\n\n", strerror(errno));
        return;
    }
    while (part->length < limit && (length = read(fd, bytes, sizeof bytes)) > 0)
        tern_buffer_append(part, bytes, (size_t)length);
    tern_buffer_printf(part, "\n");
    close(fd);
}

static void add_machine(struct dump *dump)
{
    static const char *const files[] = {
        "/proc/version",
        "/etc/os-release",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/pressure/cpu",
        "/proc/pressure/memory",
        "/proc/pressure/io",
        "/proc/sys/kernel/io_uring_disabled",
        "/proc/sys/fs/file-max",
        "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
        "/proc/sys/vm/overcommit_memory",
        "/proc/cpuinfo",
    };
    struct tern_buffer part = {0};

    for (size_t i = 0; i < TERN_COUNT(files); i++)
        append_file(&part, files[i]);
    add(dump, "machine.txt", &part, "");
    tern_buffer_free(&part);
}

/* Never the environment: secrets stand there. */
static void add_process(struct dump *dump, const char *name, long pid)
{
    static const char *const files[] = {"status",    "limits",       "cgroup",
                                        "schedstat", "smaps_rollup", "oom_score_adj"};
    struct tern_buffer part = {0};
    char path[64];

    for (size_t i = 0; i < TERN_COUNT(files); i++) {
        snprintf(path, sizeof path, "/proc/%ld/%s", pid, files[i]);
        append_file(&part, path);
    }
    add(dump, name, &part, "");
    tern_buffer_free(&part);
}

/* The room on the file system of `path`. */
static void append_space(struct tern_buffer *part, const char *path)
{
    struct statvfs space;

    if (statvfs(path, &space) == 0)
        tern_buffer_printf(part, "file system of %s: %llu of %llu bytes free\n", path,
                           (unsigned long long)space.f_bavail * space.f_frsize,
                           (unsigned long long)space.f_blocks * space.f_frsize);
}

static void list_directory(struct tern_buffer *part, const char *path)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;
    unsigned listed = 0;

    tern_buffer_printf(part, "==> %s\n", path);
    if (directory == NULL) {
        tern_buffer_printf(part, "%s\n\n", strerror(errno));
        return;
    }
    while ((entry = readdir(directory)) != NULL && listed++ < DIRECTORY_MAX) {
        struct stat status;
        char target[256] = "";

        if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISLNK(status.st_mode) &&
            readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1) < 0)
            target[0] = '\0';
        tern_buffer_printf(part, "%06o %5u %5u %14lld %14lld %s%s%s\n", (unsigned)status.st_mode,
                           (unsigned)status.st_uid, (unsigned)status.st_gid,
                           (long long)status.st_size, (long long)status.st_blocks * 512,
                           entry->d_name, target[0] != '\0' ? " -> " : "", target);
    }
    tern_buffer_printf(part, "\n");
    closedir(directory);
}

static void add_directories(struct dump *dump)
{
    struct tern_buffer part = {0};
    char path[PATH_MAX];

    tern_buffer_printf(&part, "mode, uid, gid, bytes, bytes in use, name\n\n");
    append_space(&part, dump->run_dir);
    list_directory(&part, dump->run_dir);
    snprintf(path, sizeof path, "%s/readers", dump->run_dir);
    list_directory(&part, path);
    append_space(&part, "/dev/shm");
    add(dump, "directories.txt", &part, "");
    tern_buffer_free(&part);
}

/* ---- The archive ---- */

static void write_dump(struct dump *dump)
{
    static const char *const names[] = {"ternd.txt", "tern-control.txt"};
    const struct tern_buffer *manifest = &dump->manifest;

    tern_buffer_printf(&dump->manifest,
                       "ternctl " TERN_VERSION ", run directory %s, %llu s since 1970\n"
                       "No environment, no secrets, no requests, no contents of tables: look "
                       "before you pass it on.\n\n",
                       dump->run_dir, (unsigned long long)dump->time_s);
    ask_all(dump);
    add_machine(dump);
    for (unsigned i = 0; i < TERN_COUNT(names); i++)
        if (dump->pids[i] > 0)
            add_process(dump, names[i], dump->pids[i]);
    add_directories(dump);
    if (dump->failed == 0)
        dump->failed = tern_tar_add(dump->to, "tern-support/MANIFEST", manifest->data,
                                    manifest->length, dump->time_s);
    if (dump->failed == 0)
        dump->failed = tern_tar_end(dump->to);
}

static void default_name(char *name, size_t size, uint64_t time_s)
{
    time_t seconds = (time_t)time_s;
    struct tm utc;

    gmtime_r(&seconds, &utc);
    strftime(name, size, "tern-support-%Y%m%dT%H%M%SZ.tar", &utc);
}

int tern_ctl_support_dump(const struct tern_invocation *invocation)
{
    struct dump dump = {.time_s = tern_clock_wall_us() / 1000000};
    char name[PATH_MAX], *run_dir = NULL, text[TERN_PRINT_TEXT];
    struct tern_error error;
    int fd;

    if (tern_instance_find(invocation, &run_dir, &error) != 0)
        return tern_ctl_fail(&error);
    dump.run_dir = run_dir;
    if (invocation->argument_count == 1)
        snprintf(name, sizeof name, "%s", invocation->arguments[0]);
    else
        default_name(name, sizeof name, dump.time_s);
    /* A new file that only we may read: nothing is overwritten, no link is followed. */
    fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    dump.to = fd < 0 ? NULL : fdopen(fd, "w");
    if (dump.to == NULL) {
        fprintf(stderr, "ternctl: cannot make %s: %s\n", name, strerror(errno));
        free(run_dir);
        return TERN_EXIT_REFUSED;
    }
    write_dump(&dump);
    if (fclose(dump.to) != 0 && dump.failed == 0)
        dump.failed = TERN_EIO;
    if (dump.failed != 0) {
        fprintf(stderr, "ternctl: cannot write %s: %s\n", name,
                dump.failed == TERN_EIO ? strerror(errno) : tern_error_text(dump.failed));
        unlink(name);
    } else {
        printf("%s: %s\n", name, tern_print_bytes(text, dump.bytes));
    }
    tern_buffer_free(&dump.manifest);
    free(run_dir);
    return dump.failed == 0 ? TERN_EXIT_OK : TERN_EXIT_REFUSED;
}
