/* The thread that carries decisions from the rings of the board to files. It never slows a loop
 * down: the board is mapped read-only, the thread yields to everything else, and what it cannot
 * keep up with is counted as lost. */
#ifndef TERN_DECISIONS_DRAIN_H
#define TERN_DECISIONS_DRAIN_H

#include "shared/decision_log.h"
#include "shared/error.h"
#include "shared/view.h"

struct tern_drain;

/* Opens the board and where it stood, and starts the thread, which does nothing until a generation
 * with `decision_log:` is served. Directories are copied. */
int tern_drain_start(const char *run_dir, const char *state_dir, struct tern_drain **drain,
                     struct tern_error *error);
/* Writes what has been read, and ends the thread. NULL is fine. */
void tern_drain_stop(struct tern_drain *drain);

/* Call it before `view` is served: the ids of its rules, and what its settings want logged. Any
 * thread. */
void tern_drain_expect(struct tern_drain *drain, const struct tern_view *view);

struct tern_drain_status {
    bool on;
    char directory[512];
    uint64_t file; /* number of the newest one, 0: none yet */
    uint64_t written, skipped, lost, failed, bytes;
    char error[256]; /* why lines cannot be written now; empty: they can */
};
void tern_drain_status(struct tern_drain *drain, struct tern_drain_status *status);

/* Whether a decision belongs to the sample: the same for equal keys, and without a key for one that
 * is read twice. `place` tells loops apart. */
bool tern_drain_samples(const struct tern_log_record *record, uint64_t place, unsigned permille);

#endif
