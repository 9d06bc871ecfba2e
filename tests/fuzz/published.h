/* A small generation (world/), built, verified and published by the real pipeline, for targets that
 * work on something published. Made once; lives until the process ends. */
#ifndef TERN_TESTS_FUZZ_PUBLISHED_H
#define TERN_TESTS_FUZZ_PUBLISHED_H

#include "shared/arena.h"
#include "shared/board.h"
#include "shared/view.h"

struct published {
    struct tern_arena arena;
    struct tern_view *view;
    struct tern_seat *seat; /* of the process's own, not on any board */
};

const struct published *published_get(void);

#endif
