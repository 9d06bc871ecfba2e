/* A terminal taken over for a while: the alternate screen, keys without echo, and the way back
 * however the program ends. */
#ifndef TERN_CTL_SCREEN_H
#define TERN_CTL_SCREEN_H

#include "shared/error.h"

#include <termios.h>

struct tern_screen {
    int input, output;
    int signals; /* descriptor */
    bool keys;   /* input is a terminal */
    bool gone;   /* nobody is at the other end any more */
    struct termios before;
    unsigned columns, rows;
};

enum tern_screen_event {
    TERN_SCREEN_TIME,    /* the wait is over */
    TERN_SCREEN_RESIZED, /* also: back after a stop */
    TERN_SCREEN_KEY,
    TERN_SCREEN_END, /* q, a terminal that is gone, or a signal: `*key` has its number, else 0 */
};

/* True when standard output can be taken over. */
bool tern_screen_possible(void);

/* Takes the terminal over and blocks the signals that would leave it in disorder. TERN_E* of what
 * failed. */
int tern_screen_open(struct tern_screen *screen, struct tern_error *error);
/* Gives it back as it was. */
void tern_screen_close(struct tern_screen *screen);

/* Draws `text`, lines ended with '\n', clipped to the screen; lines in bold start with '\1'. */
void tern_screen_draw(struct tern_screen *screen, const char *text, size_t length);

/* Draws one line at the very bottom, in reverse. */
void tern_screen_foot(struct tern_screen *screen, const char *line);

/* Waits until `until_ns` (CLOCK_MONOTONIC) for something to happen. */
enum tern_screen_event tern_screen_wait(struct tern_screen *screen, uint64_t until_ns, int *key);

/* The drawing of `text` for a terminal of `columns` × `rows`, as bytes for it: tern_screen_draw
 * without a terminal. The caller frees `*out`. TERN_ENOMEM. */
int tern_screen_render(const char *text, size_t length, unsigned columns, unsigned rows, char **out,
                       size_t *out_length);

#endif
