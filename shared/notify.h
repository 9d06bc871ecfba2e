/* What a process tells the service manager that started it: sd_notify(3)'s protocol, datagrams to
 * the socket that $NOTIFY_SOCKET names. Without one nothing is said and nothing fails. */
#ifndef TERN_NOTIFY_H
#define TERN_NOTIFY_H

#include "shared/base.h"

struct tern_notify {
    int fd;               /* connected; −1: nobody listens */
    uint64_t watchdog_us; /* the manager restarts us when it hears nothing for so long; 0: never */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and takes them out of the environment, so
 * that no child speaks for us. A socket that cannot be reached is as if there were none. Call it
 * before threads start. */
void tern_notify_open(struct tern_notify *notify);
void tern_notify_close(struct tern_notify *notify);

/* Says one or more lines, as "READY=1\nSTATUS=serving". Never blocks; what the manager has no room
 * for is lost. Thread-safe. */
void tern_notify_say(const struct tern_notify *notify, const char *format, ...) TERN_PRINTF(2, 3);

/* Whether standard error leads to the journal ($JOURNAL_STREAM): lines may then begin with "<N>", N
 * being their syslog level. Thread-safe. */
bool tern_notify_is_journal(void);

#endif
