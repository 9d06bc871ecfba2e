/* The control plane's own pipeline in a folder of the test, publishing what the test writes there.
 */
#ifndef TERN_TESTS_PUBLISHER_H
#define TERN_TESTS_PUBLISHER_H

#include "controlplane/apply.h"
#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

struct publisher {
    char folder[FOLDER_PATH], run_dir[FOLDER_PATH + 8], state_dir[FOLDER_PATH + 8];
    uint64_t arena_bytes;
    struct tern_pipeline *pipeline;
};

/* 0, or −1: no folder. */
int publisher_make(struct publisher *publisher, uint64_t arena_bytes);
int publisher_free(struct publisher *publisher);

/* The pipeline again, once it has been closed: as another process would. */
void publisher_open(struct publisher *publisher);

/* A file in the folder. */
void publisher_write(const struct publisher *publisher, const char *name, const char *text);

/* Publishes the configuration in file `name`: 0 with its generation, or TERN_ENOSPC. */
int publisher_apply(const struct publisher *publisher, const char *name, uint64_t *generation);

#endif
