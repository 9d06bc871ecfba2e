#include "shared/notify.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* "/path" or "@name", which is abstract. False for what is neither. */
static bool read_address(const char *name, struct sockaddr_un *address, socklen_t *length)
{
    size_t bytes = strlen(name);

    if ((name[0] != '/' && name[0] != '@') || bytes < 2 || bytes >= sizeof address->sun_path)
        return false;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, name, bytes);
    if (name[0] == '@')
        address->sun_path[0] = '\0';
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + (name[0] == '/'));
    return true;
}

/* How long the watchdog waits, when it waits for this process. */
static uint64_t read_watchdog(void)
{
    const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

    if (text == NULL || (pid != NULL && strtoll(pid, NULL, 10) != (long long)getpid()))
        return 0;
    return strtoull(text, NULL, 10);
}

void tern_notify_open(struct tern_notify *notify)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address;
    socklen_t length;

    *notify = (struct tern_notify){.fd = -1};
    if (name != NULL && read_address(name, &address, &length))
        notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (notify->fd >= 0 && connect(notify->fd, (struct sockaddr *)&address, length) != 0)
        tern_notify_close(notify);
    if (notify->fd >= 0)
        notify->watchdog_us = read_watchdog();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void tern_notify_close(struct tern_notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    *notify = (struct tern_notify){.fd = -1};
}

void tern_notify_say(const struct tern_notify *notify, const char *format, ...)
{
    char text[512];
    va_list arguments;
    int length;

    if (notify->fd < 0)
        return;
    va_start(arguments, format);
    length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length < sizeof text &&
        send(notify->fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; /* the manager may be gone; nobody else is to be told */
}

bool tern_notify_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;

    /* Named by device and inode, since a child may have been given another standard error. */
    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}
