/* Writes an archive that tar reads: POSIX ustar, regular files, one after the other. */
#ifndef TERN_CTL_TAR_H
#define TERN_CTL_TAR_H

#include "shared/base.h"

#define TERN_TAR_BLOCK    512u
#define TERN_TAR_NAME_MAX 99u

/* Appends a file. `name`: at most TERN_TAR_NAME_MAX bytes; `time_s`: since 1970. TERN_ELIMIT for
 * what the form cannot hold, TERN_EIO when it cannot be written (errno). */
int tern_tar_add(FILE *to, const char *name, const void *bytes, size_t length, uint64_t time_s);

/* Ends the archive; nothing may follow. */
int tern_tar_end(FILE *to);

#endif
