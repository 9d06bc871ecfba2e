/* The last look before anyone is told: the candidate is read back by the code that readers use, and
 * a sample of requests is decided by it and by the slow reference evaluator. */
#ifndef TERN_VERIFY_H
#define TERN_VERIFY_H

#include "controlplane/config/config.h"
#include "shared/view.h"

/* Opens the candidate root at `offset` as a reader would (sections that `live` holds are trusted)
 * and, when `config` is given, compares a sample. On success `*view` is the candidate's.
 * TERN_ECORRUPT when it does not read back, TERN_EREFUSED when a sample differs, with the request
 * and both verdicts. */
int tern_verify(const struct tern_arena *arena, uint64_t offset, const struct tern_view *live,
                const struct tern_config *config, struct tern_view **view,
                struct tern_error *error);

#endif
