/* The sources of what is served: what each table was read from and when, what went wrong since, and
 * when it is looked at next.
 *
 * The builder's thread changes it; tern_sources_copy may be called from any thread. Times that
 * decide anything are monotonic, in µs, and given by the caller: a wall clock that jumps moves
 * nothing but what is displayed. */
#ifndef TERN_SOURCES_H
#define TERN_SOURCES_H

#include "controlplane/apply.h"

struct tern_source_state {
    char table[TERN_NAME_MAX + 1];
    char *path; /* NULL: not known, the configuration is not kept any more */
    uint64_t rows, keys, bytes;
    uint64_t source_bytes; /* as it lies there, packed or not */
    uint64_t loaded_at_us; /* wall clock: when the rows were read; 0: not known */
    uint64_t confirmed_us; /* monotonic: when the source was last found to hold these rows */
    uint64_t refresh_us;   /* 0: only an apply reads it */
    uint64_t due_us;       /* monotonic; UINT64_MAX: never */
    unsigned failures;     /* in a row */
    uint64_t failed_at_us; /* wall clock, of the first of these */
    char error[320];       /* of the last of these */
};

/* Refreshes wait for `ternctl resume`: an operator has gone back on purpose. */
struct tern_sources_hold {
    uint64_t since_us;   /* wall clock; 0: they do not wait */
    uint64_t generation; /* that was gone back to */
    uint32_t uid;
};

struct tern_sources;

/* `seed` draws the jitter of the timers. 0 or TERN_ENOMEM. */
int tern_sources_new(uint64_t seed, struct tern_sources **sources);
void tern_sources_free(struct tern_sources *sources);

/* From now on `count` tables are served, as an apply or tern_pipeline_tables reports them.
 * `config` (taken over; NULL: not known) says where they come from; the caller may read it until
 * the next call. What was not looked at keeps its times when its rows are the same. */
int tern_sources_serve(struct tern_sources *sources, struct tern_config *config,
                       const struct tern_apply_table *tables, unsigned count, uint64_t now_us);
/* NULL: not known. */
const struct tern_config *tern_sources_config(const struct tern_sources *sources);

/* Notes what a refresh that published nothing has found; tables that were not looked at are
 * untouched. True when there is a failure that is news: the first, or for another reason than the
 * last. */
bool tern_sources_note(struct tern_sources *sources, const struct tern_apply_table *tables,
                       unsigned count, uint64_t now_us);
/* Every source that `due`, one a table, names failed for this reason. True when that is news. */
bool tern_sources_fail(struct tern_sources *sources, const bool *due, const char *reason,
                       uint64_t now_us);

/* When the next source is due; UINT64_MAX: none ever, or they are held. */
uint64_t tern_sources_next(struct tern_sources *sources);
/* Sets due[i] for every table to look at now; returns how many. */
unsigned tern_sources_due(struct tern_sources *sources, uint64_t now_us, bool *due, unsigned count);

/* Holds refreshes, or with `hold->since_us` 0 lets them go: all are due at once. */
void tern_sources_set_hold(struct tern_sources *sources, const struct tern_sources_hold *hold,
                           uint64_t now_us);

struct tern_sources_copy {
    struct tern_source_state *items;
    unsigned count;
    struct tern_sources_hold hold;
};
/* TERN_ENOMEM leaves `copy` untouched; free it with tern_sources_copy_free. */
int tern_sources_copy(struct tern_sources *sources, struct tern_sources_copy *copy);
void tern_sources_copy_free(struct tern_sources_copy *copy);

#endif
