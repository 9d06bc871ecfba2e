#include "controlplane/directory.h"

#include "shared/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int no_memory(struct tern_error *error)
{
    return tern_error_set(error, TERN_ENOMEM, "out of memory");
}

int tern_directory_run_base(char **base, struct tern_error *error)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char *made;

    if (geteuid() == 0)
        made = strdup("/run/tern");
    else if (runtime != NULL && runtime[0] == '/')
        made = asprintf(&made, "%s/tern", runtime) < 0 ? NULL : made;
    else
        return tern_error_set(error, TERN_ENOENT,
                              "XDG_RUNTIME_DIR is not set; name a directory with --run-dir");
    if (made == NULL)
        return no_memory(error);
    *base = made;
    return 0;
}

static int state_base(char **base, struct tern_error *error)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *made = NULL;
    int bytes;

    if (geteuid() == 0)
        bytes = asprintf(&made, "/var/lib/tern");
    else if (state != NULL && state[0] == '/')
        bytes = asprintf(&made, "%s/tern", state);
    else if (home != NULL && home[0] == '/')
        bytes = asprintf(&made, "%s/.local/state/tern", home);
    else
        return tern_error_set(error, TERN_ENOENT,
                              "neither XDG_STATE_HOME nor HOME is set; use --state-dir");
    if (bytes < 0)
        return no_memory(error);
    *base = made;
    return 0;
}

/* The children of `ternctl up` and a tern-control that changes its directory must mean the same. */
static int absolute(const char *path, char **out, struct tern_error *error)
{
    char *cwd = NULL;
    int bytes;

    if (path[0] == '\0')
        return tern_error_set(error, TERN_EINVAL, "a directory's name is empty");
    if (path[0] == '/') {
        bytes = asprintf(out, "%s", path);
    } else {
        cwd = getcwd(NULL, 0);
        if (cwd == NULL)
            return tern_error_system(error, errno, "cannot find the working directory");
        bytes = asprintf(out, "%s/%s", cwd, path);
        free(cwd);
    }
    if (bytes < 0)
        return no_memory(error);
    for (size_t length = strlen(*out); length > 1 && (*out)[length - 1] == '/'; length--)
        (*out)[length - 1] = '\0';
    return 0;
}

static int joined(int (*base_of)(char **, struct tern_error *), const char *instance, char **out,
                  struct tern_error *error)
{
    char *base = NULL;
    int bytes, rc = base_of(&base, error);

    if (rc != 0)
        return rc;
    bytes = asprintf(out, "%s/%s", base, instance);
    free(base);
    return bytes < 0 ? no_memory(error) : 0;
}

int tern_directories_choose(const char *instance, const char *run_dir, const char *state_dir,
                            struct tern_directories *directories, struct tern_error *error)
{
    struct tern_directories chosen = {0};
    int rc;

    if (run_dir == NULL && instance == NULL)
        return tern_error_set(error, TERN_EINVAL, "neither an instance nor --run-dir is known");
    rc = run_dir != NULL ? absolute(run_dir, &chosen.run_dir, error)
                         : joined(tern_directory_run_base, instance, &chosen.run_dir, error);
    if (rc == 0) {
        if (state_dir != NULL)
            rc = absolute(state_dir, &chosen.state_dir, error);
        else if (run_dir != NULL)
            rc = asprintf(&chosen.state_dir, "%s/state", chosen.run_dir) < 0 ? no_memory(error) : 0;
        else
            rc = joined(state_base, instance, &chosen.state_dir, error);
    }
    if (rc != 0) {
        tern_directories_free(&chosen);
        return rc;
    }
    *directories = chosen;
    return 0;
}

void tern_directories_free(struct tern_directories *directories)
{
    free(directories->run_dir);
    free(directories->state_dir);
    *directories = (struct tern_directories){0};
}

static int make_parents(const char *path, struct tern_error *error)
{
    char *copy = strdup(path);
    int rc = 0;

    if (copy == NULL)
        return no_memory(error);
    for (char *slash = strchr(copy + 1, '/'); slash != NULL && rc == 0;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0755) != 0 && errno != EEXIST)
            rc = tern_error_system(error, errno, "cannot make %s", copy);
        *slash = '/';
    }
    free(copy);
    return rc;
}

static int make_directory(const char *path, mode_t mode, struct tern_error *error)
{
    struct stat status;
    int rc = make_parents(path, error);

    if (rc != 0)
        return rc;
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        return tern_error_system(error, errno, "cannot make %s", path);
    if (stat(path, &status) != 0)
        return tern_error_system(error, errno, "cannot look at %s", path);
    if (!S_ISDIR(status.st_mode))
        return tern_error_set(error, TERN_EINVAL, "%s is not a directory", path);
    if (status.st_uid != geteuid() && geteuid() != 0)
        return tern_error_set(error, TERN_EACCES, "%s belongs to uid %u, not to us (uid %u)", path,
                              (unsigned)status.st_uid, (unsigned)geteuid());
    if (status.st_mode & S_IWOTH)
        return tern_error_set(error, TERN_EACCES,
                              "%s can be written by anybody (mode %04o); expected 0750 or less",
                              path, (unsigned)status.st_mode & 07777);
    return 0;
}

int tern_directories_make(const struct tern_directories *directories, struct tern_error *error)
{
    int rc = make_directory(directories->run_dir, 0750, error);

    return rc != 0 ? rc : make_directory(directories->state_dir, 0700, error);
}

int tern_directory_lock(const char *directory, const char *name, const char *what, int *out,
                        struct tern_error *error)
{
    char path[PATH_MAX], text[32] = {0};
    int fd, rc, length;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return tern_error_system(error, errno, "cannot open %s", path);
    rc = tern_lock_byte(fd, F_WRLCK, 0);
    if (rc != 0) {
        ssize_t bytes = pread(fd, text, sizeof text - 1, 0);
        long pid = bytes > 0 ? strtol(text, NULL, 10) : 0;

        close(fd);
        if (rc != TERN_EBUSY)
            return tern_error_set(error, rc, "cannot lock %s", path);
        if (pid > 0)
            return tern_error_set(error, rc, "another %s (pid %ld) holds %s", what, pid, directory);
        return tern_error_set(error, rc, "another %s holds %s", what, directory);
    }
    length = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length) {
        rc = tern_error_system(error, errno, "cannot write %s", path);
        close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

/* Fills `address` for DIRECTORY/NAME; `*anchor` is a descriptor that must stay open while the
 * address is used, or -1. */
static int socket_address(const char *directory, const char *name, struct sockaddr_un *address,
                          int *anchor, struct tern_error *error)
{
    int length;

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *anchor = -1;
    length = snprintf(address->sun_path, sizeof address->sun_path, "%s/%s", directory, name);
    if (length > 0 && (size_t)length < sizeof address->sun_path)
        return 0;
    *anchor = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*anchor < 0)
        return tern_error_system(error, errno, "cannot open %s", directory);
    length =
        snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", *anchor, name);
    if (length <= 0 || (size_t)length >= sizeof address->sun_path) {
        close(*anchor);
        return tern_error_set(error, TERN_EINVAL, "the socket's name %s is too long", name);
    }
    return 0;
}

/* The end of what makes a socket by an address: `fd` goes to the caller if `rc` is 0. */
static int hand_out(int rc, int fd, int anchor, int *out)
{
    if (anchor >= 0)
        close(anchor);
    if (rc == 0)
        *out = fd;
    else if (fd >= 0)
        close(fd);
    return rc;
}

static int stream_socket(int *fd, struct tern_error *error)
{
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return *fd < 0 ? tern_error_system(error, errno, "cannot make a socket") : 0;
}

int tern_directory_listen(const char *directory, const char *name, int *out,
                          struct tern_error *error)
{
    char aside[64], from[PATH_MAX], to[PATH_MAX];
    struct sockaddr_un address;
    int fd = -1, anchor, rc;

    snprintf(aside, sizeof aside, ".%s.%d", name, (int)getpid());
    snprintf(from, sizeof from, "%s/%s", directory, aside);
    snprintf(to, sizeof to, "%s/%s", directory, name);
    rc = socket_address(directory, aside, &address, &anchor, error);
    if (rc != 0)
        return rc;
    rc = stream_socket(&fd, error);
    unlink(from);
    if (rc == 0 && bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        rc = tern_error_system(error, errno, "cannot bind %s", from);
    if (rc == 0 && (chmod(from, 0660) != 0 || listen(fd, 64) != 0 || rename(from, to) != 0)) {
        rc = tern_error_system(error, errno, "cannot listen on %s", to);
        unlink(from);
    }
    return hand_out(rc, fd, anchor, out);
}

int tern_directory_connect(const char *directory, const char *name, int *out,
                           struct tern_error *error)
{
    struct sockaddr_un address;
    int fd = -1, anchor, rc = socket_address(directory, name, &address, &anchor, error);

    if (rc != 0)
        return rc;
    rc = stream_socket(&fd, error);
    if (rc == 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        rc = tern_error_system(error, errno, "cannot connect to %s/%s", directory, name);
    return hand_out(rc, fd, anchor, out);
}
