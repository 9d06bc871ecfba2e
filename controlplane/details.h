/* What one publish changed, as the history keeps it: a packed Tern__Control__HistoryDetails. */
#ifndef TERN_DETAILS_H
#define TERN_DETAILS_H

#include "controlplane/builder.h"

#define TERN_DETAILS_ITEMS 256u /* rules and tables listed; all are counted */

/* Compares what `job` published, or would have, with `before` (NULL: nothing was served, or it is
 * not known). Packs the outcome into `*data` (the caller's to free), and says it in one line in
 * `summary`: "2 rules added, 1 moved; users 3 → 4 rows; 5 tests passed". TERN_ENOMEM. */
int tern_details_pack(const struct tern_job *job, const struct tern_config *before,
                      const struct tern_config *config, uint8_t **data, size_t *length,
                      char *summary, size_t summary_size);

#endif
