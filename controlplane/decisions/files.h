/* The files of the decision log: DIRECTORY/decisions-NNNNNNNN.jsonl, numbered as they begin. Lines
 * are appended to the newest; the next one begins at a size or an age, and only so many are kept.
 * Nothing is ever renamed, so whoever reads one is not disturbed. Used by one thread. */
#ifndef TERN_DECISIONS_FILES_H
#define TERN_DECISIONS_FILES_H

#include "shared/error.h"
#include "shared/limits.h"

struct tern_log_bounds {
    uint64_t file_bytes;
    uint64_t file_us; /* 0: no age */
    unsigned files;
};

struct tern_log_files {
    char directory[TERN_LOG_DIRECTORY_BYTES + 256];
    struct tern_log_bounds bounds;
    int folder_fd; /* −1: not open */
    int fd;        /* −1: none yet */
    uint64_t number;
    uint64_t size;
    uint64_t began_us; /* wall clock */
};

/* Makes the directory (0750) when it is missing and finds the newest file, whose last line is
 * completed when a crash cut it. Writes nothing yet. */
int tern_log_files_open(struct tern_log_files *files, const char *directory,
                        const struct tern_log_bounds *bounds, struct tern_error *error);
void tern_log_files_close(struct tern_log_files *files);

/* Appends whole lines, all or nothing: what a full disk takes of them is taken back. Begins the
 * next file when it is time, and removes the oldest. Returns 0, or the system's error with a
 * message; the next call tries again. */
int tern_log_files_append(struct tern_log_files *files, const void *lines, size_t length,
                          struct tern_error *error);

#define TERN_LOG_FILE_NAME 40
void tern_log_files_name(uint64_t number, char name[TERN_LOG_FILE_NAME]);

/* The numbers of the files in the open folder, ascending; free them. TERN_ENOMEM or the system's
 * error. */
int tern_log_files_list(int folder_fd, uint64_t **numbers, size_t *count, struct tern_error *error);

#endif
