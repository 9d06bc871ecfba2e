/* The bytes of a source file, unpacked and bounded, through a window that moves along it.
 *
 * Gzip is recognised by its first bytes, not by the name. Only the opened descriptor is used, so a
 * file replaced by a rename is read to its end as it was; one that is written to meanwhile is
 * refused. A source belongs to one thread. */
#ifndef TERN_BUILD_SOURCE_H
#define TERN_BUILD_SOURCE_H

#include "shared/error.h"

#define TERN_SOURCE_BYTES_MAX                                                                      \
    (16ull << 30) /* unpacked; what no table could hold, against gzip bombs */

struct tern_source_stream; /* descriptor, inflate state, digest */

struct tern_source {
    uint8_t *data; /* the window: what was unpacked and not consumed is [begin, end) */
    size_t begin;
    size_t end;
    bool ended;   /* nothing follows the window */
    bool has_nul; /* a NUL byte was seen somewhere up to `end`: this is no text */
    struct tern_source_stream *stream;
};

/* Opens `path`; at most `max_bytes` of unpacked data (0: TERN_SOURCE_BYTES_MAX) will be given out.
 * TERN_ENOENT, TERN_EACCES, TERN_EINVAL (a folder, a device, a pipe), TERN_ENOMEM. Close it
 * whatever happens later. */
int tern_source_open(const char *path, uint64_t max_bytes, struct tern_source *source,
                     struct tern_error *error);

/* Likewise for a descriptor, which may be a pipe and stays the caller's: reading waits for what
 * comes, or for a signal that has a handler (TERN_ECANCELLED). tern_source_finish is not for it. */
int tern_source_open_descriptor(int fd, const char *name, uint64_t max_bytes,
                                struct tern_source *source, struct tern_error *error);

/* Moves what is left of the window to its front and adds at least one byte, or sets `ended`.
 * Pointers into the window become invalid. TERN_ELIMIT over `max_bytes` or with a full window
 * (nobody consumes), TERN_ECORRUPT broken gzip, TERN_EIO. */
int tern_source_more(struct tern_source *source, struct tern_error *error);

/* Packed bytes read so far, in thousandths of the file; 0 before the end of a pipe. */
unsigned tern_source_permille(const struct tern_source *source);

/* After `ended`: checks that nobody wrote to the file while it was read (TERN_EAGAIN) and gives the
 * XXH3-128 of its packed bytes. */
int tern_source_finish(struct tern_source *source, uint8_t digest[16], struct tern_error *error);

void tern_source_close(struct tern_source *source);

#endif
