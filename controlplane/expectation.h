/* The configuration's own tests: `tests:` asked of the candidate, before anyone is told of it. */
#ifndef TERN_EXPECTATION_H
#define TERN_EXPECTATION_H

#include "controlplane/config/config.h"
#include "shared/view.h"

/* Decides every test's request with `view`, which was built from `config`. TERN_EINVAL when an
 * answer is not the expected one: each such test becomes a placed error, `error` says how many.
 * TERN_ENOMEM. */
int tern_expectations_check(const struct tern_view *view, const struct tern_config *config,
                            struct tern_diagnostics *diagnostics, struct tern_error *error);

#endif
