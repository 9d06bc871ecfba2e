/* One decision as a line of JSON, put together by hand: a busy log has hundreds of thousands a
 * second. */
#ifndef TERN_DECISIONS_LINE_H
#define TERN_DECISIONS_LINE_H

#include "controlplane/decisions/names.h"
#include "shared/decision_log.h"

/* A line has at most so many bytes, its newline included. */
#define TERN_LINE_BYTES_MAX 640u

/* What is the same for many lines. Zero-initialise. One thread. */
struct tern_line_writer {
    const struct tern_names *names; /* locked */
    unsigned seat, loop;
    uint64_t second; /* that `date` is of */
    char date[24];   /* "2026-11-28T05:20:01." */
    char place[48];  /* made when it is first needed */
    unsigned place_length;
};

/* Writes the line of `record`, with `trace` when it has one (else NULL), to `out`, which has room
 * for TERN_LINE_BYTES_MAX. Returns its length. */
size_t tern_line_write(struct tern_line_writer *writer, const struct tern_log_record *record,
                       const struct tern_log_trace *trace, char *out);

/* The line that stands where records were lost. */
size_t tern_line_write_lost(struct tern_line_writer *writer, uint64_t at_us, uint64_t lost,
                            char *out);

#endif
