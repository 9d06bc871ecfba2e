#include "controlplane/decisions/files.h"

#include "shared/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

static const char prefix[] = "decisions-", suffix[] = ".jsonl";

void tern_log_files_name(uint64_t number, char name[TERN_LOG_FILE_NAME])
{
    snprintf(name, TERN_LOG_FILE_NAME, "%s%08" PRIu64 "%s", prefix, number, suffix);
}

/* The number in a name, 0 when it is none of ours. */
static uint64_t number_of(const char *name)
{
    uint64_t number = 0;
    size_t at = strlen(prefix);

    if (strncmp(name, prefix, at) != 0)
        return 0;
    for (unsigned digit = 0; name[at] >= '0' && name[at] <= '9' && digit < 18; digit++)
        number = number * 10 + (uint64_t)(name[at++] - '0');
    return strcmp(name + at, suffix) == 0 ? number : 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

int tern_log_files_list(int folder_fd, uint64_t **numbers, size_t *count, struct tern_error *error)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    uint64_t *found = NULL;
    size_t used = 0, room = 0;
    const struct dirent *entry;

    if (folder == NULL) {
        int code = tern_error_system(error, errno, "cannot list the decision log's directory");

        if (fd >= 0)
            close(fd);
        return code;
    }
    while ((entry = readdir(folder)) != NULL) {
        uint64_t number = number_of(entry->d_name);

        if (number == 0)
            continue;
        if (used == room) {
            uint64_t *grown = realloc(found, (room * 2 + 64) * sizeof *found);

            if (grown == NULL) {
                free(found);
                closedir(folder);
                return tern_error_set(error, TERN_ENOMEM, "no memory for a list of files");
            }
            found = grown;
            room = room * 2 + 64;
        }
        found[used++] = number;
    }
    closedir(folder);
    if (used > 0)
        qsort(found, used, sizeof *found, compare);
    *numbers = found;
    *count = used;
    return 0;
}

/* A crash can leave a line without its end; nobody could read the one behind it. */
static int end_last_line(int fd, uint64_t *size)
{
    char last;

    if (*size == 0 || pread(fd, &last, 1, (off_t)*size - 1) != 1 || last == '\n')
        return 0;
    if (write(fd, "\n", 1) != 1)
        return TERN_EIO;
    *size += 1;
    return 0;
}

static int open_file(struct tern_log_files *files, uint64_t number, int flags,
                     struct tern_error *error)
{
    char name[TERN_LOG_FILE_NAME];
    struct statx status;
    int fd;

    tern_log_files_name(number, name);
    fd = openat(files->folder_fd, name, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0640);
    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %s/%s", files->directory, name);
    if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE | STATX_BTIME, &status) != 0 ||
        !S_ISREG(status.stx_mode)) {
        close(fd);
        return tern_error_set(error, TERN_EINVAL, "%s/%s is no regular file", files->directory,
                              name);
    }
    files->fd = fd;
    files->number = number;
    files->size = status.stx_size;
    files->began_us = status.stx_mask & STATX_BTIME ? (uint64_t)status.stx_btime.tv_sec * 1000000
                                                    : tern_clock_wall_us();
    if (end_last_line(fd, &files->size) != 0)
        return tern_error_set(error, TERN_EIO, "cannot write to %s/%s", files->directory, name);
    return 0;
}

int tern_log_files_open(struct tern_log_files *files, const char *directory,
                        const struct tern_log_bounds *bounds, struct tern_error *error)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    int code;

    *files = (struct tern_log_files){.bounds = *bounds, .folder_fd = -1, .fd = -1};
    snprintf(files->directory, sizeof files->directory, "%s", directory);
    if (mkdir(directory, 0750) != 0 && errno != EEXIST)
        return tern_error_system(error, errno, "cannot make %s", directory);
    files->folder_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files->folder_fd < 0)
        return tern_error_system(error, errno, "cannot open %s", directory);
    code = tern_log_files_list(files->folder_fd, &numbers, &count, error);
    if (code == 0 && count > 0)
        code = open_file(files, numbers[count - 1], 0, error);
    free(numbers);
    if (code != 0)
        tern_log_files_close(files);
    return code;
}

void tern_log_files_close(struct tern_log_files *files)
{
    if (files->fd >= 0)
        close(files->fd);
    if (files->folder_fd >= 0)
        close(files->folder_fd);
    files->fd = files->folder_fd = -1;
}

/* Leaves room for one more file. */
static void remove_oldest(struct tern_log_files *files)
{
    uint64_t *numbers = NULL;
    size_t count = 0;

    if (tern_log_files_list(files->folder_fd, &numbers, &count, NULL) != 0)
        return;
    for (size_t i = 0; i < count && count - i >= files->bounds.files; i++) {
        char name[TERN_LOG_FILE_NAME];

        tern_log_files_name(numbers[i], name);
        unlinkat(files->folder_fd, name, 0);
    }
    free(numbers);
}

/* Somebody removed it: what is written there is nobody's. */
static bool is_removed(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && status.st_nlink == 0;
}

static bool is_time_for_next(const struct tern_log_files *files, size_t length)
{
    uint64_t now_us = tern_clock_wall_us();

    if (files->fd < 0 || is_removed(files->fd))
        return true;
    return files->size > 0 &&
           (files->size + length > files->bounds.file_bytes ||
            (files->bounds.file_us != 0 && now_us > files->began_us + files->bounds.file_us));
}

static int begin_next(struct tern_log_files *files, struct tern_error *error)
{
    uint64_t number = files->number + 1;
    int before = files->fd, code;

    remove_oldest(files);
    files->fd = -1;
    code = open_file(files, number, O_CREAT | O_EXCL, error);
    if (code != 0) {
        files->fd = before;
        return code;
    }
    files->began_us = tern_clock_wall_us();
    if (before >= 0)
        close(before);
    return 0;
}

int tern_log_files_append(struct tern_log_files *files, const void *lines, size_t length,
                          struct tern_error *error)
{
    size_t written = 0;
    int code = is_time_for_next(files, length) ? begin_next(files, error) : 0;

    if (code != 0)
        return code;
    while (written < length) {
        ssize_t got = write(files->fd, (const char *)lines + written, length - written);

        if (got > 0) {
            written += (size_t)got;
        } else if (got < 0 && errno != EINTR) {
            code = tern_error_system(error, errno, "cannot write to %s", files->directory);
            if (written > 0 && ftruncate(files->fd, (off_t)files->size) != 0) {
                close(files->fd); /* a line is cut: nothing may follow it there */
                files->fd = -1;
            }
            return code;
        }
    }
    files->size += length;
    return 0;
}
