#include "controlplane/ctl/screen.h"

#include "shared/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Alternate screen, cursor away; and back. What they are in terminfo is the same on every terminal
 * of this century that is not dumb. */
#define ENTER "\033[?1049h\033[?25l\033[2J"
#define LEAVE "\033[0m\033[?25h\033[?1049l"

#define COLUMNS_LEAST 20u
#define ROWS_LEAST    5u

bool tern_screen_possible(void)
{
    const char *terminal = getenv("TERM");

    return isatty(STDOUT_FILENO) && terminal != NULL && terminal[0] != '\0' &&
           strcmp(terminal, "dumb") != 0;
}

static void write_all(struct tern_screen *screen, const char *bytes, size_t length)
{
    while (length > 0 && !screen->gone) {
        ssize_t written = write(screen->output, bytes, length);

        if (written < 0 && errno != EINTR)
            screen->gone = true; /* SIGHUP comes only from a controlling terminal */
        if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        }
    }
}

static void measure(struct tern_screen *screen)
{
    struct winsize size = {0};

    screen->columns = 80;
    screen->rows = 24;
    if (ioctl(screen->output, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        screen->columns = size.ws_col < COLUMNS_LEAST ? COLUMNS_LEAST : size.ws_col;
        screen->rows = size.ws_row < ROWS_LEAST ? ROWS_LEAST : size.ws_row;
    }
}

/* Keys come at once and are not shown; Ctrl-C stays a signal. */
static void take_terminal(struct tern_screen *screen)
{
    if (screen->keys) {
        struct termios mode = screen->before;

        mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        mode.c_cc[VMIN] = 0;
        mode.c_cc[VTIME] = 0;
        tcsetattr(screen->input, TCSADRAIN, &mode);
    }
    write_all(screen, ENTER, sizeof ENTER - 1);
}

static void give_terminal(struct tern_screen *screen)
{
    write_all(screen, LEAVE, sizeof LEAVE - 1);
    if (screen->keys)
        tcsetattr(screen->input, TCSADRAIN, &screen->before);
}

static void signals_of_ours(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGQUIT);
    sigaddset(set, SIGTSTP);
    sigaddset(set, SIGWINCH);
}

int tern_screen_open(struct tern_screen *screen, struct tern_error *error)
{
    sigset_t set;

    *screen = (struct tern_screen){.input = STDIN_FILENO, .output = STDOUT_FILENO};
    screen->keys = tcgetattr(screen->input, &screen->before) == 0;
    /* Blocked and read from a descriptor: none of them can come between two states. */
    signals_of_ours(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    screen->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (screen->signals < 0) {
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        return tern_error_system(error, errno, "cannot receive signals");
    }
    measure(screen);
    take_terminal(screen);
    return 0;
}

void tern_screen_close(struct tern_screen *screen)
{
    sigset_t set;

    give_terminal(screen);
    close(screen->signals);
    signals_of_ours(&set);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* Ctrl-Z: the shell gets its terminal as it was, and we take it again when we are continued. */
static void stop(struct tern_screen *screen)
{
    give_terminal(screen);
    raise(SIGSTOP);
    measure(screen);
    take_terminal(screen);
}

static enum tern_screen_event take_signal(struct tern_screen *screen, int *key)
{
    struct signalfd_siginfo info;

    if (read(screen->signals, &info, sizeof info) != (ssize_t)sizeof info)
        return TERN_SCREEN_TIME;
    switch (info.ssi_signo) {
    case SIGWINCH:
        measure(screen);
        return TERN_SCREEN_RESIZED;
    case SIGTSTP:
        stop(screen);
        return TERN_SCREEN_RESIZED;
    default:
        *key = (int)info.ssi_signo;
        return TERN_SCREEN_END;
    }
}

enum tern_screen_event tern_screen_wait(struct tern_screen *screen, uint64_t until_ns, int *key)
{
    struct pollfd events[2] = {{.fd = screen->signals, .events = POLLIN},
                               {.fd = screen->keys ? screen->input : -1, .events = POLLIN}};

    for (;;) {
        uint64_t now_ns = tern_clock_now_ns();
        struct timespec wait = {0};
        unsigned char byte;

        if (now_ns < until_ns)
            wait = (struct timespec){.tv_sec = (time_t)((until_ns - now_ns) / 1000000000u),
                                     .tv_nsec = (long)((until_ns - now_ns) % 1000000000u)};
        *key = 0;
        if (screen->gone)
            return TERN_SCREEN_END;
        if (ppoll(events, 2, &wait, NULL) <= 0) {
            if (tern_clock_now_ns() >= until_ns)
                return TERN_SCREEN_TIME;
            continue;
        }
        if (events[0].revents != 0)
            return take_signal(screen, key);
        if (read(screen->input, &byte, 1) != 1) {
            screen->gone = true;
            continue;
        }
        if (byte == 'q' || byte == 'Q' || byte == 3 || byte == 4)
            return TERN_SCREEN_END;
        *key = byte;
        return TERN_SCREEN_KEY;
    }
}

/* Bytes of the longest start of a line that fits `columns`. */
static size_t clip(const char *line, size_t length, unsigned columns)
{
    size_t at = 0;
    unsigned used = 0;

    while (at < length) {
        bool starts = ((unsigned char)line[at] & 0xc0) != 0x80;

        if (starts && used == columns)
            break;
        used += starts;
        at++;
    }
    return at;
}

int tern_screen_render(const char *text, size_t length, unsigned columns, unsigned rows, char **out,
                       size_t *out_length)
{
    FILE *to = open_memstream(out, out_length);
    const char *end = text + length;

    if (to == NULL)
        return TERN_ENOMEM;
    fputs("\033[H", to);
    for (unsigned row = 0; row < rows; row++) {
        const char *newline = text < end ? memchr(text, '\n', (size_t)(end - text)) : NULL;
        size_t bytes = newline != NULL ? (size_t)(newline - text) : (size_t)(end - text);
        bool bold = bytes > 0 && text[0] == '\1';

        /* Each line erases what it leaves of the one before; the last one gets no newline, which
         * would scroll. */
        if (bold)
            fprintf(to, "\033[1m%.*s\033[0m", (int)clip(text + 1, bytes - 1, columns), text + 1);
        else
            fwrite(text, 1, clip(text, bytes, columns), to);
        fputs("\033[K", to);
        if (row + 1 < rows)
            fputs("\r\n", to);
        text = newline != NULL ? newline + 1 : end;
    }
    return fclose(to) == 0 ? 0 : TERN_ENOMEM;
}

void tern_screen_draw(struct tern_screen *screen, const char *text, size_t length)
{
    char *bytes = NULL;
    size_t count = 0;

    if (tern_screen_render(text, length, screen->columns, screen->rows, &bytes, &count) == 0)
        write_all(screen, bytes, count);
    free(bytes);
}

void tern_screen_foot(struct tern_screen *screen, const char *line)
{
    char bytes[256];
    int length = snprintf(bytes, sizeof bytes, "\033[%u;1H\033[7m%.*s\033[K\033[0m", screen->rows,
                          (int)clip(line, strlen(line), screen->columns), line);

    if (length > 0 && (size_t)length < sizeof bytes)
        write_all(screen, bytes, (size_t)length);
}
