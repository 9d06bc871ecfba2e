/* How far the drain is, in STATE_DIR/decisions.position: a mapped file, so that keeping it up to
 * date costs stores and no system call, and it survives this process whatever kills it. */
#ifndef TERN_DECISIONS_POSITION_H
#define TERN_DECISIONS_POSITION_H

#include "shared/error.h"
#include "shared/limits.h"

struct tern_position_seat {
    uint64_t started_at_us; /* whose ring it is; 0: nobody's yet */
    uint64_t pid;
    uint64_t next[TERN_LOOPS_MAX]; /* the next record to read */
};

struct tern_position {
    uint64_t magic;
    uint64_t draining; /* 1: what is missing when it is opened again was lost */
    /* since the file was made; read by other threads */
    _Atomic uint64_t written; /* lines in files */
    _Atomic uint64_t skipped; /* not in the sample */
    _Atomic uint64_t lost;    /* overwritten before they were read */
    _Atomic uint64_t failed;  /* could not be written */
    _Atomic uint64_t bytes;
    uint64_t reserved;
    struct tern_position_seat seats[TERN_SEATS_MAX];
};

/* Maps the file, made anew when it is not there or not of this build. */
int tern_position_open(const char *state_dir, struct tern_position **position,
                       struct tern_error *error);
void tern_position_close(struct tern_position *position);

#endif
