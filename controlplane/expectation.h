/* The configuration's own tests: `tests:` asked of the candidate, before anyone is told of it. */
#ifndef TERN_EXPECTATION_H
#define TERN_EXPECTATION_H

#include "controlplane/config/config.h"
#include "shared/verdict.h"
#include "shared/view.h"

/* What became of one test. */
struct tern_expectation {
    const struct tern_config_test *test;
    bool passed;
    const char *problem; /* the request could not be asked, and why; NULL: it was answered */
    struct tern_verdict verdict;
    const char *rule;        /* that answered; NULL: none did */
    const char *explanation; /* of a test that failed: JSON as EXPLAIN has it, not terminated */
    size_t explanation_length;
};

/* Decides every test's request with `view`, which was built from `config`. TERN_EINVAL when an
 * answer is not the expected one; `error` says how many. Each such test becomes a placed error, or,
 * when `tested` is not NULL, all tests are told to that instead, in order. TERN_ENOMEM. */
int tern_expectations_check(const struct tern_view *view, const struct tern_config *config,
                            void (*tested)(void *context, const struct tern_expectation *outcome),
                            void *context, struct tern_diagnostics *diagnostics,
                            struct tern_error *error);

#endif
