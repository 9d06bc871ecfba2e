/* A source as lines. */
#ifndef TERN_BUILD_LINES_H
#define TERN_BUILD_LINES_H

#include "controlplane/build/source.h"

struct tern_lines { /* zero-initialise */
    uint8_t *text;  /* the line, without its end; in the source's window, writable */
    size_t length;
    uint64_t number; /* 1-based; of an error too */
};

/* Steps to the next line: LF or CRLF ends it, the last one may go without; a byte order mark before
 * the first is skipped. Returns 1, 0 at the end, or a negative error: TERN_EINVAL for a line of
 * more than TERN_LINE_MAX bytes or with a NUL byte (`error` says so, `number` where), else as
 * tern_source_more. */
int tern_lines_next(struct tern_source *source, struct tern_lines *line, struct tern_error *error);

/* Skips a byte order mark at the very beginning of a source. */
int tern_source_skip_mark(struct tern_source *source, struct tern_error *error);

#endif
